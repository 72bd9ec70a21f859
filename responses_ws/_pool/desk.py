"""Where the seats of a pool are asked for, and its connections opened and closed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from responses_ws._connection import Connection
from responses_ws._dialer import Dialer
from responses_ws._nap import Nap
from responses_ws._pool.member import Member, Seat, nobody
from responses_ws._pool.roster import Roster, Rules
from responses_ws._pool.waiter import Waiter
from responses_ws._process import watch
from responses_ws._settings import Settings
from responses_ws._transport.deadline import NEVER, SLICE_SECONDS, Deadline, overdue
from responses_ws._transport.mailbox import wait_for
from responses_ws.errors import ConnectionError, PoolClosed, PoolTimeout, ResponsesWSError

__all__ = ["Desk"]

logger = logging.getLogger("responses_ws")

POSTPONE_SECONDS = 60.0
"""Before another attempt to replace an old connection."""

MOST_AGES = 8
"""That an error tells of."""


class _Opener:
    """Has a seat of a connection while it opens that for others."""

    over = False


class Desk:
    """Hands out seats. May be used from any thread.

    :param lease_timeout: seconds that a session waits for a seat; None means no limit.
    """

    def __init__(self, settings: Settings, dialer: Dialer, rules: Rules, lease_timeout: float | None) -> None:
        self.settings = settings
        self.dialer = dialer
        self.lease_timeout = lease_timeout
        self.is_open = False
        self._rules = rules
        self._nap = Nap()
        self._closing: list[Member] = []
        self.roster = Roster(settings.endpoint, rules, self._new_connection)

    # -- opening and closing

    def close(self) -> None:
        """End every connection and all waiting; together they take about ``timeouts.close`` seconds."""
        self.check_process()
        self.is_open = False
        # Known until they are closed: what an interrupt leaves, a finalizer or the next close() ends.
        members = self._closing = [*self._closing, *self.roster.members]
        self.roster.clear()
        deadline = Deadline(self.settings.timeouts.close)
        for member in members:
            member.connection.say_goodbye()
        for member in members:
            member.connection.disconnect(deadline.remaining())
        self._closing = []

    def forsake(self) -> None:
        """The pool was forgotten. Runs in a finalizer, so it takes no lock."""
        self.is_open = False
        for member in [*self._closing, *self.roster.members]:
            member.connection.forsake()

    def forget(self) -> None:
        """In a forked child: a pool without connections, open if the parent's was."""
        self._closing = []
        self.roster.forget()

    def check_process(self) -> None:
        """Notice a fork that ran no hooks."""
        if self.roster.pid != os.getpid():
            self.forget()

    def check_open(self) -> None:
        """Raises :class:`PoolClosed`."""
        if not self.is_open:
            raise PoolClosed("the pool is not open: call open() first, or use `with`")

    # -- seats

    def ready(self, tenant: str | None) -> bool:
        """Whether somebody of this tenant needs no new connection, as far as is known."""
        self.check_process()
        members = list(self.roster.members)
        return any(member.tenant == tenant and member.connection.ready for member in members)

    def take(
        self,
        waiter: Waiter,
        deadline: Deadline,
        seconds: float | None,
        given_up: Callable[[], bool] = lambda: False,
    ) -> Seat:
        """A seat on an open connection, waiting for one if need be.

        :param seconds: to wait at most; None means no limit.
        :param given_up: whether the caller does not want it any more.

        Raises :class:`PoolTimeout`, :class:`PoolClosed`, :class:`ConnectionError` once it is given up, and
        what connecting raises.
        """
        self.check_process()
        self.check_open()
        self._replace_after_nap()
        try:
            while True:
                seat = self._sit_down(waiter, Deadline(deadline.remaining(seconds)), deadline, given_up)
                # Before it counts as open: one that is found dead by the request costs it an attempt.
                seat.member.connection.glance()
                waiter.reused = seat.member.connection.ready
                if self._open_for(waiter, seat.member, deadline, given_up):
                    if not waiter.reused:
                        self.roster.close_due()  # what it takes the place of
                    return seat
                seat.occupant = nobody
        except BaseException:
            self.roster.leave(waiter)
            raise

    def prewarm(self, count: int, tenant: str | None) -> None:
        """Open connections until there are so many, as far as there may be."""
        self.check_process()
        self.check_open()
        for _ in range(count):
            opener = _Opener()
            try:
                member = self.roster.hire(opener, tenant, count)
                if member is None:
                    return
                self._open(member, NEVER, lambda: False)
            finally:
                opener.over = True  # at once, for the next interrupt may end what follows
                self.roster.settle()

    # -- inside

    def _sit_down(
        self, waiter: Waiter, patience: Deadline, deadline: Deadline, given_up: Callable[[], bool]
    ) -> Seat:
        waiter.seat, pid = None, 0
        while waiter.seat is None:
            if pid != os.getpid():
                # A signal handler may fork while this waits, and in the child nobody knows of it.
                pid = os.getpid()
                self._line_up(waiter)
                continue
            if wait_for(waiter.queue, patience.remaining(SLICE_SECONDS)) is None:
                # Whoever was to tell may have been interrupted.
                self.roster.end_deserted()
            if waiter.seat is None:
                self._check_patience(patience, deadline, given_up)
        return waiter.seat

    def _line_up(self, waiter: Waiter) -> None:
        self.check_process()
        if not self.roster.enter(waiter):
            raise PoolTimeout(f"no connection is free, and no more may wait for one ({self._state()})")

    def _check_patience(self, patience: Deadline, deadline: Deadline, given_up: Callable[[], bool]) -> None:
        self.check_open()
        if given_up():
            raise ConnectionError("waiting for a connection was given up")
        if deadline.expired:
            raise overdue(deadline)
        if patience.expired:
            raise PoolTimeout(
                f"no connection became free within {patience.seconds:g} seconds ({self._state()})"
            )

    def _state(self) -> str:
        """The limits, and for how long the seats are taken."""
        limits = {"max_connections": self._rules.max_connections, "max_waiting": self._rules.max_waiting}
        named = [f"{name}={limit}" for name, limit in limits.items() if limit is not None]
        ages = self.roster.ages()
        taken = ", ".join(f"{seconds:.1f}" for seconds in ages[:MOST_AGES])
        more = f" and {len(ages) - MOST_AGES} less long" if len(ages) > MOST_AGES else ""
        return ", ".join([*named, f"taken {taken} seconds ago{more}" if ages else "none is taken"])

    def _open_for(
        self, waiter: Waiter, member: Member, deadline: Deadline, given_up: Callable[[], bool]
    ) -> bool:
        """See :meth:`_open`. Where there is no new connection to be had, one that is too old still does."""
        try:
            return self._open(member, deadline, given_up)
        except ResponsesWSError:
            if given_up() or deadline.expired or not self._keep_old(waiter.tenant):
                raise
            return False

    def _open(self, member: Member, deadline: Deadline, given_up: Callable[[], bool]) -> bool:
        """Make sure that the member's connection is open; False when the pool has let go of it meanwhile."""
        connection = member.connection
        if connection.ready:
            return True
        disconnects = connection.disconnects
        self.check_open()
        try:
            self.dialer.make_ready(connection, deadline, disconnects, given_up)
        except ConnectionError:
            self.check_open()
            raise
        self._nap.begin()
        if member in self.roster.members:
            self.roster.settle()
            return True
        connection.retire("the pool was closed meanwhile")
        self.check_open()
        return False

    def _keep_old(self, tenant: str | None) -> bool:
        """Put off replacing those that have reached their age; whether there are any."""
        old = self.roster.aged(tenant)
        for member in old:
            member.connection.postpone(POSTPONE_SECONDS)
        if old:
            logger.info("a connection has reached its age and could not be replaced", exc_info=True)
        return bool(old)

    def _new_connection(self) -> Connection:
        watch(self)
        return self.dialer.new_connection(self.roster.lanes)

    def _replace_after_nap(self) -> None:
        if self._nap.is_over():
            logger.info("the machine has slept: the connections of the pool are replaced")
            self.roster.retire_all()
            self.roster.close_due()
