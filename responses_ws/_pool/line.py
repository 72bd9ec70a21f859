"""The socket of a session that uses a pool: whichever connection has a seat for the next response."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from responses_ws._call import Call
from responses_ws._core.continuation import Place
from responses_ws._line import Compose, Sent
from responses_ws._pool.member import Seat
from responses_ws._pool.waiter import Waiter
from responses_ws._transport.deadline import Deadline, overdue
from responses_ws._transport.mailbox import WOKEN
from responses_ws.errors import ConnectionError, Delivery
from responses_ws.messages import Steer

if TYPE_CHECKING:
    from responses_ws._pool.desk import Desk

__all__ = ["PooledLine"]


class PooledLine:
    """Sends the requests of one session on the seats of a pool.

    A conversation goes back to the seat that holds its last response, if that is free; a fork of it goes to
    another seat of the same connection. One request at a time, which is one thread's; ``interrupt``,
    ``close`` and ``forsake`` may come from any thread.

    :param owner: the pool, which is not forgotten as long as a session uses it.
    :ivar reused: whether the connection of the last request had been open before it.
    """

    def __init__(self, desk: Desk, tenant: str | None, owner: object) -> None:
        self._desk = desk
        self._tenant = tenant
        self._owner = owner
        self._home: Seat | None = None
        self._forked = False
        self._latest: tuple[int, int, int] | None = None
        self._waiting: tuple[Waiter, int] | None = None
        self._running: Callable[[], Call | None] = lambda: None
        self._closed = False
        self.reused = False

    @property
    def ready(self) -> bool:
        """Whether a seat can be had without opening a connection, as far as is known."""
        return self._desk.ready(self._tenant)

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more, as long as the pool is not opened again."""
        return self._closed or not self._desk.is_open

    def fork(self) -> PooledLine:
        """That of a session which goes on from the same response."""
        other = PooledLine(self._desk, self._tenant, self._owner)
        other._home, other._latest, other._forked = self._home, self._latest, True
        return other

    def send(
        self,
        compose: Compose,
        deadline: Deadline,
        waiting: Callable[[Call], None],
        leaving: Callable[[Call], None],
        given_up: Callable[[], bool],
    ) -> Sent:
        """Send a request; see :meth:`Line.send`. Raises :class:`PoolTimeout` and :class:`PoolClosed` too."""
        if self._closed:
            raise ConnectionError("the session is closed")
        try:
            return self._send(compose, deadline, waiting, leaving, given_up)
        except ConnectionError as error:
            if error.delivery is Delivery.NOT_SENT:
                self._desk.check_open()  # whoever closes the pool wants no other way either
            raise

    def steer(
        self,
        call: Call,
        input: str | Sequence[Mapping[str, Any]],
        leaving: Callable[[str, Steer], object],
    ) -> Steer:
        """Give the call's running response more input; see :meth:`Line.steer`."""
        seat, encode = self._home, self._desk.settings.steer(input)
        if seat is None or call is not self._running():
            raise ConnectionError("steer: the response has not begun, or is over")
        return seat.member.connection.steer(call, encode, leaving)

    def forgo_lanes(self) -> None:
        """The service has refused a lane."""
        self._desk.roster.forgo_lanes()

    def interrupt(self) -> None:
        """Give up connecting. Takes no lock: safe in a finalizer."""
        waiting = self._waiting
        if waiting is not None:
            waiter, thread = waiting
            waiter.queue.put(WOKEN)
            if waiter.seat is not None:
                waiter.seat.member.connection.stop_dialing(thread)

    def close(self, _seconds: float | None) -> None:
        """Nothing can be sent any more. The connections are the pool's."""
        self._closed = True
        self.interrupt()

    def forsake(self) -> None:
        """The session was forgotten. Runs in a finalizer, so it takes no lock."""
        self.close(None)

    # -- inside

    def _send(
        self,
        compose: Compose,
        deadline: Deadline,
        waiting: Callable[[Call], None],
        leaving: Callable[[Call], None],
        given_up: Callable[[], bool],
    ) -> Sent:
        guess = self._expected()
        message = compose(*guess)  # what cannot be sent is refused before it waits for a seat
        call, seat = Call(), None
        try:
            waiting(call)
            seat = self._take_seat(call, deadline, given_up)
            call.lane, connection = seat.lane, seat.member.connection
            place = self._place(seat)
            connection.open(call, self._desk.settings.timeouts.drain, deadline)
            here = (seat.member.number, connection.generation, call.number)
            self._home, self._latest, self._forked = seat, here, False
            # Weak: a conversation at rest keeps nothing of a connection that has ended.
            self._running = weakref.ref(call)
            if (place, seat.lane) != guess:
                message = compose(place, seat.lane)
            seat.latest = call.number
            sent = Sent(call, here)  # not after the sending: an interrupt may come with it
            leaving(call)
            connection.send(call, message, deadline)
        except BaseException:
            call.abandoned = True  # at once, for the next interrupt may end what follows
            if seat is not None:
                seat.member.connection.leave(call)
            self._desk.roster.settle()
            raise
        return sent

    def _take_seat(self, call: Call, deadline: Deadline, given_up: Callable[[], bool]) -> Seat:
        home = self._home
        waiter = Waiter(
            call,
            key=weakref.ref(self),
            tenant=self._tenant,
            home=None if self._forked else home,
            near=home.member if home is not None and self._forked else None,
        )
        self._waiting = waiter, threading.get_ident()
        try:
            seat = self._desk.take(waiter, deadline, self._desk.lease_timeout, given_up)
        finally:
            self._waiting = None
        if deadline.expired:
            raise overdue(deadline)
        self.reused = waiter.reused
        return seat

    def _place(self, seat: Seat) -> Place | None:
        """Where the response of the last request is alive; None when this seat cannot go on from it."""
        home, latest = self._home, self._latest
        if home is None or latest is None or seat.member is not home.member:
            return None
        number, generation, call = latest
        there = seat.member.connection
        alive = there.link is not None and (seat.member.number, there.generation) == (number, generation)
        return latest if alive and home.latest == call else None

    def _expected(self) -> tuple[Place | None, str | None]:
        """The place and the lane from which the next request will be sent, if nobody is quicker."""
        home = self._home
        return (None, None) if home is None else (self._place(home), None if self._forked else home.lane)
