"""A request with what its caller waits on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Protocol, cast

from responses_ws._core.events import Event
from responses_ws._core.states import Request, State
from responses_ws._source import Batch, End
from responses_ws._transport.mailbox import READY, WOKEN, Mailbox, Mark, wait_for
from responses_ws.errors import Delivery, PayloadTooLarge, ResponsesWSError

if TYPE_CHECKING:
    from responses_ws._link import Link

__all__ = ["Call", "batches", "tell"]

DONE = State.DONE  # once for every event: looking it up in the enumeration takes as long as comparing


class OnDrained(Protocol):
    """What is told of the end of a response that its caller has left; see :meth:`Ticket.settle`."""

    def __call__(
        self, terminal: Event | None, superseded: Collection[Event], *, rejected: bool
    ) -> object: ...


class Call(Request):
    """A request with its queue: the :class:`Source` of a response over a WebSocket.

    :ivar number: its place among the calls of its connection.
    :ivar received: bytes put in the queue, written by the reader only.
    :ivar taken: bytes taken from it, written by the caller only.
    :ivar last_event_at: when the reader last had an event for it, or when it was sent (monotonic seconds).
    :ivar terminal: its last event, as soon as the reader has it.
    :ivar on_drained: told of the last event in the reader's thread when the caller has left before; of None
        when there was none. It is told of ``superseded`` too.
    :ivar cancelled: its caller wants no more. Like ``abandoned`` only ever set to True.
    """

    __slots__ = (
        "__weakref__",
        "cancelled",
        "last_event_at",
        "link",
        "number",
        "on_drained",
        "queue",
        "received",
        "taken",
        "terminal",
    )
    transport = "websocket"

    def __init__(self, lane: str | None = None) -> None:
        super().__init__(lane)
        self.queue: Mailbox[Batch | End | Mark] = Mailbox()
        self.number = 0
        self.received = 0
        self.taken = 0
        self.last_event_at = 0.0
        self.cancelled = False
        self.link: Link | None = None
        self.terminal: Event | None = None
        self.on_drained: OnDrained | None = None

    @property
    def superseded(self) -> Collection[Event]:
        """The last events of the responses before the last one, where it was steered."""
        return () if self.steering is None else self.steering.ended

    @property
    def over(self) -> bool:
        """Whether its caller needs its place on the connection no more."""
        return self.abandoned or self.state is State.DONE

    def next(self, seconds: float | None) -> Batch | End | None:
        """What the reader has put last; see :class:`Source`."""
        found = self.queue.take() or self._wait(seconds)
        if isinstance(found, Batch):
            self.taken += found.size
        return None if isinstance(found, Mark) else found

    def _wait(self, seconds: float | None) -> Batch | End | Mark | None:
        reading = None if self.link is None else self.link.reading
        if reading is None or self.cancelled or self.state is DONE or not reading.attend(self, seconds):
            return wait_for(self.queue, seconds)
        return self.queue.take()

    def cancel(self) -> None:
        """Tell the thread that is to send it that nobody wants it any more. Takes no lock, as ``abandon``.

        It leaves the call itself, if it has not begun to send: while a message leaves, ``abandoned`` means
        that its sender is gone, and the connection would be given up with what others have on it.
        """
        self.cancelled = True
        self.queue.put(WOKEN)

    def abandon(self) -> None:
        """Leave the response. Takes no lock: safe in a finalizer and in any thread, any number of times."""
        self.abandoned = True
        self.cancel()
        if self.link is not None:
            self.link.claim()

    def give(self, batch: Batch, now: float, max_buffered_bytes: int) -> None:
        """The reader has events. A caller who is too slow for them loses the call: the reader never waits."""
        self.terminal = batch.terminal
        if self.abandoned:
            if batch.terminal is not None:
                self.account(batch.terminal)
            return
        self.last_event_at = now
        self.received += batch.size
        waiting = self.received - self.taken
        if waiting <= max_buffered_bytes:
            self.queue.put(batch)
            return
        self.abandoned = True
        error = PayloadTooLarge(
            f"{waiting} bytes were received and not taken; max_buffered_bytes is {max_buffered_bytes}",
            size=waiting,
            limit=max_buffered_bytes,
        )
        self.finish(error, Delivery.STARTED)

    def account(self, terminal: Event | None) -> None:
        """The response has ended, or its connection has: tell it for a caller who has left.

        Of a request that never left there is nothing to tell.
        """
        sent = self.delivery is not Delivery.NOT_SENT
        if sent and self.abandoned and self.on_drained is not None:
            self.on_drained(terminal, self.superseded, rejected=self.delivery is Delivery.REJECTED)

    def finish(self, cause: ResponsesWSError, delivery: Delivery) -> None:
        """Tell the caller that no more will come."""
        self.queue.put(End(cause, delivery))

    def orphan(self, cause: ResponsesWSError) -> None:
        """In a forked child: nothing will feed the queue.

        What lies in it is the parent's, but for the rest of an answer that is over. Its end, if it is not
        there, was in the hands of a thread of the parent. The queue stays: its caller may be here, and wait.
        """
        if self.state is not DONE:
            self.queue.items.clear()
        self.finish(cause, self.delivery)


def batches(route: Callable[[Event], Request | None], events: list[Event], size: int) -> dict[Call, Batch]:
    """The events by the call that they belong to, in order; those that belong to nobody are left out.

    :param size: bytes of all events together.
    """
    found: dict[Call, Batch] = {}
    for owner, owned in itertools.groupby(events, route):
        if owner is not None:
            found.setdefault(cast("Call", owner), Batch([], None, 0)).events.extend(owned)
    share = size // max(1, len(events))
    for call, batch in found.items():
        batch.size = share * len(batch.events)
        if call.state is DONE:  # with an event that was its own, and nothing is after that
            batch.terminal = batch.events.pop()
    return found


def tell(ready: Iterable[Request]) -> None:
    """Requests of a lane table that may go on: whoever waits for that looks again."""
    for request in ready:
        cast("Call", request).queue.put(READY)
