"""The breaker: when a host's WebSocket is left alone."""

from __future__ import annotations

import pytest

from responses_ws._core.breaker import CLOSED, Breaker, counts, refuses_sockets
from responses_ws.errors import (
    AuthenticationError,
    ConnectionError,
    ConnectionLimitReached,
    ConnectionLost,
    Delivery,
    HandshakeError,
    PayloadTooLarge,
    PermissionDeniedError,
    PoolTimeout,
    ProtocolError,
    RateLimitError,
    ResponsesWSError,
    ResponseTimeout,
    ServerError,
)


def after_losses(count: int, now: float = 0.0) -> Breaker:
    breaker = CLOSED
    for _ in range(count):
        breaker = breaker.lost(now)
    return breaker


@pytest.mark.parametrize(("losses", "allowed"), [(0, True), (1, True), (2, True), (3, False), (4, False)])
def test_three_losses_in_a_row_open_it(losses: int, allowed: bool) -> None:
    assert after_losses(losses).allows(0.0) is allowed


def test_a_response_that_came_to_its_end_makes_losses_forgotten() -> None:
    assert after_losses(2).worked().lost(0.0).allows(0.0)
    assert after_losses(3).worked() == CLOSED


def test_it_opens_for_60_seconds() -> None:
    breaker = after_losses(3, now=100.0)
    assert not breaker.allows(159.9)
    assert breaker.allows(160.0)


def test_one_caller_may_try_after_that() -> None:
    """The others are sent to HTTP until the one tells, or for another 60 seconds if it never does."""
    breaker = after_losses(3, now=0.0)
    probing = breaker.probe(60.0)
    assert not probing.allows(60.0)
    assert not probing.allows(119.9)
    assert probing.allows(120.0)
    assert probing.worked().allows(60.0)
    assert not probing.lost(61.0).allows(120.0)
    assert probing.lost(61.0).allows(121.0)


def test_trying_while_it_is_closed_changes_nothing() -> None:
    assert CLOSED.probe(5.0) == CLOSED
    assert after_losses(2).probe(5.0) == after_losses(2)


def test_where_there_is_no_websocket_it_opens_for_10_minutes() -> None:
    """Losses of connections that were open before do not shorten that."""
    breaker = CLOSED.refused(0.0)
    assert not breaker.allows(599.9)
    assert breaker.allows(600.0)
    assert not breaker.lost(1.0).allows(599.9)


LOST = ConnectionLost("gone", delivery=Delivery.STARTED)


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (LOST, True),
        (ConnectionError("unreachable"), True),
        (HandshakeError("no", status=500), True),
        (PermissionDeniedError("an edge that is busy", status=403), True),
        (ProtocolError("bad frame"), True),
        (ResponseTimeout("", clock="send"), True),
        (ResponseTimeout("", clock="response_timeout"), False),
        (ResponseTimeout("", clock="total"), False),
        (PayloadTooLarge(""), False),
        (PoolTimeout(""), False),
        (AuthenticationError("", status=401), False),
        (RateLimitError("", status=429), False),
        (ServerError("", status=500), False),
        (ConnectionLimitReached("", status=400), False),
    ],
)
def test_what_counts_as_a_loss(error: ResponsesWSError, counted: bool) -> None:
    """The transport's failures, in mid-answer too; the service's word never."""
    assert counts(error) is counted


@pytest.mark.parametrize(
    ("status", "no_socket"),
    [(404, True), (405, True), (426, True), (400, False), (500, False), (302, False), (None, False)],
)
def test_statuses_that_say_there_is_no_websocket(status: int | None, no_socket: bool) -> None:
    assert refuses_sockets(HandshakeError("no", status=status)) is no_socket
    assert not refuses_sockets(LOST)
