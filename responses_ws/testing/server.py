"""The scripted server: a listener on loopback that plays scripts, one thread a connection."""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any

from responses_ws.testing.certificates import Certificates
from responses_ws.testing.connection import Connection
from responses_ws.testing.log import ConnectionRecord, LogEntry
from responses_ws.testing.script import Script
from responses_ws.testing.shared import Shared
from responses_ws.testing.step import Step
from responses_ws.testing.steps_ends import refuse
from responses_ws.testing.steps_flow import serve
from responses_ws.testing.wire import Waker, Wire

if TYPE_CHECKING:
    from responses_ws.testing.http import HttpRequest
    from responses_ws.testing.model import Model

__all__ = ["ScriptedServer"]

HOST = "127.0.0.1"
MOST_PORT = 65535
BACKLOG = 128
CLOSE_SECONDS = 5.0
"""Seconds that the threads have for ending when the server is closed."""


class ScriptedServer:
    """A WebSocket and HTTP server on loopback that does what a test tells it, faults included.

    A connection speaks what its first request asks for. Steps that do not name one of the two mean the same
    in both, so that one script can test both.

    Each connection plays the next script given to :meth:`connection`. One that comes when none is left is
    answered by the model; without a model it is refused and reported. A context manager: leaving it closes
    the server and then calls :meth:`check`, unless an exception is on its way.

    All methods may be called from any thread.

    :param tls: speak ``wss://`` with a throw-away certificate.
    :param model: a :class:`Model`, or None.
    :param port: to listen on, from 0 to 65535; 0 takes a free one.
    :param receive_buffer: bytes of the kernel's receive buffer of each connection, for a slow link; None
        leaves it to the system.
    :param record: False keeps neither requests nor log, for load and for long runs.
    :ivar requests: every JSON object received as a text message, or as the body of an HTTP request, in
        order, over all connections.
    :ivar http_requests: every HTTP request that asked for no upgrade, in order.
    :ivar log: everything that went over the connections, in order.
    :ivar connections: a record of each accepted connection.
    """

    def __init__(
        self,
        *,
        tls: bool = False,
        model: Model | None = None,
        port: int = 0,
        receive_buffer: int | None = None,
        record: bool = True,
    ) -> None:
        wanted: object = port  # whatever the annotation says
        if not isinstance(wanted, int) or isinstance(wanted, bool) or not 0 <= wanted <= MOST_PORT:
            raise ValueError(f"port must be a number from 0 to {MOST_PORT}, not {port!r}")
        self.model = model
        self._shared = Shared(record=record)
        self.requests: list[dict[str, Any]] = self._shared.requests
        self.http_requests: list[HttpRequest] = self._shared.http_requests
        self.log: list[LogEntry] = self._shared.log
        self.connections: list[ConnectionRecord] = []
        self._wanted_port = port
        self._receive_buffer = receive_buffer
        self._tls = tls
        self._certificates: Certificates | None = None
        self._listener: socket.socket | None = None
        self._scripts: deque[Script] = deque()
        self._played: list[Script] = []
        self._threads: list[threading.Thread] = []
        self._overdue: list[str] = []

    def __enter__(self) -> ScriptedServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if kind is None:
            self.check()

    def start(self) -> ScriptedServer:
        """Listen. Returns the server itself. Raises RuntimeError when it was started before."""
        if self._threads:
            raise RuntimeError("this server was started before")
        self._listener = self._listen()
        if self._tls:
            self._certificates = Certificates()
        waker = Waker()
        self._start_thread("listener", self._accept_all, self._listener, waker)
        return self

    def close(self) -> None:
        """End every connection and thread, within a few seconds. Idempotent.

        A script that still waits gets what has already come, then it ends; see :meth:`check`. Clients that
        are still there get a close frame with code 1001.
        """
        if self._listener is None:
            return
        deadline = self._shared.close(CLOSE_SECONDS)
        for thread in self._threads:  # the listener is the first, after it the list does not grow
            thread.join(deadline.remaining())
            if thread.is_alive():
                self._overdue.append(f"{thread.name} did not end: code of the test holds it")
        self._listener.close()
        self._listener = None
        if self._certificates:
            self._certificates.remove()

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        if self._listener is None:
            raise RuntimeError("the server is not running")
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        """What a client takes as ``api_base``."""
        return f"{'wss' if self._tls else 'ws'}://{HOST}:{self.port}/v1"

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """A client's context that trusts this server; None without TLS."""
        return self._certificates.client_context if self._certificates else None

    @property
    def ca_file(self) -> str | None:
        """Path of the authority's certificate in PEM, until :meth:`close`; None without TLS."""
        return self._certificates.ca_file if self._certificates else None

    def connection(self, *steps: Step) -> None:
        """Give the script of the next connection that has none."""
        self._scripts.append(Script(steps))

    def open(self, gate: str) -> None:
        """Let every script pass the gate of this name, now and later."""
        self._shared.open(gate)

    def wait_for(self, mark: str, timeout: float | None = 5) -> None:
        """Wait until a script has come to the mark of this name.

        :param timeout: in seconds; None waits for ever.

        Raises AssertionError with the report of :meth:`check` when a script fails before, or when the time
        is over.
        """
        with self._shared.changed:
            self._shared.changed.wait_for(lambda: mark in self._shared.marks or self._failed(), timeout)
            if mark not in self._shared.marks:
                raise AssertionError(self._report([f"the mark {mark!r} was not reached", *self._problems()]))

    def check(self) -> None:
        """Raise AssertionError, with a report, unless everything went as scripted.

        The report names steps that were not played, messages that did not match, clients that left too
        early, connections that nobody expected, scripts that no connection took, and exceptions on the
        server's threads.
        """
        problems = self._problems()
        if problems:
            raise AssertionError(self._report(problems)) from self._cause()

    def _listen(self) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it; without it an event waits up to 40 ms for the acknowledgement of the last.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._receive_buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        try:
            listener.bind((HOST, self._wanted_port))
        except OSError:
            listener.close()
            raise
        listener.listen(BACKLOG)
        listener.setblocking(False)
        return listener

    def _start_thread(self, name: str, target: Any, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name=f"responses_ws.testing {name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept_all(self, listener: socket.socket, waker: Waker) -> None:
        self._shared.enter(waker)
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(waker, selectors.EVENT_READ)
            while self._shared.closing is None:
                selector.select()
                waker.drain()
                self._accept(listener)
        self._shared.leave(waker)

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:  # nobody there, or gone again
            return
        record = ConnectionRecord(len(self.connections) + 1)
        script = self._next_script()
        self.connections.append(record)
        self._played.append(script)
        self._start_thread(f"connection {record.number}", self._converse, sock, record, script)

    def _next_script(self) -> Script:
        if self._scripts:
            return self._scripts.popleft()
        if self.model:
            return Script([serve(self.model)])
        unexpected = Script([refuse(500, body="no script for this connection")])
        unexpected.fault = "was not expected: there is no script and no model"
        return unexpected

    def _converse(self, sock: socket.socket, record: ConnectionRecord, script: Script) -> None:
        waker = Waker()
        self._shared.enter(waker)
        context = self._certificates.server_context if self._certificates else None
        connection = Connection(Wire(sock, waker), record, self._shared, context, self.model)
        script.play(connection)
        connection.end()
        self._shared.leave(waker)

    def _failed(self) -> bool:
        return any(script.fault for script in self._played)

    def _problems(self) -> list[str]:
        scripts = [*self._played, *self._scripts]
        return [*(text for script in scripts for text in script.problems()), *self._overdue]

    def _cause(self) -> BaseException | None:
        return next((script.cause for script in self._played if script.cause), None)

    def _report(self, problems: list[str]) -> str:
        return "\n".join(["the scripted server saw something else:", *(f"- {text}" for text in problems)])
