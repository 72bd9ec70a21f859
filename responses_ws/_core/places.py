"""Who has which lane of a connection, and who may send there.

Pure: the connection calls it under its lock.
"""

from __future__ import annotations

import itertools
import sys

from responses_ws._core.earlier import Earlier
from responses_ws._core.lane import Lane, admissible
from responses_ws._core.states import Request, State
from responses_ws._core.steering import Steering
from responses_ws.errors import ConcurrencyError, StreamLimitReached
from responses_ws.messages import Steer

__all__ = ["Places"]

QUEUED = State.QUEUED  # once for every call, see responses_ws._core.lanes
SENDING = State.SENDING
STARTED = State.STARTED


class Places:
    """The lanes of one connection: the caller's side of :class:`~responses_ws._core.lanes.Lanes`.

    :ivar ready: requests that may go on since the caller last emptied the list.
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
        self.closing = False
        self.named = named
        self._given = named
        self._max_in_flight = max_in_flight
        self._max_lanes = max_lanes
        self._turns = itertools.count()
        self._default = Lane(Earlier())
        self._lanes: dict[str | None, Lane] = {None: self._default}

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

    # -- inside

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
