"""One connection and its successors: who may send what when, and what continues what.

A :class:`Connection` lives as long as its public WebSocket; each successful connect makes a new
:class:`Link`. This is what its callers do; what its readers do is in :mod:`responses_ws._routed`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from responses_ws._call import Call, tell
from responses_ws._core.chain import Chain, Chains
from responses_ws._core.endpoint import Endpoint
from responses_ws._core.states import State
from responses_ws._link import Link
from responses_ws._routed import Routed
from responses_ws._source import End
from responses_ws._transport.base import Transport
from responses_ws._transport.deadline import NEVER, SLICE_SECONDS, Deadline, overdue
from responses_ws._transport.mailbox import wait_for
from responses_ws.errors import (
    ConcurrencyError,
    ConnectionError,
    ConnectionLost,
    Delivery,
    ResponseCancelled,
    ResponsesWSError,
    ResponseTimeout,
    bare,
    with_context,
)
from responses_ws.messages import Steer

__all__ = ["Connection"]

logger = logging.getLogger("responses_ws")

LARGE_BYTES = 64 * 1024
"""What leaves at once, most of the time."""
AGED = "the connection reached its age"
LOST = "the connection was lost before the request was sent"
BROKEN_OFF = "the sending of a request was interrupted"


class Connection(Routed):
    """The state behind a WebSocket. ``lock`` guards ``calls`` and ``chains`` too.

    :param patience: seconds to wait for a place on a connection that others use; None means no limit.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        max_buffered_bytes: int | None,
        patience: float | None,
        named: bool | None = None,
    ) -> None:
        super().__init__(endpoint, max_buffered_bytes=max_buffered_bytes, named=named)
        self._patience = patience
        self.calls = 0
        self.chains = Chains()

    def _install(self, link: Link) -> None:
        with self.lock:
            super()._install(link)
            lost = self.chains.lose()
        for chain in lost:
            logger.warning(
                "%s was not stored and ended with its connection; a new chain begins", chain.response_id
            )

    def open(self, call: Call, drain: float | None, deadline: Deadline) -> None:
        """Take the call's lane, and a place among what runs on the connection.

        :param drain: seconds to wait for abandoned responses to end there. Then, unless others use it, the
            connection is given up.

        Raises :class:`ConcurrencyError` when the lane is busy, :class:`StreamLimitReached` when the
        connection takes no further name, and :class:`ResponseCancelled` when the call is cancelled meanwhile.
        """
        with self.lock:
            self.known.add(call)
            self.lanes.open(call)
            self.calls += 1
            call.number = self.calls
            ready, link = self._take_ready(), self.link
        tell(ready)
        if link is not None and not self.single:
            link.claim()
        self.await_place(call, drain, deadline)
        self.glance()

    def glance(self) -> None:
        """See what came since the last response, if nobody has: that the server has closed, most of all."""
        link = self.link
        reading = None if link is None else link.reading
        if link is None or reading is None:
            return
        reading.glance()
        if reading.failure is not None:
            self._give_up(link, bare(reading.failure))

    def await_place(self, call: Call, drain: float | None, deadline: Deadline) -> None:
        """Wait until the call may be sent: at once, but for what else is running; see :meth:`open`.

        When a connection is lost, who had a place on it comes to the next one.
        """
        if not call.admitted:
            self._wait_for_place(call, drain, deadline)

    def _wait_for_place(self, call: Call, drain: float | None, deadline: Deadline) -> None:
        patience = Deadline(deadline.remaining(self._patience))
        drained = Deadline(drain)
        while not (call.admitted or deadline.expired):
            if patience.expired:
                raise ConcurrencyError("other responses are running on this connection")
            told = wait_for(
                call.queue,
                patience.remaining(SLICE_SECONDS if drained.expired else drained.remaining(SLICE_SECONDS)),
            )
            if isinstance(told, End):
                # In a forked child, whose parent goes on with the call.
                raise with_context(told.cause, delivery=Delivery.NOT_SENT)
            _check_wanted(call)
            self._make_room(drained=drained.expired)

    def _make_room(self, *, drained: bool) -> None:
        """Let in who may go on: an interrupt may have kept others from it.

        :param drained: what was abandoned has had its time: a connection that nobody else uses is given up.
        """
        with self.lock:
            self.lanes.admit()
            link = self.link if drained and self.lanes.deserted() else None
            ready = self._take_ready()
        tell(ready)
        if link is not None:
            self._give_up(link, ConnectionLost("given up: an abandoned response did not end in time"))

    def send(self, call: Call, message: bytes, deadline: Deadline = NEVER) -> None:
        """Send the call's request on the open link, before the deadline of the whole call.

        When it raises :class:`ConnectionLost` or :class:`ResponseTimeout` with NOT_SENT, the message did not
        leave whole and the call holds its lane as before. A response that has begun before that, or was
        refused, is told by the call's queue.
        """
        link, transport = self._begin_sending(call, deadline)
        if len(message) > LARGE_BYTES:
            # The server may refuse it, or go, in the middle of it.
            link.claim()
        try:
            transport.send(message, deadline)
        except (ConnectionLost, ResponseTimeout) as error:
            said = self._break_off(link, error)
            if self._unsent(call):
                raise with_context(said or error, delivery=Delivery.NOT_SENT) from error.__cause__
            call.last_event_at = time.monotonic()
            return
        call.last_event_at = time.monotonic()
        with self.lock:
            lost = link.over and call.state is State.SENDING
            if lost:
                self.lanes.release(call)
            else:
                self.lanes.sent(call)
            ready = self._take_ready()
        tell(ready)
        if lost:
            cause = link.cause or ConnectionLost("the connection was lost")
            rejected = call.delivery is Delivery.REJECTED
            raise with_context(cause, delivery=call.delivery if rejected else Delivery.UNKNOWN)

    def _begin_sending(self, call: Call, deadline: Deadline) -> tuple[Link, Transport]:
        """One message leaves at a time. Who waits for that has sent nothing, and leaves without a trace.

        Raises :class:`ResponseCancelled` for a call that nobody wants any more.
        """
        while True:
            given_up = self.link
            if given_up is not None and given_up.aborted:
                # By another thread, which is not done with it, or was interrupted.
                self._give_up(given_up, ConnectionLost(LOST))
            with self.lock:
                _check_wanted(call)
                link = self.link
                if link is None or link.transport is None or not (call.admitted and self.lanes.knows(call)):
                    raise ConnectionLost(LOST)
                call.link = link
                if self.lanes.send(call):
                    return link, link.transport
            if deadline.expired:
                raise overdue(deadline)
            if wait_for(call.queue, deadline.remaining(SLICE_SECONDS)) is None:
                self._end_stuck(link, link.transport)

    def _end_stuck(self, link: Link, transport: Transport) -> None:
        """Give the link up when an interrupt has kept its sender from doing that."""
        with self.lock:
            left = any(call.abandoned for call in self.lanes.running() if call.state is State.SENDING)
        if left and not transport.sending:
            self._give_up(link, ConnectionLost(BROKEN_OFF))

    def _break_off(self, link: Link, error: ResponsesWSError) -> ResponsesWSError | None:
        """The connection broke under a message. What the server said before that is the better reason."""
        if isinstance(error, ConnectionLost):
            self._await_end(link)
            # Kept without its traceback, which ties the frames of this thread, and the stream in them, to it.
            cause = bare(error)
        else:
            cause = ConnectionLost("given up: a request was not sent in time")
        said = link.cause
        self._give_up(link, cause)
        return said

    def _unsent(self, call: Call) -> bool:
        """Let the call come to the next connection; False when it has come to its end on the last one.

        A server may refuse a request that it has not read to the end, or begin with it. So this is asked once
        the link is over: its reader lets in no more, and what had begun has ended with it. That end is in the
        call's queue, or about to be, for a reader puts it there after it has let go of the lock.
        """
        with self.lock:
            unsent = self.lanes.unsent(call)
            ready = self._take_ready()
        tell(ready)
        return unsent

    def steer(
        self,
        call: Call,
        encode: Callable[[str], bytes],
        leaving: Callable[[str, Steer], object] | None = None,
    ) -> Steer:
        """Send input to the call's running response.

        :param encode: makes the message from the response's id.
        :param leaving: told of that id, and of what becomes of the input, before its first byte leaves.

        Raises :class:`ConnectionError` when no response of the call is running.
        """
        target = self._begin_steer(call, None)[0]
        message = encode(target)
        steer = Steer()
        # Noted before it leaves: the response may end meanwhile, and then its end is not that of the turn.
        _, link, transport = self._begin_steer(call, steer)
        try:
            if leaving is not None:
                leaving(target, steer)
            transport.send(message)
        except (ConnectionLost, ResponseTimeout) as error:
            said = self._break_off(link, error)
            raise with_context(said or error, delivery=Delivery.NOT_SENT) from error.__cause__
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
            self._give_up(call.link, ConnectionLost(BROKEN_OFF))
        with self.lock:
            self.lanes.release(call)
            ready = self._take_ready()
        tell(ready)

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
            self.chains.begin(lane, self.calls + 1)

    def aged(self) -> bool:
        """Whether the link has reached its age, and nothing runs on it."""
        with self.lock:
            return self.link is not None and self.link.old and self.at_rest()

    def rotate(self) -> None:
        """Let go of a link that has reached its age, unless something lives on it alone.

        What runs on it comes to its end first; from then on nothing new begins there.
        """
        link = self.link  # once: without the lock it may be gone at the next look
        if not (self.lanes.closing or (link is not None and link.old)):
            return
        with self.lock:
            link = self.link
            old = link is not None and link.old and self.chains.stored
            self.lanes.closing = old
            if link is None or not old or not self.at_rest():
                return
            if link.transport is not None:
                # Before the lock is let go: no other lane's request leaves on it any more.
                link.transport.close(1000)
        logger.info("connection %d is let go: %s", link.generation, AGED)
        self._give_up(link, ConnectionLost(AGED))


def _check_wanted(call: Call) -> None:
    if call.cancelled:
        raise ResponseCancelled("the response was cancelled")
