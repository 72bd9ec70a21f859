"""What the output items of a response say."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from responses_ws._core.fields import mappings, printable, text
from responses_ws.messages import ToolCall

__all__ = ["CALLS", "Item", "Said", "read", "tool_call"]

Item = dict[str, Any]

CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
"""The items that want something run, with the field that holds what the model wrote for it."""


@dataclass(slots=True)
class Said:
    """What the items of a response say together.

    :ivar content: all answer text; an empty string when there is none.
    :ivar tool_calls: the calls to make, by call id (by item id or place where there is none, or another call
        has it), or None.
    :ivar refusal: the text of a refusal; None when the model did not refuse.
    :ivar reasoning: the text of each reasoning item, or else its summary, with empty lines between parts; or
        None.
    :ivar annotations: citations and the like of all text, in order.
    """

    content: str
    tool_calls: dict[str, ToolCall] | None
    refusal: str | None
    reasoning: str | None
    annotations: list[dict[str, Any]]


def read(items: Iterable[Item]) -> Said:
    """Look once at every item and its parts."""
    answer: list[str] = []
    refusal: list[str] = []
    reasoning: list[str] = []
    annotations: list[dict[str, Any]] = []
    calls: dict[str, ToolCall] = {}
    for index, item in enumerate(items):
        thoughts: list[str] = []
        for part in mappings(item.get("content")):
            kind = part.get("type")
            if kind == "output_text":
                answer.append(_text(part, "text"))
            elif kind == "refusal":
                refusal.append(_text(part, "refusal"))
            elif kind == "reasoning_text":
                thoughts.append(_text(part, "text"))
            annotations += mappings(part.get("annotations"))
        if thoughts or "summary" in item:
            reasoning += list(filter(None, thoughts)) or _summary(item)
        call = tool_call(item)
        if call is not None and not _known(call, calls):
            keys = itertools.chain((call.id, call.item_id), map(str, itertools.count(index)))
            calls[next(key for key in keys if key and key not in calls)] = call
    return Said(
        "".join(answer),
        calls or None,
        "".join(refusal) or None,
        "\n\n".join(reasoning) or None,
        annotations,
    )


def _known(call: ToolCall, calls: dict[str, ToolCall]) -> bool:
    """Whether it is there already: some servers send one call twice."""
    known = calls.get(call.id or "")
    return known is not None and (known.type, known.name, known.arguments) == (
        call.type,
        call.name,
        call.arguments,
    )


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


def _summary(item: Item) -> list[str]:
    """The texts of a summary, without the empty ones."""
    parts = mappings(item.get("summary"))
    return [found for part in parts if part.get("type") == "summary_text" and (found := _text(part, "text"))]


def _text(part: dict[str, Any], name: str) -> str:
    return printable(text(part.get(name)) or "")
