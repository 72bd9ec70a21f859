"""A connection of a pool, for somebody who asks without a session."""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import Callable, Hashable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from responses_ws._channel import Channel
from responses_ws._pool.roster import Waiter
from responses_ws._transport.deadline import NEVER
from responses_ws._verbs import Verbs
from responses_ws.errors import ConnectionError
from responses_ws.stream import ResponseStream

if TYPE_CHECKING:
    from responses_ws._pool.desk import Desk

__all__ = ["Lease"]

PACKAGE = __name__.partition(".")[0]


class Lease(Verbs):
    """One lane of a pooled connection, or the whole of it where there are no lanes, for a while.

    It begins with no ``last_response_id`` and continues by itself what is asked on it, like a
    :class:`WebSocket`. ``with`` or :meth:`close` gives it back; one that is forgotten is taken back with a
    ``ResourceWarning`` that names where it was taken. One thread uses it at a time.
    """

    def __init__(
        self, desk: Desk, *, key: Hashable | None, tenant: str | None, timeout: float | None
    ) -> None:
        self.over = False
        self._desk = desk
        self._taken_at = _caller()
        self._stream: Callable[[], ResponseStream | None] = lambda: None
        self._channel: Channel | None = None
        seat = desk.take(Waiter(self, key=key, tenant=tenant), NEVER, timeout)
        seat.latest = 0
        seat.member.used = True
        self._channel = Channel(desk.settings, desk.dialer, seat.member.connection, seat.lane)
        self._channel.begin_chain()

    @property
    def last_response_id(self) -> str | None:
        """The last completed response, which the next one continues; None at the start of a chain."""
        return None if self._channel is None else self._channel.last_response_id

    def close(self) -> None:
        """Give it back, and leave what still runs on it. May be called again."""
        stream = self._stream()
        if stream is not None:
            stream.close()
        self.over = True
        self._desk.roster.settle()

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_channel", None) is None or self.over:
            return
        self.over = True
        self._desk.roster.reclaimed += 1
        message = f"a lease taken at {self._taken_at} was never closed"
        warnings.warn(message, ResourceWarning, source=self, stacklevel=1)

    def __repr__(self) -> str:
        return f"<Lease taken at {self._taken_at}{', over' if self.over else ''}>"

    def __reduce__(self) -> str:
        raise TypeError("a Lease cannot be pickled: it is part of a connection")

    def _start(self, payload: Callable[[], Mapping[str, Any]]) -> ResponseStream:
        if self.over or self._channel is None:
            raise ConnectionError("the lease is over")
        stream = self._channel.start(payload, self)
        self._stream = weakref.ref(stream)
        return stream


def _caller() -> str:
    """Where in the caller's code this is."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
