"""Whether a request that failed is sent again, how, and after how long.

Nothing is sent twice unless it is known that the first never ran, or the caller asked for it. What is known
is the error's ``delivery``:

==========  ====================================================================================
NOT_SENT    over HTTP at once where the socket could not be had, else again after a pause
REJECTED    408, 409, 429 and 5xx after their delay; a lost id once with the whole input; the age
            limit at once on a new connection; any other 4xx never
UNKNOWN     raised; again after a pause with ``replay="unknown"``. A gateway's 504 is one: it gave up
            waiting for the service, which may go on
STARTED     raised
==========  ====================================================================================
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from responses_ws._core.fields import mapping, text
from responses_ws._core.options import check_count
from responses_ws._shown import shown
from responses_ws.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectionError,
    ConnectionLimitReached,
    ConnectionLost,
    Delivery,
    HandshakeError,
    NotFoundError,
    PayloadTooLarge,
    PoolClosed,
    PoolTimeout,
    PreviousResponseNotFound,
    ResponseError,
    ResponsesWSError,
    ResponseTimeout,
)
from responses_ws.messages import check_seconds

__all__ = ["RAISE", "Attempt", "Decision", "Next", "Retry", "acts_on_its_own", "decide", "worse"]

FIRST_PAUSE = 0.5
DOUBLINGS = 4
PASSING = frozenset({408, 409, 429})
"""Below 500, what may be otherwise the next time; the official SDK asks again after the same."""
LONGEST_RETRY_AFTER = 120.0
"""Seconds that are waited because the service says so; beyond that the caller decides."""

TOO_BIG = 1009
POLICY = 1008
"""Close codes that blame the request (RFC 6455, 7.4.1); on a socket it would meet the same again."""

NO_QUOTA = frozenset({"insufficient_quota", "insufficient_quota_error"})
LOST_REASONING = frozenset({"invalid_encrypted_content"})
SURER = (Delivery.NOT_SENT, Delivery.REJECTED, Delivery.UNKNOWN, Delivery.STARTED)
"""From what certainly did not run to what certainly did."""
ACTING_TOOLS = frozenset({"mcp", "shell", "computer", "computer_use", "computer_use_preview"})


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how long one call tries; in a chat each response is one. Immutable.

    408, 409, 429 and 5xx are asked again, but not a lack of quota; ``x-should-retry`` stands above that. A
    gateway's 504 or 524 is not, whatever it says, but with ``replay="unknown"``.

    Pauses are random between 0 and 0.5 s, 1 s, 2 s, up to 8 s, unless the service names its own
    (``retry-after-ms`` or ``retry-after``). With one of more than 120 s, or than is left of ``max_seconds``,
    the error is raised at once.

    :param max_retries: times that a call asks again; 0 means one request, ever, whatever happens. A socket
        that turns out dead before the request has left costs none, nor does the age limit of a connection.
    :param max_seconds: from the beginning of the call, after which it does not ask again; None means no
        limit.
    :param replay: ``unknown`` asks again also when the connection was lost after the request had left and
        nothing was heard of it, or a gateway gave up waiting for the answer: the service may have run it, and
        then it is paid twice. Never with tools that act on the service's side (``mcp``, ``shell``,
        ``computer``).
    :raises ConfigurationError: naming the parameter that cannot work.
    """

    max_retries: int = 2
    max_seconds: float | None = 60.0
    replay: Literal["never", "unknown"] = "never"

    def __post_init__(self) -> None:
        check_count("max_retries", self.max_retries, least=0)
        check_seconds("max_seconds", self.max_seconds)
        if self.replay not in ("never", "unknown"):
            raise ConfigurationError(f"replay must be 'never' or 'unknown', not {shown(self.replay)}")


class Next(enum.Enum):
    """What becomes of a request that failed."""

    RAISE = "raise"
    AGAIN = "again"
    """The same way, after the pause."""
    RECONNECT = "reconnect"
    """At once, on a new connection."""
    HTTP = "http"
    """At once, over HTTP."""
    FULL = "full"
    """At once, with the whole input and no previous id."""
    WITHOUT_REASONING = "without reasoning"
    """At once, with the whole input but for the reasoning, which the service cannot read any more."""
    WITHOUT_LANE = "without a lane"
    """At once, to a service that knows no lanes."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a call knows when a request of it has failed.

    :param retries: that were counted before.
    :param seconds_left: of the whole call; None means no limit.
    :param elapsed: seconds since the call began.
    :param reused: the connection was open before the call.
    :param fallback: the request may go over HTTP.
    :param ours: the session keeps the history, so that it can be sent whole.
    :param continued: the request names a previous response.
    :param acting: the request has tools that act on the service's side.
    :param on_lane: it went on a lane with a name.
    :param done: what was done before in this call.
    """

    retries: int = 0
    seconds_left: float | None = None
    elapsed: float = 0.0
    reused: bool = False
    fallback: bool = False
    ours: bool = False
    continued: bool = False
    acting: bool = False
    on_lane: bool = False
    done: frozenset[Next] = frozenset()


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do next.

    :param pause: seconds to wait before.
    :param counted: whether it is one of ``Retry.max_retries``.
    """

    next: Next
    pause: float = 0.0
    counted: bool = False


RAISE = Decision(Next.RAISE)


def decide(policy: Retry, error: ResponsesWSError, attempt: Attempt, draw: Callable[[], float]) -> Decision:
    """What to do about a request that failed with this error.

    :param draw: a random number from 0 to 1.
    """
    delivery = error.delivery
    if delivery is Delivery.STARTED or (delivery is not Delivery.NOT_SENT and policy.max_retries == 0):
        return RAISE
    found = DECIDE[delivery](policy, error, attempt)
    if found is Next.RAISE or (found is not Next.AGAIN and found in attempt.done):
        return RAISE
    return _pause(policy, error, attempt, draw) if found is Next.AGAIN else Decision(found)


def acts_on_its_own(payload: Mapping[str, Any]) -> bool:
    """Whether the service itself runs tools with effects for this request."""
    tools = payload.get("tools") or ()
    return any(text(mapping(tool).get("type")) in ACTING_TOOLS for tool in tools)


def _not_sent(_policy: Retry, error: ResponsesWSError, attempt: Attempt) -> Next:
    if isinstance(error, ResponseError):
        return _refused(error, attempt)
    if not isinstance(error, ConnectionError) or isinstance(error, PoolTimeout | PoolClosed):
        return Next.RAISE
    if isinstance(error, ResponseTimeout) and error.clock == "total":
        return Next.RAISE
    if attempt.reused and Next.RECONNECT not in attempt.done and _found_dead(error):
        return Next.RECONNECT
    if attempt.fallback:
        return Next.HTTP
    return Next.RAISE if _is_final(error) else Next.AGAIN


def _refused(error: ResponseError, attempt: Attempt) -> Next:
    """Before the request left: an upgrade was refused, or the connection's end was announced."""
    if isinstance(error, ConnectionLimitReached):
        return Next.RECONNECT
    if error.status == 429 or isinstance(error, AuthenticationError):
        return _again(error)
    return Next.HTTP if attempt.fallback else _again(error)


def _found_dead(error: ConnectionError) -> bool:
    """Whether a connection at rest turned out to be gone, for a reason that is not the request's."""
    return isinstance(error, ConnectionLost) and error.close_code not in (POLICY, TOO_BIG)


def _is_final(error: ConnectionError) -> bool:
    """Whether another attempt on a socket would meet the same."""
    if isinstance(error, HandshakeError):
        return error.status is not None and error.status < 500
    return isinstance(error, PayloadTooLarge) or not _is_blameless(error)


def _is_blameless(error: ConnectionError) -> bool:
    return not isinstance(error, ConnectionLost) or _found_dead(error)


def _rejected(_policy: Retry, error: ResponsesWSError, attempt: Attempt) -> Next:
    if not isinstance(error, ResponseError):
        return Next.RAISE
    if attempt.on_lane and error.param == "stream_id":
        return Next.WITHOUT_LANE
    if isinstance(error, PreviousResponseNotFound):
        return Next.FULL if attempt.ours and attempt.continued else Next.RAISE
    if isinstance(error, ConnectionLimitReached):
        return Next.RECONNECT
    if attempt.ours and not attempt.continued and _lost_reasoning(error):
        return Next.WITHOUT_REASONING
    return _again(error)


def _lost_reasoning(error: ResponseError) -> bool:
    """An item of the input that the service does not keep, or cannot decrypt. Only reasoning is like that."""
    if error.code in LOST_REASONING:
        return True
    return isinstance(error, NotFoundError) and (error.param or "").startswith("input")


def _again(error: ResponseError) -> Next:
    """By the service's own word, else by the status."""
    word = error.headers.get("x-should-retry")
    if word in ("true", "false"):
        return Next.AGAIN if word == "true" else Next.RAISE
    if error.code in NO_QUOTA or error.type in NO_QUOTA:
        return Next.RAISE
    status = error.status or 0
    return Next.AGAIN if status in PASSING or status >= 500 else Next.RAISE


def _unknown(policy: Retry, error: ResponsesWSError, attempt: Attempt) -> Next:
    if isinstance(error, ConnectionLost) and error.close_code == TOO_BIG:
        # The service says that it did not read the message.
        return Next.HTTP if attempt.fallback else Next.RAISE
    if policy.replay == "never" or attempt.acting:
        return Next.RAISE
    if isinstance(error, ResponseError):
        return _again(error)
    return Next.AGAIN if isinstance(error, ConnectionError) and _is_blameless(error) else Next.RAISE


DECIDE = {Delivery.NOT_SENT: _not_sent, Delivery.REJECTED: _rejected, Delivery.UNKNOWN: _unknown}


def _pause(policy: Retry, error: ResponsesWSError, attempt: Attempt, draw: Callable[[], float]) -> Decision:
    """Again, if the number of retries and the time allow it."""
    wanted = error.retry_after if isinstance(error, ResponseError) else None
    if attempt.retries >= policy.max_retries or (wanted or 0) > LONGEST_RETRY_AFTER:
        return RAISE
    # Random from 0 on, so that clients who failed together do not come back together.
    pause = wanted or draw() * FIRST_PAUSE * 2 ** min(attempt.retries, DOUBLINGS)
    budget = None if policy.max_seconds is None else policy.max_seconds - attempt.elapsed
    limits = [limit for limit in (budget, attempt.seconds_left) if limit is not None]
    if any(pause > limit for limit in limits):
        return RAISE
    return Decision(Next.AGAIN, pause, counted=True)


def worse(one: Delivery, other: Delivery) -> Delivery:
    """Of what two requests came to, what says more surely that one of them ran."""
    return max(one, other, key=SURER.index)
