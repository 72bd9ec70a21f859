"""From annotations and classes to shapes."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from responses_ws._core.docstring import read_docstring
from responses_ws._core.models import Model, is_model
from responses_ws._core.shape import Definitions, Shape
from responses_ws._core.shapes import (
    ANYTHING,
    BOOLEAN,
    INTEGER,
    NULL,
    NUMBER,
    STRING,
    Array,
    Choice,
    Described,
    Dictionary,
    Field,
    Named,
    Record,
    Tuple,
    Union,
)
from responses_ws._core.written import enum_values, written
from responses_ws._shown import shown
from responses_ws.errors import ConfigurationError

__all__ = ["Shapes", "type_name"]

SCALARS: dict[Any, Shape] = {
    bool: BOOLEAN,
    int: INTEGER,
    float: NUMBER,
    str: STRING,
    None: NULL,
    type(None): NULL,
}
COLLECTIONS: dict[Any, Callable[[list[Any]], Any]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
    collections.abc.MutableSequence: list,
    collections.abc.MutableSet: set,
    collections.abc.Sequence: list,
    collections.abc.Set: set,
}
DICTIONARIES = frozenset({dict, collections.abc.Mapping, collections.abc.MutableMapping})
CONTAINERS = (dict, frozenset, list, set, tuple)
QUALIFIERS = ("Required", "NotRequired", "ReadOnly")
QUALIFIED = {"Required": True, "NotRequired": False}
LITERALS = (str, int, bool, type(None))
WRITTEN_BY = ("builtins", "dataclasses", "types", "typing", "typing_extensions")


def type_name(annotation: Any) -> str:
    """What a type is called, in characters that the service takes for names; empty when it has no name."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", getattr(annotation, "__name__", ""))


class Shapes:
    """The shapes of the types of one document.

    Where a type has no shape, :class:`ConfigurationError` names the place.

    :param strict: for the service's strict mode, which has neither free names nor "anything".
    """

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self._named: dict[Any, Named] = {}

    def of(self, annotation: Any, where: str) -> Shape:
        """The shape of an annotation without strings in it.

        :param where: what is annotated, for errors.
        """
        origin = typing.get_origin(annotation)
        if origin is not None:
            return self._parametrized(origin, typing.get_args(annotation), annotation, where)
        if not _is_hashable(annotation):
            raise _unknown(annotation, where)
        if annotation in SCALARS:
            return SCALARS[annotation]
        return self._plain(annotation, where)

    def _plain(self, annotation: Any, where: str) -> Shape:
        if annotation is Any or annotation is object:
            return self._anything(where)
        if annotation is tuple or annotation in COLLECTIONS or annotation in DICTIONARIES:
            return self._parametrized(annotation, (), annotation, where)
        if isinstance(annotation, typing.NewType):
            return self.of(annotation.__supertype__, where)
        if type(annotation).__name__ == "TypeAliasType":
            return self._once(annotation, lambda: self.of(_meaning(annotation, where), where))
        if isinstance(annotation, type):
            return self._class(annotation, where)
        raise _unknown(annotation, where)

    def fields(
        self,
        parameters: Iterable[inspect.Parameter],
        annotation: Callable[[inspect.Parameter], Any],
        descriptions: Mapping[str, str],
        where: str,
    ) -> Iterator[Field]:
        """What may be given to a function or class.

        :param where: the name of each, with ``{}`` for that of the parameter.
        """
        for parameter in parameters:
            name = parameter.name
            place = where.format(name)
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise ConfigurationError(f"{place}: name each parameter instead of {parameter}")
            if parameter.annotation is parameter.empty:
                raise ConfigurationError(f"{place} needs a type annotation")
            shape = self.of(annotation(parameter), place)
            optional = parameter.default is not parameter.empty
            yield _field(name, shape, optional, descriptions.get(name, ""))

    # -- annotations with arguments

    def _parametrized(self, origin: Any, arguments: tuple[Any, ...], annotation: Any, where: str) -> Shape:
        if origin is typing.Annotated:
            return self._annotated(arguments, where)
        if origin is Literal:
            return Choice((value, _literal(value, where)) for value in arguments)
        if origin in (typing.Union, types.UnionType):
            return Union(tuple(self.of(argument, where) for argument in arguments))
        if origin is tuple:
            return self._tuple(arguments, annotation, where)
        if len(arguments) not in (0, 2 if origin in DICTIONARIES else 1):  # Python takes any number for list
            raise _unknown(annotation, where)
        if origin in COLLECTIONS:
            return Array(self.of(arguments[0] if arguments else Any, where), COLLECTIONS[origin])
        if origin in DICTIONARIES:
            return self._dictionary(arguments or (str, Any), where)
        raise _unknown(annotation, where)

    def _annotated(self, arguments: tuple[Any, ...], where: str) -> Shape:
        shape = self.of(arguments[0], where)
        description = next(filter(None, map(_description, arguments[1:])), "")
        return Described(shape, description) if description else shape

    def _tuple(self, arguments: tuple[Any, ...], annotation: Any, where: str) -> Shape:
        if annotation is tuple or arguments[1:] == (...,):
            return Array(self.of(arguments[0] if arguments else Any, where), tuple)
        if not arguments:
            raise _unknown(annotation, where)
        return Tuple(tuple(self.of(argument, where) for argument in arguments))

    def _dictionary(self, arguments: tuple[Any, ...], where: str) -> Shape:
        if self.strict:
            raise ConfigurationError(
                f"{where} takes any names, which strict mode does not have; use strict=False or a dataclass"
            )
        keys = self.of(arguments[0], where)
        while isinstance(keys, Named):
            keys = keys.shape
        if keys.schema(Definitions()).get("type") != "string":
            raise ConfigurationError(f"{where}: the names in a JSON object are strings, not {keys.label}")
        return Dictionary(keys, self.of(arguments[1], where))

    def _anything(self, where: str) -> Shape:
        if self.strict:
            raise ConfigurationError(
                f"{where} takes anything, which strict mode does not have; use strict=False or name the types"
            )
        return ANYTHING

    # -- classes

    def _class(self, cls: type, where: str) -> Shape:
        if issubclass(cls, enum.Enum) and len(cls):
            return Choice(enum_values(cls).items())
        if is_model(cls):
            return Model(cls, type_name(cls), strict=self.strict)
        if issubclass(cls, dict) and hasattr(cls, "__total__"):
            return self._once(cls, lambda: self._typed_dict(cls))
        if dataclasses.is_dataclass(cls) or (issubclass(cls, tuple) and hasattr(cls, "_fields")):
            return self._once(cls, lambda: self._record(cls))
        shape = written(cls)
        if shape is None:
            raise _unknown(cls, where)
        return shape

    def _once(self, annotation: Any, shape: Callable[[], Shape]) -> Named:
        if annotation not in self._named:
            named = self._named[annotation] = Named(type_name(annotation))
            named.shape = shape()
        return self._named[annotation]

    def _record(self, cls: Any) -> Record:
        parameters = inspect.signature(cls).parameters
        hints = _hints(cls)
        if not parameters.keys() <= hints.keys():  # it has a constructor of its own
            hints |= _hints(cls.__init__)
        description, descriptions = read_docstring(_own_docstring(cls))
        fields = self.fields(
            parameters.values(),
            lambda parameter: hints.get(parameter.name, parameter.annotation),
            descriptions,
            f"{cls.__name__}.{{}}",
        )
        return Record(functools.partial(_made, cls), tuple(fields), self.strict, description)

    def _typed_dict(self, cls: Any) -> Record:
        description, descriptions = read_docstring(_own_docstring(cls))
        fields = []
        for name, hint in _hints(cls).items():
            inner, required = _unqualified(hint, name in cls.__required_keys__)
            shape = self.of(inner, f"{cls.__name__}.{name}")
            fields.append(_field(name, shape, not required, descriptions.get(name, "")))
        return Record(dict, tuple(fields), self.strict, description)


def _made(cls: Any, values: dict[str, Any]) -> Any:
    """No lambda, so that a schema can be pickled."""
    return cls(**values)


def _field(name: str, shape: Shape, optional: bool, description: str) -> Field:
    """A description in the annotation counts more than the docstring's."""
    if isinstance(shape, Described):
        return Field(name, shape.shape, optional, shape.description)
    return Field(name, shape, optional, description)


def _is_hashable(annotation: Any) -> bool:
    """All the way down, which its class does not tell: a tuple may hold anything."""
    try:
        hash(annotation)
    except Exception:
        return False
    return True


def _hints(owner: Any) -> dict[str, Any]:
    """Of a class or a function."""
    name = owner.__name__
    try:
        return typing.get_type_hints(owner, localns={name: owner}, include_extras=True)
    except Exception as error:  # whatever evaluating an annotation raises
        raise ConfigurationError(f"the annotations of {name} cannot be resolved: {error}") from error


def _meaning(alias: Any, where: str) -> Any:
    """The type that an alias stands for, which Python evaluates when it is asked for."""
    try:
        return alias.__value__
    except Exception as error:  # whatever evaluating it raises
        raise ConfigurationError(f"{where}: {alias.__name__} cannot be resolved: {error}") from error


def _own_docstring(cls: type) -> str | None:
    """Neither an inherited one nor that which dataclasses and named tuples are given."""
    docstring = vars(cls).get("__doc__")
    return None if (docstring or "").startswith(f"{cls.__name__}(") else docstring


def _unqualified(hint: Any, required: bool) -> tuple[Any, bool]:
    """The hint inside of ``Required`` and the like, which count more than the class.

    Python 3.10 does not see them in hints that are strings, and knows only those of typing_extensions.
    """
    if typing.get_origin(hint) is typing.Annotated:
        inside, *metadata = typing.get_args(hint)
        inside, required = _unqualified(inside, required)
        return typing.Annotated[(inside, *metadata)], required
    qualifier = getattr(typing.get_origin(hint), "_name", None)
    if qualifier not in QUALIFIERS:
        return hint, required
    return _unqualified(typing.get_args(hint)[0], QUALIFIED.get(qualifier, required))


def _literal(value: Any, where: str) -> Any:
    if isinstance(value, enum.Enum):
        return enum_values(type(value))[value]
    if type(value) not in LITERALS:
        raise ConfigurationError(f"{where}: JSON has no literal {type(value).__name__}")
    return value


def _description(metadata: Any) -> str:
    """A string, or what pydantic's ``Field`` or the ``Doc`` of typing_extensions holds."""
    if isinstance(metadata, str):
        return metadata
    found = getattr(metadata, "description", None) or getattr(metadata, "documentation", None)
    return found if isinstance(found, str) else ""


def _unknown(annotation: Any, where: str) -> ConfigurationError:
    return ConfigurationError(f"{where}: {_shown(annotation)} has no JSON schema")


def _shown(annotation: Any) -> str:
    """What has a name by that, and what typing has as it is written; of any other object only its type.

    For it may hold a secret, and may raise whatever it is asked.
    """
    cls = type(annotation)
    if isinstance(annotation, type) or inspect.isroutine(annotation):
        return annotation.__qualname__
    if cls.__module__ in WRITTEN_BY and cls not in CONTAINERS:
        return getattr(annotation, "__qualname__", None) or shown(annotation)
    return f"an object of type {cls.__qualname__}"
