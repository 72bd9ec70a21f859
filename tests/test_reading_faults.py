"""What goes wrong while a caller reads the socket himself: what the thread makes of it, and the user."""

from __future__ import annotations

import socket
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from shell import (
    PAUSE,
    SECONDS,
    Task,
    ask,
    completed,
    created,
    delta,
    join_readers,
    until,
    wait_until_in,
)

from responses_ws import ConnectionLost, Delivery, ResponseStream, Timeouts, WebSocket, _linked, _reading
from responses_ws._call import Call
from responses_ws._reading import Reading
from responses_ws._transport.base import Target
from responses_ws._transport.deadline import NEVER
from responses_ws._transport.mailbox import READY, Mailbox, Mark, wait_for
from responses_ws._transport.ws import SocketTransport
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


def attended(ws: WebSocket, transport: ScriptedTransport) -> tuple[ResponseStream, Iterator[str]]:
    """A response whose next event its caller reads, if he asks for it before the thread is back."""
    stream = ws.stream(model="m", input="hi")
    pieces = stream.text
    reader = Task(next, pieces)
    # The thread waits for bytes, is asked for the right, and hands it over after these.
    wait_until_in(reader.ident or 0, "wait_for")
    transport.deliver(created("resp_1"), delta("first"))
    assert reader.result() == "first"
    return stream, pieces


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


def test_a_process_that_was_stopped_looks_before_it_gives_the_peer_up(connector, monkeypatch):
    """The pong lay there all the while; neither the caller nor the thread could read it."""
    stopped, thread_stopped, caller_stopped, go_on = (threading.Event() for _ in range(4))

    def stoppable(mailbox: Mailbox[Mark], seconds: float | None) -> Mark | None:
        found = wait_for(mailbox, seconds)
        if stopped.is_set():
            thread_stopped.set()
            assert caller_stopped.wait(SECONDS)
            PAUSE.wait(0.5)  # longer than the peer has for its answer
        return found

    def listen(stream: ResponseStream) -> str:
        for _ in stream.chunks(heartbeat=0.02):
            if thread_stopped.is_set() and not caller_stopped.is_set():
                transport.deliver()
                caller_stopped.set()
                assert go_on.wait(SECONDS)
        return stream.message.content

    monkeypatch.setattr(_reading, "wait_for", stoppable)
    with connected(connector, Timeouts(ping_interval=0.2, ping_timeout=0.2, close=0.01)) as ws:
        transport = connector.transports[0]
        stream, _ = attended(ws, transport)
        listening = Task(listen, stream)
        transport.wait_for("ping")
        stopped.set()
        until(lambda: caller_stopped.is_set() and not transport._inbound.items)
        stopped.clear()
        transport.deliver(completed("resp_1"))
        go_on.set()
        assert listening.result() == "first"


class Gated(ScriptedTransport):
    """Its waiting ends when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.gate = threading.Event(), threading.Event()

    def wait(self, timeout: float | None) -> bool:
        self.entered.set()
        assert self.gate.wait(SECONDS)
        return False


def test_who_comes_while_another_caller_reads_is_told():
    """The one whose response is over may not have come out of its reading when the next one waits."""
    transport = Gated()
    transport.gate.set()
    reading = handed_over(transport)
    transport.entered.clear()
    transport.gate.clear()
    first, second = Task(reading.attend, Call(), 0.0), Call()
    assert transport.entered.wait(SECONDS)
    assert not Task(reading.attend, second, 0.0).result()
    assert second.queue.take() is None
    transport.gate.set()
    assert first.result()
    assert second.queue.take() is READY


def test_a_request_of_the_parent_is_not_sent_by_a_forked_child(connector):
    """A signal handler may fork after the taking of a lane, and return in both processes."""
    with connected(connector) as ws:
        call = Call()
        ws._connection.open(call, None, NEVER)
        ws._connection.forget()
        ws.connect()
        with pytest.raises(ConnectionLost) as caught:
            ws._connection.send(call, b"{}")
        assert caught.value.delivery is Delivery.NOT_SENT
        assert connector.transports[1].sent == []
        connector.transports[0].abort()  # there is no reader in a real child


def test_a_forked_child_in_the_middle_of_a_sending_does_not_wait_for_a_place(connector):
    """It has none on its own connection; the request is the parent's, who goes on with it."""
    with connected(connector) as ws:
        old = connector.transports[0]
        asking = Task(ask, ws)
        old.wait_for("send")
        old.block_send()
        old.deliver(created("resp_1"), completed("resp_1"))
        asking.result()
        forked = Task(ask, ws)
        old.wait_for("blocked")
        ws._connection.forget()
        old.fail_send(ConnectionLost("the socket is closed"))
        error = forked.error()
        assert "parent" in str(error)
        assert error.delivery is Delivery.NOT_SENT
        old.abort()  # there is no reader in a real child


def test_a_forked_child_that_goes_on_waiting_is_told(ws, connector):
    """A signal handler may fork while it waits for the thread, and return in both processes."""
    transport = connector.transports[0]
    asking = Task(ask, ws)
    transport.wait_for("send")
    wait_until_in(asking.ident or 0, "wait_for")
    ws._connection.forget()
    error = asking.error()
    assert "parent" in str(error)
    assert error.delivery is Delivery.UNKNOWN
    transport.abort()  # there is no reader in a real child


# -- what ends a connection in the caller's thread


def test_what_the_caller_is_handling_stays_his(connector):
    """The end of the connection is met in the middle of his handling of an error, and is not made of it."""
    ws = connected(connector)
    transport = connector.transports[0]
    _, pieces = attended(ws, transport)
    kept: list[BaseException] = []

    def read_on() -> None:
        try:
            int("no number")
        except ValueError as error:
            try:
                next(pieces)
            except ConnectionLost:
                kept.append(error)

    link = ws._connection.link
    reader = Task(read_on)
    wait_until_in(reader.ident or 0, "wait")
    transport.end(ConnectionLost("gone", close_code=1006))
    reader.result()
    assert traceback.extract_tb(kept[0].__traceback__)
    join_readers()
    assert link.cause.__context__ is None


class Alarmed(socket.socket):
    """A signal handler raises between the bytes and the knowledge of them."""

    def recv(self, *args: Any) -> bytes:
        super().recv(*args)
        raise TimeoutError("told by an alarm")


def test_a_signal_handler_that_raises_a_timeout_error_is_heard():
    """It is not the socket that failed, and whoever set the alarm waits for his own exception."""
    ours, theirs = socket.socketpair()
    with theirs, Alarmed(fileno=ours.detach()) as sock:
        transport = SocketTransport(sock, Target("ws://localhost/v1/responses"))
        theirs.send(b"anything")
        with pytest.raises(TimeoutError, match="alarm"):
            transport.receive(SECONDS)


# -- what ends it, and who knows of it


class Piecewise(ScriptedTransport):
    """What lies there comes in several reads, as the records of TLS do; then the close frame is raised."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        for _ in range(pieces):
            self.deliver()
        self.end(ConnectionLost("gone", close_code=1001))


@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_a_glance_sees_the_close_frame_behind_what_came_before_it(pieces):
    """A ping or a stray event before it has a record of its own."""
    reading = handed_over(Piecewise(pieces))
    Task(reading.glance).result()
    assert isinstance(reading.failure, ConnectionLost)


def test_who_ends_the_connection_he_is_reading_does_not_wait_for_himself(ws, connector, monkeypatch):
    """A pool lets go of a connection in the thread that has read the end of its last response."""
    monkeypatch.setattr(_linked, "RELEASE_SECONDS", 2 * SECONDS)
    monkeypatch.setattr(_reading, "RETAKE_SLICES", 1000)
    transport = connector.transports[0]
    _, pieces = attended(ws, transport)
    connection = ws._connection
    connection.watcher = lambda *, ended: connection.retire("told by the test")
    reader = Task(list, pieces)
    wait_until_in(reader.ident or 0, "wait")
    transport.deliver(completed("resp_1"))
    assert reader.result() == []
    join_readers()


def test_a_caller_who_may_not_read_any_more_says_so(monkeypatch):
    """A lane was asked for and waits for its turn: nobody but him knows that nobody reads."""
    monkeypatch.setattr(_reading, "FLOW_SECONDS", 2 * SECONDS)
    reading = handed_over(ScriptedTransport())
    reading._connection.single = False
    assert not Task(reading.attend, Call(), None).result()
    Task(reading.receive, None).result()


def test_who_asks_in_the_middle_of_his_own_reading_does_not_wait_for_ever(ws, connector, monkeypatch):
    """A handler of logs or of a signal may, when the response that its thread reads has just ended."""
    monkeypatch.setattr(_reading, "RETAKE_SLICES", 1)
    _, pieces = attended(ws, connector.transports[0])
    failures: list[ConnectionLost] = []

    def asking(*, ended: bool) -> None:
        ws._connection.watcher = None
        with pytest.raises(ConnectionLost) as caught:
            ask(ws)
        failures.append(caught.value)

    ws._connection.watcher = asking
    reader = Task(list, pieces)
    wait_until_in(reader.ident or 0, "wait")
    connector.transports[0].deliver(completed("resp_1"))
    assert reader.result() == []
    assert failures[0].delivery is Delivery.UNKNOWN
