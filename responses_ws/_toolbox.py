"""The tools of a chat: functions that it runs, and definitions of what the service or the caller runs."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from responses_ws._core.fields import mapping, mappings, text
from responses_ws._core.options import copied
from responses_ws.errors import ConfigurationError
from responses_ws.tools import Tool

__all__ = ["AnyTool", "Toolbox"]

AnyTool = Tool | Callable[..., Any] | Mapping[str, Any]
"""A function, or the definition of a tool as the service takes it."""

CONFIDENTIAL = ("authorization", "headers", "domain_secrets")
"""The fields of definitions that hold credentials."""


class Toolbox:
    """Tools in the order in which they are offered. Immutable.

    :ivar functions: those that the chat runs, by name.
    :ivar definitions: what the service is told of all of them.
    """

    def __init__(self, tools: Iterable[AnyTool] = ()) -> None:
        self.functions: dict[str, Tool] = {}
        self.definitions: list[Mapping[str, Any]] = []
        if isinstance(tools, (str, Mapping)) or not isinstance(tools, Iterable):
            raise ConfigurationError(f"tools must be a list of tools, not {type(tools).__name__}")
        for index, given in enumerate(tools):
            self._add(f"tools[{index}]", given)
        self._elsewhere = set(_names(made for made in self.definitions if not self._runs(made)))
        for name in sorted(self._elsewhere & self.functions.keys()):
            raise ConfigurationError(f"tools has a function and a definition of the name {name!r}")

    def runs(self, name: str | None) -> bool:
        """Whether a call of this name is this chat's to answer: nobody else knows the tool."""
        return name not in self._elsewhere

    def to_list(self) -> list[dict[str, Any]]:
        """The tools as plain values for JSON: functions by their names, definitions without credentials."""
        return [_stored(made, is_function=self._runs(made)) for made in self.definitions]

    @classmethod
    def from_list(cls, stored: Iterable[Mapping[str, Any]], given: Iterable[AnyTool]) -> Toolbox:
        """The tools that were stored, with the functions given again, and after them whatever else is given.

        Raises :class:`ConfigurationError` naming a tool that is missing.
        """
        box = cls(given)
        left: dict[str, deque[AnyTool]] = {}
        for made in box.definitions:  # several may have one label, such as searches in different files
            left.setdefault(_label(made), deque()).append(box._tool(made))
        tools: list[AnyTool] = [_restored(mapping(entry), left) for entry in stored]
        return cls([*tools, *chain.from_iterable(left.values())])

    def _add(self, where: str, given: AnyTool) -> None:
        if isinstance(given, Mapping):
            self.definitions.append(copied(where, dict(given)))
            return
        tool = Tool.of(given)
        if tool.name in self.functions:
            raise ConfigurationError(f"tools has two functions of the name {tool.name!r}")
        self.functions[tool.name] = tool
        self.definitions.append(tool.definition)

    def _runs(self, definition: Mapping[str, Any]) -> bool:
        return self._tool(definition) is not definition

    def _tool(self, definition: Mapping[str, Any]) -> Tool | Mapping[str, Any]:
        """The function that a definition is of, or the definition itself."""
        tool = self.functions.get(text(definition.get("name")) or "")
        return tool if tool is not None and tool.definition is definition else definition


def _names(definitions: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What calls may name: the names in definitions, and those inside of a namespace in place of its own."""
    for made in definitions:
        name = text(made.get("name"))
        if name is not None and made.get("type") != "namespace":
            yield name
        yield from _names(mappings(made.get("tools")))


def _stored(definition: Mapping[str, Any], *, is_function: bool) -> dict[str, Any]:
    if is_function:
        return {"function": definition["name"], "label": _label(definition)}
    if _is_confidential(definition):
        return {"confidential": _label(definition), "label": _label(definition)}
    return {"definition": copy.deepcopy(dict(definition)), "label": _label(definition)}


def _restored(entry: Mapping[str, Any], left: Mapping[str, deque[AnyTool]]) -> AnyTool:
    given = left.get(text(entry.get("label")) or "")
    if given:
        return given.popleft()
    if "definition" in entry:
        return mapping(entry["definition"])
    if function := text(entry.get("function")):
        raise ConfigurationError(f"tools lacks the function {function!r} of the stored chat")
    if confidential := text(entry.get("confidential")):
        raise ConfigurationError(
            f"tools lacks {confidential!r} of the stored chat: no credentials are stored, so give it again"
        )
    raise ConfigurationError("tools of the stored chat cannot be read")


def _label(definition: Mapping[str, Any]) -> str:
    """What tells a tool from others: its type, with its name where it has one."""
    name = text(definition.get("server_label")) or text(definition.get("name"))
    return f"{text(definition.get('type')) or ''} {name or ''}".strip()


def _is_confidential(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(
            (name in CONFIDENTIAL and bool(inside)) or _is_confidential(inside)
            for name, inside in value.items()
        )
    return isinstance(value, (list, tuple)) and any(_is_confidential(inside) for inside in value)
