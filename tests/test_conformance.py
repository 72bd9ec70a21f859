"""One suite for both transports: the same script gives the same chunks, message, errors and usage on each."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import http.client
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket as websocket_client
from shell import KEY, SECONDS, Event, Task, answer, completed, created, delta, error_event, read_deltas
from test_interrupt import caller_is_in, interrupted

from responses_ws import (
    Chunk,
    ConcurrencyError,
    ConfigurationError,
    ConnectionError,
    ConnectionLost,
    Delivery,
    Limits,
    Message,
    ResponseCancelled,
    ResponseError,
    ResponsesWSError,
    ResponseTimeout,
    Timeouts,
    WebSocket,
)
from responses_ws.http_transport import HTTPTransport
from responses_ws.testing import (
    Model,
    ScriptedServer,
    Step,
    close,
    eof,
    expect,
    expect_gone,
    gate,
    mark,
    optional,
    ping,
    read_bytes,
    read_head,
    refuse,
    reset,
    send,
    serve,
    silence,
)

ASK = {"model": "m", "input": "hi"}
BEGUN = [created("resp_1"), delta("one")]
DONE = completed("resp_1")
TRANSPORTS = ("websocket", "http")

Client = WebSocket | HTTPTransport


def connected(transport: str, server: ScriptedServer, **options: Any) -> Client:
    """A client of the server that is ready to be asked."""
    given: dict[str, Any] = {
        "api_base": server.url,
        "ssl_context": server.ssl_context,
        "response_timeout": SECONDS,
        **options,
    }
    return WebSocket(KEY, **given).connect() if transport == "websocket" else HTTPTransport(KEY, **given)


def leave(client: Client) -> None:
    if isinstance(client, WebSocket):
        client.disconnect()
    else:
        client.close()


@contextlib.contextmanager
def using(transport: str, server: ScriptedServer, **options: Any) -> Iterator[Client]:
    client = connected(transport, server, **options)
    try:
        yield client
    finally:
        leave(client)


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """It plays scripts, and answers as a model where there is none."""
    with ScriptedServer(model=Model()) as server:
        yield server


@pytest.fixture
def client(transport: str, server: ScriptedServer) -> Iterator[Client]:
    with using(transport, server) as client:
        yield client


# -- what becomes of a turn, in a form that can be compared


@dataclasses.dataclass
class Outcome:
    """All that the caller sees of a turn."""

    chunks: list[Chunk]
    message: dict[str, Any] | None
    error: dict[str, Any] | None
    chain: str | None


def fields_of(message: Message | None) -> dict[str, Any] | None:
    if message is None:
        return None
    return {**dataclasses.asdict(message), "usage": message.usage, "text": str(message), "transport": None}


ERROR_FIELDS = ("delivery", "response_id", "status", "code", "type", "param", "retry_after", "raw")
TIMEOUT_FIELDS = ("clock", "seconds", "size", "limit")


def facts_of(error: ResponsesWSError) -> dict[str, Any]:
    """What an error says, but for words and codes of WebSocket alone."""
    facts = {name: getattr(error, name, None) for name in (*ERROR_FIELDS, *TIMEOUT_FIELDS)}
    told = str(error) if isinstance(error, ResponseError) else None
    return {**facts, "class": type(error), "partial": fields_of(error.partial), "told": told}


def outcome(client: Client, **fields: Any) -> Outcome:
    """Ask, and read to the end."""
    seen: list[Chunk] = []
    message, error = None, None
    try:
        message = client.create_response(**(ASK | fields), on_chunk=seen.append)
    except ResponsesWSError as caught:
        error = caught
    return Outcome(
        seen, fields_of(message), None if error is None else facts_of(error), client.last_response_id
    )


def on_both(*steps: Step, tls: bool = False, **options: Any) -> Outcome:
    """What becomes of one turn, which must be the same over both transports."""
    found = {}
    for transport in TRANSPORTS:
        with ScriptedServer(tls=tls) as server:
            server.connection(expect(input="hi"), *steps)
            with using(transport, server, **options) as client:
                found[transport] = outcome(client)
    assert found["http"] == found["websocket"]
    return found["http"]


# -- answers


def item_events(item: Event, index: int, *between: Event) -> list[Event]:
    """An item from its beginning to its end."""
    begun = {**item, "status": "in_progress"}
    return [
        {"type": "response.output_item.added", "output_index": index, "item": begun},
        *between,
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def piece(kind: str, item_id: str, index: int, text: str, **fields: Any) -> Event:
    return {
        "type": f"response.{kind}.delta",
        "item_id": item_id,
        "output_index": index,
        "delta": text,
        **fields,
    }


def ended(output: list[Event] | None = None, kind: str = "response.completed", **fields: Any) -> Event:
    status = kind.partition(".")[2]
    response = {"id": "resp_1", "status": status, "model": "m", "output": output or [], **fields}
    return {"type": kind, "response": response}


CALL_A = {"type": "function_call", "id": "fc_a", "call_id": "call_a", "name": "a", "arguments": '{"x":1}'}
CALL_B = {"type": "function_call", "id": "fc_b", "call_id": "call_b", "name": "b", "arguments": '{"y":2}'}
CUSTOM = {"type": "custom_tool_call", "id": "ct_1", "call_id": "call_c", "name": "c", "input": "free text"}
REASONING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "thought"}],
    "encrypted_content": "x",
}
REFUSED = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "content": [{"type": "refusal", "refusal": "I cannot"}],
}
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}}
CITED = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "content": [
        {
            "type": "output_text",
            "text": "see",
            "annotations": [{"type": "url_citation", "url": "https://e.example"}],
        }
    ],
}
USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 17,
}

ANSWERS: dict[str, list[Event]] = {
    "text": answer("resp_1", "Hello ", "there", ", ü€😀\u2028\x85"),
    "nothing": [created("resp_1"), ended()],
    "terminal alone": [ended([CITED])],
    "no created": [delta("one"), ended()],
    "refusal": [
        created("resp_1"),
        *item_events(
            REFUSED,
            0,
            piece("refusal", "msg_1", 0, "I "),
            piece("refusal", "msg_1", 0, "cannot", content_index=0),
        ),
        ended([REFUSED]),
    ],
    "reasoning": [
        created("resp_1"),
        *item_events(
            REASONING,
            0,
            piece("reasoning_summary_text", "rs_1", 0, "thou", summary_index=0),
            piece("reasoning_summary_text", "rs_1", 0, "ght", summary_index=0),
            piece("reasoning_text", "rs_1", 0, "hm", content_index=0),
        ),
        *item_events(CITED, 1, piece("output_text", "msg_1", 1, "see", content_index=0)),
        ended([REASONING, CITED], usage=USAGE),
    ],
    "interleaved calls": [
        created("resp_1"),
        item_events(CALL_A, 0)[0],
        item_events(CALL_B, 1)[0],
        piece("function_call_arguments", "fc_b", 1, '{"y"'),
        piece("function_call_arguments", "fc_a", 0, '{"x":'),
        piece("function_call_arguments", "fc_b", 1, ":2}"),
        piece("function_call_arguments", "fc_a", 0, "1}"),
        item_events(CALL_B, 1)[1],
        item_events(CALL_A, 0)[1],
        ended([CALL_A, CALL_B], usage=USAGE),
    ],
    "custom tool": [
        created("resp_1"),
        *item_events(
            CUSTOM,
            0,
            piece("custom_tool_call_input", "ct_1", 0, "free "),
            piece("custom_tool_call_input", "ct_1", 0, "text"),
        ),
        ended([CUSTOM]),
    ],
    "built-in tools": [
        created("resp_1"),
        *item_events(
            SEARCH,
            0,
            {"type": "response.web_search_call.searching", "item_id": "ws_1", "output_index": 0},
            {"type": "response.web_search_call.completed", "item_id": "ws_1", "output_index": 0},
        ),
        {
            "type": "response.output_text.annotation.added",
            "item_id": "msg_1",
            "output_index": 1,
            "annotation": CITED["content"][0]["annotations"][0],
        },
        ended([SEARCH, CITED]),
    ],
    "usage": [*BEGUN, ended(usage=USAGE)],
    "zero usage": [*BEGUN, ended(usage={"input_tokens": 0, "output_tokens": 0})],
    "null usage": [*BEGUN, ended(usage=None)],
    "incomplete": [
        *BEGUN,
        ended(kind="response.incomplete", incomplete_details={"reason": "max_output_tokens"}),
    ],
    "incomplete by status": [*BEGUN, completed("resp_1", "incomplete")],
    "done": [*BEGUN, {"type": "response.done", "response": {"id": "resp_1"}}],
    "an unknown end": [
        *BEGUN,
        {"type": "response.halted", "response": {"id": "resp_1", "status": "completed"}},
    ],
    "an unknown status": [*BEGUN, completed("resp_1", "halted")],
    "two terminal events": [*BEGUN, ended(), {"type": "response.done", "response": {"id": "resp_1"}}],
    "unknown events": [
        created("resp_1"),
        {"type": "keepalive", "sequence_number": 3},
        {"type": "response.something.new", "delta": 5, "nested": [{"a": None}]},
        {"type": "vendor.rate_limits", "left": 1.5},
        delta("one"),
        {"type": 7},
        {},
        ended(),
    ],
    "odd numbers": [
        {**event, "sequence_number": -number} for number, event in enumerate(answer("resp_1", "a", "b"))
    ],
    "odd ids": answer("resp-" + "A=" * 100, "a"),
    "half characters": [created("resp_1"), delta("a\ud83d"), delta("\ude00b"), ended()],
    "queued first": [{"type": "response.queued", "response": {"id": "resp_1"}}, *answer("resp_1", "a")],
    "much": [*BEGUN, delta("x" * 2_000_000), ended([CITED])],
    "many": [*BEGUN, *[delta(f"{number} ") for number in range(2000)], ended()],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_is_the_same(name: str) -> None:
    """Chunk by chunk, and as a message."""
    found = on_both(send(*ANSWERS[name]), expect_gone())
    assert found.error is None
    assert found.message is not None
    sent = json.loads(json.dumps(ANSWERS[name]))
    assert [chunk.raw for chunk in found.chunks] == sent[: len(found.chunks)]


@pytest.mark.parametrize("name", ["text", "interleaved calls", "much", "unknown events"])
def test_every_answer_is_the_same_over_tls(name: str) -> None:
    """Nothing above the transport can tell."""
    steps = [send(*ANSWERS[name]), expect_gone()]
    assert on_both(*steps, tls=True) == on_both(*steps)


# -- errors


def wrapped(**fields: Any) -> Event:
    return {"type": "error", "status": 400, "error": {"message": "told to", **fields}}


ERRORS: dict[str, Event] = {
    "wrapped": error_event("rate_limit_exceeded", 429),
    "flat": {
        "type": "error",
        "code": "server_error",
        "message": "told to",
        "param": None,
        "sequence_number": 3,
    },
    "flat, known code": {"type": "error", "code": "previous_response_not_found", "message": "told to"},
    "without type": {"error": {"message": "told to", "type": "api_error"}},
    "detail": {"type": "error", "status": 400, "error": {"detail": "Unsupported parameter: generate"}},
    "only a message": {"type": "error", "message": "told to"},
    "nothing at all": {"type": "error"},
    "a text": {"type": "error", "error": "told to"},
    "numbers": {"type": "error", "error": {"code": 429, "message": "told to"}},
    "headers inside": wrapped(code="rate_limit_exceeded", headers={"retry-after": "7"}),
    "headers outside": {**wrapped(code="x"), "headers": {"Retry-After-Ms": 1500, "x": True}},
    "status code": {"type": "error", "status_code": 503, "error": {"message": "told to"}},
    "lost parent": wrapped(code="previous_response_not_found", param="previous_response_id"),
    "quota": wrapped(code="insufficient_quota", type="insufficient_quota"),
    "overloaded": wrapped(code="server_is_overloaded"),
    "a document": wrapped(message="x" * 10_000),
    "response.error": {"type": "response.error", "error": {"code": "server_error", "message": "told to"}},
    "failed": ended(kind="response.failed", error={"code": "rate_limit_exceeded", "message": "told to"}),
    "failed stub": {"type": "response.failed", "response": {"id": "resp_1"}},
    "failed by status": ended([CITED], status="failed", usage=USAGE, error={"code": "server_error"}),
}


@pytest.mark.parametrize(
    "end",
    [
        ended([CITED], kind="response.cancelled"),
        ended([CITED], status="cancelled"),
        completed("resp_1", "cancelled", "response.done"),
    ],
    ids=["by type", "by status", "done"],
)
def test_what_the_service_cancelled_is_the_same_error(end: Event) -> None:
    """A broken answer is none, and what was received of it is there."""
    found = on_both(send(*BEGUN, end), expect_gone())
    assert (found.message, found.chain) == (None, None)
    assert found.error is not None
    assert (found.error["class"], found.error["delivery"]) == (ResponseCancelled, Delivery.STARTED)
    assert (found.error["partial"]["status"], found.error["partial"]["response_id"]) == (
        "cancelled",
        "resp_1",
    )
    assert found.error["partial"]["text"] == ("see" if end["response"]["output"] else "one")


@pytest.mark.parametrize("position", ["first", "later"])
@pytest.mark.parametrize("name", ERRORS)
def test_every_error_is_the_same(name: str, position: str) -> None:
    """Class, fields, text, the part received, and how far the request had come."""
    found = on_both(send(*(BEGUN if position == "later" else []), ERRORS[name]), expect_gone())
    assert found.error is not None
    assert found.chain is None
    begun = position == "later" or name.startswith("failed")
    assert found.error["delivery"] is (Delivery.STARTED if begun else Delivery.REJECTED)
    assert issubclass(found.error["class"], ResponseError)
    assert (found.error["partial"] is not None) == begun


@pytest.mark.parametrize(
    ("code", "status", "headers"),
    [
        ("invalid_value", 400, None),
        ("invalid_api_key", 401, None),
        ("insufficient_permissions", 403, None),
        ("model_not_found", 404, None),
        ("rate_limit_exceeded", 429, {"retry-after": "3"}),
        ("rate_limit_exceeded", 429, {"retry-after-ms": "250"}),
        ("server_error", 500, None),
        ("server_is_overloaded", 503, {"x-should-retry": "true"}),
        (None, 502, None),
    ],
)
def test_a_refused_request_is_the_same_error(code: str | None, status: int, headers: Any) -> None:
    """As an event on a socket, and as a status over HTTP."""
    found = {}
    for transport in TRANSPORTS:
        model = Model()
        with ScriptedServer(model=model) as server, using(transport, server) as client:
            model.fail_next(code, status, headers=headers)
            found[transport] = outcome(client)
            error = found[transport].error
            assert error is not None
            error.pop("raw")
    assert found["http"] == found["websocket"]
    assert found["http"].error is not None
    assert found["http"].error["delivery"] is Delivery.REJECTED


@pytest.mark.parametrize("moment", ["created", "delta"])
@pytest.mark.parametrize("then_failed", [False, True])
def test_a_response_that_breaks_off_is_the_same_error(moment: str, then_failed: bool) -> None:
    """The error is the one that came first; the next turn has its own answer."""
    found = {}
    for transport in TRANSPORTS:
        model = Model(errors="flat")
        with ScriptedServer(model=model) as server, using(transport, server) as client:
            model.fail_next("server_is_overloaded", 503, when=moment, then_failed=then_failed)
            error = outcome(client).error
            assert error is not None
            raw, partial = error.pop("raw"), error.pop("partial")
            assert error.pop("response_id") == partial["response_id"]
            found[transport] = error, raw["code"], partial["content"]
            assert client.create_response(**ASK).content == "You said: hi."
    assert found["http"] == found["websocket"]


@pytest.mark.parametrize("status", [401, 403, 429])
def test_a_refusal_that_speaks_of_the_caller_is_the_same_class(status: int) -> None:
    """Whether it refuses an upgrade or a request."""
    found = {}
    for transport in TRANSPORTS:
        with ScriptedServer() as server:
            body = {"error": {"message": "no", "code": "c", "type": "t", "param": "p"}}
            server.connection(refuse(status, {"Retry-After": "7", "X-Request-Id": "r"}, body))
            client = HTTPTransport(KEY, api_base=server.url) if transport == "http" else None
            with pytest.raises(ResponseError) as caught:
                client.create_response(**ASK) if client else WebSocket(KEY, api_base=server.url).connect()
            found[transport] = facts_of(caught.value), caught.value.request_id
            assert found[transport][0].pop("delivery") is (Delivery.REJECTED if client else Delivery.NOT_SENT)
    assert found["http"] == found["websocket"]


# -- losses and clocks


@pytest.mark.parametrize("end", [eof(), reset(), close(1000), close(1011)], ids=str)
@pytest.mark.parametrize("events", [[], [created("resp_1")], BEGUN], ids=["none", "created", "delta"])
def test_an_end_before_the_terminal_event_is_a_loss(end: Step, events: list[Event]) -> None:
    """A clean end too: what came is in the error."""
    found = on_both(*([send(*events)] if events else []), end)
    assert found.error is not None
    assert found.error["class"] is ConnectionLost
    assert found.error["delivery"] is (Delivery.STARTED if events else Delivery.UNKNOWN)
    assert (found.error["partial"] is not None) == bool(events)


@pytest.mark.parametrize(
    "payload", [b"nonsense", b'{"type": "\xff"}', b"[1]", b'{"a":' * 600 + b"1" + b"}" * 600]
)
@pytest.mark.parametrize("events", [[], BEGUN], ids=["first", "later"])
def test_what_is_no_event_is_a_protocol_error(payload: bytes, events: list[Event]) -> None:
    """With the same delivery, and what came before it."""
    found = on_both(*([send(*events)] if events else []), send(payload), expect_gone())
    assert found.error is not None
    assert found.error["delivery"] is (Delivery.STARTED if events else Delivery.UNKNOWN)


def test_an_event_over_the_limit_is_too_large() -> None:
    """The limit is one of a message, however it travels."""
    steps = [send(*BEGUN), send(delta("x" * 5000)), expect_gone()]
    sizes = {}
    for transport in TRANSPORTS:
        with ScriptedServer() as server:
            server.connection(expect(), *steps)
            with using(transport, server, limits=Limits(max_message_bytes=1000)) as client:
                error = outcome(client).error
        assert error is not None
        sizes[transport] = {**error, "size": error["size"] > 1000}
    assert sizes["http"] == sizes["websocket"]


CLOCKS: list[tuple[dict[str, Any], str]] = [
    ({"response_timeout": 0.5}, "response_timeout"),
    ({"timeouts": Timeouts(total=0.5)}, "total"),
]
"""Long enough for what must come before, on a busy machine too."""


@pytest.mark.parametrize(("options", "clock"), CLOCKS, ids=["response_timeout", "total"])
@pytest.mark.parametrize("steps", [[], [send(*BEGUN)], [send(*BEGUN), ping()]], ids=["none", "delta", "ping"])
def test_a_clock_that_runs_out_is_the_same_error(options: Any, clock: str, steps: list[Step]) -> None:
    """With its name and its seconds, and what came until then."""
    found = on_both(*steps, expect_gone(), **options)
    assert found.error is not None
    assert found.error["class"] is ResponseTimeout
    assert (found.error["clock"], found.error["seconds"]) == (clock, 0.5)
    assert found.error["delivery"] is (Delivery.STARTED if steps else Delivery.UNKNOWN)


def test_who_cannot_be_reached_is_not_sent(transport: str) -> None:
    """Neither by a connection nor by a request."""
    with ScriptedServer() as gone:
        base = gone.url
    client = WebSocket(KEY, api_base=base) if transport == "websocket" else HTTPTransport(KEY, api_base=base)
    with pytest.raises(ConnectionError) as caught:
        client.connect() if isinstance(client, WebSocket) else client.create_response(**ASK)
    assert type(caught.value) is ConnectionError
    assert caught.value.delivery is Delivery.NOT_SENT


# -- what is asked


@pytest.mark.parametrize(
    "fields",
    [
        {"model": ""},
        {"model": 7},
        {"input": 7},
        {"input": [7]},
        {"tools": "x"},
        {"previous_response_id": 7},
        {"conversation": "c", "previous_response_id": "resp_1"},
        {"compact_threshold": 0},
        {"metadata": {"a": float("nan")}},
        {"user": "\ud800"},
    ],
)
def test_bad_input_is_refused_in_the_same_words(fields: dict[str, Any], server: ScriptedServer) -> None:
    """Before anything leaves, and nothing is harmed by it."""
    told = []
    for transport in TRANSPORTS:
        with using(transport, server) as client:
            with pytest.raises(ConfigurationError) as caught:
                client.create_response(**(ASK | fields))
            told.append(str(caught.value))
            assert client.create_response(**ASK).content == "You said: hi."
    assert told[0] == told[1]


def test_a_callback_is_checked_before_sending(client: Client, server: ScriptedServer) -> None:
    """By both verbs."""
    for ask in (lambda: client.call(ASK, 7), lambda: client.create_response(**ASK, on_chunk=7)):  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="on_chunk"):
            ask()
    assert server.requests == []


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"instructions": "be brief", "tools": [{"type": "web_search"}]},
        {"metadata": {}, "temperature": None, "user": ""},
        {"compact_threshold": 5, "store": True, "include": ["reasoning.encrypted_content"]},
        {"new_field": {"a": [None]}, "input": [{"role": "user", "content": "ü€"}]},
    ],
)
def test_the_same_fields_are_sent(fields: dict[str, Any]) -> None:
    """But for ``type``, which is a socket's, and ``stream``, which is HTTP's."""
    sent = {}
    for transport in TRANSPORTS:
        with ScriptedServer(model=Model()) as server, using(transport, server) as client:
            client.create_response(**(ASK | fields))
            (sent[transport],) = server.requests
    assert sent["websocket"].pop("type") == "response.create"
    assert sent["http"].pop("stream") is True
    assert sent["http"] == sent["websocket"]


def test_every_verb_gives_the_same_answer(client: Client) -> None:
    """The whole of it, or piece by piece."""
    asked = {**ASK, "previous_response_id": None}
    text = "You said: hi."
    assert client.create_response(**asked).content == text
    assert client.call(asked).content == text
    assert client.stream(**asked).message.content == text
    with client.stream(**asked) as stream:
        assert "".join(stream.text) == text
    seen: list[Chunk] = []
    client.call(asked, seen.append)
    assert "".join(chunk.content or "" for chunk in seen) == text


def test_the_message_names_its_transport(transport: str, client: Client) -> None:
    """And so does the part that an error holds."""
    assert client.create_response(**ASK).transport == transport


def test_large_questions_and_answers(client: Client) -> None:
    """Of several megabytes each."""
    text = "x" * 3_000_000
    assert client.create_response(model="m", input=text).content == f"You said: {text}."


# -- one conversation


def test_responses_continue_the_last_one(client: Client) -> None:
    """Unless told otherwise."""
    first = client.create_response(model="m", input="one")
    assert client.last_response_id == first.response_id
    assert client.create_response(model="m", input="two").content == "You said: two. Before that: one."
    assert client.create_response(model="m", input="x", previous_response_id=None).content == "You said: x."
    client.clear_previous_response_id()
    assert client.last_response_id is None
    assert client.create_response(model="m", input="y").content == "You said: y."
    again = client.create_response(model="m", input="z", previous_response_id=first.response_id)
    assert again.content == "You said: z. Before that: one."
    assert client.call({"model": "m", "input": "alone"}).content == "You said: alone."
    assert client.create_response(model="m", input="w", conversation="c").content == "You said: w."


@pytest.mark.parametrize("status", ["in_progress", "queued"])
def test_what_has_ended_is_continued_whatever_its_status(status: str) -> None:
    """Some gateways leave that of the beginning in it."""
    assert on_both(send(*BEGUN, completed("resp_1", status)), expect_gone()).chain == "resp_1"


@pytest.mark.parametrize("name", ["incomplete", "cancelled", "failed", "error", "left"])
def test_what_was_not_completed_is_not_continued(client: Client, server: ScriptedServer, name: str) -> None:
    """The chain stays where it was."""
    first = client.create_response(model="m", input="one")
    fail = server.model.fail_next  # type: ignore[union-attr]
    if name in ("failed", "error"):
        fail("server_error", 500, when="created", then_failed=name == "failed")
        with pytest.raises(ResponseError):
            client.create_response(model="m", input="two")
    elif name == "incomplete":
        assert client.create_response(model="m", input="two", max_output_tokens=1).status == "incomplete"
    else:
        with client.stream(model="m", input="two") as stream:
            next(iter(stream))
    assert client.last_response_id == first.response_id
    assert client.create_response(model="m", input="three").content == "You said: three. Before that: one."


@pytest.mark.parametrize("order", [TRANSPORTS, TRANSPORTS[::-1]], ids=["socket first", "http first"])
def test_a_stored_conversation_goes_on_over_the_other(order: tuple[str, str], server: ScriptedServer) -> None:
    """The id is all that is needed."""
    with using(order[0], server) as one, using(order[1], server) as other:
        first = one.create_response(model="m", input="one")
        second = other.create_response(model="m", input="two", previous_response_id=first.response_id)
        third = one.create_response(model="m", input="three", previous_response_id=second.response_id)
    assert third.content == "You said: three. Before that: one; two."


def test_one_response_runs_at_a_time(transport: str, server: ScriptedServer) -> None:
    """The second is refused, and the first does not notice."""
    server.connection(expect(), send(*BEGUN), gate("go"), send(DONE), serve())
    with using(transport, server) as client:
        stream = client.stream(**ASK)
        with pytest.raises(ConcurrencyError):
            client.create_response(**ASK)
        assert client.in_flight
        server.open("go")
        assert stream.message.content == "one"
        assert not client.in_flight


# -- leaving


@pytest.mark.parametrize("leave", ["message", "close"])
def test_a_stream_that_is_over_keeps_no_connection(
    transport: str, server: ScriptedServer, leave: str
) -> None:
    """Whoever keeps the object, as a notebook does, keeps nothing else."""
    client = connected(transport, server)
    stream = client.stream(**ASK)
    assert stream.message.content if leave == "message" else stream.close() is None
    del client
    gc.collect()
    assert server.connections[-1].gone.wait(SECONDS)
    assert repr(stream) == f"<ResponseStream {'completed' if leave == 'message' else 'closed'}>"


def by_break(client: Client) -> None:
    for chunk in client.stream(**ASK):
        if chunk.content:
            break


def by_with(client: Client) -> None:
    with client.stream(**ASK) as stream:
        read_deltas(iter(stream), 1)


def by_close(client: Client) -> None:
    stream = client.stream(**ASK)
    read_deltas(iter(stream), 1)
    stream.close()
    stream.close()


def by_exception(client: Client) -> None:
    def show() -> None:
        with client.stream(**ASK) as stream:
            for chunk in stream:
                assert chunk.content is None

    with pytest.raises(AssertionError):
        show()


def by_callback(client: Client) -> None:
    def show(chunk: Chunk) -> None:
        if chunk.content:
            raise KeyError(chunk.content)

    with pytest.raises(KeyError):
        client.create_response(**ASK, on_chunk=show)


def by_forgetting(client: Client) -> None:
    chunks = iter(client.stream(**ASK))
    read_deltas(chunks, 1)
    del chunks
    gc.collect()


def by_closing_the_generator(client: Client) -> None:
    stream = client.stream(**ASK)
    texts = stream.text
    assert next(texts) == "one"
    texts.close()  # type: ignore[attr-defined]


def by_cancel(client: Client) -> None:
    stream = client.stream(**ASK)
    chunks = iter(stream)
    read_deltas(chunks, 1)
    stream.cancel()
    assert list(chunks) == []


def by_cancel_elsewhere(client: Client) -> None:
    stream = client.stream(**ASK)
    chunks = iter(stream)
    read_deltas(chunks, 1)
    task = Task(lambda: list(chunks))
    stream.cancel()
    error = task.error()
    assert isinstance(error, ResponseCancelled)
    assert error.delivery is Delivery.STARTED
    assert error.partial is not None
    assert error.partial.content == "one"
    assert error.response_id == "resp_1"


def by_timeout(client: Client) -> None:
    client._settings.response_timeout = 0.05
    with pytest.raises(ResponseTimeout):
        client.create_response(**ASK)
    client._settings.response_timeout = SECONDS


def by_interrupt(client: Client) -> None:
    waits = "wait_for" if isinstance(client, WebSocket) else "receive"
    interrupted(lambda: client.create_response(**ASK), caller_is_in("_fetch", waits))


WAYS: dict[str, Callable[[Client], None]] = {
    way.__name__: way
    for way in (
        by_break,
        by_with,
        by_close,
        by_exception,
        by_callback,
        by_forgetting,
        by_closing_the_generator,
        by_cancel,
        by_cancel_elsewhere,
        by_timeout,
        by_interrupt,
    )
}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_of_a_response_that_was_left_reaches_the_next(transport: str, way: str, tls: bool) -> None:
    """Whoever leaves, and however: the next turn has its own answer, and the chain does not move."""
    if way == "by_interrupt" and sys.platform == "win32":
        return
    with ScriptedServer(model=Model(), tls=tls) as server:
        server.connection(
            expect(input="hi"),
            optional(send(*BEGUN)),  # who is interrupted, or out of time, may be so before it comes
            gate("left"),
            optional(send(delta("late"), DONE)),
            serve(),
        )
        with using(transport, server) as client:
            WAYS[way](client)
            assert not client.in_flight
            assert client.last_response_id is None
            server.open("left")
            assert client.create_response(model="m", input="next").content == "You said: next."


def test_an_interrupt_while_the_answer_has_not_begun(transport: str, server: ScriptedServer) -> None:
    """Ctrl-C comes out at once before the first event too."""
    server.connection(expect(), gate("left"), optional(send(*BEGUN, DONE)), serve())
    with using(transport, server) as client:
        waits = "wait_for" if transport == "websocket" else "receive"
        interrupted(lambda: client.create_response(**ASK), caller_is_in(waits))
        server.open("left")
        assert client.create_response(model="m", input="next").content == "You said: next."


def test_an_interrupt_while_a_large_request_is_sent(transport: str) -> None:
    """Half a request is never followed by another on its connection."""
    with ScriptedServer(model=Model(), receive_buffer=4096) as server:
        held = read_bytes(1000) if transport == "websocket" else read_head(1000)
        server.connection(held, mark("held"), silence())
        limits = Limits(max_request_bytes=None)
        with using(transport, server, limits=limits) as client:
            big = {"model": "m", "input": "x" * 20_000_000}
            sends = "_write" if transport == "websocket" else "_send"
            interrupted(
                lambda: client.create_response(**big),
                lambda: (server.wait_for("held"), caller_is_in(sends)()),
            )
            assert client.create_response(model="m", input="next").content == "You said: next."


def test_leaving_after_the_end_changes_nothing(client: Client) -> None:
    """The message is there, and the chain goes on from it."""
    with client.stream(**ASK) as stream:
        message = stream.message
    stream.cancel()
    assert stream.message is message
    assert client.last_response_id == message.response_id
    assert client.create_response(model="m", input="next").content.endswith("Before that: hi.")


def test_a_stream_that_was_left_says_so(client: Client) -> None:
    """Whoever asks it later."""
    stream = client.stream(**ASK)
    next(iter(stream))
    with pytest.raises(ResponseCancelled):
        _ = stream.message


def test_an_ended_stream_keeps_its_error(client: Client, server: ScriptedServer) -> None:
    """As often as it is asked."""
    server.model.fail_next("server_error", 500, when="delta")  # type: ignore[union-attr]
    stream = client.stream(**ASK)
    for _ in range(2):
        with pytest.raises(ResponseError) as caught:
            _ = stream.message
        assert caught.value.partial is not None


# -- secrets


def shown(error: BaseException | None) -> str:
    """All that a crash reporter writes of it: the chain, with the variables of every frame but the test's."""
    found = []
    while error is not None:
        found += [str(error), repr(error), repr(vars(error))]
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if not frame.f_code.co_filename.startswith(str(Path(__file__).parent)):
                found.append(repr(frame.f_locals))
        error = error.__cause__ or error.__context__
    return "\n".join(found)


@pytest.mark.parametrize(
    "steps",
    [
        [send(error_event(f"key {KEY}", 401))],
        [send(*BEGUN, delta(f"your key is {KEY}"), {"type": "error", "message": KEY})],
        [send(*BEGUN), eof()],
        [send(b"nonsense " + KEY.encode())],
        [send(*BEGUN, ended(kind="response.failed", error={"message": KEY}))],
        [expect_gone()],
    ],
    ids=["error", "delta", "lost", "nonsense", "failed", "silence"],
)
def test_the_key_is_nowhere_to_be_seen(
    transport: str,
    steps: list[Step],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither in the error and the frames behind it, nor in a log, even when the server echoes it."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    websocket_client.enableTrace(True, handler=logging.NullHandler())
    try:
        with ScriptedServer() as server:
            server.connection(expect(), *steps)
            with using(transport, server, response_timeout=0.7) as client:
                with pytest.raises(ResponsesWSError) as caught:
                    client.create_response(**ASK)
                told = shown(caught.value) + repr(client)
            sent = server.connections[0].headers
    finally:
        websocket_client.enableTrace(False)
    assert sent["authorization"] == f"Bearer {KEY}"
    assert KEY not in told
    logged = [record for record in caplog.records if not record.name.startswith("websockets")]  # the server's
    assert KEY not in "".join(record.getMessage() for record in logged)
    assert KEY not in "".join(capfd.readouterr())


def test_the_key_that_a_refusal_echoes_is_masked(transport: str) -> None:
    """In its headers and in its body."""
    with ScriptedServer() as server:
        body = {"error": {"message": f"bad key {KEY}", "code": KEY}}
        server.connection(refuse(401, {"X-Echo": KEY, "X-Request-Id": KEY}, body))
        with pytest.raises(ResponseError) as caught, using(transport, server) as client:
            client.create_response(**ASK)
    assert KEY not in shown(caught.value)
    assert "*" * len(KEY) in str(caught.value)
