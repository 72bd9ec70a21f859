"""What every shape has: two directions, one way to say where a value does not fit, one place for names."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Protocol

from responses_ws._core.fields import printable
from responses_ws._shown import shorten, told

__all__ = [
    "NAMES",
    "REFERENCE",
    "Definitions",
    "JSONSchema",
    "Misfit",
    "Place",
    "Shape",
    "WrongType",
    "any_of",
    "at",
    "describe",
    "mismatch",
    "raised",
    "word",
]

JSONSchema = dict[str, Any]

NAMES: dict[type, tuple[str, str]] = {
    type(None): ("null", "null"),
    bool: ("boolean", "a boolean"),
    int: ("integer", "an integer"),
    float: ("number", "a number"),
    str: ("string", "a string"),
    list: ("array", "an array"),
    dict: ("object", "an object"),
}
"""What JSON calls the types of its values, and how that reads in a sentence."""


def word(value: object) -> str:
    """What a JSON value is, in a sentence that must not show it."""
    return NAMES[type(value)][1]


class Misfit(Exception):
    """A value is not of its shape.

    :ivar path: where, as in ``points[2].x``; empty for the whole value.
    :ivar fault: what is wrong there, without the value.
    """

    def __init__(self, path: str, fault: str) -> None:
        super().__init__(path, fault)
        self.path = path
        self.fault = fault

    def __str__(self) -> str:
        return f"{shorten(self.path)}: {self.fault}" if self.path else self.fault


class WrongType(Misfit):
    """A value of another JSON type: of all misfits, that which says least about what was meant."""


def at(path: str, name: str | int) -> str:
    """The path of an entry."""
    if isinstance(name, int):
        return f"{path}[{name}]"
    return f"{path}.{printable(name)}" if path else printable(name)


class Place:
    """Where in a document a value stands.

    :ivar path: as in ``points[2].x``; empty for the whole document.
    :ivar known: what was read in the document so far, or the :class:`Misfit`, by shape and value.
    """

    __slots__ = ("known", "path")

    def __init__(self, path: str = "", known: dict[Hashable, Any] | None = None) -> None:
        self.path = path
        self.known: dict[Hashable, Any] = {} if known is None else known

    def at(self, name: str | int) -> Place:
        """The place of an entry."""
        return Place(at(self.path, name), self.known)


class Shape(Protocol):
    """One type, both ways."""

    @property
    def label(self) -> str:
        """What a value must be, as in "expected an integer"."""
        ...

    def schema(self, definitions: Definitions, /) -> JSONSchema:
        """The JSON schema; that of a named type goes to the definitions, and a reference is returned."""
        ...

    def read(self, value: Any, place: Place, /) -> Any:
        """The Python value for one that was read from JSON. Raises :class:`Misfit`."""
        ...


def mismatch(shape: Shape, value: object, place: Place) -> WrongType:
    """A value of another type than the shape is written in."""
    return WrongType(place.path, f"expected {shape.label}, not {word(value)}")


def raised(error: Exception, path: str) -> Misfit:
    """What a constructor or a validator has against a value; of pydantic's faults the first."""
    if type(error).__module__.partition(".")[0] not in ("pydantic", "pydantic_core"):
        return Misfit(path, told(error))
    fault = error.errors()[0]  # type: ignore[attr-defined]  # the text of the error shows the value
    return Misfit(functools.reduce(at, fault["loc"], path), fault["msg"])


# -- definitions


REFERENCE = "#/$defs/"


class Definitions:
    """The named schemas of one document, and the way to refer to them."""

    def __init__(self) -> None:
        self.schemas: dict[str, JSONSchema] = {}
        self._names: dict[Hashable, str] = {}

    def name(self, key: Hashable, name: str, build: Callable[[], JSONSchema]) -> str:
        """The name of the schema of a key, which is built when it is first asked for."""
        known = self._names.get(key)
        if known is None:
            known = self._names[key] = self._free(name)
            self.schemas[known] = {}  # keeps the name while the schema refers to itself
            self.schemas[known] = build()
        return known

    def _free(self, name: str) -> str:
        numbered = (f"{name}_{number}" for number in itertools.count(2))
        return next(free for free in itertools.chain([name], numbered) if free not in self.schemas)


def describe(schema: JSONSchema, description: str) -> JSONSchema:
    """The schema with a description, which may not stand beside a reference."""
    if not description:
        return schema
    described = {"anyOf": [schema]} if "$ref" in schema else schema
    return {**described, "description": description}


def any_of(schemas: Iterable[JSONSchema]) -> JSONSchema:
    """The alternatives without doubles, those of alternatives included; the only one as it is."""
    distinct: list[JSONSchema] = []
    for schema in schemas:
        alternatives = schema["anyOf"] if schema.keys() == {"anyOf"} else [schema]
        distinct += [entry for entry in alternatives if entry not in distinct]
    return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}
