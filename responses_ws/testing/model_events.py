"""The events of one response, as the service sends them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, zip_longest
from typing import Any

from responses_ws.testing.model_reply import Item, text_of, words

__all__ = [
    "Event",
    "complete_item",
    "error_event",
    "flat_error",
    "lifecycle_event",
    "new_id",
    "output_events",
    "response_object",
    "usage",
]

Event = dict[str, Any]

CREATED_AT = 1_780_000_000
ARGUMENTS_PIECE = 8
"""Characters of a delta of arguments."""

ECHOED: Item = {
    "background": False,
    "include": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response repeats of its request, with the service's defaults."""

PREFIXES: dict[str, str] = {
    "message": "msg",
    "function_call": "fc",
    "custom_tool_call": "ctc",
    "reasoning": "rs",
}


def new_id(prefix: str) -> str:
    """An id that no other server gave."""
    return f"{prefix}_{secrets.token_hex(24)}"


def complete_item(item: Item) -> Item:
    """An output item with all that the service gives it, from one with the essentials."""
    kind: str = item["type"]
    whole: Item = {"id": new_id(PREFIXES.get(kind, kind)), "status": "completed", **item}
    if kind == "message":
        whole["role"] = "assistant"
        if isinstance(whole["content"], str):
            whole["content"] = [_text_part(whole["content"])]
    if kind in ("function_call", "custom_tool_call"):
        whole.setdefault("call_id", f"call_{secrets.token_hex(12)}")
    if kind == "reasoning":
        whole.setdefault("summary", [])
        del whole["status"]
    return whole


def _text_part(text: str) -> Item:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def response_object(
    request: Mapping[str, Any],
    response_id: str,
    status: str,
    output: list[Item] | None = None,
    **fields: Any,
) -> Item:
    """The ``response`` that the lifecycle events carry."""
    response: Item = {
        "id": response_id,
        "object": "response",
        "created_at": CREATED_AT,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": request.get("model"),
        "output": output or [],
        "usage": None,
    }
    for name, default in ECHOED.items():
        value = request.get(name)
        response[name] = default if value is None else value
    return {**response, **fields}


def lifecycle_event(response: Item) -> Event:
    """The terminal event that fits the status of the response."""
    return {"type": f"response.{response['status']}", "response": response}


def usage(seen: Iterable[Item], cached: Iterable[Item], output: Iterable[Item]) -> Item:
    """Counts with one token a word. ``cached`` are those items of ``seen`` that an earlier response saw."""
    given, known, made = (_count(items) for items in (seen, cached, output))
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": known},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": given + made,
    }


def _count(items: Iterable[Item]) -> int:
    return sum(len(words(text_of(item))) for item in items)


def output_events(items: list[Item]) -> Iterator[Event]:
    """Everything between ``response.in_progress`` and the terminal event. Calls in a row interleave."""
    index = 0
    for kind, group in groupby(items, key=lambda item: item["type"]):
        members = list(group)
        if kind == "function_call":
            yield from _call_events(members, index)
        else:
            for place, item in enumerate(members, index):
                yield from _item_events(item, place)
        index += len(members)


def _item_events(item: Item, index: int) -> Iterator[Event]:
    if item["type"] != "message":
        yield _added(index, item)
        yield _done(index, item)
        return
    yield _added(index, {**item, "status": "in_progress", "content": []})
    for place, part in enumerate(item["content"]):
        where = {"item_id": item["id"], "output_index": index, "content_index": place}
        yield from _part_events(part, where)
    yield _done(index, item)


def _part_events(part: Item, where: Item) -> Iterator[Event]:
    field = "refusal" if part["type"] == "refusal" else "text"
    name = f"response.{part['type']}"
    extra: Item = {} if field == "refusal" else {"logprobs": []}
    yield {"type": "response.content_part.added", **where, "part": {**part, field: ""}}
    for piece in words(part[field]):
        yield {"type": f"{name}.delta", **where, "delta": piece, **extra}
    yield {"type": f"{name}.done", **where, field: part[field], **extra}
    yield {"type": "response.content_part.done", **where, "part": part}


def _call_events(calls: list[Item], first: int) -> Iterator[Event]:
    places = list(enumerate(calls, first))
    for index, call in places:
        yield _added(index, {**call, "status": "in_progress", "arguments": ""})
    for row in zip_longest(*(_argument_deltas(call, index) for index, call in places)):
        yield from (event for event in row if event)
    for index, call in places:
        where = {"item_id": call["id"], "output_index": index}
        yield {"type": "response.function_call_arguments.done", **where, "arguments": call["arguments"]}
        yield _done(index, call)


def _argument_deltas(call: Item, index: int) -> Iterator[Event]:
    arguments = call["arguments"]
    for start in range(0, len(arguments), ARGUMENTS_PIECE):
        piece = arguments[start : start + ARGUMENTS_PIECE]
        yield {
            "type": "response.function_call_arguments.delta",
            "item_id": call["id"],
            "output_index": index,
            "delta": piece,
        }


def _added(index: int, item: Item) -> Event:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def _done(index: int, item: Item) -> Event:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def error_event(error: Item, status: int) -> Event:
    """An ``error`` event, with the error in an object of its own."""
    return {"type": "error", "status": status, "error": error}


def flat_error(event: Event) -> Event:
    """The same with the error in the event itself, as in an event stream."""
    error = event["error"]
    return {
        "type": "error",
        "code": error.get("code"),
        "message": error.get("message") or error.get("detail"),
        "param": error.get("param"),
        "sequence_number": event.get("sequence_number", 0),
        **{name: event[name] for name in ("stream_id",) if name in event},
    }
