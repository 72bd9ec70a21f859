"""The ledger and the diff of whole histories: what the service sees is what the caller meant."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from responses_ws import ConfigurationError
from responses_ws._core.continuation import Form, Ledger, Place, Request, Step
from responses_ws._core.extension import Checkpoints, Extension
from responses_ws._core.replay import finished, open_calls, replayable
from responses_ws._core.request import encode
from responses_ws.testing import Model, ModelConnection

Item = dict[str, Any]
FIELDS: Item = {"model": "m"}
UNSTORED: Item = {"model": "m", "store": False}
HERE, THERE = ("connection", 1), ("connection", 2)


def user(text: str) -> Item:
    return {"type": "message", "role": "user", "content": text}


def assistant(text: str, **fields: Any) -> Item:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "role": "assistant", "content": [part], "status": "completed", **fields}


def call(call_id: str, kind: str = "function_call", **fields: Any) -> Item:
    return {"type": kind, "id": f"fc_{call_id}", "call_id": call_id, "name": "f", "arguments": "{}", **fields}


def output(call_id: str, text: str = "done", kind: str = "function_call_output") -> Item:
    return {"type": kind, "call_id": call_id, "output": text}


def reasoning(item_id: str = "rs_1", **fields: Any) -> Item:
    return {"type": "reasoning", "id": item_id, "summary": [], **fields}


def answered(
    ledger: Ledger, response_id: str = "resp_1", *, fields: Item = FIELDS, place: Place = HERE
) -> None:
    """One step of the conversation that went well."""
    step = ledger.step([user("hi")], fields)
    step.completed(response_id, [assistant("hello", id="msg_1")], place)


# -- new items with an id, or everything


def test_the_first_request_brings_what_there_is() -> None:
    request = Ledger([user("before")]).step([user("hi")], FIELDS).request(HERE)
    assert request == Request({**FIELDS, "input": [user("before"), user("hi")]}, continued=False)


def test_the_next_one_brings_new_items_and_the_id() -> None:
    """Whatever connection it goes over, where the service keeps responses."""
    ledger = Ledger()
    answered(ledger)
    for place in (HERE, THERE, None):
        request = ledger.step([user("and?")], FIELDS).request(place)
        assert request.payload == {**FIELDS, "input": [user("and?")], "previous_response_id": "resp_1"}
        assert request.continued


@pytest.mark.parametrize(("place", "continued"), [(HERE, True), (THERE, False), (None, False)])
def test_a_response_that_was_not_stored_lives_in_one_place(place: Place | None, continued: bool) -> None:
    """On its own connection, while that carried nothing after it; over HTTP never."""
    ledger = Ledger()
    answered(ledger, fields=UNSTORED)
    request = ledger.step([user("and?")], UNSTORED).request(place)
    assert request.continued is continued
    if not continued:
        assert request.payload["input"] == [user("hi"), assistant("hello", id="msg_1"), user("and?")]
        assert "previous_response_id" not in request.payload


def test_a_response_that_was_kept_nowhere_cannot_be_continued() -> None:
    ledger = Ledger()
    step = ledger.step([user("hi")], UNSTORED)
    step.completed("resp_1", [assistant("hello")], None)
    assert ledger.last_response_id is None
    assert len(ledger.items) == 2


def test_a_response_without_an_id_is_history_all_the_same() -> None:
    ledger = Ledger()
    ledger.step([user("hi")], FIELDS).completed(None, [assistant("hello")], HERE)
    assert not ledger.step([user("and?")], FIELDS).request(HERE).continued
    assert len(ledger.items) == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "other"},
        {"model": "m", "tools": [{"type": "web_search"}]},
        {"model": "m", "instructions": "be brief"},
        {"model": "m", "text": {"format": {"type": "json_object"}}},
        {"model": "m", "store": False},
    ],
)
def test_settings_may_change_within_a_chain(changed: Item) -> None:
    """They are not inherited and travel with each request."""
    ledger = Ledger()
    answered(ledger)
    request = ledger.step([user("and?")], changed).request(HERE)
    assert request.continued
    assert {name: request.payload[name] for name in changed} == changed


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (UNSTORED, FIELDS),
        (FIELDS, {"model": "m", "conversation": "conv_1"}),
        ({"model": "m", "conversation": "conv_1"}, FIELDS),
        ({"model": "m", "conversation": "conv_1"}, {"model": "m", "conversation": "conv_2"}),
    ],
)
def test_store_and_conversation_are_part_of_a_chain(before: Item, after: Item) -> None:
    """Nobody can store what was not stored before, and a conversation has a history of its own."""
    ledger = Ledger()
    answered(ledger, fields=before)
    request = ledger.step([user("and?")], after).request(HERE)
    assert not request.continued
    assert len(request.payload["input"]) == 3


def test_in_a_conversation_only_new_items_travel() -> None:
    """It holds the history itself, and the service allows no previous id beside it."""
    fields = {"model": "m", "conversation": {"id": "conv_1"}}
    ledger = Ledger()
    answered(ledger, fields=fields)
    request = ledger.step([user("and?")], fields).request(THERE)
    assert request == Request({**fields, "input": [user("and?")]}, continued=False)


def test_nothing_new_is_allowed_with_an_id() -> None:
    """After a warmup, or to let the model go on."""
    ledger = Ledger()
    answered(ledger)
    assert ledger.step([], FIELDS).request(HERE).payload["input"] == []


def test_without_store_the_reasoning_is_asked_for() -> None:
    include = ["message.output_text.logprobs", "reasoning.encrypted_content"]
    for fields in (UNSTORED, {**UNSTORED, "include": include[:1]}, {**UNSTORED, "include": include}):
        payload = Ledger().step([user("hi")], fields).request(HERE).payload
        assert payload["include"] == [*fields.get("include", [])[:1], "reasoning.encrypted_content"]
    assert "include" not in Ledger().step([user("hi")], FIELDS).request(HERE).payload


# -- what becomes of the ledger


def test_a_step_that_failed_leaves_no_trace() -> None:
    """The boundary and the id move together, and only when a response is completed."""
    ledger = Ledger()
    answered(ledger)
    before = ledger.to_dict()
    ledger.step([user("lost")], FIELDS).request(HERE)
    assert ledger.to_dict() == before


def test_what_was_added_meanwhile_follows_the_answer() -> None:
    """A tool may have run while the answer was still coming."""
    ledger = Ledger([call("c0")])
    step = ledger.step([output("c0")], FIELDS)
    ledger.append(user("later"))
    step.completed("resp_1", [assistant("hello")], HERE)
    assert ledger.items == (call("c0"), output("c0"), assistant("hello"), user("later"))
    assert ledger.step([], FIELDS).request(HERE).payload["input"] == [user("later")]


def test_outputs_that_were_added_travel_with_the_next_request() -> None:
    """Whatever became of the request before: a tool that ran has run."""
    ledger = Ledger()
    ledger.step([user("hi")], FIELDS).completed("resp_1", [call("c1")], HERE)
    assert list(ledger.open_calls) == ["c1"]
    ledger.append(output("c1"))
    for _ in range(2):
        request = ledger.step([], FIELDS).request(HERE)
        assert request.payload["input"] == [output("c1")]
        assert request.payload["previous_response_id"] == "resp_1"


def test_an_incomplete_answer_stays_without_its_calls_and_its_id() -> None:
    """What was said can be gone on from; a call that may be cut off is not made."""
    ledger = Ledger()
    answered(ledger)
    said = [reasoning(encrypted_content="e"), assistant("half", status="incomplete")]
    ledger.step([user("more")], FIELDS).stopped([*said, call("c1", status="incomplete")])
    assert list(ledger.items[2:]) == [user("more"), *said]
    request = ledger.step([user("go on")], FIELDS).request(HERE)
    assert request.payload["previous_response_id"] == "resp_1"
    assert request.payload["input"] == [user("more"), *said, user("go on")]


def test_an_incomplete_answer_costs_an_id_that_was_not_stored() -> None:
    """The service continues only the latest response of a connection."""
    ledger = Ledger()
    answered(ledger, fields=UNSTORED)
    ledger.step([user("more")], UNSTORED).stopped([])
    assert not ledger.step([user("go on")], UNSTORED).request(HERE).continued


def test_reasoning_that_nothing_follows_is_not_kept() -> None:
    """The service refuses it as input."""
    assert finished([reasoning()]) == []
    assert finished([assistant("a"), reasoning(), call("c")]) == [assistant("a")]


def test_the_callers_own_items_may_change_later() -> None:
    """What the service was sent stays what it was."""
    mine = user("hi")
    ledger = Ledger()
    step = ledger.step([mine], FIELDS)
    mine["content"] = "changed"
    answer = assistant("hello")
    step.completed("resp_1", [answer], HERE)
    answer["content"] = []
    assert ledger.items == (user("hi"), assistant("hello"))


@pytest.mark.parametrize("end", ["completed", "incomplete"])
def test_half_a_character_in_an_answer_does_not_end_the_conversation(end: str) -> None:
    """JSON can say it and UTF-8 cannot, so that no request could bring it back."""
    ledger = Ledger()
    step = ledger.step([user("hi")], UNSTORED)
    answer = assistant("half \ud83d, whole \ud83d\ude00", **{"na\ud800me": [1, None]})
    if end == "completed":
        step.completed("resp_1", [answer], HERE)
    else:
        step.stopped([answer])
    request = ledger.step([user("and?")], UNSTORED).request(THERE)
    assert json.loads(encode(request.payload, max_bytes=None))["input"] == [
        user("hi"),
        assistant("half \ufffd, whole \U0001f600", **{"na\ufffdme": [1, None]}),
        user("and?"),
    ]


def test_a_fork_goes_its_own_way() -> None:
    ledger = Ledger()
    answered(ledger)
    other = ledger.fork()
    answered(other, "resp_2")
    assert (ledger.last_response_id, other.last_response_id) == ("resp_1", "resp_2")
    assert len(other.items) == len(ledger.items) + 2


def test_a_new_chain_keeps_the_history() -> None:
    ledger = Ledger()
    answered(ledger)
    step = ledger.step([user("and?")], FIELDS)
    step.lost()
    assert ledger.last_response_id is None
    assert len(ledger.step([user("and?")], FIELDS).request(HERE).payload["input"]) == 3
    ledger.replace([user("in short")])
    assert ledger.items == (user("in short"),)


@pytest.mark.parametrize("fields", [FIELDS, UNSTORED])
def test_a_ledger_survives_json(fields: Item) -> None:
    """With its id, if that is stored."""
    ledger = Ledger()
    answered(ledger, fields=fields)
    again = Ledger.from_dict(json.loads(json.dumps(ledger.to_dict())))
    assert again.items == ledger.items
    assert again.last_response_id == (None if fields is UNSTORED else "resp_1")
    request = again.step([user("and?")], FIELDS).request(None)
    assert len(request.payload["input"]) == (3 if fields is UNSTORED else 1)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"items": "hi"},
        {"items": ["hi"]},
        {"items": [], "response_id": 1, "position": 0},
        {"items": [], "response_id": "r", "position": 1},
        {"items": [], "response_id": "r", "position": "0"},
        {"items": [], "response_id": "r", "position": True},
    ],
)
def test_what_is_no_ledger_is_refused(data: Item) -> None:
    with pytest.raises(ConfigurationError):
        Ledger.from_dict(data)


# -- calls and their outputs


PAIRS = [
    ("function_call", "function_call_output"),
    ("custom_tool_call", "custom_tool_call_output"),
    ("computer_call", "computer_call_output"),
    ("shell_call", "shell_call_output"),
    ("local_shell_call", "local_shell_call_output"),
    ("apply_patch_call", "apply_patch_call_output"),
]


@pytest.mark.parametrize(("kind", "answer"), PAIRS)
def test_every_open_call_needs_its_output_before_the_next_request(kind: str, answer: str) -> None:
    """A call without an output would break the conversation for good; the error names it."""
    ledger = Ledger([user("hi"), call("c1", kind), call("c2", kind)])
    assert list(ledger.open_calls) == ["c1", "c2"]
    with pytest.raises(ConfigurationError, match="c2"):
        ledger.step([output("c1", kind=answer)], FIELDS)
    ledger.step([output("c1", kind=answer), output("c2", kind=answer)], FIELDS)


@pytest.mark.parametrize(
    ("new", "fault"),
    [
        ([output("c1"), output("c1")], r"input\[1\].*c1"),
        ([output("c1"), output("nobody")], r"input\[1\].*nobody"),
        ([output("c1", kind="custom_tool_call_output")], r"input\[0\].*c1"),
        ([output("c1"), assistant("again", id="msg_0")], r"input\[1\].*msg_0"),
    ],
)
def test_nothing_goes_twice(new: list[Item], fault: str) -> None:
    """Neither the output of a call nor an item that the history has."""
    ledger = Ledger([user("hi"), assistant("so", id="msg_0"), call("c1")])
    with pytest.raises(ConfigurationError, match=fault):
        ledger.step(new, FIELDS)
    with pytest.raises(ConfigurationError, match=fault):
        ledger.append(*new)
    assert len(ledger.items) == 3


def test_an_item_may_be_named_again() -> None:
    ledger = Ledger([assistant("so", id="msg_0")])
    ledger.step([{"type": "item_reference", "id": "msg_0"}], FIELDS)


def test_what_the_service_runs_itself_is_not_open() -> None:
    """Hosted calls come with their output, or need none."""
    items = [
        call("c1", "shell_call"),
        output("c1", kind="shell_call_output"),
        call("c2", "tool_search_call", execution="server"),
        call("c3", "tool_search_call", execution="client"),
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "mcp_call", "id": "mcp_1"},
    ]
    assert list(open_calls(items)) == ["c3"]


@pytest.mark.parametrize("call_id", ["", None])
def test_a_call_without_an_id_waits_for_nothing(call_id: str | None) -> None:
    """Nobody can answer it, so that waiting for it would never end."""
    item = {**call("c1"), "call_id": call_id}
    assert open_calls([user("hi"), item]) == {}
    Ledger([user("hi"), item]).step([user("and?")], FIELDS)


def test_a_call_and_its_output_may_come_together() -> None:
    """A history from elsewhere, added in one piece."""
    Ledger().step([user("hi"), call("c1"), output("c1"), user("and?")], FIELDS)


# -- items as input again


def test_reasoning_goes_back_encrypted_or_not_at_all() -> None:
    """Its id means nothing where it was not stored, and what came with it must not ask for it."""
    hidden = reasoning("rs_1", encrypted_content="secret")
    bare = reasoning("rs_2")
    items = [
        user("hi"),
        hidden,
        call("c1"),
        output("c1"),
        bare,
        call("c2"),
        output("c2"),
        assistant("done", id="msg_1"),
    ]
    without_id = {name: value for name, value in call("c2").items() if name != "id"}
    assert replayable(items) == [*items[:4], without_id, *items[6:]]


def test_all_reasoning_can_be_left_out() -> None:
    """For a service that cannot decrypt it any more."""
    items = [user("hi"), reasoning(encrypted_content="e"), assistant("a", id="msg_1"), user("b")]
    ledger = Ledger(items)
    request = ledger.step([user("c")], FIELDS).request(HERE, Form.WITHOUT_REASONING)
    assert request.payload["input"] == [user("hi"), assistant("a"), user("b"), user("c")]


def test_items_that_need_their_id_keep_it() -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    assert replayable([reasoning(), search]) == [search]


@pytest.mark.parametrize("role", [["user"], {"name": "user"}])
def test_a_role_that_is_no_text_does_not_end_the_conversation(role: object) -> None:
    items = [reasoning(), assistant("hello", id="msg_1", role=role)]
    assert replayable(items) == [assistant("hello", role=role)]


def test_nulls_of_the_output_are_no_input() -> None:
    """The service gives null where it refuses null."""
    item = {**reasoning(encrypted_content="e"), "status": None, "content": None}
    assert replayable([item]) == [reasoning(encrypted_content="e")]


def test_a_role_that_is_none_is_the_services_to_refuse():
    """It is sent as it came."""
    item = {"role": ["user"], "content": "hi"}
    assert replayable([item]) == [item]


def test_what_is_new_travels_as_it_is() -> None:
    """The caller may have reasons; a null inside his own item is his."""
    mine = [reasoning("rs_9"), {**user("hi"), "phase": None}]
    assert Ledger().step(mine, FIELDS).request(HERE).payload["input"] == mine


# -- a whole history that extends an earlier request

ASKED = [user("hi")]
SAID = [reasoning("rs_1", encrypted_content="e"), assistant("hello", id="msg_1")]


def extending(
    items: list[Item],
    *,
    said: list[Item] = SAID,
    before: Item = FIELDS,
    after: Item | None = None,
    place: Place | None = HERE,
) -> Request:
    """The request for ``items`` after ``ASKED`` was answered with ``said``."""
    checkpoints = Checkpoints()
    checkpoints.extension({**before, "input": ASKED}).completed("resp_1", said, HERE)
    fields = before if after is None else after
    return checkpoints.extension({**fields, "input": items}).request(place)


def test_only_what_is_new_travels() -> None:
    request = extending([*ASKED, *SAID, user("and?")])
    assert request.payload == {**FIELDS, "input": [user("and?")], "previous_response_id": "resp_1"}


def without(item: Item, *names: str) -> Item:
    return {name: value for name, value in item.items() if name not in names}


@pytest.mark.parametrize(
    "passed",
    [
        [without(item, "id", "status") for item in SAID],
        [SAID[0], {"role": "assistant", "content": "hello"}],
        [without(SAID[0], "summary"), SAID[1]],
        [{**SAID[0], "encrypted_content": "encrypted anew"}, SAID[1]],
        [
            SAID[0],
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hello"}]},
        ],
        [{**SAID[0], "content": None, "status": None}, {**SAID[1], "phase": None}],
    ],
)
def test_an_answer_is_known_again_as_frameworks_pass_it(passed: list[Item]) -> None:
    """Without ids and status, as a plain text, with its reasoning encrypted anew."""
    assert extending([*ASKED, *passed, user("and?")]).payload["input"] == [user("and?")]


def test_arguments_are_known_again_written_anew() -> None:
    made = [call("c1", arguments='{"b": [1, 2], "a": null}')]
    passed = {**made[0], "arguments": '{"a":null,"b":[1,2]}'}
    request = extending([*ASKED, passed, output("c1")], said=made)
    assert request.payload["input"] == [output("c1")]


@pytest.mark.parametrize(
    "items",
    [
        [user("hi!"), *SAID, user("and?")],
        [user("before"), *ASKED, *SAID, user("and?")],
        [*ASKED, *SAID],
        [*ASKED, SAID[1], user("and?")],
        [*ASKED, *reversed(SAID), user("and?")],
        [*ASKED, SAID[0], assistant("hullo"), user("and?")],
        [*ASKED, SAID[0], {**SAID[1], "phase": "commentary"}, user("and?")],
        [*ASKED, reasoning("rs_2", encrypted_content="other"), SAID[1], user("and?")],
        [*ASKED, reasoning("rs_1", summary=[{"type": "summary_text", "text": "x"}]), SAID[1], user("and?")],
        [*ASKED, user("and?")],
        [],
    ],
)
def test_what_differs_travels_whole(items: list[Item]) -> None:
    """One item changed, left out, added or moved: nothing is guessed."""
    assert extending(items) == Request({**FIELDS, "input": items}, continued=False)


@pytest.mark.parametrize(
    "after",
    [
        {"model": "other"},
        {"model": "m", "tools": []},
        {"model": "m", "instructions": "be brief"},
        {"model": "m", "store": False},
        {"model": "m", "metadata": {"n": 1}},
    ],
)
def test_all_other_fields_must_be_equal(after: Item) -> None:
    assert not extending([*ASKED, *SAID, user("and?")], after=after).continued


@pytest.mark.parametrize(
    "after",
    [{"model": "m", "stream": True}, {"model": "m", "generate": True}, {"model": "m", "tools": None}],
)
def test_fields_that_only_say_how_an_answer_is_brought_do_not_count(after: Item) -> None:
    assert extending([*ASKED, *SAID, user("and?")], after=after).continued


@pytest.mark.parametrize(
    ("new", "continued"),
    [
        ([output("c1"), output("c2")], True),
        ([output("c2"), output("c1"), user("and?")], True),
        ([output("c1")], False),
        ([user("never mind")], False),
        ([output("c1"), output("c1"), output("c2")], False),
        ([output("c1"), output("c2"), output("c3")], False),
    ],
)
def test_every_open_call_must_be_answered_once(new: list[Item], continued: bool) -> None:
    """Otherwise all travels, and the service judges."""
    made = [call("c1"), call("c2")]
    assert extending([*ASKED, *made, *new], said=made).continued is continued


@pytest.mark.parametrize(("place", "continued"), [(HERE, True), (THERE, False), (None, False)])
def test_an_unstored_checkpoint_lives_in_one_place(place: Place | None, continued: bool) -> None:
    request = extending([*ASKED, *SAID, user("and?")], before=UNSTORED, place=place)
    assert request.continued is continued


def test_a_text_is_an_item_too() -> None:
    checkpoints = Checkpoints()
    checkpoints.extension({**FIELDS, "input": "hi"}).completed("resp_1", [assistant("hello")], HERE)
    items = [{"role": "user", "content": "hi"}, assistant("hello"), user("and?")]
    assert checkpoints.extension({**FIELDS, "input": items}).request(HERE).payload["input"] == [user("and?")]


def test_after_a_warmup_nothing_new_need_follow() -> None:
    checkpoints = Checkpoints()
    warmup = {**FIELDS, "input": ASKED, "generate": False}
    checkpoints.extension(warmup).completed("resp_0", [], HERE)
    request = checkpoints.extension({**FIELDS, "input": ASKED}).request(HERE)
    assert request.payload == {**FIELDS, "input": [], "previous_response_id": "resp_0"}


@pytest.mark.parametrize(
    "own",
    [{"previous_response_id": "resp_0"}, {"conversation": "conv_1"}, {"input": [1]}, {"input": {1, 2}}],
)
def test_what_continues_by_itself_is_left_alone(own: Item) -> None:
    """And what cannot be read is left to the encoder."""
    payload = {**FIELDS, "input": ASKED, **own}
    checkpoints = Checkpoints()
    extension = checkpoints.extension(payload)
    assert not extension.ours
    assert extension.request(HERE) == Request(payload, continued=False)
    extension.completed("resp_1", SAID, HERE)
    assert checkpoints.extension({**payload, "input": [*ASKED, *SAID, user("and?")]}).request(HERE).payload[
        "input"
    ] == [*ASKED, *SAID, user("and?")]


def test_what_the_caller_changes_later_is_a_difference() -> None:
    """The same object, changed in place, is not what the service saw."""
    items = [user("hi")]
    checkpoints = Checkpoints()
    checkpoints.extension({**FIELDS, "input": items}).completed("resp_1", SAID, HERE)
    items[0]["content"] = "changed"
    assert not checkpoints.extension({**FIELDS, "input": [*items, *SAID, user("x")]}).request(HERE).continued


def test_conversations_may_take_turns() -> None:
    """Each extends its own last request; a lost one is not tried again."""
    checkpoints = Checkpoints()
    for name in ("a", "b"):
        checkpoints.extension({**FIELDS, "input": [user(name)]}).completed(f"resp_{name}", SAID, HERE)
    for name in ("a", "b"):
        extension = checkpoints.extension({**FIELDS, "input": [user(name), *SAID, user("x")]})
        assert extension.request(HERE).payload["previous_response_id"] == f"resp_{name}"
        extension.lost()
        assert not extension.request(HERE).continued


# -- random histories, losses and forks


class World:
    """A service, the connection to it, and what may befall both."""

    def __init__(self) -> None:
        self.model = Model(self.reply)
        self.memory: ModelConnection | None = None
        self.connections = 0
        self.sent = 0
        self.said = 0
        self.latest: Place | None = None

    def reply(self, _items: list[Item], request: Item) -> list[Item]:
        """A message, or calls, or both, with reasoning: by the turn's number, each time other ones."""
        self.said += 1
        number = self.said
        encrypted = "reasoning.encrypted_content" in (request.get("include") or ())
        thought: Item = {"type": "reasoning", "summary": []}
        if encrypted:
            thought["encrypted_content"] = f"encrypted {number}"
        message = {"type": "message", "content": f"answer {number}"}
        calls = [
            {"type": "function_call", "name": "f", "arguments": json.dumps({"n": [number, i]})}
            for i in (1, 2)
        ]
        return [[message], [thought, message], [thought, *calls], [thought, message, calls[0]]][number % 4]

    def lose_connection(self) -> None:
        self.memory = self.latest = None

    def run(self, step: Step | Extension, *, http: bool, heard: bool) -> Item | None:
        """One response, over the open connection or a new one; None when it failed, or was not heard."""
        if http:
            return self._attempts(step, self.model.connect(), None, heard)
        if self.memory is None:
            self.memory = self.model.connect()
            self.connections += 1
        return self._attempts(step, self.memory, self.latest, heard)

    def _attempts(
        self, step: Step | Extension, memory: ModelConnection, place: Place | None, heard: bool
    ) -> Item | None:
        form = Form.SHORTEST
        for _ in range(2):
            request = step.request(place, form)
            terminal = self._send(request.payload, memory)
            if terminal["type"] == "response.completed" and heard:
                response: Item = copy.deepcopy(terminal["response"])
                home = self.latest if memory is self.memory else None
                step.completed(response["id"], terminal["response"]["output"], home)
                return response
            lost = terminal.get("error", {}).get("code") == "previous_response_not_found"
            if not (lost and request.continued):
                return None
            step.lost()
            form = Form.WHOLE
        return None

    def _send(self, payload: Item, memory: ModelConnection) -> Item:
        """The terminal event for a payload that went over the wire."""
        if memory is self.memory:
            self.sent += 1
            self.latest = (self.connections, self.sent)
        wire = json.loads(json.dumps({"type": "response.create", **payload}))
        terminal: Item = list(self.model.respond(wire, memory))[-1]
        return terminal


def meant(items: Iterable[Item], *, reasoning: bool = True) -> list[Item]:
    """The items without the ids and the status that the service gives them.

    :param reasoning: False leaves it out: what was not encrypted cannot be shown to the service again.
    """
    return [without(item, "id", "status") for item in items if reasoning or item["type"] != "reasoning"]


EVENTS = st.fixed_dictionaries(
    {
        "drop": st.booleans(),
        "forget": st.sampled_from([None, None, None, "all", "last"]),
        "fail": st.sampled_from([None, None, None, "start", "created", "delta"]),
        "heard": st.sampled_from([True, True, True, False]),
        "http": st.sampled_from([False, False, True]),
        "store": st.booleans(),
        "branch": st.integers(0, 2),
        "fork": st.sampled_from([False, False, False, True]),
        "early": st.booleans(),
    }
)


def befall(world: World, event: Item, last: str | None) -> None:
    """What happens between two turns."""
    if event["drop"]:
        world.lose_connection()
    if event["forget"] == "all":
        world.model.forget()
    elif event["forget"] == "last" and last is not None:
        world.model.forget(last)
    if event["fail"]:
        world.model.fail_next(when=event["fail"])


@settings(max_examples=120, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=14), st.booleans())
def test_the_service_sees_what_the_conversation_meant(events: list[Item], never_stored: bool) -> None:
    """Nothing is missing and nothing comes twice, whatever is lost on the way and wherever it forks."""
    world = World()
    branches: list[tuple[Ledger, list[Item]]] = [(Ledger(), [])]
    for number, event in enumerate(events):
        ledger, history = branches[event["branch"] % len(branches)]
        if event["fork"]:
            ledger, history = ledger.fork(), list(history)
            branches.append((ledger, history))
        befall(world, event, ledger.last_response_id)
        outputs = [output(call_id, f"result {number}") for call_id in ledger.open_calls]
        new = [user(f"question {number}")]
        if event["early"]:
            ledger.append(*outputs)
            history += outputs
        else:
            new = [*outputs, *new]
        step = ledger.step(new, {"model": "m", "store": event["store"] and not never_stored})
        response = world.run(step, http=event["http"], heard=event["heard"])
        if response is not None:
            history += [*new, *response["output"]]
            seen = world.model.history(response["id"])
            assert meant(seen, reasoning=never_stored) == meant(history, reasoning=never_stored)
        assert list(ledger.items) == history


@settings(max_examples=120, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=14), st.integers(0, 3))
def test_the_service_sees_what_the_framework_passed(events: list[Item], kept: int) -> None:
    """The whole history comes each time: as it was, shorter, or without what only a service knows."""
    world = World()
    checkpoints = Checkpoints()
    history: list[Item] = []
    for number, event in enumerate(events):
        befall(world, event, None)
        if event["fork"]:
            history = [item for item in history[: kept * 3] if not item["type"].endswith("call")]
            history = [item for item in history if item["type"] != "function_call_output"]
        if event["early"]:
            history = [without(item, "id", "status") for item in history]
        new = [output(call_id, f"result {number}") for call_id in open_calls(history)]
        new.append(user(f"question {number}"))
        passed = [*history, *new]
        fields = {"model": "m", "store": event["store"], "include": ["reasoning.encrypted_content"]}
        extension = checkpoints.extension({**fields, "input": passed})
        response = world.run(extension, http=event["http"], heard=event["heard"])
        if response is not None:
            history = [*passed, *response["output"]]
            assert meant(world.model.history(response["id"])) == meant(history)


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("framework", [True, False])
def test_without_losses_only_new_items_travel(store: bool, framework: bool) -> None:
    """Each item goes over the wire once, whoever holds the history and whether it is stored or not."""
    world, ledger, checkpoints = World(), Ledger(), Checkpoints()
    fields = {"model": "m", "store": store}
    history: list[Item] = []
    for number in range(12):
        new = [*(output(call_id, "x") for call_id in open_calls(history)), user(str(number))]
        step: Step | Extension
        if framework:
            step = checkpoints.extension({**fields, "input": [*history, *new]})
        else:
            step = ledger.step(new, fields)
        assert step.request(world.latest).payload["input"] == new
        response = world.run(step, http=False, heard=True)
        assert response is not None
        history += [*new, *response["output"]]
