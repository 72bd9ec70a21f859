"""From a function to its arguments in JSON."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from responses_ws._core.annotations import Shapes
from responses_ws._core.docstring import read_docstring
from responses_ws._core.shapes import Record
from responses_ws.errors import ConfigurationError

__all__ = ["Signature"]


class Signature:
    """What a function says of itself: its name, its docstring and its parameters.

    Of functions, methods of an object, objects with ``__call__``, and :func:`functools.partial`, whose
    keywords do not count as parameters.

    :ivar name: that of what is called in the end; for an object with ``__call__``, that of its class.
    :ivar description: the docstring up to its first section, or an empty string.
    :ivar is_async: whether a call gives something that has to be awaited.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        owner = _owner(function)
        self._code = _code(owner)
        self.is_async = _is_async(owner)
        self.name = str(getattr(owner, "__name__", type(owner).__name__))
        self.description, self._descriptions = read_docstring(self._code.__doc__ or owner.__doc__)
        self._parameters = self._free(function)

    def takes_text(self) -> bool:
        """Whether the function can be called with one positional argument and nothing else."""
        try:
            inspect.Signature(self._parameters).bind("")
        except TypeError:
            return False
        return True

    def arguments(self, *, strict: bool) -> Record:
        """The shape of the arguments: read from a JSON object to positional and named ones.

        Raises :class:`ConfigurationError` naming the parameter that cannot be described.
        """
        place = f"{self.name}({{}})"
        fields = Shapes(strict=strict).fields(self._parameters, self._annotation, self._descriptions, place)
        return Record(self._arranged, tuple(fields), strict)

    def _free(self, function: Callable[..., Any]) -> list[inspect.Parameter]:
        try:
            found = inspect.signature(function).parameters
        except (TypeError, ValueError):
            raise ConfigurationError(f"{self.name} does not tell its parameters") from None
        bound = function.keywords if isinstance(function, functools.partial) else {}
        return [parameter for name, parameter in found.items() if name not in bound]

    def _annotation(self, parameter: inspect.Parameter) -> Any:
        """Without strings in it. Parameters are taken one by one, so that the error can name its own."""
        holder = types.SimpleNamespace(__annotations__={"it": parameter.annotation})
        names = getattr(self._code, "__globals__", {})
        try:
            return typing.get_type_hints(holder, names, include_extras=True)["it"]
        except Exception as error:  # whatever evaluating an annotation raises
            raise ConfigurationError(
                f"{self.name}({parameter.name}): the annotation cannot be resolved in its module: {error}"
            ) from error

    def _arranged(self, values: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        args = [
            values.pop(parameter.name, parameter.default)
            for parameter in self._parameters
            if parameter.kind is parameter.POSITIONAL_ONLY
        ]
        return args, values


def _owner(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _code(owner: Any) -> Any:
    """The function as it was defined, under its decorators."""
    function = _called(inspect.unwrap(owner))
    return inspect.unwrap(getattr(function, "__func__", function))


def _is_async(owner: Any) -> bool:
    """Of what is called itself: a decorator may well make an async function a plain one."""
    called = _called(owner)
    return inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called)


def _called(owner: Any) -> Any:
    return owner if inspect.isroutine(owner) else type(owner).__call__
