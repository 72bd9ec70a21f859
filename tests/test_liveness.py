"""Which silence is the end of a connection, which is not, and what ends a wait from another thread."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from shell import Task, answer, ask, completed, created, delta, join_readers, until, wait_until_in, websocket

from responses_ws import (
    ConnectionError,
    ConnectionLost,
    Delivery,
    Endpoint,
    Limits,
    ResponseTimeout,
    Timeouts,
    WebSocket,
    _link,
)
from responses_ws._connection import Connection
from responses_ws._transport.base import Target
from responses_ws.testing import (
    ScriptedServer,
    ScriptedTransport,
    close,
    deaf,
    delay,
    expect,
    expect_close,
    expect_gone,
    expect_ping,
    gate,
    hang,
    mark,
    no_pong,
    optional,
    ping,
    read_bytes,
    repeat,
    send,
    silence,
)

AT_ONCE = 2.0
PATIENT = Timeouts(connect=None, send=None, ping_interval=None, drain=None, close=None)
UNLIMITED = Limits(max_request_bytes=None)
LARGE = "x" * 5_000_000
LOAD = 10
"""How much slower than its clocks a busy machine may be."""


@pytest.fixture(params=[False, True], ids=["ws", "wss"])
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    with ScriptedServer(tls=request.param, receive_buffer=65536) as server:
        yield server


@pytest.fixture
def plain() -> Iterator[ScriptedServer]:
    """Where TLS makes no difference."""
    with ScriptedServer(receive_buffer=65536) as server:
        yield server


def pings(server: ScriptedServer, number: int = 1) -> int:
    """How many pings a connection has received."""
    found = [entry for entry in server.log if (entry.connection, entry.direction) == (number, "in")]
    return sum(entry.kind == "ping" for entry in found)


def then() -> tuple[Any, ...]:
    """The script of the connection after the one that was lost."""
    return expect(input="after"), send(*answer("resp_after", "after"))


# -- disconnect() from another thread


def functions(name: str) -> set[str]:
    """The functions that the threads of this name are in."""
    found = set()
    for thread in threading.enumerate():
        frame = (
            sys._current_frames().get(thread.ident or 0) if name in f"{type(thread)} {thread.name}" else None
        )
        while frame is not None:
            found.add(frame.f_code.co_name)
            frame = frame.f_back
    return found


def disconnect_at_once(ws: WebSocket) -> None:
    began = time.monotonic()
    Task(ws.disconnect).result()
    assert time.monotonic() - began < AT_ONCE
    assert not ws.connected


def test_disconnect_ends_a_wait(server):
    """The caller gets ConnectionLost with what is known, though the peer says nothing any more."""
    server.connection(expect(), mark("asked"), silence())
    server.connection(*then())
    ws = websocket(server, timeouts=PATIENT, response_timeout=None).connect()
    caller = Task(ask, ws, "first")
    server.wait_for("asked")
    wait_until_in(caller.ident or 0, "wait_for")
    disconnect_at_once(ws)
    error = caller.error()
    assert isinstance(error, ConnectionLost)
    assert (error.close_code, error.delivery, error.partial) == (None, Delivery.UNKNOWN, None)
    assert "disconnect()" in str(error)
    with ws:
        assert ask(ws, "after") == "after"


def test_disconnect_ends_a_stream(server):
    """In mid-answer the error carries the part."""
    server.connection(expect(), send(created("resp_1"), delta("part")), silence())
    server.connection(*then())
    ws = websocket(server, timeouts=PATIENT, response_timeout=None).connect()
    stream = ws.stream(model="m", input="first")
    pieces = stream.text
    assert next(pieces) == "part"
    reader = Task(next, pieces)
    wait_until_in(reader.ident or 0, "wait_for")
    disconnect_at_once(ws)
    error = reader.error()
    assert isinstance(error, ConnectionLost)
    assert (error.delivery, error.response_id) == (Delivery.STARTED, "resp_1")
    assert error.partial is not None
    assert error.partial.content == "part"
    with ws:
        assert ask(ws, "after") == "after"


def test_disconnect_ends_a_send(server):
    """In the middle of a request: ConnectionLost, and nothing is sent again."""
    server.connection(read_bytes(100_000), mark("stalled"), silence())
    server.connection(*then())
    ws = websocket(server, timeouts=PATIENT, limits=UNLIMITED).connect()
    sender = Task(ask, ws, LARGE)
    server.wait_for("stalled")
    wait_until_in(sender.ident or 0, "poll")
    disconnect_at_once(ws)
    error = sender.error()
    assert isinstance(error, ConnectionLost)
    assert error.delivery is Delivery.NOT_SENT
    assert "disconnect()" in str(error)
    with ws:
        assert ask(ws, "after") == "after"


def test_disconnect_ends_the_wait_for_a_lane(server):
    """Also who waits for an abandoned response to drain."""
    server.connection(expect(), send(created("resp_1")), mark("asked"), silence())
    ws = websocket(server, timeouts=PATIENT).connect()
    ws.stream(model="m", input="first").close()
    server.wait_for("asked")
    second = Task(ask, ws, "second")
    wait_until_in(second.ident or 0, "wait_for")
    disconnect_at_once(ws)
    assert isinstance(second.error(), ConnectionError)
    assert [request["input"] for request in server.requests] == ["first"]


@pytest.mark.parametrize(
    ("tls", "script", "function"),
    [
        pytest.param(True, hang(read=False), "do_handshake", id="TLS"),
        pytest.param(False, hang(), "read_head", id="upgrade"),
        pytest.param(True, hang(), "read_head", id="upgrade over TLS"),
    ],
)
def test_disconnect_ends_a_connect(tls, script, function):
    """Whichever step of it hangs."""
    with ScriptedServer(tls=tls) as server:
        server.connection(script)
        server.connection(*then())
        ws = websocket(server, timeouts=PATIENT)
        connecting = Task(ws.connect)
        until(lambda: "wait_for" in functions("Task") and function in functions("responses_ws-reader"))
        disconnect_at_once(ws)
        assert isinstance(connecting.error(), ConnectionError)
        join_readers()
        with ws:
            assert ask(ws, "after") == "after"


def test_disconnect_at_rest_is_bounded(server):
    """A peer that does not answer the close frame costs ``close`` seconds."""
    server.connection(deaf(), expect_close(1000))
    ws = websocket(server, timeouts=Timeouts(close=0.2)).connect()
    began = time.monotonic()
    ws.disconnect()
    assert 0.2 <= time.monotonic() - began < 0.2 * LOAD


def test_disconnect_twice_at_once(server):
    """Threads that close the same connection all return, and no second close frame was sent."""
    server.connection(expect(), mark("asked"), expect_gone())
    ws = websocket(server, timeouts=PATIENT, response_timeout=None).connect()
    caller = Task(ask, ws)
    server.wait_for("asked")
    for closing in [Task(ws.disconnect) for _ in range(8)]:
        closing.result()
    assert isinstance(caller.error(), ConnectionLost)
    until(server.connections[0].gone.is_set)
    assert sum(entry.kind == "close" and entry.direction == "in" for entry in server.log) <= 1


# -- a black hole

SHORT = Timeouts(ping_interval=0.15, ping_timeout=0.15)
NOTICED = 0.15 + 0.15


def test_a_black_hole_is_noticed_in_a_call(server):
    """Not a byte, not even a pong: within the interval and the timeout, and not before."""
    server.connection(expect(), send(created("resp_1")), gate("part"), send(delta("part")), silence())
    server.connection(*then())
    with websocket(server, timeouts=SHORT, response_timeout=None) as ws:
        pieces = ws.stream(model="m", input="first").text
        before_the_last_byte = time.monotonic()
        server.open("part")
        assert next(pieces) == "part"
        with pytest.raises(ConnectionLost, match="dead") as caught:
            next(pieces)
        assert NOTICED <= time.monotonic() - before_the_last_byte < NOTICED * LOAD
        assert caught.value.close_code is None
        assert caught.value.delivery is Delivery.STARTED
        assert caught.value.partial is not None
        assert not ws.connected
        assert ask(ws, "after") == "after"


def test_a_black_hole_is_noticed_at_rest(plain):
    """Nobody waits, and still ``connected`` tells the truth; the next call connects anew."""
    plain.connection(expect(), send(*answer("resp_1", "first")), silence())
    plain.connection(*then())
    with websocket(plain, timeouts=SHORT) as ws:
        before_the_last_byte = time.monotonic()
        ask(ws, "first")
        until(lambda: not ws.connected)
        assert NOTICED <= time.monotonic() - before_the_last_byte < NOTICED * LOAD
        assert ask(ws, "after") == "after"


def test_one_ping_goes_out_before_a_peer_is_given_up(plain):
    """A peer that reads and does not answer gets one ping."""
    plain.connection(no_pong(), expect_ping(), expect_gone())
    with websocket(plain, timeouts=SHORT) as ws:
        until(lambda: not ws.connected)
    assert pings(plain) == 1


def test_a_black_hole_is_noticed_while_a_response_drains(plain):
    """The peer dies with an abandoned response; the lane is free afterwards."""
    plain.connection(expect(), send(created("resp_1")), mark("asked"), silence())
    plain.connection(*then())
    with websocket(plain, timeouts=Timeouts(ping_interval=0.1, ping_timeout=0.1, drain=None)) as ws:
        ws.stream(model="m", input="first").close()
        plain.wait_for("asked")
        assert ask(ws, "after") == "after"


def test_a_dead_peer_is_noticed_while_sending(plain):
    """A send that does not move is ended by its own clock, which says so; the next call is not harmed."""
    plain.connection(read_bytes(100_000), silence())
    plain.connection(*then())
    timeouts = Timeouts(ping_interval=0.05, ping_timeout=0.05, send=0.4)
    with websocket(plain, timeouts=timeouts, limits=UNLIMITED) as ws:
        began = time.monotonic()
        with pytest.raises(ResponseTimeout, match="send") as caught:
            ask(ws, LARGE)
        assert 0.4 <= time.monotonic() - began < 0.4 * LOAD
        assert (caught.value.clock, caught.value.seconds) == ("send", 0.4)
        assert caught.value.delivery is Delivery.NOT_SENT
        assert ask(ws, "after") == "after"


# -- what is alive


def test_a_peer_that_answers_pings_is_left_alone(plain):
    """At rest and in a call, for longer than interval and timeout together, without an event."""
    alive = repeat(11, expect_ping())
    plain.connection(
        alive, mark("rested"), expect(), alive, send(*answer("resp_1", "at last")), expect_close()
    )
    with websocket(plain, timeouts=Timeouts(ping_interval=0.03, ping_timeout=0.3)) as ws:
        plain.wait_for("rested")
        assert ask(ws) == "at last"
    assert len(plain.connections) == 1


@pytest.mark.parametrize("byte", ["an event", "a ping"])
def test_any_byte_is_life(plain, byte):
    """While the peer sends by itself, no ping is needed."""
    steps = {"an event": send(delta(".")), "a ping": ping()}
    life = repeat(14, steps[byte], delay(0.04))
    plain.connection(expect(), send(created("resp_1")), life, send(completed("resp_1")), expect_close())
    with websocket(plain, timeouts=Timeouts(ping_interval=0.5, ping_timeout=0.1)) as ws:
        ask(ws)
    assert pings(plain) == 0


def test_no_interval_no_ping(plain):
    """``ping_interval=None`` turns it off."""
    plain.connection(expect(), delay(0.2), send(*answer("resp_1", "late")), expect_close())
    with websocket(plain, timeouts=Timeouts(ping_interval=None, ping_timeout=0.05)) as ws:
        assert ask(ws) == "late"
    assert pings(plain) == 0


def test_a_large_send_suspends_the_deadline_of_the_pong(plain):
    """A peer that does not read our request cannot read our ping."""
    plain.connection(
        read_bytes(100_000), delay(1.5), expect(), send(*answer("resp_1", "got it")), expect_close(1000)
    )
    with websocket(plain, timeouts=Timeouts(ping_interval=0.1, ping_timeout=1.0), limits=UNLIMITED) as ws:
        assert ask(ws, LARGE) == "got it"
    assert len(plain.connections) == 1


def test_a_close_at_rest_is_known_at_once(server):
    """The reader sees it, though nobody asks."""
    server.connection(gate("close"), close(1001))
    with websocket(server, timeouts=PATIENT) as ws:
        server.open("close")
        until(lambda: not ws.connected)


# -- the clocks of a response


def test_pongs_do_not_feed_the_clock_of_the_response(plain):
    """The connection lives, the response does not."""
    plain.connection(
        expect(), send(created("resp_1"), delta("part")), repeat(4, expect_ping()), expect_gone()
    )
    plain.connection(*then())
    timeouts = Timeouts(ping_interval=0.05, ping_timeout=5, drain=0.05)
    with websocket(plain, timeouts=timeouts, response_timeout=0.4) as ws:
        began = time.monotonic()
        with pytest.raises(ResponseTimeout, match="response_timeout") as caught:
            ask(ws, "first")
        assert 0.4 <= time.monotonic() - began < 0.4 * LOAD
        assert (caught.value.clock, caught.value.seconds) == ("response_timeout", 0.4)
        assert caught.value.partial is not None
        assert caught.value.partial.content == "part"
        assert ws.connected, "the connection is not to blame"
        assert ask(ws, "after") == "after"


def test_events_feed_the_clock_of_the_response(plain):
    """An answer may take longer than ``response_timeout`` when it does not pause so long."""
    life = repeat(14, send(delta(".")), delay(0.04))
    plain.connection(expect(), send(created("resp_1")), life, send(completed("resp_1")), expect_close())
    with websocket(plain, response_timeout=0.5) as ws:
        assert ask(ws) == "." * 14


def test_the_clock_of_the_call_runs_through(plain):
    """``total`` ends also an answer that never pauses."""
    life = optional(repeat(1000, send(delta(".")), delay(0.02)))
    plain.connection(expect(), send(created("resp_1")), life)
    with websocket(plain, timeouts=Timeouts(total=0.3)) as ws:
        began = time.monotonic()
        with pytest.raises(ResponseTimeout, match="total") as caught:
            ask(ws)
        assert 0.3 <= time.monotonic() - began < 0.3 * LOAD
        assert (caught.value.clock, caught.value.seconds) == ("total", 0.3)


# -- who looks after a connection


@pytest.mark.parametrize(
    ("brought", "interval", "looks"),
    [
        pytest.param(None, 1.0, [1.0, 2.0, 3.0], id="silence"),
        pytest.param([], 1.0, [1.0, 2.0, 3.0], id="pings"),
        pytest.param([b'{"type": "response.unknown"}'], 1.0, [1.0, 2.0, 3.0], id="messages"),
        pytest.param([], None, [], id="no interval"),
    ],
)
def test_the_watcher_looks_once_an_interval(monkeypatch, brought, interval, looks):
    """Whatever comes meanwhile."""
    now, seen = [0.0], []
    monkeypatch.setattr(_link, "time", SimpleNamespace(monotonic=lambda: now[0]))
    transport = ScriptedTransport()

    def receive(_: float | None) -> list[bytes] | None:
        now[0] += 0.25
        if now[0] > 3.5:
            raise ConnectionLost("the end of the test")
        return brought

    transport.receive = receive
    url = "ws://localhost/v1/responses"
    connection = Connection(Endpoint(url), max_buffered_bytes=None, patience=None)
    connection.watcher = lambda *, ended: seen.append((now[0], ended))
    target = Target(url, timeouts=Timeouts(ping_interval=interval, ping_timeout=None))
    with pytest.raises(ConnectionLost, match="the end of the test"):
        _link._read(connection, _link.Link(None), transport, target)
    assert seen == [(second, False) for second in looks]
