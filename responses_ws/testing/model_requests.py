"""What the service refuses before it begins a response."""

from __future__ import annotations

import re
from collections.abc import Iterable

from responses_ws.testing.model_reply import Item

__all__ = ["Refusal", "check_calls", "check_request", "invalid", "not_found"]

LANE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,256}")
CALL_OUTPUTS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}


class Refusal(Exception):
    """An ``error`` event in place of a response; ``of_connection`` leaves the lane's name out of it."""

    def __init__(self, error: Item, status: int = 400, *, of_connection: bool = False) -> None:
        super().__init__(error.get("message"))
        self.error = error
        self.status = status
        self.of_connection = of_connection


def invalid(
    code: str | None, message: str, param: str | None = None, *, of_connection: bool = False
) -> Refusal:
    """A 400 of the service."""
    error = {"type": "invalid_request_error", "code": code, "message": message, "param": param}
    return Refusal(error, of_connection=of_connection)


def not_found(response_id: str) -> Refusal:
    """A 404 of the service, for a response that it does not hold."""
    text = f"Response with id '{response_id}' not found."
    error = {"type": "invalid_request_error", "code": None, "message": text, "param": "id"}
    return Refusal(error, 404)


def check_request(request: Item, *, lanes: bool) -> None:
    """Refuse what is no proper ``response.create``.

    :param lanes: whether ``stream_id`` is known.
    """
    _check_lane(request, lanes=lanes)
    kind = request.get("type")
    if kind != "response.create":
        raise invalid("unsupported_event_type", f"Unsupported event type: {kind!r}.", "type")
    if "response" in request:
        raise invalid("unknown_parameter", "Unknown parameter: 'response'.", "response")
    if request.get("background"):
        raise invalid("unsupported_parameter", "Unsupported parameter: 'background'.", "background")
    if not isinstance(request.get("model"), str):
        raise _missing("model")
    if not isinstance(request.get("previous_response_id"), str | None):
        raise invalid("invalid_type", "Invalid type for 'previous_response_id'.", "previous_response_id")
    _check_input(request)


def _check_lane(request: Item, *, lanes: bool) -> None:
    if "stream_id" not in request:
        return
    if not lanes:
        raise invalid("unknown_parameter", "Unknown parameter: 'stream_id'.", "stream_id")
    name = request["stream_id"]
    if not isinstance(name, str) or not LANE_NAME.fullmatch(name):
        raise invalid("invalid_stream_id", "Invalid 'stream_id'.", "stream_id", of_connection=True)


def _check_input(request: Item) -> None:
    given = request.get("input")
    if given is None:
        if request.get("generate") is not False and request.get("previous_response_id") is None:
            raise _missing("input")
    elif not isinstance(given, str) and not _are_items(given):
        raise invalid("invalid_type", "Invalid type for 'input'.", "input")


def _are_items(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _missing(name: str) -> Refusal:
    return invalid("missing_required_parameter", f"Missing required parameter: '{name}'.", name)


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
