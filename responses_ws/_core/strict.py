"""JSON schemas of others (pydantic's) in the part of JSON Schema that the service's strict mode has.

Source: the service's guide on structured outputs, "Supported schemas".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from responses_ws._core.shape import REFERENCE, JSONSchema, any_of, describe
from responses_ws.errors import ConfigurationError

__all__ = ["FORMATS", "references", "renamed", "strict_schema"]

FORMATS = (
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
)
"""The formats of strings that the service knows."""

KEPT = (
    "type",
    "enum",
    "const",
    "pattern",
    "multipleOf",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "minItems",
    "maxItems",
)
"""Keywords that pass as they are. Others only narrow or annotate; what narrows is checked on the way back."""

ADVICE = "use strict=False"
IMPOSSIBLE = ("not", "if", "then", "else", "patternProperties", "dependentRequired", "dependentSchemas")


def strict_schema(schema: JSONSchema, where: str) -> JSONSchema:
    """The schema with every object closed and every field required; titles and defaults are left out.

    :param where: what the schema is of, for errors.

    Raises :class:`ConfigurationError` naming the field that strict mode cannot express.
    """
    for keyword in IMPOSSIBLE:
        if keyword in schema:
            raise ConfigurationError(f"{where}: strict mode has no {keyword!r}; {ADVICE}")
    return describe(_narrowed(schema, where), schema.get("description", ""))


def _narrowed(schema: JSONSchema, where: str) -> JSONSchema:
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    alternatives = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if alternatives:
        if "allOf" in schema and len(alternatives) > 1:
            raise ConfigurationError(f"{where}: strict mode has no 'allOf'; {ADVICE}")
        return any_of(strict_schema(each, where) for each in alternatives)
    if schema.get("type") == "object":
        return _object(schema, where)
    kept = {keyword: schema[keyword] for keyword in KEPT if keyword in schema}
    if schema.get("format") in FORMATS:
        kept["format"] = schema["format"]
    if schema.get("type") == "array":
        kept["items"] = _items(schema, where)
    if not kept:
        raise ConfigurationError(f"{where} takes anything, which strict mode does not have; {ADVICE}")
    return kept


def _items(schema: JSONSchema, where: str) -> JSONSchema:
    places = schema.get("prefixItems")
    if places:
        return any_of(strict_schema(each, where) for each in places)
    return strict_schema(schema.get("items", {}), where)


def _object(schema: JSONSchema, where: str) -> JSONSchema:
    if schema.get("additionalProperties"):
        raise ConfigurationError(f"{where} takes any names, which strict mode does not have; {ADVICE}")
    properties = {
        name: strict_schema(each, f"{where}.{name}") for name, each in schema.get("properties", {}).items()
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def references(schema: Any) -> Iterator[str]:
    """The names of the definitions that a schema refers to."""
    entries = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for entry in entries:
        yield from references(entry)
    name = _referred(schema)
    if name is not None:
        yield name


def renamed(schema: Any, rename: Callable[[str], str]) -> Any:
    """A copy whose references go to other names."""
    if isinstance(schema, list):
        return [renamed(entry, rename) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {keyword: renamed(entry, rename) for keyword, entry in schema.items()}
    name = _referred(schema)
    return copy if name is None else {**copy, "$ref": REFERENCE + rename(name)}


def _referred(schema: Any) -> str | None:
    target = schema.get("$ref") if isinstance(schema, dict) else None
    return target.removeprefix(REFERENCE) if isinstance(target, str) else None
