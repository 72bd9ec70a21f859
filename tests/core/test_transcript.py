"""A history of items read as messages; what in it still waits; calls known before their response ends."""

from __future__ import annotations

from typing import Any

import pytest

from responses_ws import ToolCall
from responses_ws._core.transcript import AnnouncedCalls, messages_of, open_approvals, output_item

Item = dict[str, Any]
USER: Item = {"type": "message", "role": "user", "content": "hi"}
CALL: Item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT: Item = {"type": "function_call_output", "call_id": "call_1", "output": "7"}
REASONING: Item = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
ASKED: Item = {
    "type": "mcp_approval_request",
    "id": "mcpr_1",
    "name": "delete",
    "arguments": '{"id": 1}',
    "server_label": "files",
}
SHELL: Item = {"type": "shell_call", "id": "sh_1", "call_id": "call_2", "action": {}}
SHELL_OUTPUT: Item = {"type": "shell_call_output", "id": "sho_1", "call_id": "call_2", "output": []}
APPROVED: Item = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}


def said(text: str) -> Item:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


# -- messages


@pytest.mark.parametrize(
    ("items", "read"),
    [
        ([], []),
        ([USER, said("hello")], [("user", "hi"), ("assistant", "hello")]),
        ([{"role": "developer", "content": "Be brief."}], [("developer", "Be brief.")]),
        ([{"role": "assistant", "content": "from before"}], [("assistant", "from before")]),
        ([{"content": "no role"}], [("user", "no role")]),
        (
            [USER, CALL, OUTPUT, said("seven")],
            [("user", "hi"), ("assistant", ""), ("tool", "7"), ("assistant", "seven")],
        ),
        ([REASONING, said("a"), said("b"), CALL], [("assistant", "ab")]),
        ([USER, USER], [("user", "hi"), ("user", "hi")]),
        ([ASKED, APPROVED], [("assistant", ""), ("user", "")]),
        (
            [{"role": "user", "content": [{"type": "input_text", "text": "see"}, {"type": "input_image"}]}],
            [("user", "see")],
        ),
        ([{"type": "computer_call_output", "output": {"type": "computer_screenshot"}}], [("tool", "")]),
        (
            [{**OUTPUT, "output": [{"type": "input_text", "text": "a"}, {"type": "input_image"}]}],
            [("tool", "a")],
        ),
        ([{"type": "compaction", "encrypted_content": "x"}], [("assistant", "")]),
    ],
)
def test_a_history_reads_as_messages(items, read):
    """Each with the role of who said it."""
    assert [(message.role, message.content) for message in messages_of(items)] == read


def test_a_message_holds_its_items():
    """So that nothing of them is lost."""
    items = [USER, REASONING, CALL, OUTPUT, said("seven")]
    messages = messages_of(items)
    assert [item for message in messages for item in message.output] == items
    assert messages[1].reasoning == "hm"
    assert messages[1].tool_calls == {"call_1": ToolCall("call_1", "f", "{}", item_id="fc_1")}
    assert {message.status for message in messages} == {"completed"}


# -- what waits


@pytest.mark.parametrize(
    ("items", "waiting"),
    [
        ([], []),
        ([ASKED], ["mcpr_1"]),
        ([ASKED, APPROVED], []),
        ([ASKED, {**ASKED, "id": "mcpr_2"}, APPROVED], ["mcpr_2"]),
        ([{**ASKED, "id": None}, CALL], []),
        ([ASKED, USER], ["mcpr_1"]),
        ([ASKED, USER, APPROVED, said("yes")], []),
        ([ASKED, USER, said("then not")], []),
        ([ASKED, USER, said("then not"), {**ASKED, "id": "mcpr_2"}], ["mcpr_2"]),
        ([ASKED, SHELL, SHELL_OUTPUT, said("may I?")], ["mcpr_1"]),
        ([ASKED, CALL, OUTPUT, said("may I?")], ["mcpr_1"]),
        ([ASKED, {**ASKED, "id": "mcpr_2"}, APPROVED, said("done")], ["mcpr_2"]),
    ],
)
def test_approvals_wait_until_they_are_answered(items, waiting):
    """By the id of the request; or until the model has gone on with something else that the user said."""
    assert list(open_approvals(items)) == waiting


def test_an_approval_shows_what_is_to_be_approved():
    """The server, the tool and its arguments."""
    assert open_approvals([ASKED])["mcpr_1"] == ToolCall(
        "mcpr_1", "delete", '{"id": 1}', "mcp_approval_request", "mcpr_1", "files"
    )


@pytest.mark.parametrize("kind", ["function_call", "custom_tool_call"])
def test_an_output_names_its_call(kind):
    """In the type that belongs to the type of the call."""
    item = output_item(ToolCall("call_1", "f", type=kind), "7")
    assert item == {"type": f"{kind}_output", "call_id": "call_1", "output": "7"}


# -- calls that are known early


def added(item: Item) -> Item:
    return {"type": "response.output_item.added", "output_index": 0, "item": item}


def done(item: Item) -> Item:
    return {"type": "response.output_item.done", "output_index": 0, "item": item}


def arguments(text: object, item_id: str | None = "fc_1", kind: str = "function_call_arguments") -> Item:
    field = "input" if kind == "custom_tool_call_input" else "arguments"
    return {"type": f"response.{kind}.done", "item_id": item_id, field: text}


CUSTOM = {"type": "custom_tool_call", "id": "fc_1", "call_id": "call_1", "name": "f", "input": ""}
NAMED = {**CALL, "arguments": ""}


@pytest.mark.parametrize(
    ("events", "calls"),
    [
        ([added(NAMED), arguments('{"a": 1}')], [None, '{"a": 1}']),
        ([added(NAMED), arguments("{}"), done(CALL)], [None, "{}", "{}"]),
        ([added(CUSTOM), arguments("free", kind="custom_tool_call_input")], [None, "free"]),
        ([arguments("{}"), done(CALL)], [None, "{}"]),
        ([added(NAMED), arguments("{}", "fc_other"), done(CALL)], [None, None, "{}"]),
        ([added(NAMED), arguments(None)], [None, None]),
        ([added(said("a")), done(said("a")), {"type": "response.created"}, {}], [None] * 4),
    ],
)
def test_a_call_is_known_when_its_arguments_are_whole(events, calls):
    """By the event that says so or, where that does not name the call, by the item."""
    announced = AnnouncedCalls()
    found = [announced.feed(event) for event in events]
    assert [call and call.arguments for call in found] == calls
    assert {(call.id, call.name) for call in found if call} <= {("call_1", "f")}


@pytest.mark.parametrize("item_id", ["fc_0", None])
def test_arguments_go_to_no_other_call(item_id):
    """Where ids do not tell two calls apart, each is known when its item is done."""
    announced = AnnouncedCalls()
    calls = [
        {**CALL, "id": item_id, "call_id": f"call_{number}", "arguments": str(number)} for number in (1, 2)
    ]
    events = [added({**call, "arguments": ""}) for call in calls]
    events += [arguments(call["arguments"], item_id) for call in calls]
    events += [done(call) for call in calls]
    found = [announced.feed(event) for event in events]
    assert [(call.id, call.arguments) for call in found if call] == [("call_1", "1"), ("call_2", "2")]
