"""Comparing a message with what a script expects of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["differences"]

SHOWN = 200
"""Characters of a value that a report shows."""


def differences(expected: Any, actual: Any, path: str = "") -> list[str]:
    """Say where ``actual`` is not what ``expected`` asks for; an empty list when it is.

    An object must have the expected keys and may have others, at every depth; a list must have the expected
    length; a callable is a predicate of the value in its place; all else is compared with ``==``.
    """
    if callable(expected):
        fault = f"{_place(path)}: {_name(expected)} is not true of {_show(actual)}"
        return [] if expected(actual) else [fault]
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        return _object_differences(expected, actual, path)
    if _is_list(expected) and _is_list(actual) and len(expected) == len(actual):
        pairs = enumerate(zip(expected, actual, strict=True))
        return [text for index, (one, other) in pairs for text in differences(one, other, f"{path}[{index}]")]
    equal = expected == actual and isinstance(expected, bool) == isinstance(actual, bool)  # true is not 1
    return [] if equal else [f"{_place(path)}: expected {_show(expected)}, got {_show(actual)}"]


def _object_differences(expected: Mapping[str, Any], actual: Mapping[str, Any], path: str) -> list[str]:
    found = []
    for key, value in expected.items():
        where = f"{path}.{key}" if path else str(key)
        if key in actual:
            found += differences(value, actual[key], where)
        else:
            found.append(f"{where}: missing")
    return found


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _place(path: str) -> str:
    return path or "message"


def _name(predicate: Any) -> str:
    return getattr(predicate, "__name__", "predicate")


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
