"""Who reads a link: its thread, or the caller who waits for what comes next.

A caller who waits until a thread has read waits for two wake-ups, the thread's and his own. So while the one
response of a link flows, its caller reads the socket himself, and the thread stands by. It takes over when
there is nobody else: the caller is busy with what he got, was silent for a moment, has left, or a second
response runs beside his.

Whoever reads holds ``_right``. The thread has it at first, and gives it away only between two messages; a
caller takes it for one wait and what that brings. Whatever ends the link is raised in the thread, so that it
has one end.

A signal handler may raise at any point of a caller's reading. While he waits nothing is lost by that: his
response is abandoned, and the thread reads the rest of it. Between the first byte that was taken and the last
event that was handed over (``_torn``) something is, and the link is given up: nobody knows what is missing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from responses_ws._call import Call, tell
from responses_ws._core.parser import Payload
from responses_ws._transport.base import Transport
from responses_ws._transport.deadline import SLICE_SECONDS
from responses_ws._transport.mailbox import READY, Mailbox, Mark, wait_for
from responses_ws.errors import ConnectionLost, ResponsesWSError

if TYPE_CHECKING:
    from responses_ws._link import Link
    from responses_ws._linked import Linked

__all__ = ["Reading"]

Wait = Callable[["float | None"], bool]

FLOW_SECONDS = 0.1
"""A response that is silent for longer does not flow. A thread that stands by looks around as often."""
PARTS = 32
"""Of a large message, read in a row: more than one for each look at the clocks."""
RETAKE_SLICES = 50
GLANCES = 100
"""What a server says at rest is little; but one that never stops is not listened to for ever."""
BROKEN_OFF = "given up: the reading of a response was interrupted"


class Reading:
    """The right to read a link. Made by the link's thread, which has it.

    ``owned`` (whether it still has it) and ``_seen`` are the thread's; ``_waits``, ``_reads`` and ``_torn``
    are written under the right. The rest may be written at any moment, and is looked at again once the right
    is had.
    """

    def __init__(self, connection: Linked, link: Link, transport: Transport) -> None:
        self._connection = connection
        self._link = link
        self._transport = transport
        # A transport that cannot wait without reading is left to the thread.
        self._wait: Wait | None = getattr(transport, "wait", None)
        self._pid = os.getpid()
        # Re-entrant only because such a lock knows who holds it: nobody takes it twice.
        self._right = threading.RLock()
        self._right.acquire()
        self.owned = True
        # The thread wants it; until it has it, no caller takes it.
        self._claimed = False
        self._bell: Mailbox[Mark] = Mailbox()
        self._wanting: Call | None = None
        self._waits = 0
        self._reads = 0
        self._seen = 0
        self._torn = False
        self.failure: ResponsesWSError | None = None

    @property
    def mine(self) -> bool:
        """Whether this thread reads: it is called back from that."""
        return bool(self._right._is_owned())  # type: ignore[attr-defined]

    # -- a caller's side

    def attend(self, call: Call, seconds: float | None) -> bool:
        """Wait for bytes, at most so many seconds (None: for ever), and read what came; it may return early.

        False at once when somebody else reads. The caller is told by READY when that may have changed.
        """
        return self._read_once(call, FLOW_SECONDS if seconds is None else min(seconds, FLOW_SECONDS))

    def glance(self) -> None:
        """Read what came while nobody did. What ends the link, if that is among it, is ``failure`` then."""
        reads = -1
        for _ in range(GLANCES):
            if self._reads == reads:
                return
            reads = self._reads
            self._read_once(None, 0)

    def claim(self) -> None:
        """Let the thread read. Takes no lock: safe in a finalizer and a signal handler."""
        if not self._claimed:
            self._claimed = True
            self._bell.put(READY)

    def _read_once(self, call: Call | None, seconds: float) -> bool:
        right, wait = self._right, self._wait
        if self._pid != os.getpid():
            # What comes is the parent's, and no thread is here that reads.
            self._connection.check_process()
            return False
        if wait is None:
            return False
        if right._is_owned():  # type: ignore[attr-defined]
            # A handler, in the middle of its own thread's reading. If it asks, somebody must read for it.
            if call is not None:
                self.claim()
            return False
        if call is not None and not self._connection.single:  # who only looks keeps no other lane waiting
            if not self.owned:
                self.claim()
            return False
        try:
            if right.acquire(blocking=False) or self._take_back(call):
                return self._wait_and_read(wait, call, seconds)
            return False
        finally:
            # In one step, whether or not it is known to be held: see SocketTransport._flush.
            try:
                right.release()
            except RuntimeError:
                pass
            else:
                if self._wanting is not None:
                    self._tell()

    def _wait_and_read(self, wait: Wait, call: Call | None, seconds: float) -> bool:
        """With the right. Without a call there is nobody who waits, only somebody who looks."""
        if self._torn:
            self.failure = self.failure or ConnectionLost(BROKEN_OFF)
            return False
        if self._claimed and call is not None:
            return False
        self._waits += 1
        if not wait(seconds):
            if seconds == FLOW_SECONDS:
                self.claim()
        elif call is None or not self._claimed:  # it may mean that nobody wants the answer any more
            self._read()
        return True

    def _take_back(self, call: Call | None) -> bool:
        """Ask the thread for the right, and only then try once more: it looks who asks after letting go."""
        if call is None:
            return False
        self._wanting = call
        if not self._right.acquire(blocking=False):
            return False
        self._wanting = None
        return True

    def _read(self) -> None:
        self._torn = True
        try:
            payloads = self._receive()
            if payloads:
                self._connection.deliver(self._link, payloads, time.monotonic())
            self._torn = False
        except ResponsesWSError as error:
            self.failure = _without_frames(error)
            self.claim()
        except BaseException:
            self._link.abort(ConnectionLost(BROKEN_OFF))
            raise

    def _receive(self) -> Sequence[Payload] | None:
        """The next messages, or None when there is nothing more of one, or it is too large for one time."""
        for _ in range(PARTS):
            payloads = self._transport.receive(0)
            if payloads is None:
                return None
            self._reads += 1
            if payloads:
                return payloads
        return None

    # -- the thread's side

    def receive(self, timeout: float | None) -> Sequence[Payload] | None:
        """What the transport receives. While a caller reads: an empty list when he did, else None, soon.

        None where the right changes hands too, which is no sign of the peer's life. Raises what the transport
        does, and what a caller has met.
        """
        if not self.owned:
            return self._stand_by()
        if self._claimed:
            self._claimed = False
            self._bell.take()
        if self._wanting is not None and self._hand_over(self._wanting):
            return None
        return self._transport.receive(timeout)

    def _hand_over(self, call: Call) -> bool:
        if call.abandoned or not self._connection.single:
            self._wanting = None
            return False
        self.owned = False
        self._right.release()
        self._tell()
        return True

    def _tell(self) -> None:
        """The right is free: who asked for it before that waits to be told."""
        call, self._wanting = self._wanting, None
        if call is not None:
            tell([call])

    def _stand_by(self) -> Sequence[Payload] | None:
        waits = self._waits
        rung = wait_for(self._bell, FLOW_SECONDS) is not None
        if self._claimed:
            self._retake()
        elif not rung and self._waits == waits and self._right.acquire(blocking=False):
            self.owned = True
        if self.owned:
            self._look_for_the_end()
        # Since the last look, and not since this one began: what came between is a sign of life too.
        seen, self._seen = self._seen, self._reads
        if seen != self._seen:
            return []
        return self._transport.receive(0) if self.owned else None

    def _retake(self) -> None:
        """Callers take the right no more, and hold it for a moment; a signal handler may take longer."""
        for _ in range(RETAKE_SLICES):  # counted: a machine that was asleep has missed none
            if self._right.acquire(timeout=SLICE_SECONDS):
                self.owned = True
                return
        raise ConnectionLost(BROKEN_OFF)

    def _look_for_the_end(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self._torn:
            raise ConnectionLost(BROKEN_OFF)


def _without_frames(error: ResponsesWSError) -> ResponsesWSError:
    """What it came from stays told; the frames, and all that the caller holds in them, are let go.

    So is what the caller was handling meanwhile: it is his, and the end was not made of it.
    """
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = each.__context__ = None
        each = each.__cause__
    return error
