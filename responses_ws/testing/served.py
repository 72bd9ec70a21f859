"""A wire that a script of the scripted server waits on: what comes, what leaves, and how it ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from responses_ws._transport.deadline import Deadline
from responses_ws.testing.interruptions import ClientGone, Closing, ScriptError
from responses_ws.testing.log import ConnectionRecord, LogEntry
from responses_ws.testing.shared import Shared
from responses_ws.testing.wire import CHUNK, Wire

__all__ = ["Served"]

T = TypeVar("T")


class Served(ABC):
    """The bytes of a connection that the server accepted; owned by its thread.

    :ivar record: what the test sees of this connection.
    """

    def __init__(self, wire: Wire, record: ConnectionRecord, shared: Shared) -> None:
        self.record = record
        self.shared = shared
        self._wire = wire
        self._upgraded = False
        self._leaving = False
        self._read_until: int | None = None

    @abstractmethod
    def _feed(self, data: bytes) -> None:
        """Bytes have come."""

    # Waiting

    def wait(self, done: Callable[[], bool], seconds: float | None = None) -> bool:
        """Serve the connection until ``done()`` is true; False when ``seconds`` ran out before.

        Raises :class:`Closing` when the server is closed and what has already come does not make it true.
        """
        deadline = Deadline(seconds)
        while not done():
            closing = self.shared.closing
            data = self._turn(0.0 if closing else deadline.remaining())
            if closing and (data is None or closing.expired):
                raise Closing
            if data is None and deadline.expired:
                return False
        return True

    def _turn(self, seconds: float | None) -> bytes | None:
        """One turn of the wire: what it brings is fed to the protocol, and an end is noted."""
        data = self._wire.turn(seconds, self._may_read())
        if self._wire.tls_error and self._upgraded:
            raise ScriptError(f"the client broke TLS: {self._wire.tls_error}")
        if data:
            self._feed(data)
        self._note_end()
        return data

    @property
    def gone(self) -> bool:
        """Whether the client has ended the connection or sent its close frame."""
        return self._wire.ended is not None or self.record.close_code is not None

    @property
    def over(self) -> bool:
        """Whether the TCP connection has ended."""
        return self._wire.ended is not None

    def flush(self) -> None:
        """Wait until the kernel has taken everything."""
        self.wait(lambda: self._wire.flushed or self._wire.broken)
        if self._wire.broken:
            raise ClientGone

    def pause(self, after: int = 0) -> None:
        """Take ``after`` more bytes from the TCP connection, and no more until the next :meth:`resume`."""
        self._read_until = self._wire.received + after

    def resume(self) -> None:
        """Read on after :meth:`pause`."""
        self._read_until = None

    def _may_read(self) -> int:
        if self._read_until is None:
            return CHUNK
        return min(CHUNK, max(0, self._read_until - self._wire.received))

    @property
    def paused(self) -> bool:
        """Whether the bytes allowed by :meth:`pause` have come."""
        return self._may_read() == 0

    def _take(self, arrived: deque[T]) -> T:
        self.resume()
        self.wait(lambda: bool(arrived) or self.gone)
        if not arrived:
            raise ClientGone
        return arrived.popleft()

    # The end

    def finish(self, *, notify: bool) -> None:
        """End the sending direction of TCP; ``notify`` says so in TLS first."""
        self._leaving = True
        self._end_output(notify=notify)
        self.wait(lambda: self._wire.flushed or self._wire.broken)

    def reset(self) -> None:
        """End the TCP connection by RST."""
        self._leaving = True
        self._log("out", "reset", b"")
        self._wire.reset()
        self._note_end()

    def _end_output(self, *, notify: bool) -> None:
        self._wire.finish(notify=notify)
        self._log("out", "eof", b"")

    def end(self) -> None:
        """Give the TCP connection back."""
        self._wire.close()
        self._note_end()

    def _note_end(self) -> None:
        """Record once how the TCP connection ended."""
        how = self._wire.ended
        if how is None or self.record.gone.is_set():
            return
        if how in ("eof", "reset"):
            self._log("in", how, b"")
        self.record.ended = how if self.record.close_code is None else "close"
        self.record.gone.set()

    def _log(self, direction: str, kind: str, data: bytes, frames: int = 1) -> None:
        self.shared.note(LogEntry(self.record.number, direction, kind, data, frames))
