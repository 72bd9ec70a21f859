"""Structured output: a type as the ``text.format`` of a request, and the answer as a value of that type."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from typing import Any

from responses_ws._core.annotations import Shapes, type_name
from responses_ws._core.options import check_type, copied
from responses_ws._core.parser import parse_exactly
from responses_ws._core.shape import REFERENCE, Definitions, JSONSchema, Misfit, Place, Shape
from responses_ws._core.shapes import ANYTHING, Field, Record
from responses_ws._core.strict import references
from responses_ws._shown import shown
from responses_ws.errors import ConfigurationError, ProtocolError, SchemaError

__all__ = ["Schema", "check_name", "document", "read"]

WRAPPED = "value"
"""The only field of the object that stands around an answer that is no object."""


class Schema:
    """What the answer must be. Immutable; safe to share between threads. A copy is as good, and so is what
    was pickled where the type can be.

    :param type: a dataclass, TypedDict, NamedTuple, pydantic model, enum, Literal, list, union of these and
        the like; or a JSON schema, which is sent as it is.
    :param name: letters, digits, ``_`` and ``-``, at most 64; by default that of the type.
    :param description: what the answer is for; the docstring of the type is in the schema anyway.
    :param strict: that the service holds the model to the schema; it cannot with free names and ``Any``.

    Raises :class:`ConfigurationError` naming what has no schema.

    :ivar format: the value of ``text.format``.
    """

    def __init__(
        self, type: Any, *, name: str | None = None, description: str | None = None, strict: bool = True
    ) -> None:
        check_type("description", description, str)
        check_type("strict", strict, bool)
        if isinstance(type, Mapping):
            self._shape: Shape = ANYTHING
            schema = copied("type", dict(type))
        else:
            self._shape, schema = _root(Shapes(strict=strict).of(type, "type"), strict)
        self.format: dict[str, Any] = {
            "type": "json_schema",
            "name": check_name(type_name(type)[:64] or "answer" if name is None else name, 64),
            "schema": schema,
            "strict": strict,
        }
        if description is not None:
            self.format["description"] = description

    def parse(self, text: str) -> Any:
        """The value of an answer: of the type, or the JSON object where a JSON schema was given.

        Raises :class:`SchemaError` naming the place that does not fit, and never showing the answer.
        """
        try:
            return read(self._shape, text)
        except Misfit as misfit:
            raise SchemaError(f"the answer does not fit the schema: {misfit}") from None


def _root(shape: Shape, strict: bool) -> tuple[Shape, JSONSchema]:
    """With an object around what is none: the service wants one."""
    schema = document(shape)
    if schema.get("type") == "object":
        return shape, schema
    wrapped = Record(operator.itemgetter(WRAPPED), (Field(WRAPPED, shape),), strict)
    return wrapped, document(wrapped)


def document(shape: Shape) -> JSONSchema:
    """The whole schema: the root, which strict mode does not want as a reference, and what it refers to."""
    definitions = Definitions()
    root = shape.schema(definitions)
    if "$ref" in root:
        root = definitions.schemas[root["$ref"].removeprefix(REFERENCE)]
    used = _used(root, definitions.schemas)
    return {**root, "$defs": used} if used else root


def _used(root: JSONSchema, schemas: Mapping[str, JSONSchema]) -> dict[str, JSONSchema]:
    used: set[str] = set()
    new = set(references(root))
    while new:
        used |= new
        new = {name for known in new for name in references(schemas[known])} - used
    return {name: schema for name, schema in schemas.items() if name in used}


def read(shape: Shape, text: str) -> Any:
    """The value that a text by the model holds, a JSON object. Raises :class:`Misfit`."""
    try:
        return shape.read(parse_exactly(text.encode("utf-8", "replace")), Place())
    except RecursionError:
        fault = "what the model wrote is nested too deeply"
    except ProtocolError as error:
        fault = str(error).replace("the server sent a message that", "what the model wrote")
    raise Misfit("", fault)


def check_name(name: object, longest: int) -> str:
    """Refuse what the service does not take for a name."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", name) or len(name) > longest:
        raise ConfigurationError(
            f"name must be 1 to {longest} letters, digits, underscores and dashes, not {shown(name)}"
        )
    return name
