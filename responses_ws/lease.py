"""A connection of a pool, for somebody who asks without a session."""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import Callable, Hashable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from responses_ws._channel import Channel
from responses_ws._pool.waiter import Waiter
from responses_ws._transport.deadline import NEVER
from responses_ws._verbs import Verbs
from responses_ws.errors import ConnectionError, PoolClosed
from responses_ws.stream import ResponseStream

if TYPE_CHECKING:
    from responses_ws._pool.member import Seat
    from responses_ws.pool import ConnectionPool

__all__ = ["Lease"]

PACKAGE = __name__.partition(".")[0]


class Lease(Verbs):
    """One lane of a pooled connection, or the whole of it where there are no lanes, for a while.

    It begins with no ``last_response_id`` and continues by itself what is asked on it, like a
    :class:`WebSocket`. ``with`` or :meth:`close` gives it back; one that is forgotten is taken back with a
    ``ResourceWarning`` that names where it was taken. One thread uses it at a time.

    Where the service was taken to have lanes and refuses the first one, that request fails with its error;
    what is asked after it goes without.
    """

    def __init__(
        self, pool: ConnectionPool, *, key: Hashable | None, tenant: str | None, timeout: float | None
    ) -> None:
        self.over = False
        self._pool = pool
        self._desk = desk = pool._desk
        self._taken_at = _caller()
        self._stream: Callable[[], ResponseStream | None] = lambda: None
        self._seat: Seat | None = None
        try:
            seat = desk.take(Waiter(self, key=key, tenant=tenant), NEVER, timeout)
            seat.latest = 0
            self._channel = self._new_channel(seat, seat.lane)
            self._seat = seat
        except BaseException:
            self.over = True  # at once, for the next interrupt may end what follows
            desk.roster.settle()
            raise

    @property
    def last_response_id(self) -> str | None:
        """The last completed response, which the next one continues; None at the start of a chain.

        Also None once it was given back: what is completed on the lane then is somebody else's.
        """
        return None if self.over else self._channel.last_response_id

    def close(self) -> None:
        """Give it back, and leave what still runs on it. May be called again."""
        self.over = True  # at once, for an interrupt may end what follows
        stream = self._stream()
        if stream is not None:
            stream.close()
        if self._seat is not None:
            self._desk.check_process()  # a child must not end its parent's connection
            self._desk.roster.left(self._seat)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_seat", None) is None or self.over:
            return
        self.over = True
        if self._is_current():
            self._desk.roster.reclaimed += 1
            message = f"a lease taken at {self._taken_at} was never closed"
            warnings.warn(message, ResourceWarning, source=self, stacklevel=1)

    def __repr__(self) -> str:
        return f"<Lease taken at {self._taken_at}{', over' if self.over else ''}>"

    def __reduce__(self) -> str:
        raise TypeError("a Lease cannot be pickled: it is part of a connection")

    def _start(self, payload: Callable[[], Mapping[str, Any]]) -> ResponseStream:
        if self.over:
            raise ConnectionError("the lease is over")
        if self._seat is None or not self._is_current():
            raise PoolClosed(
                "the pool was closed since the lease was taken, or it is that of the parent process"
            )
        if self._desk.roster.lanes is False and self.last_response_id is None:
            self._channel = self._new_channel(self._seat, None)
        stream = self._channel.start(payload, self)
        self._stream = weakref.ref(stream)
        return stream

    def _new_channel(self, seat: Seat, lane: str | None) -> Channel:
        channel = Channel(self._desk.settings, self._desk.dialer, seat.member.connection, lane)
        channel.begin_chain()
        return channel

    def _is_current(self) -> bool:
        """Whether the pool still has its connection."""
        self._desk.check_process()
        return self._seat is not None and self._seat.member in self._desk.roster.members


def _caller() -> str:
    """Where in the caller's code this is."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
