"""Who waits for a seat of a pool."""

from __future__ import annotations

from collections.abc import Hashable

from responses_ws._pool.member import Member, Occupant, Seat
from responses_ws._transport.mailbox import Mailbox, Mark

__all__ = ["Waiter"]


class Waiter:
    """A caller who wants a seat.

    :param occupant: whom the seat is for. The waiter lives in its caller's frame alone; so does its claim.
    :param key: the conversation, which gets its last seat again if that is free.
    :param home: that seat, if the caller knows it.
    :param near: a connection to prefer.
    :ivar seat: what it got.
    :ivar reused: whether the connection of the seat was open before.
    :ivar passed: how many who came later were served before.
    """

    __slots__ = (
        "__weakref__",
        "home",
        "key",
        "near",
        "occupant",
        "passed",
        "queue",
        "reused",
        "seat",
        "tenant",
    )

    def __init__(
        self,
        occupant: Occupant,
        *,
        key: Hashable | None,
        tenant: str | None,
        home: Seat | None = None,
        near: Member | None = None,
    ) -> None:
        self.occupant = occupant
        self.key = key
        self.tenant = tenant
        self.home = home
        self.near = near
        self.seat: Seat | None = None
        self.reused = False
        self.passed = 0
        self.queue: Mailbox[Mark] = Mailbox()

    @property
    def waits(self) -> bool:
        """Whether it wants a seat and has none."""
        return self.seat is None and not self.occupant.over
