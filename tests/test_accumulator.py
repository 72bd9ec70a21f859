"""The accumulator: whole streams, cut, thinned out, shuffled and bent, to one message."""

from __future__ import annotations

import copy
import itertools
import json
import pathlib
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from responses_ws._core.events import TERMINAL
from responses_ws.messages import Message, ToolCall
from responses_ws.streaming import StreamAccumulator, build_chunk

DATA = pathlib.Path(__file__).parent / "data"

SET_UP = {
    "response.created",
    "response.queued",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.reasoning_summary_part.added",
}


def load(name: str) -> list[dict]:
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text("ascii").splitlines()]


STREAMS = {path.stem: load(path.stem) for path in sorted(DATA.glob("*.jsonl"))}


def feed(events: list[dict]) -> StreamAccumulator:
    accumulator = StreamAccumulator()
    for event in events:
        accumulator.add(build_chunk(event))
    return accumulator


def message_of(events: list[dict]) -> Message:
    return feed(events).to_message()


def said(message: Message) -> tuple:
    """What a message says, whoever said it."""
    calls = [(call.name, call.id, call.arguments, call.type) for call in (message.tool_calls or {}).values()]
    return message.content, message.refusal, message.reasoning, calls, message.annotations, message.status


def without(events: list[dict], types: set[str]) -> list[dict]:
    return [event for event in events if event["type"] not in types]


def with_output(events: list[dict], output: object) -> list[dict]:
    """The stream with another ``output`` in its terminal event."""
    *before, last = events
    return [*before, {**last, "response": {**last["response"], "output": output}}]


def types_of(message: Message) -> list[str]:
    return [item["type"] for item in message.output]


# -- whole streams

WEATHER = ToolCall("call_Kf3sTq8bYzWm1LxA", "get_weather", '{"city":"Oslo"}')
TIME = ToolCall("call_Rz9vPd2nHcJk6QoE", "get_time", '{"zone":"Europe/Oslo","utc":false}')
SQL = ToolCall(
    "call_7mVb4XcZ0aLsDfGh",
    "run_sql",
    "SELECT name, city\nFROM people\nWHERE city = 'Ålesund';",
    "custom_tool_call",
)

WHOLE = {
    "text": {
        "content": "Oslo is the capital of Norway. Øl og brød — 🍻!",
        "model_id": "gpt-5.5",
        "input_tokens": 36,
        "output_tokens": 15,
        "cached_tokens": 0,
        "cache_creation_tokens": 0,
        "reasoning_tokens": 0,
    },
    "parallel_calls": {
        "tool_calls": {WEATHER.id: WEATHER, TIME.id: TIME},
        "cached_tokens": 128,
        "reasoning_tokens": 40,
    },
    "custom_tool": {"tool_calls": {SQL.id: SQL}},
    "refusal": {"content": "", "refusal": "I'm sorry, but I can't help with that."},
    "reasoning": {
        "content": "17 × 23 = 391.",  # noqa: RUF001 - as a model writes it
        "reasoning": "The user asks for 17 * 23.\n\n17 * 20 = 340, 17 * 3 = 51.",
    },
    "web_search": {
        "content": "Galdhøpiggen is 2,469 m high ([example.org](https://example.org/peaks)); "
        "the second is Glittertind ([example.com](https://example.com/two)).",
    },
    "file_search_and_code": {"content": "The sum is 245.", "cache_creation_tokens": 2048},
    "image": {"content": "Here is a red pixel."},
    "mcp": {"content": "You rolled 9."},
    "shell": {"content": "There is one file, notes.txt."},
    "computer_and_patch": {"content": "", "model_id": "computer-use-preview", "tool_calls": None},
    "incomplete": {
        "content": "Once upon a time, in a",
        "status": "incomplete",
        "incomplete_reason": "max_output_tokens",
    },
    "failed_stub": {
        "content": "The answer to",
        "status": "failed",
        "model_id": "gpt-5.5",
        "input_tokens": None,
        "output_tokens": None,
    },
    "gateway": {
        "content": "I will look… 🔍 out for you 🌤️",
        "tool_calls": {"call-1": ToolCall("call-1", "get_weather", '{"city":"北京"}', item_id="fc-1")},
        "input_tokens": None,
        "cached_tokens": None,
    },
}


def test_every_recorded_stream_has_its_expected_message():
    assert set(WHOLE) == set(STREAMS)


@pytest.mark.parametrize("name", STREAMS)
def test_a_whole_stream_gives_its_message(name):
    message = message_of(STREAMS[name])
    expected = {"status": "completed", "incomplete_reason": None, "refusal": None, "tool_calls": None}
    expected |= WHOLE[name]
    if name in ("parallel_calls", "custom_tool"):
        for item in message.output:
            if item["type"] != "reasoning":
                expected["tool_calls"][item["call_id"]].item_id = item["id"]
    assert {field: getattr(message, field) for field in expected} == expected
    terminal = STREAMS[name][-1]["response"]
    assert message.raw == terminal
    assert message.response_id == terminal["id"]
    assert message.output == (terminal.get("output") or message.output)


def test_tool_calls_are_in_output_order_whichever_was_done_first():
    assert list(message_of(STREAMS["parallel_calls"]).tool_calls) == [WEATHER.id, TIME.id]


def test_citations_are_in_order_of_appearance():
    events = STREAMS["web_search"]
    annotations = message_of(events).annotations
    assert [entry["url"] for entry in annotations] == ["https://example.org/peaks", "https://example.com/two"]
    first, last = (i for i, event in enumerate(events) if event["type"].endswith("annotation.added"))
    assert message_of(events[: first + 1]).annotations == annotations[:1]
    assert message_of(events[: last + 1]).annotations == annotations


@pytest.mark.parametrize(
    ("name", "events"),
    [
        ("web_search", {"web_search_call": ["in_progress", "searching", "completed"]}),
        ("image", {"image_generation_call": ["in_progress", "generating", "partial_image", "completed"]}),
        (
            "mcp",
            {
                "mcp_list_tools": ["in_progress", "completed"],
                "mcp_call": ["in_progress", "completed"],
                "mcp_call_arguments": ["done"],
            },
        ),
        ("shell", {"shell_call_command": ["added", "done"] * 2, "shell_call_output_content": ["done"] * 2}),
    ],
)
def test_built_in_tool_events_are_kept_as_received_but_for_their_pieces(name, events):
    message = message_of(STREAMS[name])
    kinds = [event["type"] for event in message.built_in_tool_events]
    for tool, steps in events.items():
        of_tool = [kind for kind in kinds if kind.startswith(f"response.{tool}.")]
        assert of_tool == [f"response.{tool}.{step}" for step in steps]
    assert all(event in STREAMS[name] for event in message.built_in_tool_events)
    assert {"response.output_item.added", "response.output_item.done"} <= set(kinds)


# -- streams cut short


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_cut_anywhere_gives_a_part_of_the_message(name):
    events = STREAMS[name]
    whole = message_of(without(events, {"response.failed"})) if name == "failed_stub" else message_of(events)
    accumulator = StreamAccumulator()
    shown = ""
    for event in events[:-1]:
        chunk = build_chunk(event)
        accumulator.add(chunk)
        shown += chunk.content or ""
        part = accumulator.to_message()
        part.content.encode()
        assert whole.content.startswith(part.content)
        assert whole.content.startswith(shown)
        assert (whole.refusal or "").startswith(part.refusal or "")
        for call_id, call in (part.tool_calls or {}).items():
            assert whole.tool_calls[call_id].name == call.name
            assert whole.tool_calls[call_id].arguments.startswith(call.arguments)
        assert part.status == "in_progress"
        assert part.raw is None
        assert part.usage == Message().usage
    assert shown == whole.content


def test_unfinished_arguments_are_in_the_part_as_received():
    events = STREAMS["parallel_calls"]
    cut = next(i for i, event in enumerate(events) if event["type"].endswith("arguments.done"))
    halves = {}
    for event in events[: cut - 3]:
        if event["type"].endswith("arguments.delta"):
            halves[event["output_index"]] = halves.get(event["output_index"], "") + event["delta"]
    part = message_of(events[: cut - 3])
    assert [call.arguments for call in part.tool_calls.values()] == [halves[1], halves[2]]
    assert [item["status"] for item in part.output[1:]] == ["in_progress", "in_progress"]


def test_an_empty_accumulator_has_an_empty_message():
    assert StreamAccumulator().to_message() == Message()


@pytest.mark.parametrize("name", STREAMS)
def test_a_message_is_a_copy_of_the_moment(name):
    accumulator = StreamAccumulator()
    moments = []
    for event in STREAMS[name]:
        accumulator.add(build_chunk(event))
        message = accumulator.to_message()
        moments.append((message, copy.deepcopy(message)))
    assert all(message == as_it_was for message, as_it_was in moments)


# -- streams thinned out

ALMOST = [name for name in STREAMS if name != "failed_stub"]


@pytest.mark.parametrize("name", STREAMS)
def test_set_up_events_are_not_needed(name):
    events = STREAMS[name]
    assert said(message_of(without(events, SET_UP))) == said(message_of(events))


@pytest.mark.parametrize("output", [[], None, "missing", {}])
@pytest.mark.parametrize("name", ALMOST)
def test_a_terminal_without_output_is_filled_from_the_items(name, output):
    events = with_output(STREAMS[name], output)
    if output == "missing":
        del events[-1]["response"]["output"]
    whole = message_of(STREAMS[name])
    message = message_of(events)
    assert said(message) == said(whole)
    assert message.output == whole.output
    assert said(message_of(without(events, SET_UP))) == said(whole)
    assert message_of(without(events, SET_UP)).output == whole.output


@pytest.mark.parametrize("name", ALMOST)
def test_without_any_done_event_the_deltas_are_the_message(name):
    done = {event["type"] for event in STREAMS[name] if event["type"].endswith(".done")}
    events = with_output(without(STREAMS[name], done), [])
    assert said(message_of(events)) == said(message_of(STREAMS[name]))


@pytest.mark.parametrize("name", ALMOST)
def test_without_any_delta_the_done_events_are_the_message(name):
    deltas = {event["type"] for event in STREAMS[name] if event["type"].endswith(".delta")}
    whole = said(message_of(STREAMS[name]))
    assert said(message_of(without(STREAMS[name], deltas))) == whole
    assert said(message_of(with_output(without(STREAMS[name], deltas), []))) == whole


@pytest.mark.parametrize("name", ALMOST)
def test_text_deltas_and_an_end_are_enough_for_the_texts(name):
    events = [event for event in STREAMS[name] if event["type"].endswith((".delta", "annotation.added"))]
    message = message_of([*events, {"type": "response.done"}])
    whole = message_of(STREAMS[name])
    assert (message.content, message.refusal, message.reasoning) == (
        whole.content,
        whole.refusal,
        whole.reasoning,
    )
    calls, expected = message.tool_calls or {}, whole.tool_calls or {}
    assert [call.arguments for call in calls.values()] == [call.arguments for call in expected.values()]
    assert message.status == "completed"


@pytest.mark.parametrize("name", ALMOST)
def test_the_terminal_event_alone_is_the_message(name):
    if name == "gateway":
        assert message_of(STREAMS[name][-1:]).content == ""
    else:
        assert said(message_of(STREAMS[name][-1:])) == said(message_of(STREAMS[name]))


# -- which word counts


def delta(text: str, index: int = 0, item_id: str | None = "msg_1", part: int = 0, **fields: object) -> dict:
    event = {
        "type": "response.output_text.delta",
        "output_index": index,
        "content_index": part,
        "delta": text,
    }
    return {**event, **({} if item_id is None else {"item_id": item_id}), **fields}


def arguments(text: str, **fields: object) -> dict:
    return {"type": "response.function_call_arguments.delta", "delta": text, **fields}


def call_item(call_id: str, text: str, **fields: object) -> dict:
    return {"type": "function_call", "call_id": call_id, "name": f"do_{call_id}", "arguments": text, **fields}


def text_item(text: str, **fields: object) -> dict:
    return {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text}],
        **fields,
    }


def item(step: str, value: object, **fields: object) -> dict:
    return {"type": f"response.output_item.{step}", "item": value, **fields}


def completed(*output: dict, **fields: object) -> dict:
    return {
        "type": "response.completed",
        "response": {"status": "completed", "output": list(output), **fields},
    }


def calls_of(message: Message) -> dict[str, str]:
    return {key: call.arguments for key, call in (message.tool_calls or {}).items()}


def test_the_whole_text_counts_over_its_deltas():
    events = [delta("Helo"), {"type": "response.output_text.done", "item_id": "msg_1", "text": "Hello"}]
    assert message_of(events).content == "Hello"
    assert message_of([*events, delta(" late")]).content == "Hello"


def test_the_done_item_counts_over_its_texts():
    events = [delta("Helo"), item("done", text_item("Hello", id="msg_1"), output_index=0)]
    assert message_of(events).content == "Hello"
    assert message_of([*events, delta(" late")]).content == "Hello"


def test_the_terminal_event_counts_over_the_items():
    events = [item("done", text_item("Helo", id="msg_1"), output_index=0), completed(text_item("Hello"))]
    message = message_of(events)
    assert message.content == "Hello"
    assert message.output == [text_item("Hello")]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.output_text.done", "item_id": "msg_1", "output_index": 0, "text": ""},
        {"type": "response.output_text.done", "item_id": "msg_1", "output_index": 0},
        {
            "type": "response.content_part.done",
            "item_id": "msg_1",
            "output_index": 0,
            "part": {"type": "output_text"},
        },
        item("done", {"type": "message", "id": "msg_1", "content": []}, output_index=0),
        item("done", {"type": "message", "id": "msg_1"}, output_index=0),
        completed({"type": "message", "id": "msg_1", "content": None}),
        completed({"type": "message", "id": "other"}),
        item("done", text_item("", id="msg_1"), output_index=0),
        item("done", {"type": "message", "id": "msg_1", "content": [{"type": "output_text"}]}),
        completed(text_item("", id="msg_1")),
        completed({"type": "message", "id": "msg_1", "content": [{"type": "refusal", "refusal": None}]}),
    ],
)
def test_an_empty_word_does_not_count_over_what_was_received(event):
    assert message_of([delta("Hello"), event]).content == "Hello"


def test_an_item_that_ends_as_it_was_announced_has_what_was_received():
    announced = {"type": "message", "id": "msg_1", "content": []}
    assert message_of([item("added", announced), delta("Hello"), completed(announced)]).content == "Hello"


def test_citations_of_an_empty_text_are_kept_wherever_they_come():
    cited = {"type": "output_text", "text": "", "annotations": [{"type": "file_path", "index": 0}]}
    part = {"type": "response.content_part.done", "item_id": "msg_1", "output_index": 0, "part": cited}
    whole = {"type": "message", "id": "msg_1", "content": [cited]}
    for events in ([delta(""), completed(whole)], [part, completed({**whole, "content": []})]):
        assert message_of(events).annotations == cited["annotations"]


def test_a_part_of_another_kind_is_not_empty():
    part = {"type": "output_hologram", "text": ""}
    message = message_of([delta("Hello"), completed({"type": "message", "id": "msg_1", "content": [part]})])
    assert message.output[0]["content"] == [part]


def test_a_call_without_its_arguments_or_name_is_completed_from_earlier_events():
    events = [
        item("added", call_item("c1", "", id="fc_1"), output_index=0),
        arguments("{}", item_id="fc_1", output_index=0),
        completed({"type": "function_call", "id": "fc_1", "call_id": "c1", "arguments": ""}),
    ]
    assert message_of(events).tool_calls == {"c1": ToolCall("c1", "do_c1", "{}", "function_call", "fc_1")}


@pytest.mark.parametrize("field", ["call_id", "name", "content", "summary", "arguments", "input"])
def test_an_item_of_an_unknown_type_keeps_what_was_announced_of_it(field):
    announced = {"type": "hologram", "id": "h_1", field: "known"}
    for last in (announced | {field: ""}, {"type": "hologram", "id": "h_1"}):
        assert message_of([item("added", announced), completed(last)]).output == [announced]


def test_the_first_terminal_event_counts():
    events = [
        completed(text_item("Hello"), id="resp_1"),
        {"type": "response.done", "response": {"status": "failed"}},
    ]
    message = message_of(events)
    assert (message.content, message.status) == ("Hello", "completed")


def test_the_stricter_status_counts():
    assert message_of([completed(status="incomplete")]).status == "incomplete"
    assert message_of([completed(status="queued")]).status == "queued"


@pytest.mark.parametrize("kind", sorted(set(TERMINAL) - {"error", "response.error"}))
def test_a_terminal_event_without_a_response_keeps_what_was_received(kind):
    message = message_of([delta("Hello"), {"type": kind, "response": None}])
    assert message.content == "Hello"
    assert message.status == TERMINAL[kind]
    assert message.raw == {}


def test_an_end_that_names_nothing_keeps_the_names():
    created = {"type": "response.created", "response": {"id": "resp_1", "model": "gpt-5.5"}}
    message = message_of([created, {"type": "response.completed", "response": {"status": "completed"}}])
    assert (message.response_id, message.model_id) == ("resp_1", "gpt-5.5")


def test_a_part_without_annotations_does_not_take_those_received():
    citation = {"type": "url_citation", "url": "https://example.org"}
    named = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events = [
        delta("Hi"),
        {"type": "response.output_text.annotation.added", **named, "annotation": citation},
        {"type": "response.content_part.done", **named, "part": {"type": "output_text", "text": "Hi"}},
    ]
    assert message_of(events).annotations == [citation]


# -- attribution


def test_deltas_of_parallel_calls_with_call_ids_alone():
    events = [
        arguments('{"a"', call_id="c1"),
        arguments('{"b"', call_id="c2"),
        arguments(":1}", call_id="c1"),
        arguments(":2}", call_id="c2"),
    ]
    assert calls_of(message_of(events)) == {"c1": '{"a":1}', "c2": '{"b":2}'}
    done = [item("done", call_item("c2", "")), item("done", call_item("c1", ""))]
    assert calls_of(message_of([*events, *done])) == {"c1": '{"a":1}', "c2": '{"b":2}'}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"item_id": "fc_1"}, {"item_id": "fc_2"}),
        ({"output_index": 0}, {"output_index": 1}),
        ({"item_id": "fc_1", "output_index": 0}, {"item_id": "fc_2", "output_index": 1}),
        ({"item_id": "fc_1", "output_index": 0}, {"output_index": 1}),
    ],
)
@pytest.mark.parametrize("step", ["added", "done"])
def test_deltas_before_their_item_are_joined_when_it_is_named(first, second, step):
    events = [
        arguments('{"a"', **first),
        arguments('{"b"', **second),
        arguments(":1}", **first),
        arguments(":2}", **second),
        item(step, call_item("c1", "", id="fc_1"), output_index=0),
        item(step, call_item("c2", "", id="fc_2"), output_index=1),
    ]
    message = message_of(events)
    assert calls_of(message) == {"c1": '{"a":1}', "c2": '{"b":2}'}
    assert types_of(message) == ["function_call", "function_call"]


def test_a_server_that_changes_the_item_id_with_every_event():
    events = [
        item("added", text_item("", id="a1"), output_index=0),
        item("added", call_item("c1", "", id="b1"), output_index=1),
        delta("He", 0, "a2"),
        arguments("{", item_id="b2", output_index=1),
        delta("llo", 0, "a3"),
        arguments("}", item_id="b3", output_index=1),
        item("done", call_item("c1", "{}", id="b4"), output_index=1),
        item("done", text_item("Hello", id="a4"), output_index=0),
    ]
    for cut, content, calls in [(6, "Hello", {"c1": "{}"}), (8, "Hello", {"c1": "{}"})]:
        message = message_of(events[:cut])
        assert (message.content, calls_of(message)) == (content, calls)
        assert types_of(message) == ["message", "function_call"]


def test_thousands_of_item_ids_for_one_item_take_no_memory():
    accumulator = feed([item("added", text_item("", id="a0"), output_index=0)])
    for number in range(2_000):
        accumulator.add(build_chunk(delta("x", 0, f"a{number}" * 20)))
    assert accumulator.to_message().content == "x" * 2_000
    assert len(accumulator._output._routes) <= 256
    assert len(accumulator._output._named) == 2


def test_a_server_that_gives_every_item_the_same_place():
    events = [
        item("added", {"type": "message", "id": "msg_1", "content": []}, output_index=0),
        delta("Look", 0, "msg_1"),
        item("added", call_item("c1", "", id="fc_1"), output_index=0),
        item("added", call_item("c2", "", id="fc_2"), output_index=0),
        arguments("[1", item_id="fc_1", output_index=0),
        arguments("[2", item_id="fc_2", output_index=0),
        arguments("]", item_id="fc_1", output_index=0),
        arguments("]", item_id="fc_2", output_index=0),
        delta("ing", 0, "msg_1"),
    ]
    message = message_of(events)
    assert message.content == "Looking"
    assert calls_of(message) == {"c1": "[1]", "c2": "[2]"}
    done = [item("done", call_item(f"c{n}", f"[{n}]", id=f"fc_{n}"), output_index=0) for n in (1, 2)]
    assert calls_of(message_of([*events, *done])) == {"c1": "[1]", "c2": "[2]"}


def test_done_items_at_one_place_are_items_of_their_own():
    events = [item("done", call_item(f"c{n}", f"[{n}]", id=f"fc_{n}"), output_index=0) for n in (1, 2)]
    assert calls_of(message_of(events)) == {"c1": "[1]", "c2": "[2]"}


def test_an_item_that_comes_twice_is_one():
    events = [
        item("added", call_item("c1", "", id="fc_1"), output_index=0),
        item("added", call_item("c1", "", id="fc_1"), output_index=0),
        item("done", call_item("c1", "{}", id="fc_1"), output_index=0),
        item("done", call_item("c1", "{}", id="fc_1"), output_index=0),
        item("added", call_item("c1", "", id="fc_1", status="in_progress"), output_index=0),
    ]
    assert message_of(events).output == [call_item("c1", "{}", id="fc_1")]


def test_calls_at_one_place_one_after_the_other_without_ids():
    events = [
        arguments("[1", output_index=0),
        arguments("]", output_index=0),
        item("done", call_item("c1", ""), output_index=0),
        arguments("[2", output_index=0),
        arguments("]", output_index=0),
        item("done", call_item("c2", ""), output_index=0),
    ]
    assert calls_of(message_of(events)) == {"c1": "[1]", "c2": "[2]"}


def test_an_item_is_known_by_all_that_was_ever_said_of_it():
    events = [
        arguments("[", output_index=0),
        item("added", call_item("c1", "", id="fc_1"), output_index=0),
        arguments("1", item_id="fc_1"),
        arguments("]", call_id="c1"),
    ]
    assert calls_of(message_of(events)) == {"c1": "[1]"}


def test_an_empty_id_says_nothing():
    events = [
        arguments("[1", item_id="", output_index=0),
        arguments("[2", item_id="", output_index=1),
        item("done", call_item("c1", "", id=""), output_index=0),
        item("done", call_item("c2", "", id=""), output_index=1),
    ]
    assert calls_of(message_of(events)) == {"c1": "[1", "c2": "[2"}


def test_text_without_any_name_is_joined_to_the_item_that_comes():
    events = [
        {"type": "response.output_text.delta", "delta": "Hel"},
        {"type": "response.output_text.delta", "delta": "lo"},
    ]
    assert message_of(events).content == "Hello"
    assert message_of([*events, {"type": "response.output_text.done", "text": "Hello!"}]).content == "Hello!"
    message = message_of([*events, item("done", {"type": "message", "id": "msg_1", "content": []})])
    assert (message.content, len(message.output)) == ("Hello", 1)
    assert message_of([*events, completed(text_item("Hello!"))]).content == "Hello!"


def test_parts_that_close_late_and_open_inside_are_kept_apart():
    refusal = {"item_id": "msg_1", "output_index": 0, "content_index": 1}
    events = [
        delta("He"),
        {"type": "response.refusal.delta", **refusal, "delta": "but"},
        arguments("{", item_id="fc_1", output_index=1),
        delta("llo"),
        {"type": "response.refusal.delta", **refusal, "delta": " no"},
        item("done", call_item("c1", "{}", id="fc_1"), output_index=1),
        {"type": "response.output_text.done", "item_id": "msg_1", "output_index": 0, "text": "Hello"},
    ]
    message = message_of(events)
    assert (message.content, message.refusal) == ("Hello", "but no")
    assert types_of(message) == ["message", "function_call"]
    assert [part["type"] for part in message.output[0]["content"]] == ["output_text", "refusal"]


def test_parts_and_items_are_ordered_by_their_numbers():
    events = [delta("D", 2, "m2", 1), delta("B", 0, "m0", 1), delta("C", 2, "m2", 0), delta("A", 0, "m0", 0)]
    assert message_of(events).content == "ABCD"


def test_items_without_a_place_come_last():
    events = [item("done", text_item("B", id="m1")), item("done", text_item("A", id="m0"), output_index=0)]
    assert message_of(events).content == "AB"


def test_an_item_takes_the_first_place_that_is_named():
    events = [
        item("done", text_item("A", id="m0"), output_index=3),
        item("added", text_item("", id="m1")),
        item("done", text_item("B", id="m1"), output_index=0),
    ]
    assert message_of(events).content == "BA"


def test_a_call_that_nobody_names_is_kept_under_its_place():
    message = message_of([completed(text_item("x"), {"type": "function_call", "arguments": "{}"})])
    assert message.tool_calls == {"1": ToolCall(None, None, "{}")}


def test_reasoning_is_the_text_or_else_the_summary():
    def reasoning(text: str | None, *summary: str) -> dict:
        content = None if text is None else [{"type": "reasoning_text", "text": text}]
        return {
            "type": "reasoning",
            "content": content,
            "summary": [{"type": "summary_text", "text": entry} for entry in summary],
        }

    assert message_of([completed(reasoning("T", "S"))]).reasoning == "T"
    assert message_of([completed(reasoning(None, "S1", "", "S2"))]).reasoning == "S1\n\nS2"
    assert message_of([completed(reasoning("T1", "S"), reasoning(None, "S2"))]).reasoning == "T1\n\nS2"
    assert message_of([completed(reasoning(None))]).reasoning is None


# -- memory


def test_pieces_are_dropped_when_the_text_is_done():
    accumulator = feed([delta("x" * 1000) for _ in range(100)])
    (part,) = accumulator._output._items[0].parts.values()
    assert len(part.pieces) == 100
    accumulator.add(build_chunk({"type": "response.output_text.done", "item_id": "msg_1", "text": "x"}))
    assert part.pieces == []
    accumulator.add(build_chunk(item("done", text_item("x", id="msg_1"))))
    assert accumulator._output._items[0].parts == {}


def test_chunks_are_not_kept():
    chunk = build_chunk(delta("Hello"))
    references = sys.getrefcount(chunk), sys.getrefcount(chunk.raw)
    accumulator = StreamAccumulator()
    accumulator.add(chunk)
    assert (sys.getrefcount(chunk), sys.getrefcount(chunk.raw)) == references


# -- any split, any order

UNITS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)


def units_of(text: str) -> list[str]:
    """UTF-16 code units: an astral character is two."""
    encoded = text.encode("utf-16-le")
    return [chr(int.from_bytes(encoded[i : i + 2], "little")) for i in range(0, len(encoded), 2)]


@st.composite
def split(draw, texts=UNITS):
    """A text, and the pieces that a server might cut it into."""
    text = draw(texts)
    units = units_of(text)
    cuts = sorted(draw(st.lists(st.integers(0, len(units)), max_size=6)))
    bounds = [0, *cuts, len(units)]
    pieces = ["".join(units[start:end]) for start, end in itertools.pairwise(bounds)]
    return text, [json.loads(json.dumps(piece)) for piece in pieces]


@st.composite
def interleaved(draw, count=3):
    """Several split texts, and an order in which their pieces arrive."""
    texts = [draw(split(UNITS | st.sampled_from(["🍻", "🌤️🌤️", "a🔍"]))) for _ in range(count)]
    order = draw(st.permutations([number for number, (_, pieces) in enumerate(texts) for _ in pieces]))
    queues = [list(pieces) for _, pieces in texts]
    return [text for text, _ in texts], [(number, queues[number].pop(0)) for number in order]


@given(split())
def test_any_split_of_a_text_is_shown_and_kept_whole(case):
    text, pieces = case
    accumulator = StreamAccumulator()
    shown = []
    for piece in pieces:
        chunk = build_chunk(delta(piece))
        accumulator.add(chunk)
        chunk.content.encode()
        shown.append(chunk.content)
        assert text.startswith(accumulator.to_message().content)
    assert "".join(shown) == text
    assert accumulator.to_message().content == text


NAMES = st.sampled_from([("item_id",), ("output_index",), ("call_id",), ("item_id", "output_index")])


@given(interleaved(), NAMES, st.booleans(), st.permutations(range(3)))
def test_any_interleaving_of_parallel_calls_gives_each_its_own(case, names, announced, done):
    texts, arrivals = case
    said_of = [
        {"item_id": f"fc_{number}", "output_index": number, "call_id": f"c{number}"} for number in range(3)
    ]
    announcements = [
        item("added", call_item(f"c{n}", "", id=f"fc_{n}"), output_index=n) for n in range(3) if announced
    ]
    pieces = [
        arguments(piece, **{name: said_of[number][name] for name in names}) for number, piece in arrivals
    ]
    dones = [item("done", call_item(f"c{n}", "", id=f"fc_{n}"), output_index=n) for n in done]
    message = message_of([*announcements, *pieces, *dones, completed()])
    assert calls_of(message) == {f"c{number}": text for number, text in enumerate(texts)}


def called(number: int, **ids: str) -> dict:
    return {"type": "function_call", "call_id": "1", "name": "f", "arguments": f'{{"n":{number}}}', **ids}


def announced(index: int, call: dict) -> list[dict]:
    return [
        {"type": "response.output_item.added", "output_index": index, "item": {**call, "arguments": ""}},
        {
            "type": "response.function_call_arguments.delta",
            "output_index": index,
            "item_id": call.get("id"),
            "delta": call["arguments"],
        },
        {"type": "response.output_item.done", "output_index": index, "item": call},
    ]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_two_calls_with_one_call_id_are_two(whole, named):
    """Neither hides the other, whatever the service names them; a call that is sent twice is one to make."""
    calls = [called(number, **({"id": f"fc_{number}"} if named else {})) for number in (1, 2)]
    response = {"id": "r", "status": "completed", "output": calls if whole else []}
    end = {"type": "response.completed", "response": response}
    message = message_of([*announced(0, calls[0]), *announced(1, calls[1]), end])
    assert message.output == calls
    assert message.tool_calls is not None
    assert [(call.id, call.arguments) for call in message.tool_calls.values()] == [
        ("1", '{"n":1}'),
        ("1", '{"n":2}'),
    ]
    assert list(message.tool_calls) == ["1", "fc_2" if named else "2"]
    again = message_of([*announced(0, calls[0]), *announced(1, {**calls[0], "id": "fc_3"}), end])
    assert whole or list(again.tool_calls or ()) == ["1"]


@given(interleaved(), st.booleans())
def test_any_interleaving_of_texts_gives_each_its_own(case, as_items):
    texts, arrivals = case
    events = [
        delta(piece, number, f"m{number}") if as_items else delta(piece, 0, "m0", number)
        for number, piece in arrivals
    ]
    assert message_of([*events, completed()]).content == "".join(texts)


@given(st.data())
def test_no_order_of_events_breaks_the_accumulator(data):
    events = data.draw(st.permutations(data.draw(st.sampled_from(list(STREAMS.values())))))
    accumulator = StreamAccumulator()
    for event in events:
        accumulator.add(build_chunk(event))
        accumulator.to_message().content.encode()


@given(st.data())
def test_whatever_is_missing_the_terminal_event_has_it_all(data):
    complete = [name for name in ALMOST if name != "gateway"]
    *before, last = STREAMS[data.draw(st.sampled_from(complete))]
    kept = data.draw(st.lists(st.booleans(), min_size=len(before), max_size=len(before)))
    rest = [event for event, keep in zip(before, kept, strict=True) if keep]
    assert said(message_of([*rest, last])) == said(message_of([*before, last]))
