"""What one thread leaves for another."""

from __future__ import annotations

import collections
import enum
import threading
import time
from typing import Generic, TypeVar

from responses_ws._transport.deadline import SLICE_SECONDS

__all__ = ["READY", "WOKEN", "Mailbox", "Mark", "pause", "wait_for"]

T = TypeVar("T")


class Mark(enum.Enum):
    """A word to a waiting thread."""

    READY = "go on"
    WOKEN = "look at your flags"


READY = Mark.READY
WOKEN = Mark.WOKEN


class Mailbox(Generic[T]):
    """A queue that neither Ctrl-C nor a finalizer can break. Any thread may put; :func:`wait_for` waits.

    :class:`queue.Queue` waits under a lock of its own, which an interrupt may leave behind locked. A
    :class:`queue.SimpleQueue` waits for ever, up to CPython 3.12, when its timeout is over just before it
    begins to wait, or while a signal handler runs.

    :ivar items: what has come and was not taken.
    :ivar bell: free after something has come. It says no more than that: an interrupt between the two steps
        of ``put`` leaves an item without a ring, and who finds an item does not wait for its ring.
    """

    __slots__ = ("bell", "items")

    def __init__(self) -> None:
        self.items: collections.deque[T] = collections.deque()
        self.bell = threading.Lock()
        self.bell.acquire()

    def put(self, item: T) -> None:
        """Leave an item. Takes no lock: safe in a finalizer."""
        self.items.append(item)
        if self.bell.locked():
            try:  # noqa: SIM105 - contextlib.suppress takes as long as all of the rest
                self.bell.release()
            except RuntimeError:  # another thread has rung meanwhile
                pass

    def take(self) -> T | None:
        """The next item, or None when there is none."""
        try:
            return self.items.popleft() if self.items else None
        except IndexError:  # another thread was quicker
            return None


def wait_for(mailbox: Mailbox[T], seconds: float | None) -> T | None:
    """The next item, or None after so many seconds (None: wait for ever). One thread waits at a time.

    Waits in slices, so that a signal ends it soon, and an item without a ring is found.
    """
    item = mailbox.take()
    if item is not None:
        return item
    end = None if seconds is None else time.monotonic() + seconds
    left = SLICE_SECONDS if seconds is None else min(seconds, SLICE_SECONDS)
    while item is None and left > 0:
        mailbox.bell.acquire(timeout=left)
        item = mailbox.take()
        left = SLICE_SECONDS if end is None else min(end - time.monotonic(), SLICE_SECONDS)
    return item


def pause(seconds: float | None) -> None:
    """Do nothing for so many seconds, in slices too."""
    nothing: Mailbox[None] = Mailbox()
    wait_for(nothing, seconds)
