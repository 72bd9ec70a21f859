"""What the model says: a function of the history it sees, so that a test can prove what that was."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Item", "Reply", "as_items", "default_reply", "items_of", "limit_words", "text_of", "words"]

Item = dict[str, Any]
Reply = str | list[Item]
CALL = re.compile(r"\bcall\s+([\w.-]+)\s*")
TEXTS = {"function_call": ("name", "arguments"), "custom_tool_call": ("name", "input")}
"""What an output item has as text."""

OUTPUTS = ("function_call_output", "custom_tool_call_output")


def items_of(value: Any) -> list[Item]:
    """The items of an ``input``: a string is one message of the user, None is nothing."""
    if value is None:
        return []
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    return list(value)


def as_items(reply: Reply) -> list[Item]:
    """A reply as output items: a text is one message, an empty text none. Raises TypeError for others."""
    if isinstance(reply, str):
        return [{"type": "message", "content": reply}] if reply else []
    given: object = reply  # whatever the annotation says
    if not isinstance(given, list):
        raise TypeError(f"reply: a text or a list of output items, not {type(given).__name__}")
    for item in given:
        _check_output(item)
    return given


def _check_output(item: object) -> None:
    if not isinstance(item, dict) or not isinstance(item.get("type"), str):
        raise TypeError("reply: an output item is a dict with a type")
    for name in TEXTS.get(item["type"], ()):
        if not isinstance(item.get(name), str):
            raise TypeError(f"reply: a {item['type']} has its {name} as a text")
    if item["type"] == "message" and not _is_content(item.get("content")):
        raise TypeError("reply: the content of a message is a text or a list of parts")


def _is_content(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(part, dict) and isinstance(part.get("type"), str) for part in value)
    return isinstance(value, str)


def text_of(item: Item) -> str:
    """All the text in an item: of its content, or of a call's arguments or output."""
    content = item.get("content") or item.get("output") or item.get("arguments") or item.get("input") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or part.get("refusal") or "" for part in content)


def words(text: str) -> list[str]:
    """Pieces that end where a word begins; joined they are the text. One of them counts as one token."""
    return re.split(r"(?<=\s)(?=\S)", text) if text else []


def default_reply(items: Sequence[Item], request: Item) -> Reply:
    """Say what was seen, or make the calls that were asked for.

    The last message ``call NAME {arguments}`` makes a call of the function NAME when the request has it;
    several may stand in one message. Otherwise the text is made of these sentences, each where it applies::

        Instructions: be brief. get_time returned: noon. You said: thanks. Before that: hello; and you.
    """
    calls = _requested_calls(items, request.get("tools") or ())
    if calls:
        return calls
    said = [text_of(item) for item in items if item.get("role") == "user"]
    sentences = []
    if request.get("instructions"):
        sentences.append(f"Instructions: {request['instructions']}.")
    sentences += _new_outputs(items)
    sentences.append(f"You said: {said[-1]}." if said else "You said nothing.")
    if said[:-1]:
        sentences.append(f"Before that: {'; '.join(said[:-1])}.")
    return " ".join(sentences)


def _requested_calls(items: Sequence[Item], tools: Iterable[Item]) -> list[Item]:
    names = {tool.get("name") for tool in tools if tool.get("type") == "function"}
    if not items or items[-1].get("role") != "user":
        return []
    text = text_of(items[-1])
    found = (match for match in CALL.finditer(text) if match[1] in names)
    return [
        {"type": "function_call", "name": match[1], "arguments": _object_at(text, match.end())}
        for match in found
    ]


def _object_at(text: str, start: int) -> str:
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except ValueError:
        return "{}"
    return text[start:end]


def _new_outputs(items: Sequence[Item]) -> list[str]:
    """A sentence for each tool output that came after the model's last item."""
    names = {item.get("call_id"): item.get("name") for item in items if item.get("type") == "function_call"}
    sentences: list[str] = []
    for item in items:
        if item.get("type") in OUTPUTS:
            sentences.append(f"{names.get(item.get('call_id')) or 'a tool'} returned: {text_of(item)}.")
        elif item.get("role") not in ("user", "developer", "system"):
            sentences = []
    return sentences


def limit_words(items: list[Item], limit: int | None) -> tuple[list[Item], bool]:
    """The items with no more than ``limit`` words of text, and whether any had to go."""
    left = limit
    kept: list[Item] = []
    for item in items:
        count = len(words(text_of(item)))
        if left is None or count <= left:
            kept.append(item)
            left = None if left is None else left - count
            continue
        if item.get("type") == "message":
            kept.append({**item, "content": "".join(words(text_of(item))[:left]), "status": "incomplete"})
        return kept, True
    return kept, False
