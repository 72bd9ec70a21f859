"""What servers and gateways do on the wire, short of what they should, and what becomes of it here.

Each behaviour was seen on a real gateway; the scripted server plays it.
"""

from __future__ import annotations

import base64
import io
import json
import socket
import time
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
    delta,
    error_event,
    join_readers,
)
from shell import websocket as unbounded_websocket

from responses_ws import (
    BadRequestError,
    ConfigurationError,
    ConnectionError,
    ConnectionLost,
    Delivery,
    Endpoint,
    HandshakeError,
    Limits,
    Message,
    PermissionDeniedError,
    PreviousResponseNotFound,
    RateLimitError,
    ResponseError,
    ResponseTimeout,
    ServerError,
    Timeouts,
    WebSocket,
)
from responses_ws._transport.base import Target
from responses_ws._transport.ws import SocketTransport
from responses_ws.testing import Connection as ServerConnection
from responses_ws.testing import (
    Model,
    ScriptedServer,
    Step,
    accept,
    close,
    close_frame,
    connect_reply,
    deaf,
    eof,
    expect,
    expect_close,
    expect_gone,
    expect_pong,
    frame,
    mark,
    optional,
    ping,
    raw,
    raw_handshake,
    read_bytes,
    refuse,
    reset,
    run,
    send,
    silence,
)

PING, CLOSE = 9, 8
MEBIBYTE = 1024 * 1024


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as found:
        yield found


def websocket(server: ScriptedServer, **options: Any) -> WebSocket:
    """A WebSocket to the server that does not wait for ever when an event is lost."""
    return unbounded_websocket(server, **{"response_timeout": SECONDS, **options})


def reply(server: ScriptedServer, *events: Event, **options: Any) -> Message:
    """The message that becomes of these events on a connection of its own."""
    server.connection(expect(), send(*events))
    with websocket(server, **options) as ws:
        return ws.create_response(model="m", input="hi")


# -- sequence numbers


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param([], id="none"),
        pytest.param([None, 7, None, 3, None], id="on a few events, without order"),
        pytest.param([0, 0, 0, 0, 0], id="all the same"),
        pytest.param([9, 8, 7, 6, 5], id="falling"),
        pytest.param([10**30, -1, 1.5, "3", []], id="no numbers"),
    ],
)
def test_sequence_numbers_mean_nothing(server: ScriptedServer, numbers: list[Any]) -> None:
    """Events count in the order in which they come, whatever ``sequence_number`` says."""
    events = answer("resp_1", "one ", "two ", "three")
    for event, number in zip(events, numbers, strict=False):
        if number is not None:
            event["sequence_number"] = number
    server.connection(expect(), send(*events), expect(), send(*answer("resp_2", "four")))
    with websocket(server) as ws:
        assert [ask(ws), ask(ws)] == ["one two three", "four"]


# -- a terminal type and a status that disagree


@pytest.mark.parametrize(
    ("kind", "status", "shown"),
    [
        ("response.completed", "incomplete", "incomplete"),
        ("response.completed", "queued", "queued"),
        ("response.completed", "in_progress", "in_progress"),
        ("response.incomplete", "completed", "incomplete"),
        ("response.incomplete", "queued", "incomplete"),
        ("response.done", "incomplete", "incomplete"),
    ],
)
def test_the_type_ends_the_turn_and_the_stricter_status_counts(
    server: ScriptedServer, kind: str, status: str, shown: str
) -> None:
    """The turn is over, so the next one runs on the same connection."""
    events = [created("resp_1"), delta("part"), completed("resp_1", status, kind)]
    server.connection(expect(), send(*events), expect(), send(*answer("resp_2", "next")))
    with websocket(server) as ws:
        message = ws.create_response(model="m", input="hi")
        assert (message.status, message.content) == (shown, "part")
        assert ws.last_response_id == (None if shown == "incomplete" else "resp_1")
        assert ask(ws) == "next"


@pytest.mark.parametrize(
    ("kind", "status"),
    [("response.completed", "failed"), ("response.failed", "completed"), ("response.incomplete", "failed")],
)
def test_a_failure_is_raised_whether_the_type_or_the_status_says_it(
    server: ScriptedServer, kind: str, status: str
) -> None:
    """The error carries the part, the chain does not move, and the connection goes on."""
    events = [created("resp_1"), delta("part"), completed("resp_1", status, kind)]
    server.connection(expect(), send(*events), expect(), send(*answer("resp_2", "next")))
    with websocket(server) as ws:
        with pytest.raises(ResponseError) as failed:
            ws.create_response(model="m", input="hi")
        assert failed.value.delivery is Delivery.STARTED
        assert failed.value.partial is not None
        assert failed.value.partial.content == "part"
        assert ws.last_response_id is None
        assert ask(ws) == "next"


# -- terminal events with little in them


@pytest.mark.parametrize(
    "stub",
    [
        {"type": "response.failed", "response": {"id": "resp_1", "status": "failed"}},
        {"type": "response.failed", "response": {"status": "failed", "error": None, "usage": None}},
        {"type": "response.failed", "response": {"error": {}}},
        {"type": "response.failed", "response": None},
        {"type": "response.failed"},
        {"type": "response.failed", "response": {"error": {"code": "server_error"}, "output": None}},
    ],
)
def test_a_failed_stub_is_a_failure(server: ScriptedServer, stub: Event) -> None:
    """``response.failed`` without output, model, usage or error is raised like a whole one."""
    with pytest.raises(ServerError) as failed:
        reply(server, created("resp_1"), delta("part"), stub)
    assert failed.value.partial is not None
    assert (failed.value.partial.content, failed.value.partial.response_id) == ("part", "resp_1")
    assert failed.value.partial.usage.input_tokens is None


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (None, (None, None, None)),
        ({}, (None, None, None)),
        ({"input_tokens": 0, "output_tokens": 0, "input_tokens_details": {"cached_tokens": 0}}, (0, 0, 0)),
        ({"prompt_tokens": 7, "completion_tokens": 3, "queue_time": {"ms": 2}}, (None, None, None)),
        ({"input_tokens": "7", "output_tokens": 3.5, "input_tokens_details": []}, (None, None, None)),
        ({"input_tokens": -1, "output_tokens": 5, "input_tokens_details": None}, (None, 5, None)),
        ([1, 2], (None, None, None)),
    ],
)
def test_an_unknown_count_is_none_and_a_given_zero_is_zero(
    server: ScriptedServer, usage: Any, tokens: tuple[int | None, ...]
) -> None:
    """Null, foreign and impossible fields of ``usage`` count as not given."""
    end = completed("resp_1")
    end["response"]["usage"] = usage
    message = reply(server, created("resp_1"), delta("text"), end)
    assert (message.input_tokens, message.output_tokens, message.cached_tokens) == tokens
    assert message.content == "text"


# -- a server that falls silent but goes on pinging


def keep_pinging(connection: ServerConnection) -> None:
    while True:
        connection.send_ping(b"still here")
        connection.receive_pong()
        connection.wait(lambda: False, 0.02)


def test_only_the_event_clock_ends_a_response_that_stopped(server: ScriptedServer) -> None:
    """Pings are no progress; the connection is not used again, the next call makes a new one."""
    server.connection(expect(), send(created("resp_1"), delta("part")), optional(run(keep_pinging)))
    server.connection(expect(), send(*answer("resp_2", "next")))
    with websocket(server, response_timeout=0.3, timeouts=Timeouts(drain=0.1)) as ws:
        with pytest.raises(ResponseTimeout) as ran_out:
            ws.create_response(model="m", input="hi")
        assert (ran_out.value.clock, ran_out.value.seconds) == ("response_timeout", 0.3)
        assert ran_out.value.partial is not None
        assert ran_out.value.partial.content == "part"
        assert ask(ws) == "next"
    assert [entry.connection for entry in server.log if (entry.direction, entry.kind) == ("in", "pong")][1:]
    assert len(server.connections) == 2


# -- half a character

FACE = "\U0001f600"
HIGH, LOW = "\ud83d", "\ude00"


def show(text: str | None) -> None:
    """What a user does with a chunk: print it, to an output that is strict."""
    print(text or "", file=io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), flush=True)


def text_done(text: str) -> Event:
    return {**delta(""), "type": "response.output_text.done", "text": text}


def item_done(text: str) -> Event:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
    return {"type": "response.output_item.done", "output_index": 0, "item": item}


def with_output(event: Event, *items: Event) -> Event:
    event["response"]["output"] = list(items)
    return event


@pytest.mark.parametrize(
    ("events", "text"),
    [
        pytest.param([delta(f"a{HIGH}"), delta(f"{LOW}b")], f"a{FACE}b", id="the deltas alone"),
        pytest.param([delta(HIGH), delta(LOW)], FACE, id="nothing but the halves"),
        pytest.param(
            [delta(f"a{HIGH}"), delta(""), delta(f"{LOW}b")], f"a{FACE}b", id="an empty one between"
        ),
        pytest.param([delta(f"a{HIGH}"), delta("b")], "a\ufffdb", id="no second half"),
        pytest.param([delta("a"), delta(f"{LOW}b")], "a\ufffdb", id="no first half"),
        pytest.param([delta(f"a{HIGH}")], "a\ufffd", id="a half at the end"),
        pytest.param(
            [delta(f"a{HIGH}"), delta("?"), text_done(f"a{FACE}b")], f"a{FACE}b", id="the done event is right"
        ),
        pytest.param(
            [delta(f"a{HIGH}"), text_done(f"a{HIGH}b")], "a\ufffdb", id="the done event has half of it too"
        ),
        pytest.param([delta(f"a{HIGH}"), item_done(f"a{FACE}")], f"a{FACE}", id="the item is right"),
    ],
)
def test_a_character_cut_in_two_is_mended_and_never_raises(
    server: ScriptedServer, events: list[Event], text: str
) -> None:
    """Chunks can be printed and encoded, and the final text has whole characters."""
    server.connection(expect(), send(created("resp_1"), *events, completed("resp_1")))
    with websocket(server) as ws, ws.stream(model="m", input="hi") as stream:
        for chunk in stream:
            show(chunk.content)
            show(repr(chunk))
        assert stream.message.content == text
    show(repr(stream.message))
    show(json.dumps(stream.message.output, ensure_ascii=False))


def test_output_items_are_kept_as_they_came(server: ScriptedServer) -> None:
    """A half that the service left in an item is shown mended; sending the item back says what is wrong."""
    message = reply(server, created("resp_1"), item_done(f"a{HIGH}b"), completed("resp_1"))
    assert message.content == "a\ufffdb"
    assert message.output[0]["content"][0]["text"] == f"a{HIGH}b"
    ws = websocket(server)
    with pytest.raises(ConfigurationError, match=r"input\[0\] .* surrogate"):
        ws.create_response(model="m", input=message.output)


def test_the_terminal_item_has_the_last_word_on_a_cut_character(server: ScriptedServer) -> None:
    """A pair that comes as two escapes in one text is one character."""
    end = with_output(completed("resp_1"), item_done(f"a{FACE}b")["item"])
    server.connection(expect(), send(created("resp_1"), delta(f"a{HIGH}"), json.dumps(end)))
    with websocket(server) as ws:
        assert ask(ws) == f"a{FACE}b"


def test_half_characters_in_arguments_reasoning_and_refusals(server: ScriptedServer) -> None:
    """Every kind of text is mended, not the answer alone."""
    kinds = {
        "response.function_call_arguments.delta": {"output_index": 1, "item_id": "fc_1"},
        "response.reasoning_text.delta": {"output_index": 2, "item_id": "rs_1", "content_index": 0},
        "response.refusal.delta": {"output_index": 3, "item_id": "msg_9", "content_index": 0},
    }
    events = [
        {"type": kind, **where, "delta": half}
        for kind, where in kinds.items()
        for half in (f"x{HIGH}", f"{LOW}y")
    ]
    server.connection(expect(), send(created("resp_1"), *events, completed("resp_1")))
    with websocket(server) as ws, ws.stream(model="m", input="hi") as stream:
        for chunk in stream:
            show(repr(chunk))
            show(f"{chunk.reasoning}{chunk.refusal}{chunk.tool_calls}")
        message = stream.message
    assert message.tool_calls is not None
    texts = [message.tool_calls["fc_1"].arguments, message.reasoning, message.refusal]
    assert texts == [f"x{FACE}y"] * 3


def test_the_part_of_a_lost_answer_has_whole_characters(server: ScriptedServer) -> None:
    """Half a character at the cut is held back."""
    server.connection(expect(), send(created("resp_1"), delta(f"a{HIGH}")), close(1011))
    with websocket(server) as ws, pytest.raises(ConnectionLost) as lost:
        ws.create_response(model="m", input="hi")
    assert lost.value.partial is not None
    show(lost.value.partial.content)
    assert lost.value.partial.content == "a"


# -- errors without a lane, with several lanes running


def with_lanes(server: ScriptedServer) -> WebSocket:
    endpoint = Endpoint(f"{server.url}/responses", max_in_flight=16, max_lanes=32)
    return websocket(server, endpoint=endpoint)


def on_lane(name: str, *events: Event) -> list[Event]:
    return [{**event, "stream_id": name} for event in events]


def test_an_error_without_a_lane_belongs_to_the_connection_when_several_run(server: ScriptedServer) -> None:
    """It is not charged to the response that happens to be read: all get it, and the connection ends.

    Whose request it refuses is not told, so that of none it is known that nothing ran.
    """
    begun = on_lane("a", created("resp_a"))
    server.connection(expect(stream_id="a"), send(*begun), expect(stream_id="b"), send(error_event("x", 500)))
    server.connection(expect(), send(*answer("resp_2", "next")))
    with with_lanes(server) as ws:
        streams = [ws.lane(name).stream(model="m", input="hi") for name in ("a", "b")]
        errors = []
        for stream in streams:
            with pytest.raises(ServerError) as failed:
                stream.run()
            errors.append(failed.value)
        assert [error.delivery for error in errors] == [Delivery.STARTED, Delivery.UNKNOWN]
        assert ask(ws) == "next"
    assert len(server.connections) == 2


def test_an_error_with_a_lane_belongs_to_it_alone(server: ScriptedServer) -> None:
    """The other lane goes on to its end on the same connection."""
    refused = on_lane("a", error_event("rate_limit_exceeded", 429))
    of_b = on_lane("b", *answer("resp_b", "b goes on"))
    begun = on_lane("a", created("resp_a"))
    server.connection(
        *[expect(), send(*begun), expect(), send(*refused, *of_b), expect(), send(*answer("resp_2", "next"))]
    )
    with with_lanes(server) as ws:
        a, b = (ws.lane(name).stream(model="m", input="hi") for name in ("a", "b"))
        with pytest.raises(RateLimitError):
            a.run()
        assert b.run().content == "b goes on"
        assert ask(ws) == "next"


@pytest.mark.parametrize("lane", [None, "someone-else", 7, ["a"]])
def test_an_error_with_any_lane_belongs_to_the_one_response_that_runs(
    server: ScriptedServer, lane: object
) -> None:
    """Where no lane was asked for, a server's own names mean nothing."""
    event = {**error_event("server_error"), "stream_id": lane}
    server.connection(expect(), send(created("resp_1"), event), expect(), send(*answer("resp_2", "next")))
    with websocket(server) as ws:
        with pytest.raises(ServerError):
            ask(ws)
        assert ask(ws) == "next"


# -- items that interleave


def added(index: int, item: Event) -> Event:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(index: int, item: Event) -> Event:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def call_item(name: str, arguments: str = "") -> Event:
    return {
        "type": "function_call",
        "id": f"fc_{name}",
        "call_id": f"call_{name}",
        "name": name,
        "arguments": arguments,
    }


def arguments_delta(index: int, name: str, text: str) -> Event:
    return {
        "type": "response.function_call_arguments.delta",
        "item_id": f"fc_{name}",
        "output_index": index,
        "delta": text,
    }


INTERLEAVED = [
    added(0, {"type": "message", "id": "msg_1", "role": "assistant", "content": []}),
    delta("It "),
    added(1, call_item("one")),
    arguments_delta(1, "one", '{"a"'),
    added(2, call_item("two")),
    arguments_delta(2, "two", '{"b"'),
    arguments_delta(1, "one", ": 1}"),
    delta("rains."),
    {
        "type": "response.refusal.delta",
        "item_id": "msg_1",
        "output_index": 0,
        "content_index": 1,
        "delta": "But ",
    },
    arguments_delta(2, "two", ": 2}"),
    {
        "type": "response.refusal.delta",
        "item_id": "msg_1",
        "output_index": 0,
        "content_index": 1,
        "delta": "no.",
    },
    done(2, call_item("two", '{"b": 2}')),
    text_done("It rains."),
    done(1, call_item("one", '{"a": 1}')),
]


@pytest.mark.parametrize("closed", [True, False], ids=["with done events", "deltas alone"])
def test_items_that_interleave_come_apart(server: ScriptedServer, closed: bool) -> None:
    """A call opens inside of another, a text closes after it, a refusal opens inside of the text."""
    events = [event for event in INTERLEAVED if closed or not event["type"].endswith(".done")]
    message = reply(server, created("resp_1"), *events, completed("resp_1"))
    assert (message.content, message.refusal) == ("It rains.", "But no.")
    assert message.tool_calls is not None
    assert [(call.id, call.name, call.arguments) for call in message.tool_calls.values()] == [
        ("call_one", "one", '{"a": 1}'),
        ("call_two", "two", '{"b": 2}'),
    ]


# -- events that never come

SUMMARY = {
    "type": "response.reasoning_summary_text.delta",
    "item_id": "rs_1",
    "output_index": 0,
    "summary_index": 0,
    "delta": "thinking",
}


@pytest.mark.parametrize(
    ("events", "shown"),
    [
        pytest.param([completed("resp_1")], ("", None), id="the terminal event alone"),
        pytest.param([{"type": "response.completed"}], ("", None), id="the terminal type alone"),
        pytest.param([created("resp_1"), completed("resp_1")], ("", None), id="no item for an empty answer"),
        pytest.param([delta("text"), completed("resp_1")], ("text", None), id="no created, no in_progress"),
        pytest.param(
            [delta("text"), {"type": "response.done"}], ("text", None), id="done in place of completed"
        ),
        pytest.param([SUMMARY, completed("resp_1")], ("", "thinking"), id="a summary without its part"),
        pytest.param(
            [
                {"type": "response.content_part.done"},
                {"type": "response.output_item.added"},
                completed("resp_1"),
            ],
            ("", None),
            id="set-up events without content",
        ),
    ],
)
def test_no_event_is_required_but_the_terminal(
    server: ScriptedServer, events: list[Event], shown: tuple[str, str | None]
) -> None:
    """What is missing is missing, and nothing is raised."""
    message = reply(server, *events)
    assert (message.content, message.reasoning, message.status) == (*shown, "completed")


def test_an_empty_first_argument_delta_is_a_delta(server: ScriptedServer) -> None:
    """It neither ends nor doubles the call."""
    pieces = ["", '{"a"', "", ": 1}"]
    events = [arguments_delta(0, "one", piece) for piece in pieces]
    message = reply(server, created("resp_1"), *events, completed("resp_1"))
    assert message.tool_calls is not None
    assert [call.arguments for call in message.tool_calls.values()] == ['{"a": 1}']


# -- ids of every kind

LONG_ID = base64.b64encode(bytes(range(149))).decode()


@pytest.mark.parametrize(
    "response_id",
    [
        "resp-0-1",
        "resp_warmup_1",
        LONG_ID,
        "7",
        "chatcmpl/1?x=y#z",
        "id with spaces",
        "\u00fcn\u00efc\u00f6de",
    ],
)
def test_ids_are_opaque_text(server: ScriptedServer, response_id: str) -> None:
    """What the server named is what the next request continues, to the letter."""
    assert LONG_ID.endswith("=")
    second = expect(lambda request: request["previous_response_id"] == response_id)
    server.connection(
        expect(), send(*answer(response_id, "first")), second, send(*answer(f"{response_id}+", "second"))
    )
    with websocket(server) as ws:
        assert ask(ws) == "first"
        assert ws.last_response_id == response_id
        assert ask(ws) == "second"


def turn(text: str, item_id: str) -> list[Step]:
    """A turn of a server that gives every response the same id."""
    item = {"type": "message", "id": item_id, "role": "assistant", "content": []}
    events = [created("resp_same"), added(0, item), delta(text, item_id), completed("resp_same")]
    return [expect(), send(*events)]


@pytest.mark.parametrize("item_ids", [("msg_1", "msg_2", "msg_3"), ("msg_same", "msg_same", "msg_same")])
def test_one_id_for_every_response_of_a_connection(
    server: ScriptedServer, item_ids: tuple[str, str, str]
) -> None:
    """Some servers name the connection rather than the response; each turn still gets its own events."""
    texts = ["one", "two", "three"]
    server.connection(*(step for named in zip(texts, item_ids, strict=True) for step in turn(*named)))
    with websocket(server) as ws:
        assert [ask(ws), ask(ws), ask(ws)] == texts


# -- fields that a service does not know


def ask_plainly(ws: WebSocket) -> None:
    ws.create_response(model="m", input="hi")


def stream_plainly(ws: WebSocket) -> None:
    assert ws.stream(model="m", input="hi").message


def call_plainly(ws: WebSocket) -> None:
    ws.call({"model": "m", "input": "hi", "stream": True, "background": False, "user": None})


def ask_with_all(ws: WebSocket) -> None:
    ws.create_response(
        model="m",
        input=[{"role": "user", "content": "hi"}],
        tools=[],
        instructions="be brief",
        previous_response_id=None,
        metadata={},
        temperature=0,
        x_gateway={"null": None},
    )


def warm_up(ws: WebSocket) -> None:
    ws.warmup(model="m")


PLAIN = {"type": "response.create", "model": "m", "input": "hi"}


@pytest.mark.parametrize(
    ("use", "request_on_the_wire"),
    [
        (ask_plainly, PLAIN),
        (stream_plainly, PLAIN),
        (call_plainly, PLAIN),
        (
            ask_with_all,
            {
                "type": "response.create",
                "model": "m",
                "input": [{"role": "user", "content": "hi"}],
                "tools": [],
                "instructions": "be brief",
                "previous_response_id": None,
                "temperature": 0,
                "x_gateway": {"null": None},
            },
        ),
        (warm_up, {"type": "response.create", "model": "m", "generate": False}),
    ],
)
def test_only_what_was_asked_for_is_sent(
    server: ScriptedServer, use: Any, request_on_the_wire: Event
) -> None:
    """Many a gateway refuses a field that it does not know, ``stream_id`` among them."""
    server.connection(expect(), send(created("resp_1"), completed("resp_1")))
    with websocket(server) as ws:
        use(ws)
    assert server.requests == [request_on_the_wire]


def test_a_refused_field_is_named_and_the_connection_goes_on() -> None:
    """400 is about the request: ``param`` says which field, and nothing was run."""
    with ScriptedServer(model=Model(lanes=False)) as server, websocket(server) as ws:
        with pytest.raises(BadRequestError) as refused:
            ws.create_response(model="m", input="hi", stream_id="lane")
        assert (refused.value.status, refused.value.param) == (400, "stream_id")
        assert refused.value.delivery is Delivery.REJECTED
        assert ask(ws) == "You said: hi."
    assert len(server.connections) == 1


# -- warmups that do something else


def test_a_warmup_that_cannot_be_continued_is_recovered_like_any_lost_response() -> None:
    """``previous_response_not_found`` is raised before anything ran; the whole input then goes through."""
    model = Model()
    with ScriptedServer(model=model) as server, websocket(server) as ws:
        warm = ws.warmup(model="m")
        model.forget(warm)
        with pytest.raises(PreviousResponseNotFound) as lost:
            ask(ws)
        assert lost.value.delivery is Delivery.REJECTED
        assert ask(ws, previous_response_id=None) == "You said: hi."
    assert len(server.connections) == 1
    assert server.requests[1]["previous_response_id"] == warm


def test_a_warmup_that_generates_keeps_its_text_to_itself() -> None:
    """Its id is returned and continued; none of its text reaches the next answer."""
    with ScriptedServer(model=Model(warmup="generate")) as server, websocket(server) as ws:
        warm = ws.warmup(model="m", input="ready?")
        assert warm == ws.last_response_id
        assert ask(ws) == "You said: hi. Before that: ready?."
    assert server.requests[1]["previous_response_id"] == warm


def test_a_warmup_that_ends_without_created_gives_its_id() -> None:
    """``response.completed`` alone is enough."""
    with ScriptedServer(model=Model(warmup="completed")) as server, websocket(server) as ws:
        assert ws.warmup(model="m") == ws.last_response_id
        assert ask(ws) == "You said: hi."


def test_a_refused_warmup_says_why_and_costs_nothing() -> None:
    """Some name the reason ``detail``; the next request goes out on the same connection, unchained."""
    with ScriptedServer(model=Model(warmup="unsupported")) as server, websocket(server) as ws:
        with pytest.raises(BadRequestError, match="Unsupported parameter: generate"):
            ws.warmup(model="m")
        assert ask(ws) == "You said: hi."
    assert "previous_response_id" not in server.requests[1]
    assert len(server.connections) == 1


# -- pings of the server


def test_pings_are_answered_at_rest(server: ScriptedServer) -> None:
    """Before the first request, between two, and while nobody calls anything: with their own payload."""
    rest = [ping(b"at rest"), expect_pong(b"at rest")]
    server.connection(*rest, expect(), send(*answer("resp_1", "one")), *rest, mark("rested"))
    with websocket(server) as ws:
        assert ask(ws) == "one"
        server.wait_for("rested", SECONDS)
        assert ws.connected


def test_a_close_at_rest_is_known_at_once_and_the_next_call_connects(server: ScriptedServer) -> None:
    """1011 after unanswered pings, or any other code: the reader sees it, with nobody waiting."""
    server.connection(
        expect(), send(*answer("resp_1", "one")), close(1011, "keepalive ping timeout"), mark("closed")
    )
    server.connection(expect(previous_response_id="resp_1"), send(*answer("resp_2", "two")))
    with websocket(server) as ws:
        assert ask(ws) == "one"
        server.wait_for("closed", SECONDS)
        join_readers()
        assert not ws.connected
        assert ask(ws) == "two"


def test_a_pong_that_cannot_be_sent_does_not_hide_the_close_frame() -> None:
    """The peer has stopped listening; what it said before is read to the end."""
    ours, theirs = socket.socketpair()
    transport = SocketTransport(ours, Target("ws://127.0.0.1/v1/responses"))
    theirs.sendall(frame(b"alive?", opcode=PING) + frame(b"\x03\xf3bye", opcode=CLOSE))
    theirs.close()
    assert transport.receive(SECONDS) == []
    with pytest.raises(ConnectionLost) as lost:
        transport.receive(SECONDS)
    transport.release()
    assert (lost.value.close_code, lost.value.close_reason) == (1011, "bye")


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
def test_a_pong_stuck_behind_an_upload_does_not_hide_the_close_frame(tls: bool) -> None:
    """The socket takes nothing more; the code is in the error, after one more try on a new connection."""
    farewell = frame(b"alive?", opcode=PING) + frame(b"\x03\xf3ping timeout", opcode=CLOSE)
    with ScriptedServer(tls=tls, receive_buffer=4096) as server:
        for _ in range(2):
            server.connection(read_bytes(2000), raw(farewell), silence())
        ws = websocket(server, limits=Limits(max_request_bytes=64 * MEBIBYTE)).connect()
        with pytest.raises(ConnectionLost) as lost:
            ask(ws, "x" * (20 * MEBIBYTE))
        ws.disconnect()
    assert (lost.value.close_code, lost.value.close_reason) == (1011, "ping timeout")
    assert lost.value.delivery is Delivery.NOT_SENT


# -- ends of the connection

ENDS = [
    *(pytest.param([close(code)], code, id=str(code)) for code in (1000, 1001, 1008, 1009, 1011, 1012, 1013)),
    pytest.param([close(4402, "out of credit")], 4402, id="4402"),
    pytest.param([close(None)], 1005, id="1005"),
    pytest.param([eof()], 1006, id="end of TCP"),
    pytest.param([reset()], 1006, id="reset"),
]


@pytest.mark.parametrize(("steps", "code"), ENDS)
def test_every_end_in_mid_answer_is_a_loss_with_its_code(
    server: ScriptedServer, steps: list[Step], code: int
) -> None:
    """A close frame or none, a good code or a bad one: the answer is lost and the part is kept."""
    server.connection(expect(), send(created("resp_1"), delta("part")), *steps)
    server.connection(expect(), send(*answer("resp_2", "next")))
    with websocket(server) as ws:
        stream = ws.stream(model="m", input="hi")
        with pytest.raises(ConnectionLost) as lost:
            assert stream.message
        assert lost.value.close_code == code
        assert lost.value.delivery is Delivery.STARTED
        assert ask(ws) == "next"


@pytest.mark.parametrize(("steps", "code"), ENDS)
def test_every_end_before_the_first_event_leaves_the_delivery_unknown(
    server: ScriptedServer, steps: list[Step], code: int
) -> None:
    """Nothing is sent again: the service may have run it."""
    server.connection(expect(), *steps)
    with websocket(server) as ws, pytest.raises(ConnectionLost) as lost:
        ask(ws)
    assert lost.value.close_code == code
    assert lost.value.delivery is Delivery.UNKNOWN
    assert len(server.requests) == 1


@pytest.mark.parametrize(("steps", "code"), ENDS)
def test_every_end_at_rest_is_mended_by_the_next_call(
    server: ScriptedServer, steps: list[Step], code: int
) -> None:
    """The chain goes on, because the response was stored."""
    server.connection(expect(), send(*answer("resp_1", "one")), *steps)
    server.connection(expect(previous_response_id="resp_1"), send(*answer("resp_2", "two")))
    with websocket(server) as ws:
        assert ask(ws) == "one"
        join_readers()
        assert ask(ws) == "two"
    assert len(server.requests) == 2


@pytest.mark.parametrize(("steps", "code"), ENDS)
def test_an_error_before_the_end_is_what_is_raised(
    server: ScriptedServer, steps: list[Step], code: int
) -> None:
    """``error`` then any end: the service's word is the reason, not the close that follows."""
    refused = error_event("rate_limit_exceeded", 429)
    server.connection(expect(), send(refused), *steps)
    server.connection(expect(), send(*answer("resp_2", "next")))
    with websocket(server) as ws:
        with pytest.raises(ResponseError) as failed:
            ask(ws)
        assert failed.value.code == "rate_limit_exceeded"
        assert failed.value.delivery is Delivery.REJECTED
        join_readers()
        assert ask(ws) == "next"


def test_a_close_of_ours_that_is_answered_by_the_end_of_tcp_alone(server: ScriptedServer) -> None:
    """``disconnect`` does not wait for a close frame that will not come."""
    server.connection(deaf(), expect(), send(*answer("resp_1", "one")), expect_close(1000), eof())
    ws = websocket(server, timeouts=Timeouts(close=SECONDS)).connect()
    assert ask(ws) == "one"
    started = time.monotonic()
    ws.disconnect()
    assert time.monotonic() - started < SECONDS / 10


# -- refused upgrades

REFUSALS = [
    pytest.param([refuse(403)], PermissionDeniedError, 403, "", id="403 with an empty body"),
    pytest.param([refuse(426, reason="")], HandshakeError, 426, "", id="426 without a reason phrase"),
    pytest.param([refuse(200, body={"ok": True})], HandshakeError, 200, '{"ok": true}', id="200 with JSON"),
    pytest.param(
        [refuse(502, {"Content-Type": "text/html"}, "<html>Bad Gateway</html>", framing="chunked")],
        HandshakeError,
        502,
        "<html>Bad Gateway</html>",
        id="502 with HTML",
    ),
    pytest.param(
        [refuse(503, body="try later", framing="close")], HandshakeError, 503, "try later", id="no length"
    ),
    pytest.param([raw_handshake(b""), eof()], HandshakeError, None, "", id="closed without an answer"),
    pytest.param([raw_handshake(b""), reset()], HandshakeError, None, "", id="reset without an answer"),
    pytest.param([raw_handshake(b"HTTP/1.1 101 Sw"), eof()], HandshakeError, None, "", id="half an answer"),
    pytest.param([raw_handshake(b"SSH-2.0-x\r\n\r\n"), eof()], HandshakeError, None, "", id="no HTTP"),
]


@pytest.mark.parametrize(("steps", "kind", "status", "body"), REFUSALS)
def test_a_refused_upgrade_is_a_typed_error_with_what_there_is(
    server: ScriptedServer, steps: list[Step], kind: type[Exception], status: int | None, body: str
) -> None:
    """Status and body, or None and nothing; the request was not sent, and the next call may connect."""
    server.connection(*steps)
    server.connection(expect(), send(*answer("resp_1", "well")))
    ws = websocket(server)
    with pytest.raises(kind) as refused:
        ws.connect()
    assert getattr(refused.value, "status", None) == status
    assert getattr(refused.value, "body", "") == body
    assert getattr(refused.value, "delivery", None) is Delivery.NOT_SENT
    with ws:
        assert ask(ws) == "well"


# -- messages that are too large


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
def test_the_1009_of_a_large_message_is_read_after_the_send_failed(tls: bool) -> None:
    """The kernel says that the connection is reset; the close frame, which came before, says why."""
    with ScriptedServer(tls=tls, receive_buffer=4096) as server:
        server.connection(read_bytes(100_000), close_frame(b"\x03\xf1too big"), reset())
        ws = websocket(server, limits=Limits(max_request_bytes=64 * MEBIBYTE)).connect()
        with pytest.raises(ConnectionLost) as lost:
            ask(ws, "x" * (20 * MEBIBYTE))
        ws.disconnect()
    assert (lost.value.close_code, lost.value.close_reason) == (1009, "too big")
    assert lost.value.delivery is Delivery.NOT_SENT
    assert len(server.connections) == 1


# -- proxies


def proxied(server: ScriptedServer, **options: Any) -> WebSocket:
    """A WebSocket whose service can only be reached through the server, which plays the proxy too."""
    scheme = server.url.partition(":")[0]
    return WebSocket(
        "sk-test",
        api_base=f"{scheme}://localhost:9/v1",
        proxy=f"http://us%40er:p%3Aa%2Fss@127.0.0.1:{server.port}",
        ssl_context=server.ssl_context,
        **options,
    )


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize("answer_of_proxy", [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 201\r\nVia: x\r\n\r\n"])
def test_a_proxy_may_answer_in_http_1_0(answer_of_proxy: bytes, tls: bool) -> None:
    """Any 2xx opens the tunnel; the credentials go to it percent-decoded, and to the service not at all."""
    with ScriptedServer(tls=tls) as server:
        server.connection(connect_reply(answer_of_proxy), expect(), send(*answer("resp_1", "through")))
        with proxied(server) as ws:
            assert ask(ws) == "through"
    to_proxy, to_service = [
        entry.text for entry in server.log if (entry.direction, entry.kind) == ("in", "handshake")
    ]
    credentials = base64.b64encode(b"us@er:p:a/ss").decode()
    assert f"Proxy-Authorization: Basic {credentials}\r\n" in to_proxy
    assert "sk-test" not in to_proxy
    assert credentials not in to_service


@pytest.mark.parametrize(
    "status", ["401 Unauthorized", "407 Proxy Authentication Required", "502 Bad Gateway"]
)
def test_a_proxy_that_refuses_is_named(server: ScriptedServer, status: str) -> None:
    """401 in place of 407 is the proxy's word too, and never the service's about the key."""
    server.connection(connect_reply(f"HTTP/1.1 {status}\r\n\r\n".encode()), expect_gone())
    with pytest.raises(ConnectionError) as refused:
        proxied(server).connect()
    assert type(refused.value) is ConnectionError
    assert str(refused.value) == f"the proxy 127.0.0.1:{server.port} refused the tunnel: {status}"
    assert refused.value.delivery is Delivery.NOT_SENT


# -- errors of any length


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"error": {"trace": ["frame"] * 20_000}}),
        "Traceback (most recent call last):\n" + '  File "x.py", line 1, in f\n' * 5_000,
    ],
    ids=["a JSON document", "a traceback"],
)
def test_a_long_message_is_shown_cut(server: ScriptedServer, text: str) -> None:
    """``str`` has a sane length and says that it is not all; ``message`` has the whole."""
    server.connection(expect(), send({"type": "error", "error": {"code": "server_error", "message": text}}))
    with websocket(server) as ws, pytest.raises(ServerError) as failed:
        ask(ws)
    assert str(failed.value).startswith(f"server_error (500): {text[:50]}")
    assert len(str(failed.value)) < 1000
    assert "more characters" in str(failed.value)
    assert failed.value.message == text


# -- compression


def test_compression_is_not_offered(server: ScriptedServer) -> None:
    """No extension, no subprotocol, no cookie, no origin: the upgrade asks for nothing but a WebSocket."""
    server.connection()
    websocket(server).connect().disconnect()
    (connection,) = server.connections
    unwanted = {"sec-websocket-extensions", "sec-websocket-protocol", "cookie", "origin"}
    assert unwanted & set(connection.headers) == set()


def test_compression_that_was_not_offered_is_refused(server: ScriptedServer) -> None:
    """RFC 6455, 4.1: an extension that was not asked for fails the connection."""
    server.connection(accept({"Sec-WebSocket-Extensions": "permessage-deflate"}), expect_gone())
    with pytest.raises(HandshakeError, match="sec-websocket-extensions"):
        websocket(server).connect()
