"""What each request cost, told once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable

from responses_ws._call import Call
from responses_ws._core.events import Event, event_type, terminal_status
from responses_ws._core.states import State
from responses_ws._core.steering import STEER_EVENTS
from responses_ws._core.tally import total
from responses_ws._source import Source
from responses_ws.errors import Delivery
from responses_ws.messages import Usage
from responses_ws.streaming import StreamAccumulator, build_chunk

__all__ = ["REJECTED", "Accounts", "OnUsage", "Ticket"]

logger = logging.getLogger("responses_ws")

OnUsage = Callable[[Usage, "str | None"], object]

REJECTED = Usage()
"""What is told of a request that began no response: nothing ran, so that a sum may pass over it. Known by its
identity, for a response that was lost tells as little and may have cost much."""


class Ticket:
    """The account of one request. Whoever sees the end of its response settles it; the first one counts.

    Takes no lock, so that the reader and a caller who leaves may both come to it at any moment.

    :param told: the functions that are told.
    """

    __slots__ = ("_open", "_pid")

    def __init__(self, told: Iterable[OnUsage]) -> None:
        self._open = list(told)
        self._pid = os.getpid()

    def settle(
        self, terminal: Event | None, superseded: Collection[Event] = (), *, rejected: bool = False
    ) -> None:
        """The response has ended with this event, or without one: then nothing is known of its usage.

        :param superseded: the last events of the responses before it, where it was steered.
        :param rejected: none was begun.

        What a function raises is logged: it is nobody's answer that fails.
        """
        if self._pid != os.getpid():  # a forked child: the parent tells of its own
            self.void()
        if self.settled:
            return
        # Read before anything is taken: what an interrupt keeps from being told then is told by the next.
        told = (REJECTED, None) if rejected else _read(terminal, superseded)
        while True:
            try:
                on_usage = self._open.pop()
            except IndexError:
                return
            try:
                on_usage(*told)
            except Exception:
                logger.exception("on_usage failed")

    def void(self) -> None:
        """The request never left."""
        self._open.clear()

    @property
    def settled(self) -> bool:
        return not self._open


class Accounts:
    """The requests of a session whose end was not seen yet. Thread-safe.

    :param on_usage: told of each of them; None tells nobody.
    """

    def __init__(self, on_usage: OnUsage | None) -> None:
        self._on_usage = on_usage
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._open: dict[Ticket, Source] = {}

    def open(self, source: Source, also: OnUsage | None = None) -> Ticket:
        """A request is about to leave. Whoever reads its response settles the ticket.

        When nobody does, because the caller has left, the reader of the connection settles it.

        :param also: told of this one.
        """
        ticket = Ticket(told for told in (self._on_usage, also) if told is not None)
        if isinstance(source, Call):
            source.on_drained = ticket.settle
        if not ticket.settled:
            self._open[ticket] = source
        return ticket

    def flush(self, *, closing: bool = False) -> None:
        """Settle what nobody will settle any more.

        A caller may leave a response whose end the reader has already handed over.

        :param closing: nothing more will come.
        """
        if self._pid != os.getpid():  # a forked child: the parent tells of its own
            self._begin()
        for ticket, source in list(self._open.items()):
            if closing or _is_over(source):
                _settle(ticket, source)
            if ticket.settled:  # and not before: an interrupt must leave the others where they are
                self._open.pop(ticket, None)


def _is_over(source: Source) -> bool:
    """Whether a caller has left it, and nobody will tell its end any more.

    The reader of a connection knows of the end a moment before it hands the last event over.
    """
    if not isinstance(source, Call):
        return source.cancelled
    handed_over = source.terminal is not None or source.link is None or source.link.over
    return source.cancelled and source.state is State.DONE and handed_over


def _settle(ticket: Ticket, source: Source) -> None:
    """Tell what is known of a request that has left; an interrupt may have kept it from leaving."""
    if source.cancelled and source.delivery is Delivery.NOT_SENT:
        ticket.void()
        return
    told = (source.terminal, source.superseded) if isinstance(source, Call) else (None,)
    ticket.settle(*told, rejected=source.delivery is Delivery.REJECTED)


def _read(terminal: Event | None, superseded: Collection[Event]) -> tuple[Usage, str | None]:
    """The usage that the last events of a request tell, added up, and the id of its last response."""
    ends: list[Event | None] = [*superseded]
    if terminal is None or not event_type(terminal).startswith(STEER_EVENTS):
        ends.append(terminal)  # and not the word that there will be no successor
    told = [_told(end) for end in ends]
    return total(usage for usage, _ in told), told[-1][1]


def _told(terminal: Event | None) -> tuple[Usage, str | None]:
    """The usage that a last event tells, and the response's id. An ``error`` tells neither."""
    if terminal is None or terminal_status(terminal) == "error":
        return Usage(), None
    accumulator = StreamAccumulator()
    accumulator.add(build_chunk(terminal))
    message = accumulator.to_message()
    return message.usage, message.response_id
