"""A request is refused, or answered, while it is still being sent, and the connection breaks after that."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pooling import LANES, Service, chat, pool_of
from shell import KEY, SECONDS, Event, Task, created, delta, error_event, until

from responses_ws import (
    BadRequestError,
    ConnectionLost,
    Delivery,
    ResponseTimeout,
    Session,
    Timeouts,
    WebSocket,
    _linked,
)
from responses_ws._breakers import _breakers
from responses_ws._call import Call
from responses_ws.testing import ScriptedTransport

REFUSAL = error_event("request_too_large", 400)
BROKEN = ConnectionLost("broken", close_code=1006)
SLOW = ResponseTimeout("slow", clock="send", seconds=30)
SHORT = Timeouts(close=0.01)

Ask = Callable[[str], Any]


@pytest.fixture(autouse=True)
def short_waits_and_no_breaker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # A send that fails does not end the reader of a transport in memory, which is waited for.
    monkeypatch.setattr(_linked, "RELEASE_SECONDS", 0.02)
    _breakers.clear()
    yield
    _breakers.clear()


@pytest.fixture
def service() -> Service:
    return Service()


def web_socket(service: Service, lane: str | None = None) -> Iterator[Ask]:
    with WebSocket(KEY, endpoint=LANES, client_class=service.connector, timeouts=SHORT) as ws:
        on = ws if lane is None else ws.lane(lane)
        yield lambda text: on.create_response(model="m", input=text).content


def named_lane(service: Service) -> Iterator[Ask]:
    yield from web_socket(service, "a")


def session(service: Service) -> Iterator[Ask]:
    own = Session(KEY, endpoint=LANES, client_class=service.connector, timeouts=SHORT, transport="websocket")
    with own:
        yield lambda text: own.call({"model": "m", "input": text}).content


def pool_member(service: Service) -> Iterator[Ask]:
    with pool_of(service, LANES, max_connections=1, timeouts=SHORT) as pool:
        talk = chat(pool)
        yield lambda text: talk.ask(text).content


WAYS = [web_socket, named_lane, session, pool_member]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def ask(request: pytest.FixtureRequest, service: Service) -> Iterator[Ask]:
    """Asks the service; on a connection that has served before, so that a loss of it could be forgiven."""
    begun = request.param(service)
    ask = next(begun)
    assert ask("first") == "re first"
    yield ask
    assert next(begun, None) is None


def named(service: Service, event: Event) -> Event:
    """The event, on the lane of the last request."""
    lane = service.requests[-1][1].get("stream_id")
    return event if lane is None else {**event, "stream_id": lane}


def begin(service: Service, ask: Ask, *events: Event) -> tuple[Task, ScriptedTransport]:
    """A request of which half has left, and these events have come; the reader has handed them on."""
    transport = service.transports[-1]
    transport.block_send()
    task = Task(ask, "second")
    transport.wait_for("blocked")
    transport.deliver(*(named(service, event) for event in events))
    settle(transport)
    return task, transport


def settle(transport: ScriptedTransport) -> None:
    """Wait until the reader has handed on all that was delivered: it then asks for more."""
    transport.deliver()
    until(lambda: not transport._inbound.items)


@pytest.mark.parametrize("failure", [BROKEN, SLOW], ids=["broken", "slow"])
@pytest.mark.parametrize("closed", [False, True], ids=["", "closed by the server"])
def test_a_refusal_is_the_error_and_nothing_is_sent_again(
    service: Service, ask: Ask, failure: Exception, closed: bool
) -> None:
    """It is no loss that the breaker counts, and the lane is free."""
    task, transport = begin(service, ask, REFUSAL)
    if closed:
        transport.end(ConnectionLost("closed", close_code=1000))
        transport.wait_for("release")
    transport.fail_send(failure)
    error = task.error()
    assert isinstance(error, BadRequestError)
    assert (error.code, error.delivery) == ("request_too_large", Delivery.REJECTED)
    assert not _breakers
    assert ask("third") == "re third"
    assert service.asked == ["first", "third"]
    assert [each.calls.count("blocked") for each in service.transports] == [1, 0]


@pytest.mark.parametrize("failure", [BROKEN, SLOW], ids=["broken", "slow"])
def test_a_response_that_has_begun_is_not_asked_for_again(
    service: Service, ask: Ask, failure: Exception
) -> None:
    """What had come of it is told."""
    task, transport = begin(service, ask, created("resp_2"), delta("so far"))
    transport.fail_send(failure)
    error = task.error()
    assert isinstance(error, ConnectionLost)
    assert error.delivery is Delivery.STARTED
    assert error.partial is not None
    assert error.partial.content == "so far"
    assert ask("third") == "re third"
    assert service.asked == ["first", "third"]


def test_a_refusal_that_its_reader_has_not_handed_over_yet(
    service: Service, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request has its end, and the queue nothing: the caller waits for it and sends nothing."""
    routed, handed_over = threading.Event(), threading.Event()
    give = Call.give

    def give_late(call: Call, *given: Any) -> None:
        routed.set()
        assert handed_over.wait(SECONDS)
        give(call, *given)

    transport = service.transports[-1]
    transport.block_send()
    task = Task(ask, "second")
    transport.wait_for("blocked")
    monkeypatch.setattr(Call, "give", give_late)
    transport.deliver(named(service, REFUSAL))
    assert routed.wait(SECONDS)
    transport.fail_send(BROKEN)
    transport.wait_for("abort")
    task.join(0.1)
    assert task.is_alive()
    handed_over.set()
    assert isinstance(task.error(), BadRequestError)
    assert service.asked == ["first"]
    assert len(service.transports) == 1
