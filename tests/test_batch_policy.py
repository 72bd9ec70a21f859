"""What a batch does about failures: which input is asked again, and when all have to wait."""

from __future__ import annotations

from typing import Any

import pytest

from responses_ws import errors
from responses_ws._batch_policy import MAX_ATTEMPTS, MAX_PAUSES, Throttle, Verdict, judge
from responses_ws.errors import Delivery
from responses_ws.messages import Message

LONG_AGO = -1000.0


def failure(name: str, **fields: Any) -> errors.ResponsesWSError:
    made: errors.ResponsesWSError = getattr(errors, name)("told to", **fields)
    return made


REJECTED = {"delivery": Delivery.REJECTED}
STARTED = {"delivery": Delivery.STARTED}
UNKNOWN = {"delivery": Delivery.UNKNOWN}
PART = {"partial": Message(content="Hel")}


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (failure("RateLimitError", **REJECTED), Verdict.LATER),
        (failure("RateLimitError", **REJECTED, code="insufficient_quota"), Verdict.STOP),
        (failure("RateLimitError", **STARTED), Verdict.LATER),
        (failure("RateLimitError", **STARTED, **PART), Verdict.LOST),
        (failure("AuthenticationError"), Verdict.STOP),
        (failure("PermissionDeniedError", **REJECTED, status=403), Verdict.FAILED),
        (failure("BadRequestError", **REJECTED, status=400), Verdict.FAILED),
        (failure("NotFoundError", **REJECTED, status=404), Verdict.FAILED),
        (failure("ServerError", **REJECTED, status=503), Verdict.LATER),
        (failure("ServerError", **STARTED, status=503), Verdict.LOST),
        (failure("HandshakeError", status=502), Verdict.LATER),
        (failure("ConnectionError"), Verdict.LATER),
        (failure("ConnectionLost"), Verdict.LATER),
        (failure("ConnectionLost", **UNKNOWN), Verdict.LOST),
        (failure("ConnectionLost", **STARTED), Verdict.LOST),
        (failure("ResponseTimeout", **STARTED), Verdict.LOST),
        (failure("PayloadTooLarge"), Verdict.FAILED),
        (failure("ConfigurationError"), Verdict.FAILED),
        (failure("ConnectionLimitReached", **REJECTED, status=400), Verdict.AGAIN),
        (failure("StreamLimitReached", **REJECTED, status=400), Verdict.AGAIN),
        (failure("PoolTimeout"), Verdict.AGAIN),
        (failure("PoolClosed"), Verdict.STOP),
        (failure("ResponseCancelled", **STARTED), Verdict.STOP),
        (failure("ResponseCancelled", **STARTED, partial=Message(status="in_progress")), Verdict.STOP),
        (failure("ResponseCancelled", **STARTED, partial=Message(status="cancelled")), Verdict.FAILED),
    ],
)
def test_what_becomes_of_an_input(error: errors.ResponsesWSError, verdict: Verdict) -> None:
    """Asked again only when it is known that nothing ran; the end of the run only when all would meet it."""
    assert judge(error, 0) is verdict


def test_an_input_is_asked_so_often_and_no_more() -> None:
    """But for rate limits, which are not its fault."""
    broken = failure("ServerError", **REJECTED, status=500)
    found = [judge(broken, attempts) for attempts in range(MAX_ATTEMPTS)]
    assert found == [Verdict.LATER] * (MAX_ATTEMPTS - 1) + [Verdict.LOST]
    assert judge(failure("RateLimitError", **REJECTED), 1000) is Verdict.LATER


def under_way(throttle: Throttle, now: float) -> int:
    """How many leave when as many do as may."""
    running = 0
    while throttle.lets(running, now):
        running += 1
    return running


def test_all_may_leave_at_first() -> None:
    """There is nothing to be careful about."""
    throttle = Throttle(4)
    assert under_way(throttle, 0.0) == 4
    assert throttle.pause(0.0) == 0


def test_after_a_refusal_all_wait_as_long_as_the_service_says() -> None:
    """And then one goes first."""
    throttle = Throttle(4)
    assert throttle.refused(LONG_AGO, 30.0, 100.0)
    assert throttle.pause(100.0) == 30
    assert under_way(throttle, 129.9) == 0
    assert throttle.pause(130.0) == 0
    assert under_way(throttle, 130.0) == 1


def test_each_answer_lets_one_more_join() -> None:
    """Up to all."""
    throttle = Throttle(3)
    throttle.refused(LONG_AGO, 1.0, 0.0)
    found = []
    for _ in range(4):
        found.append(under_way(throttle, 1.0))
        throttle.answered()
    assert found == [1, 2, 3, 3]


def test_refusals_of_one_crowd_are_one_refusal() -> None:
    """The longest wait that one of them is told holds for all; a shorter one does not end it."""
    throttle = Throttle(4, draw=lambda: 1.0)
    throttle.refused(10.0, 5.0, 11.0)
    throttle.refused(10.0, 9.0, 11.0)
    throttle.refused(10.5, 2.0, 11.0)
    assert throttle.pause(11.0) == 9
    assert all(throttle.refused(10.0, 1.0, 11.0) for _ in range(10 * MAX_PAUSES))


def pauses(throttle: Throttle, count: int) -> list[float]:
    """The pauses when each that goes first is refused again."""
    now, found = 0.0, []
    for _ in range(count):
        throttle.refused(now, None, now)
        found.append(throttle.pause(now))
        now += found[-1]
    return found


def test_pauses_of_our_own_double_up_to_a_minute() -> None:
    """The service does not always say how long."""
    assert pauses(Throttle(4, draw=lambda: 1.0), 8) == [1, 2, 4, 8, 16, 32, 60, 60]
    assert pauses(Throttle(4, draw=lambda: 0.0), 3) == [0.5, 1, 2]


def test_a_wait_that_was_too_short_is_not_the_next_one() -> None:
    """Services name milliseconds when others have their share; ten of those are over at once."""
    throttle = Throttle(4, draw=lambda: 1.0)
    now, found = 0.0, []
    for _ in range(4):
        throttle.refused(now, 0.02, now)
        found.append(throttle.pause(now))
        now += found[-1]
    assert found == pytest.approx([0.02, 2, 4, 8])
    throttle.refused(now, 30.0, now)
    assert throttle.pause(now) == pytest.approx(30)


def test_a_wait_for_the_caller_is_not_waited() -> None:
    """He may have better to do."""
    assert Throttle(4).refused(LONG_AGO, 600.0, 0.0)
    assert not Throttle(4).refused(LONG_AGO, 601.0, 0.0)


def test_after_many_pauses_without_an_answer_there_is_no_hope() -> None:
    """An answer brings it back."""
    throttle = Throttle(4)
    sent = [100.0 * number for number in range(MAX_PAUSES + 1)]
    assert [throttle.refused(now, 5.0, now) for now in sent] == [True] * MAX_PAUSES + [False]
    throttle.answered()
    assert throttle.refused(2 * sent[-1], 5.0, 2 * sent[-1])


def test_what_finds_no_place_tries_again_but_not_for_ever() -> None:
    """Each of those that may be under way as often as there may be pauses."""
    throttle = Throttle(2)
    assert [throttle.turned_back() for _ in range(2 * MAX_PAUSES + 1)] == [True] * 2 * MAX_PAUSES + [False]
    throttle.answered()
    assert throttle.turned_back()
