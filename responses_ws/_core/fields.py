"""Reading JSON that anyone may have written: a value of the wrong type is a value that is not there."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["REPLACEMENT", "count", "mapping", "mappings", "printable", "sendable", "text"]

REPLACEMENT = "\ufffd"


def text(value: object) -> str | None:
    """The value if it is a string with something in it."""
    return value if isinstance(value, str) and value else None


def count(value: object) -> int | None:
    """The value if it is a whole number from 0 on; True and False are none."""
    return value if type(value) is int and value >= 0 else None


def mapping(value: object) -> dict[str, Any]:
    """The value if it is an object, otherwise an empty one."""
    return value if isinstance(value, dict) else {}


def mappings(value: object) -> list[dict[str, Any]]:
    """The objects of a list; an empty list when the value is none."""
    return [entry for entry in value if isinstance(entry, dict)] if value and isinstance(value, list) else []


def printable(value: str) -> str:
    """The text with surrogate pairs joined and lonely surrogates replaced by U+FFFD.

    JSON may escape half a character (RFC 8259, 8.2). Python keeps such a half as it is, and then fails when
    the text is printed or encoded.
    """
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return value


def sendable(value: Any) -> Any:
    """A copy of a JSON value that can be sent again: its texts :func:`printable`, its numbers finite.

    Python reads 1e999 as infinite, which JSON cannot express.
    """
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, float):
        return min(max(value, -sys.float_info.max), sys.float_info.max)
    if isinstance(value, dict):
        return {sendable(name): sendable(inside) for name, inside in value.items()}
    return [sendable(inside) for inside in value] if isinstance(value, list) else value
