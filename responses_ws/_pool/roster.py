"""Who has which seat of a pool, and who waits for one. It opens nothing and sends nothing."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from responses_ws._connection import Connection
from responses_ws._core.endpoint import Endpoint
from responses_ws._pool.member import Member, Occupant, Seat
from responses_ws._pool.waiter import Waiter
from responses_ws._transport.mailbox import READY, WOKEN

__all__ = ["Roster", "Rules"]

logger = logging.getLogger("responses_ws")


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits of a pool.

    :param max_connections: that are not being replaced.
    :param max_waiting: callers who wait for a seat; None means no limit.
    :param max_idle: seconds after which a connection at rest is closed; None means never.
    :param drain: seconds that responses which were left have to end by themselves; None is for ever.
    """

    max_connections: int
    max_waiting: int | None
    max_idle: float | None
    drain: float | None


class Roster:
    """The connections of a pool and its queue.

    ``lock`` guards ``members``, what is in them, and ``waiting``; decisions are made under it, and nothing
    else. It is re-entrant, for finalizers and signal handlers may call in from the middle of a decision. It
    may be taken by who holds no lock of a connection, whose own is never waited for here.

    :ivar lanes: whether lanes are used; None until the service has shown that it names them.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        rules: Rules,
        connection: Callable[[], Connection],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endpoint = endpoint
        self._rules = rules
        self._new_connection = connection
        self._clock = clock
        self.lanes: bool | None = None if endpoint.max_lanes else False
        self.forget()

    def forget(self) -> None:
        """In a forked child: the connections are the parent's, and a lock of it may be held for ever."""
        self.pid = os.getpid()
        self.lock = threading.RLock()
        self.members: list[Member] = []
        self.waiting: deque[weakref.ref[Waiter]] = deque()
        self.reclaimed = 0
        self._attempts_before = 0

    # -- seats

    def enter(self, waiter: Waiter) -> bool:
        """Give the waiter a seat, or a place in the queue; False when that is full."""
        with self.lock:
            self.waiting.append(weakref.ref(waiter))
            self.settle()
            most = self._rules.max_waiting
            return waiter.seat is not None or most is None or self.count_waiting() <= most

    def settle(self) -> None:
        """Something has changed: give what is free to those who wait, first come, first served."""
        if not self.waiting:
            return
        with self.lock:
            self._sweep()
            waiters = self._waiters()
            self._serve_in_turn(waiters)
            self.waiting = deque(weakref.ref(waiter) for waiter in waiters if waiter.waits)

    def left(self, seat: Seat) -> None:
        """Its occupant needs it no more."""
        with self.lock:
            seat.member.needed(self._clock())
            self.settle()
        self._close_due([seat.member])

    def leave(self, waiter: Waiter) -> None:
        """The waiter wants no seat any more."""
        with self.lock:
            self.waiting = deque(known for known in list(self.waiting) if known() not in (None, waiter))

    def clear(self) -> None:
        """Take all connections off the list, and tell those who wait to look."""
        with self.lock:
            self._remove(self.members)
            for waiter in self._waiters():
                waiter.queue.put(WOKEN)

    def changed(self, member: Member, *, ended: bool) -> None:
        """The connection's reader has something: something has ended, or it is time to look."""
        if ended:
            member.needed(self._clock())
            self.learn(member.connection)
            self.settle()
        self._close_due([member])

    def count_waiting(self) -> int:
        """How many wait."""
        with self.lock:
            return sum(waiter.waits for waiter in self._waiters())

    def ages(self) -> list[float]:
        """For how many seconds each seat is taken, the longest first."""
        with self.lock:
            taken = [seat.since for member in self.members for seat in member.seats if seat.busy]
        now = self._clock()
        return [now - since for since in sorted(taken)]

    def learn(self, connection: Connection) -> None:
        """What a connection has found out about lanes holds for all of them."""
        named = connection.lanes.named
        if named is False:
            self.forgo_lanes()
        elif named is not None and self.lanes is None:
            self.lanes = named

    def forgo_lanes(self) -> None:
        """The service has no lanes after all: one response runs on a connection."""
        with self.lock:
            known, self.lanes = self.lanes is False, False
        if not known:
            logger.warning("%s has no lanes: one response at a time on a connection", self._endpoint.host)

    def hire(self, occupant: Occupant, tenant: str | None, count: int) -> Member | None:
        """One more connection, with a seat for the occupant, as long as there are fewer than so many."""
        with self.lock:
            self._sweep()
            mine = [member for member in self.members if self._takes(member, tenant)]
            if len(mine) >= count or self._full():
                return None
            member = self._new_member(tenant)
            seat = self._seat_on(member)
            if seat is not None:
                seat.reserve(None, self._clock())
                seat.occupant = weakref.ref(occupant)
            return member

    # -- counts

    @property
    def opened(self) -> int:
        """How many connections were opened, or tried to be."""
        return self._attempts_before + sum(member.connection.generation for member in self.members)

    @property
    def closed(self) -> int:
        """How many of these are not open any more."""
        with self.lock:
            connections = [member.connection for member in self.members]
            return self.opened - sum(
                connection.ready or connection.connecting is not None for connection in connections
            )

    # -- which seat

    def _waiters(self) -> list[Waiter]:
        # A copy, made in one step: a signal handler may come in here and wait for a seat.
        return [waiter for known in list(self.waiting) if (waiter := known()) is not None]

    def _serve_in_turn(self, waiters: list[Waiter]) -> None:
        """Who cannot be served is passed by other tenants, but not for ever."""
        full: set[str | None] = set()
        for index, waiter in enumerate(waiters):
            if not waiter.waits or waiter.tenant in full:
                continue
            if self._serve(waiter):
                for earlier in waiters[:index]:
                    earlier.passed += earlier.waits
                continue
            full.add(waiter.tenant)
            self._insist(waiter)
            if waiter.passed >= 2 * self._rules.max_connections:
                return

    def _serve(self, waiter: Waiter) -> bool:
        seat = self._home(waiter) or self._find(waiter)
        if seat is None:
            return False
        if waiter.home is not None and waiter.home is not seat and waiter.home.belongs_to(waiter.key):
            waiter.home.forget()
        seat.reserve(waiter.key, self._clock())
        occupant = weakref.ref(waiter.occupant)
        if waiter.seat is None:  # a signal handler that came in here has served it too
            # With no call between, where an interrupt could leave the seat with one who is not told.
            seat.occupant, waiter.seat = occupant, seat
        waiter.queue.put(READY)
        return True

    def _home(self, waiter: Waiter) -> Seat | None:
        """The seat of the conversation's last response, if nobody has it."""
        seat = waiter.home or self._known(waiter)
        if seat is None or not seat.belongs_to(waiter.key) or seat.busy:
            return None
        if self.lanes is False and seat.lane is not None:
            return None
        member = seat.member
        usable = member in self.members and self._takes(member, waiter.tenant)
        return seat if usable and member.busy() < self._in_parallel else None

    def _known(self, waiter: Waiter) -> Seat | None:
        """The seat that somebody with this key had last."""
        mine = (member for member in self.members if member.tenant == waiter.tenant)
        seats = (seat for member in mine for seat in member.seats)
        return next((seat for seat in seats if seat.belongs_to(waiter.key)), None)

    def _find(self, waiter: Waiter) -> Seat | None:
        """A seat that nobody comes back to, before a new connection, before the one that was left first."""
        free = []
        mine = [member for member in self.members if self._takes(member, waiter.tenant)]
        for member in sorted(mine, key=lambda member: member is not waiter.near):
            seat = self._seat_on(member)
            if seat is None:
                continue
            if seat.vacant or member is waiter.near:
                return seat
            free.append(seat)
        if not self._full():
            return self._seat_on(self._new_member(waiter.tenant))
        if free:
            return min(free, key=lambda seat: seat.since)
        return self._evict(waiter.tenant)

    def _full(self) -> bool:
        """Whether there may be no more connections. One that is being replaced does not count."""
        return sum(self._stays(member) for member in self.members) >= self._rules.max_connections

    def _stays(self, member: Member) -> bool:
        return not (member.retiring or member.aged)

    def _takes(self, member: Member, tenant: str | None) -> bool:
        return member.tenant == tenant and self._stays(member)

    @property
    def _in_parallel(self) -> int:
        """Responses on one connection. Before lanes are known to work, the first one finds out."""
        return self._endpoint.max_in_flight if self.lanes else 1

    def _seat_on(self, member: Member) -> Seat | None:
        lanes = 0 if self.lanes is False else self._endpoint.max_lanes
        return member.free_seat(lanes, self._in_parallel)

    def _new_member(self, tenant: str | None) -> Member:
        member = Member(self._new_connection(), tenant, self._clock())
        member.connection.watcher = functools.partial(self.changed, member)
        self.members.append(member)
        return member

    def _evict(self, tenant: str | None) -> Seat | None:
        """In place of another tenant's connection that nobody uses.

        One of the tenant's own may have become free just now: who tells of that has it given.
        """
        others = [member for member in self.members if member.tenant != tenant and self._stays(member)]
        idle = [member for member in others if not member.busy()]
        if not idle:
            return None
        min(idle, key=lambda member: member.idle_since).retiring = True
        return self._seat_on(self._new_member(tenant))

    def _insist(self, waiter: Waiter) -> None:
        """Others are served all the time: let the connection end that is nearest to it."""
        if waiter.passed < self._rules.max_connections or any(member.retiring for member in self.members):
            return
        others = [member for member in self.members if member.tenant != waiter.tenant]
        if others:
            min(others, key=Member.busy).retiring = True

    # -- the end of connections

    def aged(self, tenant: str | None) -> list[Member]:
        """The tenant's connections that have reached their age and are open still."""
        with self.lock:
            mine = [member for member in self.members if member.tenant == tenant and not member.retiring]
            return [member for member in mine if member.aged and member.connection.ready]

    def close_due(self) -> None:
        """Close the connections whose time is over, as far as nobody uses them."""
        self._close_due(self.members)

    def retire_all(self) -> None:
        """Close every connection, as soon as nobody uses it."""
        with self.lock:
            for member in self.members:
                member.retiring = True

    def end_deserted(self) -> None:
        """Somebody waits: give up the connections on which only responses run that were left."""
        with self.lock:
            now = self._clock()
            ending = [member for member in self.members if self._is_deserted(member, now)]
            for member in ending:
                member.retiring = True
        _retire(ending, "a response that was left did not end in time")
        self.settle()

    def _close_due(self, members: Iterable[Member]) -> None:
        with self.lock:
            self._sweep()
            now = self._clock()
            ending = [member for member in members if member in self.members and self._is_due(member, now)]
            for member in ending:
                member.retiring = True
        _retire(ending, "it is not needed any more, or has reached its age")

    def _is_due(self, member: Member, now: float) -> bool:
        if not member.connection.ready:
            return False
        if member.busy():
            # It does not count any more: kept for what never ends, such connections would have no limit.
            return not self._stays(member) and self._is_deserted(member, now)
        if member.aged and (self._crowded or any(other.succeeds(member) for other in self.members)):
            return True
        max_idle = self._rules.max_idle
        return member.retiring or (max_idle is not None and now - member.idle_since >= max_idle)

    @property
    def _crowded(self) -> bool:
        """Whether more are open than may stay so, for some do not count any more."""
        return sum(member.connection.ready for member in self.members) > self._rules.max_connections

    def _is_deserted(self, member: Member, now: float) -> bool:
        """Whether only responses run on it that were left, and these have had their time to end."""
        age, drain = member.deserted(now), self._rules.drain
        return age > 0 and drain is not None and age >= drain

    def _sweep(self) -> None:
        """Forget connections that are lost, or were never opened, and that nobody has."""
        self._remove([member for member in self.members if not (member.connection.ready or member.busy())])

    def _remove(self, ending: list[Member]) -> None:
        if ending:
            attempts = self._attempts_before + sum(member.connection.generation for member in ending)
            staying = [member for member in self.members if member not in ending]
            self._attempts_before, self.members = attempts, staying


def _retire(members: Iterable[Member], reason: str) -> None:
    for member in members:
        member.connection.retire(reason)
