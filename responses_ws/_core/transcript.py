"""A history of items, as people read it: who said what, and what still waits for an answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby
from typing import Any

from responses_ws._core import items as item_rules
from responses_ws._core.events import Event, event_type
from responses_ws._core.fields import mapping, mappings, printable, text
from responses_ws._core.items import Item
from responses_ws._core.replay import CALLERS
from responses_ws.messages import Message, ToolCall

__all__ = ["AnnouncedCalls", "approval_request", "messages_of", "open_approvals", "output_item"]

TEXT_PARTS = ("input_text", "output_text", "text")
ITEM_EVENTS = ("response.output_item.added", "response.output_item.done")
ARGUMENTS = {
    "response.function_call_arguments.done": "arguments",
    "response.custom_tool_call_input.done": "input",
}
"""The events that say that the arguments of a call are whole, with the field that holds them."""


def messages_of(items: Iterable[Item]) -> list[Message]:
    """A message for each thing that was said, oldest first.

    What the model said in a row is one message, with the role ``assistant``; each input message keeps its
    role, and the output of a tool has the role ``tool``. ``output`` holds the items themselves.
    """
    said: list[Message] = []
    for role, group in groupby(items, key=_role):
        if role == "assistant":
            said.append(_answer(list(group)))
        else:
            said += [_entry(role, item) for item in group]
    return said


def approval_request(item: Item) -> ToolCall | None:
    """The call of an MCP server that an item wants approved; None when it is something else."""
    if item.get("type") != "mcp_approval_request":
        return None
    return ToolCall(
        id=text(item.get("id")),
        name=text(item.get("name")),
        arguments=text(item.get("arguments")) or "",
        type="mcp_approval_request",
        item_id=text(item.get("id")),
        server_label=text(item.get("server_label")),
    )


def open_approvals(items: Iterable[Item]) -> dict[str, ToolCall]:
    """The approvals that were asked for and not answered, by the id of the request.

    Unlike a call, one may stay without an answer: once the user has said something else and the model has
    gone on with that, nothing waits for it any more.
    """
    waiting: dict[str, ToolCall] = {}
    passed_over: list[str] = []
    for item in items:
        call = approval_request(item)
        if item.get("type") == "mcp_approval_response":
            waiting.pop(text(item.get("approval_request_id")) or "", None)
        elif text(item.get("role")) in CALLERS:
            passed_over = list(waiting)
        else:
            for request_id in passed_over:
                waiting.pop(request_id, None)
            passed_over = []
            if call is not None and call.id is not None:
                waiting[call.id] = call
    return waiting


def output_item(call: ToolCall, output: str | list[dict[str, Any]]) -> Item:
    """The item that brings the output of a call to the model."""
    return {"type": f"{call.type}_output", "call_id": call.id, "output": output}


class AnnouncedCalls:
    """The calls of a running response, each as soon as its arguments are whole. Not thread-safe."""

    def __init__(self) -> None:
        self._calls: dict[str, ToolCall | None] = {}  # by item id; None where two have it

    def feed(self, event: Event) -> ToolCall | None:
        """The call that this event completes, or None. A call may be given more than once."""
        kind = event_type(event)
        if kind in ITEM_EVENTS:
            call = item_rules.tool_call(mapping(event.get("item")))
            if call is None or kind == "response.output_item.done":
                return call
            if call.item_id is not None:
                known = self._calls.setdefault(call.item_id, call)
                self._calls[call.item_id] = call if known is not None and known.id == call.id else None
        elif kind in ARGUMENTS:
            known = self._calls.get(text(event.get("item_id")) or "")
            whole = event.get(ARGUMENTS[kind])
            if known is not None and isinstance(whole, str):
                return replace(known, arguments=printable(whole))
        return None


def _role(item: Item) -> str:
    """Who an item comes from: the model, a tool, or the role that an input message names."""
    item_type = text(item.get("type")) or "message"
    if item_type == "message":
        return text(item.get("role")) or "user"
    if item_type.endswith("_call_output"):
        return "tool"
    return "user" if item_type == "mcp_approval_response" else "assistant"


def _answer(output: list[Item]) -> Message:
    said = item_rules.read(output)
    return Message(
        content=said.content or "".join(_text(item.get("content")) for item in output),
        tool_calls=said.tool_calls,
        status="completed",
        output=output,
        refusal=said.refusal,
        reasoning=said.reasoning,
        annotations=said.annotations,
    )


def _entry(role: str, item: Item) -> Message:
    said = item.get("output") if role == "tool" else item.get("content")
    return Message(role=role, content=_text(said), status="completed", output=[item])


def _text(said: object) -> str:
    if isinstance(said, str):
        return said
    return "".join(text(part.get("text")) or "" for part in mappings(said) if part.get("type") in TEXT_PARTS)
