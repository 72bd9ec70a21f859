"""One request, and how far it is."""

from __future__ import annotations

import enum

from responses_ws._core.steering import Steering
from responses_ws.errors import Delivery

__all__ = ["MOVES", "Items", "Request", "State"]


class State(enum.Enum):
    """How far a request is."""

    QUEUED = "queued"
    """Owns its lane, or is next on it; no byte has left."""
    SENDING = "sending"
    SENT = "sent"
    """The last byte has left; nothing was heard."""
    STARTED = "started"
    """An event of the response was seen."""
    DONE = "done"
    """Its terminal event was seen, or its connection ended."""

    # That of an enumeration hashes the name, in Python, at each move.
    __hash__ = object.__hash__


MOVES: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.SENDING, State.DONE}),
    State.SENDING: frozenset({State.QUEUED, State.SENT, State.STARTED, State.DONE}),
    State.SENT: frozenset({State.STARTED, State.DONE}),
    State.STARTED: frozenset({State.DONE}),
    State.DONE: frozenset(),
}
"""The allowed moves. From SENDING a request goes back to QUEUED when its message did not leave whole, and
straight to STARTED when the answer overtakes the sender's own bookkeeping."""

DELIVERIES = {
    State.QUEUED: Delivery.NOT_SENT,
    State.SENDING: Delivery.NOT_SENT,
    State.SENT: Delivery.UNKNOWN,
    State.STARTED: Delivery.STARTED,
}

Items = dict[str, bool]
"""The ids of a response's items, and whether each is done."""


class Request:
    """One ``response.create`` and its place on a lane.

    ``abandoned`` is a flag and no state because it is set without the lock: a finalizer that runs inside the
    locked section, or a second Ctrl-C, must be able to leave a response behind. It is only ever set to True.

    :ivar turn: when it came to its connection, counted.
    :ivar admitted: whether it may be sent.
    :ivar held: whether it waits until another's message has left.
    :ivar stored: whether the service keeps its response beyond the connection.
    :ivar response_id: of the response that runs now; a successor has its own.
    :ivar parent: the id of the response that it continues.
    :ivar source: the lane whose latest response it forks, in a tuple, until the service has begun with it.
    """

    __slots__ = (
        "abandoned",
        "admitted",
        "delivery",
        "held",
        "ids",
        "items",
        "lane",
        "parent",
        "response_id",
        "source",
        "state",
        "steering",
        "stored",
        "turn",
    )

    def __init__(self, lane: str | None = None) -> None:
        self.lane = lane
        self.turn = 0
        self.admitted = False
        self.held = False
        self.stored = True
        self.parent: str | None = None
        self.source: tuple[str | None] | None = None
        self.state = State.QUEUED
        self.delivery = Delivery.NOT_SENT
        self.abandoned = False
        self.ids: set[str] = set()
        self.items: Items = {}
        self.response_id: str | None = None
        self.steering: Steering | None = None

    def move(self, state: State) -> None:
        """Change the state; an illegal move raises and changes nothing."""
        if state not in MOVES[self.state]:
            raise AssertionError(f"a {self.state.value} request cannot become {state.value}")
        self.state = state
        self.delivery = DELIVERIES.get(state, self.delivery)
