"""The model as what it is: a function from requests to events."""

from __future__ import annotations

import json
import sys

import pytest

from responses_ws.testing import Model
from responses_ws.testing.model_reply import limit_words, words

WEATHER = {"type": "function", "name": "get_weather", "parameters": {}}
CLOCK = {"type": "function", "name": "get_time", "parameters": {}}


class Talk:
    """A connection to a model, and what came over it."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.connection = model.connect()

    def create(self, given=None, **fields) -> list[dict]:
        request = {"type": "response.create", "model": "m", **fields}
        if given is not None:
            request["input"] = given
        return list(self.model.receive(json.dumps(request), self.connection))

    def ask(self, given=None, **fields) -> dict:
        """The response of the terminal event."""
        return self.create(given, **fields)[-1]["response"]

    def error(self, given=None, **fields) -> dict:
        """The error of the only event."""
        (event,) = self.create(given, **fields)
        assert event["type"] == "error"
        return event


@pytest.fixture
def talk() -> Talk:
    return Talk(Model())


def types(events) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def text(response: dict) -> str:
    return "".join(part["text"] for item in response["output"] for part in item["content"])


def test_the_sequence_of_a_text_answer(talk):
    """All events of a text answer come in the service's order."""
    events = talk.create("hi")
    assert types(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * 3,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(11))


def test_a_text_answer_agrees_with_itself(talk):
    """Deltas, done events, the item and the terminal response tell the same text, ids and places."""
    events = talk.create("hi")
    by_type = {event["type"]: event for event in events}
    item = by_type["response.output_item.done"]["item"]
    response = by_type["response.completed"]["response"]
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert (
        "".join(deltas) == by_type["response.output_text.done"]["text"] == text(response) == "You said: hi."
    )
    assert response["output"] == [item]
    assert (item["role"], item["status"]) == ("assistant", "completed")
    assert item["content"] == [by_type["response.content_part.done"]["part"]]
    places = [(event["item_id"], event["output_index"], event["content_index"]) for event in events[3:9]]
    assert places == [(item["id"], 0, 0)] * 6
    assert by_type["response.output_item.added"]["item"]["content"] == []


def test_the_response_object(talk):
    """It echoes the request with the service's defaults; its id looks like the service's and is new."""
    first = talk.ask("hi", metadata={"k": "v"}, temperature=None, tools=[WEATHER])
    second = talk.ask("hi")
    assert (first["object"], first["status"], first["model"]) == ("response", "completed", "m")
    assert (first["metadata"], first["temperature"], first["tools"]) == ({"k": "v"}, 1.0, [WEATHER])
    assert first["error"] is first["incomplete_details"] is None
    assert first["id"].startswith("resp_")
    assert len(first["id"]) == 53
    assert first["id"] != second["id"]
    created = talk.create("hi")[0]["response"]
    assert (created["status"], created["output"], created["usage"]) == ("in_progress", [], None)


@pytest.mark.parametrize(
    ("given", "fields", "said"),
    [
        ("hi", {}, "You said: hi."),
        ("", {}, "You said: ."),
        ([], {}, "You said nothing."),
        ("hi", {"instructions": "be brief"}, "Instructions: be brief. You said: hi."),
        (
            [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
            {},
            "You said: b. Before that: a.",
        ),
        (
            [{"role": "user", "content": text} for text in "abc"],
            {},
            "You said: c. Before that: a; b.",
        ),
        ([{"role": "user", "content": [{"type": "input_text", "text": "x"}]}], {}, "You said: x."),
        ([{"role": "developer", "content": "d"}, {"role": "user", "content": "u"}], {}, "You said: u."),
        ("call get_weather {}", {}, "You said: call get_weather {}."),
        ("call get_time {}", {"tools": [WEATHER]}, "You said: call get_time {}."),
    ],
)
def test_what_the_model_says(talk, given, fields, said):
    """The answer is a function of all that the model sees."""
    assert text(talk.ask(given, **fields)) == said


def test_a_chain_is_proved_by_the_answer(talk):
    """A continuation sees what went before; instructions are not carried over."""
    first = talk.ask("one", instructions="be brief")
    second = talk.ask("two", previous_response_id=first["id"])
    third = talk.ask("three", previous_response_id=second["id"])
    assert text(third) == "You said: three. Before that: one; two."


@pytest.mark.parametrize("fields", [{}, {"previous_response_id": None}])
def test_no_previous_response_starts_anew(talk, fields):
    """Without a previous id, or with an explicit null, nothing is remembered."""
    talk.ask("one")
    assert text(talk.ask("two", **fields)) == "You said: two."


def test_history_is_all_that_was_seen_and_made(talk):
    """Chained by id or sent in full, the history is the same: nothing missing, nothing twice."""
    one = talk.ask("one")
    two = talk.ask("two", previous_response_id=one["id"])
    in_full = [
        {"type": "message", "role": "user", "content": "one"},
        *one["output"],
        {"type": "message", "role": "user", "content": "two"},
    ]
    again = talk.ask(in_full)
    assert talk.model.history(two["id"]) == [*in_full, *two["output"]]
    assert talk.model.history(again["id"])[:-1] == talk.model.history(two["id"])[:-1]
    assert text(again) == text(two)
    with pytest.raises(KeyError):
        talk.model.history("resp_unknown")


def test_usage_counts_words(talk):
    """One word is one token; what an earlier response saw is cached."""
    first = talk.ask("a b c")
    assert first["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 8,
    }
    second = talk.ask("d", previous_response_id=first["id"])
    assert (second["usage"]["input_tokens"], second["usage"]["input_tokens_details"]) == (
        9,
        {"cached_tokens": 8},
    )


def test_a_long_chain(talk):
    """A chain of more responses than the stack is deep remembers its beginning."""
    previous = talk.ask("first", generate=False)["id"]
    for _ in range(sys.getrecursionlimit()):
        previous = talk.ask([], previous_response_id=previous, generate=False)["id"]
    assert text(talk.ask([], previous_response_id=previous)) == "You said: first."


# Tools


def test_a_call(talk):
    """``call NAME {arguments}`` makes a function call, streamed in pieces."""
    events = talk.create('call get_weather {"city": "Oslo"}', tools=[WEATHER])
    assert types(events) == [
        "created",
        "in_progress",
        "output_item.added",
        *["function_call_arguments.delta"] * 2,
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    (item,) = events[-1]["response"]["output"]
    assert (item["type"], item["name"], item["arguments"]) == (
        "function_call",
        "get_weather",
        '{"city": "Oslo"}',
    )
    assert item["call_id"].startswith("call_")
    deltas = [event["delta"] for event in events if event["type"].endswith(".delta")]
    assert "".join(deltas) == item["arguments"] == events[-3]["arguments"]
    assert all("call_id" not in event for event in events)


def test_parallel_calls_interleave(talk):
    """Two calls stream at once: the second begins before the first is done."""
    events = talk.create('call get_weather {"city": "Oslo"} and call get_time', tools=[WEATHER, CLOCK])
    places = [(event["type"].split(".", 1)[1], event["output_index"]) for event in events[2:-1]]
    assert places[:5] == [
        ("output_item.added", 0),
        ("output_item.added", 1),
        ("function_call_arguments.delta", 0),
        ("function_call_arguments.delta", 1),
        ("function_call_arguments.delta", 0),
    ]
    assert [item["arguments"] for item in events[-1]["response"]["output"]] == ['{"city": "Oslo"}', "{}"]


def test_outputs_are_quoted(talk):
    """After the outputs of its calls the model tells what they were, and only then."""
    asked = talk.ask('call get_weather {"n": 1} call get_time {}', tools=[WEATHER, CLOCK])
    outputs = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": result}
        for item, result in zip(asked["output"], ["12 degrees", "noon"], strict=True)
    ]
    answer = talk.ask(outputs, previous_response_id=asked["id"])
    told = "get_weather returned: 12 degrees. get_time returned: noon."
    assert text(answer) == told + ' You said: call get_weather {"n": 1} call get_time {}.'
    later = talk.ask("thanks", previous_response_id=answer["id"])
    assert text(later).startswith("You said: thanks.")


def test_a_call_without_its_output_is_refused(talk):
    """A continuation, or a history in full, that leaves a call open is a 400."""
    asked = talk.ask("call get_weather {} call get_time {}", tools=[WEATHER, CLOCK], store=True)
    first, second = (item["call_id"] for item in asked["output"])
    answered = {"type": "function_call_output", "call_id": first, "output": "x"}
    for event in (
        talk.error([answered], previous_response_id=asked["id"]),
        talk.error([*asked["output"], answered]),
    ):
        assert event["status"] == 400
        assert event["error"] == {
            "type": "invalid_request_error",
            "code": None,
            "message": f"No tool output found for function call {second}.",
            "param": "input",
        }


def test_an_output_without_its_call_is_refused(talk):
    """An output that answers nothing is a 400."""
    event = talk.error([{"type": "custom_tool_call_output", "call_id": "call_x", "output": "y"}])
    message = "No tool call found for custom tool call output with call_id call_x."
    assert event["error"]["message"] == message


# Where responses live


@pytest.mark.parametrize("store", [None, True])
def test_stored_responses_live_in_the_model(store):
    """By default an id can be continued on any connection, also an older one."""
    model = Model()
    here, there = Talk(model), Talk(model)
    first = here.ask("one", store=store)
    here.ask("two", previous_response_id=first["id"])
    assert text(there.ask("three", previous_response_id=first["id"])) == "You said: three. Before that: one."


def test_unstored_responses_live_on_their_connection(talk):
    """With ``store: false`` the latest response of the connection can be continued, and no other."""
    first = talk.ask("one", store=False)
    second = talk.ask("two", store=False, previous_response_id=first["id"])
    assert text(second) == "You said: two. Before that: one."
    for other, known in ((talk, first), (Talk(talk.model), second)):
        event = other.error("three", previous_response_id=known["id"])
        assert (event["status"], event["error"]["code"]) == (400, "previous_response_not_found")
        assert event["error"]["param"] == "previous_response_id"
        assert known["id"] in event["error"]["message"]
    assert (
        text(talk.ask("three", previous_response_id=second["id"]))
        == "You said: three. Before that: one; two."
    )


def test_each_lane_keeps_its_latest(talk):
    """Lanes of a connection remember each for itself; another lane may continue what is held."""
    a = talk.ask("one", store=False, stream_id="a")
    talk.ask("two", store=False, stream_id="b")
    forked = talk.ask("three", store=False, stream_id="c", previous_response_id=a["id"])
    assert text(forked) == "You said: three. Before that: one."


@pytest.mark.parametrize("bad", [{"background": True}, {"response": {}}, {"model": None}])
def test_a_failed_continuation_evicts_its_parent(talk, bad):
    """After a 400 on its lane an unstored parent is gone; a stored one is loaded again."""
    unstored = talk.ask("one", store=False)
    talk.error("two", previous_response_id=unstored["id"], **bad)
    assert (
        talk.error("two", previous_response_id=unstored["id"])["error"]["code"]
        == "previous_response_not_found"
    )
    stored = talk.ask("one")
    talk.error("two", previous_response_id=stored["id"], **bad)
    assert talk.ask("two", previous_response_id=stored["id"])["status"] == "completed"


def test_other_failures_evict_nothing(talk):
    """A failed request without the id, or on another lane, leaves the parent alone."""
    parent = talk.ask("one", store=False)
    talk.error("two", background=True)
    talk.error("two", background=True, stream_id="other", previous_response_id=parent["id"])
    assert talk.ask("two", previous_response_id=parent["id"])["status"] == "completed"


@pytest.mark.parametrize("when", ["start", "created", "delta"])
def test_a_failure_evicts_the_parent_whenever_it_comes(talk, when):
    """A 500 before or in the answer loses the parent as well."""
    parent = talk.ask("one", store=False)
    talk.model.fail_next(when=when)
    talk.create("two", previous_response_id=parent["id"])
    assert (
        talk.error("two", previous_response_id=parent["id"])["error"]["code"] == "previous_response_not_found"
    )


@pytest.mark.parametrize("store", [True, False])
def test_forget(talk, store):
    """A test can make the service lose one response, or all."""
    one, two = talk.ask("one", store=store), Talk(talk.model).ask("two")
    talk.model.forget(one["id"])
    assert talk.error("x", previous_response_id=one["id"])["error"]["code"] == "previous_response_not_found"
    assert talk.ask("x", previous_response_id=two["id"])["status"] == "completed"
    talk.model.forget()
    assert talk.error("x", previous_response_id=two["id"])["error"]["code"] == "previous_response_not_found"
    assert talk.ask("y", previous_response_id=talk.ask("x")["id"])["status"] == "completed"


# Warmup


@pytest.mark.parametrize(
    ("warmup", "expected"), [("created", ["created", "completed"]), ("completed", ["completed"])]
)
def test_warmup(warmup, expected):
    """``generate: false`` makes an empty response that can be continued."""
    talk = Talk(Model(warmup=warmup))
    events = talk.create("context here", generate=False, store=False)
    assert types(events) == expected
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    response = events[-1]["response"]
    assert response["output"] == []
    assert (response["usage"]["input_tokens"], response["usage"]["output_tokens"]) == (2, 0)
    assert text(talk.ask([], previous_response_id=response["id"], store=False)) == "You said: context here."


def test_warmup_needs_no_input(talk):
    """Instructions and tools can be warmed up alone."""
    assert talk.ask(None, generate=False, instructions="be brief")["output"] == []


def test_warmup_that_generates():
    """Some services generate all the same."""
    assert text(Talk(Model(warmup="generate")).ask("hi", generate=False)) == "You said: hi."


def test_warmup_that_is_unsupported():
    """Some refuse, in a shape of their own; other requests go on."""
    talk = Talk(Model(warmup="unsupported"))
    assert talk.create("hi", generate=False) == [
        {"error": {"detail": "Unsupported parameter: generate"}, "status": 400, "type": "error"}
    ]
    assert text(talk.ask("hi")) == "You said: hi."


# Failures


@pytest.mark.parametrize(
    ("when", "before"),
    [
        ("start", []),
        ("created", ["created"]),
        ("delta", ["created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"]),
    ],
)
@pytest.mark.parametrize("then_failed", [False, True])
def test_failures(talk, when, before, then_failed):
    """A failure comes when asked for, perhaps followed by ``response.failed``; the next turn works."""
    talk.model.fail_next("server_is_overloaded", 503, when=when, then_failed=then_failed)
    events = talk.create("hi")
    followed = then_failed and when != "start"
    assert types(events) == [*before, "error", *(["failed"] if followed else [])]
    error = events[len(before)]
    assert (error["status"], error["error"]["code"], error["error"]["type"]) == (
        503,
        "server_is_overloaded",
        "server_error",
    )
    if followed:
        response = events[-1]["response"]
        assert (response["id"], response["status"]) == (events[0]["response"]["id"], "failed")
        assert response["error"] == {"code": "server_is_overloaded", "message": error["error"]["message"]}
    assert talk.ask("hi")["status"] == "completed"


def test_failures_queue_up_over_connections(talk):
    """Each failure is for one request, whatever connection it comes on."""
    talk.model.fail_next("rate_limit_exceeded", 429, headers={"retry-after": "7"}, message="slow down")
    talk.model.fail_next("insufficient_quota", 429)
    first, second = talk.error("a"), Talk(talk.model).error("b")
    assert first["error"] == {
        "type": "rate_limit_error",
        "code": "rate_limit_exceeded",
        "message": "slow down",
        "param": None,
        "headers": {"retry-after": "7"},
    }
    assert second["error"]["code"] == "insufficient_quota"
    assert talk.ask("c")["status"] == "completed"


def test_a_failed_response_is_not_made(talk):
    """What failed cannot be continued."""
    talk.model.fail_next(when="created")
    failed = talk.create("hi")[0]["response"]["id"]
    assert talk.error("x", previous_response_id=failed)["error"]["code"] == "previous_response_not_found"


def test_an_answer_cut_short(talk):
    """With fewer tokens than words the answer is incomplete and says why."""
    events = talk.create("a b c d", max_output_tokens=3)
    response = events[-1]["response"]
    assert events[-1]["type"] == "response.incomplete"
    assert (response["status"], response["incomplete_details"]) == (
        "incomplete",
        {"reason": "max_output_tokens"},
    )
    assert (text(response), response["usage"]["output_tokens"]) == ("You said: a ", 3)
    assert response["output"][0]["status"] == "incomplete"
    assert text(talk.ask("a", max_output_tokens=3)) == "You said: a."


# Requests that are refused


@pytest.mark.parametrize(
    ("request_fields", "code", "param"),
    [
        ({"model": None, "input": "x"}, "missing_required_parameter", "model"),
        ({"model": "m"}, "missing_required_parameter", "input"),
        ({"model": "m", "input": 5}, "invalid_type", "input"),
        ({"model": "m", "input": ["x"]}, "invalid_type", "input"),
        ({"model": "m", "input": "x", "previous_response_id": {}}, "invalid_type", "previous_response_id"),
        ({"model": "m", "input": "x", "background": True}, "unsupported_parameter", "background"),
        ({"response": {"model": "m", "input": "x"}}, "unknown_parameter", "response"),
        ({"type": "response.cancel"}, "unsupported_event_type", "type"),
        ({"type": None}, "unsupported_event_type", "type"),
        ({"model": "", "input": "x"}, "missing_required_parameter", "model"),
        ({"model": "m", "input": "x", "max_output_tokens": "5"}, "invalid_type", "max_output_tokens"),
        ({"model": "m", "input": "x", "max_output_tokens": True}, "invalid_type", "max_output_tokens"),
        ({"model": "m", "input": "x", "store": "no"}, "invalid_type", "store"),
        ({"model": "m", "input": "x", "instructions": ["brief"]}, "invalid_type", "instructions"),
        ({"model": "m", "input": "x", "tools": {}}, "invalid_type", "tools"),
        ({"model": "m", "input": "x", "tools": ["x"]}, "invalid_type", "tools[0]"),
        ({"model": "m", "input": "x", "tools": [{}]}, "missing_required_parameter", "tools[0].type"),
        (
            {"model": "m", "input": "x", "tools": [{"type": "function", "function": {"name": "f"}}]},
            "missing_required_parameter",
            "tools[0].name",
        ),
        ({"model": "m", "input": [{}]}, "missing_required_parameter", "input[0].role"),
        ({"model": "m", "input": [{"role": "user"}]}, "missing_required_parameter", "input[0].content"),
        (
            {"model": "m", "input": [{"role": "user", "content": ""}, {"role": "tool", "content": ""}]},
            "invalid_value",
            "input[1].role",
        ),
        (
            {"model": "m", "input": [{"role": "user", "content": ["x"]}]},
            "invalid_type",
            "input[0].content[0]",
        ),
        (
            {"model": "m", "input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
            "invalid_value",
            "input[0].content[0].type",
        ),
        (
            {"model": "m", "input": [{"type": "function_call_output", "output": "x"}]},
            "missing_required_parameter",
            "input[0].call_id",
        ),
        (
            {"model": "m", "input": [{"type": "function_call_output", "call_id": [], "output": "x"}]},
            "invalid_type",
            "input[0].call_id",
        ),
        (
            {"model": "m", "input": [{"type": "function_call", "call_id": "c", "arguments": "{}"}]},
            "missing_required_parameter",
            "input[0].name",
        ),
        (
            {"model": "m", "input": "x", "conversation": "conv_1", "previous_response_id": "resp_1"},
            "mutually_exclusive_parameters",
            None,
        ),
    ],
)
def test_invalid_requests(talk, request_fields, code, param):
    """Each gets one error in the service's words, and the connection goes on."""
    request = {"type": "response.create", **request_fields}
    (event,) = talk.model.receive(json.dumps(request), talk.connection)
    assert (event["type"], event["status"]) == ("error", 400)
    assert (event["error"]["code"], event["error"]["param"]) == (code, param)
    assert event["error"]["type"] == "invalid_request_error"
    assert talk.ask("x")["status"] == "completed"


@pytest.mark.parametrize("message", ["{", "[]", "5", b"{}", '{"top_p": NaN}', "[" * 100_000])
def test_what_is_no_json_object(talk, message):
    """Text that is no JSON object, and binary, are ``invalid_json``."""
    (event,) = talk.model.receive(message, talk.connection)
    assert (event["error"]["code"], event["error"]["param"]) == ("invalid_json", None)


@pytest.mark.parametrize(
    "fields",
    [
        {"background": False},
        {"stream": True},
        {"client_metadata": {"x": 1}},
        {"generate": True},
        {"temperature": 1, "top_p": None, "tools": None},
        {"tools": [{"type": "web_search"}]},
    ],
)
def test_harmless_fields(talk, fields):
    """Defaults spelled out and keys that nobody knows are accepted."""
    assert talk.ask("hi", **fields)["status"] == "completed"


@pytest.mark.parametrize("fields", [{"prompt": {"id": "pmpt_1"}}, {"model": "m", "conversation": "conv_1"}])
def test_what_stands_for_input(talk, fields):
    """A stored prompt, which names its model too, and a conversation."""
    request = {"type": "response.create", **fields}
    *_, last = talk.model.receive(json.dumps(request), talk.connection)
    assert last["type"] == "response.completed"


def test_a_steer_comes_too_late(talk):
    """The model answers one message after the other. Its target can be continued all the same."""
    made = talk.ask("hi", store=False)

    def steer(response_id):
        message = {"type": "response.steer", "previous_response_id": response_id, "input": "shorter"}
        (event,) = talk.model.receive(json.dumps(message), talk.connection)
        assert event["type"] == "response.steer.failed"
        assert event["steer"] == {"previous_response_id": response_id, "input": "shorter"}
        return event["error"]["code"]

    assert steer(made["id"]) == "response_already_completed"
    assert steer("resp_unknown") == "response_not_found"
    assert talk.ask("on", store=False, previous_response_id=made["id"])["status"] == "completed"


def test_creates_are_counted(talk):
    """Every ``response.create`` counts, refused ones too; other messages do not."""
    talk.ask("a")
    talk.error("b", background=True)
    list(talk.model.receive("{", talk.connection))
    list(talk.model.receive('{"type": "response.steer"}', talk.connection))
    assert talk.model.creates == 2


def test_the_age_limit():
    """After so many responses the connection is over, for every lane; a new one is not."""
    talk = Talk(Model(max_age=2))
    first, _ = talk.ask("a"), talk.ask("b")
    assert not talk.connection.over
    event = talk.error("c", stream_id="lane")
    assert (event["status"], event["error"]["code"]) == (400, "websocket_connection_limit_reached")
    assert "stream_id" not in event
    assert talk.connection.over
    assert text(Talk(talk.model).ask("c", previous_response_id=first["id"])) == "You said: c. Before that: a."


# Shapes


def test_flat_errors():
    """The shape of the SSE stream has no status and no object of its own."""
    talk = Talk(Model(errors="flat"))
    assert talk.error("x", background=True) == {
        "type": "error",
        "code": "unsupported_parameter",
        "message": "Unsupported parameter: 'background'.",
        "param": "background",
        "sequence_number": 0,
    }
    talk.model.fail_next("server_error", when="created")
    assert talk.create("x")[1]["sequence_number"] == 1


def test_keepalive_events():
    """Keepalive events stand between others and are numbered with them."""
    talk = Talk(Model(keepalive=True))
    events = talk.create("hi")
    assert types(events)[:3] == ["created", "in_progress", "keepalive"]
    assert types(events).count("keepalive") == 4
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[2] == {"type": "keepalive", "sequence_number": 2}


@pytest.mark.parametrize("name", ["a", "A-z_0.9", "x" * 256])
def test_lanes_are_echoed(talk, name):
    """Every event of a named lane carries its name, errors of its requests too."""
    talk.model.fail_next(when="created", then_failed=True)
    events = [*talk.create("hi", stream_id=name), *talk.create("hi", stream_id=name)]
    events.append(talk.error("hi", stream_id=name, background=True))
    assert {event["stream_id"] for event in events} == {name}
    assert all("stream_id" not in event for event in talk.create("hi"))


@pytest.mark.parametrize("name", ["", "x" * 257, "a b", "\u00e9", 5, None, []])
def test_bad_names_of_lanes(talk, name):
    """A name that is none is refused without an echo."""
    event = talk.error("hi", stream_id=name)
    assert event["error"]["code"] == "invalid_stream_id"
    assert "stream_id" not in event


def test_a_connection_has_32_names(talk):
    """The 33rd name is refused; the old ones and the default lane go on."""
    for number in range(32):
        talk.ask("hi", stream_id=f"lane{number}")
    event = talk.error("hi", stream_id="one-more")
    assert (event["error"]["code"], event["stream_id"]) == ("websocket_stream_limit_reached", "one-more")
    assert talk.ask("hi", stream_id="lane0")["status"] == talk.ask("hi")["status"] == "completed"


def test_a_service_without_lanes():
    """Where lanes are unknown their field is an unknown parameter."""
    event = Talk(Model(lanes=False)).error("hi", stream_id="a")
    assert (event["error"]["code"], event["error"]["param"]) == ("unknown_parameter", "stream_id")
    assert "stream_id" not in event


# Replies of the test


def test_a_reply_in_text():
    """A function of the test may say what it wants, from the history and the request."""
    talk = Talk(Model(lambda items, request: f"{len(items)} {request['model']}"))
    first = talk.ask("a")
    assert text(first) == "1 m"
    assert text(talk.ask("b", previous_response_id=first["id"])) == "3 m"


def test_an_empty_reply_has_no_item():
    """An empty answer is a response without output."""
    assert types(Talk(Model(lambda items, request: "")).create("a")) == [
        "created",
        "in_progress",
        "completed",
    ]


def test_a_reply_in_items():
    """Items of any kind are completed with ids and streamed; given ids are kept."""
    items = [
        {"type": "reasoning", "encrypted_content": "abc"},
        {"type": "message", "content": [{"type": "refusal", "refusal": "I will not"}]},
        {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "call_1"},
        {"type": "message", "id": "msg_mine", "content": "Done."},
        {"type": "custom_tool_call", "name": "c", "input": "free text"},
        {"type": "web_search_call"},
    ]
    events = Talk(Model(lambda *_: items)).create("a")
    output = events[-1]["response"]["output"]
    assert [item["type"] for item in output] == [item["type"] for item in items]
    assert output[0]["id"].startswith("rs_")
    assert output[0] == {
        "id": output[0]["id"],
        "type": "reasoning",
        "encrypted_content": "abc",
        "summary": [],
    }
    assert (output[2]["call_id"], output[3]["id"]) == ("call_1", "msg_mine")
    assert output[4]["call_id"].startswith("call_")
    assert output[5]["id"].startswith("web_search_call_")
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == output
    indexes = [event["output_index"] for event in events if event["type"] == "response.output_item.added"]
    assert indexes == [0, 1, 2, 3, 4, 5]
    refusal = [event["delta"] for event in events if event["type"] == "response.refusal.delta"]
    assert refusal == ["I ", "will ", "not"]


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (None, "a text or a list of output items, not NoneType"),
        (b"hi", "a text or a list of output items, not bytes"),
        (["hi"], "an output item is a dict with a type"),
        ([{"content": "hi"}], "an output item is a dict with a type"),
        ([{"type": "message", "content": None}], "the content of a message is a text or a list of parts"),
        ([{"type": "message", "content": ["hi"]}], "the content of a message is a text or a list of parts"),
        ([{"type": "function_call", "name": "f"}], "a function_call has its arguments as a text"),
        (
            [{"type": "function_call", "name": "f", "arguments": {}}],
            "a function_call has its arguments as a text",
        ),
        ([{"type": "custom_tool_call", "input": "x"}], "a custom_tool_call has its name as a text"),
    ],
)
def test_a_reply_that_is_none_is_told(reply, fault):
    """In words, where the test wants its own function to be looked at."""
    with pytest.raises(TypeError, match=f"^reply: {fault}"):
        Talk(Model(lambda items, request: reply)).ask("hi")


def test_the_hook_sees_each_event_first():
    """A hook is called with every event before it goes out, errors included."""
    seen: list[str] = []
    model = Model(before_event=lambda event: seen.append(event["type"]))
    talk = Talk(model)
    events = (
        talk.create("hi") + talk.create("hi", background=True) + list(model.receive("{", talk.connection))
    )
    assert seen == [event["type"] for event in events]


@pytest.mark.parametrize("options", [{"warmup": "maybe"}, {"errors": "round"}])
def test_options_that_do_not_exist(options):
    """A choice that does not exist raises where it is made."""
    with pytest.raises(ValueError, match="must be one of"):
        Model(**options)
    with pytest.raises(ValueError, match="when must be one of"):
        Model().fail_next(when="later")


@pytest.mark.parametrize("value", ["", "one", " one  two\nthree ", "\n", "a\u00e9 b"])
def test_words_join_to_the_text(value):
    """Cutting into words loses nothing."""
    assert "".join(words(value)) == value


@pytest.mark.parametrize(
    ("limit", "kept", "cut"),
    [
        (None, ["a b", "c d"], False),
        (4, ["a b", "c d"], False),
        (3, ["a b", "c "], True),
        (2, ["a b", ""], True),
    ],
)
def test_limit_words(limit, kept, cut):
    """The limit counts over all items; the item in which it falls is shortened, later ones are dropped."""
    items = [{"type": "message", "content": content} for content in ("a b", "c d")]
    found, was_cut = limit_words(items, limit)
    assert ([item["content"] for item in found], was_cut) == (kept, cut)
