"""What a user says, as the service's input items: texts, images, files, audio, and items written by hand."""

from __future__ import annotations

import copy
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from responses_ws._core.fields import printable
from responses_ws._core.options import copied
from responses_ws.errors import ConfigurationError

__all__ = ["Input", "Part", "data_url", "input_items", "media_type_of", "output_content", "user_message"]

Item = dict[str, Any]

SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"%PDF-", "application/pdf"),
)
"""How the formats begin that the service names for images, audio and files, with the place of the mark."""
OUTPUT_TYPES = frozenset({"input_text", "input_image", "input_file"})
PART_TYPES = OUTPUT_TYPES | {"input_audio"}


class Part:
    """A piece of a message that is more than text; see :class:`Image`, :class:`File` and :class:`Audio`.

    Immutable. Its repr shows what it is, and nothing of what is in it.
    """

    __slots__ = ("_fields", "_label")

    def __init__(self, fields: Item, label: str) -> None:
        self._fields = fields
        self._label = label

    def to_dict(self) -> dict[str, Any]:
        """The content part as the service defines it, a fresh one each time."""
        return copy.deepcopy(self._fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Part) and self._fields == other._fields

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._label}>"


Input = str | Part | dict[str, Any] | Sequence[str | Part | dict[str, Any]]
"""What can be asked: a text, a part, a content part or an item as the service defines them, or several."""


def input_items(given: Input) -> list[Item]:
    """The items for what was given. Texts and parts in a row make one message of the user.

    A dict of a content part's type is a part, any other is an item and is taken as it is; what its
    ``content`` holds of texts and parts is put in the service's words. The caller's objects are copied.

    Raises :class:`ConfigurationError` naming the place in ``input``.
    """
    if isinstance(given, str):
        return [user_message(given)]
    if isinstance(given, (Part, dict)):
        return _grouped([("input", given)])
    if not isinstance(given, (list, tuple)):
        raise ConfigurationError(
            f"input must be a str, an Image, File or Audio, a dict, or a list of these, not {_kind(given)}"
        )
    if not given:
        raise ConfigurationError("input is empty")
    return _grouped([(f"input[{index}]", entry) for index, entry in enumerate(given)])


def user_message(content: str | list[Item]) -> Item:
    """A message of the user."""
    return {"type": "message", "role": "user", "content": content}


def output_content(value: Any) -> list[Item] | None:
    """The content parts that a tool returned, alone or in a list with texts; None when it did not.

    Nor are recordings output: the service takes text, images and files.
    """
    entries = value if isinstance(value, (list, tuple)) else [value]
    if not any(isinstance(entry, Part) for entry in entries):
        return None
    if not all(isinstance(entry, (str, Part)) for entry in entries):
        return None
    parts = [_part("output", printable(entry) if isinstance(entry, str) else entry) for entry in entries]
    return parts if all(part["type"] in OUTPUT_TYPES for part in parts) else None


def data_url(data: bytes, media_type: str) -> str:
    """The data as a URL (RFC 2397)."""
    return f"data:{media_type};base64,{b64encode(data).decode('ascii')}"


def media_type_of(data: bytes) -> str | None:
    """The media type that the first bytes tell, or None."""
    for start, mark, media_type in SIGNATURES:
        if data.startswith(mark, start):
            return media_type
    return None


def _grouped(entries: list[tuple[str, Any]]) -> list[Item]:
    items: list[Item] = []
    parts: list[Item] = []
    for where, entry in entries:
        if _is_part(entry):
            parts.append(_part(where, entry))
            continue
        items += _message_of(parts)
        parts = []
        items.append(_item(where, entry))
    return items + _message_of(parts)


def _message_of(parts: list[Item]) -> list[Item]:
    """The message that texts and parts in a row make; a single text is its content as it is."""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return [user_message(parts[0]["text"])]
    return [user_message(parts)] if parts else []


def _is_part(entry: object) -> bool:
    return isinstance(entry, (str, Part)) or (isinstance(entry, dict) and entry.get("type") in PART_TYPES)


def _part(where: str, entry: Any) -> Item:
    if isinstance(entry, str):
        return {"type": "input_text", "text": entry}
    if isinstance(entry, Part):
        return entry.to_dict()
    if isinstance(entry, dict):
        return copied(where, entry)
    raise ConfigurationError(f"{where} must be a str, an Image, File or Audio, or a dict, not {_kind(entry)}")


def _item(where: str, entry: Any) -> Item:
    if not isinstance(entry, dict):
        raise ConfigurationError(
            f"{where} must be a str, an Image, File or Audio, or a dict, not {_kind(entry)}"
        )
    if not isinstance(entry.get("type", entry.get("role")), str):
        raise ConfigurationError(f"{where} must have a type or a role, as every item of the service has")
    content = entry.get("content")
    if not isinstance(content, (list, tuple, Part)):
        return copied(where, entry)
    inside = [content] if isinstance(content, Part) else content
    parts = [_part(f"{where}.content[{index}]", part) for index, part in enumerate(inside)]
    return copied(where, {name: value for name, value in entry.items() if name != "content"}) | {
        "content": parts
    }


def _kind(value: object) -> str:
    return type(value).__name__
