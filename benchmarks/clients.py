"""The clients, each as its users would write it: send a request, hand over each piece of text, keep the end.

This module has ours and the bare libraries, :mod:`peers` the other SDKs. Nothing is imported before it is
used, so that a client meets only what it needs itself.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import peers
from harness import Server
from peers import API_KEY, MODEL, PROMPT
from turns import WARM_UP_EVENTS, Turn

__all__ = [
    "CLIENTS",
    "OFFICIAL",
    "OURS",
    "OURS_HTTP",
    "OURS_ORJSON",
    "Client",
    "Exchange",
    "available",
    "opened",
    "streaming",
]

Take: TypeAlias = Callable[[str], object]
Exchange: TypeAlias = Callable[..., str]
"""``exchange(metadata, take, input=PROMPT)`` runs one turn: hands each delta's text to ``take`` and returns
the final text."""


@dataclass(frozen=True)
class Client:
    """How to open a client, and what must be installed for it.

    :ivar speed: whether it may import orjson, and then must.
    """

    open: Callable[[str], contextlib.AbstractContextManager[Exchange]]
    modules: tuple[str, ...]
    scheme: str = "ws"
    speed: bool = False


@contextlib.contextmanager
def opened(name: str, server: Server, *, secure: bool = False, warm: bool = True) -> Iterator[Exchange]:
    """A connected client, warm unless told otherwise: one turn over, so that nothing happens first."""
    client = CLIENTS[name]
    if not client.speed:
        sys.modules["orjson"] = None  # type: ignore[assignment]  # importing it fails as if it were not installed
    if secure:
        os.environ["SSL_CERT_FILE"] = os.environ["WEBSOCKET_CLIENT_CA_BUNDLE"] = server.ca_file or ""
    with client.open(server.url(client.scheme, secure=secure)) as exchange:
        if warm:
            exchange(Turn(events=WARM_UP_EVENTS).metadata, lambda _delta: None)
            if client.speed and "orjson" not in sys.modules:
                raise RuntimeError(f"{name} did not use orjson")
        yield exchange


def available(*names: str) -> list[str]:
    """Those of the clients that are installed here."""
    return [name for name in names or CLIENTS if all(map(_installed, CLIENTS[name].modules))]


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False


@contextlib.contextmanager
def responses_ws_stream(url: str) -> Iterator[Exchange]:
    """``WebSocket.stream``: its threads, chunks, accumulator."""
    from responses_ws import WebSocket

    with WebSocket(api_key=API_KEY, api_base=url) as ws:
        yield streaming(ws.stream)


@contextlib.contextmanager
def responses_ws_http(url: str) -> Iterator[Exchange]:
    """``HTTPTransport.stream``: the same over ``POST /v1/responses``."""
    from responses_ws.http_transport import HTTPTransport

    with HTTPTransport(api_key=API_KEY, api_base=url) as http:
        yield streaming(http.stream)


def streaming(start: Callable[..., Any]) -> Exchange:
    """Of anything that has the arguments of ``WebSocket.stream``."""

    def exchange(metadata: Mapping[str, str], take: Take, input: str = PROMPT) -> str:
        with start(model=MODEL, input=input, metadata=metadata) as stream:
            for chunk in stream:
                if chunk.content:
                    take(chunk.content)
            content: str = stream.message.content
            return content

    return exchange


@contextlib.contextmanager
def websocket_client_loop(url: str) -> Iterator[Exchange]:
    """``recv()`` and ``json.loads`` on websocket-client with its defaults, and nothing else."""
    from websocket import create_connection

    ws = create_connection(f"{url}/responses", header={"Authorization": f"Bearer {API_KEY}"})
    with contextlib.closing(ws):
        yield _bare(ws.send, ws.recv)


@contextlib.contextmanager
def websockets_loop(url: str) -> Iterator[Exchange]:
    """``recv()`` and ``json.loads`` on the threaded client of websockets, its limit of 1 MiB lifted."""
    from websockets.sync.client import connect

    headers = {"Authorization": f"Bearer {API_KEY}"}
    with connect(f"{url}/responses", additional_headers=headers, max_size=None, proxy=None) as ws:
        yield _bare(ws.send, ws.recv)


def _bare(send: Callable[[str], object], receive: Callable[[], str | bytes]) -> Exchange:
    def exchange(metadata: Mapping[str, str], take: Take, input: str = PROMPT) -> str:
        send(json.dumps({"type": "response.create", "model": MODEL, "input": input, "metadata": metadata}))
        while True:
            event = json.loads(receive())
            if event["type"] == "response.output_text.delta":
                take(event["delta"])
            elif event["type"] == "response.completed":
                text: str = event["response"]["output"][0]["content"][0]["text"]
                return text

    return exchange


OURS = "responses_ws"
OURS_ORJSON = "responses_ws with orjson"
OURS_HTTP = "responses_ws over HTTP"
OFFICIAL = "openai"

CLIENTS = {
    OURS: Client(responses_ws_stream, ("responses_ws",)),
    OURS_ORJSON: Client(responses_ws_stream, ("responses_ws", "orjson"), speed=True),
    OURS_HTTP: Client(responses_ws_http, ("responses_ws.http_transport",), scheme="http"),
    "websocket-client": Client(websocket_client_loop, ("websocket",)),
    "websockets": Client(websockets_loop, ("websockets",)),
    OFFICIAL: Client(peers.openai_loop, ("openai", "websockets")),
    "openai lanes": Client(peers.openai_lane, ("openai.lib.responses_websocket", "websockets")),
    "openai over HTTP": Client(peers.openai_http, ("openai",), scheme="http"),
    "openai-agents": Client(peers.agents_model, ("agents", "websockets")),
}
