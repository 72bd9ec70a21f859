"""A bar for those who watch a batch."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["Progress", "show_progress"]


class Progress:
    """How far a run is. Without a bar it says nothing."""

    def __init__(self, bar: Any = None) -> None:
        self._bar = bar
        self._failed = 0
        self._seconds = 0

    def ended(self, *, failed: bool) -> None:
        """One more input is done with."""
        if self._bar is None:
            return
        self._failed += failed
        if self._failed:
            self._bar.set_postfix(failed=self._failed, refresh=False)
        self._bar.update()

    def pauses(self, seconds: float) -> None:
        """Nothing leaves for so long; 0 when it goes on."""
        rounded = math.ceil(seconds)
        if self._bar is not None and rounded != self._seconds:
            self._seconds = rounded
            self._bar.set_description(f"waiting {rounded} s" if rounded else None)


@contextlib.contextmanager
def show_progress(wanted: bool, *, total: int, done: int) -> Iterator[Progress]:
    """A bar on a terminal, where tqdm is installed; otherwise none."""
    if not (wanted and _is_watched()):
        yield Progress()
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield Progress()
        return
    with tqdm(total=total, initial=done, unit=" inputs") as bar:
        yield Progress(bar)


def _is_watched() -> bool:
    """Whether stderr is a terminal."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # a daemon has closed it
        return False
