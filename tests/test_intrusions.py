"""What breaks in from outside: handlers of signals and logs, finalizers, callbacks, copies, endless waits."""

from __future__ import annotations

import copy
import gc
import logging
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from shell import (
    Task,
    answer,
    ask,
    completed,
    created,
    delivered,
    delta,
    join_readers,
    until,
    wait_until_in,
    websocket,
)

from responses_ws import (
    Chunk,
    ConcurrencyError,
    ConnectionLost,
    Endpoint,
    Limits,
    Message,
    Timeouts,
    ToolCall,
    Usage,
    WebSocket,
)
from responses_ws.testing import (
    Model,
    ScriptedConnector,
    ScriptedServer,
    ScriptedTransport,
    expect,
    expect_gone,
    gate,
    hang,
    mark,
    read_bytes,
    send,
    silence,
)

PATIENT = Timeouts(connect=None, send=None, ping_interval=None, drain=None, close=None)
UNLIMITED = Limits(max_request_bytes=None)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(receive_buffer=65536) as server:
        yield server


def then() -> tuple[Any, ...]:
    """The script of the next call."""
    return expect(input="after"), send(*answer("resp_after", "after"))


class Peer:
    """A WebSocket in memory, connected, and the transport whose server the test plays."""

    def __init__(self) -> None:
        connector = ScriptedConnector()
        ws = WebSocket(
            "any", api_base="ws://localhost/v1", client_class=connector, timeouts=Timeouts(close=0.01)
        )
        self.ws = ws.connect()
        self.transport: ScriptedTransport = connector.transports[-1]

    def wait_until_asked(self, call: Task) -> None:
        """Until the request has left and its caller waits."""
        self.transport.wait_for("send")
        wait_until_in(call.ident or 0, "wait_for")


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    Task(peer.ws.disconnect).result()


# -- signal handlers


class OverTime(TimeoutError):
    """What handlers of SIGALRM raise: an OSError, as those of sockets are."""


class WrongTime(ValueError):
    """Looks like what the system says of a socket that is closed."""


@pytest.fixture
def terminate() -> Iterator[Callable[[Callable[..., object]], None]]:
    """Sets a handler of SIGTERM."""
    before = signal.getsignal(signal.SIGTERM)
    yield lambda handler: signal.signal(signal.SIGTERM, handler) and None
    signal.signal(signal.SIGTERM, before)


def signalled(when: Callable[[], object]) -> Task:
    """Send SIGTERM to this process at a moment."""

    def press() -> None:
        when()
        os.kill(os.getpid(), signal.SIGTERM)

    return Task(press)


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process there")
class TestSignals:
    """Handlers of signals that raise something else than KeyboardInterrupt, or use the object."""

    @pytest.fixture(params=[OverTime, WrongTime, SystemExit])
    def raised(self, request, terminate):
        """The class of what the handler raises."""

        def handler(*_: object) -> None:
            raise request.param

        terminate(handler)
        return request.param

    def test_while_sending(self, server, raised):
        """It is not taken for a connection that broke, after which the request would be sent once more."""
        server.connection(read_bytes(100_000), mark("stalled"), silence())
        server.connection(*then())
        main = threading.get_ident()

        def stalled() -> None:
            server.wait_for("stalled")
            wait_until_in(main, "poll")

        with websocket(server, timeouts=PATIENT, limits=UNLIMITED) as ws:
            pressing = signalled(stalled)
            with pytest.raises(raised):
                ask(ws, "x" * 20_000_000)
            pressing.result()
            join_readers()
            assert ask(ws, "after") == "after"
        assert [request["input"] for request in server.requests] == ["after"]

    def test_while_waiting(self, server, raised):
        """It comes out of the call, whose answer is nobody's."""
        server.connection(expect(), mark("asked"), gate("left"), send(*answer("resp_1", "late")), *then())
        main = threading.get_ident()

        def asked() -> None:
            server.wait_for("asked")
            wait_until_in(main, "wait_for")

        with websocket(server, timeouts=PATIENT) as ws:
            pressing = signalled(asked)
            with pytest.raises(raised):
                ask(ws, "first")
            pressing.result()
            server.open("left")
            assert ask(ws, "after") == "after"
        assert len(server.connections) == 1

    def test_while_connecting(self, server, raised):
        """It comes out of connect()."""
        server.connection(hang())
        server.connection(*then())
        main = threading.get_ident()

        def connecting() -> None:
            until(lambda: server.connections and server.connections[0].headers)
            wait_until_in(main, "wait_for")

        ws = websocket(server, timeouts=PATIENT)
        pressing = signalled(connecting)
        with pytest.raises(raised):
            ws.connect()
        pressing.result()
        with ws:
            assert ask(ws, "after") == "after"

    def test_a_handler_that_disconnects(self, server, terminate):
        """The call that it interrupts ends like any whose connection is closed."""
        part = send(created("resp_1"), delta("part"))
        server.connection(expect(), part, *delivered("asked"), expect_gone())
        main = threading.get_ident()

        def asked() -> None:
            server.wait_for("asked")
            wait_until_in(main, "wait_for")

        with websocket(server, timeouts=PATIENT) as ws:
            terminate(lambda *_: ws.disconnect())
            pressing = signalled(asked)
            with pytest.raises(ConnectionLost, match=r"disconnect\(\)") as caught:
                ask(ws, "first")
            pressing.result()
            assert not ws.connected
        assert caught.value.partial is not None
        assert caught.value.partial.content == "part"


# -- what runs in the reader thread by chance


class Closing:
    """An object of the program that closes its connection when it is collected.

    :ivar done: what came of it.
    """

    done: list[BaseException | None]

    def __init__(self, ws: WebSocket, done: list[BaseException | None]) -> None:
        self.ws = ws
        self.done = done
        self.itself = self

    def __del__(self) -> None:
        try:
            self.ws.disconnect()
        except BaseException as error:
            self.done.append(error)
        else:
            self.done.append(None)


@pytest.mark.parametrize("place", ["route", "_take_ready"])
def test_a_finalizer_that_disconnects_inside_the_lock(peer, place, monkeypatch):
    """The collector may run in the reader thread, in the middle of a decision."""
    connection = peer.ws._connection
    owner = connection.lanes if place == "route" else connection
    original = getattr(owner, place)
    done: list[BaseException | None] = []

    def collected(*given: Any) -> Any:
        gc.collect()
        return original(*given)

    call = Task(ask, peer.ws)
    peer.wait_until_asked(call)
    gc.collect()
    gc.disable()
    try:
        Closing(peer.ws, done)
        monkeypatch.setattr(owner, place, collected)
        peer.transport.deliver({"type": "response.done"}, created("resp_1"))  # the first is nobody's
        assert isinstance(call.error(), ConnectionLost)
    finally:
        gc.enable()
    join_readers()
    assert done == [None]
    assert not peer.ws.connected


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("responses_ws")
    handlers, level = list(logger.handlers), logger.level
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


class Handler(logging.Handler):
    """Does something with what is logged in a reader thread."""

    def __init__(self, deed: Callable[[str], object]) -> None:
        super().__init__()
        self._deed = deed

    def emit(self, record: logging.LogRecord) -> None:
        if "reader" in threading.current_thread().name:
            self._deed(record.getMessage())


def test_a_log_handler_that_disconnects(peer, log):
    """The reader does not wait for itself."""
    done: list[str] = []

    def disconnect(message: str) -> None:
        if "dropped" in message:
            peer.ws.disconnect()
            done.append(message)

    log.addHandler(Handler(disconnect))
    peer.transport.deliver({"type": "vendor.greeting"})
    join_readers()
    assert len(done) == 1
    assert not peer.ws.connected


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_log_handler_that_raises_leaves_nobody_waiting(peer, log):
    """The caller is told, and the socket is given back."""

    def refuse(message: str) -> None:
        raise LookupError(message)

    log.addHandler(Handler(refuse))
    call = Task(ask, peer.ws)
    peer.wait_until_asked(call)
    peer.transport.end(ConnectionLost("gone", close_code=1006))
    error = call.error()
    assert isinstance(error, ConnectionLost)
    assert error.close_code == 1006
    join_readers()
    assert peer.transport.calls[-1] == "release"


# -- callbacks that use what they are called from


def test_a_callback_that_asks_is_refused(peer):
    """The lane is busy; the error comes out of the callback, which leaves the response."""
    call = Task(peer.ws.create_response, model="m", input="hi", on_chunk=lambda _: ask(peer.ws))
    peer.wait_until_asked(call)
    peer.transport.deliver(created("resp_1"))
    assert isinstance(call.error(), ConcurrencyError)
    assert not peer.ws.in_flight
    peer.transport.deliver(delta("nobody's"), completed("resp_1"))
    peer.transport.on_send = lambda _: peer.transport.deliver(*answer("resp_2", "second"))
    assert ask(peer.ws) == "second"


@pytest.mark.parametrize("verb", ["disconnect", "reconnect"])
def test_a_callback_that_closes_the_connection(verb):
    """The response ends with it, and the callback is not called again."""
    seen: list[str] = []
    with ScriptedServer() as server:
        server.connection(expect(), send(created("resp_1")), expect_gone())
        if verb == "reconnect":
            server.connection(expect_gone())
        ws = websocket(server).connect()

        def close(chunk: Chunk) -> None:
            seen.append(chunk.type)
            getattr(ws, verb)()

        with pytest.raises(ConnectionLost, match=r"disconnect\(\)") as caught:
            ws.create_response(model="m", input="hi", on_chunk=close)
        assert caught.value.response_id == "resp_1"
        assert seen == ["response.created"]
        assert ws.connected is (verb == "reconnect")
        ws.disconnect()


def test_what_is_sent_is_what_was_given_at_the_call(peer):
    """The payload may be changed as soon as the request has left, by a callback too."""
    payload: dict[str, Any] = {"model": "m", "input": [{"role": "user", "content": "asked"}]}

    def change(_: Chunk) -> None:
        payload["input"].append({"role": "user", "content": "changed"})
        payload["model"] = "changed"

    peer.transport.on_send = lambda _: peer.transport.deliver(*answer("resp_1", "one"))
    assert peer.ws.call(payload, change).content == "one"
    assert peer.transport.sent == [
        {"type": "response.create", "model": "m", "input": [{"role": "user", "content": "asked"}]}
    ]


def test_an_iterator_that_another_thread_closes(peer):
    """As a web server does with a stream whose browser has gone: the response is left, the loop ends."""
    stream = peer.ws.stream(model="m", input="hi")
    peer.transport.deliver(created("resp_1"), delta("one"))
    chunks = iter(stream)
    next(chunks)
    Task(chunks.close).result()  # type: ignore[attr-defined]
    assert list(chunks) == []
    assert not peer.ws.in_flight


# -- copies


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_stream_cannot_be_copied(peer, way):
    """A copy that is dropped would leave the response under the one who reads it."""
    stream = peer.ws.stream(model="m", input="hi")
    with pytest.raises(TypeError, match="ResponseStream"):
        way(stream)
    gc.collect()
    assert peer.ws.in_flight
    peer.transport.deliver(*answer("resp_1", "one"))
    assert stream.message.content == "one"


@pytest.mark.parametrize(
    "value",
    [
        Timeouts(total=5),
        Limits(max_request_bytes=None),
        Endpoint.of("wss://example.com/v1"),
        Usage(1, 2, None, 4, 5),
        ToolCall(id="call_1", name="f", arguments="{}"),
        Chunk(type="response.created", raw={"type": "response.created"}),
        Message(content="text", output=[{"type": "message"}]),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])  # noqa: S301
def test_values_travel(value, way):
    """Options and answers go through queues between processes."""
    assert way(value) == value


# -- the longest waits


@pytest.mark.parametrize(
    "clock", ["connect", "send", "ping_interval", "ping_timeout", "drain", "close", "total"]
)
def test_the_longest_wait_that_is_allowed_can_be_waited(clock):
    """The system takes no timeout of more than some weeks."""
    with ScriptedServer(tls=True, model=Model()) as server:
        timeouts = Timeouts(**{clock: 1_000_000})
        with websocket(server, timeouts=timeouts, response_timeout=1_000_000) as ws:
            assert ask(ws) == "You said: hi."
            ws.stream(model="m", input="left").close()
            assert ask(ws, "and now", previous_response_id=None) == "You said: and now."
            ws.reconnect(1_000_000)
            assert ask(ws, "again", previous_response_id=None) == "You said: again."
