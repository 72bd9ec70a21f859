"""The wall clock, which goes on while the machine sleeps, where the monotonic one may stand still."""

from __future__ import annotations

import time

__all__ = ["wall"]


def wall() -> float:
    """Seconds since 1970, as the machine has them."""
    return time.time()
