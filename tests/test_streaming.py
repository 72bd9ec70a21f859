"""Streaming: one event to one chunk, and what each event type adds to a message."""

from __future__ import annotations

import dataclasses
import json

import pytest

from responses_ws import errors
from responses_ws._core.events import ONGOING, TERMINAL
from responses_ws.messages import Chunk, Message, ToolCall
from responses_ws.streaming import (
    StreamAccumulator,
    build_chunk,
    build_streaming_tool_call,
    parse_streaming_error,
    stream_url,
)

BETA = {"response.inject.created", "response.inject.failed"}
OUR_OWN = {"response.done", "response.error", "response.cancelled"}

ITEM = {"item_id": "item_1", "output_index": 0}
PART = {**ITEM, "content_index": 0}
SUMMARY = {**ITEM, "summary_index": 0}

USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 30,
}
TOKENS = {"input_tokens": 10, "output_tokens": 20, "cached_tokens": 4, "cache_creation_tokens": 3}

TEXT_PART = {"type": "output_text", "text": "Hi", "annotations": []}
MESSAGE = {"id": "item_1", "type": "message", "role": "assistant", "content": [TEXT_PART]}
OPEN_MESSAGE = {"id": "item_1", "type": "message", "role": "assistant", "content": []}
CITATION = {"type": "url_citation", "url": "https://example.org", "start_index": 0, "end_index": 2}


def response(status: str, **fields: object) -> dict[str, object]:
    return {
        "id": "resp_1",
        "object": "response",
        "model": "gpt-5.5",
        "status": status,
        "output": [],
        **fields,
    }


def rebuilt(**content: object) -> dict[str, object]:
    """A message item put together from deltas alone."""
    return {"type": "message", "id": "item_1", "role": "assistant", **content}


NAMED = {"response_id": "resp_1", "model_id": "gpt-5.5"}
BUILT_IN = "the event itself"

# Each row: the event's fields, what its chunk holds beside type and raw, what the message holds afterwards.
ROWS: dict[str, tuple[dict[str, object], dict[str, object], dict[str, object]]] = {
    "response.queued": ({"response": response("queued")}, NAMED, NAMED),
    "response.created": ({"response": response("in_progress")}, NAMED, NAMED),
    "response.in_progress": ({"response": response("in_progress")}, NAMED, NAMED),
    "response.completed": (
        {"response": response("completed", output=[MESSAGE], usage=USAGE)},
        {**NAMED, **TOKENS},
        {
            **NAMED,
            **TOKENS,
            "reasoning_tokens": 5,
            "status": "completed",
            "content": "Hi",
            "output": [MESSAGE],
        },
    ),
    "response.incomplete": (
        {"response": response("incomplete", incomplete_details={"reason": "max_output_tokens"})},
        NAMED,
        {**NAMED, "status": "incomplete", "incomplete_reason": "max_output_tokens"},
    ),
    "response.failed": (
        {"response": response("failed", error={"code": "server_error", "message": "Sorry."})},
        NAMED,
        {**NAMED, "status": "failed"},
    ),
    "response.output_item.added": (
        {"output_index": 0, "item": OPEN_MESSAGE},
        {},
        {"output": [OPEN_MESSAGE]},
    ),
    "response.output_item.done": (
        {"output_index": 0, "item": MESSAGE},
        {},
        {"output": [MESSAGE], "content": "Hi"},
    ),
    "response.content_part.added": ({**PART, "part": {"type": "output_text", "text": ""}}, {}, {}),
    "response.content_part.done": (
        {**PART, "part": {"type": "output_text", "text": "Hi", "annotations": [CITATION]}},
        {},
        {
            "content": "Hi",
            "annotations": [CITATION],
            "output": [rebuilt(content=[{**TEXT_PART, "annotations": [CITATION]}])],
        },
    ),
    "response.output_text.delta": (
        {**PART, "delta": "Hi", "logprobs": []},
        {"content": "Hi"},
        {"content": "Hi", "output": [rebuilt(content=[TEXT_PART])]},
    ),
    "response.output_text.done": (
        {**PART, "text": "Hi", "logprobs": []},
        {},
        {"content": "Hi", "output": [rebuilt(content=[TEXT_PART])]},
    ),
    "response.output_text.annotation.added": (
        {**PART, "annotation_index": 0, "annotation": CITATION},
        {},
        {
            "annotations": [CITATION],
            "output": [rebuilt(content=[{"type": "output_text", "text": "", "annotations": [CITATION]}])],
        },
    ),
    "response.refusal.delta": (
        {**PART, "delta": "No"},
        {"refusal": "No"},
        {"refusal": "No", "output": [rebuilt(content=[{"type": "refusal", "refusal": "No"}])]},
    ),
    "response.refusal.done": (
        {**PART, "refusal": "No"},
        {},
        {"refusal": "No", "output": [rebuilt(content=[{"type": "refusal", "refusal": "No"}])]},
    ),
    "response.reasoning_text.delta": (
        {**PART, "delta": "Hm"},
        {"reasoning": "Hm"},
        {
            "reasoning": "Hm",
            "output": [
                {"type": "reasoning", "id": "item_1", "content": [{"type": "reasoning_text", "text": "Hm"}]}
            ],
        },
    ),
    "response.reasoning_text.done": (
        {**PART, "text": "Hm"},
        {},
        {
            "reasoning": "Hm",
            "output": [
                {"type": "reasoning", "id": "item_1", "content": [{"type": "reasoning_text", "text": "Hm"}]}
            ],
        },
    ),
    "response.reasoning_summary_part.added": (
        {**SUMMARY, "part": {"type": "summary_text", "text": ""}},
        {},
        {},
    ),
    "response.reasoning_summary_part.done": (
        {**SUMMARY, "part": {"type": "summary_text", "text": "Hm"}, "status": "incomplete"},
        {},
        {
            "reasoning": "Hm",
            "output": [
                {"type": "reasoning", "id": "item_1", "summary": [{"type": "summary_text", "text": "Hm"}]}
            ],
        },
    ),
    "response.reasoning_summary_text.delta": (
        {**SUMMARY, "delta": "Hm"},
        {"reasoning": "Hm"},
        {
            "reasoning": "Hm",
            "output": [
                {"type": "reasoning", "id": "item_1", "summary": [{"type": "summary_text", "text": "Hm"}]}
            ],
        },
    ),
    "response.reasoning_summary_text.done": (
        {**SUMMARY, "text": "Hm"},
        {},
        {
            "reasoning": "Hm",
            "output": [
                {"type": "reasoning", "id": "item_1", "summary": [{"type": "summary_text", "text": "Hm"}]}
            ],
        },
    ),
    "response.function_call_arguments.delta": (
        {**ITEM, "delta": '{"a"'},
        {"tool_calls": {"item_1": ToolCall(None, None, '{"a"', "function_call", "item_1")}},
        {
            "tool_calls": {"item_1": ToolCall(None, None, '{"a"', "function_call", "item_1")},
            "output": [{"type": "function_call", "id": "item_1", "arguments": '{"a"'}],
        },
    ),
    "response.function_call_arguments.done": (
        {**ITEM, "arguments": "{}"},
        {},
        {
            "tool_calls": {"item_1": ToolCall(None, None, "{}", "function_call", "item_1")},
            "output": [{"type": "function_call", "id": "item_1", "arguments": "{}"}],
        },
    ),
    "response.custom_tool_call_input.delta": (
        {**ITEM, "delta": "SEL"},
        {"tool_calls": {"item_1": ToolCall(None, None, "SEL", "custom_tool_call", "item_1")}},
        {
            "tool_calls": {"item_1": ToolCall(None, None, "SEL", "custom_tool_call", "item_1")},
            "output": [{"type": "custom_tool_call", "id": "item_1", "input": "SEL"}],
        },
    ),
    "response.custom_tool_call_input.done": (
        {**ITEM, "input": "SELECT"},
        {},
        {
            "tool_calls": {"item_1": ToolCall(None, None, "SELECT", "custom_tool_call", "item_1")},
            "output": [{"type": "custom_tool_call", "id": "item_1", "input": "SELECT"}],
        },
    ),
    "response.mcp_call_arguments.delta": ({**ITEM, "delta": "{"}, {"built_in_tool_events": BUILT_IN}, {}),
    "response.shell_call_command.delta": (
        {"output_index": 0, "command_index": 0, "delta": "ls"},
        {"built_in_tool_events": BUILT_IN},
        {},
    ),
    "response.shell_call_output_content.delta": (
        {**ITEM, "command_index": 0, "delta": {"stdout": "a\n", "stderr": ""}},
        {"built_in_tool_events": BUILT_IN},
        {},
    ),
    "response.code_interpreter_call_code.delta": (
        {**ITEM, "delta": "1+"},
        {"built_in_tool_events": BUILT_IN},
        {},
    ),
    **{
        kind: (fields, {"built_in_tool_events": BUILT_IN}, {"built_in_tool_events": BUILT_IN})
        for kind, fields in {
            "response.mcp_call_arguments.done": {**ITEM, "arguments": "{}"},
            "response.mcp_call.in_progress": ITEM,
            "response.mcp_call.completed": ITEM,
            "response.mcp_call.failed": ITEM,
            "response.mcp_list_tools.in_progress": ITEM,
            "response.mcp_list_tools.completed": ITEM,
            "response.mcp_list_tools.failed": ITEM,
            "response.web_search_call.in_progress": ITEM,
            "response.web_search_call.searching": ITEM,
            "response.web_search_call.completed": ITEM,
            "response.file_search_call.in_progress": ITEM,
            "response.file_search_call.searching": ITEM,
            "response.file_search_call.completed": ITEM,
            "response.code_interpreter_call.in_progress": ITEM,
            "response.code_interpreter_call.interpreting": ITEM,
            "response.code_interpreter_call.completed": ITEM,
            "response.code_interpreter_call_code.done": {**ITEM, "code": "1+1"},
            "response.image_generation_call.in_progress": ITEM,
            "response.image_generation_call.generating": ITEM,
            "response.image_generation_call.partial_image": {**ITEM, "partial_image_b64": "iVBO"},
            "response.image_generation_call.completed": ITEM,
            "response.shell_call_command.added": {"output_index": 0, "command_index": 0, "command": ""},
            "response.shell_call_command.done": {"output_index": 0, "command_index": 0, "command": "ls"},
            "response.shell_call_output_content.done": {**ITEM, "command_index": 0, "output": []},
        }.items()
    },
    "response.compaction.compacting": (ITEM, {}, {}),
    "response.audio.delta": ({"delta": "UklG"}, {}, {}),
    "response.audio.done": ({}, {}, {}),
    "response.audio.transcript.delta": ({"delta": "Hi"}, {}, {}),
    "response.audio.transcript.done": ({}, {}, {}),
    "response.steer.accepted": ({"steer": {"id": "steer_1", "previous_response_id": "resp_0"}}, {}, {}),
    "response.steer.pending": ({"reason": "waiting_for_required_input", "required_input": []}, {}, {}),
    "response.steer.failed": ({"error": {"code": "invalid_input", "message": "No."}}, {}, {}),
    # not among the service's 62: its beta, and what proxies and gateways send
    "response.inject.created": (
        {"response_id": "resp_1"},
        {"response_id": "resp_1"},
        {"response_id": "resp_1"},
    ),
    "response.inject.failed": ({"error": {"code": "response_not_found"}}, {}, {}),
    "response.done": ({"response": response("completed")}, NAMED, {**NAMED, "status": "completed"}),
    "response.cancelled": ({"response": response("cancelled")}, NAMED, {**NAMED, "status": "cancelled"}),
    "keepalive": ({"sequence_number": 7}, {}, {}),
    "codex.rate_limits": ({"rate_limits": {"primary": {"used_percent": 12}}}, {}, {}),
    "response.novel.delta": ({**ITEM, "delta": "x"}, {}, {}),
    "response.novel": ({"response": response("in_progress")}, NAMED, NAMED),
    "novel": ({"anything": [1, {"a": None}]}, {}, {}),
}


def event_of(kind: str) -> dict[str, object]:
    return {"type": kind, "sequence_number": 7, **ROWS[kind][0]}


def test_there_is_a_row_for_each_of_the_62_event_types():
    """The error event has tests of its own: it makes no chunk."""
    known = (ONGOING - BETA) | (set(TERMINAL) - OUR_OWN)
    assert len(known) == 62
    assert known - {"error"} <= set(ROWS)


@pytest.mark.parametrize("kind", ROWS)
def test_a_chunk_holds_what_its_event_says_and_the_event(kind):
    event = event_of(kind)
    expected = {name: [event] if value is BUILT_IN else value for name, value in ROWS[kind][1].items()}
    chunk = build_chunk(event)
    assert chunk == Chunk(type=kind, raw=event, **expected)
    assert chunk.raw is event


@pytest.mark.parametrize("kind", ROWS)
def test_a_message_holds_what_each_event_adds(kind):
    event = event_of(kind)
    expected = {name: [event] if value is BUILT_IN else value for name, value in ROWS[kind][2].items()}
    if "status" in expected:
        expected["raw"] = event["response"]
    accumulator = StreamAccumulator()
    accumulator.add(build_chunk(event))
    assert accumulator.to_message() == Message(**expected)


# -- items that are tools


@pytest.mark.parametrize("step", ["added", "done"])
@pytest.mark.parametrize(
    "item_type",
    [
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_call",
        "mcp_list_tools",
        "mcp_approval_request",
        "shell_call",
        "shell_call_output",
        "local_shell_call",
        "apply_patch_call",
        "apply_patch_call_output",
        "computer_call",
        "computer_call_output",
    ],
)
def test_items_of_built_in_tools_are_built_in_tool_events(item_type, step):
    event = {
        "type": f"response.output_item.{step}",
        "output_index": 0,
        "item": {"id": "x_1", "type": item_type},
    }
    chunk = build_chunk(event)
    assert chunk.built_in_tool_events == [event]
    assert chunk.tool_calls is None
    accumulator = StreamAccumulator()
    accumulator.add(chunk)
    message = accumulator.to_message()
    assert message.built_in_tool_events == [event]
    assert message.output == [event["item"]]
    assert message.tool_calls is None


@pytest.mark.parametrize(
    "item_type", ["message", "reasoning", "function_call", "compaction", "novel", None, 3]
)
def test_other_items_are_no_built_in_tool_events(item_type):
    event = {"type": "response.output_item.done", "output_index": 0, "item": {"type": item_type}}
    assert build_chunk(event).built_in_tool_events is None


@pytest.mark.parametrize(
    ("event", "calls"),
    [
        (
            {
                "type": "response.output_item.added",
                "output_index": 1,
                "item": {
                    "type": "function_call",
                    "id": "fc_1",
                    "call_id": "call_1",
                    "name": "f",
                    "arguments": "",
                },
            },
            {"call_1": ToolCall("call_1", "f", "", "function_call", "fc_1")},
        ),
        (
            {
                "type": "response.output_item.added",
                "item": {"type": "custom_tool_call", "call_id": "call_1", "name": "f", "input": None},
            },
            {"call_1": ToolCall("call_1", "f", "", "custom_tool_call")},
        ),
        (
            {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": "{"},
            {"fc_1": ToolCall(None, None, "{", "function_call", "fc_1")},
        ),
        (
            {
                "type": "response.function_call_arguments.delta",
                "call_id": "call_1",
                "item_id": "fc_1",
                "delta": "{",
            },
            {"call_1": ToolCall("call_1", None, "{", "function_call", "fc_1")},
        ),
        (
            {"type": "response.custom_tool_call_input.delta", "output_index": 2, "delta": "x"},
            {"2": ToolCall(None, None, "x", "custom_tool_call")},
        ),
        (
            {"type": "response.function_call_arguments.delta", "delta": None},
            {"": ToolCall(None, None, "", "function_call")},
        ),
        ({"type": "response.output_item.added", "item": {"type": "message"}}, None),
        ({"type": "response.output_item.added", "item": None}, None),
        (
            {
                "type": "response.output_item.done",
                "item": {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
            },
            None,
        ),
        ({"type": "response.function_call_arguments.done", "item_id": "fc_1", "arguments": "{}"}, None),
        ({"type": "response.mcp_call_arguments.delta", "item_id": "mcp_1", "delta": "{"}, None),
        ({"type": "response.output_text.delta", "delta": "x"}, None),
        ({}, None),
    ],
)
def test_the_piece_of_a_tool_call(event, calls):
    assert build_streaming_tool_call(event) == calls


# -- usage


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (USAGE, (10, 20, 4, 3, 5)),
        ({"input_tokens": 0, "output_tokens": 0}, (0, 0, None, None, None)),
        ({"input_tokens_details": {"cache_creation_tokens": 8}}, (None, None, None, 8, None)),
        (
            {"input_tokens_details": {"cache_write_tokens": 0, "cache_creation_tokens": 8}},
            (None, None, None, 0, None),
        ),
        (
            {"input_tokens": 3, "input_tokens_details": None, "output_tokens_details": []},
            (3, None, None, None, None),
        ),
        ({"prompt_tokens": 3, "completion_tokens": 4}, (None, None, None, None, None)),
        ({"input_tokens": "3", "output_tokens": True}, (None, None, None, None, None)),
        ({"input_tokens": -1, "output_tokens": 2.5}, (None, None, None, None, None)),
        ({}, (None, None, None, None, None)),
        (None, (None, None, None, None, None)),
        ([3], (None, None, None, None, None)),
    ],
)
def test_an_unknown_count_is_none(usage, counts):
    chunk = build_chunk({"type": "response.completed", "response": {"usage": usage}})
    assert (
        chunk.input_tokens,
        chunk.output_tokens,
        chunk.cached_tokens,
        chunk.cache_creation_tokens,
    ) == counts[:4]
    accumulator = StreamAccumulator()
    accumulator.add(chunk)
    assert dataclasses.astuple(accumulator.to_message().usage) == counts


# -- foreign types


@pytest.mark.parametrize("junk", [None, True, 3, 2.5, "x", "", [], ["x"], {}, {"x": [1]}])
@pytest.mark.parametrize("kind", [*ROWS, None, 7, ["x"], {"x": 1}])
def test_fields_of_any_type_give_a_chunk_and_a_message(kind, junk):
    fields = ROWS[kind][0] if isinstance(kind, str) else {}
    accumulator = StreamAccumulator()
    for name in fields or ("response", "item"):
        accumulator.add(build_chunk({"type": kind, **fields, name: junk}))
        for inner in fields[name] if isinstance(fields.get(name), dict) else ():
            accumulator.add(build_chunk({"type": kind, **fields, name: {**fields[name], inner: junk}}))
    message = accumulator.to_message()
    assert isinstance(message.content, str)
    assert message.tool_calls is None or all(isinstance(key, str) for key in message.tool_calls)


# -- errors


@pytest.mark.parametrize(
    ("event", "cls"),
    [
        (
            {"type": "error", "error": {"code": "rate_limit_exceeded", "message": "No."}},
            errors.RateLimitError,
        ),
        ({"type": "error", "code": "server_error", "message": "No."}, errors.ServerError),
        ({"error": {"message": "No.", "type": "api_error"}}, errors.ResponseError),
        ({"type": None, "error": "No."}, errors.ResponseError),
        ({"type": "response.error", "error": {"message": "No."}}, errors.ResponseError),
        (
            {"type": "error", "error": {"code": "previous_response_not_found"}},
            errors.PreviousResponseNotFound,
        ),
    ],
)
def test_an_error_event_raises(event, cls):
    with pytest.raises(cls) as caught:
        build_chunk(event)
    assert type(caught.value) is cls
    assert caught.value.raw is event


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({"type": "error", "error": {"type": "server_error", "message": "m"}}, (500, "m")),
        ({"type": "error", "error": {"type": "internal_error", "message": "m"}}, (500, "m")),
        ({"type": "error", "error": {"type": "rate_limit_exceeded", "message": "m"}}, (429, "m")),
        ({"type": "error", "error": {"type": "insufficient_quota", "message": "m"}}, (429, "m")),
        ({"type": "error", "error": {"type": "invalid_request_error", "message": "m"}}, (400, "m")),
        ({"type": "error", "error": {"type": "invalid_api_key", "message": "m"}}, (400, "m")),
        ({"type": "error", "error": {"code": "server_error", "message": "m"}}, (500, "m")),
        (
            {"type": "error", "error": {"code": "rate_limit_exceeded", "type": "tokens", "message": "m"}},
            (429, "m"),
        ),
        ({"type": "error", "error": {"code": "novel", "message": "m"}}, (400, "m")),
        ({"type": "error", "status": 503, "error": {"message": "m"}}, (400, "m")),
        ({"type": "error", "code": "server_error", "message": "m"}, (500, "m")),
        ({"type": "error", "code": "insufficient_quota", "message": "m"}, (429, "m")),
        ({"type": "error", "code": "invalid_api_key", "message": "m"}, (400, "m")),
        ({"type": "error", "code": None, "message": "m"}, (400, "m")),
        ({"error": {"type": "server_error", "message": "m"}}, (500, "m")),
        ({"type": "error", "error": "m"}, (400, "m")),
        ({"type": "error"}, (400, "the service gave no message")),
        (
            {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "m"}}},
            (500, "m"),
        ),
        ({"type": "response.output_text.delta", "delta": "error"}, None),
        ({"type": "response.completed", "response": {"error": None}}, None),
        ({"type": "response.incomplete"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("encode", [str, str.encode], ids=["str", "bytes"])
def test_the_status_and_message_of_an_error_text(data, found, encode):
    assert parse_streaming_error(encode(json.dumps(data))) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", (500, "")),
        ("upstream connect error", (500, "upstream connect error")),
        ('{"type":"error"', (500, '{"type":"error"')),
        ("[1]", (500, "[1]")),
        (b"\xff!", (500, "\ufffd!")),
        ("\ud83d", (500, "\ufffd\ufffd\ufffd")),
    ],
)
def test_a_text_that_is_no_json_object_is_a_failure_of_the_server(text, found):
    assert parse_streaming_error(text) == found


def test_stream_url():
    assert stream_url() == "responses"


# -- half characters

PIECES = {
    "response.output_text.delta": lambda chunk: chunk.content,
    "response.refusal.delta": lambda chunk: chunk.refusal,
    "response.reasoning_text.delta": lambda chunk: chunk.reasoning,
    "response.reasoning_summary_text.delta": lambda chunk: chunk.reasoning,
    "response.function_call_arguments.delta": lambda chunk: chunk.tool_calls["item_1"].arguments,
    "response.custom_tool_call_input.delta": lambda chunk: chunk.tool_calls["item_1"].arguments,
}


@pytest.mark.parametrize("kind", PIECES)
@pytest.mark.parametrize(
    ("delta", "shown"),
    [
        ("Hi", "Hi"),
        ("", ""),
        ("北京", "北京"),
        ("🍻", "🍻"),
        ("a\ud83d", "a\ufffd"),
        ("\udd0db", "\ufffdb"),
        ("\ud83d\ud83d\udd0d", "\ufffd🔍"),
    ],
)
def test_a_chunk_can_always_be_printed(kind, delta, shown):
    piece = PIECES[kind](build_chunk({"type": kind, **ITEM, "delta": delta}))
    assert piece == shown
    piece.encode()


@pytest.mark.parametrize("kind", PIECES)
@pytest.mark.parametrize(
    ("deltas", "shown"),
    [
        (["a\ud83d", "\udd0db"], ["a", "🔍b"]),
        (["\ud83d", "\udd0d"], ["", "🔍"]),
        (["\ud83d", "", "\udd0d"], ["", "", "🔍"]),
        (["\ud83d", "plain"], ["", "\ufffdplain"]),
        (["\ud83d", "\ud83d", "\udd0d"], ["", "\ufffd", "🔍"]),
        (["\udd0d", "\ud83d"], ["\ufffd", ""]),
        (["x", "北\ud83c", "\udf7b京", "y"], ["x", "北", "🍻京", "y"]),
    ],
)
def test_the_accumulator_mends_a_character_cut_in_two(kind, deltas, shown):
    accumulator = StreamAccumulator()
    pieces = []
    for delta in deltas:
        chunk = build_chunk({"type": kind, **ITEM, "delta": delta})
        accumulator.add(chunk)
        pieces.append(PIECES[kind](chunk))
    assert pieces == shown


def test_halves_in_different_parts_are_never_joined():
    accumulator = StreamAccumulator()
    shown = []
    for index, delta in [(0, "\ud83d"), (1, "\ud83c"), (0, "\udd0d"), (1, "\udf7b")]:
        chunk = build_chunk(
            {"type": "response.output_text.delta", **PART, "output_index": index, "delta": delta}
        )
        chunk.raw["item_id"] = f"msg_{index}"
        accumulator.add(chunk)
        shown.append(chunk.content)
    assert shown == ["", "", "🔍", "🍻"]
    assert accumulator.to_message().content == "🔍🍻"


def test_a_half_left_alone_is_missing_from_a_part_and_replaced_in_the_whole():
    accumulator = StreamAccumulator()
    accumulator.add(build_chunk({"type": "response.output_text.delta", **PART, "delta": "Hi \ud83d"}))
    assert accumulator.to_message().content == "Hi "
    accumulator.add(build_chunk({"type": "response.completed", "response": response("completed")}))
    assert accumulator.to_message().content == "Hi \ufffd"


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.output_text.done", **PART, "text": "Hi \ud83d"},
        {"type": "response.content_part.done", **PART, "part": {**TEXT_PART, "text": "Hi \ud83d"}},
        {
            "type": "response.output_item.done",
            "item": {"type": "message", "content": [{**TEXT_PART, "text": "Hi \ud83d"}]},
        },
        {
            "type": "response.completed",
            "response": {"output": [{"type": "message", "content": [{**TEXT_PART, "text": "Hi \ud83d"}]}]},
        },
    ],
    ids=lambda event: event["type"],
)
def test_the_text_of_a_message_can_always_be_printed(event):
    accumulator = StreamAccumulator()
    accumulator.add(build_chunk(event))
    assert accumulator.to_message().content == "Hi \ufffd"


def test_the_arguments_of_a_message_can_always_be_printed():
    call = {"type": "function_call", "call_id": "call_1", "arguments": '"\ud83d"'}
    accumulator = StreamAccumulator()
    accumulator.add(build_chunk({"type": "response.completed", "response": {"output": [call]}}))
    assert accumulator.to_message().tool_calls["call_1"].arguments == '"\ufffd"'


def test_an_item_put_together_can_always_be_encoded():
    accumulator = StreamAccumulator()
    accumulator.add(build_chunk({"type": "response.output_text.done", **PART, "text": "Hi \ud83d"}))
    json.dumps(accumulator.to_message().output, ensure_ascii=False).encode()
