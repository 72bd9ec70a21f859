"""The delivery table, as far as it is a decision: which failure is followed by what."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from responses_ws._core.retry import RAISE, Attempt, Decision, Next, Retry, acts_on_its_own, decide, worse
from responses_ws.errors import (
    AuthenticationError,
    BadRequestError,
    ConcurrencyError,
    ConfigurationError,
    ConnectionError,
    ConnectionLimitReached,
    ConnectionLost,
    Delivery,
    HandshakeError,
    NotFoundError,
    PayloadTooLarge,
    PermissionDeniedError,
    PoolTimeout,
    PreviousResponseNotFound,
    ProtocolError,
    RateLimitError,
    ResponseError,
    ResponsesWSError,
    ResponseTimeout,
    ServerError,
    StreamLimitReached,
)

N, R, U, S = Delivery.NOT_SENT, Delivery.REJECTED, Delivery.UNKNOWN, Delivery.STARTED
TO_HTTP = Attempt(fallback=True)
REUSED = Attempt(fallback=True, reused=True)
SOCKET_ONLY = Attempt()
ON_HTTP = Attempt()
DELTA = Attempt(ours=True, continued=True)
WHOLE = Attempt(ours=True)
DEFAULT = Retry()
REPLAY = Retry(replay="unknown")


def decided(
    error: ResponsesWSError, attempt: Attempt, policy: Retry = DEFAULT, draw: float = 0.5
) -> Decision:
    return decide(policy, error, attempt, lambda: draw)


def lost(delivery: Delivery, code: int | None = 1006) -> ConnectionLost:
    return ConnectionLost("gone", close_code=code, delivery=delivery)


def refused(status: int | None) -> HandshakeError:
    return HandshakeError("no", status=status, delivery=N)


ROWS: list[tuple[str, ResponsesWSError, Attempt, Next]] = [
    # NOT_SENT
    ("unreachable, HTTP allowed", ConnectionError("no", delivery=N), TO_HTTP, Next.HTTP),
    ("unreachable, socket only", ConnectionError("no", delivery=N), SOCKET_ONLY, Next.AGAIN),
    ("unreachable over HTTP", ConnectionError("no", delivery=N), ON_HTTP, Next.AGAIN),
    ("upgrade 401", AuthenticationError("no", status=401, delivery=N), TO_HTTP, Next.RAISE),
    ("upgrade 403", PermissionDeniedError("no", status=403, delivery=N), TO_HTTP, Next.HTTP),
    ("upgrade 403, socket only", PermissionDeniedError("", status=403, delivery=N), SOCKET_ONLY, Next.RAISE),
    ("upgrade 404", refused(404), TO_HTTP, Next.HTTP),
    ("upgrade 404, socket only", refused(404), SOCKET_ONLY, Next.RAISE),
    ("upgrade 302, socket only", refused(302), SOCKET_ONLY, Next.RAISE),
    ("upgrade 429", RateLimitError("no", status=429, delivery=N), TO_HTTP, Next.AGAIN),
    ("upgrade 500", refused(500), TO_HTTP, Next.HTTP),
    ("upgrade 500, socket only", refused(500), SOCKET_ONLY, Next.AGAIN),
    ("no HTTP at all", refused(None), TO_HTTP, Next.HTTP),
    ("no HTTP at all, socket only", refused(None), SOCKET_ONLY, Next.AGAIN),
    ("bad frames in the upgrade", ProtocolError("no", delivery=N), TO_HTTP, Next.HTTP),
    ("reused socket found dead", lost(N), REUSED, Next.RECONNECT),
    ("new socket dead before the last byte", lost(N), TO_HTTP, Next.HTTP),
    ("the same, socket only", lost(N), SOCKET_ONLY, Next.AGAIN),
    ("found closed with 1009", lost(N, 1009), REUSED, Next.HTTP),
    ("found closed with 1008, socket only", lost(N, 1008), Attempt(reused=True), Next.RAISE),
    ("sending made no progress", ResponseTimeout("", clock="send", delivery=N), REUSED, Next.HTTP),
    ("the whole call took too long", ResponseTimeout("", clock="total", delivery=N), REUSED, Next.RAISE),
    ("age limit before the last byte", ConnectionLimitReached("", delivery=N), REUSED, Next.RECONNECT),
    ("over the frame cap", PayloadTooLarge("", delivery=N), TO_HTTP, Next.HTTP),
    ("over the frame cap, socket only", PayloadTooLarge("", delivery=N), SOCKET_ONLY, Next.RAISE),
    ("busy", ConcurrencyError(""), TO_HTTP, Next.RAISE),
    ("bad argument", ConfigurationError(""), TO_HTTP, Next.RAISE),
    ("no place in the pool", PoolTimeout(""), TO_HTTP, Next.RAISE),
    # REJECTED
    ("429", RateLimitError("", status=429, delivery=R), SOCKET_ONLY, Next.AGAIN),
    ("408", BadRequestError("", status=408, delivery=R), TO_HTTP, Next.AGAIN),
    ("409", BadRequestError("", status=409, delivery=R), TO_HTTP, Next.AGAIN),
    ("no quota", RateLimitError("", status=429, code="insufficient_quota", delivery=R), TO_HTTP, Next.RAISE),
    ("overloaded", ServerError("", status=503, code="server_is_overloaded", delivery=R), TO_HTTP, Next.AGAIN),
    ("server_error without a code", ServerError("", status=500, delivery=R), TO_HTTP, Next.AGAIN),
    ("400", BadRequestError("", status=400, delivery=R), TO_HTTP, Next.RAISE),
    ("401", AuthenticationError("", status=401, delivery=R), TO_HTTP, Next.RAISE),
    ("404", NotFoundError("", status=404, param="model", delivery=R), WHOLE, Next.RAISE),
    ("no status at all", ResponseError("", delivery=R), TO_HTTP, Next.RAISE),
    ("lanes used up", StreamLimitReached("", status=400, delivery=R), TO_HTTP, Next.RAISE),
    ("lost id of ours", PreviousResponseNotFound("", status=400, delivery=R), DELTA, Next.FULL),
    ("lost id of the caller", PreviousResponseNotFound("", delivery=R), SOCKET_ONLY, Next.RAISE),
    ("lost id though none was sent", PreviousResponseNotFound("", delivery=R), WHOLE, Next.RAISE),
    ("age limit", ConnectionLimitReached("", status=400, delivery=R), SOCKET_ONLY, Next.RECONNECT),
    (
        "an item is not found in the whole input",
        NotFoundError("", status=404, param="input", delivery=R),
        WHOLE,
        Next.WITHOUT_REASONING,
    ),
    (
        "reasoning cannot be decrypted",
        BadRequestError("", status=400, code="invalid_encrypted_content", delivery=R),
        WHOLE,
        Next.WITHOUT_REASONING,
    ),
    (
        "the same in the caller's own input",
        BadRequestError("", status=400, code="invalid_encrypted_content", delivery=R),
        SOCKET_ONLY,
        Next.RAISE,
    ),
    # UNKNOWN
    ("lost unheard", lost(U), TO_HTTP, Next.RAISE),
    ("message too big for the service", lost(U, 1009), TO_HTTP, Next.HTTP),
    ("the same, socket only", lost(U, 1009), SOCKET_ONLY, Next.RAISE),
    # STARTED
    ("lost in mid-answer", lost(S), TO_HTTP, Next.RAISE),
    ("failed in mid-answer", ServerError("", status=500, delivery=S), TO_HTTP, Next.RAISE),
    ("rate limit in mid-answer", RateLimitError("", status=429, delivery=S), TO_HTTP, Next.RAISE),
    ("age limit in mid-answer", ConnectionLimitReached("", delivery=S), TO_HTTP, Next.RAISE),
]


@pytest.mark.parametrize(
    ("error", "attempt", "expected"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS]
)
def test_each_failure_has_one_answer(error: ResponsesWSError, attempt: Attempt, expected: Next) -> None:
    assert decided(error, attempt).next is expected


@pytest.mark.parametrize(("error", "attempt"), [row[1:3] for row in ROWS], ids=[r[0] for r in ROWS])
def test_without_retries_nothing_that_may_have_left_is_sent_again(
    error: ResponsesWSError, attempt: Attempt
) -> None:
    """One request, ever: only what never left may go another way, and only at once."""
    decision = decided(error, attempt, Retry(max_retries=0, replay="unknown"))
    if error.delivery is not N:
        assert decision == RAISE
    assert decision.next in (Next.RAISE, Next.HTTP, Next.RECONNECT)


@pytest.mark.parametrize(
    ("error", "attempt", "expected"),
    [
        (lost(U), TO_HTTP, Next.AGAIN),
        (lost(U), ON_HTTP, Next.AGAIN),
        (lost(U, 1008), TO_HTTP, Next.RAISE),
        (lost(U, 1009), SOCKET_ONLY, Next.RAISE),
        (lost(U), Attempt(acting=True), Next.RAISE),
        (ServerError("", status=504, delivery=U), ON_HTTP, Next.AGAIN),
        (ServerError("", status=504, delivery=U), Attempt(acting=True), Next.RAISE),
        (ServerError("", status=504, headers={"x-should-retry": "false"}, delivery=U), ON_HTTP, Next.RAISE),
        (lost(S), TO_HTTP, Next.RAISE),
    ],
)
def test_replay_is_for_what_was_not_heard_of(
    error: ResponsesWSError, attempt: Attempt, expected: Next
) -> None:
    """Only with leave, never once an event was seen, and never with tools that act on the service's side."""
    assert decided(error, attempt, REPLAY).next is expected


@pytest.mark.parametrize("step", [Next.FULL, Next.RECONNECT, Next.WITHOUT_REASONING])
def test_what_is_free_is_done_once(step: Next) -> None:
    """A service that always says the same would be asked for ever."""
    errors: dict[Next, tuple[ResponsesWSError, Attempt]] = {
        Next.FULL: (PreviousResponseNotFound("", delivery=R), DELTA),
        Next.RECONNECT: (ConnectionLimitReached("", delivery=R), SOCKET_ONLY),
        Next.WITHOUT_REASONING: (NotFoundError("", param="input", status=404, delivery=R), WHOLE),
    }
    error, attempt = errors[step]
    assert decided(error, attempt) == Decision(step, pause=0.0, counted=False)
    again = dataclasses.replace(attempt, done=frozenset({step}))
    assert decided(error, again).next in (Next.RAISE, Next.AGAIN)
    if step is not Next.RECONNECT:
        assert decided(error, again) == RAISE


@pytest.mark.parametrize(
    ("retries", "longest"), [(0, 0.5), (1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0), (9, 8.0)]
)
def test_pauses_are_random_and_grow(retries: int, longest: float) -> None:
    """Full jitter: anything from 0 to 0.5, 1, 2, 4 and then 8 seconds."""
    policy = Retry(max_retries=10)
    attempt = Attempt(retries=retries)
    for draw in (0.0, 0.25, 1.0):
        decision = decided(ServerError("", status=500, delivery=R), attempt, policy, draw)
        assert decision == Decision(Next.AGAIN, draw * longest, counted=True)


@pytest.mark.parametrize("retries", [1023, 1024, 1025, 1_000_000])
def test_a_caller_may_ask_again_for_days(retries: int) -> None:
    policy = Retry(max_retries=retries + 1, max_seconds=None)
    decision = decided(ServerError("", status=500, delivery=R), Attempt(retries=retries), policy, 1.0)
    assert decision == Decision(Next.AGAIN, 8.0, counted=True)


@pytest.mark.parametrize(
    ("error", "pause"),
    [
        (RateLimitError("", status=429, retry_after=7.5, delivery=R), 7.5),
        (RateLimitError("", status=429, retry_after=0.0, delivery=R), 0.25),
        (RateLimitError("", status=429, retry_after=120.0, delivery=R), 120.0),
        (RateLimitError("", status=429, retry_after=120.1, delivery=R), None),
        (RateLimitError("", status=429, retry_after=3.0, delivery=N), 3.0),
        (ServerError("", status=503, retry_after=2.0, delivery=R), 2.0),
        (
            RateLimitError("", status=429, retry_after=500, headers={"x-should-retry": "true"}, delivery=R),
            None,
        ),
    ],
)
def test_the_service_names_its_own_pause(error: ResponsesWSError, pause: float | None) -> None:
    """retry-after counts from more than 0 to 120 seconds; beyond that the caller decides."""
    decision = decided(error, SOCKET_ONLY, Retry(max_seconds=None))
    assert decision == (RAISE if pause is None else Decision(Next.AGAIN, pause, counted=True))


@pytest.mark.parametrize(
    ("word", "status", "expected"),
    [
        ("true", 400, Next.AGAIN),
        ("false", 500, Next.RAISE),
        ("false", 429, Next.RAISE),
        ("perhaps", 500, Next.AGAIN),
        ("perhaps", 400, Next.RAISE),
    ],
)
def test_the_service_says_whether_to_ask_again(word: str, status: int, expected: Next) -> None:
    """x-should-retry stands above the status."""
    error = ResponseError("", status=status, headers={"x-should-retry": word}, delivery=R)
    assert decided(error, SOCKET_ONLY).next is expected


@pytest.mark.parametrize(
    ("policy", "fields", "goes_on"),
    [
        (Retry(max_retries=2), {"retries": 1}, True),
        (Retry(max_retries=2), {"retries": 2}, False),
        (Retry(max_seconds=10), {"elapsed": 4.0}, True),
        (Retry(max_seconds=10), {"elapsed": 6.0}, False),
        (Retry(max_seconds=None), {"elapsed": 1e6}, True),
        (Retry(), {"seconds_left": 5.0}, True),
        (Retry(), {"seconds_left": 4.9}, False),
    ],
)
def test_a_call_has_one_budget(policy: Retry, fields: dict[str, Any], goes_on: bool) -> None:
    """Retries, seconds, and the deadline of the whole call: a pause that does not fit is not made."""
    error = RateLimitError("", status=429, retry_after=5.0, delivery=R)
    assert decided(error, Attempt(**fields), policy).next is (Next.AGAIN if goes_on else Next.RAISE)


@pytest.mark.parametrize(
    "options",
    [
        {"max_retries": -1},
        {"max_retries": 1.5},
        {"max_retries": True},
        {"max_seconds": 0},
        {"max_seconds": float("inf")},
        {"replay": "always"},
    ],
)
def test_a_policy_that_cannot_work_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Retry(**options)


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Retry().max_retries = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("tools", "acting"),
    [
        (None, False),
        ([], False),
        ([{"type": "function", "name": "mcp"}], False),
        ([{"type": "web_search"}, {"type": "mcp"}], True),
        (({"type": "shell"},), True),
        ([{"type": "computer_use_preview"}], True),
        (["mcp"], False),
    ],
)
def test_tools_that_act_on_their_own(tools: object, acting: bool) -> None:
    """The service runs them itself, so that asking twice can do the thing twice."""
    assert acts_on_its_own({"tools": tools}) is acting


@pytest.mark.parametrize(
    ("one", "other"),
    [*itertools.combinations((Delivery.NOT_SENT, Delivery.REJECTED, Delivery.UNKNOWN, Delivery.STARTED), 2)],
)
def test_of_two_requests_the_one_that_surely_ran_is_told(one: Delivery, other: Delivery) -> None:
    assert worse(one, other) is worse(other, one) is worse(other, other) is other
