"""How Python values are written in JSON: each shape gives its JSON schema, and reads a value of it back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from responses_ws._core.fields import printable
from responses_ws._core.shape import (
    NAMES,
    REFERENCE,
    Definitions,
    JSONSchema,
    Misfit,
    Place,
    Shape,
    WrongType,
    any_of,
    describe,
    mismatch,
    raised,
)
from responses_ws._shown import shorten

__all__ = [
    "ANYTHING",
    "BOOLEAN",
    "INTEGER",
    "NULL",
    "NUMBER",
    "STRING",
    "Array",
    "Choice",
    "Described",
    "Dictionary",
    "Field",
    "Named",
    "Record",
    "Scalar",
    "Tuple",
    "Union",
    "Written",
]

# -- single values


@dataclass(frozen=True)
class Scalar:
    """A value that JSON has itself."""

    python: type

    @property
    def label(self) -> str:
        return NAMES[self.python][1]

    def schema(self, _definitions: Definitions) -> JSONSchema:
        return {"type": NAMES[self.python][0]}

    def read(self, value: Any, place: Place) -> Any:
        if self.python is float and type(value) in (int, float):
            return self._float(value, place)
        if type(value) is self.python:
            return value
        if self.python is int and type(value) is float and value.is_integer():  # 5.0 is an integer to JSON
            return int(value)
        raise mismatch(self, value, place)

    def _float(self, value: float, place: Place) -> float:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isinf(number):  # as Python reads 1e999
            raise Misfit(place.path, "the number is too large")
        return number


NULL = Scalar(type(None))
BOOLEAN = Scalar(bool)
INTEGER = Scalar(int)
NUMBER = Scalar(float)
STRING = Scalar(str)


@dataclass(frozen=True)
class Anything:
    """Any JSON value, as it is."""

    label = "any value"

    def schema(self, _definitions: Definitions) -> JSONSchema:
        return {}

    def read(self, value: Any, _place: Place) -> Any:
        return value


ANYTHING = Anything()


@dataclass(frozen=True)
class Written:
    """A value that is written as text.

    :ivar format: the format that the service knows the text by (JSON Schema, 7.3), or None.
    :ivar from_text: raises an Exception for a text that is none.
    """

    name: str
    format: str | None
    from_text: Callable[[str], Any]

    @property
    def label(self) -> str:
        return f"a string with a {self.format or self.name}"

    def schema(self, _definitions: Definitions) -> JSONSchema:
        return {"type": "string", "format": self.format} if self.format else {"type": "string"}

    def read(self, value: Any, place: Place) -> Any:
        if type(value) is not str:
            raise mismatch(self, value, place)
        try:
            return self.from_text(value)
        except Exception:  # ValueError mostly, but the class may be the caller's
            raise Misfit(place.path, f"expected {self.label}, not another text") from None


class Choice:
    """One of a few values, each with what stands for it in JSON; of two with the same, the first."""

    def __init__(self, choices: Iterable[tuple[Any, Any]]) -> None:
        self._values: dict[tuple[bool, Any], Any] = {}
        for value, written in choices:
            self._values.setdefault(_identity(written), value)
        self._written = [written for _, written in self._values]

    @property
    def label(self) -> str:
        return f"one of {', '.join(map(repr, self._written))}"

    def schema(self, _definitions: Definitions) -> JSONSchema:
        types = list(dict.fromkeys(NAMES[type(written)][0] for written in self._written))
        return {"type": types[0] if len(types) == 1 else types, "enum": self._written}

    def read(self, value: Any, place: Place) -> Any:
        try:
            return self._values[_identity(value)]
        except (KeyError, TypeError):  # a list or an object is not hashable
            raise Misfit(place.path, f"expected {self.label}") from None


def _identity(value: Any) -> tuple[bool, Any]:
    """To JSON, 1 and 1.0 are the same, but 1 and true are not."""
    return type(value) is bool, value


# -- values of values


@dataclass(frozen=True)
class Array:
    """Any number of values of one shape.

    :ivar build: makes the collection of the values; raises where a set cannot hold them.
    """

    items: Shape
    build: Callable[[list[Any]], Any]
    label = "an array"

    def schema(self, definitions: Definitions) -> JSONSchema:
        return {"type": "array", "items": self.items.schema(definitions)}

    def read(self, value: Any, place: Place) -> Any:
        if type(value) is not list:
            raise mismatch(self, value, place)
        entries = [self.items.read(entry, place.at(index)) for index, entry in enumerate(value)]
        try:
            return self.build(entries)
        except Exception as error:  # TypeError mostly, but the hash may be the caller's
            raise raised(error, place.path) from None


@dataclass(frozen=True)
class Tuple:
    """As many values as there are shapes. The service has no schema by place, so any may stand anywhere."""

    shapes: tuple[Shape, ...]

    @property
    def label(self) -> str:
        return f"an array of {len(self.shapes)}"

    def schema(self, definitions: Definitions) -> JSONSchema:
        size = {"minItems": len(self.shapes), "maxItems": len(self.shapes)}
        return {"type": "array", "items": any_of(shape.schema(definitions) for shape in self.shapes), **size}

    def read(self, value: Any, place: Place) -> Any:
        if type(value) is not list:
            raise mismatch(self, value, place)
        if len(value) != len(self.shapes):
            raise Misfit(place.path, f"expected {self.label}, not of {len(value)}")
        entries = enumerate(zip(self.shapes, value, strict=True))
        return tuple(shape.read(entry, place.at(index)) for index, (shape, entry) in entries)


@dataclass(frozen=True)
class Dictionary:
    """An object with any names. Strict mode has none."""

    keys: Shape
    values: Shape
    label = "an object"

    def schema(self, definitions: Definitions) -> JSONSchema:
        return {"type": "object", "additionalProperties": self.values.schema(definitions)}

    def read(self, value: Any, place: Place) -> Any:
        if type(value) is not dict:
            raise mismatch(self, value, place)
        return {
            self.keys.read(name, place.at(name)): self.values.read(entry, place.at(name))
            for name, entry in value.items()
        }


@dataclass(frozen=True)
class Union:
    """The first of the shapes that a value fits; of ``int`` and ``float`` the one that a number is."""

    shapes: tuple[Shape, ...]

    @property
    def label(self) -> str:
        labels = list(dict.fromkeys(shape.label for shape in self.shapes))
        return " or ".join(labels)

    def schema(self, definitions: Definitions) -> JSONSchema:
        return any_of(shape.schema(definitions) for shape in self.shapes)

    def read(self, value: Any, place: Place) -> Any:
        misfits = []
        for shape in self._by_likeness(value):
            try:
                return shape.read(value, place)
            except Misfit as misfit:
                misfits.append(misfit)
        telling = [
            misfit for misfit in misfits if misfit.path != place.path or not isinstance(misfit, WrongType)
        ]
        raise max(telling, key=lambda misfit: len(misfit.path), default=mismatch(self, value, place))

    def _by_likeness(self, value: Any) -> Sequence[Shape]:
        if type(value) not in (int, float):
            return self.shapes
        own, other = (INTEGER, NUMBER) if type(value) is int else (NUMBER, INTEGER)
        return sorted(self.shapes, key=lambda shape: shape == other) if own in self.shapes else self.shapes


@dataclass(frozen=True)
class Described:
    """A shape with a description of its own."""

    shape: Shape
    description: str

    @property
    def label(self) -> str:
        return self.shape.label

    def schema(self, definitions: Definitions) -> JSONSchema:
        return describe(self.shape.schema(definitions), self.description)

    def read(self, value: Any, place: Place) -> Any:
        return self.shape.read(value, place)


# -- records


@dataclass(frozen=True)
class Field:
    """One named value of a record.

    :ivar optional: it may be left out. Strict mode has every field required, so null stands for that there,
        unless the shape has null itself.
    """

    name: str
    shape: Shape
    optional: bool = False
    description: str = ""


@dataclass(frozen=True)
class Record:
    """An object with known names.

    :ivar build: makes the value from those that were given, by name.
    """

    build: Callable[[dict[str, Any]], Any]
    fields: tuple[Field, ...]
    strict: bool
    description: str = ""
    label = "an object"

    def schema(self, definitions: Definitions) -> JSONSchema:
        schema: JSONSchema = {
            "type": "object",
            "properties": {each.name: self._property(each, definitions) for each in self.fields},
            "required": [each.name for each in self.fields if self.strict or not each.optional],
            "additionalProperties": False,
        }
        return describe(schema, self.description)

    def _property(self, each: Field, definitions: Definitions) -> JSONSchema:
        shape = Union((each.shape, NULL)) if each.optional and self.strict else each.shape
        return describe(shape.schema(definitions), each.description)

    def read(self, value: Any, place: Place) -> Any:
        if type(value) is not dict:
            raise mismatch(self, value, place)
        names = {each.name for each in self.fields}
        for name in value:
            if name not in names:
                raise Misfit(place.path, f"there is no field {shorten(printable(name))!r}")
        values = dict(self._given(value, place))
        try:
            return self.build(values)
        except Exception as error:
            raise raised(error, place.path) from None

    def _given(self, value: Mapping[str, Any], place: Place) -> Iterator[tuple[str, Any]]:
        for each in self.fields:
            if each.name not in value:
                if not each.optional:
                    raise Misfit(place.path, f"the field {each.name!r} is missing")
                continue
            entry = value[each.name]
            try:
                yield each.name, each.shape.read(entry, place.at(each.name))
            except Misfit:
                if entry is not None or not each.optional:
                    raise


class Named:
    """A type that has a name, and may hold itself: its schema stands among the definitions.

    :ivar shape: set once the shape is known; anything while the type is looked at.
    """

    shape: Shape = ANYTHING

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def label(self) -> str:
        return self.name

    def schema(self, definitions: Definitions) -> JSONSchema:
        name = definitions.name(self, self.name, lambda: self.shape.schema(definitions))
        return {"$ref": REFERENCE + name}

    def read(self, value: Any, place: Place) -> Any:
        """Arrays and objects are read once: unions inside of unions come to each of them ever more often."""
        if type(value) not in (dict, list):
            return self.shape.read(value, place)
        key = (self, id(value))
        if key not in place.known:
            try:
                place.known[key] = self.shape.read(value, place)
            except Misfit as misfit:
                place.known[key] = misfit
        found = place.known[key]
        if isinstance(found, Misfit):
            raise found.with_traceback(None)
        return found
