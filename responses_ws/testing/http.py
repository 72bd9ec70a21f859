"""HTTP on a connection of the scripted server: requests, whole answers, and answers as an event stream."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from responses_ws._core.events import TERMINAL
from responses_ws.testing.frames import MessageData, encode
from responses_ws.testing.interruptions import ClientGone, ScriptError
from responses_ws.testing.upgrade import http_response

if TYPE_CHECKING:
    from responses_ws.testing.connection import Connection

__all__ = ["HttpRequest", "HttpSide", "asks_for_no_upgrade"]

REQUEST = re.compile(rb"(?:POST|DELETE) \S+ HTTP/1\.1\r\n|GET \S+/responses/\S+ HTTP/1\.1\r\n")
"""What is no attempt to open a WebSocket."""

STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
KEEP_ALIVE = {"Connection": "keep-alive"}
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request that came over HTTP, upgrades excepted.

    :ivar connection: the number of the connection, from 1.
    :ivar path: without the query.
    :ivar query: each parameter with its values.
    :ivar headers: names in lower case, repeated ones joined by a comma.
    """

    connection: int
    method: str
    path: str
    query: dict[str, list[str]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def json(self) -> Any:
        """The body as JSON. Raises ValueError when it is none."""
        return json.loads(self.body)


def asks_for_no_upgrade(head: bytes) -> bool:
    """Whether the head of a request is one of the HTTP side of the service."""
    return REQUEST.match(head) is not None and b"\r\nupgrade:" not in head.lower()


class HttpSide:
    """What the steps speak on a connection whose first request asked for no upgrade.

    :ivar request: the request that waits for its answer, or None.
    :ivar streaming: whether the head of an event stream was sent, and not its end.
    """

    def __init__(self, connection: Connection) -> None:
        self.request: HttpRequest | None = None
        self.streaming = False
        self._connection = connection
        self._chunked = True
        self._seen = False

    # Requests

    def receive(self) -> HttpRequest:
        """The next request that no step has seen. Ends the answer to the one before if that is still open.

        Raises :class:`ClientGone` when the client leaves first.
        """
        if self.request is None or self._seen:
            if self.streaming:
                self.end_stream()
            self._connection.resume()
            self.request = self.take(self._connection.read_head())
        self._seen = True
        return self.request

    def take(self, head: bytes) -> HttpRequest:
        """The request whose head has been read."""
        request, *fields = head.decode("latin-1").strip().split("\r\n")
        method, target, _ = request.split(" ")
        headers: dict[str, str] = {}
        for line in fields:
            name, _, value = line.partition(":")
            known = headers.get(name.lower())
            headers[name.lower()] = value.strip() if known is None else f"{known}, {value.strip()}"
        url = urlsplit(target)
        body = self._connection.read_body(self._length(headers))
        number = self._connection.record.number
        self.request = HttpRequest(number, method, url.path, parse_qs(url.query), headers, body)
        self._connection.shared.note_http(self.request)
        self._seen = False
        return self.request

    def _length(self, headers: Mapping[str, str]) -> int:
        if "transfer-encoding" in headers:
            self.respond(411)
            raise ScriptError("a request came without Content-Length")
        return int(headers.get("content-length", "0"))

    def receive_create(self) -> dict[str, Any]:
        """The body of the next request, which must create a response."""
        request = self.receive()
        if request.method != "POST" or not request.path.endswith("/responses"):
            raise ScriptError(f"{request.method} {request.path} came, which creates no response")
        try:
            body = request.json
        except ValueError:
            raise ScriptError("a request came whose body is not JSON") from None
        if not isinstance(body, dict):
            raise ScriptError("a request came whose body is no JSON object")
        return body

    # Answers

    def respond(
        self,
        status: int,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | Mapping[str, Any] = b"",
        reason: str | None = None,
        framing: str = "length",
    ) -> None:
        """Send a whole answer. The connection stays open, unless it ends the body."""
        kept = {} if framing == "close" else KEEP_ALIVE
        self.answer(http_response(status, {**kept, **(headers or {})}, body, reason, framing))
        if framing == "close":
            self._connection.finish(notify=True)

    def begin_stream(self, headers: Mapping[str, str] | None = None, *, chunked: bool = True) -> None:
        """Send the head of an event stream; without ``chunked`` the end of the connection ends it."""
        framing = {**KEEP_ALIVE, "Transfer-Encoding": "chunked"} if chunked else {"Connection": "close"}
        head = http_response(200, {**STREAM_HEADERS, **framing, **(headers or {})}, b"", None, "close")
        self.streaming = True
        self._chunked = chunked
        self.answer(head)

    def answer(self, data: bytes) -> None:
        """Send any bytes as the answer, or its beginning."""
        self.request = None
        self._connection.send_raw(data, kind="response")

    def stream(self, data: bytes) -> None:
        """Send bytes of the event stream, as one chunk, after its head."""
        if not self.streaming:
            self.begin_stream()
        if data:
            chunk = b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data
            self._connection.send_raw(chunk, kind=None)

    def send(self, *messages: MessageData) -> None:
        """Send each message as an event. One that ends a response, if it is the last, ends the answer."""
        for message in messages:
            self.send_event(message)
        if messages and _ends(messages[-1]):
            self.end_stream()

    def send_event(self, message: MessageData) -> None:
        """Send a message as an event, whatever it says."""
        if self._connection.gone:
            raise ClientGone
        data = encode(message)
        self._connection.log_message(data)
        self.stream(_event(message, data))

    def end_stream(self) -> None:
        """End the event stream in the way that its framing asks for."""
        if not self.streaming:
            self.begin_stream()
        self.streaming = False
        if self._chunked:
            # Who has the last event needs no more and may leave at once.
            with contextlib.suppress(ClientGone):
                self._connection.send_raw(LAST_CHUNK, kind=None)
        else:
            self._connection.finish(notify=True)


def _event(message: MessageData, data: bytes) -> bytes:
    lines = b"\n".join(b"data: " + line for line in data.split(b"\n"))
    kind = message.get("type") if isinstance(message, Mapping) else None
    name = f"event: {kind}\n".encode() if kind and isinstance(kind, str) else b""
    return b"%b%b\n\n" % (name, lines)


def _ends(message: MessageData) -> bool:
    return isinstance(message, Mapping) and message.get("type") in TERMINAL
