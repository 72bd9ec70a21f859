"""Ctrl-C at every stage: it comes out at once, and the next call gets its own answer."""

from __future__ import annotations

import contextlib
import os
import queue
import random
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
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
    join_readers,
    stack,
    wait_until_in,
    websocket,
)

from responses_ws import (
    ConnectionError,
    ConnectionLost,
    Endpoint,
    Limits,
    ResponsesWSError,
    ResponseTimeout,
    Timeouts,
    WebSocket,
    _connection,
    _linked,
)
from responses_ws._transport import mailbox
from responses_ws._transport.deadline import Deadline
from responses_ws.testing import (
    Model,
    ScriptedConnector,
    ScriptedServer,
    ScriptedTransport,
    Step,
    close,
    deaf,
    expect,
    expect_gone,
    gate,
    hang,
    mark,
    read_bytes,
    send,
    silence,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process there")

AT_ONCE = 2.0
PATIENT = Timeouts(connect=None, send=None, ping_interval=None, drain=None, close=None)


# -- a signal at a stage


def until(done: Callable[[], object], seconds: float = 10) -> None:
    """Look again and again, for a state that nobody announces."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.001)


def nobody_reads() -> bool:
    """Every connection is over: its reader thread ends last."""
    return not any("reader" in thread.name for thread in threading.enumerate())


def dwell(entered: threading.Event) -> None:
    """What a user's code does between two chunks."""
    entered.set()
    until(lambda: False)


def caller_is_in(*names: str) -> Callable[[], None]:
    """A stage: the main thread is inside all of these functions."""
    main = threading.main_thread().ident or 0
    return lambda: until(lambda: set(names) <= set(stack(main)))


def reader_is_in(name: str) -> Callable[[], None]:
    """A stage: a reader thread is inside this function, and the main thread waits for it."""

    def reached() -> bool:
        readers = [thread.ident or 0 for thread in threading.enumerate() if "reader" in thread.name]
        return any(name in stack(ident) for ident in readers) and "wait_for" in stack(main)

    main = threading.main_thread().ident or 0
    return lambda: until(reached)


def interrupted(action: Callable[[], object], stage: Callable[[], object]) -> KeyboardInterrupt:
    """Run ``action`` and send SIGINT to this process when ``stage`` returns.

    It comes out as KeyboardInterrupt within ten times the slices that waiting is made of. The exception is
    kept alive by the test, as notebooks keep the last one, with everything that its traceback holds.
    """
    sent: queue.SimpleQueue[float] = queue.SimpleQueue()

    def press() -> None:
        try:
            stage()
        finally:
            sent.put(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

    helper = threading.Thread(target=press, name="ctrl-c")
    helper.start()
    try:
        action()
    except KeyboardInterrupt as caught:
        took = time.monotonic() - sent.get(timeout=10)
        assert took < AT_ONCE
        return caught
    finally:
        helper.join(10)
    raise AssertionError("no KeyboardInterrupt came out")


# -- what the server says


def then(name: str = "after") -> tuple[Step, ...]:
    """The steps of the next call."""
    return expect(input=name), send(*answer(f"resp_{name}", name))


def first(*rest: Step) -> tuple[Step, ...]:
    """The steps of a call whose answer comes as far as its first piece, then ``rest``."""
    return expect(input="first"), send(created("resp_1"), delta("early")), *rest


@pytest.fixture(params=[False, True], ids=["ws", "wss"])
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    with ScriptedServer(tls=request.param) as server:
        yield server


def client(server: ScriptedServer, **options: Any) -> WebSocket:
    """A WebSocket that nothing but the signal interrupts."""
    return websocket(server, **({"timeouts": PATIENT} | options))


# -- connecting


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port whose queue is full: the system drops every further SYN."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        while True:
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            if not select.select([], [filler], [], 0.2)[1]:
                break
        yield listener.getsockname()[1]


def test_while_a_name_is_looked_up(server, monkeypatch):
    """A look-up that never returns cannot be ended; it is left to its thread and holds nothing up."""
    entered, leave = threading.Event(), threading.Event()
    look_up = socket.getaddrinfo

    def slow(*args: Any, **options: Any) -> Any:
        entered.set()
        assert leave.wait(10)
        return look_up(*args, **options)

    server.connection(*then())
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", slow)
        ws = client(server)
        kept = interrupted(ws.connect, lambda: entered.wait(10))
    with ws:
        assert ask(ws, "after") == "after"
        leave.set()
        until(lambda: sum("reader" in thread.name for thread in threading.enumerate()) == 1)
    assert kept
    assert len(server.connections) == 1, "what was looked up too late was connected to"


def test_while_the_port_does_not_answer(deaf_port):
    """TCP connect on a port that drops every packet."""
    ws = WebSocket("any", api_base=f"ws://127.0.0.1:{deaf_port}/v1", timeouts=PATIENT)
    assert interrupted(ws.connect, reader_is_in("_connect"))
    assert not ws.connected


@pytest.mark.parametrize(
    ("tls", "script", "function"),
    [
        pytest.param(True, hang(read=False), "do_handshake", id="TLS"),
        pytest.param(False, hang(), "read_head", id="upgrade"),
        pytest.param(True, hang(), "read_head", id="upgrade over TLS"),
    ],
)
def test_while_the_server_does_not_answer(tls, script, function):
    """A handshake that hangs; the thread and the socket of it are gone at once."""
    with ScriptedServer(tls=tls) as server:
        server.connection(script)
        server.connection(*then())
        ws = client(server)
        kept = interrupted(ws.connect, reader_is_in(function))
        until(nobody_reads)
        with ws:
            assert ask(ws, "after") == "after"
        assert kept


def test_while_the_proxy_does_not_answer():
    """A proxy that takes the CONNECT and says nothing."""
    with ScriptedServer() as proxy:
        proxy.connection(hang())
        port = proxy.port
        ws = WebSocket(
            "any", api_base="ws://localhost:1/v1", proxy=f"http://127.0.0.1:{port}", timeouts=PATIENT
        )
        assert interrupted(ws.connect, reader_is_in("read_head"))
        assert not ws.connected


def test_while_a_call_connects_anew(server):
    """The object was open before, so the next call connects by itself."""
    server.connection(*then("before"), close(1001))
    server.connection(hang())
    server.connection(*then())
    with client(server) as ws:
        ask(ws, "before")
        until(lambda: not ws.connected)
        kept = interrupted(lambda: ask(ws, "lost"), reader_is_in("read_head"))
        assert ask(ws, "after") == "after"
    assert kept


def test_a_signal_handler_that_takes_long(server):
    """It raises nothing, and outlasts a slice of the wait: the clocks of the call go on."""
    server.connection(expect(), gate("over"), expect_gone())
    handled = threading.Event()
    waits = caller_is_in("wait_for")

    def handle(*_: object) -> None:
        time.sleep(0.3)
        handled.set()

    def press() -> None:
        waits()
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with client(server, response_timeout=0.5) as ws:
            helper = Task(press)
            with pytest.raises(ResponseTimeout):
                ask(ws)
            helper.result()
            server.open("over")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert handled.is_set()


# -- sending


def test_while_sending(server):
    """20 MB to a server that does not read: the half that left poisons its connection, and only that."""
    server.connection(read_bytes(100_000), mark("stalled"), silence())
    server.connection(*then())
    with client(server, limits=Limits(max_request_bytes=None)) as ws:

        def stalled() -> None:
            server.wait_for("stalled")
            caller_is_in("_write", "poll")()

        kept = interrupted(lambda: ask(ws, "x" * 20_000_000), stalled)
        assert not ws.in_flight
        until(nobody_reads)
        assert ask(ws, "after") == "after"
    assert kept
    assert [request["input"] for request in server.requests] == ["after"]


def test_while_sending_on_a_connection_that_was_lost(server):
    """The reader has seen the end, the sender has not: the lane must not stay the sender's."""
    server.connection(read_bytes(100_000), mark("stalled"), silence())
    server.connection(*then())
    with client(server, limits=Limits(max_request_bytes=None)) as ws:

        def lost() -> None:
            server.wait_for("stalled")
            caller_is_in("_write", "poll")()
            link = ws._connection.link
            ws._connection.end(link, ConnectionLost("told by the test"))

        kept = interrupted(lambda: ask(ws, "x" * 20_000_000), lost)
        until(nobody_reads)
        assert ask(ws, "after") == "after"
    assert kept


# -- waiting and streaming


def test_while_waiting(server):
    """Nothing of the first answer, which comes later on the same connection, reaches the second."""
    server.connection(
        expect(input="first"), mark("asked"), gate("late"), send(*answer("resp_1", "late")), *then()
    )
    with client(server) as ws:

        def asked() -> None:
            server.wait_for("asked")
            caller_is_in("_fetch", "wait_for")()

        kept = interrupted(lambda: ask(ws, "first"), asked)
        assert not ws.in_flight
        server.open("late")
        assert ask(ws, "after") == "after"
        assert ws.last_response_id == "resp_after"
    assert kept
    assert len(server.connections) == 1


def test_while_waiting_for_the_next_event(server):
    """The same in mid-answer, with the events that the first left in its queue."""
    server.connection(*first(gate("late"), send(delta("late"), completed("resp_1"))), *then())
    with client(server) as ws:
        seen = []

        def read_on() -> None:
            for chunk in ws.stream(model="m", input="first"):
                seen.append(chunk.content)

        def early_seen() -> None:
            until(lambda: "early" in seen)
            caller_is_in("_fetch", "wait_for")()

        kept = interrupted(read_on, early_seen)
        server.open("late")
        assert ask(ws, "after") == "after"
    assert kept
    assert "late" not in seen


def test_in_the_loop_over_a_stream(server):
    """In the user's own code between two chunks; the rest does not come, so a new connection is made."""
    server.connection(*first(expect_gone()))
    server.connection(*then())
    entered = threading.Event()
    with client(server, timeouts=Timeouts(drain=0.1)) as ws:

        def read() -> None:
            with ws.stream(model="m", input="first") as stream:
                for _ in stream:
                    dwell(entered)

        kept = interrupted(read, lambda: entered.wait(10))
        assert ask(ws, "after") == "after"
    assert kept


def test_in_a_callback(server):
    """In ``on_chunk``."""
    server.connection(*first(gate("late"), send(completed("resp_1"))), *then())
    entered = threading.Event()
    with client(server) as ws:

        def read() -> None:
            ws.create_response(model="m", input="first", on_chunk=lambda _: dwell(entered))

        kept = interrupted(read, lambda: entered.wait(10))
        server.open("late")
        assert ask(ws, "after") == "after"
    assert kept


def test_while_an_abandoned_response_drains(server):
    """The wait for the lane; the place in its queue is given up."""
    server.connection(*first(gate("late"), send(completed("resp_1"))), *then())
    with client(server) as ws:
        ws.stream(model="m", input="first").close()
        kept = interrupted(lambda: ask(ws, "second"), caller_is_in("open", "wait_for"))
        server.open("late")
        assert ask(ws, "after") == "after"
    assert kept
    assert [request["input"] for request in server.requests] == ["first", "after"]


# -- leaving


@pytest.mark.parametrize("leave", ["disconnect", "reconnect", "with"])
def test_while_disconnecting(server, leave):
    """A peer that answers no close frame, and no limit to the wait for it."""
    server.connection(deaf(), expect(input="before"), send(*answer("resp_1", "before")), expect_gone())
    server.connection(*then())
    ws = client(server).connect()
    ask(ws, "before")

    def with_statement() -> None:
        with ws:
            pass

    actions = {"disconnect": ws.disconnect, "reconnect": ws.reconnect, "with": with_statement}
    kept = interrupted(actions[leave], caller_is_in("disconnect", "join"))
    assert not ws.connected
    with ws:
        assert ask(ws, "after") == "after"
    assert kept


# -- everywhere else


def press() -> None:
    """What Python's own handler of SIGINT does."""
    raise KeyboardInterrupt


class AtStep:
    """A profile function that acts at the n-th place where the interpreter could run a signal handler.

    CPython runs signal handlers when it enters a Python function and after it has called one in C. Counted
    are the places in this package: what an interrupt leaves behind inside :mod:`threading` is not ours.

    :param again: after so many further functions were entered a KeyboardInterrupt comes; None for none.
    """

    def __init__(self, step: int, act: Callable[[], object] = press, again: int | None = None) -> None:
        self.left = step
        self.again = again
        self.place = ""
        self._act = act
        # Kept: with no other reference CPython 3.11 has called what lay where it had been.
        self._tracer = self._enter

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """In this thread."""
        sys.setprofile(self)
        if self.again is not None:
            sys.settrace(self._tracer)
        try:
            yield
        finally:
            sys.setprofile(None)
            sys.settrace(None)

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event not in ("call", "c_return") or not self._ours(frame):
            return
        self.left -= 1
        if self.left == 0:
            self.place = f"{event} in {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
            self._act()

    def _enter(self, frame: FrameType, *_: object) -> None:
        # The profile function is gone with the first exception that it has raised.
        if self.again is None or not self.place or not self._ours(frame):
            return
        self.again -= 1
        if self.again == 0:
            self.place += f", then {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
            raise KeyboardInterrupt

    @staticmethod
    def _ours(frame: FrameType) -> bool:
        """Not what a scripted service does, nor what happens in its mailboxes and its named tuples."""
        while frame.f_code.co_filename in (mailbox.__file__, "<string>") and frame.f_back is not None:
            frame = frame.f_back
        path = frame.f_code.co_filename
        return f"{os.sep}responses_ws{os.sep}" in path and f"{os.sep}testing{os.sep}" not in path


Life = Callable[[WebSocket, ScriptedConnector], None]


def play(transport: ScriptedTransport) -> None:
    """A peer that answers at once."""

    def reply(request: dict[str, Any]) -> None:
        text = request["input"]
        lane = {"stream_id": request["stream_id"]} if "stream_id" in request else {}
        transport.deliver(*({**event, **lane} for event in answer(f"resp_{text}", text)))

    transport.on_send = reply


def healthy(ws: WebSocket, connector: ScriptedConnector) -> None:
    """A connection's whole life, without a fault."""
    ws.connect()
    ask(ws, "one")
    with ws.stream(model="m", input="two") as stream:
        for _ in stream:
            pass
    for _ in ws.stream(model="m", input="three"):
        break
    ws.warmup(model="m", input="four")
    ws.call({"model": "m", "input": "five"})
    ws.disconnect()


def lost(ws: WebSocket, connector: ScriptedConnector) -> None:
    """A connection that was lost at rest, found out by the send."""
    ws.connect()
    connector.transports[-1].fail_send(ConnectionLost("gone", close_code=1006))
    ask(ws, "one")


def stuck(ws: WebSocket, connector: ScriptedConnector) -> None:
    """An abandoned response that never ends."""
    ws.connect()
    connector.transports[-1].on_send = None
    ws.stream(model="m", input="one").close()
    ask(ws, "two")


def on_lanes(ws: WebSocket, connector: ScriptedConnector) -> None:
    """Several lanes, of which one is left, and one left for ever."""
    ws.connect()
    a, b = ws.lane("a"), ws.lane("b")
    a.create_response(model="m", input="one", store=False)
    for _ in b.stream(model="m", input="two", previous_response_id=a.last_response_id):
        break
    a.create_response(model="m", input="three")
    b.warmup(model="m", input="four")
    connector.transports[-1].on_send = None
    a.stream(model="m", input="five").close()
    a.create_response(model="m", input="six")
    ws.disconnect()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for in vain is not waited for long."""
    # CPython drops an interrupt that falls into a finalizer, after saying so.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    monkeypatch.setattr(_linked, "RELEASE_SECONDS", 0.005)


class Led:
    """A life that was broken into at a step.

    :param by: makes of the WebSocket what is done at the step.
    :param again: see :class:`AtStep`.
    :ivar place: where it was broken into; an empty string when the life was shorter.
    :ivar kind: the class of what came out of it.
    """

    def __init__(
        self,
        life: Life,
        step: int,
        by: Callable[[WebSocket], Callable[[], object]] = lambda ws: press,
        again: int | None = None,
    ) -> None:
        self.connector = ScriptedConnector(play)
        timeouts = Timeouts(drain=0.001, close=0.000001)
        endpoint = Endpoint("ws://localhost/v1/responses", max_in_flight=2, max_lanes=3)
        self.ws = WebSocket("any", endpoint=endpoint, client_class=self.connector, timeouts=timeouts)
        self.kind: type[BaseException] | None = None
        at_step = AtStep(step, by(self.ws), again)
        Task(self._lead, life, at_step).result()
        self.place = at_step.place

    def _lead(self, life: Life, at_step: AtStep) -> None:
        try:
            with at_step.watching():
                life(self.ws, self.connector)
        except (KeyboardInterrupt, ResponsesWSError) as error:
            self.kind = type(error)

    def check(self) -> None:
        """The object can be connected again and answers rightly."""
        for transport in self.connector.transports:
            play(transport)
        try:
            Task(self._use).result()
        except (ResponsesWSError, AssertionError) as error:
            raise AssertionError(f"after {self.place}") from error
        # A connecting that was interrupted twice may have left its reader to the server.
        for transport in self.connector.transports:
            transport.abort()

    def _use(self) -> None:
        with self.ws:
            assert ask(self.ws, "after") == "after"
            for name in ("a", "b", "c"):
                assert self.ws.lane(name).create_response(model="m", input=name).content == name


LIVES = [healthy, lost, stuck, on_lanes]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("stride", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_anywhere(life, stride):
    """Wherever the interrupt falls."""
    for step in range(1, 10_000, stride):
        led = Led(life, step)
        led.check()
        if not led.place:
            break
    assert step > 100


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("stride", [29, pytest.param(1, marks=pytest.mark.slow)])
def test_twice(life, stride):
    """A second interrupt on the first one's way out."""
    both = 0
    for step in range(1, 10_000, stride):
        led = Led(life, step, again=step % 11 + 1)
        led.check()
        both += "then" in led.place
        if not led.place:
            break
    assert both


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_handler_that_disconnects(life, stride):
    """As servers do at SIGTERM: the handler may come while this thread holds our lock."""
    for step in range(1, 10_000, stride):
        led = Led(life, step, by=lambda ws: ws.disconnect)
        assert led.kind is None or issubclass(led.kind, ConnectionError), led.place
        led.check()
        if not led.place:
            break
    assert step > 100


def test_a_second_interrupt_before_the_clean_up_begins(monkeypatch):
    """The lane is free though nothing was cleared, and though the traceback keeps the response."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    connector = ScriptedConnector()
    ws = WebSocket("any", api_base="ws://localhost/v1", client_class=connector, timeouts=Timeouts(drain=0.01))
    ws.connect()
    connector.transports[-1].on_send = interrupt
    connector.on_connect = play
    with monkeypatch.context() as patch:
        patch.setattr(_connection.Connection, "leave", interrupt)
        with pytest.raises(KeyboardInterrupt) as kept:
            ask(ws, "first")
    assert not ws.in_flight
    assert ask(ws, "after") == "after"
    assert kept
    ws.disconnect()


@pytest.fixture
def connected(monkeypatch) -> Iterator[tuple[WebSocket, ScriptedConnector]]:
    """An open one; an interrupt kept its connecting from saying that it is done."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    connector = ScriptedConnector(play)
    ws = WebSocket("any", api_base="ws://localhost/v1", client_class=connector, timeouts=Timeouts(close=0.01))
    with monkeypatch.context() as patch:
        patch.setattr(_linked.Linked, "_end_dialing", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ws.connect()
    assert ws.connected
    yield ws, connector
    ws.disconnect()


@pytest.mark.parametrize("verb", [lambda ws: ask(ws, "lost"), WebSocket.connect], ids=["call", "connect"])
def test_an_interrupt_after_connecting_keeps_nobody_from_connecting(connected, verb):
    """Once that connection is lost: it is not taken for one that still connects."""
    ws, connector = connected
    connector.transports[0].end(ConnectionLost("gone", close_code=1001))
    join_readers()
    verb(ws)
    assert ask(ws, "after") == "after"
    assert len(connector.transports) == 2


def test_an_interrupt_after_connecting_makes_nobody_wait(connected):
    """For what is open already; and who gives up connecting does not give that up."""
    ws, connector = connected
    ws._connection.await_dialing(Deadline(0))
    ws._connection.stop_dialing()
    assert ask(ws, "after") == "after"
    ws.disconnect()
    assert connector.transports[0].calls.index("close") < connector.transports[0].calls.index("abort")
    assert len(connector.transports) == 1


def hold_reader(transport: ScriptedTransport, go_on: threading.Event) -> None:
    """Its reader comes late to what it has to do at the end."""
    main, close = threading.main_thread(), transport.close

    def held(*args: Any) -> None:
        if threading.current_thread() is not main:
            go_on.wait(SECONDS)
        close(*args)

    transport.close = held


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("slow", [False, True], ids=["reader", "slow reader"])
def test_an_interrupted_disconnect_loses_nobody(slow):
    """Whoever waited on the connection is told by the next disconnect, or by its reader, at the latest."""
    for step in range(1, 1000):
        connector = ScriptedConnector()
        ws = WebSocket("any", api_base="ws://localhost/v1", client_class=connector).connect()
        waiting = Task(ask, ws)
        wait_until_in(waiting.ident or 0, "wait_for")
        go_on = threading.Event()
        if slow:
            hold_reader(connector.transports[0], go_on)
        watched: list[bool] = []
        ws._connection.watcher = lambda *, ended, watched=watched: watched.append(ended)
        at_step = AtStep(step)
        with contextlib.suppress(KeyboardInterrupt), at_step.watching():
            ws.disconnect()
        go_on.set()
        ws.disconnect()
        try:
            assert isinstance(waiting.error(), ConnectionLost)
        except AssertionError as error:
            raise AssertionError(f"after {at_step.place}") from error
        join_readers()
        assert True in watched, f"after {at_step.place}"
        if not at_step.place:
            break
    assert step > 20


@pytest.mark.usefixtures("hasty")
def test_an_interrupted_watcher_is_called_again():
    """By the reader, which comes late; then nothing of the responses is kept with the link."""
    connector = ScriptedConnector()
    ws = WebSocket("any", api_base="ws://localhost/v1", client_class=connector).connect()
    waiting = Task(ask, ws)
    wait_until_in(waiting.ident or 0, "wait_for")
    link, go_on = ws._connection.link, threading.Event()
    hold_reader(connector.transports[0], go_on)
    watched: list[bool] = []

    def watch(*, ended: bool) -> None:
        watched.append(ended)
        if len(watched) == 1:
            raise KeyboardInterrupt

    ws._connection.watcher = watch
    with pytest.raises(KeyboardInterrupt):
        ws.disconnect()
    go_on.set()
    join_readers()
    assert watched == [True, True]
    assert isinstance(waiting.error(), ConnectionLost)
    assert link.ended is None


class Finger:
    """Presses Ctrl-C once for each order, after so many seconds."""

    def __init__(self) -> None:
        self.presses = 0
        self._orders: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._press, name="ctrl-c")
        self._thread.start()

    def press_after(self, seconds: float | None) -> None:
        self._orders.put(seconds)

    def rest(self) -> None:
        self._orders.put(None)
        self._thread.join(10)

    def _press(self) -> None:
        while (seconds := self._orders.get()) is not None:
            time.sleep(seconds)
            os.kill(os.getpid(), signal.SIGINT)
            self.presses += 1


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
def test_at_random_moments(tls, monkeypatch):
    """100 signals into lives of connections on real sockets; afterwards each call gets its own answer."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    moments = random.Random(20)  # noqa: S311
    model = Model(lambda history, request: "re " + request["input"][:20])
    server = ScriptedServer(tls=tls, model=model).start()
    finger = Finger()
    ws = client(server, timeouts=Timeouts(drain=0.2, close=0.2))

    def live(number: int) -> None:
        ws.connect()
        assert ask(ws, f"first {number}") == f"re first {number}"
        with ws.stream(model="m", input=f"second {number}" + "x" * 1_000_000) as stream:
            assert next(stream.text)
        ask(ws, f"third {number}")
        ws.disconnect()

    try:
        for number in range(100):
            finger.press_after(moments.uniform(0, 0.05))
            with contextlib.suppress(KeyboardInterrupt):
                with contextlib.suppress(ResponsesWSError):
                    live(number)
                until(lambda: finger.presses > number)  # noqa: B023
            ws.connect()
            assert ask(ws, f"after {number}") == f"re after {number}"
    finally:
        finger.rest()
        ws.disconnect()
        server.close()
