"""From the caller's arguments to the one message that starts a response."""

from __future__ import annotations

import enum
import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from responses_ws._core import json_text
from responses_ws.errors import ConfigurationError, PayloadTooLarge

__all__ = ["UNSET", "Unset", "build", "encode", "encode_compact", "encode_http", "encode_steer", "stores"]

CREATE = "response.create"
STEER = "response.steer"
NOT_ON_A_SOCKET = frozenset({"type", "stream", "background"})
ONLY_ON_A_SOCKET = frozenset({"type", "generate", "stream_id"})
SHOWN = 5
IMAGE_FIELDS = ("content", "output")


class Unset(enum.Enum):
    """The type of :data:`UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""An argument that was not given, where None has a meaning of its own."""


def build(
    *,
    model: str,
    input: str | Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    previous_response_id: str | Unset | None = UNSET,
    instructions: str | None = None,
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """The fields of one request, flat, as ``POST /v1/responses`` names them.

    :param input: a text, or a list of items.
    :param previous_response_id: the response to continue; None starts a new chain and is sent as null.
    :param extra: any further field. ``compact_threshold`` (tokens) is sent as ``context_management`` and wins
        over one given; an empty ``metadata`` is left out; so is every None.

    Raises :class:`ConfigurationError` naming the parameter.
    """
    _check_model(model)
    if not isinstance(input, str):
        input = _check_items("input", input, "a str or a list of dicts")
    if tools is not None:
        tools = _check_items("tools", tools, "a list of dicts")
    fields = {
        "model": model,
        "input": input,
        "instructions": instructions,
        "tools": tools,
        **_state(extra),
    }
    payload = {name: value for name, value in fields.items() if value is not None}
    if previous_response_id is not UNSET:
        payload["previous_response_id"] = _check_previous(previous_response_id, extra)
    return payload


def encode(payload: Mapping[str, Any], *, max_bytes: int | None) -> bytes:
    """The WebSocket message for a payload, which is left as it is.

    ``type`` is added, ``stream`` and ``background`` do not apply to a socket and are left out, and so is
    every None at the top level except that of ``previous_response_id``. Everything else passes, known or not;
    keys inside are written as :mod:`json` writes them.

    :param max_bytes: the most that the message may have; None means no limit.

    Raises :class:`ConfigurationError` naming the parameter that JSON or UTF-8 cannot express, and
    :class:`PayloadTooLarge` naming the largest items.
    """
    return _message(CREATE, _sendable(payload), max_bytes)


def encode_http(payload: Mapping[str, Any], *, stream: bool | None) -> bytes:
    """The body of ``POST /responses`` for a payload, which is left as it is.

    :param stream: whether to ask for an event stream; None asks for one unless the response is to run in the
        background and the payload itself asks for none.

    What only a socket knows (``type``, ``generate``, ``stream_id``) is left out, and so is every None at the
    top level. There is no limit: those known are of sockets.

    Raises :class:`ConfigurationError` naming the parameter that JSON or UTF-8 cannot express.
    """
    given = _checked(payload)
    if stream is None:
        stream = bool(given.get("stream") or not given.get("background"))
    unknown = ONLY_ON_A_SOCKET if stream else ONLY_ON_A_SOCKET | {"stream_options"}
    fields = {name: value for name, value in given.items() if value is not None and name not in unknown}
    body = json_text.dump({**fields, "stream": stream})
    if body is None:
        raise ConfigurationError(_fault(fields))
    return body


def encode_compact(payload: Mapping[str, Any]) -> bytes:
    """The body of ``POST /responses/compact``, without what is None. Raises :class:`ConfigurationError`."""
    fields = {name: value for name, value in _checked(payload).items() if value is not None}
    body = json_text.dump(fields)
    if body is None:
        raise ConfigurationError(_fault(fields))
    return body


def encode_steer(
    previous_response_id: str, input: str | Sequence[Mapping[str, Any]], *, max_bytes: int | None
) -> bytes:
    """The WebSocket message that gives input to a running response. Raises what :func:`encode` raises."""
    if not isinstance(input, str):
        input = _check_items("input", input, "a str or a list of dicts")
    return _message(STEER, {"previous_response_id": previous_response_id, "input": input}, max_bytes)


def _message(kind: str, fields: dict[str, Any], max_bytes: int | None) -> bytes:
    message = json_text.dump({"type": kind, **fields})
    if message is None:
        raise ConfigurationError(_fault(fields))
    if max_bytes is not None and len(message) > max_bytes:
        raise _too_large(fields, len(message), max_bytes)
    return message


def stores(payload: Mapping[str, Any]) -> bool:
    """Whether the service keeps the response; it does unless told ``store: false``."""
    return payload.get("store") is not False


def _state(extra: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(extra)
    threshold = fields.pop("compact_threshold", None)
    if threshold is not None:
        fields["context_management"] = _compaction(threshold)
    if not fields.get("metadata"):
        fields.pop("metadata", None)
    return fields


def _compaction(threshold: object) -> list[dict[str, Any]]:
    if isinstance(threshold, bool) or not isinstance(threshold, int) or threshold <= 0:
        raise ConfigurationError("compact_threshold must be a positive whole number of tokens")
    return [{"type": "compaction", "compact_threshold": threshold}]


def _check_model(model: object) -> None:
    if not isinstance(model, str) or not model:
        raise ConfigurationError("model must be a non-empty str")


def _check_items(name: str, items: Sequence[Mapping[str, Any]], expected: str) -> list[Mapping[str, Any]]:
    if not isinstance(items, (list, tuple)):
        raise ConfigurationError(f"{name} must be {expected}, not {type(items).__name__}")
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise ConfigurationError(f"{name}[{index}] must be a dict, not {type(item).__name__}")
    return list(items)


def _check_previous(previous_response_id: str | None, extra: Mapping[str, Any]) -> str | None:
    if previous_response_id is None:
        return None
    if not isinstance(previous_response_id, str):
        raise ConfigurationError(
            f"previous_response_id must be a str or None, not {type(previous_response_id).__name__}"
        )
    if extra.get("conversation") is not None:
        raise ConfigurationError("conversation and previous_response_id exclude each other")
    return previous_response_id


def _sendable(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a payload that go on the wire, without the type."""
    return {
        name: value
        for name, value in _checked(payload).items()
        if (value is not None or name == "previous_response_id") and name not in NOT_ON_A_SOCKET
    }


def _checked(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(payload, (dict, Mapping)):  # a dict is known as one at once
        raise ConfigurationError(f"payload must be a mapping, not {type(payload).__name__}")
    if not set(map(type, payload)) <= {str}:  # nearly always, and known in one step
        _check_names(payload)
    if payload.get("type", CREATE) not in (CREATE, None):
        raise ConfigurationError(f"type must be {CREATE!r} or left out")
    return payload


def _check_names(payload: Mapping[Any, Any]) -> None:
    for name in payload:
        if not isinstance(name, str):
            raise ConfigurationError(f"payload has a key that is no str but {type(name).__name__}")


def _fault(fields: Mapping[str, Any]) -> str:
    """Which field cannot be sent and why, without its value."""
    for where, value in _items(fields):
        why = json_text.reason(value)
        if why:
            return f"{where} cannot be sent: {why}"
    return f"payload cannot be sent: {json_text.reason(fields)}"


def _items(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every field, lists item by item, each with the name under which an error speaks of it."""
    for name, value in fields.items():
        if isinstance(value, (list, tuple)):
            yield from ((f"{name}[{index}]", item) for index, item in enumerate(value))
        else:
            yield name, value


def _too_large(fields: Mapping[str, Any], size: int, limit: int) -> PayloadTooLarge:
    sized = ((where, value, _measure(value)) for where, value in _items(fields))
    found = heapq.nlargest(SHOWN, sized, key=lambda item: item[2])
    largest = tuple(_image_or_item(*item) for item in found)
    named = ", ".join(f"{where} ({count} bytes)" for where, count in largest)
    return PayloadTooLarge(
        f"the request has {size} bytes and the limit is {limit}; its largest items: {named}",
        size=size,
        limit=limit,
        largest=largest,
    )


def _image_or_item(where: str, value: object, size: int) -> tuple[str, int]:
    """The image that makes up most of an item, or the item."""
    image = max(_images(where, value), key=lambda found: found[1], default=(where, 0))
    return image if image[1] * 2 > size else (where, size)


def _images(where: str, item: object) -> Iterator[tuple[str, int]]:
    """Where the service takes images: in the content of a message and in the output of a tool."""
    fields = item if isinstance(item, dict) else {}
    for name in IMAGE_FIELDS:
        for place, part in _items({name: fields.get(name)}):
            if isinstance(part, dict) and "image_url" in part:
                yield f"{where}.{place}.image_url", _measure(part["image_url"])


def _measure(value: object) -> int:
    return len(json_text.dump(value) or b"")
