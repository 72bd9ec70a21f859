"""Where the seats of a pool are asked for, and its connections opened and closed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from responses_ws._call import wait_for
from responses_ws._connection import Connection
from responses_ws._dialer import Dialer
from responses_ws._nap import Nap
from responses_ws._pool.member import Member, Seat
from responses_ws._pool.roster import Roster, Rules, Waiter
from responses_ws._process import watch
from responses_ws._settings import Settings
from responses_ws._transport.deadline import NEVER, SLICE_SECONDS, Deadline, overdue
from responses_ws.errors import ConnectionError, ConnectionLost, PoolClosed, PoolTimeout

__all__ = ["Desk"]

logger = logging.getLogger("responses_ws")

POSTPONE_SECONDS = 60.0
"""Before another attempt to replace an old connection."""


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
        self._check_open()
        self._retire_expired()
        try:
            while True:
                seat = self._sit_down(waiter, Deadline(deadline.remaining(seconds)), deadline, given_up)
                try:
                    self._open(seat.member, deadline, given_up)
                except ConnectionError:
                    # Where there is no new connection to be had, one that has reached its age still does.
                    if given_up() or not self._keep_old():
                        raise
                else:
                    return seat
        except BaseException:
            self.roster.leave(waiter)
            raise

    def prewarm(self, count: int, tenant: str | None) -> None:
        """Open connections until there are so many, as far as there may be."""
        self.check_process()
        self._check_open()
        while True:
            opener = _Opener()
            member = self.roster.hire(opener, tenant, count)
            if member is None:
                return
            try:
                self._open(member, NEVER, lambda: False)
            finally:
                opener.over = True

    # -- inside

    def _sit_down(
        self, waiter: Waiter, patience: Deadline, deadline: Deadline, given_up: Callable[[], bool]
    ) -> Seat:
        waiter.seat = None
        if not self.roster.enter(waiter):
            raise PoolTimeout(f"{self._rules.max_waiting} are waiting already (max_waiting)")
        while waiter.seat is None:
            if wait_for(waiter.queue, patience.remaining(SLICE_SECONDS)) is None:
                # Whoever was to tell may have been interrupted.
                self.roster.settle()
            if waiter.seat is None:
                self._check_patience(patience, deadline, given_up)
        return waiter.seat

    def _check_patience(self, patience: Deadline, deadline: Deadline, given_up: Callable[[], bool]) -> None:
        self._check_open()
        if given_up():
            raise ConnectionError("waiting for a connection was given up")
        if deadline.expired:
            raise overdue(deadline)
        if patience.expired:
            ages = ", ".join(f"{seconds:.1f}" for seconds in self.roster.ages())
            raise PoolTimeout(
                f"no connection became free within {patience.seconds:g} seconds "
                f"(max_connections={self._rules.max_connections}, taken {ages} seconds ago)"
            )

    def _check_open(self) -> None:
        if not self.is_open:
            raise PoolClosed("the pool is not open: call open() first, or use `with`")

    def _open(self, member: Member, deadline: Deadline, given_up: Callable[[], bool]) -> None:
        """Make sure that the member's connection is open. One that was lost stays lost."""
        connection = member.connection
        if not member.born:
            disconnects = connection.disconnects
            try:
                self._check_open()
                self.dialer.make_ready(connection, deadline, disconnects, given_up)
            except BaseException:
                self.roster.drop(member)
                raise
            member.born = True
            self._nap.begin()
            self.roster.settle()
        if not connection.ready:
            raise ConnectionLost("the connection was lost before the request was sent")

    def _keep_old(self) -> bool:
        """Put off replacing those that have reached their age; whether there are any."""
        old = [member for member in self.roster.members if member.aged and member.connection.ready]
        for member in old:
            member.connection.postpone(POSTPONE_SECONDS)
        return bool(old)

    def _new_connection(self) -> Connection:
        watch(self)
        return self.dialer.new_connection(self.roster.lanes)

    def _retire_expired(self) -> None:
        if self._nap.is_over():
            logger.info("the machine has slept: the connections of the pool are replaced")
            self.roster.retire_all()
        self.roster.close_expired()
