"""A request over HTTP that hangs at each stage: close, cancel, Ctrl-C, fork and what they leave behind."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from over_http import BEGUN
from shell import KEY, SECONDS, Task, stack, until
from test_fork import Child
from test_interrupt import deaf_port, interrupted

from responses_ws import (
    Chunk,
    ConnectionLost,
    Delivery,
    Message,
    ResponseCancelled,
    ResponseTimeout,
    Timeouts,
    _process,
)
from responses_ws.http_transport import HTTPTransport
from responses_ws.session import Session
from responses_ws.testing import (
    ScriptedServer,
    Step,
    expect,
    expect_gone,
    hang,
    mark,
    optional,
    raw,
    read_head,
    send,
)

__all__ = ["deaf_port"]

PATIENT: dict[str, Any] = {"timeouts": Timeouts(connect=None, send=None), "response_timeout": None}
"""Nothing but what a test does ends a stage."""

JSON_BEGUN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
STREAM_BEGUN = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: wait\n\n"


@dataclass(frozen=True)
class Proxy(Step):
    """Takes the beginning of what is asked of a proxy, and does not answer."""

    opens = True

    def play(self, connection: Any) -> None:
        connection.answered = True
        connection.read_body(3)
        connection.shared.mark("asked")
        connection.wait(lambda: connection.over)


SCRIPTS: dict[str, tuple[Delivery, tuple[Step, ...]]] = {
    "tunnel": (Delivery.NOT_SENT, (Proxy(),)),
    "socks": (Delivery.NOT_SENT, (Proxy(),)),
    "secure": (Delivery.NOT_SENT, (hang(read=False),)),
    "send": (Delivery.NOT_SENT, (read_head(1000), mark("asked"), optional(hang(read=False)))),
    "head": (Delivery.UNKNOWN, (expect(), mark("asked"), expect_gone())),
    "json": (Delivery.UNKNOWN, (expect(), raw(JSON_BEGUN), mark("asked"), expect_gone())),
    "stream": (Delivery.UNKNOWN, (expect(), raw(STREAM_BEGUN), mark("asked"), expect_gone())),
    "answer": (Delivery.STARTED, (expect(), send(*BEGUN), mark("asked"), expect_gone())),
}
PROXIES = {"tunnel": "http", "socks": "socks5h"}


@dataclass
class Stage:
    """A request that will hang.

    :ivar options: of a client.
    :ivar reached: waits until it hangs.
    :ivar delivery: how far it has come then.
    :ivar server: where it hangs, if that sees who leaves.
    """

    options: dict[str, Any]
    reached: Callable[[], object]
    delivery: Delivery = Delivery.NOT_SENT
    input: str = "hi"
    server: ScriptedServer | None = None
    seen: threading.Event = field(default_factory=threading.Event)

    def ask(self, client: Any) -> Message:
        """Make the request; the answer is streamed where one begins."""
        on_chunk = self._see if self.delivery is Delivery.STARTED else None
        return client.call({"model": "m", "input": self.input}, on_chunk)

    def _see(self, chunk: Chunk) -> None:
        if chunk.content:
            self.seen.set()


def dials_in(function: str) -> bool:
    threads = [thread for thread in threading.enumerate() if thread.name == "responses_ws-dial"]
    return any(function in stack(thread.ident or 0) for thread in threads)


@contextlib.contextmanager
def stuck_look_up() -> Iterator[Stage]:
    entered, leave = threading.Event(), threading.Event()

    def stuck(*arguments: Any, **named: Any) -> Any:
        entered.set()
        leave.wait(SECONDS)
        raise OSError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", stuck)
        yield Stage({"api_base": "http://localhost/v1"}, lambda: entered.wait(SECONDS))
        leave.set()


@contextlib.contextmanager
def stuck_server(name: str) -> Iterator[Stage]:
    delivery, steps = SCRIPTS[name]
    with ScriptedServer(tls=name == "secure", receive_buffer=4096 if name == "send" else None) as server:
        server.connection(optional(*steps))  # a clock may run out before the stage
        options = {"api_base": server.url, "ssl_context": server.ssl_context}
        stage = Stage(options, lambda: server.wait_for("asked"), delivery)
        if name not in ("secure", "send"):  # there it does not read
            stage.server = server
        if name in PROXIES:
            options["api_base"] = "http://127.0.0.1:9/v1"
            options["proxy"] = f"{PROXIES[name]}://127.0.0.1:{server.port}"
        if name == "secure":
            stage.reached = lambda: until(lambda: dials_in("do_handshake"))
        if name == "send":
            stage.input = "x" * 20_000_000
        if name == "answer":
            stage.reached = lambda: stage.seen.wait(SECONDS)
        yield stage


@pytest.fixture(params=["look-up", "connect", *SCRIPTS])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    if request.param == "look-up":
        with stuck_look_up() as stage:
            yield stage
    elif request.param == "connect":
        port = request.getfixturevalue("deaf_port")
        yield Stage({"api_base": f"http://127.0.0.1:{port}/v1"}, lambda: until(lambda: dials_in("_connect")))
    else:
        with stuck_server(request.param) as stage:
            yield stage


def transport(stage: Stage) -> HTTPTransport:
    return HTTPTransport(KEY, **PATIENT, **stage.options)


def session(stage: Stage) -> Session:
    return Session(KEY, transport="http", **PATIENT, **stage.options)


def test_close_ends_it(stage: Stage) -> None:
    """From another thread, and it is told as a loss."""
    http_transport = transport(stage)
    task = Task(stage.ask, http_transport)
    stage.reached()
    http_transport.close()
    error = task.error()
    assert type(error) is ConnectionLost
    assert error.delivery is stage.delivery
    assert not http_transport.in_flight


@pytest.mark.parametrize("end", [Session.cancel, Session.close])
def test_a_session_ends_it(stage: Stage, end: Callable[[Session], None]) -> None:
    """And nothing is asked again."""
    with session(stage) as mine:
        task = Task(stage.ask, mine)
        stage.reached()
        end(mine)
        error = task.error()
    assert isinstance(error, ResponseCancelled)
    assert error.delivery is stage.delivery


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process there")
def test_ctrl_c_ends_it(stage: Stage) -> None:
    """At once, and the connection is gone, though the traceback is kept."""
    http_transport = transport(stage)
    kept = interrupted(lambda: stage.ask(http_transport), stage.reached)
    assert not http_transport.in_flight
    if stage.server is not None:
        assert stage.server.connections[0].gone.wait(SECONDS)
    assert kept


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_does_not_touch_it(stage: Stage) -> None:
    """Neither when it closes what it has inherited nor when it ends."""
    http_transport = transport(stage)
    task = Task(stage.ask, http_transport)
    stage.reached()

    def in_the_child() -> bool:
        http_transport.close()
        _process._before_exit()
        return http_transport.in_flight

    assert Child(in_the_child).result() is False
    assert task.is_alive()
    if stage.server is not None:
        assert not stage.server.connections[0].gone.wait(0.1)
    http_transport.close()
    assert type(task.error()) is ConnectionLost


def test_a_clock_of_the_whole_call_ends_it(stage: Stage) -> None:
    """Whatever the others are."""
    http_transport = HTTPTransport(
        KEY, response_timeout=None, timeouts=Timeouts(connect=None, send=None, total=0.5), **stage.options
    )
    error = Task(stage.ask, http_transport).error()
    assert isinstance(error, ResponseTimeout)
    assert (error.clock, error.seconds) == ("total", 0.5)
    http_transport.close()
