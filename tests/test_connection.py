"""The connection behind a WebSocket, on transports in memory: generations, lanes, and threads against it."""

from __future__ import annotations

import gc
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from shell import (
    KEY,
    SECONDS,
    Event,
    Task,
    answer,
    ask,
    completed,
    created,
    delta,
    error_event,
    join_readers,
    read_deltas,
    until,
    wait_until_in,
    websocket,
)

from responses_ws import (
    ConcurrencyError,
    ConnectionError,
    ConnectionLimitReached,
    ConnectionLost,
    Delivery,
    Endpoint,
    HandshakeError,
    Message,
    PayloadTooLarge,
    ProtocolError,
    ResponseCancelled,
    ResponseStream,
    ResponsesWSError,
    ResponseTimeout,
    ServerError,
    Timeouts,
    WebSocket,
    _linked,
)
from responses_ws._call import Call
from responses_ws._connection import Connection
from responses_ws._link import Link
from responses_ws._transport.base import Hold, Target
from responses_ws._transport.deadline import NEVER, Deadline
from responses_ws._transport.mailbox import wait_for
from responses_ws.testing import Model, ScriptedConnector, ScriptedServer, ScriptedTransport

QUICK = Timeouts(close=0.01, drain=0.02)


@pytest.fixture
def connector(monkeypatch: pytest.MonkeyPatch) -> ScriptedConnector:
    # A send that fails does not end the reader of a transport in memory, which is waited for.
    monkeypatch.setattr(_linked, "RELEASE_SECONDS", 0.02)
    return ScriptedConnector()


@pytest.fixture
def ws(connector: ScriptedConnector) -> Iterator[WebSocket]:
    with WebSocket(KEY, client_class=connector, timeouts=QUICK) as ws:
        yield ws


def begin(ws: WebSocket, text: str = "hi", **fields: Any) -> ResponseStream:
    return ws.stream(model="m", input=text, **fields)


def serve(transport: ScriptedTransport) -> None:
    """Let a transport answer every request with its input and its previous id."""
    numbers = iter(range(1, 1000))

    def reply(request: dict[str, Any]) -> None:
        said = f"{request['input']} after {request.get('previous_response_id')}"
        transport.deliver(*answer(f"resp_{next(numbers)}", *said.split(" ")))

    transport.on_send = reply


def lose(transport: ScriptedTransport, error: Exception | None = None) -> None:
    """End a connection at rest, and wait until the client knows."""
    transport.end(error or ConnectionLost("gone", close_code=1006))
    transport.wait_for("release")
    join_readers()


# -- a turn, without a socket


def settle(transport: ScriptedTransport) -> None:
    """Wait until the reader has handed on all that was delivered: it then asks for more."""
    transport.deliver()
    until(lambda: not transport._inbound.items)


def test_a_turn_and_the_next(ws: WebSocket, connector: ScriptedConnector) -> None:
    """Each turn gets its own answer and continues the one before."""
    serve(connector.transports[0])
    assert ask(ws, "one") == "oneafterNone"
    assert ask(ws, "two") == "twoafterresp_1"
    assert [request["input"] for request in connector.transports[0].sent] == ["one", "two"]
    assert len(connector.targets) == 1


def test_what_a_connector_is_told(connector: ScriptedConnector) -> None:
    """The whole address, the headers with their values hidden, and the options."""
    timeouts = Timeouts(connect=5, close=0.01)
    with WebSocket(KEY, api_base="https://127.0.0.1/v1?x=1", client_class=connector, timeouts=timeouts):
        pass
    target = connector.targets[0]
    assert target.url == "wss://127.0.0.1/v1/responses?x=1"
    assert target.headers["Authorization"].reveal() == f"Bearer {KEY}"
    assert target.timeouts is timeouts
    assert KEY not in repr(target)


def test_an_answer_that_overtakes_its_sending(ws: WebSocket, connector: ScriptedConnector) -> None:
    """The whole answer may be there before ``send`` has returned."""
    transport = connector.transports[0]

    def reply(request: dict[str, Any]) -> None:
        transport.deliver(*answer("resp_1", "fast"))
        until(lambda: not ws._connection.lanes.running())

    transport.on_send = reply
    assert ask(ws) == "fast"
    assert ws.last_response_id == "resp_1"
    transport.on_send = lambda request: transport.deliver(*answer("resp_2", "again"))
    assert ask(ws) == "again"


def test_events_at_rest_are_nobodys(ws: WebSocket, connector: ScriptedConnector) -> None:
    """What comes before a request, and after an answer, reaches no request."""
    transport = connector.transports[0]
    stray = [
        created("resp_0"),
        delta("stray", "msg_0"),
        completed("resp_0"),
        error_event(),
        {"type": "keepalive"},
    ]
    transport.deliver(*stray)
    settle(transport)
    transport.on_send = lambda request: transport.deliver(*answer("resp_1", "one"), *stray)
    assert ask(ws) == "one"
    settle(transport)
    transport.on_send = lambda request: transport.deliver(*stray[1:3], *answer("resp_2", "two"))
    assert ask(ws) == "two"
    assert ws.last_response_id == "resp_2"


def test_the_age_limit_at_rest_ends_the_connection(ws: WebSocket, connector: ScriptedConnector) -> None:
    """The next call opens a new one and hears nothing of it."""
    connector.transports[0].deliver(error_event("websocket_connection_limit_reached", 400))
    connector.transports[0].wait_for("release")
    assert not ws.connected
    connector.on_connect = serve
    assert ask(ws) == "hiafterNone"
    assert len(connector.transports) == 2


# -- generations


class Connector:
    """Hands out the transports that it was given, whatever they are."""

    def __init__(self, *transports: ScriptedTransport) -> None:
        self.transports = queue.SimpleQueue[ScriptedTransport]()
        for transport in transports:
            self.transports.put(transport)

    def connect(self, target: Target, deadline: Deadline, hold: Hold) -> ScriptedTransport:
        return self.transports.get(timeout=SECONDS)


class Stubborn(ScriptedTransport):
    """A transport whose reader does not hear of its end before the test lets it."""

    wait = None  # it cannot wait without reading

    def __init__(self) -> None:
        super().__init__()
        self.late = queue.SimpleQueue[list[Event] | Exception]()

    def receive(self, timeout: float | None) -> list[bytes] | None:
        got = self.late.get(timeout=SECONDS)
        if isinstance(got, Exception):
            raise got
        self.deliver(*got)
        found = wait_for(self._inbound, SECONDS)
        while isinstance(found, Exception):  # the abort, which it overhears
            found = wait_for(self._inbound, SECONDS)
        return found


@pytest.mark.parametrize(
    "end",
    [ConnectionLost("late", close_code=1011), ProtocolError("late"), RuntimeError("late")],
    ids=["lost", "broken", "failed"],
)
@pytest.mark.filterwarnings("error")
def test_what_an_old_generation_delivers_late_is_dropped(end: Exception) -> None:
    """After a reconnect neither its events, nor its errors, nor its end reach the request on the new one."""
    old, new = Stubborn(), ScriptedTransport()
    ws = WebSocket(KEY, client_class=Connector(old, new), timeouts=QUICK).connect()
    first = begin(ws, "first")
    old.late.put([created("resp_1"), delta("old")])
    unfinished = iter(first)
    assert read_deltas(unfinished, 1) == ["old"]
    reader = next(thread for thread in threading.enumerate() if thread.name.startswith("responses_ws-reader"))
    ws.reconnect()
    assert reader.is_alive()
    second = begin(ws, "second")
    new.deliver(created("resp_2"), delta("new "))
    chunks = iter(second)
    assert read_deltas(chunks, 1) == ["new "]
    # Nothing tells these from the new answer's own events but the connection that they came on.
    old.late.put([delta("old "), completed("resp_2")])
    old.late.put([error_event(), error_event("websocket_connection_limit_reached")])
    old.late.put(end)
    reader.join(SECONDS)
    assert not reader.is_alive()
    assert ws.connected
    new.deliver(delta("and whole"), completed("resp_2"))
    assert [chunk.content for chunk in chunks if chunk.content] == ["and whole"]
    assert second.message.content == "new and whole"
    with pytest.raises(ConnectionLost):
        next(unfinished)
    new.end(ConnectionLost("over"))
    ws.disconnect()


def test_a_connecting_that_was_given_up_delivers_nothing(connector: ScriptedConnector) -> None:
    """A connector that comes too late, with events in its hands, reaches no request of the next one."""
    late, slow = ScriptedTransport(), Connector()
    ws = WebSocket(KEY, client_class=slow, timeouts=QUICK)
    with pytest.raises(ConnectionError):
        ws.connect(timeout=0.02)
    [reader] = [thread for thread in threading.enumerate() if thread.name.startswith("responses_ws-reader")]
    ws._dialer._connector = connector
    ws.connect()
    stream = begin(ws)
    late.deliver(created("resp_1"), delta("of a connection that nobody waits for"), completed("resp_1"))
    slow.transports.put(late)
    reader.join(SECONDS)
    assert late.calls[-1] == "release"
    connector.transports[0].deliver(*answer("resp_1", "its own"))
    assert stream.message.content == "its own"
    ws.disconnect()


def test_a_generation_ends_once(ws: WebSocket, connector: ScriptedConnector) -> None:
    """A loss that several notice is one loss: the next connection is not touched by it."""
    first = connector.transports[0]
    stream = begin(ws)
    first.deliver(created("resp_1"))
    first.end(ConnectionLost("the first reason", close_code=1012))
    with pytest.raises(ConnectionLost, match="the first reason"):
        _ = stream.message
    ws.disconnect()
    ws.connect()
    for _ in range(3):
        first.abort()
    serve(connector.transports[1])
    assert ask(ws) == "hiafterNone"


def test_a_link_that_ends_while_its_age_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no age is not looked at under the lock, and a reader ends a link at any moment."""
    connection = Connection(Endpoint("ws://localhost/v1/responses"), max_buffered_bytes=None, patience=None)
    looks = iter([Link(None)])
    monkeypatch.setattr(Connection, "link", property(lambda _: next(looks, None)), raising=False)
    connection.rotate()


# -- connecting


def test_a_connect_that_hangs_is_given_up(connector: ScriptedConnector) -> None:
    """In its own time, and the object can be connected afterwards."""
    connector.block_connect()
    ws = WebSocket(KEY, client_class=connector, timeouts=QUICK)
    with pytest.raises(ConnectionError, match=r"within 0\.05 seconds") as caught:
        ws.connect(timeout=0.05)
    assert caught.value.delivery is Delivery.NOT_SENT
    assert not ws.connected
    join_readers()
    connector.unblock_connect()
    connector.on_connect = serve
    with ws:
        assert ask(ws) == "hiafterNone"


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("no route"),
        HandshakeError("refused", status=503),
        ServerError("refused", status=500),
        OSError("of the connector itself"),
        RuntimeError("of the connector itself"),
        KeyboardInterrupt(),
    ],
)
def test_what_a_connector_raises_comes_out_of_connect(
    connector: ScriptedConnector, error: BaseException
) -> None:
    """In the thread that called; nothing is left behind, and the next connect is a fresh try."""
    connector.fail_connect(error)  # type: ignore[arg-type]
    ws = WebSocket(KEY, client_class=connector, timeouts=QUICK)
    with pytest.raises(type(error)) as caught:
        ws.connect()
    assert caught.value is error
    assert not ws.connected
    with ws:
        assert ws.connected
    assert len(connector.targets) == 2


def test_a_call_that_cannot_connect_frees_its_lane(ws: WebSocket, connector: ScriptedConnector) -> None:
    """It raises what connecting raised, once, and the next call tries again."""
    lose(connector.transports[0])
    connector.on_connect = serve
    connector.fail_connect(HandshakeError("refused", status=503), RuntimeError("of the connector itself"))
    with pytest.raises(HandshakeError):
        ask(ws)
    with pytest.raises(RuntimeError):
        ask(ws)
    assert not ws.in_flight
    assert len(connector.targets) == 3
    assert ask(ws) == "hiafterNone"


def test_two_threads_connect(connector: ScriptedConnector) -> None:
    """The second is refused, the first gets its connection, and one is opened."""
    connector.block_connect()
    ws = WebSocket(KEY, client_class=connector, timeouts=QUICK)
    first = Task(ws.connect)
    connector.wait_for("blocked")
    with pytest.raises(ConcurrencyError, match="connecting") as caught:
        ws.connect()
    assert caught.value.delivery is Delivery.NOT_SENT
    connector.unblock_connect()
    assert first.result() is ws
    assert ws.connect() is ws
    assert len(connector.transports) == 1
    ws.disconnect()


def test_a_call_while_another_thread_connects(ws: WebSocket, connector: ScriptedConnector) -> None:
    """It waits for that, and goes on over the same connection."""
    lose(connector.transports[0])
    connector.block_connect()
    connector.on_connect = serve
    first = Task(ws.connect)
    connector.wait_for("blocked")
    second = Task(ask, ws)
    until(lambda: ws._connection._callers)
    connector.unblock_connect()
    first.result()
    assert second.result() == "hiafterNone"
    assert len(connector.transports) == 2


def test_disconnect_while_another_thread_connects(connector: ScriptedConnector) -> None:
    """Whoever connects is told at once, and nothing is opened."""
    connector.block_connect()
    ws = WebSocket(KEY, client_class=connector, timeouts=QUICK)
    for start in (ws.connect, ws.reconnect):
        task = Task(start)
        connector.wait_for("blocked")
        ws.disconnect()
        assert isinstance(task.error(), ConnectionError)
        assert not ws.connected
    join_readers()
    assert connector.transports == []


def test_disconnect_while_a_call_connects(ws: WebSocket, connector: ScriptedConnector) -> None:
    """The call is told, and stays unsent; the object stays closed."""
    lose(connector.transports[0])
    connector.block_connect()
    task = Task(ask, ws)
    connector.wait_for("blocked")
    ws.disconnect()
    error = task.error()
    assert isinstance(error, ConnectionError)
    assert error.delivery is Delivery.NOT_SENT
    assert not ws.connected
    assert not ws.in_flight


@pytest.mark.parametrize("start", ["connect", "call"])
def test_disconnect_while_the_key_is_fetched(connector: ScriptedConnector, start: str) -> None:
    """A function that takes its time to find a key does not undo a disconnect."""
    gates = [threading.Event(), threading.Event()]
    keys = iter(["sk-first", "sk-second"] if start == "call" else ["sk-second"])

    def key() -> str:
        found = next(keys)
        if found == "sk-second":
            gates[0].set()
            assert gates[1].wait(SECONDS)
        return found

    ws = WebSocket(key, client_class=connector, timeouts=QUICK)
    if start == "call":
        ws.connect()
        lose(connector.transports[0])
    opened = len(connector.targets)
    task = Task(ws.connect if start == "connect" else lambda: ask(ws))
    assert gates[0].wait(SECONDS)
    ws.disconnect()
    gates[1].set()
    error = task.error()
    assert isinstance(error, ConnectionError)
    assert error.delivery is Delivery.NOT_SENT
    assert not ws.connected
    assert len(connector.targets) == opened


def test_a_thread_that_cannot_be_started(
    connector: ScriptedConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine at its limit of threads gives a ConnectionError, and the object stays usable."""

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ws = WebSocket(KEY, client_class=connector, timeouts=QUICK)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(ConnectionError, match="thread"):
            ws.connect()
    with ws:
        assert ws.connected


def test_a_connection_that_ends_before_anybody_has_it(connector: ScriptedConnector) -> None:
    """Connect raises why, or returns a connection that is lost at rest; never one that seems open."""
    connector.on_connect = lambda transport: transport.end(ConnectionLost("full", close_code=1013))
    ws = WebSocket(KEY, client_class=connector, timeouts=QUICK)
    for _ in range(20):
        try:
            ws.connect()
        except ConnectionLost as error:
            code = error.close_code
        else:
            join_readers()
            code = 1013
        assert code == 1013
        assert not ws.connected


# -- sending


@pytest.mark.parametrize("verb", ["call", "create_response", "stream", "warmup"])
def test_a_used_connection_found_dead_while_sending_is_replaced(
    ws: WebSocket, connector: ScriptedConnector, verb: str
) -> None:
    """Once; the request leaves once, and is encoded anew for a chain that went with the connection."""
    serve(connector.transports[0])
    ask(ws, "one", store=False)
    connector.transports[0].fail_send(ConnectionLost("broken", close_code=1006))
    connector.on_connect = serve
    if verb == "warmup":
        assert ws.warmup(model="m", input="two") == "resp_1"
    elif verb == "call":
        assert ws.call({"model": "m", "input": "two", "previous_response_id": "resp_1"}).status == "completed"
    else:
        answered = getattr(ws, verb)(model="m", input="two")
        message = answered if isinstance(answered, Message) else answered.message
        assert message.content == "twoafterNone"
    assert [len(transport.sent) for transport in connector.transports] == [1, 1]
    assert ("previous_response_id" in connector.transports[1].sent[0]) == (verb == "call")


def test_a_replaced_connection_that_fails_is_an_error(ws: WebSocket, connector: ScriptedConnector) -> None:
    """In connecting or in sending: NOT_SENT, and no third is tried."""
    connector.transports[0].fail_send(ConnectionLost("broken"))
    connector.on_connect = lambda transport: transport.fail_send(ConnectionLost("broken again"))
    with pytest.raises(ConnectionLost, match="broken again") as caught:
        ask(ws)
    assert caught.value.delivery is Delivery.NOT_SENT
    assert len(connector.transports) == 2
    connector.on_connect = None
    ws.connect()
    connector.transports[2].fail_send(ConnectionLost("broken"))
    connector.fail_connect(HandshakeError("refused", status=503))
    with pytest.raises(HandshakeError) as refused:
        ask(ws)
    assert refused.value.delivery is Delivery.NOT_SENT
    assert len(connector.targets) == 4
    assert not ws.in_flight
    assert all(transport.sent == [] for transport in connector.transports)


def test_a_connection_of_this_call_that_breaks_is_an_error(
    ws: WebSocket, connector: ScriptedConnector
) -> None:
    """It was lost at rest and opened anew: that was the one new connection."""
    lose(connector.transports[0])
    connector.on_connect = lambda transport: transport.fail_send(ConnectionLost("broken"))
    with pytest.raises(ConnectionLost, match="broken"):
        ask(ws)
    assert len(connector.transports) == 2


@pytest.mark.parametrize(
    ("end", "replaced"),
    [
        (ConnectionLost("restart", close_code=1012), True),
        (ConnectionLost("over", close_code=1000), True),
        (ConnectionLost("reset", close_code=1006), True),
        (ConnectionLost("policy", close_code=1008), False),
        (ConnectionLost("too big", close_code=1009), False),
        (ProtocolError("garbage"), True),
        (PayloadTooLarge("a giant", size=5, limit=4), True),
    ],
    ids=str,
)
def test_what_the_server_said_before_the_break_decides(
    ws: WebSocket,
    connector: ScriptedConnector,
    monkeypatch: pytest.MonkeyPatch,
    end: ResponsesWSError,
    replaced: bool,
) -> None:
    """The reader's reason is the better one: a request that was refused as such is not repeated."""
    monkeypatch.setattr(_linked, "RELEASE_SECONDS", SECONDS)  # the reader ends here
    transport = connector.transports[0]
    transport.block_send()
    task = Task(ask, ws)
    transport.wait_for("blocked")
    connector.on_connect = serve
    transport.end(end)
    transport.fail_send(ConnectionLost("broken", close_code=1006))
    if replaced:
        assert task.result() == "hiafterNone"
    else:
        error = task.error()
        assert type(error) is type(end)
        assert str(error) == str(end)
        assert error.delivery is Delivery.NOT_SENT  # type: ignore[attr-defined]
        assert ask(ws) == "hiafterNone"
    assert len(connector.transports) == 2


def test_the_age_limit_found_while_sending(ws: WebSocket, connector: ScriptedConnector) -> None:
    """The service wants a new connection; the request had not left, so it goes there."""
    transport = connector.transports[0]
    transport.block_send()
    task = Task(ask, ws)
    transport.wait_for("blocked")
    connector.on_connect = serve
    transport.deliver(error_event("websocket_connection_limit_reached", 400))
    assert task.result() == "hiafterNone"
    assert len(connector.transports) == 2


def test_a_connection_found_dead_by_sending_keeps_no_response(
    ws: WebSocket, connector: ScriptedConnector
) -> None:
    """Its error is in no variable of its own traceback: a response that is dropped is left at once."""
    connector.transports[0].fail_send(ConnectionLost("gone", close_code=1006))
    gc.collect()
    gc.disable()
    try:
        stream = begin(ws)
        dropped = weakref.ref(stream)
        del stream
        assert dropped() is None
    finally:
        gc.enable()
    assert not ws.in_flight
    assert len(connector.transports) == 2


def test_a_send_that_is_too_slow_is_not_repeated(ws: WebSocket, connector: ScriptedConnector) -> None:
    """The clock is the caller's; the connection is given up."""
    connector.transports[0].fail_send(ResponseTimeout("slow", clock="send", seconds=30))
    with pytest.raises(ResponseTimeout) as caught:
        ask(ws)
    assert (caught.value.clock, caught.value.delivery) == ("send", Delivery.NOT_SENT)
    assert not ws.connected
    connector.on_connect = serve
    assert ask(ws) == "hiafterNone"


def test_the_total_ends_a_send(connector: ScriptedConnector) -> None:
    """The clock of the call is the sender's too; the half request costs the connection."""
    timeouts = Timeouts(close=0.01, total=0.05)
    with WebSocket(KEY, client_class=connector, timeouts=timeouts) as ws:
        connector.transports[0].block_send()
        with pytest.raises(ResponseTimeout) as caught:
            ask(ws)
        assert (caught.value.clock, caught.value.seconds) == ("total", 0.05)
        assert caught.value.delivery is Delivery.NOT_SENT
        assert not ws.connected
        assert len(connector.targets) == 1


def test_a_connection_that_ends_while_the_send_returns(ws: WebSocket, connector: ScriptedConnector) -> None:
    """The last byte has left and no event came: UNKNOWN, and nothing is repeated."""
    transport = connector.transports[0]

    def end(request: dict[str, Any]) -> None:
        transport.end(ConnectionLost("gone", close_code=1011, close_reason="why"))
        transport.wait_for("release")

    transport.on_send = end
    with pytest.raises(ConnectionLost) as caught:
        ask(ws)
    assert (caught.value.close_code, caught.value.close_reason) == (1011, "why")
    assert (caught.value.delivery, caught.value.partial) == (Delivery.UNKNOWN, None)
    assert not ws.in_flight
    connector.on_connect = serve
    assert ask(ws) == "hiafterNone"
    assert len(connector.transports) == 2


def test_a_whole_answer_and_an_end_while_the_send_returns(
    ws: WebSocket, connector: ScriptedConnector
) -> None:
    """What was answered was answered."""
    transport = connector.transports[0]

    def reply(request: dict[str, Any]) -> None:
        transport.deliver(*answer("resp_1", "fast"))
        transport.end(ConnectionLost("gone", close_code=1000))
        transport.wait_for("release")

    transport.on_send = reply
    assert ask(ws) == "fast"
    assert not ws.connected


def test_an_interrupt_in_the_middle_of_sending(ws: WebSocket, connector: ScriptedConnector) -> None:
    """Half a request may be out: the connection is not used again, and the next call is not disturbed."""
    transport = connector.transports[0]
    transport.fail_send(KeyboardInterrupt())  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        ask(ws)
    assert not ws.connected
    assert not ws.in_flight
    assert "abort" in transport.calls
    connector.on_connect = serve
    assert ask(ws) == "hiafterNone"
    assert len(connector.transports) == 2


def test_an_interrupt_while_sending_on_a_connection_that_has_ended(
    ws: WebSocket, connector: ScriptedConnector
) -> None:
    """The lane is free afterwards: the next answer is not kept from the next call."""
    transport = connector.transports[0]

    def lose_and_interrupt(deadline: Deadline) -> None:
        lose(transport)
        raise KeyboardInterrupt

    transport._pass = lose_and_interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        ask(ws)
    assert not ws.in_flight
    connector.on_connect = serve
    assert Task(ask, ws).result() == "hiafterNone"
    assert len(connector.transports) == 2


def test_an_interrupt_after_the_last_byte(ws: WebSocket, connector: ScriptedConnector) -> None:
    """The answer will come, to nobody."""
    transport = connector.transports[0]

    def interrupt(request: dict[str, Any]) -> None:
        transport.deliver(*answer("resp_0", "first"))
        raise KeyboardInterrupt

    transport.on_send = interrupt
    with pytest.raises(KeyboardInterrupt):
        ask(ws)
    assert not ws.in_flight
    connector.on_connect = serve
    serve(transport)
    assert ask(ws, "second") == "secondafterNone"


# -- one response at a time


def refused(ws: WebSocket) -> None:
    """Every verb is refused at once, and what runs is not touched."""
    verbs: list[Callable[[], object]] = [
        lambda: ws.call({"model": "m", "input": "no"}),
        lambda: ws.create_response(model="m", input="no"),
        lambda: begin(ws, "no"),
        lambda: ws.warmup(model="m"),
    ]
    for verb in verbs:
        with pytest.raises(ConcurrencyError) as caught:
            verb()
        assert caught.value.delivery is Delivery.NOT_SENT
        assert caught.value.partial is None
        assert ws.in_flight


def test_a_second_while_the_first_streams(ws: WebSocket, connector: ScriptedConnector) -> None:
    """In this thread and in another one."""
    stream = begin(ws)
    chunks = iter(stream)
    for event in answer("resp_1", "one ", "two")[:2]:
        refused(ws)
        connector.transports[0].deliver(event)
        next(chunks)
        Task(refused, ws).result()
    connector.transports[0].deliver(*answer("resp_1", "one ", "two")[2:])
    assert stream.message.content == "one two"
    assert len(connector.transports[0].sent) == 1


def test_a_second_while_the_first_is_sending(ws: WebSocket, connector: ScriptedConnector) -> None:
    """Not a byte of it gets between."""
    transport = connector.transports[0]
    serve(transport)
    transport.block_send()
    first = Task(ask, ws)
    transport.wait_for("blocked")
    refused(ws)
    transport.unblock_send()
    assert first.result() == "hiafterNone"
    assert len(transport.sent) == 1


def test_a_second_while_the_first_connects(ws: WebSocket, connector: ScriptedConnector) -> None:
    """No second connection is opened for it."""
    lose(connector.transports[0])
    connector.block_connect()
    connector.on_connect = serve
    first = Task(ask, ws)
    connector.wait_for("blocked")
    refused(ws)
    connector.unblock_connect()
    assert first.result() == "hiafterNone"
    assert len(connector.targets) == 2


def test_a_second_while_the_first_waits_for_a_drain(connector: ScriptedConnector) -> None:
    """The one that waits has the lane."""
    timeouts = Timeouts(close=0.01, drain=SECONDS)
    with WebSocket(KEY, client_class=connector, timeouts=timeouts) as ws:
        begin(ws, "left").close()
        first = Task(ask, ws)
        wait_until_in(first.ident or 0, "wait_for")
        refused(ws)
        serve(connector.transports[0])
        connector.transports[0].deliver(*answer("old", "left"))
        assert first.result() == "hiafterNone"


def test_a_call_that_is_cancelled_before_its_first_byte(ws: WebSocket, connector: ScriptedConnector) -> None:
    """It has its place and waits for nothing, and does not leave."""
    ws.connect()
    call = Call()
    ws._connection.open(call, None, NEVER)
    call.cancel()
    with pytest.raises(ResponseCancelled) as caught:
        ws._connection.send(call, b"{}")
    assert caught.value.delivery is Delivery.NOT_SENT
    assert not call.abandoned
    ws._connection.leave(call)
    assert "send" not in connector.transports[0].calls
    serve(connector.transports[0])
    assert ask(ws) == "hiafterNone"


def test_cancelling_a_call_that_is_being_sent_costs_no_connection(
    ws: WebSocket, connector: ScriptedConnector
) -> None:
    """Its sender is there: who waits for it to be done does not take the connection for left."""
    ws.connect()
    call, connection = Call(), ws._connection
    connection.open(call, None, NEVER)
    link, transport = connection._begin_sending(call, NEVER)
    call.cancel()
    connection._end_stuck(link, transport)
    assert ws.connected
    connection.leave(call)


def test_a_second_while_the_first_warms_up(ws: WebSocket, connector: ScriptedConnector) -> None:
    """A warmup is a response like any other."""
    first = Task(lambda: ws.warmup(model="m"))
    connector.transports[0].wait_for("send")
    refused(ws)
    connector.transports[0].deliver(completed("resp_1"))
    assert first.result() == "resp_1"


def test_one_that_was_refused_frees_nothing(ws: WebSocket, connector: ScriptedConnector) -> None:
    """After many refusals the first is still alone, and its end still ends one turn."""
    stream = begin(ws)
    for _ in range(50):
        with pytest.raises(ConcurrencyError):
            ask(ws)
    gc.collect()
    assert ws.in_flight
    connector.transports[0].deliver(*answer("first", "one"))
    assert stream.message.content == "one"
    serve(connector.transports[0])
    assert ask(ws) == "hiafterfirst"


def test_many_threads_on_one_websocket() -> None:
    """Each gets its own answer or is refused, and every answer that was made was somebody's."""
    got: list[str] = []

    def hammer(name: str) -> None:
        for number in range(8):
            text = f"{name}.{number}"
            while text not in got:
                try:
                    message = ws.create_response(model="m", input=text, previous_response_id=None)
                except ConcurrencyError:
                    continue
                assert message.content == f"You said: {text}."
                got.append(text)

    with ScriptedServer(model=Model()) as server, websocket(server) as ws:
        threads = [Task(hammer, f"t{number}") for number in range(8)]
        for thread in threads:
            thread.result()
        assert not ws.in_flight
        assert sorted(request["input"] for request in server.requests) == sorted(got)
        assert len(server.connections) == 1
        assert len(got) == 64


# -- disconnecting from another thread


@pytest.mark.parametrize("events", [[], [created("resp_1"), delta("one")]], ids=["sent", "started"])
def test_disconnect_wakes_the_one_that_waits(
    ws: WebSocket, connector: ScriptedConnector, events: list[Event]
) -> None:
    """With ConnectionLost, and with what came."""
    stream = begin(ws)
    connector.transports[0].deliver(*events)
    task = Task(lambda: stream.message)
    if events:
        until(lambda: stream._accumulator.to_message().content)
    wait_until_in(task.ident or 0, "wait_for")
    ws.disconnect()
    error = task.error()
    assert type(error) is ConnectionLost
    assert error.close_code is None
    assert error.delivery is (Delivery.STARTED if events else Delivery.UNKNOWN)
    assert (error.partial.content if error.partial else None) == ("one" if events else None)
    assert not ws.connected
    assert not ws.in_flight
    with pytest.raises(ConnectionError):
        ask(ws)


def test_disconnect_wakes_the_one_that_sends(ws: WebSocket, connector: ScriptedConnector) -> None:
    """It does not open a new connection for what it could not send."""
    transport = connector.transports[0]
    transport.block_send()
    task = Task(ask, ws)
    transport.wait_for("blocked")
    ws.disconnect()
    error = task.error()
    assert type(error) is ConnectionLost
    assert error.delivery is Delivery.NOT_SENT
    assert not ws.connected
    assert not ws.in_flight
    assert len(connector.targets) == 1
    assert transport.sent == []


def test_reconnect_wakes_the_one_that_waits(ws: WebSocket, connector: ScriptedConnector) -> None:
    """The answer that ran is lost; the new connection is the next call's."""
    stream = begin(ws)
    task = Task(lambda: stream.message)
    wait_until_in(task.ident or 0, "wait_for")
    connector.on_connect = serve
    ws.reconnect()
    assert type(task.error()) is ConnectionLost
    assert ask(ws) == "hiafterNone"


# -- the reader


def test_a_silent_peer_is_given_up_at_rest(connector: ScriptedConnector) -> None:
    """After a ping without a byte the connection is dead, and the next call opens a new one."""
    timeouts = Timeouts(close=0.01, ping_interval=0.02, ping_timeout=0.02)
    with WebSocket(KEY, client_class=connector, timeouts=timeouts) as ws:
        connector.transports[0].wait_for("ping")
        connector.transports[0].wait_for("release")
        assert not ws.connected
        connector.on_connect = serve
        assert ask(ws) == "hiafterNone"
        assert connector.transports[0].pings == 1


def test_a_silent_peer_is_given_up_in_a_call(connector: ScriptedConnector) -> None:
    """ConnectionLost, with what came before the silence."""
    timeouts = Timeouts(close=0.01, ping_interval=0.02, ping_timeout=0.02)
    connector.on_connect = lambda transport: setattr(
        transport, "on_send", lambda request: transport.deliver(created("resp_1"), delta("one"))
    )
    with WebSocket(KEY, client_class=connector, timeouts=timeouts) as ws:
        with pytest.raises(ConnectionLost, match="dead") as caught:
            ask(ws)
        assert caught.value.close_code is None
        assert caught.value.partial is not None
        assert caught.value.partial.content == "one"


def test_a_peer_that_answers_pings_is_left_alone(connector: ScriptedConnector) -> None:
    """Any byte is life, though no event comes."""
    timeouts = Timeouts(close=0.01, ping_interval=0.02, ping_timeout=SECONDS)
    with WebSocket(KEY, client_class=connector, timeouts=timeouts) as ws:
        stream = begin(ws)
        for _ in range(3):
            connector.transports[0].wait_for("ping")
            connector.transports[0].deliver()
        connector.transports[0].deliver(*answer("resp_1", "one"))
        assert stream.message.content == "one"


def test_a_peer_is_not_given_up_while_a_request_is_sent(connector: ScriptedConnector) -> None:
    """It may be too busy reading to answer a ping."""
    timeouts = Timeouts(close=0.01, ping_interval=0.02, ping_timeout=0.5)
    with WebSocket(KEY, client_class=connector, timeouts=timeouts) as ws:
        transport = connector.transports[0]
        serve(transport)
        transport.block_send()
        task = Task(ask, ws)
        transport.wait_for("blocked")
        transport.deliver()  # so that the next ping comes while the request is sent
        transport.wait_for("ping")
        threading.Event().wait(0.7)
        assert ws.connected
        transport.deliver()
        transport.unblock_send()
        assert task.result() == "hiafterNone"


def test_a_reader_that_fails_leaves_nobody_waiting(
    ws: WebSocket, connector: ScriptedConnector, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it is: ConnectionLost with the cause, a word in the log, and a new connection for the next."""
    connector.on_connect = lambda transport: setattr(transport, "wait", None)
    ws.reconnect()
    stream = begin(ws)
    connector.transports[1].deliver(created("resp_1"), delta("one"))
    connector.transports[1].end(RuntimeError("a bug"))
    with pytest.raises(ConnectionLost, match="reader") as caught:
        _ = stream.message
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert caught.value.partial is not None
    assert caught.value.partial.content == "one"
    assert "the reader thread failed" in caplog.text
    connector.on_connect = serve
    assert ask(ws) == "hiafterNone"


def test_a_forgotten_websocket_ends_its_connection(connector: ScriptedConnector) -> None:
    """Nothing of ours keeps it alive, and its reader ends."""
    ws = WebSocket(KEY, client_class=connector, timeouts=QUICK).connect()
    serve(connector.transports[0])
    ask(ws)
    gone = weakref.ref(ws)
    del ws
    gc.collect()
    assert gone() is None
    join_readers()
    assert "release" in connector.transports[0].calls


def test_a_websocket_that_was_forgotten_in_a_cycle(connector: ScriptedConnector) -> None:
    """The same, when the collector finds it."""
    ws = WebSocket(KEY, client_class=connector, timeouts=QUICK).connect()
    ws.itself = ws  # type: ignore[attr-defined]
    stream = begin(ws)
    stream.itself = stream  # type: ignore[attr-defined]
    del ws, stream
    gc.collect()
    join_readers()
    assert "release" in connector.transports[0].calls


def test_the_connection_limit_while_a_response_runs(ws: WebSocket, connector: ScriptedConnector) -> None:
    """The service's word is the error, with what came before it."""
    stream = begin(ws)
    connector.transports[0].deliver(
        created("resp_1"), delta("one"), error_event("websocket_connection_limit_reached", 400)
    )
    with pytest.raises(ConnectionLimitReached) as caught:
        _ = stream.message
    assert caught.value.delivery is Delivery.STARTED
    assert caught.value.partial is not None
    assert caught.value.partial.content == "one"
    assert not ws.connected


# -- giving up a drain


def test_a_drain_that_takes_too_long_costs_the_connection(
    ws: WebSocket, connector: ScriptedConnector
) -> None:
    """Its late events, also on the old transport, reach nobody."""
    begin(ws, "left").close()
    connector.on_connect = serve
    assert ask(ws) == "hiafterNone"
    connector.transports[0].deliver(*answer("resp_1", "left"))
    assert ask(ws) == "hiafterresp_1"
    assert len(connector.transports) == 2
    assert connector.transports[0].sent[0]["input"] == "left"


def test_two_abandoned_in_a_row_and_a_drain_that_fails(ws: WebSocket, connector: ScriptedConnector) -> None:
    """Each that gives up opens one connection; none is leaked."""
    for _ in range(5):
        begin(ws, "left").close()
    join = [transport.wait_for("release") for transport in connector.transports[:-1]]
    assert len(join) == 4
    connector.on_connect = serve
    assert ask(ws) == "hiafterNone"
    assert len(connector.transports) == 6
