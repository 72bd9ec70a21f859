"""The HTTP of the opening handshake."""

from __future__ import annotations

import http
import json
from collections.abc import Mapping
from typing import Any

from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from responses_ws.testing.interruptions import ScriptError

__all__ = ["accept_upgrade", "http_response"]

CHUNK = 1024
FRAMINGS = ("length", "chunked", "close")


def accept_upgrade(protocol: ServerProtocol, head: bytes, headers: Mapping[str, str]) -> Response:
    """The answer to an upgrade request; ``headers`` are added or replace what it has.

    Raises ScriptError when it is no HTTP request for anything.
    """
    protocol.receive_data(head)
    for event in protocol.events_received():
        if isinstance(event, Request):
            return _with_headers(protocol.accept(event), headers)
    raise ScriptError(f"no WebSocket upgrade: {protocol.handshake_exc}")


def _with_headers(response: Response, headers: Mapping[str, str]) -> Response:
    for name, value in headers.items():
        if name in response.headers:
            del response.headers[name]
        response.headers[name] = value
    return response


def http_response(
    status: int,
    headers: dict[str, str],
    body: bytes | str | Mapping[str, Any],
    reason: str | None,
    framing: str,
) -> bytes:
    """An HTTP response in bytes; see :func:`refuse` for the parameters."""
    if framing not in FRAMINGS:
        raise ValueError(f"framing must be one of {', '.join(FRAMINGS)}, not {framing!r}")
    if isinstance(body, Mapping):
        headers.setdefault("Content-Type", "application/json")
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    headers.setdefault("Connection", "close")
    if framing == "length":
        headers.setdefault("Content-Length", str(len(body)))
    elif framing == "chunked":
        headers.setdefault("Transfer-Encoding", "chunked")
        body = _chunked(body)
    phrase = _usual_reason(status) if reason is None else reason
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _chunked(body: bytes) -> bytes:
    pieces = [body[start : start + CHUNK] for start in range(0, len(body), CHUNK)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def _usual_reason(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""
