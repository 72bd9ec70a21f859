"""One link at a time: it is opened, replaced and ended here; what runs on it is the :class:`Connection`'s."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

from responses_ws._core.parser import Payload
from responses_ws._link import Link, start
from responses_ws._process import watch
from responses_ws._transport.base import Connector, Target
from responses_ws._transport.deadline import SLICE_SECONDS, Deadline
from responses_ws._transport.mailbox import READY, Mailbox, Mark, wait_for
from responses_ws.errors import ConcurrencyError, ConnectionError, ConnectionLost, ResponsesWSError, bare

__all__ = ["Linked"]

logger = logging.getLogger("responses_ws")

RELEASE_SECONDS = 0.2
CLOSED = "the connection was closed by disconnect()"


class Watcher(Protocol):
    """Who is told of what becomes of a connection."""

    def __call__(self, *, ended: bool) -> None:
        """A response or the link has ended; or else an interval of pings is over."""


class Linked(ABC):
    """What has a link, or will have one again.

    ``lock`` guards ``opened``, ``link``, ``dialing``, ``generation`` and ``disconnects``. The invariant:
    ``link`` is the only link whose events are let in, and a link that is ``over`` is never ``link``.

    :param max_age: seconds after which a link is to be replaced; None means never.
    :ivar watcher: called in the thread that has noticed, most of the time the reader's, with no lock held.
    """

    def __init__(self, max_age: float | None) -> None:
        self.lock = threading.RLock()
        self.link: Link | None = None
        self.dialing: Link | None = None
        self.generation = 0
        self.disconnects = 0
        self.opened = False
        self.watcher: Watcher | None = None
        self._max_age = max_age
        self._callers: list[Mailbox[Mark]] = []

    @abstractmethod
    def forget(self) -> None:
        """In a forked child: nothing of the parent's connection is ours."""

    @abstractmethod
    def check_process(self) -> None:
        """Notice a fork that ran no hooks."""

    @abstractmethod
    def deliver(self, link: Link, payloads: Sequence[Payload], now: float) -> None:
        """The link's reader has messages."""

    @abstractmethod
    def end(self, link: Link, cause: ResponsesWSError) -> None:
        """The link is gone. The first cause counts; later ones change nothing."""

    @abstractmethod
    def at_rest(self) -> bool:
        """Whether nothing runs on the link."""

    @property
    @abstractmethod
    def single(self) -> bool:
        """Whether one response at a time runs on the link."""

    @property
    def ready(self) -> bool:
        """Whether a request can be sent.

        A link without ``opened`` is being closed. So is one that was aborted, or an interrupt has left it so.
        """
        link = self.link
        return self.opened and link is not None and not link.aborted

    @property
    def connecting(self) -> Link | None:
        """The link that somebody is opening.

        ``dialing`` alone does not tell. It is set back last of all, and an interrupt just before that leaves
        there, for as long as the connection lives, a link that was given up, that is the open one, or that
        was the open one and is over. Neither may anybody wait for those, nor give one up as not yet open.
        """
        link = self.dialing
        if link is None or link.aborted or link.over or link is self.link:
            return None
        return link

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
        link = Link(self._max_age)
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
            if self.ready:
                return before
            if self.connecting is not None:
                raise ConcurrencyError("another thread is connecting")
            if self.disconnects != disconnects:
                raise ConnectionError("connecting was given up")
            self.generation += 1
            link.generation = self.generation
            self.dialing = link
        if given_up is not None and given_up():
            raise ConnectionError("connecting was given up")
        if before is not None:
            # Its end is under way, or was interrupted.
            self._give_up(before, ConnectionLost(CLOSED))
        return None

    def _install(self, link: Link) -> None:
        """Make the link the connection's, unless it ended or was aborted meanwhile."""
        with self.lock:
            if link.over or link.aborted:
                raise bare(link.cause or ConnectionError("connecting was given up"))
            self.link = link
            self.opened = True

    def _end_dialing(self, link: Link) -> None:
        callers: list[Mailbox[Mark]] = []
        with self.lock:
            if self.dialing is link:
                self.dialing = None
                callers, self._callers = self._callers, []
        for caller in callers:
            caller.put(READY)

    def await_dialing(self, deadline: Deadline, given_up: Callable[[], bool] | None = None) -> None:
        """While another thread connects, wait for how that ends.

        Raises :class:`ConnectionError` when it takes too long, or nobody wants it any more.
        """
        caller: Mailbox[Mark] = Mailbox()
        with self.lock:
            link = self.connecting
            if link is None:
                return
            self._callers.append(caller)
        while self.connecting is link:
            if deadline.expired:
                raise ConnectionError(f"could not connect within {deadline.seconds or 0:g} seconds")
            if given_up is not None and given_up():
                raise ConnectionError("connecting was given up")
            wait_for(caller, deadline.remaining(SLICE_SECONDS))

    # -- ending

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
            link, dialing = self.link, self.connecting
            at_rest = self.at_rest()
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
            link = self.link if self.at_rest() else None
        if link is not None and link.transport is not None:
            link.transport.close(1000)

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
        link = self.connecting
        if link is not None and thread in (None, link.dialer):
            link.abort()

    def _give_up(self, link: Link, cause: ResponsesWSError) -> None:
        """End a link from this side: its reader, once aborted, does it, whatever interrupts this thread."""
        link.abort(cause)
        self._await_end(link)
        self.end(link, cause)

    def _await_end(self, link: Link) -> None:
        """What its reader has to say comes first, if it comes soon."""
        link.join(RELEASE_SECONDS)

    def forsake(self, cause: ResponsesWSError | None = None) -> None:
        """Let the readers end it. For finalizers and signal handlers: it takes no lock."""
        for link in (self.link, self.dialing):
            if link is not None:
                link.abort(cause)
