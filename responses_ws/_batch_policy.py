"""What a batch does about a request that failed, and when the next ones may leave."""

from __future__ import annotations

import enum
import math
import random
from collections.abc import Callable

from responses_ws._batch_results import is_unpaid
from responses_ws._core.retry import NO_QUOTA
from responses_ws.errors import (
    AuthenticationError,
    ConnectionError,
    ConnectionLimitReached,
    PayloadTooLarge,
    PoolClosed,
    PoolTimeout,
    RateLimitError,
    ResponseCancelled,
    ResponseError,
    ResponsesWSError,
    StreamLimitReached,
)

__all__ = ["Throttle", "Verdict", "judge"]

MAX_ATTEMPTS = 5
"""Of one input, where the service fails."""
MAX_PAUSES = 10
"""One after the other, without an answer between them; then the service is not there."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
LONGEST_RETRY_AFTER = 600.0
"""Seconds that are waited because the service says so; beyond that the caller decides."""

BACK_IN_LINE = (PoolTimeout, ConnectionLimitReached, StreamLimitReached)
"""The connection's own limits: they say nothing about the service."""


class Verdict(enum.Enum):
    """What becomes of an input whose request has ended."""

    DONE = "done"
    FAILED = "failed"
    """It is written down as failed, for a fault of its own."""
    LOST = "lost"
    """It is written down as failed, for a fault of the service or on the way there."""
    AGAIN = "again"
    """At once, as far as the others let it."""
    LATER = "later"
    """After a pause of all."""
    STOP = "stop"
    """It is not written down, and the run ends with its error, which every other input would meet too."""


def judge(error: ResponsesWSError, attempts: int) -> Verdict:
    """What to do about an input that failed.

    :param attempts: of it that failed before.
    """
    if _concerns_all(error):
        return Verdict.STOP
    if isinstance(error, RateLimitError):
        return Verdict.LATER if is_unpaid(error) else Verdict.LOST
    if isinstance(error, BACK_IN_LINE) and is_unpaid(error):
        return Verdict.AGAIN
    if not _may_pass(error):
        return Verdict.FAILED
    return Verdict.LATER if is_unpaid(error) and attempts + 1 < MAX_ATTEMPTS else Verdict.LOST


def _concerns_all(error: ResponsesWSError) -> bool:
    """The key, the money, the pool, the end: what no other input can do better with."""
    if isinstance(error, AuthenticationError | PoolClosed):
        return True
    if isinstance(error, ResponseCancelled):
        by_the_service = error.partial is not None and error.partial.status == "cancelled"
        return not by_the_service
    if not isinstance(error, RateLimitError):
        return False
    return error.code in NO_QUOTA or error.type in NO_QUOTA


def _may_pass(error: ResponsesWSError) -> bool:
    if isinstance(error, ResponseError):
        return (error.status or 0) >= 500
    return isinstance(error, ConnectionError) and not isinstance(error, PayloadTooLarge)


class Throttle:
    """How many requests may be under way, and from when on. Belongs to one thread.

    After a refusal all wait, for as long as the service says or, where it says nothing or has said too
    little, for a pause that doubles. What was sent before the pause and is refused as well makes it longer at
    most, for it is the same refusal. Then one goes first, and each answer lets one more join, so that the
    crowd does not come back at once.

    :param concurrency: requests under way at most.
    :param draw: a random number from 0 to 1.
    """

    def __init__(self, concurrency: int, draw: Callable[[], float] = random.random) -> None:
        self._concurrency = concurrency
        self._draw = draw
        self._window = concurrency
        self._until = -math.inf
        self._pauses = 0
        self._turned_back = 0

    def lets(self, running: int, now: float) -> bool:
        """Whether one more may leave."""
        return now >= self._until and running < self._window

    def pause(self, now: float) -> float:
        """Seconds for which nothing may leave; 0 when there is no pause."""
        return max(0.0, self._until - now)

    def answered(self) -> None:
        """The service has dealt with a request, and be it by refusing it for its own sake."""
        self._pauses = self._turned_back = 0
        self._window = min(self._concurrency, self._window + 1)

    def refused(self, sent_at: float, retry_after: float | None, now: float) -> bool:
        """The service could not deal with a request.

        :param retry_after: seconds that it named.
        :return: whether it is worth waiting; False after many pauses without an answer, and for a time that
            is for the caller to wait.
        """
        if sent_at >= self._until:
            self._pauses += 1
        self._window = 1
        self._until = max(self._until, now + self._wait(retry_after or 0.0))
        return self._pauses <= MAX_PAUSES and (retry_after or 0) <= LONGEST_RETRY_AFTER

    def turned_back(self) -> bool:
        """A request found no place on a connection.

        :return: whether it is worth trying again; False after many of them without an answer.
        """
        self._turned_back += 1
        return self._turned_back <= MAX_PAUSES * self._concurrency

    def _wait(self, wanted: float) -> float:
        """What the service wants; but once that was waited in vain, no less than a pause of our own."""
        if wanted and self._pauses <= 1:
            return wanted
        longest = min(FIRST_PAUSE * 2.0 ** (self._pauses - 1), LONGEST_PAUSE)
        return max(wanted, longest * (1 + self._draw()) / 2)
