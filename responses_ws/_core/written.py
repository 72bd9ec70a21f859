"""Python values that JSON does not have: as text, and back; and whole values as JSON."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any

from responses_ws._core.json_text import ENCODER
from responses_ws._core.models import is_model
from responses_ws._core.shapes import Written

__all__ = ["enum_values", "plain", "to_json", "written"]

JSON_SCALARS = (str, int, float, bool)

FRACTION = re.compile(r"(?<=:\d\d)\.(\d+)")


# Functions with names: a schema may be pickled.


def _of_text(cls: Any, text: str) -> Any:
    return cls(text)


def _day(cls: Any, text: str) -> Any:
    return cls.fromisoformat(text)


def _moment(cls: Any, text: str) -> Any:
    """RFC 3339, which Python 3.10 reads only with six digits of a second and without "Z"."""
    text = FRACTION.sub(lambda match: f".{match[1]:0<6.6}", text)
    return cls.fromisoformat(f"{text[:-1]}+00:00" if text[-1:] in ("Z", "z") else text)


def _decimal(cls: Any, text: str) -> Any:
    number = cls(text)
    if not number.is_finite():
        raise ValueError("JSON has finite numbers only")
    return number


WRITTEN: dict[str, tuple[str | None, Callable[[Any, str], Any]]] = {
    "datetime.datetime": ("date-time", _moment),
    "datetime.date": ("date", _day),
    "datetime.time": ("time", _moment),
    "decimal.Decimal": (None, _decimal),
    "uuid.UUID": ("uuid", _of_text),
    "pathlib.Path": (None, _of_text),
    "pathlib.PurePath": (None, _of_text),
}
"""By name, so that none of these modules is imported for a type that the caller does not use."""


def written(cls: type) -> Written | None:
    """The shape of a type whose values are written as text, or None."""
    for base in cls.__mro__:
        found = WRITTEN.get(f"{base.__module__.partition('._')[0]}.{base.__qualname__}")
        if found is not None:
            form, from_text = found
            return Written(cls.__name__, form, functools.partial(from_text, cls))
    return None


def enum_values(cls: type[enum.Enum]) -> dict[enum.Enum, Any]:
    """What stands for each member in JSON: its value or, where not every value is a JSON scalar, its name."""
    members = list(cls)
    if all(_is_scalar(member.value) for member in members):
        return {member: _scalar(member.value) for member in members}
    return {member: member.name for member in members}


def _is_scalar(value: Any) -> bool:
    return isinstance(value, JSON_SCALARS) and not (isinstance(value, float) and not math.isfinite(value))


def _scalar(value: Any) -> Any:
    """The value without what a subclass makes of it."""
    return next(python(value) for python in (bool, str, int, float) if isinstance(value, python))


# -- any value as JSON

UNLISTED = (bytes, bytearray, memoryview)


def to_json(value: object) -> str:
    """The JSON of a value, written as the schema of its type has it.

    Raises TypeError, ValueError or RecursionError for what JSON cannot express, without showing it.
    """
    return ENCODER.encode(plain(value))


def plain(value: Any) -> Any:
    """The value in what JSON has. Raises as :func:`to_json` does."""
    if isinstance(value, enum.Enum):
        return enum_values(type(value)).get(value, value.value)
    if value is None or isinstance(value, JSON_SCALARS):
        return value
    fields = _fields(value)
    if fields is not None:
        return _object(fields)
    if isinstance(value, (Sequence, Set)) and not isinstance(value, UNLISTED):
        return [plain(entry) for entry in value]
    return _plain_object(value)


def _fields(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """The names and values of what is an object in JSON, else None."""
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return zip(value._fields, value, strict=True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return None


def _object(fields: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for field, entry in fields:
        name = _name(field)
        if name in made:
            raise ValueError("two of its keys are the same in JSON")
        made[name] = plain(entry)
    return made


def _name(name: object) -> str:
    text = plain(name)
    return text if isinstance(text, str) else ENCODER.encode(text)


def _plain_object(value: Any) -> Any:
    if is_model(value) and not isinstance(value, type):
        return value.model_dump(mode="json", by_alias=True)
    if written(type(value)) is None:
        raise TypeError(f"JSON has nothing for {type(value).__name__}")
    return str(value.isoformat() if hasattr(value, "isoformat") else value)
