"""A chat's answer as server-sent events: what is told and what is not, and browsers that leave."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from chatting import add, calling, chat
from eventsource import events, text
from shell import KEY, SECONDS, answer, created, error_event, join_readers, until

from responses_ws import Chat, ConcurrencyError, ConfigurationError, Retry, StoreError
from responses_ws.contrib.sse import event_stream
from responses_ws.testing import Model, ScriptedServer, close, expect, expect_gone, gate, optional, send
from responses_ws.tools import tool

BEAT = 0.05
COMMENT = ("", {})


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def server(model: Model) -> Iterator[ScriptedServer]:
    with ScriptedServer(model=model) as running:
        yield running


def named(told: Any, name: str) -> list[dict[str, Any]]:
    return [data for kind, data in told if kind == name]


def test_an_answer_is_told_piece_by_piece(server: ScriptedServer) -> None:
    """First a comment, then the text in the pieces in which it came, then the message."""
    told = list(events(event_stream(chat(server), "good day")))
    assert told[0] == COMMENT
    pieces = named(told, "text")
    assert len(pieces) > 1
    assert text(told) == "You said: good day."
    assert told[-1] == (
        "message",
        {
            "content": "You said: good day.",
            "refusal": None,
            "status": "completed",
            "incomplete_reason": None,
            "usage": told[-1][1]["usage"],
        },
    )
    assert told[-1][1]["usage"]["output_tokens"] == len(pieces)


def test_a_tool_is_told_before_it_runs_and_when_it_has_run(server: ScriptedServer) -> None:
    """With its name and arguments; what it returned is the model's to tell."""
    released = threading.Event()

    @tool
    def secret() -> str:
        """Returns what the browser must not see by itself."""
        assert released.wait(SECONDS)
        return "the combination of the safe"

    conversation = chat(server, tools=[secret, add], instructions="hush")
    body = event_stream(conversation, f"{calling('secret')} {calling('add', a=1, b=2)}", heartbeat=BEAT)
    told = []
    for event in events(body):
        told.append(event)
        if named(told, "tool_done"):  # the other one, told at a beat while this one runs
            released.set()
    begun, ended = named(told, "tool_call"), named(told, "tool_done")
    assert [(call["name"], call["arguments"]) for call in begun] == [
        ("secret", "{}"),
        ("add", '{"a": 1, "b": 2}'),
    ]
    assert [call["id"] for call in ended] == [begun[1]["id"], begun[0]["id"]]
    before = told[: told.index(("tool_done", ended[1]))]
    assert "safe" not in str(before)


def test_a_service_may_count_its_calls_anew(server: ScriptedServer) -> None:
    """Two rounds with the same call id are two calls."""
    rounds = iter(
        [
            [{"type": "function_call", "name": "add", "arguments": '{"a": 1, "b": 2}', "call_id": "call_0"}],
            [{"type": "function_call", "name": "add", "arguments": '{"a": 3, "b": 4}', "call_id": "call_0"}],
            "done",
        ]
    )
    with ScriptedServer(model=Model(lambda items, request: next(rounds))) as counting:
        told = list(events(event_stream(chat(counting, tools=[add]), "add")))
    kinds = [kind for kind, _ in told if kind.startswith("tool")]
    assert kinds == ["tool_call", "tool_done"] * 2


def test_tools_of_the_service_are_told() -> None:
    """By the kind of their items; they have no arguments to show."""
    item = {"type": "web_search_call", "id": "ws_1", "status": "in_progress"}
    first, *rest = answer("resp_1", "found")
    searching = [
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.output_item.done", "output_index": 0, "item": item | {"status": "completed"}},
    ]
    with ScriptedServer() as server:
        server.connection(expect(), send(first, *searching, *rest))
        told = list(events(event_stream(chat(server), "search")))
    assert told[1:3] == [
        ("tool_call", {"id": "ws_1", "name": "web_search", "arguments": None}),
        ("tool_done", {"id": "ws_1"}),
    ]


def test_silence_is_filled_with_comments() -> None:
    """Each is sent by itself, and is no event for the browser."""
    first, *rest = answer("resp_1", "at last")
    with ScriptedServer() as server:
        server.connection(expect(), send(first), gate("more"), send(*rest))
        told = events(event_stream(chat(server), "hi", heartbeat=BEAT))
        assert [next(told) for _ in range(4)] == [COMMENT] * 4
        server.open("more")
        assert text(told) == "at last"


# -- leaving


def test_a_browser_that_has_gone_before_costs_nothing(server: ScriptedServer) -> None:
    """Neither the unused body nor the one that got no further than its first piece asks anything."""
    event_stream(chat(server), "hi")
    body = event_stream(chat(server), "hi")
    assert next(body) == b":\n\n"
    body.close()
    assert server.connections == []


def test_a_browser_that_leaves_abandons_the_response(server: ScriptedServer) -> None:
    """The conversation is left at once, and is what it was after its last whole step."""
    left = []

    @contextlib.contextmanager
    def conversation() -> Iterator[Chat]:
        with chat(server) as talk:
            try:
                yield talk
            finally:
                left.append([message.content for message in talk.messages])

    with ScriptedServer() as silent:
        silent.connection(expect(), send(created("resp_1")), optional(expect_gone()))
        server = silent
        body = event_stream(conversation(), "hi", heartbeat=BEAT)
        assert [next(body) for _ in range(3)] == [b":\n\n"] * 3
        body.close()
        assert left == [[]]
        until(lambda: silent.connections[0].ended)
    join_readers()


def test_what_cannot_be_kept_after_a_browser_has_left_is_told_to_nobody(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """There is nobody to tell. The log has it."""

    @contextlib.contextmanager
    def conversation() -> Iterator[Chat]:
        try:
            with chat(server) as talk:
                yield talk
        finally:
            raise StoreError("the disk is full")

    body = event_stream(conversation(), "hi")
    assert [next(body)[:12] for _ in range(2)] == [b":\n\n", b"event: text\n"]
    body.close()
    assert "StoreError" in caplog.text


def test_the_conversation_is_left_before_the_message_is_told(server: ScriptedServer) -> None:
    """So that what keeps it can still fail, and is then told in place of the message."""

    @contextlib.contextmanager
    def conversation() -> Iterator[Chat]:
        with chat(server) as talk:
            yield talk
        raise ConcurrencyError("somebody else was faster")

    told = list(events(event_stream(conversation(), "hi")))
    assert named(told, "message") == []
    assert told[-1][1]["type"] == "ConcurrencyError"
    assert text(told) == "You said: hi."


# -- failing


def test_a_failure_has_a_type_and_a_sentence_of_ours(server: ScriptedServer, model: Model) -> None:
    """Never the text of the service, which may quote the question; never the key."""
    model.fail_next("rate_limit_exceeded", 429, message=f"{KEY} asked: hi", headers={"retry-after": "7"})
    body = b"".join(event_stream(chat(server, retry=Retry(max_retries=0)), "hi"))
    assert list(events([body]))[1:] == [
        (
            "failure",
            {
                "type": "RateLimitError",
                "code": "rate_limit_exceeded",
                "message": "The service has too much to do. Try again later.",
                "retry_after": 7.0,
            },
        )
    ]
    assert KEY.encode() not in body


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([send(created("resp_1")), close(1011)], ("ConnectionLost", None)),
        ([send(error_event("a sentence; not a code", 400))], ("BadRequestError", None)),
        ([send(error_event("invalid_value", 400))], ("BadRequestError", "invalid_value")),
    ],
)
def test_failures_are_of_their_class(steps: Any, told: Any) -> None:
    """What is no plain word is no code."""
    with ScriptedServer() as server:
        server.connection(expect(), *steps)
        [(name, data)] = list(events(event_stream(chat(server, retry=Retry(max_retries=0)), "hi")))[1:]
    assert (name, data["type"], data["code"]) == ("failure", *told)


def test_whoever_runs_the_application_can_see_what_it_was(caplog: pytest.LogCaptureFixture) -> None:
    """The browser gets a class; the log what to look for, and no text of the service or of a tool."""

    @contextlib.contextmanager
    def misset() -> Iterator[Chat]:
        raise ConfigurationError("max_connections must be at least 1, not 0")
        yield

    list(event_stream(misset(), "hi"))
    assert "not given: ConfigurationError: max_connections must be at least 1, not 0" in caplog.text
    caplog.clear()
    refused = error_event("invalid_value", 400)
    refused["error"]["message"] = "private"
    with ScriptedServer() as server:
        server.connection(expect(), send(refused))
        list(event_stream(chat(server), "hi"))
    assert "not given: BadRequestError (status 400, code invalid_value, request None)" in caplog.text
    assert "private" not in caplog.text


def test_a_tool_that_raises_is_told_without_its_words(server: ScriptedServer) -> None:
    """They are the program's own."""

    @tool(on_error="raise")
    def broken() -> str:
        raise OSError("details")

    told = list(events(event_stream(chat(server, tools=[broken]), calling("broken"))))
    assert (told[-1][0], told[-1][1]["type"]) == ("failure", "ToolError")
    assert "details" not in str(told)


def test_what_is_no_error_of_this_package_comes_out(server: ScriptedServer) -> None:
    """The browser gets a word without a detail first; the framework logs the rest."""

    @contextlib.contextmanager
    def conversation() -> Iterator[Chat]:
        raise OSError("details: no such disk")
        yield

    body = event_stream(conversation(), "hi")
    next(body)
    [(name, data)] = events([next(body)])
    assert (name, data["type"], data["message"]) == ("failure", "Exception", "Something went wrong here.")
    with pytest.raises(OSError, match="no such disk"):
        next(body)


def test_a_heartbeat_that_cannot_be_is_refused_at_once(server: ScriptedServer) -> None:
    """When the response is made, not when it is on its way."""
    with pytest.raises(ConfigurationError, match="heartbeat"):
        event_stream(chat(server), "hi", heartbeat=0)
