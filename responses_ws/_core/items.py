"""What the output items of a response say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from responses_ws._core.fields import mappings, printable, text
from responses_ws.messages import ToolCall

__all__ = ["CALLS", "Item", "all_annotations", "answer", "reasoning", "refusal", "tool_call", "tool_calls"]

Item = dict[str, Any]

CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
"""The items that want something run, with the field that holds what the model wrote for it."""


def answer(items: Iterable[Item]) -> str:
    """All answer text; an empty string when there is none."""
    return "".join([piece for item in items for piece in _texts(item, "content", "output_text", "text")])


def refusal(items: Iterable[Item]) -> str | None:
    """The text of a refusal; None when the model did not refuse."""
    pieces = [piece for item in items for piece in _texts(item, "content", "refusal", "refusal")]
    return "".join(pieces) or None


def reasoning(items: Iterable[Item]) -> str | None:
    """The text of each reasoning item, or else its summary, with empty lines between parts; None without."""
    found = []
    for item in items:
        found += _texts(item, "content", "reasoning_text", "text") or _texts(
            item, "summary", "summary_text", "text"
        )
    return "\n\n".join(found) or None


def all_annotations(items: Iterable[Item]) -> list[dict[str, Any]]:
    """Citations and the like of all answer text, in order."""
    parts = (part for item in items for part in mappings(item.get("content")))
    return [entry for part in parts for entry in mappings(part.get("annotations"))]


def tool_calls(items: Iterable[Item]) -> dict[str, ToolCall] | None:
    """The calls to make, by call id (by item id or place where there is none); None without any."""
    calls = {}
    for index, item in enumerate(items):
        call = tool_call(item)
        if call is not None:
            calls[call.id or call.item_id or str(index)] = call
    return calls or None


def tool_call(item: Item) -> ToolCall | None:
    """The call that an item asks for; None when it is something else."""
    item_type = text(item.get("type"))
    if item_type not in CALLS:
        return None
    return ToolCall(
        id=text(item.get("call_id")),
        name=text(item.get("name")),
        arguments=printable(text(item.get(CALLS[item_type])) or ""),
        type=item_type,
        item_id=text(item.get("id")),
    )


def _texts(item: Item, field: str, part_type: str, name: str) -> list[str]:
    """The texts of one kind, without the empty ones."""
    return [
        printable(found)
        for part in mappings(item.get(field))
        if part.get("type") == part_type and (found := text(part.get(name)))
    ]
