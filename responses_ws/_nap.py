"""Notices that the machine has slept, after which connections are dead and do not know it."""

from __future__ import annotations

import time
from collections.abc import Callable

from responses_ws._transport import clock

__all__ = ["Nap"]

MAX_GAP = 30.0
"""Seconds by which the wall clock may run ahead before the machine is taken to have slept."""


class Nap:
    """Compares the wall clock with the monotonic one, which stands still meanwhile."""

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = clock.wall
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self.begin()

    def begin(self) -> None:
        """Look from now on."""
        self._ahead = self._wall() - self._monotonic()

    def is_over(self) -> bool:
        """Whether the machine has slept since this was last asked."""
        before = self._ahead
        self.begin()
        return self._ahead - before > MAX_GAP
