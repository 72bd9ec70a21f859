"""What goes wrong while a caller reads the socket himself: what the thread makes of it, and the user."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from shell import (
    Task,
    ask,
)

from responses_ws import ConnectionLost, Timeouts, WebSocket
from responses_ws._call import Call
from responses_ws._reading import Reading
from responses_ws.testing import ScriptedConnector, ScriptedTransport

QUIET = Timeouts(ping_interval=None)


def connected(connector: ScriptedConnector, timeouts: Timeouts = QUIET) -> WebSocket:
    return WebSocket("any", api_base="ws://localhost/v1", client_class=connector, timeouts=timeouts).connect()


@pytest.fixture
def connector() -> ScriptedConnector:
    return ScriptedConnector()


@pytest.fixture
def ws(connector: ScriptedConnector) -> Iterator[WebSocket]:
    with connected(connector) as ws:
        yield ws


# -- the thread that stands by


def test_a_peer_that_is_dead_is_not_taken_for_alive_because_the_reader_changes(connector):
    """One ping without an answer is enough, whoever reads."""
    with connected(connector, Timeouts(ping_interval=0.2, ping_timeout=0.2)) as ws:
        with pytest.raises(ConnectionLost, match="dead"):
            ask(ws)
        assert connector.transports[0].pings == 1


class Single:
    """A connection on which one response runs."""

    single = True

    def __init__(self) -> None:
        self.delivered: list[Any] = []

    def deliver(self, link: object, payloads: list[bytes], now: float) -> None:
        self.delivered += payloads


class Aborted:
    """A link that is told to end."""

    def __init__(self) -> None:
        self.cause: Exception | None = None

    def abort(self, cause: Exception) -> None:
        self.cause = cause


def handed_over(transport: ScriptedTransport) -> Reading:
    """What this thread has just given away, and now stands by."""
    reading = Reading(Single(), Aborted(), transport)
    call = Call()
    assert not Task(reading.attend, call, 0.0).result()
    reading.receive(0)
    assert call.queue.take() is not None
    return reading


def test_bytes_that_came_between_two_looks_are_a_sign_of_life():
    """A pong that a caller has read, while the thread was about to look, is all that comes of the peer."""
    transport = ScriptedTransport()
    reading = handed_over(transport)
    transport.deliver()
    assert Task(reading.attend, Call(), 0.0).result()
    assert reading.receive(None) == []
