"""How the service refuses a request."""

from __future__ import annotations

import json
from typing import NoReturn

from responses_ws.testing.model_reply import Item

__all__ = ["Refusal", "invalid", "json_object", "missing", "not_found", "wrong_type"]


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


def missing(name: str) -> Refusal:
    """For a field that must be there."""
    return invalid("missing_required_parameter", f"Missing required parameter: '{name}'.", name)


def wrong_type(name: str) -> Refusal:
    """For a field that is something else."""
    return invalid("invalid_type", f"Invalid type for '{name}'.", name)


def not_found(response_id: str) -> Refusal:
    """A 404 of the service, for a response that it does not hold."""
    text = f"Response with id '{response_id}' not found."
    error = {"type": "invalid_request_error", "code": None, "message": text, "param": "id"}
    return Refusal(error, 404)


def json_object(data: str | bytes) -> Item | None:
    """The object that a message or a body holds; None when it is something else, or no JSON."""
    try:
        found = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refuse(constant: str) -> NoReturn:
    """NaN and Infinity are no JSON."""
    raise ValueError(constant)
