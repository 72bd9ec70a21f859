"""One deadline for a call."""

from __future__ import annotations

import time

import pytest

from responses_ws._transport.deadline import NEVER, Deadline, overdue
from responses_ws.errors import Delivery, ResponseTimeout

INFINITY = float("inf")


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "passed", "at_most", "remaining", "expired"),
    [
        (10, 0, None, 10, False),
        (10, 4, None, 6, False),
        (10, 9.5, None, 0.5, False),
        (10, 10, None, 0, True),
        (10, 11, None, 0, True),
        (10, 4, 2, 2, False),
        (10, 4, 6, 6, False),
        (10, 4, 7, 6, False),
        (10, 4, 0, 0, False),
        (10, 11, 2, 0, True),
        (10, -1, None, 11, False),
        (0.25, 0.125, None, 0.125, False),
        (0, 0, None, 0, True),
        (0, 0, 5, 0, True),
        (None, 0, None, None, False),
        (None, 1e9, None, None, False),
        (None, 1e9, 5, 5, False),
        (None, 0, 0, 0, False),
        (INFINITY, 1e9, None, INFINITY, False),
        (INFINITY, 1e9, 5, 5, False),
    ],
)
def test_what_remains(
    seconds: float | None, passed: float, at_most: float | None, remaining: float | None, expired: bool
) -> None:
    """None is never, 0 is now, and what is left is never negative and never more than is asked for."""
    clock = Clock(1000)
    deadline = Deadline(seconds, clock)
    clock.now += passed
    assert deadline.remaining(at_most) == remaining
    assert deadline.expired is expired


@pytest.mark.parametrize(("seconds", "at"), [(10, 1010), (0, 1000), (None, None)])
def test_the_moment_is_fixed_once(seconds: float | None, at: float | None) -> None:
    """It is handed down as it is, and keeps the seconds as the caller gave them."""
    clock = Clock(1000)
    deadline = Deadline(seconds, clock)
    for _ in range(3):
        clock.now += 7
        deadline.remaining()
        assert (deadline.at, deadline.seconds) == (at, seconds)


def test_a_deadline_of_another() -> None:
    """A part of a call may take what is left of the whole, and no longer."""
    clock = Clock(1000)
    whole = Deadline(10, clock)
    clock.now += 4
    part = Deadline(whole.remaining(30), clock)
    assert (part.at, whole.at) == (1010, 1010)
    clock.now += 6
    assert part.expired
    assert whole.expired


def test_the_clock_of_the_system_is_the_one_that_nobody_sets() -> None:
    before = time.monotonic()
    at = Deadline(0.0).at
    assert at is not None
    assert before <= at <= time.monotonic()


def test_never() -> None:
    assert NEVER.remaining() is None
    assert NEVER.remaining(2) == 2
    assert not NEVER.expired


@pytest.mark.parametrize(("seconds", "told"), [(2, "2 seconds"), (0.5, "0.5 seconds"), (60.0, "60 seconds")])
def test_a_call_that_took_too_long_says_which_clock_and_how_long(seconds: float, told: str) -> None:
    """In the caller's own number, with what else is known of the call."""
    error = overdue(Deadline(seconds), delivery=Delivery.STARTED, response_id="r1")
    assert isinstance(error, ResponseTimeout)
    assert (error.clock, error.seconds) == ("total", seconds)
    assert told in str(error)
    assert (error.delivery, error.response_id) == (Delivery.STARTED, "r1")
