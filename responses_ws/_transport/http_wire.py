"""The socket of one HTTP exchange: its clocks, its end from another thread, and the secrets on the way out.

http.client writes to it and reads from it, in the caller's thread; every wait is one of those in here.
"""

from __future__ import annotations

import io
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from responses_ws._core.headers import Masker
from responses_ws._core.secret import Secret
from responses_ws._transport.base import Target
from responses_ws._transport.deadline import SLICE_SECONDS, Deadline, overdue
from responses_ws._transport.dialling import Dialling, shut_down
from responses_ws.errors import ConnectionLost, ResponsesWSError, ResponseTimeout

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["NothingYetError", "Reader", "Wire"]

READ_BYTES = 64 * 1024
FIRST_BYTES = 16 * 1024
"""Of the body, that leave with the head: most bodies are whole in that, and the server wakes up once."""
NOT_NOW = (TimeoutError, BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
LAST_WORD_SECONDS = 2.0
"""How long a server that stopped taking the request is given to say why."""

END_OF_HEAD = b"\r\n\r\n"
INTERIM = re.compile(rb"HTTP/1\.[01] 1")
STATUS = slice(9, 10)
"""Where the class of the status stands in an answer."""
MAX_EARLY_BYTES = 64 * 1024


class NothingYetError(OSError):
    """The clock of a wait has run out."""


class Wire:
    """What one exchange knows of its socket.

    Everything belongs to the thread of the exchange but :meth:`abort`, which may come from any.

    :param deadline: of the whole call.
    :param secret_headers: added to the request on its way out.
    :param length: bytes of the request's body.
    :ivar clock: how long reading waits.
    :ivar sent_at: when the last byte of the request had left (monotonic seconds), or None.
    :ivar failure: what went wrong here, which the libraries above would turn into exceptions of their own.
    """

    def __init__(
        self, target: Target, deadline: Deadline, secret_headers: Mapping[str, Secret], length: int
    ) -> None:
        self.clock = deadline
        self.sent_at: float | None = None
        self.failure: ResponsesWSError | None = None
        self.aborted = False
        self._target = target
        self._deadline = deadline
        self._secret_headers = secret_headers
        self._mask = Masker(target.secrets)
        self._head: memoryview | None = None
        self._unsent = length
        self._stuck = False
        self._early = b""
        self._pid = os.getpid()
        self._sock: socket.socket | None = None
        self._attempt: Dialling | None = None

    # -- the socket

    def connect(self, dialling: set[Dialling]) -> socket.socket:
        """A new socket.

        :param dialling: where the attempt is to be found while it lasts.
        """
        deadline = Deadline(self._deadline.remaining(self._target.timeouts.connect))
        attempt = self._attempt = Dialling(self._target, deadline, self.hold)
        dialling.add(attempt)
        try:
            self._check()
            return attempt.result()
        except ResponsesWSError as error:
            self.failure = overdue(self._deadline) if self._deadline.expired else error
            raise
        finally:
            self._attempt = None
            attempt.give_up()
            dialling.discard(attempt)

    def hold(self, sock: socket.socket) -> None:
        """The exchange goes over this socket now. Raises when it was aborted meanwhile."""
        self._sock = sock
        self._check()

    def holds(self, sock: socket.socket) -> bool:
        """Whether the exchange goes over this socket."""
        return self._sock is sock

    def let_go(self) -> bool:
        """The exchange is over; whether the socket can be used for another.

        Not when the rest of the request is missing, which the server would see in the next one, nor after an
        abort: one that comes later finds no socket, and one that came before is seen here.
        """
        self._sock = None
        return self.sent_at is not None and not self.aborted

    def abort(self) -> None:
        """End it, whatever it is doing. Takes no lock and never blocks: safe in a finalizer.

        In a forked child nothing is shut down, for that would end the parent's connection.
        """
        self.aborted = True
        if self._pid != os.getpid():
            return
        sock, attempt = self._sock, self._attempt
        if attempt is not None:  # before its thread finds the socket shut down
            attempt.end(_ended_here())
        if sock is not None:
            shut_down(sock)

    def close(self) -> None:
        """Give the socket back; takes no lock. Not while another thread sends or receives."""
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    def _check(self) -> None:
        if self._pid != os.getpid():
            raise self._failed(ConnectionLost("the connection belongs to the parent process"))
        if self.aborted:
            raise self._failed(_ended_here())

    def _checked(self) -> socket.socket:
        self._check()
        if self._sock is None:
            raise self._failed(_ended_here())
        return self._sock

    def _failed(self, error: ResponsesWSError) -> ResponsesWSError:
        self.failure = self.failure or error
        return error

    # -- sending

    def send(self, data: bytes) -> None:
        """Send the head of the request, to which the secret headers are added, or a piece of its body.

        The head waits for a body that follows at once, and leaves with the first of it.
        """
        try:
            if self._head is None:
                # A memoryview shows nothing in a traceback with locals.
                self._head = memoryview(b"".join([data[:-2], *self._secret_lines(), b"\r\n"]))
                data = b""
            if data or not self._unsent:
                head, self._head = self._head, memoryview(b"")
                self._send(memoryview(b"".join([head, data[:FIRST_BYTES]])))
                self._send(memoryview(data)[FIRST_BYTES:])
                self._unsent -= len(data)
        except OSError:
            self._stuck = True
            raise
        if self._unsent <= 0:
            self.sent_at = time.monotonic()

    def _secret_lines(self) -> list[bytes]:
        headers = self._secret_headers.items()
        return [f"{name}: {value.reveal()}\r\n".encode("latin-1") for name, value in headers]

    def _send(self, view: memoryview) -> None:
        progress = Deadline(self._target.timeouts.send)
        while view:
            sock = self._checked()
            self._check_clocks(progress)
            sock.settimeout(self._deadline.remaining(progress.remaining(SLICE_SECONDS)))
            try:
                sent = sock.send(view)
            except NOT_NOW:
                self._look_for_answer(sock)
            else:
                view = view[sent:]
                progress = Deadline(self._target.timeouts.send)

    def _check_clocks(self, progress: Deadline) -> None:
        if self._deadline.expired:
            raise self._failed(overdue(self._deadline))
        if progress.expired:
            seconds = progress.seconds or 0.0
            message = f"the request made no progress for {seconds:g} seconds (send)"
            raise self._failed(ResponseTimeout(message, clock="send", seconds=seconds))

    def _look_for_answer(self, sock: socket.socket) -> None:
        """A server that takes no more of the request may have said why (RFC 9112, 9.5).

        Raises BrokenPipeError, after which the libraries read the answer, when there is one and it is no
        success, or when the server has left.
        """
        sock.settimeout(0)
        try:
            data = sock.recv(READ_BYTES)
        except NOT_NOW:
            return
        self._early += data
        if not data or _refuses(self._early) or len(self._early) > MAX_EARLY_BYTES:
            raise BrokenPipeError

    # -- receiving

    def expect_answer(self, seconds: float | None) -> None:
        """The request is out; the head of the answer may take so long. Less when it could not be sent."""
        self.clock = Deadline(LAST_WORD_SECONDS if self._stuck else self._deadline.remaining(seconds))

    def receive(self) -> bytes:
        """Read once, waiting as long as the clock allows; an empty string at the end."""
        if self._early:
            early, self._early = self._early, b""
            return self._mask(early)
        while True:
            sock = self._checked()
            sock.settimeout(self.clock.remaining(SLICE_SECONDS))
            try:
                data = sock.recv(READ_BYTES)
            except NOT_NOW:
                if self.clock.expired:
                    raise NothingYetError from None
            else:
                self._check()
                return self._mask(data)


def _ended_here() -> ConnectionLost:
    return ConnectionLost("the connection was ended by this side")


def _refuses(early: bytes) -> bool:
    """Whether an answer has begun that is neither an interim one (RFC 9110, 15.2) nor a success."""
    heads = early.split(END_OF_HEAD)
    status = next((head[STATUS] for head in heads if not INTERIM.match(head)), b"")
    return status not in (b"", b"2")


class Reader(io.BufferedIOBase):
    """What http.client reads from: unlike a :class:`io.BufferedReader` it loses nothing when a wait is left.

    :param receive: reads once; an empty string is the end.
    """

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._buffer = b""
        self._at = 0
        self._mark = 0

    @property
    def waiting(self) -> bool:
        """Whether there are bytes that were received and not read."""
        return self._at < len(self._buffer)

    def mark(self) -> None:
        """What is read from here on is kept until the next mark."""
        self._mark = self._at

    def rewind(self) -> None:
        """Read again what was read since the mark."""
        self._at = self._mark

    def readable(self) -> bool:
        return True

    def flush(self) -> None:
        """There is nothing to write, also after the end, when a finalizer may ask for it."""

    def read1(self, size: int = -1) -> bytes:
        if size and not self.waiting:
            self._fill()
        return self._take(size)

    def read(self, size: int | None = -1) -> bytes:
        wanted = -1 if size is None else size
        while (wanted < 0 or len(self._buffer) - self._at < wanted) and self._fill():
            pass
        return self._take(wanted)

    def readline(self, size: int | None = -1) -> bytes:
        limit = -1 if size is None else size
        while (end := self._buffer.find(b"\n", self._at)) < 0:
            if 0 <= limit <= len(self._buffer) - self._at or not self._fill():
                break
        line = len(self._buffer) if end < 0 else end + 1
        length = line - self._at
        return self._take(length if limit < 0 else min(length, limit))

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read1(len(view))
        view[: len(data)] = data
        return len(data)

    def _fill(self) -> bool:
        data = self._receive()
        self._buffer = self._buffer[self._mark :] + data
        self._at -= self._mark
        self._mark = 0
        return bool(data)

    def _take(self, size: int) -> bytes:
        stop = len(self._buffer) if size < 0 else self._at + size
        data = self._buffer[self._at : stop]
        self._at += len(data)
        return data
