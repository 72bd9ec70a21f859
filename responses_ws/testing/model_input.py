"""What the service refuses of an ``input``: items without what they need, calls without their outputs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from responses_ws.testing.model_refusals import invalid, missing, wrong_type
from responses_ws.testing.model_reply import Item

__all__ = ["check_calls", "check_input"]

CALL_OUTPUTS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
NEEDED = {
    "message": ("role", "content"),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
    "custom_tool_call": ("call_id", "name", "input"),
    "custom_tool_call_output": ("call_id", "output"),
}
"""What an item cannot do without."""

ROLES = ("user", "assistant", "system", "developer")
PART = re.compile(r"(input|output|summary|reasoning)_[a-z_]+|refusal|computer_screenshot")
"""Types of the parts of a content. Those of Chat Completions (``text``, ``image_url``) are none."""


def check_input(given: Any) -> None:
    """Refuse what is neither a text nor a list of items that have what they need."""
    if isinstance(given, str):
        return
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise wrong_type("input")
    for index, item in enumerate(given):
        _check_item(item, f"input[{index}]")


def _check_item(item: Item, where: str) -> None:
    kind = item.get("type", "message")
    for name in NEEDED.get(kind, ()) if isinstance(kind, str) else ():
        if item.get(name) is None:
            raise missing(f"{where}.{name}")
    if not isinstance(item.get("call_id", ""), str):
        raise wrong_type(f"{where}.call_id")
    if kind == "message":
        _check_message(item, where)


def _check_message(item: Item, where: str) -> None:
    if item["role"] not in ROLES:
        raise invalid("invalid_value", f"Invalid value for '{where}.role'.", f"{where}.role")
    if isinstance(item["content"], str):
        return
    if not isinstance(item["content"], list):
        raise wrong_type(f"{where}.content")
    for index, part in enumerate(item["content"]):
        _check_part(part, f"{where}.content[{index}]")


def _check_part(part: Any, where: str) -> None:
    if not isinstance(part, dict):
        raise wrong_type(where)
    if not PART.fullmatch(str(part.get("type"))):
        raise invalid("invalid_value", f"Invalid value for '{where}.type'.", f"{where}.type")


def check_calls(items: Iterable[Item]) -> None:
    """Refuse a history with a call that has no output, or an output without its call."""
    open_calls: dict[tuple[str, str], str] = {}
    for item in items:
        kind, call_id = item.get("type", "message"), item.get("call_id", "")
        if kind in CALL_OUTPUTS:
            open_calls[CALL_OUTPUTS[kind], call_id] = kind
        elif kind in CALL_OUTPUTS.values() and open_calls.pop((kind, call_id), None) is None:
            text = f"No tool call found for {_spoken(kind)} with call_id {call_id}."
            raise invalid(None, text, "input")
    for (_, call_id), kind in open_calls.items():
        raise invalid(None, f"No tool output found for {_spoken(kind)} {call_id}.", "input")


def _spoken(kind: str) -> str:
    return kind.replace("_", " ")
