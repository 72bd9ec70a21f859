"""Pydantic models as shapes. Pydantic is never imported: a model is known by its methods."""

from __future__ import annotations

import json
from typing import Any

from responses_ws._core.shape import REFERENCE, Definitions, JSONSchema, Place, raised
from responses_ws._core.strict import renamed, strict_schema
from responses_ws._shown import told
from responses_ws.errors import ConfigurationError

__all__ = ["Model", "is_model"]


METHODS = ("model_json_schema", "model_validate_json", "model_dump")


def is_model(value: object) -> bool:
    """Whether this is a pydantic model, class or instance."""
    return all(hasattr(value, method) for method in METHODS)


class Model:
    """A pydantic model: its own JSON schema, and its own validation.

    A field with a default is required in strict mode, as the model does not take null for it.

    :ivar label: its name, in characters that the service takes for names.
    """

    def __init__(self, model: Any, label: str, *, strict: bool) -> None:
        self.model = model
        self.label = label
        self.strict = strict

    def schema(self, definitions: Definitions) -> JSONSchema:
        schema = self._own_schema()
        schemas = schema.pop("$defs", {})
        document = json.dumps(schemas)  # one name may mean different things in different documents

        def name(local: str) -> str:
            return definitions.name((local, document), local, lambda: finished(schemas[local]))

        def finished(body: JSONSchema) -> Any:
            return renamed(strict_schema(body, self.label) if self.strict else body, name)

        if "$ref" in schema:
            return dict(renamed(schema, name))
        return {"$ref": REFERENCE + definitions.name(self.model, self.label, lambda: finished(schema))}

    def _own_schema(self) -> JSONSchema:
        try:
            return dict(self.model.model_json_schema())
        except Exception as error:  # pydantic has a class for each reason
            reason = told(error).partition("\n")[0]
            raise ConfigurationError(f"{self.label} has no JSON schema: {reason}") from error

    def read(self, value: Any, place: Place) -> Any:
        try:
            return self.model.model_validate_json(json.dumps(value, allow_nan=False))
        except Exception as error:
            raise raised(error, place.path) from None
