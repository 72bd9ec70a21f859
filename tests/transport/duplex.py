"""Connections that are full of traffic in both directions at once, every message of which is checked.

Run by hand, ``python duplex.py SECONDS [unguarded]`` prints what went wrong and exits with 1 if anything did.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

from opened import opened
from shell import Task

from responses_ws._transport.ws import SocketTransport
from responses_ws.messages import Timeouts
from responses_ws.testing import ScriptedServer, optional, run
from responses_ws.testing.interruptions import ClientGone

__all__ = ["Duplex"]

CONNECTIONS = 4
BODIES = [(b"%02x" % number) * (20, 300, 3_000, 40_000)[number % 4] for number in range(64)]
BATCH = 8
"""Messages of the server for one of the client's."""

WINDOW = 16
"""Messages that a client may be ahead."""


def message(number: int) -> bytes:
    """The message of this number, of one of many sizes."""
    return b'{"n":%d,"s":"%s"}' % (number, BODIES[number % len(BODIES)])


class Duplex:
    """Four connections over TLS, each with a thread that reads and one that sends.

    :param guarded: False takes the lock out that keeps two threads from being inside one ``SSLSocket``.
    :ivar faults: what was not as it was sent, or ended although nobody had ended it.
    :ivar taken: messages that clients received.
    """

    def __init__(self, server: ScriptedServer, *, guarded: bool = True) -> None:
        self.faults: list[str] = []
        self.taken = 0
        self._server = server
        self._guarded = guarded
        self._over = threading.Event()

    def run(self, seconds: float) -> list[str]:
        """Load the connections until something is wrong or the time is over; what was wrong."""
        for _ in range(CONNECTIONS):
            self._server.connection(optional(run(self._serve)))
        with contextlib.ExitStack() as stack:
            transports = [stack.enter_context(self._client()) for _ in range(CONNECTIONS)]
            tasks = [task for transport in transports for task in self._start(transport)]
            self._over.wait(seconds)
            self._over.set()
            for transport in transports:
                transport.abort()
            for task in tasks:
                task.result()
        return self.faults

    @contextlib.contextmanager
    def _client(self) -> Iterator[SocketTransport]:
        with opened(self._server, timeouts=Timeouts(send=5)) as transport:
            transport._poll = lambda _milliseconds: True  # bytes have come, it says
            if not self._guarded:
                transport._guard = contextlib.nullcontext()
            yield transport

    def _start(self, transport: SocketTransport) -> tuple[Task, Task]:
        window = threading.Semaphore(WINDOW)
        return Task(self._read, transport, window), Task(self._write, transport, window)

    def _serve(self, connection: Any) -> None:
        with contextlib.suppress(ClientGone):
            self._answer(connection)
        while True:  # what the client sent before it left
            connection.receive()

    def _answer(self, connection: Any) -> None:
        number = 0
        while True:
            got = connection.receive()
            if got != {"n": number, "s": BODIES[number % len(BODIES)].decode()}:
                self._fail(f"the server got something else than message {number}")
            connection.send(*(message(number * BATCH + place) for place in range(BATCH)))
            number += 1
            connection.shared.log.clear()
            connection.shared.requests.clear()

    def _read(self, transport: SocketTransport, window: threading.Semaphore) -> None:
        """Never waits, so that it is inside the socket as often as can be, mostly for nothing."""
        number = 0
        with self._ending("reading"):
            while True:
                for found in transport.receive(0) or ():
                    if found != message(number):
                        self._fail(f"the client got something else than message {number}")
                    number += 1
                    self.taken += 1
                    if number % BATCH == 0:
                        window.release()

    def _write(self, transport: SocketTransport, window: threading.Semaphore) -> None:
        number = 0
        with self._ending("sending"):
            while not self._over.is_set():
                if window.acquire(timeout=0.1):
                    transport.send(message(number))
                    number += 1

    @contextlib.contextmanager
    def _ending(self, doing: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not self._over.is_set():
                self._fail(f"{doing}: {error!r}, from {error.__cause__!r}")

    def _fail(self, fault: str) -> None:
        self.faults.append(fault)
        self._over.set()


def main(seconds: str, *options: str) -> int:
    server = ScriptedServer(tls=True).start()
    try:
        faults = Duplex(server, guarded="unguarded" not in options).run(float(seconds))
    finally:
        server.close()
    print(*faults, sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
