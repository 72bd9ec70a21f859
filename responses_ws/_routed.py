"""What comes on a connection, and how it ends: the reader's side.

A link ends once, in :meth:`Routed.end`, whoever notices first: from then on nothing that its reader still
delivers is let in, and each request that was running on it has got its :class:`End`.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import weakref
from collections.abc import Sequence
from typing import cast

from responses_ws._call import Call, batches, tell
from responses_ws._core.endpoint import Endpoint
from responses_ws._core.events import Event
from responses_ws._core.failures import parse_error, response_error
from responses_ws._core.lanes import Lanes
from responses_ws._core.parser import Payload, parse
from responses_ws._core.states import Request
from responses_ws._link import Link
from responses_ws._linked import Linked
from responses_ws.errors import ConnectionLost, ProtocolError, ResponsesWSError

__all__ = ["Routed"]

logger = logging.getLogger("responses_ws")

NO_LANES = "%s has no lanes, or does not name them in its events: one response runs at a time"


class Routed(Linked):
    """A link with the lane table, by which what comes finds the request that it belongs to.

    ``lock`` guards ``lanes`` too. Decisions are made under it; sending, queues and logging happen outside of
    it. It is re-entrant, for signal handlers and finalizers may call in from the middle of a decision.

    :param endpoint: what the service can do.
    :param max_buffered_bytes: received for one response and not taken; None means no limit.
    :param named: whether the service is known to name the lanes of its events; None when it is not known.
    :ivar known: every call that came to the connection, for as long as anybody has it.
    """

    def __init__(
        self, endpoint: Endpoint, *, max_buffered_bytes: int | None, named: bool | None = None
    ) -> None:
        super().__init__(endpoint.max_age)
        self._endpoint = endpoint
        self._max_buffered_bytes = sys.maxsize if max_buffered_bytes is None else max_buffered_bytes
        self._pid = os.getpid()
        self.lanes = Lanes(endpoint.max_in_flight, endpoint.max_lanes, named)
        self.known: weakref.WeakSet[Call] = weakref.WeakSet()

    def at_rest(self) -> bool:
        """Whether nothing runs on the link."""
        return not self.lanes.running()

    @property
    def single(self) -> bool:
        return self.lanes.single

    def deliver(self, link: Link, payloads: Sequence[Payload], now: float) -> None:
        """Parse messages and hand their events to the calls that own them.

        After everything before it was delivered it raises :class:`ProtocolError` for what is no event, or the
        service's error when that belongs to the connection.
        """
        size = sum(map(len, payloads))
        events: list[Event] = []
        failure: ResponsesWSError | None = None
        try:
            # On an error the list keeps what came before it.
            events.extend(map(parse, payloads))
        except ProtocolError as error:
            failure = error
        lanes = self.lanes
        with self.lock:
            # A connecting that was given up is not over yet; it may come later than the next one.
            if link.over or link.aborted:
                return
            known = lanes.named
            routed = batches(lanes.route, events, size)
            more = lanes.strays or lanes.ready or lanes.connection_error or lanes.named is not known
        for call, batch in routed.items():
            call.give(batch, now, self._max_buffered_bytes)
        if self.watcher is not None and any(batch.terminal is not None for batch in routed.values()):
            self.watcher(ended=True)
        if more:
            failure = self._settle(known) or failure
        if failure is not None:
            raise failure

    def _settle(self, known: bool | None) -> ResponsesWSError | None:
        """What came besides the events of running responses; the service's error that ends the connection.

        :param known: whether the service was known to name lanes before that.
        """
        lanes = self.lanes
        with self.lock:
            laneless = known is None and lanes.named is False
            ready = self._take_ready()
            strays, lanes.strays = lanes.strays, []
            broken, lanes.connection_error = lanes.connection_error, None
        tell(ready)
        if laneless and self.watcher is None:  # who says it for all of its connections
            logger.warning(NO_LANES, self._endpoint.host)
        for kind in strays:
            logger.debug("an event that belongs to no running response was dropped: %.100s", kind)
        error_event = None if broken is None else parse_error(broken)
        return None if error_event is None else response_error(error_event)

    def end(self, link: Link, cause: ResponsesWSError) -> None:
        """The link is gone. The first cause counts; later ones change nothing.

        Its reader calls this last of all, and so finishes what an interrupt has broken off in another thread.
        What was told already may be told again then.
        """
        with self.lock:
            link.over = True
            cause = link.cause = link.cause or cause
            if self.link is link:
                link.ended = link.ended or []
                self.lanes.end(link.ended)
                self.link = None
            ended, ready = link.ended, self._take_ready()
        for call in cast("list[Call]", ended or []):
            call.finish(cause, call.delivery)
            call.account(None)
        tell(ready)
        if ended is None:
            return
        if self.watcher is not None:
            self.watcher(ended=True)
        link.ended = None
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
        # And not those of the lanes alone: a thread of the parent may be about to tell a call of its end.
        calls, self.known = self.known, weakref.WeakSet()
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
