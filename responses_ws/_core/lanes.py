"""Which request owns an event.

The server's deltas carry no response id, so an event is attributed by order: on one lane responses run one
after the other, and no request follows another before the other's terminal event. What names a response or
an item (an id) is checked besides, so that stragglers of an earlier response are dropped and never reach the
next request.

Pure: the connection calls it under its lock.
"""

from __future__ import annotations

import collections
import enum
from typing import Any

from responses_ws._core.events import (
    TERMINAL,
    Event,
    event_type,
    parse_error,
    response_id,
    starts_response,
    terminal_status,
)
from responses_ws.errors import ConcurrencyError, Delivery

__all__ = ["MOVES", "Lanes", "Request", "State"]


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

CONNECTION_CODES = frozenset({"websocket_connection_limit_reached"})
"""Errors that end the connection, whoever is running on it."""

OPENINGS = frozenset({"response.created", "response.queued"})
ANNOUNCEMENTS = frozenset(
    {"response.output_item.added", "response.output_item.done", "response.content_part.added"}
)
REMEMBERED_RESPONSES = 32
REMEMBERED_ITEM_SETS = 4
MAX_NAMES = 4096


class Request:
    """One ``response.create`` and its place on a lane.

    ``abandoned`` is a flag and no state because it is set without the lock: a finalizer that runs inside the
    locked section, or a second Ctrl-C, must be able to leave a response behind. It is only ever set to True.
    """

    __slots__ = ("abandoned", "delivery", "ids", "items", "lane", "state")

    def __init__(self, lane: str | None = None) -> None:
        self.lane = lane
        self.state = State.QUEUED
        self.delivery = Delivery.NOT_SENT
        self.abandoned = False
        self.ids: set[str] = set()
        self.items: set[str] = set()

    def move(self, state: State) -> None:
        """Change the state; an illegal move raises and changes nothing."""
        if state not in MOVES[self.state]:
            raise AssertionError(f"a {self.state.value} request cannot become {state.value}")
        self.state = state
        self.delivery = DELIVERIES.get(state, self.delivery)


class Lane:
    """The responses of one ``stream_id``, one after the other."""

    __slots__ = ("current", "earlier_ids", "earlier_items", "unnamed_failure", "waiting")

    def __init__(self) -> None:
        self.current: Request | None = None
        self.waiting: Request | None = None
        self.earlier_ids: collections.deque[str] = collections.deque(maxlen=REMEMBERED_RESPONSES)
        self.earlier_items: collections.deque[set[str]] = collections.deque(maxlen=REMEMBERED_ITEM_SETS)
        # The code of an ``error`` that ended a response of unknown id: a ``response.failed`` for the same
        # response may still follow.
        self.unnamed_failure: str | None = None

    def forget(self) -> None:
        """Nothing of an earlier connection can come late on the next one."""
        self.earlier_ids.clear()
        self.earlier_items.clear()
        self.unnamed_failure = None

    def names_earlier_item(self, item_id: str) -> bool:
        return any(item_id in items for items in self.earlier_items)


class Lanes:
    """The lane table of one connection.

    :ivar ready: requests whose lane became free for them since the caller last emptied the list.
    :ivar strays: types of events that belonged to nobody, likewise.
    :ivar connection_error: an ``error`` event that belongs to the connection and ends it, or None.
    """

    def __init__(self) -> None:
        self.ready: list[Request] = []
        self.strays: list[str] = []
        self.connection_error: Event | None = None
        self._default = Lane()
        self._lanes: dict[str | None, Lane] = {None: self._default}

    # -- the caller's side

    def open(self, request: Request) -> bool:
        """Take the request's lane. False when an abandoned response must end first: ``ready`` will tell.

        Raises :class:`ConcurrencyError` when a response is running or already waiting there.
        """
        lane = self._lanes.setdefault(request.lane, Lane())
        for holder in (lane.current, lane.waiting):
            if holder is not None and holder.abandoned and holder.state is State.QUEUED:
                self.release(holder)
        current = lane.current
        if current is None:
            lane.current = request
            return True
        if not current.abandoned or lane.waiting is not None:
            raise ConcurrencyError("another response is running on this lane")
        lane.waiting = request
        return False

    def release(self, request: Request) -> None:
        """Give up a place that nothing was sent from. For a request that holds none it does nothing."""
        lane = self._lanes.get(request.lane)
        if lane is None or request.state not in (State.QUEUED, State.SENDING):
            return
        if lane.waiting is request:
            lane.waiting = None
        elif lane.current is request:
            self._free(lane)
        request.move(State.DONE)

    def sent(self, request: Request) -> None:
        """The last byte has left. The answer may have been faster."""
        if request.state is State.SENDING:
            request.move(State.SENT)

    def busy(self, lane: str | None = None) -> bool:
        """Whether a request has the lane, or waits for it, that its caller has not left."""
        found = self._lanes.get(lane)
        holders = () if found is None else (found.current, found.waiting)
        return any(holder is not None and not holder.abandoned for holder in holders)

    def running(self) -> list[Request]:
        """Every request of which at least a byte has left and whose end was not seen."""
        found = (lane.current for lane in self._lanes.values())
        return [request for request in found if request is not None and request.state is not State.QUEUED]

    def end(self) -> list[Request]:
        """The connection is gone: the requests that end with it.

        A request that is being sent stays its sender's, who alone knows whether the last byte left; only an
        abandoned one has no sender to decide.
        """
        ended = []
        for lane in self._lanes.values():
            lane.forget()
            request = lane.current
            if request is None or request.state is State.QUEUED:
                continue
            if request.state is State.SENDING and not request.abandoned:
                continue
            request.move(State.DONE)
            ended.append(request)
            self._free(lane)
        return ended

    # -- the reader's side

    def route(self, event: Event) -> Request | None:
        """The request that the event belongs to, its state moved on; None when it belongs to nobody."""
        lane = self._default if "stream_id" not in event else self._named(event["stream_id"])
        request = None if lane is None else lane.current
        if lane is None or request is None or request.state is State.QUEUED:
            self._stray(lane, event)
            return None
        item_id, kind = event.get("item_id"), event.get("type")
        if type(item_id) is str and item_id in request.items and type(kind) is str and kind not in TERMINAL:
            return request
        return self._attribute(lane, request, event)

    def _attribute(self, lane: Lane, request: Request, event: Event) -> Request | None:
        kind = event_type(event)
        status = terminal_status(event)
        if self._is_earlier(lane, request, event, kind):
            self._stray(None, event)
            return None
        if status == "error":
            return self._fail(lane, request, event)
        if kind == "response.done" and request.state is not State.STARTED and response_id(event) is None:
            # The trailing mark of the response before: an answer that consists of its end alone names itself.
            self._stray(None, event)
            return None
        if starts_response(kind):
            _claim(request, event)
            lane.unnamed_failure = None
            if request.state is not State.STARTED:
                request.move(State.STARTED)
        if status is not None:
            self._finish(lane, request)
        return request

    def _is_earlier(self, lane: Lane, request: Request, event: Event, kind: str) -> bool:
        started = request.state is State.STARTED
        named = response_id(event)
        if named in lane.earlier_ids and named not in request.ids:
            # Some servers use one id for all responses of a connection; the opening tells them apart.
            return started or kind not in OPENINGS
        if kind == "response.failed" and not started and _follows_unnamed_failure(lane, event):
            return True
        item_id = _item_id(event)
        if item_id is None or item_id in request.items or not lane.names_earlier_item(item_id):
            return False
        return not started or kind not in ANNOUNCEMENTS

    def _fail(self, lane: Lane, request: Request, event: Event) -> Request | None:
        error = parse_error(event)
        code = None if error is None else error.code
        unnamed = "stream_id" not in event
        if code in CONNECTION_CODES or (unnamed and len(self.running()) > 1):
            self.connection_error = event
            return None
        if request.state is not State.STARTED:
            request.delivery = Delivery.REJECTED
        if not request.ids:
            lane.unnamed_failure = code
        self._finish(lane, request)
        return request

    def _finish(self, lane: Lane, request: Request) -> None:
        request.move(State.DONE)
        lane.earlier_ids.extend(request.ids)
        lane.earlier_items.append(request.items)
        self._free(lane)

    def _free(self, lane: Lane) -> None:
        lane.current, lane.waiting = lane.waiting, None
        if lane.current is not None:
            self.ready.append(lane.current)

    def _stray(self, lane: Lane | None, event: Event) -> None:
        """Between turns nothing is anybody's; what it names is remembered, for more of it may come."""
        kind = event_type(event)
        error = parse_error(event)
        if error is not None and error.code in CONNECTION_CODES:
            self.connection_error = event
            return
        self.strays.append(kind)
        if lane is None:
            return
        named = response_id(event)
        if named is not None and named not in lane.earlier_ids:
            lane.earlier_ids.append(named)
        if kind == "response.failed":
            lane.unnamed_failure = None

    def _named(self, name: Any) -> Lane | None:
        """The lane of a ``stream_id``. While no lane was ever named, a server's own names mean nothing."""
        lane = self._lanes.get(name) if name is None or isinstance(name, str) else None
        if lane is None and len(self._lanes) == 1:
            return self._default
        return lane


def _claim(request: Request, event: Event) -> None:
    """Note what the event names as the request's own."""
    for found, known in ((response_id(event), request.ids), (_item_id(event), request.items)):
        if found is not None and len(known) < MAX_NAMES:
            known.add(found)


def _follows_unnamed_failure(lane: Lane, event: Event) -> bool:
    """Whether this is the second voice of a failure whose first, an ``error``, has ended its turn."""
    error = parse_error(event)
    code, lane.unnamed_failure = lane.unnamed_failure, None
    return error is not None and code is not None and error.code == code


def _item_id(event: Event) -> str | None:
    item_id = event.get("item_id")
    if item_id is None and isinstance(item := event.get("item"), dict):
        item_id = item.get("id")
    return item_id if isinstance(item_id, str) else None
