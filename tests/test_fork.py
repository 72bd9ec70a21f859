"""Fork: what is connected stays the parent's, untouched; the child begins anew on the same object."""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from shell import KEY, SECONDS, Task, answer, ask, completed, created, delta, until, websocket

from responses_ws import (
    ConnectionLost,
    Delivery,
    Limits,
    ResponseStream,
    Timeouts,
    WebSocket,
    _process,
    _reading,
)
from responses_ws._call import Call
from responses_ws._core.states import State
from responses_ws.store import sqlite
from responses_ws.testing import (
    ScriptedServer,
    Step,
    eof,
    expect,
    expect_close,
    expect_gone,
    gate,
    hang,
    mark,
    read_bytes,
    send,
)

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork"),
    # Python 3.12 and later say so of every fork next to a thread.
    pytest.mark.filterwarnings(
        r"ignore:This process .* is multi-threaded, use of fork\(\):DeprecationWarning"
    ),
]

MEBIBYTE = 1024 * 1024


class Child:
    """A function in a forked process; :meth:`result` brings what it returned."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(function, writing)
        os.close(writing)

    def _run(self, function: Callable[[], Any], writing: int) -> None:
        """In the child. Ends without a word to pytest, whose process this is a copy of."""
        try:
            try:
                outcome = (function(), None)
            except BaseException:
                outcome = (None, traceback.format_exc())
            os.write(writing, pickle.dumps(outcome))
        finally:
            os._exit(0)

    def result(self) -> Any:
        """Wait for the end of the child."""
        try:
            if not select.select([self._reading], [], [], SECONDS)[0]:
                os.kill(self.pid, signal.SIGKILL)
                raise AssertionError("the child hangs")
            result, error = pickle.loads(os.read(self._reading, MEBIBYTE))  # noqa: S301
        finally:
            os.close(self._reading)
            os.waitpid(self.pid, 0)
        assert error is None, f"in the child: {error}"
        return result


def heard_from(server: ScriptedServer, number: int) -> list[str]:
    """What a connection has received besides messages: nothing, as long as its owner is there."""
    found = [entry.kind for entry in server.log if (entry.connection, entry.direction) == (number, "in")]
    return [kind for kind in found if kind not in ("handshake", "text")]


def parents(*rest: Step) -> tuple[Step, ...]:
    """The script of the parent's connection: half an answer, then the gate ``rest``."""
    return (
        expect(input="parent"),
        send(created("resp_parent"), delta("one ", "msg_parent")),
        gate("rest"),
        send(delta("two", "msg_parent"), completed("resp_parent")),
        *rest,
    )


def childs() -> tuple[Step, ...]:
    """The script of the child's connection."""
    return expect(input="child"), send(*answer("resp_child", "for the child")), expect_gone()


@pytest.fixture(params=[False, True], ids=["ws", "wss"])
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    with ScriptedServer(tls=request.param, receive_buffer=65536) as server:
        yield server


def begin(ws: WebSocket) -> tuple[ResponseStream, Iterator[str]]:
    """The parent's stream, and its text after the first piece."""
    stream = ws.stream(model="m", input="parent")
    pieces = stream.text
    assert next(pieces) == "one "
    return stream, pieces


def test_parent_and_child_both_complete(server):
    """The parent's stream goes on on its socket; the child's call takes a socket of its own."""
    server.connection(
        *parents(expect(input="again"), send(*answer("resp_again", "again")), expect_close(1000))
    )
    server.connection(*childs())
    with websocket(server) as ws:
        _, pieces = begin(ws)

        def in_the_child() -> tuple[Any, ...]:
            before = ws.connected, ws.in_flight
            text = ask(ws, "child", previous_response_id=None)
            return before, text, ws.connected, ws.last_response_id

        child = Child(in_the_child)
        assert child.result() == ((False, False), "for the child", True, "resp_child")
        assert heard_from(server, 1) == []
        assert ws.connected
        assert ws.in_flight
        server.open("rest")
        assert list(pieces) == ["two"]
        assert ws.last_response_id == "resp_parent"
        assert ask(ws, "again") == "again"
        assert heard_from(server, 1) == []
    assert server.connections[1].gone.wait(SECONDS)
    assert server.connections[1].ended == "eof"


@pytest.mark.parametrize(
    "deed", ["disconnect", "reconnect", "connect", "with", "close", "del", "repr", "nothing"]
)
def test_nothing_that_the_child_does_reaches_the_parents_socket(server, deed):
    """Whatever the child does to the objects that it inherited."""
    server.connection(*parents(expect_close(1000)))
    if deed in ("reconnect", "connect", "with"):
        server.connection(expect_gone())
    ws = websocket(server).connect()
    stream, pieces = begin(ws)

    def in_the_child() -> None:
        nonlocal ws, stream, pieces
        match deed:
            case "disconnect" | "reconnect" | "connect":
                getattr(ws, deed)()
            case "with":
                with ws, stream:
                    pass
            case "close":
                stream.close()
                stream.cancel()
            case "del":
                del ws, stream, pieces
            case "repr":
                repr(ws), repr(stream)

    Child(in_the_child).result()
    assert heard_from(server, 1) == []
    server.open("rest")
    assert list(pieces) == ["two"]
    ws.disconnect()


def test_the_child_lets_go_of_the_parents_socket(server):
    """A child that lives on does not hold the connection open that its parent has closed."""
    server.connection(*parents(expect_close(1000)))
    server.connection(*childs(), mark("child has left"))
    ws = websocket(server).connect()
    _, pieces = begin(ws)
    waiting, leave = os.pipe()

    def in_the_child() -> str:
        os.close(leave)
        assert os.read(waiting, 1) == b""
        return ask(ws, "child", previous_response_id=None)

    child = Child(in_the_child)
    server.open("rest")
    assert list(pieces) == ["two"]
    ws.disconnect()
    assert server.connections[0].gone.wait(SECONDS)
    os.close(leave)
    os.close(waiting)
    assert child.result() == "for the child"


@pytest.mark.parametrize("way", ["iterate", "text", "message", "next"])
def test_the_inherited_stream_is_lost(server, way):
    """The child that reads on gets ConnectionLost with what had come, and does not hang."""
    server.connection(*parents(expect_close(1000)))
    with websocket(server, response_timeout=None) as ws:
        stream, pieces = begin(ws)
        ways: dict[str, Callable[[], object]] = {
            "iterate": lambda: list(stream),
            "text": lambda: list(stream.text),
            "message": lambda: stream.message,
            "next": lambda: next(pieces),
        }

        def in_the_child() -> tuple[Any, ...]:
            with pytest.raises(ConnectionLost, match="parent") as caught:
                ways[way]()
            error = caught.value
            return error.delivery, error.partial, error.close_code

        delivery, partial, close_code = Child(in_the_child).result()
        assert delivery is Delivery.STARTED
        assert partial.content == "one "
        assert close_code is None
        server.open("rest")
        assert list(pieces) == ["two"]


def test_an_answer_that_was_complete_before_the_fork_is_the_childs_too(server):
    """What lay in the queue is read from it."""
    server.connection(
        expect(input="parent"), send(*answer("resp_parent", "whole")), mark("sent"), expect_close(1000)
    )
    with websocket(server) as ws:
        stream = ws.stream(model="m", input="parent")
        server.wait_for("sent")
        call = stream._source
        until(lambda: call.state.value == "done")
        assert Child(lambda: stream.message.content).result() == "whole"
        assert stream.message.content == "whole"


def test_at_rest(server):
    """Nothing runs; both go on with the chain."""
    server.connection(
        expect(input="before"),
        send(*answer("resp_1", "before")),
        expect(input="parent", previous_response_id="resp_1"),
        send(*answer("resp_2", "for the parent")),
        expect_close(1000),
    )
    server.connection(
        expect(input="child", previous_response_id="resp_1"),
        send(*answer("resp_3", "for the child")),
        expect_gone(),
    )
    with websocket(server) as ws:
        ask(ws, "before")
        assert Child(lambda: ask(ws, "child")).result() == "for the child"
        assert ask(ws, "parent") == "for the parent"


def test_what_was_not_stored_is_the_parents_alone(server):
    """With ``store=False`` a response lives on its connection, so the child begins a new chain."""
    server.connection(
        expect(input="before", store=False),
        send(*answer("resp_1", "before")),
        expect(input="parent", previous_response_id="resp_1"),
        send(*answer("resp_2", "for the parent")),
        expect_close(1000),
    )
    server.connection(
        expect(lambda message: message["input"] == "child" and "previous_response_id" not in message),
        send(*answer("resp_3", "for the child")),
        expect_gone(),
    )
    with websocket(server) as ws:
        ask(ws, "before", store=False)
        assert Child(lambda: ask(ws, "child")).result() == "for the child"
        assert ask(ws, "parent", store=False) == "for the parent"


def test_before_the_first_connect():
    """What was made and never used is as new in the child."""
    with ScriptedServer() as server:
        server.connection(*childs())
        ws = websocket(server)

        def in_the_child() -> str:
            with ws:
                return ask(ws, "child")

        assert Child(in_the_child).result() == "for the child"


def test_a_grandchild(server):
    """The child's own connection is to its child what the parent's is to it."""
    server.connection(*parents(expect_close(1000)))
    server.connection(*childs()[:-1], expect(input="child"), send(*answer("resp_4", "more")), expect_gone())
    server.connection(
        expect(input="grandchild"), send(*answer("resp_3", "for the grandchild")), expect_gone()
    )
    with websocket(server) as ws:
        _, pieces = begin(ws)

        def in_the_child() -> tuple[str, ...]:
            first = ask(ws, "child", previous_response_id=None)
            second = Child(lambda: ask(ws, "grandchild", previous_response_id=None)).result()
            return first, second, ask(ws, "child", previous_response_id=None)

        assert Child(in_the_child).result() == ("for the child", "for the grandchild", "more")
        server.open("rest")
        assert list(pieces) == ["two"]


# -- while other threads are at it


def test_while_another_thread_sends(server):
    """It holds the locks of the transport, in the middle of a frame."""
    server.connection(
        read_bytes(100_000),
        mark("stalled"),
        gate("rest"),
        expect(),
        send(*answer("resp_1", "big")),
        expect_close(),
    )
    server.connection(*childs())
    with websocket(server, limits=Limits(max_request_bytes=None)) as ws:
        sender = Task(ask, ws, "x" * 5_000_000)
        server.wait_for("stalled")
        assert Child(lambda: ask(ws, "child")).result() == "for the child"
        assert heard_from(server, 1) == []
        server.open("rest")
        assert sender.result() == "big"


def test_while_another_thread_waits(server):
    """It sits in the queue of its request."""
    server.connection(
        expect(), mark("asked"), gate("rest"), send(*answer("resp_1", "late")), expect_close(1000)
    )
    server.connection(*childs())
    with websocket(server) as ws:
        waiter = Task(ask, ws, "parent")
        server.wait_for("asked")
        assert Child(lambda: ask(ws, "child")).result() == "for the child"
        server.open("rest")
        assert waiter.result() == "late"


def test_while_another_thread_connects(server):
    """The half-made connection is the parent's; the child connects for itself."""
    server.connection(hang())
    server.connection(*childs())
    ws = websocket(server, timeouts=Timeouts(connect=None))
    connecting = Task(ws.connect)
    until(lambda: server.connections and server.connections[0].headers)

    def in_the_child() -> str:
        with pytest.raises(Exception, match="not connected"):
            ask(ws, "child")
        with ws:
            return ask(ws, "child")

    assert Child(in_the_child).result() == "for the child"
    assert heard_from(server, 1) == []
    ws.disconnect()
    connecting.error()


@pytest.mark.parametrize("which", ["the connection's", "the TLS guard", "the frame lock", "the message lock"])
def test_while_another_thread_holds_a_lock(server, which):
    """A lock that is held at the fork is held in the child for ever: none of them is ever taken there."""
    server.connection(*parents(expect_close(1000)))
    server.connection(*childs())
    with websocket(server) as ws:
        _, pieces = begin(ws)
        connection = ws._connection
        transport = connection.link.transport
        locks = {
            "the connection's": connection.lock,
            "the TLS guard": transport._guard,
            "the frame lock": transport._frame_lock,
            "the message lock": transport._message_lock,
        }
        held, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with locks[which]:
                held.set()
                leave.wait(SECONDS)

        holder = Task(hold)
        held.wait(SECONDS)

        def in_the_child() -> str:
            text = ask(ws, "child", previous_response_id=None)
            ws.disconnect()
            return text

        child = Child(in_the_child)
        try:
            assert child.result() == "for the child"
        finally:
            leave.set()
            holder.result()
        server.open("rest")
        assert list(pieces) == ["two"]


class Halted:
    """A method of a call that is over, in which the thread that reads stops until :attr:`leave` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()
        method = getattr(Call, name)

        def halt(call: Call, *args: Any) -> None:
            reads = threading.current_thread().name.startswith("responses_ws-reader")
            if reads and call.state is State.DONE:
                self.entered.set()
                self.leave.wait(SECONDS)
            method(call, *args)

        monkeypatch.setattr(Call, name, halt)


@pytest.mark.parametrize(("method", "end"), [("give", send(*answer("resp_1", "late"))), ("finish", eof())])
def test_while_the_reader_is_about_to_tell_the_end(server, monkeypatch, method, end):
    """The call has left its lane, and the word of it lies in the hands of a thread that the child has not."""
    server.connection(expect(), gate("end"), end, *[expect_close(1000)] * (method == "give"))
    with websocket(server, response_timeout=None) as ws:
        stream = ws.stream(model="m", input="hi")
        halted = Halted(monkeypatch, method)
        server.open("end")
        assert halted.entered.wait(SECONDS)

        def in_the_child() -> Delivery:
            with pytest.raises(ConnectionLost, match="parent") as caught:
                stream.run()
            return caught.value.delivery

        try:
            assert Child(in_the_child).result() is stream._source.delivery
        finally:
            halted.leave.set()
        if method == "give":
            assert stream.message.content == "late"


class Held:
    def forget(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize(
    "watch", [partial(_process.watch, Held()), sqlite._Forks().watch], ids=["connections", "stores"]
)
def test_an_interrupt_while_hooks_are_set_leaves_them_to_the_next(monkeypatch, watch):
    registered = []

    def register(**hooks: Any) -> None:
        registered.append(hooks)
        if len(registered) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(_process, "_hooks", [])
    monkeypatch.setattr("atexit.register", lambda _: None)
    monkeypatch.setattr(os, "register_at_fork", register)
    with pytest.raises(KeyboardInterrupt):
        watch()
    watch()
    watch()
    assert len(registered) == 2


def test_a_fork_without_hooks_is_noticed(server, monkeypatch):
    """By its process id, at the next use."""
    server.connection(*parents(expect_close(1000)))
    server.connection(*childs())
    with websocket(server) as ws:
        _, pieces = begin(ws)
        monkeypatch.setattr(_process, "_living", weakref.WeakSet())

        def in_the_child() -> tuple[Any, ...]:
            states = ws.connected, ws.in_flight, ws.last_response_id
            ask(ws, "child", previous_response_id=None)
            ws.disconnect()
            return states

        assert Child(in_the_child).result() == (False, False, None)
        assert heard_from(server, 1) == []
        server.open("rest")
        assert list(pieces) == ["two"]


@pytest.mark.parametrize("reader", ["thread", "caller"])
def test_a_fork_without_hooks_reads_nothing_of_the_parents(server, monkeypatch, reader):
    """The child goes on with the stream, and is told; the rest of the answer is for the parent."""
    server.connection(gate("asked"), *parents(expect_close(1000)))
    with websocket(server) as ws:
        until(lambda: ws._connection.link.reading)
        reading = ws._connection.link.reading
        if reader == "caller":
            monkeypatch.setattr(_reading, "FLOW_SECONDS", 600.0)  # the thread stands by until it is told
        asked = Task(lambda: (until(lambda: reading._wanting is not None), server.open("asked")))
        _, pieces = begin(ws)
        asked.result()
        until(lambda: reading.owned is (reader == "thread"))
        monkeypatch.setattr(_process, "_living", weakref.WeakSet())

        def in_the_child() -> tuple[Any, ...]:
            with pytest.raises(ConnectionLost, match="parent process") as caught:
                next(pieces)
            return caught.value.delivery, caught.value.partial.content

        child = Child(in_the_child)
        if reader == "caller":
            server.open("rest")  # there is something to take
        assert child.result() == (Delivery.STARTED, "one ")
        server.open("rest")
        assert list(pieces) == ["two"]


@pytest.mark.parametrize("forget", ["disconnect", "del"])
def test_a_fork_without_hooks_ends_without_a_word(server, monkeypatch, forget):
    """Also when the first thing that the child does is to give the object up."""
    server.connection(*parents(expect_close(1000)))
    ws = websocket(server).connect()
    pieces = begin(ws)[1]  # and nothing else has the stream, which keeps the WebSocket
    monkeypatch.setattr(_process, "_living", weakref.WeakSet())

    def in_the_child() -> None:
        nonlocal ws, pieces
        if forget == "disconnect":
            ws.disconnect()
        else:
            del ws, pieces

    Child(in_the_child).result()
    assert heard_from(server, 1) == []
    server.open("rest")
    assert list(pieces) == ["two"]
    ws.disconnect()


# -- how the child ends

PROGRAM = """
import multiprocessing, os, sys, warnings
from responses_ws import WebSocket

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

def in_the_child(ws, stream):
    assert ws.create_response(model="m", input="child", previous_response_id=None).content == "for the child"

ws = WebSocket({key!r}, api_base={url!r}).connect()
stream = ws.stream(model="m", input="parent")
pieces = stream.text
assert next(pieces) == "one "
{fork}
print("the child has ended", flush=True)
assert sys.stdin.readline() == "go on\\n"
assert list(pieces) == ["two"]
ws.disconnect()
"""

FORK = """
child = os.fork()
if child == 0:
    in_the_child(ws, stream)
    {end}
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert status == {status}, status
"""

PROCESS = """
process = multiprocessing.get_context("fork").Process(target=in_the_child, args=(ws, stream))
process.start()
process.join()
assert process.exitcode == 0, process.exitcode
"""

ENDS = {
    "sys.exit": FORK.format(end="sys.exit(3)", status=3),
    "os._exit": FORK.format(end="os._exit(4)", status=4),
    "an exception": FORK.format(end="sys.excepthook = lambda *_: None; raise ValueError", status=1),
    "multiprocessing": PROCESS,
}


@pytest.mark.parametrize("end", ENDS)
def test_however_the_child_ends(end):
    """The interpreter's end in the child does not say goodbye for the parent, in TLS least of all."""
    with ScriptedServer(tls=True) as server:
        server.connection(*parents(expect_close(1000)))
        server.connection(*childs())
        program = PROGRAM.format(key=KEY, url=server.url, fork=ENDS[end])
        environment = os.environ | {"SSL_CERT_FILE": server.ca_file or ""}
        parent = subprocess.Popen(  # noqa: S603
            [sys.executable, "-X", "dev", "-W", "error", "-c", program],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with parent:
            try:
                line = parent.stdout.readline()
                heard = heard_from(server, 1)
                server.open("rest")
                out, err = parent.communicate("go on\n", timeout=SECONDS)
            except BaseException:
                parent.kill()
                raise
        assert (line, out, err, parent.returncode) == ("the child has ended\n", "", "", 0)
        assert heard == []
