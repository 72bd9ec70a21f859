"""The arithmetic of samples: medians, spread, ratios, and how a figure is written."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

__all__ = ["number", "ratio", "spread"]


def ratio(values: Sequence[float], against: Sequence[float] | None) -> float:
    """The ratio of the medians; without a peer the median itself."""
    return statistics.median(values) / (1 if against is None else statistics.median(against))


def spread(values: Sequence[float]) -> str:
    """The median, with the smallest and the largest."""
    return f"{number(statistics.median(values))} ({number(min(values))} .. {number(max(values))})"


def number(value: float) -> str:
    """Three digits that say something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
