"""Connecting in a thread of its own, for a caller who must be able to leave at any moment."""

from __future__ import annotations

import contextlib
import socket
import threading

from responses_ws._transport.base import Hold, Target
from responses_ws._transport.deadline import SLICE_SECONDS, Deadline
from responses_ws._transport.dial import dial
from responses_ws._transport.mailbox import Mailbox, wait_for
from responses_ws.errors import ConnectionError

__all__ = ["Dialling", "shut_down"]

THREAD_START_SECONDS = 2.0
RELEASE_SECONDS = 0.2


class Dialling:
    """An attempt to connect, in a thread of its own: a name's look-up cannot be interrupted nor timed."""

    def __init__(self, target: Target, deadline: Deadline, hold: Hold) -> None:
        self._deadline = deadline
        # The thread gives up at the deadline too, and knows the step; only a look-up can outlast it.
        self._patience = Deadline(None if deadline.seconds is None else deadline.seconds + RELEASE_SECONDS)
        self._hold_also = hold
        self._sock: socket.socket | None = None
        self._runs = False
        self._over = False
        self._outcome: Mailbox[socket.socket | BaseException] = Mailbox()
        self._thread = threading.Thread(
            target=self._run, args=(target,), name="responses_ws-dial", daemon=True
        )

    def result(self) -> socket.socket:
        """The connected socket. Raises what :func:`dial` raises, and when the time is over."""
        told = self._outcome
        try:
            self._thread.start()
        except RuntimeError as error:
            raise ConnectionError(f"the thread that connects could not be started: {error}") from error
        start = Deadline(THREAD_START_SECONDS)
        while True:
            outcome = wait_for(told, self._patience.remaining(SLICE_SECONDS))
            if isinstance(outcome, BaseException):
                raise outcome
            if outcome is not None:
                self._over = True
                return outcome
            if start.expired and not self._runs:
                raise ConnectionError(
                    "the thread that connects did not start; uWSGI runs threads with --enable-threads only"
                )
            if self._patience.expired:
                raise ConnectionError(f"could not connect within {self._deadline.seconds or 0:g} seconds")

    def end(self, error: BaseException) -> None:
        """Let :meth:`result` raise this, whatever the thread is doing. Takes no lock: safe in a finalizer."""
        self._outcome.put(error)

    def give_up(self) -> None:
        """Want no socket any more, if none was taken; the thread closes what it gets."""
        if self._over:
            return
        self._over = True
        sock = self._sock
        if sock is not None:
            shut_down(sock)
        self._close_outcome()

    def stop(self, deadline: Deadline) -> None:
        """The interpreter ends meanwhile. Nobody is told, who could only print an error."""
        self._outcome = Mailbox()
        self.give_up()
        while self._thread.is_alive() and not deadline.expired:
            self._thread.join(deadline.remaining(SLICE_SECONDS))

    def _run(self, target: Target) -> None:
        self._runs = True
        try:
            self._outcome.put(dial(target, self._deadline, self._hold))
        except BaseException as error:
            self._outcome.put(error)
        if self._over:
            self._close_outcome()

    def _hold(self, sock: socket.socket) -> None:
        self._sock = sock
        self._hold_also(sock)
        if self._over:
            raise ConnectionError("connecting was given up")

    def _close_outcome(self) -> None:
        while (outcome := self._outcome.take()) is not None:
            if isinstance(outcome, socket.socket):
                outcome.close()


def shut_down(sock: socket.socket) -> None:
    """End the connection of a socket that another thread may be using.

    Not by ``SSLSocket.shutdown``, which drops the TLS layer first: who reads would take ciphertext for data.
    """
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
