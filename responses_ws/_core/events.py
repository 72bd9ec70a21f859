"""The server's events: what each means for its turn.

A field of an unexpected type counts as one that is not there.
"""

from __future__ import annotations

from typing import Any

from responses_ws._core.fields import mapping, text
from responses_ws._core.parser import Event

__all__ = [
    "ONGOING",
    "OPENINGS",
    "PROGRESS",
    "TERMINAL",
    "Event",
    "event_type",
    "response_id",
    "starts_response",
    "terminal_status",
]

TERMINAL: dict[str, str] = {
    "response.completed": "completed",
    "response.done": "completed",
    "response.failed": "failed",
    "response.incomplete": "incomplete",
    "response.cancelled": "cancelled",
    "response.error": "error",
    "error": "error",
}
"""Event types that end a turn, with the status that they stand for."""

_STEPS = {
    "response": "queued created in_progress",
    "response.output_item": "added done",
    "response.content_part": "added done",
    "response.output_text": "delta done",
    "response.output_text.annotation": "added",
    "response.refusal": "delta done",
    "response.reasoning_text": "delta done",
    "response.reasoning_summary_part": "added done",
    "response.reasoning_summary_text": "delta done",
    "response.function_call_arguments": "delta done",
    "response.custom_tool_call_input": "delta done",
    "response.mcp_call": "in_progress completed failed",
    "response.mcp_call_arguments": "delta done",
    "response.mcp_list_tools": "in_progress completed failed",
    "response.web_search_call": "in_progress searching completed",
    "response.file_search_call": "in_progress searching completed",
    "response.code_interpreter_call": "in_progress interpreting completed",
    "response.code_interpreter_call_code": "delta done",
    "response.image_generation_call": "in_progress generating partial_image completed",
    "response.shell_call_command": "added delta done",
    "response.shell_call_output_content": "delta done",
    "response.compaction": "compacting",
    "response.audio": "delta done",
    "response.audio.transcript": "delta done",
    "response.steer": "accepted pending failed",
    "response.inject": "created failed",
}
ONGOING = frozenset(f"{subject}.{step}" for subject, steps in _STEPS.items() for step in steps.split())
"""The service's event types that never end a turn, whatever they hold."""

OPENINGS = frozenset({"response.created", "response.queued"})
"""Event types that begin a response."""

NEUTRAL = ("response.steer.", "response.inject.")
PROGRESS = frozenset(kind for kind in ONGOING if not kind.startswith(NEUTRAL))
"""Those of :data:`ONGOING` that belong to a response, as nearly all events do."""
ENDED = frozenset({"completed", "failed", "incomplete", "cancelled"})
STRICTNESS = {"error": 3, "failed": 2, "incomplete": 1}

_UNKNOWN = ""
_ENDS: dict[Any, str | None] = {**dict.fromkeys(ONGOING), **TERMINAL}


def event_type(event: Event) -> str:
    """The type of an event; ``error`` for an error without one (xAI); an empty string when there is none."""
    kind = event.get("type")
    if isinstance(kind, str):
        return kind
    return "error" if event.get("error") else ""


def terminal_status(event: Event) -> str | None:
    """None while the turn goes on, otherwise how it ended.

    ``completed``, ``incomplete``, ``failed``, ``error``, or another status as the service gave it. Where the
    type and ``response.status`` disagree, the stricter counts, and what has an ``error`` is not completed. An
    unknown type ends the turn when its ``response.status`` says so.
    """
    try:
        implied = _ENDS.get(event.get("type"), _UNKNOWN)
    except TypeError:  # a list or an object for a type
        implied = _UNKNOWN
    return None if implied is None else _status(event, implied)


def _status(event: Event, implied: str) -> str | None:
    response = mapping(event.get("response"))
    given = response.get("status")
    if given and given == implied and not response.get("error"):
        return implied  # nearly always
    given = text(given)
    if implied is _UNKNOWN:
        kind = event_type(event)
        if kind == "error":
            return "error"
        if given not in ENDED or not starts_response(kind):
            return None
        implied = given
    stricter = implied
    if given is not None and STRICTNESS.get(given, 0) >= STRICTNESS.get(implied, 0):
        stricter = given
    return "failed" if stricter == "completed" and response.get("error") else stricter


def starts_response(event_type: str) -> bool:
    """Whether an event of this type belongs to a response, so that the first of them starts it.

    Heartbeats, vendors' own events, and those about steering and injected items do not, nor does ``error``.
    """
    return event_type.startswith("response.") and not event_type.startswith(NEUTRAL)


def response_id(event: Event) -> str | None:
    """The id of the response that the event names; most events name none."""
    if "response" not in event and "response_id" not in event:
        return None
    response = event.get("response")
    named = response.get("id") if isinstance(response, dict) else None
    return named if named and isinstance(named, str) else text(event.get("response_id"))
