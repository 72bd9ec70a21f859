"""Which request owns an event.

The server's deltas carry no response id, so an event is attributed by order: on one lane responses run one
after the other, and no request follows another before the other's terminal event. What names a response or
an item (an id) is checked besides, so that stragglers of an earlier response are dropped and never reach the
next request.

Pure: the connection calls it under its lock.
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

from responses_ws._core.earlier import Earlier, claim, item_id, reason
from responses_ws._core.events import (
    OPENINGS,
    PROGRESS,
    ErrorEvent,
    Event,
    event_type,
    parse_error,
    response_id,
    starts_response,
    terminal_status,
)
from responses_ws._core.lane import Lane, admissible
from responses_ws._core.states import Request, State
from responses_ws._core.steering import STEER_EVENTS, Steering, steered_response
from responses_ws.errors import ConcurrencyError, Delivery, StreamLimitReached
from responses_ws.messages import Steer

__all__ = ["Lanes"]

QUEUED = State.QUEUED  # once for every event: looking it up in the enumeration takes as long as comparing
SENDING = State.SENDING
STARTED = State.STARTED
CONNECTION_CODES = frozenset({"websocket_connection_limit_reached"})
"""Errors that end the connection, whoever is running on it."""


class Lanes:
    """The lane table of one connection.

    :ivar ready: requests that may go on since the caller last emptied the list.
    :ivar strays: types of events that belonged to nobody, likewise.
    :ivar connection_error: an ``error`` event that belongs to the connection and ends it, or None.
    :ivar closing: whether the connection is to be replaced. Then a request is let in when nothing runs.
    :param max_in_flight: responses that the service runs in parallel.
    :param max_lanes: names that the service takes on one connection.
    :param named: whether the service names the lanes of its events; None until an event has shown it, on each
        connection anew. Before that, and without it, one response runs at a time, for nobody could tell two
        of them apart.
    """

    def __init__(
        self, max_in_flight: int = sys.maxsize, max_lanes: int = sys.maxsize, named: bool | None = True
    ) -> None:
        self.ready: list[Request] = []
        self.strays: list[str] = []
        self.connection_error: Event | None = None
        self.closing = False
        self.named = named
        self._given = named
        self._max_in_flight = max_in_flight
        self._max_lanes = max_lanes
        self._turns = itertools.count()
        self._default = Lane(Earlier())
        self._lanes: dict[str | None, Lane] = {None: self._default}

    # -- the caller's side

    def open(self, request: Request) -> bool:
        """Take the request's lane. False when another response comes first: ``ready`` will tell.

        Raises :class:`ConcurrencyError` when a response is running or already waiting there, and
        :class:`StreamLimitReached` when the service takes no further name on this connection.
        """
        self._release_left()
        lane = self._lanes.get(request.lane) or self._new_lane(request.lane)
        request.turn = next(self._turns)
        if lane.current is None:
            lane.current = request
        elif lane.current.abandoned and lane.waiting is None:
            lane.waiting = request
        else:
            where = "connection" if self.single else "lane"
            raise ConcurrencyError(f"another response is running on this {where}")
        self._admit()
        if not request.admitted:
            return False
        self.ready.remove(request)
        return True

    def admit(self) -> None:
        """Let in whom there is room for, past those who were left before a byte was sent."""
        self._release_left()
        self._admit()

    def _release_left(self) -> None:
        for holder in self._holders():
            if holder.abandoned and holder.state is QUEUED:
                self.release(holder)

    def release(self, request: Request) -> None:
        """Give up a place that nothing was sent from. For a request that holds none it does nothing."""
        lane = self._lanes.get(request.lane)
        if lane is None or request.state not in (QUEUED, SENDING):
            return
        if lane.waiting is request:
            lane.waiting = None
        elif lane.current is request:
            self._free(lane)
        else:
            return
        request.move(State.DONE)
        self._hand_on()

    def send(self, request: Request) -> bool:
        """The request's message begins to leave. False while another's does: ``ready`` will tell."""
        lane = self._lanes[request.lane]
        if request.source is None:
            request.source = self._source(lane, request.parent)
        request.held = any(holder.state is SENDING for holder in self._holders())
        if request.held:
            return False
        lane.used = True
        request.move(SENDING)
        return True

    def sent(self, request: Request) -> None:
        """The last byte has left. The answer may have been faster."""
        if request.state is SENDING:
            request.move(State.SENT)
        self._hand_on()

    def unsent(self, request: Request) -> bool:
        """The message did not leave whole, and its connection is gone. The request comes to the next one.

        False when its end was faster.
        """
        unsent = request.state is SENDING
        if unsent:
            request.move(QUEUED)
            request.admitted, request.source = False, None
            self._admit()
        self._hand_on()
        return unsent

    def steerable(self, request: Request) -> str | None:
        """The id of the request's running response; None before it has one, and after the end."""
        return request.response_id if request.state is STARTED and not request.abandoned else None

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

    def vacant(self, lane: str | None) -> bool:
        """Whether no request has the lane, but for one that was left before a byte of it was sent."""
        found = self._lanes.get(lane)
        holder = None if found is None else found.current
        return holder is None or (holder.abandoned and holder.state is QUEUED)

    def knows(self, request: Request) -> bool:
        """Whether the request has its lane; in a forked child none of the parent's has."""
        lane = self._lanes.get(request.lane)
        return lane is not None and lane.current is request

    def running(self) -> list[Request]:
        """Every request of which at least a byte has left and whose end was not seen."""
        return [request for request in self._holders() if request.state is not QUEUED]

    @property
    def single(self) -> bool:
        """Whether nothing but the default lane was ever asked for."""
        return len(self._lanes) == 1

    def deserted(self) -> bool:
        """Whether every place is taken by what its caller has left."""
        return all(request.abandoned for request in self._holders() if request.admitted)

    @property
    def lasting(self) -> bool | None:
        """What is known of ``named`` beyond the connection: a server that does shows it on each."""
        return self._given if self.named else self.named

    def end(self, ended: list[Request]) -> None:
        """The connection is gone: the requests that end with it are added to the list.

        A request that is being sent stays its sender's, who alone knows whether the last byte left; only an
        abandoned one has no sender to decide. It may be called again when it was interrupted: each request is
        in the list, though perhaps twice, before its lane forgets it.
        """
        for lane in self._lanes.values():
            lane.forget()
            request = lane.current
            if request is None:
                continue
            if request.state is QUEUED:
                request.admitted, request.source = False, None
            elif request.state is not SENDING or request.abandoned:
                ended.append(request)
                lane.go_on()
        for request in ended:
            if request.state is not State.DONE:
                request.move(State.DONE)
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Nothing is known of the next connection, and it knows no name."""
        self._lanes = {name: lane for name, lane in self._lanes.items() if name is None or lane.current}
        self.named = self.lasting
        if not self.named:
            for lane in self._lanes.values():
                lane.earlier = self._default.earlier
        self.closing = False
        self._admit()

    # -- the reader's side

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

    def _free(self, lane: Lane) -> None:
        lane.go_on()
        self._admit()

    def _admit(self) -> None:
        limit = self._max_in_flight if self.named and not self.closing else 1
        for request in admissible(self._lanes.values(), limit):
            request.admitted = True
            self.ready.append(request)

    def _hand_on(self) -> None:
        """No message is leaving: the next one may."""
        held = [holder for holder in self._holders() if holder.held and holder.state is QUEUED]
        if held:
            self.ready.append(min(held, key=lambda request: request.turn))

    def _source(self, lane: Lane, parent: str | None) -> tuple[str | None] | None:
        """The other lane whose latest response this is, if there is one; see :attr:`Request.source`."""
        if parent is None or lane.latest == parent:
            return None
        for name, other in self._lanes.items():
            if other.latest == parent:
                return (name,)
        return None

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

    def _holders(self) -> list[Request]:
        found = []
        for lane in self._lanes.values():
            if lane.waiting is not None:
                found.append(lane.waiting)
            if lane.current is not None:
                found.append(lane.current)
        return found

    def _new_lane(self, name: str | None) -> Lane:
        # A name that was taken and never sent is not known to the service.
        self._lanes = {
            known: lane
            for known, lane in self._lanes.items()
            if known is None or lane.used or lane.current is not None
        }
        if len(self._lanes) > self._max_lanes:
            raise StreamLimitReached(
                f"lane {name!r} would be one more than the {self._max_lanes} names that one connection takes"
            )
        # Where the lanes of events cannot be told apart, responses run one after the other on all of them.
        lane = self._lanes[name] = Lane(Earlier() if self.named else self._default.earlier)
        return lane

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
