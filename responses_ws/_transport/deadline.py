"""One deadline for a call, made once and handed down."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from responses_ws.errors import ResponseTimeout

__all__ = ["NEVER", "SLICE_SECONDS", "Deadline", "overdue"]

SLICE_SECONDS = 0.2
"""The longest wait of a caller's thread without a look at the signals that have come.

A signal ends a wait by itself, but not on Windows, and not when it comes to another thread, or between the
interpreter's last look and the beginning of the wait.
"""


class Deadline:
    """The moment at which a call must be over.

    :param seconds: from now; None means never.
    """

    __slots__ = ("_clock", "at", "seconds")

    def __init__(self, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self.at = None if seconds is None else clock() + seconds

    def remaining(self, at_most: float | None = None) -> float | None:
        """Seconds left, never negative, at most ``at_most``; None when neither limits."""
        if self.at is None:
            return at_most
        left = max(0.0, self.at - self._clock())
        return left if at_most is None else min(left, at_most)

    def sooner(self, seconds: float | None) -> Deadline:
        """This one or one of so many seconds from now (None: never), whichever comes first."""
        other = Deadline(seconds, self._clock)
        return other if self.at is None or (other.at is not None and other.at < self.at) else self

    @property
    def expired(self) -> bool:
        return self.at is not None and self._clock() >= self.at


NEVER = Deadline(None)


def overdue(deadline: Deadline, **context: Any) -> ResponseTimeout:
    """What is raised when a whole call took too long."""
    seconds = deadline.seconds or 0.0
    return ResponseTimeout(
        f"the call took longer than {seconds:g} seconds (total)", clock="total", seconds=seconds, **context
    )
