"""A request with what its caller waits on."""

from __future__ import annotations

import enum
import queue
from typing import TYPE_CHECKING, Any

from responses_ws._core.events import Event
from responses_ws._core.lanes import Request
from responses_ws._transport.deadline import SLICE_SECONDS, Deadline
from responses_ws.errors import Delivery, ResponsesWSError

if TYPE_CHECKING:
    from responses_ws._link import Link

__all__ = ["READY", "WOKEN", "Batch", "Call", "End", "Mark", "wait_for"]


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


class Mark(enum.Enum):
    """A word to a waiting thread."""

    READY = "go on"
    WOKEN = "look at your flags"


READY = Mark.READY
WOKEN = Mark.WOKEN


class Call(Request):
    """A request with its queue.

    The queue is a :class:`queue.SimpleQueue`: its ``put`` and ``get`` are single C calls, so that neither
    Ctrl-C nor a finalizer can leave its lock behind locked, as they can with :class:`queue.Queue`.

    :ivar number: its place among the calls of its connection.
    :ivar received: bytes put in the queue, written by the reader only.
    :ivar taken: bytes taken from it, written by the caller only.
    :ivar last_event_at: when the reader last had an event for it, or when it was sent (monotonic seconds).
    :ivar cancelled: its caller wants no more. Like ``abandoned`` only ever set to True.
    """

    __slots__ = ("cancelled", "last_event_at", "link", "number", "queue", "received", "taken")

    def __init__(self, lane: str | None = None) -> None:
        super().__init__(lane)
        self.queue: queue.SimpleQueue[Batch | End | Mark] = queue.SimpleQueue()
        self.number = 0
        self.received = 0
        self.taken = 0
        self.last_event_at = 0.0
        self.cancelled = False
        self.link: Link | None = None

    def abandon(self) -> None:
        """Leave the response. Takes no lock: safe in a finalizer and in any thread, any number of times."""
        self.cancelled = True
        self.abandoned = True
        self.queue.put(WOKEN)

    def finish(self, cause: ResponsesWSError, delivery: Delivery) -> None:
        """Tell the caller that no more will come."""
        self.queue.put(End(cause, delivery))

    def orphan(self, cause: ResponsesWSError) -> None:
        """In a forked child: nothing will feed the queue, whose own lock may be held in the parent."""
        self.queue = queue.SimpleQueue()
        self.finish(cause, self.delivery)


def wait_for(source: queue.SimpleQueue[Any], seconds: float | None) -> Any:
    """The next thing in the queue, or None after ``seconds`` (None: wait for ever).

    Waits in slices, so that a signal ends it soon: see :data:`SLICE_SECONDS`.
    """
    deadline = Deadline(seconds)
    while True:
        try:
            return source.get(timeout=deadline.remaining(SLICE_SECONDS))
        except queue.Empty:
            if deadline.expired:
                return None
