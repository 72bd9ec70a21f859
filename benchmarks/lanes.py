"""Clients with many requests at once on one connection."""

# mypy: disable-error-code="import-not-found"
# The peers are no dependencies: the types are checked where benchmarks/requirements.txt is installed as well.

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import TypeAlias

import peers
from clients import OURS, OURS_ORJSON, Exchange, available, streaming
from peers import API_KEY

__all__ = ["LANES", "available_lanes"]

Open: TypeAlias = Callable[[str, int], contextlib.AbstractContextManager[list[Exchange]]]


@contextlib.contextmanager
def responses_ws_lanes(url: str, count: int) -> Iterator[list[Exchange]]:
    from responses_ws import Endpoint, WebSocket

    endpoint = dataclasses.replace(Endpoint.of(url), max_in_flight=16, max_lanes=32)
    with WebSocket(api_key=API_KEY, endpoint=endpoint) as ws:
        yield [streaming(ws.lane(f"lane-{number}").stream) for number in range(count)]


@contextlib.contextmanager
def without_orjson(url: str, count: int) -> Iterator[list[Exchange]]:
    sys.modules["orjson"] = None  # type: ignore[assignment]  # importing it fails as if it were not installed
    with responses_ws_lanes(url, count) as exchanges:
        yield exchanges


@contextlib.contextmanager
def openai_lanes(url: str, count: int) -> Iterator[list[Exchange]]:
    with peers.openai_session(url) as session:
        yield [peers.on_lane(session.lane(f"lane-{number}")) for number in range(count)]


LANES: dict[str, Open] = {
    OURS: without_orjson,
    OURS_ORJSON: responses_ws_lanes,
    "openai lanes": openai_lanes,
}


def available_lanes() -> list[str]:
    """Those of the clients that are installed here."""
    return available(*LANES)
