"""The end of the interpreter, and of a WebSocket that nobody has any more."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator

import pytest
from shell import KEY, SECONDS, answer, ask, created, delta, error_event, until, websocket

from responses_ws import WebSocket
from responses_ws.testing import (
    ScriptedServer,
    Step,
    close,
    expect,
    expect_gone,
    gate,
    hang,
    optional,
    read_bytes,
    send,
    silence,
)

AT_ONCE = 1.0

# -- the interpreter

PROLOGUE = """
import atexit, logging, sys, threading, time
from responses_ws import ConnectionError, Limits, WebSocket

def websocket(**options):
    return WebSocket({key!r}, api_base={url!r}, **options)

def read(stream):
    pieces = stream.text
    assert next(pieces) == "part"
    return pieces

def in_a_thread(function, *args):
    threading.Thread(target=function, args=args, daemon=True).start()
"""

EPILOGUE = """
print("leaving", flush=True)
"""

PART = (expect(), send(created("resp_1"), delta("part")))
UNTIL_GONE = (optional(gate("never")),)

PROGRAMS: dict[str, tuple[str, tuple[Step, ...]]] = {
    "at rest": ("ws = websocket().connect()", UNTIL_GONE),
    "never connected": ("ws = websocket()", ()),
    "disconnected": ("ws = websocket().connect(); ws.disconnect()", UNTIL_GONE),
    "after an answer": (
        "ws = websocket().connect(); ws.create_response(model='m', input='hi')",
        (expect(), send(*answer("resp_1", "hi")), *UNTIL_GONE),
    ),
    "streaming": (
        "ws = websocket().connect(); stream = ws.stream(model='m', input='hi'); pieces = read(stream)",
        (*PART, *UNTIL_GONE),
    ),
    "a generator that nobody ended": (
        "pieces = read(websocket().connect().stream(model='m', input='hi'))",
        (*PART, *UNTIL_GONE),
    ),
    "a cycle": (
        "ws = websocket().connect(); ws.itself = ws; ws.stream = ws.stream(model='m', input='hi'); del ws",
        (expect(), *UNTIL_GONE),
    ),
    "a thread waits": (
        """
ws = websocket().connect()
stream = ws.stream(model='m', input='hi')
pieces = read(stream)
in_a_thread(list, pieces)
""",
        (*PART, *UNTIL_GONE),
    ),
    "a thread sends": (
        """
ws = websocket(limits=Limits(max_request_bytes=None)).connect()
in_a_thread(lambda: ws.create_response(model='m', input='x' * 20_000_000))
while not ws.in_flight or ws._connection.lanes.running() == []:
    time.sleep(0.001)
""",
        (optional(read_bytes(100_000), gate("never")),),
    ),
    "a thread connects": (
        "ws = websocket(); in_a_thread(ws.connect); sys.stdin.readline()",
        (hang(),),
    ),
    "connecting was interrupted": (
        """
import os, signal, ssl
reading, read = threading.Event(), ssl.create_default_context

def read_for_long(**options):
    reading.set()
    return [read(**options) for _ in range(10)][0]

def interrupt():
    reading.wait()
    os.kill(os.getpid(), signal.SIGINT)

ssl.create_default_context = read_for_long
threading.Thread(target=interrupt, daemon=True).start()
try:
    websocket().connect()
except KeyboardInterrupt:
    pass
""",
        (expect_gone(),),
    ),
    "a dead peer": (
        "ws = websocket().connect(); in_a_thread(ws.stream(model='m', input='hi').run)",
        (silence(),),
    ),
    "sys.exit in with": (
        """
with websocket() as ws:
    pieces = read(ws.stream(model='m', input='hi'))
    print("leaving", flush=True)
    sys.exit(0)
""",
        (*PART, *UNTIL_GONE),
    ),
    "disconnect at exit": (
        "ws = websocket().connect(); atexit.register(ws.disconnect)",
        UNTIL_GONE,
    ),
    "a call at exit": (
        """
ws = websocket().connect()
def last_words():
    assert ws.create_response(model='m', input='bye').content == 'bye'
atexit.register(last_words)
""",
        (expect(), send(*answer("resp_1", "bye")), *UNTIL_GONE),
    ),
    "a connect at exit": (
        """
def last_words():
    try:
        with websocket() as ws:
            assert ws.create_response(model='m', input='bye').content == 'bye'
    except ConnectionError as error:
        assert sys.version_info >= (3, 12) and 'could not be started' in str(error)
atexit.register(last_words)
""",
        (optional(expect(), send(*answer("resp_1", "bye")), gate("never")),),
    ),
    "twenty connections": ("all = [websocket().connect() for _ in range(20)]", UNTIL_GONE),
}


class Program:
    """A program that ends by itself; :meth:`leave` waits for its end.

    :ivar said: what it wrote to stdout after its last line.
    """

    def __init__(self, server: ScriptedServer, text: str) -> None:
        environment = os.environ | {"SSL_CERT_FILE": server.ca_file or ""}
        prologue = PROLOGUE.format(key=KEY, url=server.url)
        self.said = ""
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-X", "dev", "-W", "error", "-c", prologue + text + EPILOGUE],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def go_on(self) -> None:
        """Let it read a line."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def leave(self) -> tuple[float, int, str]:
        """Seconds from its last line to its end, its exit code, and what it wrote to stderr."""
        with self._process as process:
            try:
                assert process.stdout is not None
                # Without a buffer, in which what follows the line would be lost to communicate().
                while os.read(process.stdout.fileno(), 1) not in (b"\n", b""):
                    pass
                began = time.monotonic()
                self.said, errors = process.communicate(timeout=SECONDS)
            except BaseException:
                process.kill()
                raise
        return time.monotonic() - began, process.returncode, errors


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(tls=True) as server:
        yield server


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_interpreter_ends_at_once_and_without_a_word(server, name):
    """Nothing on stderr, though every warning is an error, and nothing to wait for."""
    text, script = PROGRAMS[name]
    for _ in range(20 if name == "twenty connections" else bool(script)):
        server.connection(*script)
    program = Program(server, text)
    if name == "a thread connects":
        until(lambda: server.connections and server.connections[0].headers)
        program.go_on()
    took, code, errors = program.leave()
    assert (code, errors) == (0, "")
    assert took < AT_ONCE


CONNECTING = """
import socket
from responses_ws._transport.dial import dial

class Slow:
    def connect(self, target, deadline, hold):
        sock = dial(target, deadline, hold)
        connecting.set()
        try:
            while True:
                time.sleep(0.001)
                hold(sock)
        finally:
            sock.close()
            print("no longer", flush=True)

connecting = threading.Event()
in_a_thread(websocket(client_class=Slow()).connect)
connecting.wait()
"""


def test_a_connecting_is_over_before_the_interpreter_is(server):
    """Its thread may be inside OpenSSL, where the end of the process would crash it."""
    server.connection(expect_gone())
    program = Program(server, CONNECTING)
    took, code, errors = program.leave()
    assert (code, errors) == (0, "")
    assert program.said == "no longer\n"
    assert took < AT_ONCE


def test_logs_at_the_end_do_not_hurt(server):
    """The reader says its last words while the interpreter takes the streams down."""
    server.connection(*UNTIL_GONE)
    text = "logging.basicConfig(level=logging.DEBUG, format='LOG %(message)s'); ws = websocket().connect()"
    took, code, errors = Program(server, text).leave()
    assert code == 0
    assert [line for line in errors.splitlines() if not line.startswith("LOG ")] == []
    assert took < AT_ONCE


# -- an object that nobody has any more


@pytest.fixture
def uncollected() -> Iterator[None]:
    """The collector of cycles does not run by itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "reader" in thread.name]


@pytest.mark.usefixtures("uncollected")
class TestForgotten:
    """A WebSocket without references gives its thread and its socket back, by itself."""

    def test_at_rest(self, server):
        """As soon as the last reference goes."""
        server.connection(expect(), send(*answer("resp_1", "hi")), expect_gone())
        ws = websocket(server).connect()
        ask(ws)
        gone = weakref.ref(ws)
        del ws
        assert gone() is None
        assert server.connections[0].gone.wait(SECONDS)
        until(lambda: not readers())

    def test_without_ever_connecting(self):
        """There is nothing to give back."""
        gone = weakref.ref(WebSocket("any"))
        assert gone() is None

    def test_in_a_cycle(self, server):
        """When the collector finds it."""
        server.connection(expect_gone())
        ws = websocket(server).connect()
        gone = weakref.ref(ws)
        ws.itself = ws
        del ws
        assert gone() is not None
        gc.collect()
        assert gone() is None
        assert server.connections[0].gone.wait(SECONDS)
        until(lambda: not readers())

    def test_a_running_stream_keeps_its_connection(self, server):
        """Who has the stream has the connection, and who has neither has nothing."""
        server.connection(*PART, gate("rest"), send(delta("rest")), expect_gone())
        pieces = websocket(server).connect().stream(model="m", input="hi").text
        assert next(pieces) == "part"
        server.open("rest")
        assert next(pieces) == "rest"
        del pieces
        assert server.connections[0].gone.wait(SECONDS)
        until(lambda: not readers())

    def test_a_stream_that_was_never_read(self, server):
        """The same, without a generator to end."""
        server.connection(expect(), send(created("resp_1")), expect_gone())
        stream = websocket(server).connect().stream(model="m", input="hi")
        assert "running" in repr(stream)
        del stream
        assert server.connections[0].gone.wait(SECONDS)
        until(lambda: not readers())

    @pytest.mark.parametrize("error", ["refused", "lost"])
    def test_after_an_error_that_was_handled(self, server, error):
        """An error that nobody keeps keeps nothing: no traceback holds the object in a cycle."""
        ends = {"refused": (send(error_event()), expect_gone()), "lost": (close(1011),)}
        server.connection(expect(), *ends[error])
        ws = websocket(server).connect()
        with contextlib.suppress(Exception):
            ask(ws)
        gone = weakref.ref(ws)
        del ws
        assert gone() is None
        until(lambda: not readers())

    def test_while_it_is_being_looked_at(self, server):
        """By another thread, from which the last reference goes."""
        server.connection(expect_gone())
        holder = [websocket(server).connect()]
        thread = threading.Thread(target=holder.clear)
        thread.start()
        thread.join(SECONDS)
        assert server.connections[0].gone.wait(SECONDS)
        until(lambda: not readers())
