"""A history as the input of a request: which calls are open, and which items the service takes back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from responses_ws._core.fields import text
from responses_ws.errors import ConfigurationError

__all__ = [
    "Item",
    "ambiguous_calls",
    "answers_all",
    "check_new",
    "finished",
    "kind_of",
    "open_calls",
    "replayable",
]

Item = dict[str, Any]

OUTPUTS = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
    "computer_call": "computer_call_output",
    "shell_call": "shell_call_output",
    "local_shell_call": "local_shell_call_output",
    "apply_patch_call": "apply_patch_call_output",
    "tool_search_call": "tool_search_output",
}
"""The calls that somebody must answer, with the items that answer them. What the service runs itself comes
with its output."""
ANSWERS = frozenset(OUTPUTS.values())

CALLERS = frozenset({"user", "developer", "system"})
NAMELESS = frozenset({"message", *OUTPUTS} - {"tool_search_call"})
"""The output items that the service takes back without an id."""

Key = tuple[str, str]
"""The type of an answer and its ``call_id``."""


def open_calls(items: Iterable[Item]) -> dict[str, Item]:
    """The calls without an output, by ``call_id``, in order; one without an id cannot be answered."""
    found: dict[Key, Item] = {}
    for item in items:
        key = _answer_to(item)
        if key is not None:
            found[key] = item
        else:
            found.pop((kind_of(item), text(item.get("call_id")) or ""), None)
    return {call_id: item for (_, call_id), item in found.items() if call_id}


def ambiguous_calls(items: Iterable[Item]) -> set[str]:
    """The ids that two different calls have which wait for their outputs; one output can answer one only."""
    found: dict[Key, Item] = {}
    twice: set[Key] = set()
    for item in items:
        key = _answer_to(item)
        if key is None:
            answered = (kind_of(item), text(item.get("call_id")) or "")
            found.pop(answered, None)
            twice.discard(answered)
        elif _wanted(found.setdefault(key, item)) != _wanted(item):
            twice.add(key)
    return {call_id for _, call_id in twice if call_id}


def check_new(history: Sequence[Item], new: Sequence[Item], *, all_answered: bool) -> None:
    """Refuse items that cannot follow the history, before the service does.

    :param all_answered: whether no call may be left open.

    Raises :class:`ConfigurationError` naming the item.
    """
    known_ids = {item["id"] for item in history if text(item.get("id"))}
    waiting = {key for item in open_calls(history).values() if (key := _answer_to(item)) is not None}
    for index, item in enumerate(new):
        kind, item_id, call_id = kind_of(item), text(item.get("id")), text(item.get("call_id")) or ""
        if item_id in known_ids and kind != "item_reference":
            raise ConfigurationError(f"input[{index}]: the item {item_id} is in the history already")
        key = _answer_to(item)
        if key is not None:
            waiting.add(key)
        elif kind in ANSWERS:
            if (kind, call_id) not in waiting:
                raise ConfigurationError(
                    f"input[{index}]: {kind} for the call {call_id}, which is not open: "
                    "it was not made, or has its output"
                )
            waiting.discard((kind, call_id))
    if waiting and all_answered:
        calls = ", ".join(sorted(call_id for _, call_id in waiting))
        raise ConfigurationError(f"input: no output for the call {calls}; each call needs exactly one")


def answers_all(output: Iterable[Item], new: Iterable[Item]) -> bool:
    """Whether each call of an answer has exactly one output in what follows it, and nothing else has."""
    wanted = [key for item in open_calls(output).values() if (key := _answer_to(item)) is not None]
    given = [(kind, text(item.get("call_id")) or "") for item in new if (kind := kind_of(item)) in ANSWERS]
    return sorted(wanted) == sorted(given)


def finished(output: Iterable[Item]) -> list[Item]:
    """Of an answer that stopped early, what a conversation can go on with.

    Its text, and the reasoning before it; a call that may be cut off is not made, and reasoning that nothing
    follows is refused by the service.
    """
    kept: list[Item] = []
    for item in output:
        if _answer_to(item) is not None:
            break
        kept.append(item)
    while kept and kept[-1].get("type") == "reasoning":
        kept.pop()
    return kept


def replayable(items: Iterable[Item], *, reasoning: bool = True) -> list[Item]:
    """The items as input, for a service that keeps none of them.

    Reasoning goes back only encrypted, since its id means nothing there. Where one is left out, the items of
    the same answer lose their ids: with them the service asks for the reasoning. Nothing that is null is
    sent, which some fields are on output and none may be on input.

    :param reasoning: False leaves all of it out.
    """
    found = []
    orphaned = False
    for item in items:
        kind = kind_of(item)
        if kind == "reasoning" and not (reasoning and text(item.get("encrypted_content"))):
            orphaned = True
            continue
        if text(item.get("role")) in CALLERS or kind in ANSWERS:
            orphaned = False
        left_out = "id" if orphaned and kind in NAMELESS else ""
        found.append({name: value for name, value in item.items() if value is not None and name != left_out})
    return found


def _wanted(call: Item) -> Item:
    """What a call is for, without what names it: some servers send one call twice."""
    return {name: value for name, value in call.items() if name not in ("id", "status")}


def kind_of(item: Item) -> str:
    """The type of an item; one without is a message."""
    return text(item.get("type")) or "message"


def _answer_to(item: Item) -> Key | None:
    """What must answer this item; None when nothing has to."""
    kind = kind_of(item)
    if kind not in OUTPUTS or (kind == "tool_search_call" and item.get("execution") != "client"):
        return None
    return OUTPUTS[kind], text(item.get("call_id")) or ""
