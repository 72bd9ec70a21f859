"""What a conversation on one connection continues."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Chain"]


@dataclass(frozen=True, slots=True)
class Chain:
    """The response that the next one continues.

    :param stored: whether it outlives its connection.
    :param number: of its call; the later call counts, whichever answer is read last.
    """

    response_id: str
    stored: bool
    number: int
