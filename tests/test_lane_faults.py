"""What one lane suffers, and what the others of its connection have to suffer with it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from laning import (
    IN_FLIGHT,
    ask,
    begin,
    begun,
    ended,
    on,
    starts,
    turn,
    waiting,
    waits,
    with_lanes,
)
from shell import KEY, PAUSE, SECONDS, Task, answer, delta, error_event, stack, until, wait_until_in
from test_fork import Child

from responses_ws import (
    ConnectionError,
    ConnectionLimitReached,
    ConnectionLost,
    Delivery,
    Endpoint,
    Limits,
    PayloadTooLarge,
    ProtocolError,
    RateLimitError,
    ResponseTimeout,
    ServerError,
    Timeouts,
    WebSocket,
)
from responses_ws.testing import (
    Model,
    ScriptedConnector,
    ScriptedServer,
    close,
    expect,
    expect_close,
    expect_gone,
    gate,
    mark,
    read_bytes,
    repeat,
    reset,
    send,
)

LARGE = "x" * 8 * 1024 * 1024
BRIEF = Timeouts(drain=0.01)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(receive_buffer=65536) as server:
        yield server


def several_drains() -> None:
    """Time enough for somebody to lose patience wrongly."""
    PAUSE.wait(0.3)


# -- leaving


def test_an_abandoned_response_costs_the_others_nothing(server: ScriptedServer) -> None:
    """Who comes after it on its lane waits as long as others run; then the connection is given up for it."""
    server.connection(
        *starts("a", "b"), *turn("c", "resp_c", "C"), gate("end"), send(*ended("b")), expect_gone()
    )
    server.connection(*turn("a", "resp_2", "two"))
    with with_lanes(server, timeouts=BRIEF) as ws:
        a, b = begin(ws, "a", "b")
        a.close()
        second = waiting(ask, ws.lane("a"))
        assert ask(ws.lane("c")) == "C"
        several_drains()
        assert waits(second)
        assert len(server.connections) == 1
        server.open("end")
        assert b.message.content == "begun ended"
        assert second.result() == "two"
    assert len(server.connections) == 2


def test_an_abandoned_response_that_ends_in_time(server: ScriptedServer) -> None:
    """Its lane goes on where it was, and so does everybody."""
    server.connection(
        *starts("a", "b"), gate("end"), send(*ended("a")), *turn("a", "resp_2", "two"), send(*ended("b"))
    )
    with with_lanes(server, timeouts=Timeouts(drain=SECONDS)) as ws:
        a, b = begin(ws, "a", "b")
        a.close()
        second = waiting(ask, ws.lane("a"))
        server.open("end")
        assert second.result() == "two"
        assert b.message.content == "begun ended"
    assert len(server.connections) == 1


@pytest.mark.parametrize("count", [1, IN_FLIGHT])
def test_every_place_taken_by_what_was_left(server: ScriptedServer, count: int) -> None:
    """The connection is given up once; all who waited for a place are answered on the next one."""
    names = [f"lane-{number}" for number in range(count)]
    server.connection(*starts(*names), expect_gone())
    server.model = Model()
    with with_lanes(server, max_in_flight=count, timeouts=Timeouts(drain=0.05)) as ws:
        for stream in begin(ws, *names):
            stream.close()
        others = {name: Task(ask, ws.lane(name), name) for name in ("x", "y", "z")}
        for name, other in others.items():
            assert other.result() == f"You said: {name}."
    assert len(server.connections) == 2


def test_a_consumer_who_is_too_slow(server: ScriptedServer) -> None:
    """It loses its own response; the connection and the other lanes go on."""
    many = [delta("y" * 1000, "msg_a") for _ in range(50)]
    of_c = turn("c", "resp_c", "C")
    server.connection(*starts("a", "b"), send(*on("a", *many), *ended("a")), send(*ended("b")), *of_c)
    with with_lanes(server, limits=Limits(max_buffered_bytes=20_000)) as ws:
        a, b = begin(ws, "a", "b")
        assert b.message.content == "begun ended"
        assert ask(ws.lane("c")) == "C"
        with pytest.raises(PayloadTooLarge) as slow:
            a.run()
        assert slow.value.delivery is Delivery.STARTED
    assert len(server.connections) == 1


# -- errors


def test_a_lanes_error_is_its_own(server: ScriptedServer) -> None:
    """Before its first event and after it; the lane can be used again."""
    server.connection(
        *starts("a", "b"),
        send(*on("a", error_event("server_error", 500))),
        expect(stream_id="c"),
        send(*on("c", error_event("rate_limit_exceeded", 429))),
        *turn("a", "resp_2", "two"),
        send(*ended("b")),
    )
    with with_lanes(server) as ws:
        a, b = begin(ws, "a", "b")
        with pytest.raises(ServerError) as failed:
            a.run()
        assert failed.value.delivery is Delivery.STARTED
        assert failed.value.partial is not None
        assert failed.value.partial.content == "begun "
        with pytest.raises(RateLimitError) as refused:
            ask(ws.lane("c"))
        assert refused.value.delivery is Delivery.REJECTED
        assert ask(ws.lane("a")) == "two"
        assert b.message.content == "begun ended"


def test_an_error_without_a_name_while_one_runs(server: ScriptedServer) -> None:
    """It can be nobody else's."""
    server.connection(
        *turn("a", "resp_1", "one"), expect(), send(error_event()), *turn("a", "resp_3", "three")
    )
    with with_lanes(server) as ws:
        assert ask(ws.lane("a")) == "one"
        with pytest.raises(ServerError) as failed:
            ask(ws.lane("b"))
        assert failed.value.delivery is Delivery.REJECTED
        assert ask(ws.lane("a")) == "three"
    assert len(server.connections) == 1


def test_the_age_limit_ends_everybody(server: ScriptedServer) -> None:
    """The lane that it names was rejected; of the one that had begun the part is there."""
    limit = on("b", error_event("websocket_connection_limit_reached", 400))
    server.connection(*starts("a"), expect(stream_id="c"), expect(stream_id="b"), send(*limit), expect_gone())
    server.connection(*turn("b", "resp_2", "two"))
    with with_lanes(server) as ws:
        (a,) = begin(ws, "a")
        c = ws.lane("c").stream(model="m", input="hi")
        b = ws.lane("b").stream(model="m", input="hi")
        deliveries = []
        for stream in (a, b, c):
            with pytest.raises(ConnectionLimitReached) as ending:
                stream.run()
            deliveries.append(ending.value.delivery)
        assert deliveries == [Delivery.STARTED, Delivery.REJECTED, Delivery.UNKNOWN]
        assert ask(ws.lane("b")) == "two"


def test_nonsense_ends_everybody(server: ScriptedServer) -> None:
    server.connection(*starts("a", "b"), send(b"not JSON"), expect_close(1008))
    with with_lanes(server) as ws:
        for stream in begin(ws, "a", "b"):
            with pytest.raises(ProtocolError) as broken:
                stream.run()
            assert broken.value.delivery is Delivery.STARTED


# -- losing the connection


@pytest.mark.parametrize("end", [close(1011, "gone"), reset()], ids=["close", "reset"])
def test_a_lost_connection(server: ScriptedServer, end: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Each lane is told how far it had got; one new connection serves them all, and what lived on the old one
    alone is continued by none."""
    server.connection(
        *turn("a", "resp_a", "A", store=False),
        *turn("b", "resp_b", "B"),
        *turn("c", "resp_c", "C", store=False),
        expect(stream_id="a"),
        send(*begun("a", "part")),
        expect(stream_id="b"),
        end,
    )
    answers = [send(*on(name, *answer(f"next_{name}", name))) for name in "abc"]
    server.connection(*turn("d", "resp_d", "D"), repeat(3, expect()), *answers)
    with with_lanes(server) as ws:
        lanes = {name: ws.lane(name) for name in "abc"}
        for name, lane in lanes.items():
            ask(lane, store=name == "b")
        a = lanes["a"].stream(model="m", input="hi", store=False)
        b = lanes["b"].stream(model="m", input="hi")
        with pytest.raises(ConnectionLost) as lost:
            a.run()
        assert (lost.value.delivery, lost.value.response_id) == (Delivery.STARTED, "resp_a")
        assert lost.value.partial is not None
        assert lost.value.partial.content == "part"
        with pytest.raises(ConnectionLost) as lost:
            b.run()
        assert (lost.value.delivery, lost.value.partial) == (Delivery.UNKNOWN, None)
        with caplog.at_level(logging.WARNING, logger="responses_ws"):
            ask(ws.lane("d"))  # shows that the new connection has lanes
            again = {name: Task(ask, lane) for name, lane in lanes.items()}
            assert {name: task.result() for name, task in again.items()} == {name: name for name in "abc"}
        previous = {r["stream_id"]: r.get("previous_response_id") for r in server.requests[-3:]}
        assert previous == {"a": None, "b": "resp_b", "c": None}
        assert sorted(record.args[0] for record in caplog.records if record.args) == ["resp_a", "resp_c"]
    assert len(server.connections) == 2


def test_a_connection_lost_at_rest_is_replaced_once(server: ScriptedServer) -> None:
    """However many lanes find that out together."""
    server.connection(*turn("a", "resp_1", "one"), reset())
    server.model = Model()
    with with_lanes(server) as ws:
        assert ask(ws.lane("a")) == "one"
        barrier = threading.Barrier(12)

        def again(name: str) -> str:
            barrier.wait(SECONDS)
            return ask(ws.lane(name), name, previous_response_id=None)

        tasks = {f"lane-{number}": Task(again, f"lane-{number}") for number in range(12)}
        for name, task in tasks.items():
            assert task.result() == f"You said: {name}."
    assert len(server.connections) == 2


def test_nobody_waits_longer_than_connecting_may_take() -> None:
    """However many wait for one another's attempts."""
    connector = ScriptedConnector()
    endpoint = Endpoint("ws://localhost/responses", max_in_flight=40, max_lanes=40)
    ws = WebSocket(KEY, endpoint=endpoint, client_class=connector, timeouts=Timeouts(connect=0.2))
    ws.connect()
    connector.transports[0].end(ConnectionLost("gone"))
    until(lambda: not ws.connected)
    ws._connection.lanes.named = True  # so that all of them connect
    connector.block_connect()
    start = time.monotonic()
    tasks = [Task(ask, ws.lane(f"lane-{number}")) for number in range(30)]
    for task in tasks:
        assert isinstance(task.error(), ConnectionError)
    assert time.monotonic() - start < 10 * 0.2
    connector.unblock_connect()
    ws.disconnect()


# -- sending behind one another


def behind(*rest: Any) -> list[Any]:
    """The lanes are known; then a large request of the lane a is half-way."""
    return [*turn("a", "resp_1", "one"), read_bytes(1000), mark("half-way"), gate("read on"), *rest]


ON_A = turn("a", "resp_2", "large")


def test_a_deadline_behind_a_large_request(server: ScriptedServer) -> None:
    """Nothing was sent, so nothing is lost: neither the large request nor the connection."""
    server.connection(*behind(*ON_A, *turn("b", "resp_b", "B")))
    with with_lanes(server) as ws:
        ask(ws.lane("a"))
        large = Task(ask, ws.lane("a"), LARGE)
        server.wait_for("half-way")
        until(lambda: "_write" in stack(large.ident or 0))
        ws._settings.timeouts = Timeouts(total=0.1)
        with pytest.raises(ResponseTimeout) as late:
            ask(ws.lane("b"))
        assert (late.value.clock, late.value.delivery) == ("total", Delivery.NOT_SENT)
        ws._settings.timeouts = Timeouts()
        b = waiting(ask, ws.lane("b"))
        server.open("read on")
        assert (large.result(), b.result()) == ("large", "B")
    assert len(server.connections) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process there")
def test_an_interrupt_behind_a_large_request(server: ScriptedServer) -> None:
    """The same for Ctrl-C, which comes out at once."""
    server.connection(*behind(*ON_A, *turn("b", "resp_b", "B")))
    main = threading.get_ident()
    with with_lanes(server) as ws:
        ask(ws.lane("a"))
        large = Task(ask, ws.lane("a"), LARGE)
        server.wait_for("half-way")
        until(lambda: "_write" in stack(large.ident or 0))

        def press() -> None:
            wait_until_in(main, "wait_for")
            os.kill(os.getpid(), signal.SIGINT)

        finger = Task(press)
        with pytest.raises(KeyboardInterrupt):
            ask(ws.lane("b"))
        finger.result()
        server.open("read on")
        assert large.result() == "large"
        assert ask(ws.lane("b")) == "B"
    assert len(server.connections) == 1


def test_a_request_that_does_not_leave_ends_the_others(server: ScriptedServer) -> None:
    """Half of it is out. Its sender is told of the clock, the others that the connection is gone."""
    server.connection(*starts("b"), read_bytes(1000), gate("given up"), expect_gone())
    server.connection(*turn("b", "resp_2", "two"))
    with with_lanes(server, timeouts=Timeouts(send=0.1)) as ws:
        (b,) = begin(ws, "b")
        with pytest.raises(ResponseTimeout) as stalled:
            ask(ws.lane("a"), LARGE)
        assert (stalled.value.clock, stalled.value.delivery) == ("send", Delivery.NOT_SENT)
        server.open("given up")
        with pytest.raises(ConnectionLost, match="a request was not sent in time") as lost:
            b.run()
        assert lost.value.delivery is Delivery.STARTED
        assert ask(ws.lane("b")) == "two"


# -- Ctrl-C and fork


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process there")
def test_an_interrupt_in_one_lanes_thread(server: ScriptedServer) -> None:
    """Its response is left; the others go on, and so does the lane, when the rest of it has come."""
    server.connection(
        *starts("a", "b"), gate("end"), send(*ended("b"), *ended("a")), *turn("a", "resp_2", "two")
    )
    main = threading.get_ident()
    with with_lanes(server, timeouts=Timeouts(drain=SECONDS)) as ws:
        a, b = begin(ws, "a", "b")
        other = Task(lambda: b.message.content)

        def press() -> None:
            wait_until_in(main, "wait_for")
            os.kill(os.getpid(), signal.SIGINT)

        finger = Task(press)
        with pytest.raises(KeyboardInterrupt):
            a.run()
        finger.result()
        assert not ws.lane("a").in_flight
        assert ws.lane("b").in_flight
        server.open("end")
        assert other.result() == "begun ended"
        assert ask(ws.lane("a")) == "two"
    assert len(server.connections) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process there")
def test_an_interrupt_while_a_place_is_waited_for(server: ScriptedServer) -> None:
    server.connection(*starts("a"), gate("end"), send(*ended("a")), *turn("b", "resp_b", "B"))
    main = threading.get_ident()
    with with_lanes(server, max_in_flight=1) as ws:
        (a,) = begin(ws, "a")

        def press() -> None:
            wait_until_in(main, "wait_for")
            os.kill(os.getpid(), signal.SIGINT)

        finger = Task(press)
        with pytest.raises(KeyboardInterrupt):
            ask(ws.lane("b"))
        finger.result()
        assert not ws.lane("b").in_flight
        server.open("end")
        assert a.message.content == "begun ended"
        assert ask(ws.lane("b")) == "B"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings(r"ignore:This process .* is multi-threaded, use of fork\(\):DeprecationWarning")
def test_a_fork_of_the_process(server: ScriptedServer) -> None:
    """The lanes that run stay the parent's; the child's begin on a connection of its own."""
    server.connection(
        *starts("a", "b"), gate("end"), send(*ended("a"), *ended("b")), *turn("a", "resp_2", "two")
    )
    server.connection(*turn("a", "resp_c", "for the child"), expect_gone())
    with with_lanes(server) as ws:
        a, b = begin(ws, "a", "b")
        lane = ws.lane("a")

        def in_the_child() -> tuple[Any, ...]:
            busy = lane.in_flight
            text = ask(lane, previous_response_id=None)
            with pytest.raises(ConnectionLost, match="parent process"):
                b.run()
            return busy, text, lane.last_response_id

        assert Child(in_the_child).result() == (False, "for the child", "resp_c")
        server.open("end")
        assert (a.message.content, b.message.content) == ("begun ended", "begun ended")
        assert ask(lane) == "two"


# -- age


def grow_old(ws: WebSocket) -> None:
    link = ws._connection.link
    assert link is not None
    link.rotate_at = 0.0


def test_an_old_connection_comes_to_rest_before_it_is_replaced(server: ScriptedServer) -> None:
    """What runs on it comes to its end; what is new goes to the next one."""
    server.connection(*starts("a", "b"), gate("end"), send(*ended("a"), *ended("b")), expect_close(1000))
    server.connection(*turn("c", "resp_c", "C"), *turn("d", "resp_d", "D"), *turn("a", "resp_2", "two"))
    with with_lanes(server, max_age=3600, timeouts=BRIEF) as ws:
        a, b = begin(ws, "a", "b")
        grow_old(ws)
        c = waiting(ask, ws.lane("c"))
        d = waiting(ask, ws.lane("d"))
        several_drains()
        assert len(server.requests) == 2
        server.open("end")
        assert (a.message.content, b.message.content) == ("begun ended", "begun ended")
        assert (c.result(), d.result()) == ("C", "D")
        assert ask(ws.lane("a")) == "two"
    assert server.requests[-1]["previous_response_id"] == "resp_a"


def test_an_old_connection_that_alone_keeps_a_response_stays(server: ScriptedServer) -> None:
    """Until the service ends it: a chain of another lane would be lost for an age that is only ours."""
    server.connection(
        *turn("a", "resp_a", "A", store=False), *turn("b", "resp_b", "B"), *turn("a", "resp_2", "two")
    )
    with with_lanes(server, max_age=3600) as ws:
        ask(ws.lane("a"), store=False)
        grow_old(ws)
        assert ask(ws.lane("b")) == "B"
        assert ask(ws.lane("a"), store=False) == "two"
    assert len(server.connections) == 1


def test_many_lanes_find_the_connection_old(server: ScriptedServer) -> None:
    """It is replaced once, and nobody's request leaves on the old one as it goes."""
    server.model = Model()
    rounds = 15
    with with_lanes(server, max_age=3600) as ws:
        barrier = threading.Barrier(8)

        def converse(number: int) -> None:
            lane = ws.lane(f"lane-{number}")
            for k in range(rounds):
                barrier.wait(SECONDS)
                if number == 0:
                    grow_old(ws)
                barrier.wait(SECONDS)
                assert ask(lane, f"{number}.{k}", previous_response_id=None) == f"You said: {number}.{k}."

        ask(ws.lane("lane-0"))
        for task in [Task(converse, number) for number in range(8)]:
            task.result()
    assert len(server.connections) == rounds + 1
