"""Which request owns an event.

The server's deltas carry no response id, so an event is attributed by order: on one lane responses run one
after the other, and no request follows another before the other's terminal event. What names a response or
an item (an id) is checked besides, so that stragglers of an earlier response are dropped and never reach the
next request.

Pure: the connection calls it under its lock.
"""

from __future__ import annotations

import sys
from typing import Any

from responses_ws._core.earlier import Earlier, claim, item_id, reason
from responses_ws._core.events import (
    OPENINGS,
    PROGRESS,
    Event,
    event_type,
    response_id,
    starts_response,
    terminal_status,
)
from responses_ws._core.failures import ErrorEvent, parse_error
from responses_ws._core.lane import Lane
from responses_ws._core.places import Places
from responses_ws._core.states import Request, State
from responses_ws._core.steering import STEER_EVENTS, steered_response
from responses_ws.errors import Delivery

__all__ = ["Lanes"]

QUEUED = State.QUEUED  # once for every event: looking it up in the enumeration takes as long as comparing
STARTED = State.STARTED
CONNECTION_CODES = frozenset({"websocket_connection_limit_reached"})
"""Errors that end the connection, whoever is running on it."""


class Lanes(Places):
    """The lane table of one connection, with what its reader asks of it.

    :ivar strays: types of events that belonged to nobody since the caller last emptied the list.
    :ivar connection_error: an ``error`` event that belongs to the connection and ends it, or None.
    """

    def __init__(
        self, max_in_flight: int = sys.maxsize, max_lanes: int = sys.maxsize, named: bool | None = True
    ) -> None:
        super().__init__(max_in_flight, max_lanes, named)
        self.strays: list[str] = []
        self.connection_error: Event | None = None

    def route(self, event: Event) -> Request | None:
        """The request that the event belongs to, its state moved on; None when it belongs to nobody."""
        lane = self._default
        if len(self._lanes) > 1 or "stream_id" in event:
            found = self._named(event["stream_id"]) if "stream_id" in event else self._unnamed()
            if found is None:
                return self._unowned(None, event)
            lane = found
        request = lane.current
        if request is None:
            return self._unowned(lane, event)
        try:
            # Most events are of an item that is known, and only a request that was sent knows any.
            known = event.get("item_id") in request.items and event.get("type") in PROGRESS
        except TypeError:  # a list or an object for a name
            known = False
        if known and "response_id" not in event and "response" not in event:
            return request
        if request.state is QUEUED:
            return self._unowned(lane, event)
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
        named, item = response_id(event), item_id(event)
        if lane.earlier.owns(event, kind, named, item, request):
            self._stray(None, event)
            return None
        if kind in PROGRESS:
            claim(request, kind, named, item)
            self._go_on(lane, request, event)
            return request
        if kind.startswith(STEER_EVENTS):
            return self._note_steer(lane, request, event, kind)
        status = terminal_status(event)
        if status == "error":
            return self._fail(lane, request, event)
        if kind == "response.done" and request.state is not STARTED and named is None:
            # The trailing mark of the response before: an answer that consists of its end alone names itself.
            self._stray(None, event)
            return None
        if starts_response(kind):
            claim(request, kind, named, item)
            self._go_on(lane, request, event)
        if status is not None and (request.steering is None or request.steering.ends(status, event)):
            self._finish(lane, request)
        return request

    def _go_on(self, lane: Lane, request: Request, event: Event) -> None:
        """The event is of the request's response, which has begun with the first such one."""
        if request.state is not STARTED:
            request.move(STARTED)
            self._learn(request, event)
        lane.earlier.failure = None  # that of the lane's own, once it is known to be told apart
        if event["type"] in OPENINGS:
            if request.steering is not None:
                request.steering.begin()
        elif request.source is not None:
            request.source = None
            self._admit()

    def _note_steer(self, lane: Lane, request: Request, event: Event, kind: str) -> Request | None:
        if steered_response(event) not in (None, *request.ids):
            self._stray(None, event)
            return None
        if request.steering is not None and request.steering.note(kind, event):
            self._finish(lane, request)
        return request

    def _fail(self, lane: Lane, request: Request, event: Event) -> Request | None:
        error = parse_error(event)
        its_own = event.get("stream_id") is not None or len(self.running()) == 1
        if its_own and request.state is not STARTED:
            request.delivery = Delivery.REJECTED
        if _ends_connection(error) or not its_own:
            self.connection_error = event
            return None
        if error is not None and error.param == "stream_id" and self.named is None:
            self.named = False
        lane.earlier.failure = (reason(error), bool(request.ids))
        self._finish(lane, request)
        return request

    def _finish(self, lane: Lane, request: Request) -> None:
        request.move(State.DONE)
        lane.earlier.add(request)
        if request.response_id is not None:
            lane.latest = None if request.stored else request.response_id
        self._free(lane)

    def _stray(self, lane: Lane | None, event: Event) -> None:
        """Between turns nothing is anybody's; what it names is remembered, for more of it may come."""
        if _ends_connection(parse_error(event)):
            self.connection_error = event
            return
        kind = event_type(event)
        self.strays.append(kind)
        if lane is None:
            return
        lane.earlier.remember(event)
        if kind == "response.failed":
            lane.earlier.failure = None

    # -- names

    def _named(self, name: Any) -> Lane | None:
        """The lane of a ``stream_id``. A server that is not known to use our names may have its own."""
        lane = self._lanes.get(name) if name is None or isinstance(name, str) else None
        if not self.named and (lane is None or lane.current is None):
            return self._unnamed()
        return self._default if lane is None and len(self._lanes) == 1 else lane

    def _unnamed(self) -> Lane:
        """The lane of an event without a name: the default one, or that of the one response that runs."""
        if self.named or len(self._lanes) == 1:
            return self._default
        admitted = (lane for lane in self._lanes.values() if lane.current and lane.current.admitted)
        return next(admitted, self._default)

    def _learn(self, request: Request, event: Event) -> None:
        """The first response on a lane tells whether the service names the lanes of its events."""
        if request.lane is None or self.named is not None:
            return
        self.named = event.get("stream_id") == request.lane
        if self.named:
            for name, lane in self._lanes.items():
                lane.earlier = lane.earlier if name is None else Earlier()
            self._admit()


def _ends_connection(error: ErrorEvent | None) -> bool:
    return error is not None and error.code in CONNECTION_CODES
