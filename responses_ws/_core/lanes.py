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
    ONGOING,
    OPENINGS,
    ErrorEvent,
    Event,
    event_type,
    parse_error,
    response_id,
    starts_response,
    terminal_status,
)
from responses_ws._core.fields import mapping, text
from responses_ws._core.steering import STEER_EVENTS, Steering, steered_response
from responses_ws.errors import ConcurrencyError, Delivery
from responses_ws.messages import Steer

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

ITEM_ADDED = "response.output_item.added"
ITEM_DONE = "response.output_item.done"
ANNOUNCEMENTS = frozenset({ITEM_ADDED, ITEM_DONE, "response.content_part.added"})
REMEMBERED_RESPONSES = 32
REMEMBERED_ITEM_SETS = 4
MAX_NAMES = 4096

Items = dict[str, bool]
"""The ids of a response's items, and whether each is done."""


class Request:
    """One ``response.create`` and its place on a lane.

    ``abandoned`` is a flag and no state because it is set without the lock: a finalizer that runs inside the
    locked section, or a second Ctrl-C, must be able to leave a response behind. It is only ever set to True.

    :ivar response_id: of the response that runs now; a successor has its own.
    """

    __slots__ = ("abandoned", "delivery", "ids", "items", "lane", "response_id", "state", "steering")

    def __init__(self, lane: str | None = None) -> None:
        self.lane = lane
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


class Lane:
    """The responses of one ``stream_id``, one after the other."""

    __slots__ = ("current", "earlier_ids", "earlier_items", "failure", "waiting")

    def __init__(self) -> None:
        self.current: Request | None = None
        self.waiting: Request | None = None
        self.earlier_ids: collections.deque[str] = collections.deque(maxlen=REMEMBERED_RESPONSES)
        self.earlier_items: collections.deque[Items] = collections.deque(maxlen=REMEMBERED_ITEM_SETS)
        # The reason given by an ``error`` that ended a response, and whether the response had an id: a
        # ``response.failed`` for the same response may still follow.
        self.failure: tuple[str | None, bool] | None = None

    def forget(self) -> None:
        """Nothing of an earlier connection can come late on the next one."""
        self.earlier_ids.clear()
        self.earlier_items.clear()
        self.failure = None

    def remember(self, event: Event) -> None:
        """What an event names that belongs to nobody: more of that may come."""
        named = response_id(event)
        if named is not None and named not in self.earlier_ids:
            self.earlier_ids.append(named)
        if not self.earlier_items:
            self.earlier_items.append({})
        _note_item(event, self.earlier_items[-1])

    def earlier_item(self, item_id: str) -> bool | None:
        """Whether an earlier response's item is done; None when no earlier response had one of this id."""
        return next((items[item_id] for items in reversed(self.earlier_items) if item_id in items), None)


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
        for holder in (lane.waiting, lane.current):
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
        else:
            return
        request.move(State.DONE)

    def sent(self, request: Request) -> None:
        """The last byte has left. The answer may have been faster."""
        if request.state is State.SENDING:
            request.move(State.SENT)

    def steerable(self, request: Request) -> str | None:
        """The id of the request's running response; None before it has one, and after the end."""
        return request.response_id if request.state is State.STARTED and not request.abandoned else None

    def steer(self, request: Request, steer: Steer) -> None:
        """A steer leaves for the request's response: from here on its end may not be that of the turn."""
        if request.steering is None:
            request.steering = Steering()
        request.steering.add(steer)

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
            ended.append(request)
            self._free(lane)
            request.move(State.DONE)
        return ended

    # -- the reader's side

    def route(self, event: Event) -> Request | None:
        """The request that the event belongs to, its state moved on; None when it belongs to nobody."""
        lane = self._default if "stream_id" not in event else self._named(event["stream_id"])
        request = None if lane is None else lane.current
        if lane is None or request is None or request.state is State.QUEUED:
            return self._unowned(lane, event)
        try:
            known = event.get("item_id") in request.items and event.get("type") in ONGOING
        except TypeError:  # a list or an object for a name
            known = False
        if known and "response_id" not in event and "response" not in event:
            return request
        return self._attribute(lane, request, event)

    def _unowned(self, lane: Lane | None, event: Event) -> Request | None:
        """Nobody's, but for an error that names no lane: it belongs to what is running, wherever that is."""
        running = self.running()
        if running and event.get("stream_id") is None and terminal_status(event) == "error":
            request = running[0]
            return self._attribute(self._lanes[request.lane], request, event)
        self._stray(lane, event)
        return None

    def _attribute(self, lane: Lane, request: Request, event: Event) -> Request | None:
        kind = event_type(event)
        status = terminal_status(event)
        if self._is_earlier(lane, request, event, kind):
            self._stray(None, event)
            return None
        if kind.startswith(STEER_EVENTS):
            return self._note_steer(lane, request, event, kind)
        if status == "error":
            return self._fail(lane, request, event)
        if kind == "response.done" and request.state is not State.STARTED and response_id(event) is None:
            # The trailing mark of the response before: an answer that consists of its end alone names itself.
            self._stray(None, event)
            return None
        if starts_response(kind):
            if request.steering is not None and kind in OPENINGS:
                request.steering.begin()
            _claim(request, event)
            lane.failure = None
            if request.state is not State.STARTED:
                request.move(State.STARTED)
        if status is not None and (request.steering is None or request.steering.ends(status)):
            self._finish(lane, request)
        return request

    def _note_steer(self, lane: Lane, request: Request, event: Event, kind: str) -> Request | None:
        if steered_response(event) not in (None, *request.ids):
            self._stray(None, event)
            return None
        if request.steering is not None and request.steering.note(kind, event):
            self._finish(lane, request)
        return request

    def _is_earlier(self, lane: Lane, request: Request, event: Event, kind: str) -> bool:
        started = request.state is State.STARTED
        named = response_id(event)
        if named is not None and (named in request.ids) != (named in lane.earlier_ids):
            # Some servers use one id for all responses of a connection; the opening tells them apart.
            return named not in request.ids and (started or kind not in OPENINGS)
        if kind == "response.failed" and _follows_error(lane, event):
            return True
        item_id = _item_id(event)
        if item_id is None or item_id in request.items:
            return False
        was_done = lane.earlier_item(item_id)
        if was_done is None:
            return False
        # Some servers use the same item ids in every response. Then an item is announced anew; what an
        # unfinished item still had to come looks like an announcement, but does not add it.
        announced = kind == ITEM_ADDED or (was_done and kind in ANNOUNCEMENTS)
        return not started or not announced

    def _fail(self, lane: Lane, request: Request, event: Event) -> Request | None:
        error = parse_error(event)
        unnamed = event.get("stream_id") is None
        if _ends_connection(error) or (unnamed and len(self.running()) > 1):
            self.connection_error = event
            return None
        if request.state is not State.STARTED:
            request.delivery = Delivery.REJECTED
        lane.failure = (_reason(error), bool(request.ids))
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
        if _ends_connection(parse_error(event)):
            self.connection_error = event
            return
        kind = event_type(event)
        self.strays.append(kind)
        if lane is None:
            return
        lane.remember(event)
        if kind == "response.failed":
            lane.failure = None

    def _named(self, name: Any) -> Lane | None:
        """The lane of a ``stream_id``. While no lane was ever named, a server's own names mean nothing."""
        lane = self._lanes.get(name) if name is None or isinstance(name, str) else None
        if lane is None and len(self._lanes) == 1:
            return self._default
        return lane


def _claim(request: Request, event: Event) -> None:
    """Note what the event names as the request's own."""
    named = response_id(event)
    if named is not None and len(request.ids) < MAX_NAMES:
        request.ids.add(named)
        request.response_id = named
    _note_item(event, request.items)


def _note_item(event: Event, items: Items) -> None:
    item_id = _item_id(event)
    if item_id is not None and len(items) < MAX_NAMES:
        items[item_id] = event_type(event) == ITEM_DONE or items.get(item_id, False)


def _follows_error(lane: Lane, event: Event) -> bool:
    """Whether this is the second voice of a failure whose first, an ``error``, has ended its turn."""
    failure, lane.failure = lane.failure, None
    if failure is None:
        return False
    reason, had_id = failure
    another = had_id and response_id(event) is not None
    return not another and reason is not None and reason == _reason(parse_error(event))


def _reason(error: ErrorEvent | None) -> str | None:
    return None if error is None else error.code or error.type


def _ends_connection(error: ErrorEvent | None) -> bool:
    return error is not None and error.code in CONNECTION_CODES


def _item_id(event: Event) -> str | None:
    return text(event.get("item_id")) or text(mapping(event.get("item")).get("id"))
