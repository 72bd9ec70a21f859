"""One connection and its successors: the lock, the lane table, and who may do what when.

A :class:`Connection` lives as long as its public WebSocket; each successful connect makes a new
:class:`Link`. A link ends once, in :meth:`Connection.end`, whoever notices first: from then on nothing that
its reader still delivers is let in, and each request that was running on it has got its :class:`End`.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, cast

from responses_ws._call import READY, Call, Mark, batches, wait_for
from responses_ws._core.chain import Chain, Chains
from responses_ws._core.endpoint import Endpoint
from responses_ws._core.events import Event, parse, parse_error, response_error
from responses_ws._core.lanes import Lanes
from responses_ws._core.parser import Payload
from responses_ws._core.states import Request, State
from responses_ws._link import Link, start
from responses_ws._process import watch
from responses_ws._transport.base import Connector, Target, Transport
from responses_ws._transport.deadline import NEVER, SLICE_SECONDS, Deadline, overdue
from responses_ws.errors import (
    ConcurrencyError,
    ConnectionError,
    ConnectionLost,
    Delivery,
    ProtocolError,
    ResponsesWSError,
    ResponseTimeout,
    bare,
    with_context,
)
from responses_ws.messages import Steer

__all__ = ["Connection"]

logger = logging.getLogger("responses_ws")

RELEASE_SECONDS = 0.2
CLOSED = "the connection was closed by disconnect()"
AGED = "the connection reached its age"
NO_LANES = "%s has no lanes, or does not name them in its events: one response runs at a time"


class Watcher(Protocol):
    """Who is told of what becomes of a connection."""

    def __call__(self, *, ended: bool) -> None:
        """A response or the link has ended; or else nothing has come for a while."""


class Connection:
    """The state behind a WebSocket.

    ``lock`` guards ``opened``, ``link``, ``dialing``, ``generation``, ``calls``, ``disconnects``, ``chains``
    and ``lanes``. The invariant: ``link`` is the only link whose events reach the lanes, and a link that is
    ``over`` is never ``link``.
    Decisions are made under the lock; sending, queues and logging happen outside of it. It is re-entrant,
    for signal handlers and finalizers may call in from the middle of a decision.

    :param endpoint: what the service can do.
    :param max_buffered_bytes: received for one response and not taken; None means no limit.
    :param patience: seconds to wait for a place on a connection that others use; None means no limit.
    :param named: whether the service is known to name the lanes of its events; None when it is not known.
    :ivar watcher: called in the reader's thread, with no lock held.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        max_buffered_bytes: int | None,
        patience: float | None,
        named: bool | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._max_buffered_bytes = sys.maxsize if max_buffered_bytes is None else max_buffered_bytes
        self._patience = patience
        self._pid = os.getpid()
        self.lock = threading.RLock()
        self.lanes = Lanes(endpoint.max_in_flight, endpoint.max_lanes, named)
        self.link: Link | None = None
        self.dialing: Link | None = None
        self.generation = 0
        self.calls = 0
        self.disconnects = 0
        self.opened = False
        self.chains = Chains()
        self.watcher: Watcher | None = None
        self._callers: list[queue.SimpleQueue[Mark]] = []

    @property
    def ready(self) -> bool:
        """Whether a request can be sent. A link without ``opened`` is being closed."""
        return self.opened and self.link is not None

    # -- connecting

    def connect(
        self,
        connector: Connector,
        target: Target,
        deadline: Deadline,
        disconnects: int,
        given_up: Callable[[], bool] | None = None,
    ) -> Link:
        """The open link, or a new one.

        :param given_up: asked once :meth:`stop_dialing` can find the link, for one who came before.

        Raises :class:`ConcurrencyError` while another thread connects, :class:`ConnectionError` when there
        were more ``disconnects`` since the caller looked, and what the connector raises.
        """
        link = Link(self._endpoint.max_age)
        try:
            before = self._begin(link, disconnects, given_up)
            if before is not None:
                return before
            watch(self)
            start(self, link, connector, target, deadline)
            self._install(link)
        except BaseException:
            link.abort()
            raise
        finally:
            self._end_dialing(link)
        logger.debug("connection %d is open", link.generation)
        return link

    def _begin(self, link: Link, disconnects: int, given_up: Callable[[], bool] | None) -> Link | None:
        """Make the link the one that is connecting, unless there is an open one, which is returned."""
        with self.lock:
            before = self.link
            if before is not None and self.opened:
                return before
            if self.dialing is not None:
                raise ConcurrencyError("another thread is connecting")
            if self.disconnects != disconnects:
                raise ConnectionError("connecting was given up")
            self.generation += 1
            link.generation = self.generation
            self.dialing = link
        if given_up is not None and given_up():
            raise ConnectionError("connecting was given up")
        if before is not None:
            # A disconnect() is under way, or was interrupted.
            self._give_up(before, ConnectionLost(CLOSED))
        return None

    def _install(self, link: Link) -> None:
        """Make the link the connection's, unless it ended or was aborted meanwhile."""
        with self.lock:
            if link.over or link.aborted:
                raise bare(link.cause or ConnectionError("connecting was given up"))
            self.link = link
            self.opened = True
            lost = self.chains.lose()
        for chain in lost:
            logger.warning(
                "%s was not stored and ended with its connection; a new chain begins", chain.response_id
            )

    def _end_dialing(self, link: Link) -> None:
        callers: list[queue.SimpleQueue[Mark]] = []
        with self.lock:
            if self.dialing is link:
                self.dialing = None
                callers, self._callers = self._callers, []
        for caller in callers:
            caller.put(READY)

    def await_dialing(self, deadline: Deadline, given_up: Callable[[], bool] | None = None) -> None:
        """While another thread connects, wait for how that ends."""
        caller: queue.SimpleQueue[Mark] = queue.SimpleQueue()
        with self.lock:
            link = self.dialing
            if link is None:
                return
            self._callers.append(caller)
        while self.dialing is link and not deadline.expired:
            wait_for(caller, deadline.remaining(SLICE_SECONDS))
            if given_up is not None and given_up():
                raise ConnectionError("connecting was given up")

    # -- the caller's side

    def open(self, call: Call, drain: float | None, deadline: Deadline) -> None:
        """Take the call's lane, and a place among what runs on the connection.

        :param drain: seconds to wait for abandoned responses to end there. Then, unless others use it, the
            connection is given up.

        Raises :class:`ConcurrencyError` when the lane is busy, and :class:`StreamLimitReached` when the
        connection takes no further name.
        """
        with self.lock:
            self.lanes.open(call)
            self.calls += 1
            call.number = self.calls
            ready = self._take_ready()
        _tell(ready)
        self.await_place(call, drain, deadline)

    def await_place(self, call: Call, drain: float | None, deadline: Deadline) -> None:
        """Wait until the call may be sent: at once, but for what else is running; see :meth:`open`.

        When a connection is lost, who had a place on it comes to the next one.
        """
        patience = Deadline(deadline.remaining(self._patience))
        drained = Deadline(drain)
        while not (call.admitted or deadline.expired):
            if patience.expired:
                raise ConcurrencyError("other responses are running on this connection")
            wait_for(
                call.queue,
                patience.remaining(SLICE_SECONDS if drained.expired else drained.remaining(SLICE_SECONDS)),
            )
            self._make_room(drained=drained.expired)

    def _make_room(self, *, drained: bool) -> None:
        """Let in who may go on: an interrupt may have kept others from it.

        :param drained: what was abandoned has had its time: a connection that nobody else uses is given up.
        """
        with self.lock:
            self.lanes.admit()
            link = self.link if drained and self.lanes.deserted() else None
            ready = self._take_ready()
        _tell(ready)
        if link is not None:
            self._give_up(link, ConnectionLost("given up: an abandoned response did not end in time"))

    def send(self, call: Call, message: bytes, deadline: Deadline = NEVER) -> None:
        """Send the call's request on the open link, before the deadline of the whole call.

        When it raises :class:`ConnectionLost` or :class:`ResponseTimeout` with NOT_SENT, the message did not
        leave whole and the call holds its lane as before.
        """
        link, transport = self._begin_sending(call, deadline)
        try:
            transport.send(message, deadline)
        except (ConnectionLost, ResponseTimeout) as error:
            raise self._unsent(call, link, error) from error.__cause__
        call.last_event_at = time.monotonic()
        with self.lock:
            lost = link.over and call.state is State.SENDING
            if lost:
                self.lanes.release(call)
            else:
                self.lanes.sent(call)
            ready = self._take_ready()
        _tell(ready)
        if lost:
            cause = link.cause or ConnectionLost("the connection was lost")
            rejected = call.delivery is Delivery.REJECTED
            raise with_context(cause, delivery=call.delivery if rejected else Delivery.UNKNOWN)

    def _begin_sending(self, call: Call, deadline: Deadline) -> tuple[Link, Transport]:
        """One message leaves at a time. Who waits for that has sent nothing, and leaves without a trace."""
        while True:
            with self.lock:
                link = self.link
                if link is None or link.transport is None or not call.admitted:
                    raise ConnectionLost("the connection was lost before the request was sent")
                call.link = link
                if self.lanes.send(call):
                    return link, link.transport
            if deadline.expired:
                raise overdue(deadline)
            wait_for(call.queue, deadline.remaining(SLICE_SECONDS))

    def _unsent(self, call: Call, link: Link, error: ResponsesWSError) -> ResponsesWSError:
        """The connection broke under the request. What the server said before that is the better reason."""
        if isinstance(error, ConnectionLost):
            link.join(RELEASE_SECONDS)
            # Kept without its traceback, which ties the frames of this thread, and the stream in them, to it.
            cause = bare(error)
        else:
            cause = ConnectionLost("given up: another request was not sent in time")
        error = link.cause or error
        self._give_up(link, cause)
        with self.lock:
            self.lanes.unsent(call)
            ready = self._take_ready()
        _tell(ready)
        return with_context(error, delivery=Delivery.NOT_SENT)

    def steer(self, call: Call, encode: Callable[[str], bytes]) -> Steer:
        """Send input to the call's running response.

        :param encode: makes the message from the response's id.

        Raises :class:`ConnectionError` when no response of the call is running.
        """
        message = encode(self._begin_steer(call, None)[0])
        steer = Steer()
        # Noted before it leaves: the response may end meanwhile, and then its end is not that of the turn.
        _, link, transport = self._begin_steer(call, steer)
        try:
            transport.send(message)
        except (ConnectionLost, ResponseTimeout) as error:
            raise self._unsent(call, link, error) from error.__cause__
        except BaseException:
            self._give_up(link, ConnectionLost("the sending of a steer was interrupted"))
            raise
        return steer

    def _begin_steer(self, call: Call, steer: Steer | None) -> tuple[str, Link, Transport]:
        with self.lock:
            link, target = self.link, self.lanes.steerable(call)
            if link is None or link.transport is None or target is None:
                raise ConnectionError("steer: the response has not begun, or is over")
            if steer is not None:
                self.lanes.steer(call, steer)
            return target, link, link.transport

    def leave(self, call: Call) -> None:
        """Abandon the call, and free its lane when it was not sent whole."""
        call.abandon()
        if call.state is State.SENDING and call.link is not None:
            # Half a message may be out, and whatever followed would be swallowed by it.
            self._give_up(call.link, ConnectionLost("the sending of a request was interrupted"))
        with self.lock:
            self.lanes.release(call)
            ready = self._take_ready()
        _tell(ready)

    def remember(self, call: Call, response_id: str | None) -> None:
        """The call was completed: what is asked next continues it, unless it went with an earlier link.

        A response without an id cannot be continued and leaves the chain as it was.
        """
        if response_id is None:
            return
        with self.lock:
            gone = not call.stored and self.link is not None and self.link is not call.link
            if not gone:
                self.chains.advance(call.lane, Chain(response_id, call.stored, call.number))

    def begin_chain(self, lane: str | None) -> None:
        """What is asked next on the lane continues nothing."""
        with self.lock:
            self.chains.begin(lane)

    def disconnect(self, seconds: float | None) -> None:
        """Close the link; whoever waits on it gets :class:`ConnectionLost`.

        A connection at rest ends by the closing handshake (RFC 6455, 7.1.2), at most ``seconds`` long. With a
        response running there is nothing to wait for: the peer is told and left.
        """
        if self.lock._is_owned():  # type: ignore[attr-defined]
            # In a signal handler or a finalizer, in the middle of a decision: the reader does the rest.
            self.opened = False
            self.disconnects += 1
            self.forsake(ConnectionLost(CLOSED))
            return
        with self.lock:
            self.opened = False
            self.disconnects += 1
            link, dialing = self.link, self.dialing
            at_rest = not self.lanes.running()
        if dialing is not None:
            dialing.abort()
        if link is None or link.transport is None:
            return
        try:
            link.transport.close(1000)
            if at_rest:
                link.join(seconds)
        finally:
            self._give_up(link, ConnectionLost(CLOSED))

    def say_goodbye(self) -> None:
        """Begin the closing handshake, if nothing runs; :meth:`disconnect` ends it."""
        with self.lock:
            link = None if self.lanes.running() else self.link
        if link is not None and link.transport is not None:
            link.transport.close(1000)

    def aged(self) -> bool:
        """Whether the link has reached its age, and nothing runs on it."""
        with self.lock:
            return self.link is not None and self.link.old and not self.lanes.running()

    def rotate(self) -> None:
        """Let go of a link that has reached its age, unless something lives on it alone.

        What runs on it comes to its end first; from then on nothing new begins there.
        """
        with self.lock:
            link = self.link
            old = link is not None and link.old and self.chains.stored
            self.lanes.closing = old
            if link is None or not old or self.lanes.running():
                return
            if link.transport is not None:
                # Before the lock is let go: no other lane's request leaves on it any more.
                link.transport.close(1000)
        logger.info("connection %d is let go: %s", link.generation, AGED)
        self._give_up(link, ConnectionLost(AGED))

    def postpone(self, seconds: float) -> None:
        """Take the link for old enough only after so many seconds more."""
        link = self.link
        if link is not None:
            link.rotate_at = time.monotonic() + seconds

    def retire(self, reason: str) -> None:
        """Let go of the link; the peer is told and not waited for."""
        link = self.link
        if link is None:
            return
        logger.info("connection %d is let go: %s", link.generation, reason)
        if link.transport is not None:
            link.transport.close(1000)
        self._give_up(link, ConnectionLost(reason))

    def stop_dialing(self, thread: int | None = None) -> None:
        """Give up a connecting that is under way. Takes no lock: safe in a finalizer.

        :param thread: whose connecting it must be; None is anybody's.
        """
        link = self.dialing
        if link is not None and thread in (None, link.dialer):
            link.abort()

    def _give_up(self, link: Link, cause: ResponsesWSError) -> None:
        """End a link from this side: its reader, once aborted, does it, whatever interrupts this thread."""
        link.abort(cause)
        link.join(RELEASE_SECONDS)
        self.end(link, cause)

    def forsake(self, cause: ResponsesWSError | None = None) -> None:
        """Let the readers end it. For finalizers and signal handlers: it takes no lock."""
        for link in (self.link, self.dialing):
            if link is not None:
                link.abort(cause)

    # -- the reader's side

    def deliver(self, link: Link, payloads: Sequence[Payload], now: float) -> None:
        """Parse messages and hand their events to the calls that own them.

        After everything before it was delivered it raises :class:`ProtocolError` for what is no event, or the
        service's error when that belongs to the connection.
        """
        events: list[Event] = []
        failure: ResponsesWSError | None = None
        try:
            for payload in payloads:
                events.append(parse(payload))
        except ProtocolError as error:
            failure = error
        with self.lock:
            # A connecting that was given up is not over yet; it may come later than the next one.
            if link.over or link.aborted:
                return
            known = self.lanes.named is not None
            routed = batches(self.lanes.route, events, sum(map(len, payloads)))
            told_apart = known or self.lanes.named is not False
            ready = self._take_ready()
            strays, self.lanes.strays = self.lanes.strays, []
            broken, self.lanes.connection_error = self.lanes.connection_error, None
        _tell(ready)
        for call, batch in routed:
            call.give(batch, now, self._max_buffered_bytes)
        if self.watcher is not None and any(batch.terminal is not None for _, batch in routed):
            self.watcher(ended=True)
        if not told_apart and self.watcher is None:  # who says it for all of its connections
            logger.warning(NO_LANES, self._endpoint.host)
        for kind in strays:
            logger.debug("an event that belongs to no running response was dropped: %.100s", kind)
        error_event = None if broken is None else parse_error(broken)
        if error_event is not None:
            failure = response_error(error_event)
        if failure is not None:
            raise failure

    def end(self, link: Link, cause: ResponsesWSError) -> None:
        """The link is gone. The first cause counts; later ones change nothing."""
        with self.lock:
            link.over = True
            cause = link.cause = link.cause or cause
            if self.link is not link:
                return
            ended = self.lanes.end()
            ready = self._take_ready()
            self.link = None
        for call in cast("list[Call]", ended):
            call.finish(cause, call.delivery)
            call.account(None)
        _tell(ready)
        if self.watcher is not None:
            self.watcher(ended=True)
        # Last, for a handler of logs may raise.
        logger.debug("connection %d has ended: %s", link.generation, cause)

    def _take_ready(self) -> list[Request]:
        ready, self.lanes.ready = self.lanes.ready, []
        return ready

    # -- fork

    def check_process(self) -> None:
        """Notice a fork that ran no hooks."""
        if self._pid != os.getpid():
            self.forget()

    def forget(self) -> None:
        """In a forked child: nothing of the parent's connection is ours.

        The parent's other threads do not exist here, so a lock that one of them held would stay locked for
        ever: locks are replaced, never taken. No byte leaves, and no TLS shutdown is made.
        """
        links = [link for link in (self.link, self.dialing) if link is not None]
        calls = cast("list[Call]", self.lanes.running())
        self._pid = os.getpid()
        self.lock = threading.RLock()
        self.lanes = Lanes(self._endpoint.max_in_flight, self._endpoint.max_lanes, self.lanes.lasting)
        self.link = self.dialing = None
        self._callers = []
        cause = ConnectionLost("the connection belongs to the parent process")
        for link in links:
            link.forget(cause)
        for call in calls:
            call.orphan(cause)


def _tell(ready: Iterable[Request]) -> None:
    for call in cast("Iterable[Call]", ready):
        call.queue.put(READY)
