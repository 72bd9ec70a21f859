"""What a :class:`ResponseStream` reads: the events of one response, wherever they come from."""

from __future__ import annotations

from typing import Protocol

from responses_ws._core.events import Event
from responses_ws.errors import Delivery, ResponsesWSError

__all__ = ["Batch", "Cancellable", "End", "Source"]


class Cancellable(Protocol):
    """What runs and can be ended."""

    def cancel(self) -> None:
        """End it; the thread that waits for it is told. From any thread; returns at once."""


class Batch:
    """Events of one response, in order.

    :param terminal: the last event when it ends the turn; it is not among ``events``.
    :param size: bytes on the wire.
    """

    __slots__ = ("events", "size", "terminal")

    def __init__(self, events: list[Event], terminal: Event | None, size: int) -> None:
        self.events = events
        self.terminal = terminal
        self.size = size


class End:
    """No more will come: the connection ended, or the response was given up."""

    __slots__ = ("cause", "delivery")

    def __init__(self, cause: ResponsesWSError, delivery: Delivery) -> None:
        self.cause = cause
        self.delivery = delivery


class Source(Protocol):
    """One running response. ``next`` belongs to the thread that iterates; the rest to any thread."""

    @property
    def transport(self) -> str:
        """``websocket`` or ``http``."""

    @property
    def delivery(self) -> Delivery:
        """How far the request is known to have come."""

    @property
    def last_event_at(self) -> float:
        """When there was last an event, or when the request was sent (monotonic seconds)."""

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`abandon` was called."""

    def next(self, seconds: float | None) -> Batch | End | None:
        """Wait at most ``seconds`` (None: for ever); None when there is nothing yet."""

    def abandon(self) -> None:
        """Leave the response, and wake ``next``.

        Takes no lock: safe in a finalizer and in any thread, any number of times.
        """
