"""The clients, each as its users would write it: send a request, hand over each piece of text, keep the end.

Each is measured in a process of its own, after one turn of warming up.
"""

# mypy: disable-error-code="import-not-found"
# The peers are no dependencies: the types are checked where benchmarks/requirements.txt is installed as well.

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from server import WARM_UP_EVENTS

__all__ = ["CLIENTS", "Burst", "Latency", "latency_of", "measure_burst", "measure_paced"]

Metadata: TypeAlias = dict[str, str]
Take: TypeAlias = Callable[[str], object]
Exchange: TypeAlias = Callable[[Metadata, Take], str]
"""Runs one turn: hands each delta's text to the second argument and returns the final text."""

API_KEY = "sk-benchmark"
MODEL = "gpt-5.5"
PROMPT = "Tell me at length about connections."


@dataclass(frozen=True)
class Burst:
    """One burst in one process, both in microseconds per delta event.

    :ivar cpu: user and system time of all threads of the client.
    :ivar wall: from the request to the final message.
    """

    cpu: float
    wall: float


@dataclass(frozen=True)
class Latency:
    """Percentiles of one paced turn, in microseconds from the server's send to the caller's code."""

    p50: float
    p99: float


def measure_burst(client: str, url: str, events: int, speed: bool) -> Burst:
    """What a turn of ``events`` deltas costs when they come as fast as the client takes them."""
    parts: list[str] = []
    with opened(client, url, speed) as exchange:
        cpu, wall = time.process_time(), time.perf_counter()
        text = exchange(metadata_of(events, rate=0), parts.append)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    check(client, text, parts, events)
    return Burst(cpu / events * 1e6, wall / events * 1e6)


def measure_paced(client: str, url: str, events: int, rate: int, speed: bool) -> Latency:
    """How long each of ``events`` deltas, sent at ``rate`` a second, takes to reach the caller."""
    parts: list[str] = []
    latencies: list[int] = []

    def take(delta: str) -> None:
        latencies.append(time.monotonic_ns() - int(delta))
        parts.append(delta)

    with opened(client, url, speed) as exchange:
        text = exchange(metadata_of(events, rate), take)
    check(client, text, parts, events)
    return latency_of(latencies)


def latency_of(nanoseconds: list[int]) -> Latency:
    """The percentiles of one turn."""
    cuts = statistics.quantiles(nanoseconds, n=100, method="inclusive")
    return Latency(cuts[49] / 1e3, cuts[98] / 1e3)


@contextlib.contextmanager
def opened(client: str, url: str, speed: bool) -> Iterator[Exchange]:
    """A connected and warm client; ``speed`` says whether it can import orjson, and then it must."""
    if not speed:
        sys.modules["orjson"] = None  # type: ignore[assignment]  # importing it fails as if it were not installed
    with CLIENTS[client](url) as exchange:
        exchange(metadata_of(WARM_UP_EVENTS, rate=0), lambda _delta: None)
        if speed and "orjson" not in sys.modules:
            raise RuntimeError(f"{client} did not use orjson")
        yield exchange


def check(client: str, text: str, parts: list[str], events: int) -> None:
    """A client that loses, doubles or garbles text is not measured."""
    if len(parts) != events or "".join(parts) != text:
        raise RuntimeError(f"{client} took {len(parts)} deltas of {events}, or text other than the final one")


def metadata_of(events: int, rate: int) -> Metadata:
    return {"events": str(events), "rate": str(rate)}


@contextlib.contextmanager
def responses_ws_stream(url: str) -> Iterator[Exchange]:
    """``WebSocket.stream``: reader thread, queue, chunks, accumulator."""
    from responses_ws import WebSocket

    with WebSocket(api_key=API_KEY, api_base=url) as ws:

        def exchange(metadata: Metadata, take: Take) -> str:
            with ws.stream(model=MODEL, input=PROMPT, metadata=metadata) as stream:
                for chunk in stream:
                    if chunk.content:
                        take(chunk.content)
                return stream.message.content

        yield exchange


@contextlib.contextmanager
def websocket_client_loop(url: str) -> Iterator[Exchange]:
    """``recv()`` and ``json.loads`` on websocket-client with its defaults, and nothing else."""
    from websocket import create_connection

    ws = create_connection(f"{url}/responses", header={"Authorization": f"Bearer {API_KEY}"})

    def exchange(metadata: Metadata, take: Take) -> str:
        request = {"type": "response.create", "model": MODEL, "input": PROMPT, "metadata": metadata}
        ws.send(json.dumps(request))
        while True:
            event = json.loads(ws.recv())
            if event["type"] == "response.output_text.delta":
                take(event["delta"])
            elif event["type"] == "response.completed":
                text: str = event["response"]["output"][0]["content"][0]["text"]
                return text

    with contextlib.closing(ws):
        yield exchange


@contextlib.contextmanager
def openai_loop(url: str) -> Iterator[Exchange]:
    """The official SDK's ``client.responses.connect()``, iterated as its documentation shows."""
    from openai import OpenAI

    with OpenAI(api_key=API_KEY, websocket_base_url=url) as client, client.responses.connect() as connection:

        def exchange(metadata: Metadata, take: Take) -> str:
            connection.response.create(model=MODEL, input=PROMPT, metadata=metadata)
            for event in connection:
                if event.type == "response.output_text.delta":
                    take(event.delta)
                elif event.type == "response.completed":
                    text: str = event.response.output_text
                    return text
            raise RuntimeError("the connection ended before the turn")

        yield exchange


CLIENTS: dict[str, Callable[[str], contextlib.AbstractContextManager[Exchange]]] = {
    "responses_ws": responses_ws_stream,
    "websocket-client": websocket_client_loop,
    "openai": openai_loop,
}
