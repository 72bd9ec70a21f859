"""One generation of a connection: a transport and the thread that reads it.

The thread's life is :func:`run`: connect, read, end. It holds the :class:`Linked` and never the public
WebSocket, so that a forgotten WebSocket can be collected.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

from responses_ws._core.keepalive import Keepalive, Verdict
from responses_ws._core.states import Request
from responses_ws._process import connecting
from responses_ws._reading import Reading
from responses_ws._transport.base import Connector, Target, Transport
from responses_ws._transport.deadline import SLICE_SECONDS, Deadline
from responses_ws._transport.mailbox import READY, Mailbox, Mark, wait_for
from responses_ws.errors import ConnectionError, ConnectionLost, ProtocolError, ResponsesWSError

if TYPE_CHECKING:
    from responses_ws._linked import Linked

__all__ = ["Link", "start"]

logger = logging.getLogger("responses_ws")

ROTATION_JITTER = 0.05
THREAD_START_SECONDS = 2.0
LOOK_UP_SECONDS = 0.2


class Link:
    """One generation of a connection.

    :ivar generation: its number, from 1; 0 before it connects.
    :ivar over: it ended; nothing its reader still delivers is let in. Guarded by the connection's lock.
    :ivar cause: why it ended, or is about to.
    :ivar ended: the requests that ended with it, until all who must know were told; None before and after.
    :ivar reading: who reads it, while it is read.
    :ivar outcome: READY when the thread runs, then READY when it is connected, or an exception.
    :ivar dialer: the thread that waits for it to connect.
    :ivar rotate_at: when it is old enough to be replaced (monotonic seconds), or None.
    """

    def __init__(self, max_age: float | None) -> None:
        self.generation = 0
        self.dialer = threading.get_ident()
        self.transport: Transport | None = None
        self.reading: Reading | None = None
        self.over = False
        self.cause: ResponsesWSError | None = None
        self.ended: list[Request] | None = None
        self.outcome: Mailbox[BaseException | Mark] = Mailbox()
        self.thread: threading.Thread | None = None
        self.rotate_at = None if max_age is None else time.monotonic() + _with_jitter(max_age)
        self.aborted = False
        self._pid = os.getpid()
        self._socket: socket.socket | None = None

    @property
    def old(self) -> bool:
        """Whether it has reached its age."""
        return self.rotate_at is not None and time.monotonic() >= self.rotate_at

    def hold(self, sock: socket.socket) -> None:
        """The connecting has this socket now. Raises when it was aborted meanwhile."""
        self._socket = sock
        if self.aborted:
            raise ConnectionError("connecting was given up")

    def abort(self, cause: ResponsesWSError | None = None) -> None:
        """End it at once, connecting or connected. The first cause counts.

        Takes no lock of the connection and never blocks: safe in a finalizer. In a forked child it does
        nothing, for a shutdown would end the parent's connection.
        """
        self.cause = self.cause or cause
        self.aborted = True
        self.outcome.put(ConnectionError("connecting was given up"))
        if self._pid != os.getpid():
            return
        if self.transport is not None:
            self.transport.abort()
        elif self._socket is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        self.claim()

    def claim(self) -> None:
        """Let its thread read it, and no caller. Takes no lock: safe in a finalizer."""
        reading = self.reading
        if reading is not None:
            reading.claim()

    def forget(self, cause: ResponsesWSError) -> None:
        """In a forked child: give up the inherited socket without a byte to the peer."""
        self.over = True
        self.cause = cause
        if self.transport is not None:
            self.transport.forget()
        elif self._socket is not None:
            self._socket.close()

    def stop(self, deadline: Deadline) -> None:
        """The interpreter ends while the link connects. Nobody is told, who could only print an error."""
        self.outcome = Mailbox()
        self.abort()
        self.join(deadline.remaining())

    def join(self, seconds: float | None) -> None:
        """Wait for the reader's end, at most so many seconds (None: for ever).

        The reader itself, in which a finalizer or a handler of logs may run, does not wait. Nor does a caller
        who is called back from his own reading: the thread waits for him.
        """
        reading = self.reading
        if self.thread is threading.current_thread() or (reading is not None and reading.mine):
            return
        self.claim()
        deadline = Deadline(seconds)
        while self.thread is not None and self.thread.is_alive() and not deadline.expired:
            self.thread.join(deadline.remaining(SLICE_SECONDS))


def _with_jitter(age: float) -> float:
    """Jitter keeps a hundred connections of one start from being replaced in one second."""
    import random

    return age * random.uniform(1 - ROTATION_JITTER, 1)  # noqa: S311


def start(connection: Linked, link: Link, connector: Connector, target: Target, deadline: Deadline) -> None:
    """Start the reader, which connects first, and wait for how that ends. Raises what it ended with."""
    link.thread = threading.Thread(
        target=run,
        args=(connection, link, connector, target, deadline),
        name=f"responses_ws-reader-{link.generation}",
        daemon=True,
    )
    outcomes = link.outcome
    try:
        link.thread.start()
    except RuntimeError as error:
        raise ConnectionError(f"the reader thread could not be started: {error}") from error
    outcome = wait_for(outcomes, THREAD_START_SECONDS)
    if outcome is None:
        raise ConnectionError(
            "the reader thread did not start; uWSGI runs threads with --enable-threads only"
        )
    if outcome is READY:
        # The reader gives up at the deadline too, and knows the step; only a look-up can outlast it.
        outcome = wait_for(outcomes, deadline.remaining()) or wait_for(outcomes, LOOK_UP_SECONDS)
    if outcome is None:
        raise ConnectionError(f"could not connect within {deadline.seconds:g} seconds")
    if isinstance(outcome, BaseException):
        raise outcome


def run(connection: Linked, link: Link, connector: Connector, target: Target, deadline: Deadline) -> None:
    """The reader thread: connect, read, end."""
    link.outcome.put(READY)
    connecting.add(link)
    try:
        transport = connector.connect(target, deadline, link.hold)
    except BaseException as error:
        link.outcome.put(error)
        return
    finally:
        connecting.discard(link)
    link.transport = transport
    if link.aborted:
        # The abort came before there was a transport to abort.
        transport.abort()
    link.outcome.put(READY)
    cause: ResponsesWSError = ConnectionLost("the reader thread failed")
    try:
        _read(connection, link, transport, target)
    except ResponsesWSError as error:
        cause = error
    except BaseException as error:  # a reader that dies must leave nobody waiting
        cause.__cause__ = error
        logger.exception("the reader thread failed")
    finally:
        _end(connection, link, transport, cause)


def _end(connection: Linked, link: Link, transport: Transport, cause: ResponsesWSError) -> None:
    """Say why, then tell who waits, who may end the process at once; then give the socket back."""
    try:
        transport.close(cause.close_code if isinstance(cause, ProtocolError) else 1000)
    finally:
        try:
            # Without its traceback, which would tie the frames of this thread to whoever keeps the cause.
            connection.end(link, cause.with_traceback(None))
        finally:
            link.reading = None
            transport.abort()
            transport.release()


def _read(connection: Linked, link: Link, transport: Transport, target: Target) -> None:
    """Read until something ends the connection, which is raised.

    Handing events over comes last in each turn, and the next wait begins at once: the caller's thread, which
    that wakes, runs when this one waits.
    """
    timeouts = target.timeouts
    reading = link.reading = Reading(connection, link, transport)
    now = time.monotonic()
    keepalive = Keepalive(timeouts.ping_interval, timeouts.ping_timeout, now)
    patience = keepalive.wait(now)
    interval = math.inf if timeouts.ping_interval is None else timeouts.ping_interval
    watcher, look_at = connection.watcher, now + interval
    while True:
        payloads = reading.receive(patience)
        if link.aborted:
            raise ConnectionLost("the connection was given up")  # by one who was interrupted in that
        now = time.monotonic()
        # By the clock: a server that pings more often than we do leaves no silence to look around in.
        if watcher is not None and now >= look_at:
            look_at = now + interval
            watcher(ended=False)
        if payloads is not None:
            patience = keepalive.heard(now)
            if payloads:
                connection.deliver(link, payloads, now)
            # A large message is not kept until the next one comes.
            del payloads
            continue
        verdict = keepalive.check(now, sending=transport.sending)
        patience = keepalive.wait(now)
        if verdict is Verdict.PING:
            transport.ping()
        elif verdict is Verdict.DEAD and not reading.owned:
            reading.claim()  # after a look of its own: the process may have slept, and the caller with it
        elif verdict is Verdict.DEAD:
            raise ConnectionLost(
                f"the server is dead: not a byte in {timeouts.ping_timeout:g} seconds after a ping"
            )
