"""The socket of a session: one connection at a time, replaced between turns."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from responses_ws._call import Call
from responses_ws._connection import Connection
from responses_ws._core.continuation import Place
from responses_ws._dialer import Dialer
from responses_ws._nap import Nap
from responses_ws._settings import Settings
from responses_ws._transport import clock
from responses_ws._transport.base import Connector
from responses_ws._transport.deadline import Deadline, overdue
from responses_ws.errors import ConnectionError, ResponsesWSError
from responses_ws.messages import Steer

__all__ = ["Compose", "Line", "Sent"]

logger = logging.getLogger("responses_ws")

POSTPONE_SECONDS = 60.0
"""Before another attempt to replace an old connection, which may take as long as connecting may."""


class Compose(Protocol):
    """Makes the message for a request."""

    def __call__(self, place: Place | None, lane: str | None = None) -> bytes:
        """That which is sent from this place, on this lane."""


class Sockets(Protocol):
    """The WebSockets of a session: one of its own, or those of a pool."""

    reused: bool

    @property
    def ready(self) -> bool: ...

    @property
    def closed(self) -> bool: ...

    def send(
        self,
        compose: Compose,
        deadline: Deadline,
        waiting: Callable[[Call], None],
        leaving: Callable[[Call], None],
        given_up: Callable[[], bool],
    ) -> Sent: ...

    def steer(
        self,
        call: Call,
        input: str | Sequence[Mapping[str, Any]],
        leaving: Callable[[str, Steer], object],
    ) -> Steer: ...

    def forgo_lanes(self) -> None: ...

    def interrupt(self) -> None: ...

    def close(self, seconds: float | None) -> None: ...

    def forsake(self) -> None: ...

    def fork(self) -> Sockets: ...


class Sent(NamedTuple):
    """A request that has left, and where its response will be alive if it is not stored."""

    call: Call
    place: Place


Turns = list[tuple[Connection, Call]]
"""The lanes that a request has taken, each noted before it is: an interrupt may come with the return of who
takes it, and then nobody else knows of it."""


class Line:
    """Opens, keeps and replaces the connection of one session.

    One request at a time, which is the thread's that has the lane of ``_connection``; that thread alone
    changes what is here. ``interrupt``, ``close`` and ``forsake`` may come from any thread.

    :ivar reused: whether the connection of the last request had been open before it.
    """

    _numbers = itertools.count(1)
    """Of the connections of all lines: a history that is taken elsewhere finds no place of its own there."""

    def __init__(
        self,
        settings: Settings,
        connector: Connector | None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = clock.wall,
    ) -> None:
        self._settings = settings
        self._nap = Nap(monotonic, wall)
        self._connector = connector
        self._dialer = Dialer(settings, connector)
        self._number = next(self._numbers)
        self._connection = self._dialer.new_connection()
        self._live: tuple[Connection, ...] = (self._connection,)
        """It, and while it is being replaced its successor; what an interrupt has left of the like."""
        self._latest: tuple[int, int, int] | None = None
        self._closed = False
        self.reused = False

    @property
    def ready(self) -> bool:
        """Whether a connection is open, as far as is known."""
        self._connection.check_process()
        return self._connection.ready

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closed

    @property
    def place(self) -> Place | None:
        """Where the response of the last request is alive; None when its connection is gone."""
        link, latest = self._connection.link, self._latest
        if link is None or latest is None or latest[:2] != (self._number, link.generation):
            return None
        return latest

    def send(
        self,
        compose: Compose,
        deadline: Deadline,
        waiting: Callable[[Call], None],
        leaving: Callable[[Call], None],
        given_up: Callable[[], bool],
    ) -> Sent:
        """Send a request, on the open connection or on a new one.

        :param compose: asked again when another place than the expected one must be used.
        :param waiting: told of the call before it waits for its turn, and of the one that takes its place;
            :meth:`Call.cancel` ends the waiting.
        :param leaving: told of the call before its first byte leaves.
        :param given_up: whether nobody wants it any more; true before :meth:`interrupt` is called.

        Raises :class:`ConcurrencyError` while another response is running, :class:`ResponseCancelled`, and
        what connecting and sending raise.
        """
        taken: Turns = []
        try:
            connection, call = self._take_turn(taken, deadline, waiting)
            _check(deadline)
            place = self.place
            message = compose(place)
            if connection.ready:
                connection, call = self._renewed(taken, deadline, waiting, given_up)
            self.reused = connection.ready
            self._connect(connection, deadline, given_up)
            if self.place != place:
                message = compose(self.place)
            here = self._latest = (self._number, connection.generation, call.number)
            sent = Sent(call, here)  # not after the sending: an interrupt may come with it
            leaving(call)
            connection.send(call, message, deadline)
        except BaseException:
            for _, call in taken:
                call.abandoned = True  # at once, for the next interrupt may end what follows
            for connection, call in taken:
                connection.leave(call)
            raise
        return sent

    def steer(
        self,
        call: Call,
        input: str | Sequence[Mapping[str, Any]],
        leaving: Callable[[str, Steer], object],
    ) -> Steer:
        """Give the call's running response more input; what becomes of it.

        :param leaving: told of the response's id, and of the same, before the input leaves.

        Raises :class:`ConfigurationError` for bad input and for a service that has no steering, and
        :class:`ConnectionError` when the response has not begun or is over.
        """
        return self._connection.steer(call, self._settings.steer(input), leaving)

    def forgo_lanes(self) -> None:
        """It uses none."""

    def fork(self) -> Line:
        """That of a session with a connection of its own."""
        return Line(self._settings, self._connector)

    def interrupt(self) -> None:
        """Give up connecting. Takes no lock: safe in a finalizer."""
        for connection in self._live:
            connection.stop_dialing()

    def close(self, seconds: float | None) -> None:
        """Close the connection, at most so many seconds long; nothing can be sent any more."""
        self._closed = True
        for connection in self._live:
            connection.check_process()
            connection.disconnect(seconds)

    def forsake(self) -> None:
        """The session was forgotten. Runs in a finalizer, so it takes no lock."""
        self._closed = True
        for connection in self._live:
            connection.forsake()

    # -- inside

    def _take_turn(
        self, taken: Turns, deadline: Deadline, waiting: Callable[[Call], None]
    ) -> tuple[Connection, Call]:
        """The connection, with its lane taken."""
        while True:
            connection, call = self._connection, Call()
            connection.check_process()
            taken.append((connection, call))
            waiting(call)
            connection.open(call, self._settings.timeouts.drain, deadline)
            if connection is self._connection:
                return connection, call
            # Another thread has replaced it meanwhile.
            connection.leave(call)

    def _renewed(
        self,
        taken: Turns,
        deadline: Deadline,
        waiting: Callable[[Call], None],
        given_up: Callable[[], bool],
    ) -> tuple[Connection, Call]:
        """The connection, or its successor when it is too old, or asleep for so long that it may be dead.

        The new one is open before the old one is let go: when there is none to be had, an old one still does.
        """
        connection, call = taken[-1]
        slept = self._nap.is_over()
        if not slept and not connection.aged():
            return connection, call
        successor, its_call = self._dialer.new_connection(), Call()
        self._live = (*self._live, successor)
        try:
            try:
                self._connect(successor, deadline, given_up)
            except ResponsesWSError:
                self._live = self._live[:-1]  # as long as the old one serves, more of these would come
                if slept:
                    connection.retire("the machine has slept")
                if slept or given_up():
                    raise
                connection.postpone(POSTPONE_SECONDS)
                logger.info("the connection has reached its age and could not be replaced", exc_info=True)
                return connection, call
            taken.append((successor, its_call))
            waiting(its_call)
            successor.open(its_call, None, deadline)
            self._number = next(self._numbers)
            self._connection = successor
            connection.leave(call)
            for old in self._live[:-1]:
                old.retire("the machine has slept" if slept else "the connection reached its age")
            self._live = (successor,)
        except BaseException:
            successor.forsake()
            raise
        return successor, its_call

    def _connect(self, connection: Connection, deadline: Deadline, given_up: Callable[[], bool]) -> None:
        """Make sure of an open connection. The key is asked for only when a new one is made."""
        disconnects = connection.disconnects
        if self._closed:
            raise ConnectionError("the session is closed")
        if not connection.ready:
            self._dialer.make_ready(connection, deadline, disconnects, given_up)
            self._nap.begin()


def _check(deadline: Deadline) -> None:
    if deadline.expired:
        raise overdue(deadline)
