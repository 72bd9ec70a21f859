"""How a turn ends: each end ends exactly one turn, and an error says how far the request got."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from shell import (
    SECONDS,
    Event,
    answer,
    ask,
    completed,
    created,
    delivered,
    delta,
    error_event,
    join_readers,
    websocket,
)

from responses_ws import (
    AuthenticationError,
    BadRequestError,
    ConnectionError,
    ConnectionLimitReached,
    ConnectionLost,
    Delivery,
    Limits,
    Message,
    PayloadTooLarge,
    PreviousResponseNotFound,
    ProtocolError,
    RateLimitError,
    ResponseCancelled,
    ResponseError,
    ResponsesWSError,
    ResponseTimeout,
    ServerError,
    Timeouts,
    WebSocket,
)
from responses_ws.testing import (
    Model,
    ScriptedServer,
    Step,
    close,
    close_frame,
    eof,
    expect,
    expect_gone,
    fragments,
    half_frame,
    hang,
    optional,
    raw,
    raw_handshake,
    refuse,
    reset,
    send,
    send_binary,
)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def turn(ws: WebSocket, **fields: Any) -> Message | ResponsesWSError:
    """What became of one turn."""
    try:
        return ws.create_response(model="m", input="hi", **fields)
    except ResponsesWSError as error:
        return error


def failed(response_id: str | None = "resp_1", code: str = "server_error", status: str = "failed") -> Event:
    response = {"id": response_id, "status": status, "error": {"code": code, "message": "told to"}}
    return {"type": "response.failed", "response": response}


def done(response_id: str | None = None) -> Event:
    return {"type": "response.done", "response": {"id": response_id} if response_id else {}}


FLAT_ERROR = {"type": "error", "code": "server_error", "message": "told to", "param": None}
UNTYPED_ERROR = {"error": {"message": "told to", "type": "api_error"}}
BEGUN = [created("resp_1"), delta("one")]

# -- every terminal event


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after the next request"])
@pytest.mark.parametrize(
    ("events", "trailing", "status", "error"),
    [
        pytest.param([*BEGUN, completed("resp_1")], [], "completed", None, id="completed"),
        pytest.param([completed("resp_1")], [], "completed", None, id="completed alone"),
        pytest.param(
            [*BEGUN, completed("resp_1", "incomplete", "response.incomplete")],
            [],
            "incomplete",
            None,
            id="incomplete",
        ),
        pytest.param([*BEGUN, failed()], [], None, ServerError, id="failed"),
        pytest.param([failed()], [], None, ServerError, id="failed alone"),
        pytest.param(
            [*BEGUN, completed("resp_1", "cancelled", "response.cancelled")],
            [],
            None,
            ResponseCancelled,
            id="cancelled",
        ),
        pytest.param([*BEGUN, error_event()], [], None, ServerError, id="error"),
        pytest.param([error_event()], [], None, ServerError, id="error alone"),
        pytest.param([*BEGUN, FLAT_ERROR], [], None, ServerError, id="flat error"),
        pytest.param([FLAT_ERROR], [], None, ServerError, id="flat error alone"),
        pytest.param([*BEGUN, UNTYPED_ERROR], [], None, ResponseError, id="error without a type"),
        pytest.param([UNTYPED_ERROR], [], None, ResponseError, id="error without a type alone"),
        pytest.param(
            [*BEGUN, {"type": "response.error", "error": {"code": "server_error"}}],
            [],
            None,
            ServerError,
            id="response.error",
        ),
        pytest.param([*BEGUN, error_event()], [failed()], None, ServerError, id="error, then failed"),
        pytest.param([error_event()], [failed()], None, ServerError, id="error alone, then failed"),
        pytest.param(
            [*BEGUN, error_event()], [failed(None)], None, ServerError, id="error, then failed without an id"
        ),
        pytest.param([*BEGUN, done("resp_1")], [], "completed", None, id="done"),
        pytest.param([*BEGUN, done()], [], "completed", None, id="done without an id"),
        pytest.param([done("resp_1")], [], "completed", None, id="done alone"),
        pytest.param(
            [*BEGUN, completed("resp_1")], [done("resp_1")], "completed", None, id="completed, then done"
        ),
        pytest.param(
            [*BEGUN, completed("resp_1")],
            [done()],
            "completed",
            None,
            id="completed, then done without an id",
        ),
        pytest.param(
            [completed("resp_1")], [done("resp_1")], "completed", None, id="completed alone, then done"
        ),
        pytest.param([*BEGUN, failed()], [done("resp_1")], None, ServerError, id="failed, then done"),
        pytest.param([*BEGUN, error_event()], [done("resp_1")], None, ServerError, id="error, then done"),
        pytest.param([error_event()], [done()], None, ServerError, id="error alone, then done without an id"),
        pytest.param(
            [*BEGUN, completed("resp_1", "incomplete", "response.incomplete")],
            [completed("resp_1", "incomplete", "response.done")],
            "incomplete",
            None,
            id="incomplete, then done",
        ),
        pytest.param(
            [*BEGUN, completed("resp_1")], [completed("resp_1")], "completed", None, id="completed twice"
        ),
        pytest.param(
            [*BEGUN, completed("resp_1")],
            [delta("late", "msg_1"), {"type": "keepalive"}, {"type": "vendor.statistics", "cost": 1}],
            "completed",
            None,
            id="completed, then stragglers",
        ),
    ],
)
def test_a_terminal_ends_exactly_one_turn(
    server: ScriptedServer,
    events: list[Event],
    trailing: list[Event],
    status: str | None,
    error: type[ResponsesWSError] | None,
    late: bool,
) -> None:
    """The next turn on the same connection gets its own answer and nothing else."""
    next_turn = [expect(), send(*trailing)] if late else [send(*trailing), expect()]
    server.connection(
        expect(),
        send(*events),
        *next_turn,
        send(*answer("resp_2", "two")),
        expect(),
        send(*answer("resp_3", "3")),
    )
    with websocket(server) as ws:
        first = turn(ws)
        if error is None:
            assert isinstance(first, Message)
            assert first.status == status
            assert first.content == ("one" if events[0]["type"] == "response.created" else "")
            assert first.response_id == "resp_1"
        else:
            assert type(first) is error
        assert not ws.in_flight
        second = turn(ws)
        assert isinstance(second, Message), second
        assert (second.response_id, second.content, second.status) == ("resp_2", "two", "completed")
        third = turn(ws)
        assert isinstance(third, Message), third
        assert (third.response_id, third.content) == ("resp_3", "3")
    assert len(server.connections) == 1


@pytest.mark.parametrize(
    ("kind", "given", "status"),
    [
        ("response.completed", "completed", "completed"),
        ("response.completed", None, "completed"),
        ("response.completed", 7, "completed"),
        ("response.completed", "incomplete", "incomplete"),
        ("response.completed", "failed", "failed"),
        ("response.completed", "queued", "queued"),
        ("response.completed", "in_progress", "in_progress"),
        ("response.completed", "cancelled", "cancelled"),
        ("response.completed", "made_up", "made_up"),
        ("response.incomplete", "completed", "incomplete"),
        ("response.incomplete", "in_progress", "incomplete"),
        ("response.incomplete", "failed", "failed"),
        ("response.failed", "completed", "failed"),
        ("response.failed", "incomplete", "failed"),
        ("response.failed", None, "failed"),
        ("response.done", "failed", "failed"),
        ("response.done", "incomplete", "incomplete"),
        ("response.done", None, "completed"),
        ("response.finished_of_a_vendor", "completed", "completed"),
        ("response.finished_of_a_vendor", "failed", "failed"),
    ],
)
def test_where_type_and_status_disagree_the_stricter_counts(
    server: ScriptedServer, kind: str, given: Any, status: str
) -> None:
    """``failed`` and ``cancelled`` raise, whatever the type; any other status is that of the Message."""
    error = {"code": "rate_limit_exceeded", "message": "told to"}
    response = {"id": "resp_1", "status": given, "error": error if status == "failed" else None}
    server.connection(
        expect(), send(*BEGUN, {"type": kind, "response": response}), expect(), send(*answer("resp_2", "two"))
    )
    with websocket(server) as ws:
        first = turn(ws)
        if status == "failed":
            assert isinstance(first, RateLimitError)
            assert (first.code, first.message, first.delivery) == (
                "rate_limit_exceeded",
                "told to",
                Delivery.STARTED,
            )
        if status == "cancelled":
            assert isinstance(first, ResponseCancelled)
            assert first.delivery is Delivery.STARTED
        if isinstance(first, ResponsesWSError):
            first = first.partial or Message()
        assert (first.status, first.content, first.response_id) == (status, "one", "resp_1")
        assert ask(ws) == "two"


# -- how far a request got

KEEPALIVE = {"type": "keepalive"}


@pytest.mark.parametrize(
    ("events", "delivery", "content", "response_id"),
    [
        pytest.param([], Delivery.REJECTED, None, None, id="nothing"),
        pytest.param([KEEPALIVE], Delivery.REJECTED, None, None, id="a keepalive"),
        pytest.param([{"type": "vendor.x"}], Delivery.REJECTED, None, None, id="a vendor's event"),
        pytest.param([created("resp_1")], Delivery.STARTED, "", "resp_1", id="created"),
        pytest.param([created("resp_1"), KEEPALIVE], Delivery.STARTED, "", "resp_1", id="created, keepalive"),
        pytest.param([delta("one")], Delivery.STARTED, "one", None, id="a delta alone"),
        pytest.param([*BEGUN, delta(" two")], Delivery.STARTED, "one two", "resp_1", id="deltas"),
    ],
)
@pytest.mark.parametrize("error", [error_event(), FLAT_ERROR, UNTYPED_ERROR])
def test_an_error_says_how_far_the_request_got(
    server: ScriptedServer,
    events: list[Event],
    error: Event,
    delivery: Delivery,
    content: str | None,
    response_id: str | None,
) -> None:
    """REJECTED before the first event of the response, STARTED after it, with what there is of the answer."""
    server.connection(expect(), send(*events, error), expect(), send(*answer("resp_2", "two")))
    with websocket(server) as ws:
        failure = turn(ws)
        assert isinstance(failure, ResponseError)
        check(failure, delivery, content, response_id)
        assert failure.raw == error
        assert ask(ws) == "two"
    assert len(server.connections) == 1


def check(failure: object, delivery: Delivery, content: str | None, response_id: str | None) -> None:
    """What every error carries."""
    assert isinstance(failure, ResponsesWSError)
    assert failure.delivery is delivery
    assert failure.response_id == response_id
    if content is None:
        assert failure.partial is None
        return
    assert failure.partial is not None
    assert (failure.partial.content, failure.partial.response_id) == (content, response_id)
    assert failure.partial.status == "in_progress"
    assert failure.partial.raw is None


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("previous_response_not_found", 400, PreviousResponseNotFound),
        ("invalid_request_error", 400, BadRequestError),
        ("invalid_api_key", 401, AuthenticationError),
        ("rate_limit_exceeded", 429, RateLimitError),
        ("server_is_overloaded", 503, ServerError),
    ],
)
def test_an_error_of_the_service_keeps_the_connection(
    server: ScriptedServer, code: str, status: int, error: type[ResponseError]
) -> None:
    """It ends its turn and nothing else."""
    server.connection(expect(), send(error_event(code, status)), expect(), send(*answer("resp_2", "two")))
    with websocket(server) as ws:
        failure = turn(ws)
        assert type(failure) is error
        assert (failure.code, failure.status, failure.delivery) == (code, status, Delivery.REJECTED)
        assert ws.connected
        assert ask(ws) == "two"
    assert len(server.connections) == 1


@pytest.mark.parametrize(
    ("events", "delivery", "content", "response_id"),
    [([], Delivery.REJECTED, None, None), (BEGUN, Delivery.STARTED, "one", "resp_1")],
)
@pytest.mark.parametrize("closes", [True, False])
def test_the_age_limit_ends_the_connection(
    server: ScriptedServer,
    events: list[Event],
    delivery: Delivery,
    content: str | None,
    response_id: str | None,
    closes: bool,
) -> None:
    """Whoever runs gets ConnectionLimitReached, and the socket is not used again, closed or not."""
    end: list[Step] = [optional(close(1000))] if closes else []
    server.connection(expect(), send(*events, error_event("websocket_connection_limit_reached", 400)), *end)
    server.connection(expect(), send(*answer("resp_2", "two")))
    with websocket(server) as ws:
        failure = turn(ws)
        assert type(failure) is ConnectionLimitReached
        check(failure, delivery, content, response_id)
        assert ask(ws) == "two"
    assert len(server.connections) == 2


# -- a close before the terminal event

CLOSES: dict[str, tuple[Step, int, str]] = {
    "1000": (close(1000, "session over"), 1000, "session over"),
    "1001": (close(1001, "going away"), 1001, "going away"),
    "no code": (close(None), 1005, ""),
    "1008": (close(1008, "policy"), 1008, "policy"),
    "1009": (close(1009), 1009, ""),
    "1011": (close(1011, "keepalive ping timeout"), 1011, "keepalive ping timeout"),
    "1012": (close(1012, "\u00e9" * 61), 1012, "\u00e9" * 61),
    "1013": (close(1013), 1013, ""),
    "3000": (close(3000), 3000, ""),
    "4402": (close(4402, "out of credit"), 4402, "out of credit"),
    "end of TCP": (eof(), 1006, ""),
    "reset": (reset(), 1006, ""),
}
POSITIONS: dict[str, tuple[list[Step], Delivery, str | None, str | None]] = {
    "nothing": ([], Delivery.UNKNOWN, None, None),
    "a keepalive": ([send(KEEPALIVE)], Delivery.UNKNOWN, None, None),
    "created": ([send(created("resp_1"))], Delivery.STARTED, "", "resp_1"),
    "deltas": ([send(*BEGUN, delta(" two"))], Delivery.STARTED, "one two", "resp_1"),
    "deltas without created": ([send(delta("one"))], Delivery.STARTED, "one", None),
    "all text": (
        [
            send(
                *BEGUN,
                {"type": "response.output_text.done", "item_id": "msg_1", "output_index": 0, "text": "one"},
            )
        ],
        Delivery.STARTED,
        "one",
        "resp_1",
    ),
}


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("end", CLOSES)
def test_a_close_before_the_terminal_event(server: ScriptedServer, end: str, position: str) -> None:
    """Any end, 1000 included, is ConnectionLost with code, reason and the part that came."""
    check_close(server, end, position)


@pytest.mark.parametrize("end", ["1000", "no code", "4402", "end of TCP", "reset"])
def test_a_close_before_the_terminal_event_over_tls(end: str) -> None:
    """The same, also where the end comes without a word in TLS."""
    with ScriptedServer(tls=True) as server:
        check_close(server, end, "deltas")


def check_close(server: ScriptedServer, end: str, position: str) -> None:
    step, code, reason = CLOSES[end]
    steps, delivery, content, response_id = POSITIONS[position]
    # A reset throws away what the client has not read yet.
    read = delivered("read") if end == "reset" else []
    server.connection(expect(), *steps, *read, step)
    server.connection(expect(), send(*answer("resp_2", "two")))
    with websocket(server) as ws:
        failure = turn(ws)
        assert type(failure) is ConnectionLost
        assert (failure.close_code, failure.close_reason) == (code, reason)
        check(failure, delivery, content, response_id)
        assert not ws.in_flight
        assert not ws.connected
        assert ws.last_response_id is None
        assert ask(ws) == "two"
    assert len(server.connections) == 2
    assert len(server.requests) == 2


def test_an_end_inside_a_frame(server: ScriptedServer) -> None:
    """Half an event is no event; the whole ones before it are in the part."""
    server.connection(expect(), send(*BEGUN), half_frame(completed("resp_1")), eof())
    with websocket(server) as ws:
        failure = turn(ws)
        assert type(failure) is ConnectionLost
        assert failure.close_code == 1006
        check(failure, Delivery.STARTED, "one", "resp_1")


def test_the_part_holds_what_there_is_of_tool_calls(server: ScriptedServer) -> None:
    """With the arguments as far as they came."""
    item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": ""}
    arguments = {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "output_index": 0}
    server.connection(
        expect(),
        send(
            created("resp_1"),
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {**arguments, "delta": '{"a": '},
        ),
        close(1011),
    )
    with websocket(server) as ws:
        failure = turn(ws)
        assert isinstance(failure, ConnectionLost)
        assert failure.partial is not None
        assert failure.partial.tool_calls is not None
        call = failure.partial.tool_calls["call_1"]
        assert (call.name, call.arguments) == ("f", '{"a": ')
        assert failure.partial.model_id == "m"


def test_a_close_right_after_the_terminal_event_harms_nothing(server: ScriptedServer) -> None:
    """Some gateways close after each answer: the answer counts, and the next call connects."""
    for number in (1, 2, 3):
        server.connection(expect(), send(*answer(f"resp_{number}", f"answer {number}")), close(1000))
    with websocket(server) as ws:
        for number in (1, 2, 3):
            assert ask(ws) == f"answer {number}"
            assert ws.last_response_id == f"resp_{number}"
            join_readers()
    assert len(server.connections) == 3


# -- what breaks the rules

LARGE = {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "x" * 50_000}
BREACHES: dict[str, tuple[Step, type[ConnectionError], int]] = {
    "no JSON": (send("not JSON"), ProtocolError, 1008),
    "no object": (send("[1, 2]"), ProtocolError, 1008),
    "NaN": (send('{"type": NaN}'), ProtocolError, 1008),
    "bad UTF-8": (send(b'{"type": "\xff"}'), ProtocolError, 1007),
    "nesting": (send("[" * 10_000 + "]" * 10_000), ProtocolError, 1008),
    "binary": (send_binary(b"{}"), ProtocolError, 1003),
    "reserved bits": (raw(b"\xc1\x02{}"), ProtocolError, 1002),
    "masked": (raw(b"\x81\x82\x00\x00\x00\x00{}"), ProtocolError, 1002),
    "bad close code": (close_frame(b"\x03\xed"), ProtocolError, 1002),
    "4 GiB": (raw(b"\x81\x7f\x00\x00\x00\x01\x00\x00\x00\x00"), PayloadTooLarge, 1009),
    "over the limit": (send(LARGE), PayloadTooLarge, 1009),
    "over the limit in fragments": (fragments(LARGE, 5000), PayloadTooLarge, 1009),
}


@pytest.mark.parametrize("position", ["nothing", "created", "deltas"])
@pytest.mark.parametrize("breach", BREACHES)
def test_what_breaks_the_rules_ends_the_connection(
    server: ScriptedServer, breach: str, position: str
) -> None:
    """A typed error with the part that came before; the peer is told why; the socket is not used again."""
    step, error, code = BREACHES[breach]
    steps, delivery, content, response_id = POSITIONS[position]
    server.connection(expect(), *steps, step, expect_gone())
    server.connection(expect(), send(*answer("resp_2", "two")))
    with websocket(server, limits=Limits(max_message_bytes=40_000)) as ws:
        failure = turn(ws)
        assert type(failure) is error
        check(failure, delivery, content, response_id)
        assert ask(ws) == "two"
    assert len(server.connections) == 2
    assert server.connections[0].gone.wait(SECONDS)
    if breach != "bad close code":
        assert server.connections[0].close_code == code


# -- clocks


@pytest.mark.parametrize("position", ["nothing", "deltas"])
@pytest.mark.parametrize("clock", ["response_timeout", "total"])
def test_a_clock_that_runs_out(server: ScriptedServer, clock: str, position: str) -> None:
    """The error names the clock and its seconds, and carries the part."""
    steps, delivery, content, response_id = POSITIONS[position]
    server.connection(expect(), *steps, expect_gone())
    server.connection(expect(), send(*answer("resp_2", "two")))
    options: dict[str, Any] = {"response_timeout": 0.15} if clock == "response_timeout" else {}
    total = 0.15 if clock == "total" else None
    with websocket(server, timeouts=Timeouts(total=total, drain=0.01), **options) as ws:
        failure = turn(ws)
        assert type(failure) is ResponseTimeout
        assert isinstance(failure, TimeoutError)
        assert (failure.clock, failure.seconds) == (clock, 0.15)
        assert clock in str(failure)
        assert "0.15" in str(failure)
        check(failure, delivery, content, response_id)
        assert ask(ws) == "two"
    assert len(server.connections) == 2


def test_a_call_that_cannot_connect_is_not_sent(server: ScriptedServer) -> None:
    """Whatever keeps it from connecting."""
    server.connection(expect(), send(*answer("resp_1", "one")), close(1001))
    with websocket(server, timeouts=Timeouts(connect=0.15)) as ws:
        ask(ws)
        join_readers()
        for steps in (
            [refuse(500)],
            [raw_handshake(b""), reset()],
            [raw_handshake(b"what?"), eof()],
            [hang()],
        ):
            server.connection(*steps)
            failure = turn(ws)
            assert isinstance(failure, ConnectionError)
            assert (failure.delivery, failure.partial) == (Delivery.NOT_SENT, None)
    assert len(server.requests) == 1


# -- the model's failures


@pytest.mark.parametrize("shape", ["wrapped", "flat"])
@pytest.mark.parametrize(
    ("when", "then_failed", "delivery"),
    [
        ("start", False, Delivery.REJECTED),
        ("created", False, Delivery.STARTED),
        ("created", True, Delivery.STARTED),
        ("delta", False, Delivery.STARTED),
        ("delta", True, Delivery.STARTED),
    ],
)
def test_a_failure_of_the_model_costs_one_turn(
    shape: str, when: str, then_failed: bool, delivery: Delivery
) -> None:
    """Ten failures in a row, each on its own turn, and good turns between them."""
    with ScriptedServer(model=Model(errors=shape)) as server, websocket(server) as ws:
        assert server.model is not None
        for number in range(10):
            server.model.fail_next("server_error", 500, when=when, then_failed=then_failed)
            failure = turn(ws)
            assert isinstance(failure, ServerError)
            assert failure.delivery is delivery
            assert ask(ws, f"turn {number}", previous_response_id=None) == f"You said: turn {number}."
        assert server.model.creates == 20
        assert len(server.connections) == 1
