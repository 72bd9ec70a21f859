"""What became of one input of a batch, as a value and as a line of the results file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from responses_ws import errors
from responses_ws._core.fields import mapping, sendable, text
from responses_ws.errors import Delivery, RateLimitError, ResponsesWSError
from responses_ws.messages import Message, ToolCall

__all__ = ["LINE_START", "Line", "Result", "decode", "encode", "is_json", "is_unpaid"]

LINE_START = b'{"custom_id": "'
"""How every line begins, so that a torn one can be told from a file of somebody else."""

UNPAID = (Delivery.NOT_SENT, Delivery.REJECTED)
KEPT = frozenset(field.name for field in fields(Message)) - {"raw", "parsed"}
"""``raw`` repeats the request; everything else of a message is kept."""
PLAIN = (str, int, float, type(None))


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one input: a message or an error.

    :ivar custom_id: the input's id, given or derived.
    :ivar message: the answer, or None. Its ``raw``, which repeats the request, is not kept in the file.
    :ivar error: why there is none, or None; of the class that was raised, with its fields, and with what was
        received as ``partial``.
    """

    custom_id: str
    message: Message | None = None
    error: ResponsesWSError | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file.

    :ivar digest: of the payload that was asked.
    """

    result: Result
    digest: str


def is_unpaid(error: ResponsesWSError) -> bool:
    """Whether the service is known not to have run the request.

    A rate limit may also end a response that has begun. When nothing had come of it, there is nothing to pay.
    """
    if isinstance(error, RateLimitError):
        partial = error.partial
        return partial is None or not (partial.content or partial.output)
    return error.delivery in UNPAID


def encode(custom_id: str, digest: str, outcome: Message | ResponsesWSError) -> bytes:
    """The line that tells what became of an input, its newline included."""
    message = _message_fields(outcome) if isinstance(outcome, Message) else None
    error = _error_fields(outcome) if isinstance(outcome, ResponsesWSError) else None
    value = {"custom_id": custom_id, "digest": digest, "message": message, "error": error}
    return _dump(value) + b"\n"


def decode(line: bytes) -> Line | None:
    """What :func:`encode` wrote, with its newline or without it; None for anything else."""
    found = mapping(_parsed(line))
    custom_id, digest = text(found.get("custom_id")), text(found.get("digest"))
    message, error = found.get("message"), found.get("error")
    if custom_id is None or digest is None or isinstance(message, dict) == isinstance(error, dict):
        return None
    try:
        if isinstance(message, dict):
            return Line(Result(custom_id, message=_message(message)), digest)
        return Line(Result(custom_id, error=_error(mapping(error))), digest)
    except (TypeError, ValueError):  # fields of other kinds
        return None


def is_json(line: bytes) -> bool:
    """Whether it is a whole value, so that it is no torn line."""
    return _parsed(line) is not None


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _dump(value: Mapping[str, Any]) -> bytes:
    """As people can read it; half a surrogate pair, which UTF-8 does not know, as JSON escapes it, and for an
    infinite number, which JSON does not know, the one that comes nearest.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value).encode()
    except ValueError:
        return json.dumps(sendable(value)).encode()


def _message_fields(message: Message) -> dict[str, Any]:
    found = {field.name: getattr(message, field.name) for field in fields(Message) if field.name in KEPT}
    calls = message.tool_calls
    found["tool_calls"] = None if calls is None else {name: asdict(call) for name, call in calls.items()}
    return found


def _message(value: Mapping[str, Any]) -> Message:
    known = {name: value[name] for name in KEPT & set(value)}
    calls = value.get("tool_calls")
    if isinstance(calls, dict):
        names = {field.name for field in fields(ToolCall)}
        known["tool_calls"] = {
            name: ToolCall(**{part: call[part] for part in names & set(call)}) for name, call in calls.items()
        }
    return Message(**known)


def _error_fields(error: ResponsesWSError) -> dict[str, Any]:
    """The fields that a program decides by. What the server sent besides, headers and bodies, is left out."""
    found: dict[str, Any] = {"class": type(error).__name__, "message": error.message}
    for name in error._fields:
        value = getattr(error, name)
        if isinstance(value, Delivery):
            found[name] = value.value
        elif isinstance(value, Message):
            found[name] = _message_fields(value)
        elif isinstance(value, PLAIN):
            found[name] = value
    return found


def _error(value: Mapping[str, Any]) -> ResponsesWSError:
    """The error again; of the base class when a later version knew a class that this one does not."""
    kind = getattr(errors, str(value.get("class")), ResponsesWSError)
    if not (isinstance(kind, type) and issubclass(kind, ResponsesWSError)):
        kind = ResponsesWSError
    known = {name: value[name] for name in kind._fields if name in value}
    known["delivery"] = _delivery(value.get("delivery"))
    if known.get("partial") is not None:
        known["partial"] = _message(mapping(known["partial"]))
    return kind(str(value.get("message")), **known)


def _delivery(value: object) -> Delivery:
    """What cannot be read may have run."""
    return next((member for member in Delivery if member.value == value), Delivery.UNKNOWN)
