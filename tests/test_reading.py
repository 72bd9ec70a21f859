"""Who reads: the caller while his response flows, and the thread whenever nobody else does."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from shell import KEY, SECONDS, Event, Task, answer, ask, completed, created, delta, join_readers, until

from responses_ws import (
    ConnectionLost,
    Delivery,
    ResponseCancelled,
    ResponseError,
    ResponseStream,
    Timeouts,
    WebSocket,
    _connection,
    _reading,
)
from responses_ws._transport.mailbox import wait_for
from responses_ws.testing import ScriptedConnector, ScriptedTransport

LARGE = "x" * (_connection.LARGE_BYTES + 1)
AGES = 600.0
QUIET = Timeouts(ping_interval=None, drain=SECONDS, close=0.01)


class Observed(ScriptedTransport):
    """Notes in which thread each of its messages was received, and can be made to fail there."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[threading.Thread] = []
        self.interrupt: Callable[[str], object] = lambda where: None

    def wait(self, timeout: float | None) -> bool:
        self.interrupt("wait")
        return super().wait(timeout)

    def receive(self, timeout: float | None) -> list[bytes] | None:
        self.interrupt("receive")
        found = super().receive(timeout)
        if found:
            self.readers.append(threading.current_thread())
        return found


class Connector(ScriptedConnector):
    """Opens observed transports."""

    def connect(self, *args: Any) -> ScriptedTransport:
        super().connect(*args)
        self.transports[-1] = Observed()
        return self.transports[-1]


@pytest.fixture
def connector() -> ScriptedConnector:
    return Connector()


@pytest.fixture
def ws(connector: ScriptedConnector) -> Iterator[WebSocket]:
    with WebSocket(KEY, client_class=connector, timeouts=QUIET) as ws:
        yield ws


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who stands by, or waits, does not look around for himself: all depends on his being told."""
    monkeypatch.setattr(_reading, "FLOW_SECONDS", AGES)


def flowing(ws: WebSocket, transport: ScriptedTransport, name: str = "resp_1") -> tuple[ResponseStream, Any]:
    """A response and its chunks; its caller has read one of its events himself, and the thread stands by."""
    stream = ws.stream(model="m", input="hi")
    chunks = iter(stream)
    transport.deliver(created(name))
    assert next(chunks).type == "response.created"
    until(lambda: not ws._connection.link.reading.owned)
    transport.deliver(delta("one"))
    assert next(chunks).content == "one"
    assert transport.readers[-1] is threading.current_thread()
    return stream, chunks


def read_to_the_end(chunks: Iterator[Any]) -> str:
    return "".join(chunk.content for chunk in chunks if chunk.content)


def test_the_caller_reads_what_flows(ws: WebSocket, connector: ScriptedConnector) -> None:
    """The first event after a rest comes by the thread, which is told then that somebody waits."""
    transport = connector.transports[0]
    stream, chunks = flowing(ws, transport)
    assert transport.readers[0] is not threading.current_thread()
    transport.deliver(delta("two"))
    transport.deliver(completed("resp_1"))
    assert read_to_the_end(chunks) == "two"
    assert transport.readers[1:] == [threading.current_thread()] * 3
    assert stream.message.content == "onetwo"


@pytest.mark.usefixtures("patient")
def test_the_next_turn_is_read_by_its_caller_from_the_beginning(ws, connector) -> None:
    transport = connector.transports[0]
    _, chunks = flowing(ws, transport)
    transport.deliver(completed("resp_1"))
    read_to_the_end(chunks)
    transport.on_send = lambda request: transport.deliver(*answer("resp_2", "next"))
    assert Task(ask, ws).result() == "next"
    assert transport.readers[-1] is not threading.current_thread()
    assert "reader" not in transport.readers[-1].name


def test_after_the_end_the_thread_reads(ws: WebSocket, connector: ScriptedConnector) -> None:
    """A close at rest is noticed without anybody asking."""
    transport = connector.transports[0]
    _, chunks = flowing(ws, transport)
    transport.deliver(completed("resp_1"))
    read_to_the_end(chunks)
    transport.end(ConnectionLost("gone", close_code=1001))
    join_readers()
    assert not ws.connected


def test_while_the_caller_is_busy_the_thread_reads(ws: WebSocket, connector: ScriptedConnector) -> None:
    """Between two chunks, that is; what it reads waits for the caller, in order."""
    transport = connector.transports[0]
    stream, chunks = flowing(ws, transport)
    transport.deliver(delta("two"))
    until(lambda: not transport._inbound.items)
    transport.deliver(delta("three"), completed("resp_1"))
    assert read_to_the_end(chunks) == "twothree"
    assert "reader" in transport.readers[2].name
    assert stream.message.content == "onetwothree"


def test_a_caller_who_waits_for_long_waits_for_the_thread(ws, connector, monkeypatch) -> None:
    """And is told at once when somebody cancels."""
    transport = connector.transports[0]
    stream, chunks = flowing(ws, transport)
    until(lambda: ws._connection.link.reading.owned)
    monkeypatch.setattr(_reading, "FLOW_SECONDS", AGES)
    waiting = Task(next, chunks)
    until(lambda: ws._connection.link.reading._wanting is not None)
    stream.cancel()
    assert isinstance(waiting.error(), ResponseCancelled)
    transport.deliver(completed("resp_1"))


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("end", [ConnectionLost("gone", close_code=1001), ConnectionLost("broken")])
def test_a_close_that_nobody_has_read_costs_no_request(ws, connector, end) -> None:
    """It is seen before the next request leaves, which goes to a new connection."""
    transport = connector.transports[0]
    _, chunks = flowing(ws, transport)
    transport.deliver(completed("resp_1"))
    read_to_the_end(chunks)
    transport.end(end)
    connector.connect = lambda *args: served(Connector.connect(connector, *args))
    assert ask(ws, "again") == "served"
    assert [len(each.sent) for each in connector.transports] == [1, 1]


def test_a_close_that_nobody_has_read_costs_no_request_of_a_new_lane(ws, connector, monkeypatch) -> None:
    """From then on the thread is to read, but the request is quicker than that."""
    looks = threading.Event()
    monkeypatch.setattr(_reading, "wait_for", lambda *wait: looks.wait(SECONDS) and wait_for(*wait))
    transport = connector.transports[0]
    _, chunks = flowing(ws, transport)
    transport.deliver(completed("resp_1"))
    read_to_the_end(chunks)
    transport.end(ConnectionLost("gone", close_code=1001))
    connector.connect = lambda *args: served(Connector.connect(connector, *args), "a")
    assert ws.lane("a").create_response(model="m", input="hi").content == "served"
    assert [len(each.sent) for each in connector.transports] == [1, 1]
    looks.set()


@pytest.mark.usefixtures("patient")
def test_what_came_at_rest_belongs_to_nobody(ws: WebSocket, connector: ScriptedConnector) -> None:
    """However much it is, it is read before the next request leaves."""
    transport = connector.transports[0]
    _, chunks = flowing(ws, transport)
    transport.deliver(completed("resp_1"))
    read_to_the_end(chunks)
    for _ in range(20):
        transport.deliver(delta("stray", "msg_stray"))
    transport.on_send = lambda request: transport.deliver(*answer("resp_2", "its own"))
    assert ask(ws) == "its own"


@pytest.mark.usefixtures("patient")
def test_an_abandoned_response_is_drained_by_the_thread(ws, connector) -> None:
    """As soon as it is left, though the caller had been reading."""
    transport = connector.transports[0]
    stream, _ = flowing(ws, transport)
    stream.close()
    transport.deliver(delta("two"), completed("resp_1"))
    transport.on_send = lambda request: transport.deliver(*answer("resp_2", "next"))
    assert ask(ws) == "next"
    assert "reader" in transport.readers[2].name
    assert len(connector.transports) == 1


def waiting_for_the_thread(ws: WebSocket, stream: ResponseStream) -> Task:
    """Its caller has asked for the right to read, which the thread gives away after the next event."""
    waiting = Task(next, iter(stream))
    until(lambda: ws._connection.link.reading._wanting is not None)
    return waiting


@pytest.mark.usefixtures("patient")
def test_the_thread_goes_on_when_who_asked_it_has_left(ws, connector) -> None:
    """It does not give the reading to somebody who does not come any more."""
    transport = connector.transports[0]
    stream = ws.stream(model="m", input="hi")
    waiting = waiting_for_the_thread(ws, stream)
    stream.cancel()
    assert isinstance(waiting.error(), ResponseCancelled)
    transport.deliver(created("resp_1"))
    transport.deliver(completed("resp_1"))
    transport.on_send = lambda request: transport.deliver(*answer("resp_2", "next"))
    assert ask(ws) == "next"
    assert len(connector.transports) == 1


@pytest.mark.usefixtures("patient")
def test_the_thread_goes_on_when_another_lane_has_come(ws, connector) -> None:
    """Though it had been asked before that."""
    transport = connector.transports[0]
    stream = ws.stream(model="m", input="hi")
    waiting = waiting_for_the_thread(ws, stream)
    lane = Task(lambda: ws.lane("a").create_response(model="m", input="hi").content)
    until(lambda: not ws._connection.single)
    transport.deliver(created("resp_1"), delta("one"))
    assert waiting.result().type == "response.created"
    events: list[Event] = [event | {"stream_id": "a"} for event in answer("resp_a", "A")]
    transport.on_send = lambda request: transport.deliver(*events)
    transport.deliver(completed("resp_1"))
    assert lane.result() == "A"
    assert stream.message.content == "one"


@pytest.mark.usefixtures("patient")
def test_what_comes_after_a_cancel_is_left_to_the_thread(ws, connector) -> None:
    """Even by a caller who was waiting for it then: what is told of its end may take its time."""
    transport = connector.transports[0]
    stream, chunks = flowing(ws, transport)
    waits = ws._connection.link.reading._waits
    waiting = Task(next, chunks)
    until(lambda: ws._connection.link.reading._waits > waits)
    stream.cancel()
    transport.deliver(delta("two"), completed("resp_1"))
    assert isinstance(waiting.error(), ResponseCancelled)
    until(lambda: not transport._inbound.items)
    until(lambda: len(transport.readers) == 3)
    assert "reader" in transport.readers[-1].name


@pytest.mark.usefixtures("patient")
def test_a_disconnect_does_not_wait_for_the_thread_to_look(connector: ScriptedConnector) -> None:
    """It is told: the peer's answer to the close frame is read at once."""
    timeouts = Timeouts(ping_interval=None, close=SECONDS)
    with WebSocket(KEY, client_class=connector, timeouts=timeouts) as ws:
        transport = connector.transports[0]
        _, chunks = flowing(ws, transport)
        transport.deliver(completed("resp_1"))
        read_to_the_end(chunks)
        link = ws._connection.link
        transport.end(ConnectionLost("answered", close_code=1000))
    join_readers()
    assert str(link.cause) == "answered"


@pytest.mark.usefixtures("patient")
def test_a_second_lane_is_read_for_by_the_thread(ws: WebSocket, connector: ScriptedConnector) -> None:
    """Its caller waits for nobody who is busy with a response of his own."""
    transport = connector.transports[0]
    _, chunks = flowing(ws, transport)
    lane = ws.lane("a")
    events: list[Event] = [event | {"stream_id": "a"} for event in answer("resp_a", "A")]
    # Whether the service names its lanes is not known before the first has ended.
    begun = Task(lambda: lane.create_response(model="m", input="hi").content)
    transport.on_send = lambda request: transport.deliver(*events)
    transport.deliver(delta("two"), completed("resp_1"))
    assert begun.result() == "A"
    assert read_to_the_end(chunks) == "two"


@pytest.mark.usefixtures("patient")
def test_what_the_server_says_in_the_middle_of_a_large_request(ws, connector) -> None:
    """The thread reads it, and the sender need not come to the end of what nobody takes."""
    transport = connector.transports[0]
    _, chunks = flowing(ws, transport)
    transport.deliver(completed("resp_1"))
    read_to_the_end(chunks)
    connector.connect = lambda *args: served(Connector.connect(connector, *args))
    transport.block_send()
    asking = Task(ask, ws, LARGE)
    transport.wait_for("blocked")
    transport.end(ConnectionLost("going away", close_code=1001))
    assert asking.result() == "served"
    assert transport.sent[1:] == []


def test_what_ends_the_connection_under_its_caller(ws: WebSocket, connector: ScriptedConnector) -> None:
    """He gets it with its cause, and it keeps nothing of what he held."""
    transport = connector.transports[0]
    until_then = threading.Event()
    _, chunks = flowing(ws, transport)
    error = ConnectionLost("broken", close_code=1006)
    error.__cause__ = OSError(104, "reset")
    held = weakref.ref(until_then)
    transport.end(error)
    link = ws._connection.link
    with pytest.raises(ConnectionLost, match="broken") as caught:
        next(chunks)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.delivery is Delivery.STARTED
    assert link.cause.__traceback__ is None
    del until_then, caught, chunks
    gc.collect()
    assert held() is None


def test_an_error_of_the_connection_under_its_caller(ws: WebSocket, connector: ScriptedConnector) -> None:
    """An event that ends the connection is the answer, and the connection is over."""
    transport = connector.transports[0]
    _, chunks = flowing(ws, transport)
    code = "websocket_connection_limit_reached"
    transport.deliver({"type": "error", "status": 400, "error": {"code": code, "message": "too old"}})
    with pytest.raises(ResponseError, match="too old"):
        next(chunks)
    join_readers()
    assert not ws.connected


class Alarm(Exception):
    """What a signal handler raises."""


def strike(at: str) -> Callable[[str], object]:
    main = threading.current_thread()

    def interrupt(where: str) -> None:
        if where == at and threading.current_thread() is main:
            raise Alarm

    return interrupt


def test_an_interrupt_of_the_waiting_costs_nothing(ws: WebSocket, connector: ScriptedConnector) -> None:
    """The response is left, the thread reads the rest of it, and the connection goes on."""
    transport = connector.transports[0]
    _, chunks = flowing(ws, transport)
    transport.interrupt = strike("wait")
    with pytest.raises(Alarm):
        next(chunks)
    transport.interrupt = lambda where: None
    transport.deliver(delta("two"), completed("resp_1"))
    transport.on_send = lambda request: transport.deliver(*answer("resp_2", "next"))
    assert ask(ws) == "next"
    assert len(connector.transports) == 1


@pytest.mark.usefixtures("patient")
def test_an_interrupt_of_the_reading_costs_the_connection(ws, connector) -> None:
    """Nobody knows what it has cost; the next request goes to a new one, and only there."""
    transport = connector.transports[0]
    _, chunks = flowing(ws, transport)
    transport.interrupt = strike("receive")
    transport.deliver(delta("two"))
    with pytest.raises(Alarm):
        next(chunks)
    assert not ws.connected
    connector.connect = lambda *args: served(Connector.connect(connector, *args))
    assert ask(ws) == "served"
    assert [len(each.sent) for each in connector.transports] == [1, 1]


@pytest.mark.usefixtures("patient")
def test_a_broken_reading_that_nobody_could_tell_of(ws, connector) -> None:
    """A second interrupt came before the connection was given up: it is seen by who comes next."""
    transport = connector.transports[0]
    _, chunks = flowing(ws, transport)
    transport.deliver(completed("resp_1"))
    read_to_the_end(chunks)
    ws._connection.link.reading._torn = True
    connector.connect = lambda *args: served(Connector.connect(connector, *args))
    assert ask(ws) == "served"
    assert [len(each.sent) for each in connector.transports] == [1, 1]


def test_a_broken_reading_is_seen_by_the_thread(ws: WebSocket, connector: ScriptedConnector) -> None:
    _, _ = flowing(ws, connector.transports[0])
    ws._connection.link.reading._torn = True
    join_readers()
    assert not ws.connected


def test_a_right_that_is_not_given_back_ends_the_connection(ws, connector, monkeypatch) -> None:
    """Callers have it for a moment; who keeps it is stuck, and nobody else waits for him."""
    monkeypatch.setattr(_reading, "RETAKE_SLICES", 1)
    flowing(ws, connector.transports[0])
    reading = ws._connection.link.reading
    with reading._right:
        reading.claim()
        join_readers()
    assert not ws.connected


def test_a_transport_that_cannot_wait_is_read_by_the_thread(ws, connector) -> None:
    connector.connect = lambda *args: blind(Connector.connect(connector, *args))
    ws.reconnect()
    transport = connector.transports[1]
    for number in range(3):
        transport.on_send = lambda request, name=f"resp_{number}": transport.deliver(*answer(name, "fine"))
        assert ask(ws) == "fine"
    assert all("reader" in thread.name for thread in transport.readers)


def test_pings_go_on_while_a_caller_reads(connector: ScriptedConnector) -> None:
    """The thread that stands by sends them; what the caller reads is life."""
    timeouts = Timeouts(ping_interval=0.2, ping_timeout=SECONDS, close=0.01)
    with WebSocket(KEY, client_class=connector, timeouts=timeouts) as ws:
        transport = connector.transports[0]
        _, chunks = flowing(ws, transport)
        reading = Task(read_to_the_end, chunks)
        transport.wait_for("ping")
        transport.deliver(delta("two"), completed("resp_1"))
        assert reading.result() == "two"


def served(transport: ScriptedTransport, lane: str | None = None) -> ScriptedTransport:
    events: list[Event] = answer("resp_n", "served")
    if lane is not None:
        events = [event | {"stream_id": lane} for event in events]
    transport.on_send = lambda request: transport.deliver(*events)
    return transport


def blind(transport: ScriptedTransport) -> ScriptedTransport:
    transport.wait = None  # type: ignore[assignment, method-assign]
    return transport
