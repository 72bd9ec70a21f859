"""A connection of a pool, and the seats on it."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Hashable
from typing import Protocol

from responses_ws._connection import Connection

__all__ = ["Member", "Occupant", "Seat", "nobody"]


class Occupant(Protocol):
    """Who has a seat: a call, or a lease."""

    @property
    def over(self) -> bool:
        """Whether it needs the seat no more."""


def nobody() -> None:
    """The occupant of a free seat."""


class Seat:
    """A lane of a pooled connection, on which one response runs at a time.

    :ivar lane: its name; None is the default lane.
    :ivar occupant: gives who has it, or None.
    :ivar latest: the number of the call that ran there last: its response is the one that the lane holds.
    :ivar since: when it was taken last (monotonic seconds).
    """

    __slots__ = ("_key", "lane", "latest", "member", "occupant", "since")

    def __init__(self, member: Member, lane: str | None) -> None:
        self.member = member
        self.lane = lane
        self.latest = 0
        self.since = 0.0
        self._key: Hashable | None = None
        # Weak, so that what an interrupt leaves behind at any moment, or a caller forgets, gives it back.
        self.occupant: Callable[[], Occupant | None] = nobody

    @property
    def held(self) -> bool:
        """Whether somebody has it."""
        occupant = self.occupant()
        return occupant is not None and not occupant.over

    @property
    def busy(self) -> bool:
        """Whether somebody has it, or a response that was left still runs there."""
        connection = self.member.connection
        return self.held or (connection.ready and not connection.lanes.vacant(self.lane))

    @property
    def vacant(self) -> bool:
        """Whether no conversation would come back to it."""
        key = self._key
        return key is None or (isinstance(key, weakref.ref) and key() is None)

    def reserve(self, key: Hashable | None, now: float) -> None:
        """It is about to be given to somebody, whose conversation is known by the key.

        :param key: a weak reference is a conversation that does not come back once it is gone.
        """
        self._key = key
        self.since = now
        self.member.needed(now)

    def belongs_to(self, key: Hashable | None) -> bool:
        """Whether the conversation was here last. A caller's key need not bear to be compared with others."""
        known = self._key
        alike = isinstance(key, type(known)) or isinstance(known, type(key))
        return key is not None and alike and known == key

    def forget(self) -> None:
        """The conversation has its last response elsewhere."""
        self._key = None


class Member:
    """One connection, until the pool lets go of it.

    :ivar tenant: who alone may use it.
    :ivar retiring: nobody new gets a seat.
    :ivar idle_since: when it was needed last (monotonic seconds).
    """

    _numbers = itertools.count(1)

    def __init__(self, connection: Connection, tenant: str | None, now: float) -> None:
        self.connection = connection
        self.tenant = tenant
        self.number = next(self._numbers)
        self.retiring = False
        self.seats: list[Seat] = []
        self.idle_since = now
        self._deserted_since: float | None = None

    @property
    def aged(self) -> bool:
        """Whether it has reached its age, and is to be replaced."""
        link = self.connection.link
        return link is not None and link.old

    def succeeds(self, other: Member) -> bool:
        """Whether it is open in place of the other."""
        return self.tenant == other.tenant and self.number > other.number and self.connection.ready

    def needed(self, now: float) -> None:
        """Somebody takes a seat, or is done with it."""
        self.idle_since = now
        self._deserted_since = None

    def busy(self) -> int:
        """How many of its seats are taken."""
        return sum(seat.busy for seat in self.seats)

    def deserted(self, now: float) -> float:
        """For how many seconds nothing is known to run on it but what its callers have left."""
        busy = [seat for seat in self.seats if seat.busy]
        if not busy or any(seat.held for seat in busy):
            self._deserted_since = None
            return 0.0
        self._deserted_since = now if self._deserted_since is None else self._deserted_since
        return now - self._deserted_since

    def free_seat(self, lanes: int, in_parallel: int) -> Seat | None:
        """A seat to give: one that nobody comes back to, a new one, or the one that was left first.

        :param lanes: names that may be used; 0 leaves the default lane.
        :param in_parallel: responses that may run.
        """
        seats = self.seats
        free = [seat for seat in seats if not seat.busy]
        if len(seats) - len(free) >= in_parallel:
            return None
        fit = [seat for seat in free if (seat.lane is None) == (lanes == 0)]
        for seat in fit:
            if seat.vacant:
                return seat
        names = sum(seat.lane is not None for seat in seats)
        if lanes and names < lanes:
            return self._new_seat(f"lane-{names + 1}")
        if not lanes and names == len(seats):
            return self._new_seat(None)
        return min(fit, key=lambda seat: seat.since, default=None)

    def _new_seat(self, lane: str | None) -> Seat:
        seat = Seat(self, lane)
        self.seats.append(seat)
        return seat
