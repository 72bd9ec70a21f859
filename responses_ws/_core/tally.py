"""Tokens of many responses added up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from responses_ws.messages import Usage

__all__ = ["total"]


def total(usages: Iterable[Usage]) -> Usage:
    """All together: 0 without any; a count that one of them does not know is unknown, not smaller."""
    known = list(usages)
    return Usage(*(_sum([getattr(usage, count.name) for usage in known]) for count in fields(Usage)))


def _sum(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
