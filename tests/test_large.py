"""Requests of many megabytes over links that are slow, full, deaf or about to break."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from shell import (
    SECONDS,
    Task,
    answer,
    ask,
    completed,
    created,
    delta,
    error_event,
    join_readers,
    until,
    websocket,
)

from responses_ws import (
    BadRequestError,
    ConcurrencyError,
    ConnectionLost,
    Delivery,
    Limits,
    PayloadTooLarge,
    ResponseTimeout,
    Timeouts,
)
from responses_ws.testing import (
    ScriptedServer,
    close,
    close_frame,
    delay,
    eof,
    expect,
    expect_gone,
    expect_pong,
    gate,
    mark,
    ping,
    read_bytes,
    reset,
    send,
)

MIB = 1024 * 1024
LARGE = "0123456789abcdef" * 1_250_000
"""20 MB, more than the buffers of the kernel take."""

UNLIMITED = Limits(max_request_bytes=None)


@pytest.fixture(params=[False, True], ids=["ws", "wss"])
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    """A server at the end of a slow link."""
    with ScriptedServer(tls=request.param, receive_buffer=16 * 1024) as server:
        yield server


def arrived(server: ScriptedServer) -> list[str]:
    """What came from clients, by kind, upgrades and ends excepted."""
    kinds = [entry.kind for entry in server.log if entry.direction == "in"]
    return [kind for kind in kinds if kind in ("text", "pong", "ping", "close")]


# -- what goes on while a request is sent


def test_a_ping_in_the_middle_of_an_upload_is_answered_before_its_end(server):
    """The pong arrives while most of the 20 MB has not been read, and the message arrives whole."""
    server.connection(
        read_bytes(100_000),
        ping(b"one"),
        expect_pong(b"one"),
        read_bytes(100_000),
        ping(b"two"),
        expect_pong(b"two"),
        expect(input=LARGE),
        send(*answer("resp_1", "read it")),
    )
    with websocket(server, limits=UNLIMITED) as ws:
        assert ask(ws, LARGE) == "read it"
    assert arrived(server)[:3] == ["pong", "pong", "text"]


def test_an_answer_that_comes_before_the_request_has_left_is_the_answer(server):
    """A server that writes 10 MB before it reads blocks nobody, and not a piece is lost."""
    pieces = [f"{number:05d}" * 2000 for number in range(1000)]
    server.connection(
        read_bytes(1000),
        send(created("resp_1"), *(delta(piece) for piece in pieces)),
        ping(),
        expect(input=LARGE),
        send(completed("resp_1")),
    )
    with websocket(server, limits=UNLIMITED) as ws:
        assert ask(ws, LARGE) == "".join(pieces)


def test_a_terminal_event_before_the_request_has_left_ends_the_turn_once(server):
    """The lane is free for the next request only after both, and each gets its own answer."""
    server.connection(
        read_bytes(1000),
        send(*answer("resp_1", "early")),
        expect(input=LARGE),
        expect(input="second"),
        send(*answer("resp_2", "second answer")),
    )
    with websocket(server, limits=UNLIMITED) as ws:
        assert ask(ws, LARGE) == "early"
        assert ask(ws, "second") == "second answer"


def test_a_second_request_does_not_come_between(server):
    """While one is being sent another thread is refused, and the first arrives whole."""
    server.connection(
        read_bytes(1000),
        mark("begun"),
        gate("refused"),
        expect(input=LARGE),
        send(*answer("resp_1", "whole")),
    )
    with websocket(server, limits=UNLIMITED) as ws:
        first = Task(ask, ws, LARGE)
        server.wait_for("begun")
        with pytest.raises(ConcurrencyError):
            ask(ws, "second")
        server.open("refused")
        assert first.result() == "whole"


@pytest.mark.slow
def test_a_peer_that_is_busy_reading_is_not_dead(server):
    """While a request is on its way the ping clock does not run; the send clock does."""
    timeouts = Timeouts(ping_interval=0.2, ping_timeout=0.3, send=SECONDS)
    server.connection(
        read_bytes(1000), delay(1.2), expect(input=LARGE[: 5 * MIB]), send(*answer("resp_1", "slow"))
    )
    with websocket(server, timeouts=timeouts) as ws:
        assert ask(ws, LARGE[: 5 * MIB]) == "slow"
    assert len(server.connections) == 1


# -- sizes


@pytest.mark.parametrize("size", [1, 125, 126, 65535, 65536, 65537, 131072, 1_000_000])
def test_every_size_arrives_whole(server, size):
    """Around the steps of a frame's length and of our fragments, request and answer are what was sent."""
    text = "0123456789abcdef" * (size // 16 + 1)
    envelope = len('{"type":"response.create","model":"m","input":""}')
    text = text[: max(1, size - envelope)]
    server.connection(expect(input=text), send(*answer("resp_1", text)))
    with websocket(server) as ws:
        assert ask(ws, text) == text


def test_a_request_over_the_limit_is_refused_before_a_byte_leaves(server):
    """15 MiB unless told otherwise; the connection stays, and what follows is answered on it."""
    server.connection(expect(input="small"), send(*answer("resp_1", "fine")))
    with websocket(server) as ws:
        with pytest.raises(PayloadTooLarge) as caught:
            ask(ws, LARGE)
        assert caught.value.delivery is Delivery.NOT_SENT
        assert (caught.value.limit, caught.value.size > len(LARGE)) == (15 * 1024 * 1024, True)
        assert LARGE[:100] not in str(caught.value)
        assert ask(ws, "small") == "fine"


# -- what goes wrong while a request is sent


def lost(ws: Any, text: str = LARGE) -> ConnectionLost:
    with pytest.raises(ConnectionLost) as caught:
        ask(ws, text)
    return caught.value


@pytest.mark.parametrize("reused", [False, True], ids=["first request", "later request"])
def test_a_1009_in_the_middle_is_told_and_not_tried_again(server, reused):
    """The server's reason is the error, not the broken pipe; the same message would meet the same."""
    before = [expect(input="hi"), send(*answer("resp_0", "hello"))] if reused else []
    server.connection(*before, read_bytes(100_000), close(1009, "too large for us"))
    server.connection(expect(input="small"), send(*answer("resp_1", "fine")))
    with websocket(server, limits=UNLIMITED) as ws:
        if reused:
            assert ask(ws, "hi") == "hello"
        error = lost(ws)
        assert (error.close_code, error.close_reason) == (1009, "too large for us")
        assert error.delivery is Delivery.NOT_SENT
        assert len(server.connections) == 1
        assert ask(ws, "small") == "fine"
    assert [request["input"] for request in server.requests][reused:] == ["small"]


@pytest.mark.parametrize("end", [reset(), eof(), close(1000)], ids=["reset", "eof", "close"])
def test_a_refusal_in_the_middle_is_the_error_and_nothing_is_sent_again(server, end):
    """A gateway may say why before it has read the request, and leave."""
    server.connection(
        expect(input="hi"),
        send(*answer("resp_0", "hello")),
        read_bytes(100_000),
        gate("refuse"),
        send(error_event("request_too_large", 400)),
        gate("told"),
        end,
    )
    server.connection(expect(input="small"), send(*answer("resp_1", "fine")))
    with websocket(server, limits=UNLIMITED) as ws:
        assert ask(ws, "hi") == "hello"
        large = Task(ask, ws, LARGE)
        until(lambda: ws.in_flight)
        server.open("refuse")
        until(lambda: not ws.in_flight)
        server.open("told")
        error = large.error()
        assert isinstance(error, BadRequestError)
        assert (error.code, error.delivery) == ("request_too_large", Delivery.REJECTED)
        assert len(server.connections) == 1
        assert ask(ws, "small") == "fine"
    assert [request["input"] for request in server.requests] == ["hi", "small"]


def test_a_close_frame_behind_a_ping_that_cannot_be_answered_is_seen(server):
    """The pong waits behind our own upload; the close frame after the ping does not wait for the pong."""
    server.connection(
        read_bytes(100_000), ping(), close_frame(b"\x03\xf0policy"), gate("seen"), expect_gone()
    )
    with websocket(server, limits=UNLIMITED) as ws:
        error = lost(ws)
        server.open("seen")
        assert (error.close_code, error.close_reason) == (1008, "policy")
        assert error.delivery is Delivery.NOT_SENT


@pytest.mark.parametrize("end", [reset(), eof(), close(1012)], ids=["reset", "eof", "close"])
def test_an_end_in_the_middle_of_the_first_request_is_an_error(server, end):
    """A connection that was made for this call and fails is not replaced; nothing of the message was run."""
    server.connection(gate("leave"), close(1001))
    server.connection(read_bytes(100_000), end, expect_gone())
    with websocket(server, limits=UNLIMITED) as ws:
        server.open("leave")
        assert server.connections[0].gone.wait(SECONDS)
        join_readers()
        assert lost(ws).delivery is Delivery.NOT_SENT
    assert len(server.connections) == 2
    assert server.requests == []


@pytest.mark.parametrize("end", [reset(), eof(), close(1001)], ids=["reset", "eof", "close"])
def test_an_end_in_the_middle_of_a_later_request_costs_a_connection(server, end):
    """A connection that had been in use may be stale: the request goes to a new one, whole, and once."""
    server.connection(expect(), send(*answer("resp_0", "hello")), read_bytes(100_000), end, expect_gone())
    server.connection(expect(input=LARGE), send(*answer("resp_1", "read it")))
    with websocket(server, limits=UNLIMITED) as ws:
        assert ask(ws, "hi") == "hello"
        assert ask(ws, LARGE) == "read it"
    assert [len(request["input"]) for request in server.requests] == [2, len(LARGE)]


def test_a_send_without_progress_ends_by_the_send_clock(server):
    """The error names the clock; the half message is followed by nothing, the next call by a connection."""
    server.connection(read_bytes(100_000), gate("end"), expect_gone())
    server.connection(expect(input="small"), send(*answer("resp_1", "fine")))
    with websocket(server, limits=UNLIMITED, timeouts=Timeouts(send=0.3)) as ws:
        begun = time.monotonic()
        with pytest.raises(ResponseTimeout) as caught:
            ask(ws, LARGE)
        assert time.monotonic() - begun < 5
        assert (caught.value.clock, caught.value.seconds) == ("send", 0.3)
        assert caught.value.delivery is Delivery.NOT_SENT
        server.open("end")
        assert ask(ws, "small") == "fine"
    assert arrived(server)[:1] == ["text"]


def test_a_disconnect_in_the_middle_wakes_the_sender(server):
    """Another thread ends an upload that is stuck, at once."""
    server.connection(read_bytes(100_000), mark("stuck"), gate("over"), expect_gone())
    with websocket(server, limits=UNLIMITED) as ws:
        sender = Task(lost, ws)
        server.wait_for("stuck")
        begun = time.monotonic()
        ws.disconnect()
        assert time.monotonic() - begun < 0.5
        assert sender.result().delivery is Delivery.NOT_SENT
        server.open("over")


def test_many_large_requests_one_after_the_other(server):
    """Nothing of one is left over for the next, in either direction."""
    asked, told = LARGE[: 3 * MIB], LARGE[: 2 * MIB]
    turns = [(expect(input=asked), send(*answer(f"resp_{number}", told))) for number in range(3)]
    server.connection(*(step for turn in turns for step in turn))
    with websocket(server) as ws:
        assert [ask(ws, asked) for _ in turns] == [told] * 3
