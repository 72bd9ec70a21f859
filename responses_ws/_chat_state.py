"""A chat as plain values: what another process needs to go on with it."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from responses_ws._chat_options import TRANSPORTS, ChatOptions, ToolLimits, as_schema
from responses_ws._core.continuation import Ledger
from responses_ws._core.fields import count, mapping, mappings, text
from responses_ws._core.items import Item
from responses_ws._shown import shown
from responses_ws._toolbox import AnyTool, Toolbox
from responses_ws.errors import ConfigurationError
from responses_ws.messages import Usage

__all__ = ["ChatState", "ledger_of", "reading"]

VERSION = 1


@contextlib.contextmanager
def _reading_depths() -> Iterator[None]:
    """JSON may be nested deeper than Python can copy."""
    try:
        yield
    except RecursionError:
        raise ConfigurationError("data is nested too deeply") from None


@dataclass(frozen=True, slots=True)
class ChatState:
    """What is kept of a chat. No key and no address is: they belong to the process.

    :ivar answers: outputs of tools that were not sent yet.
    :ivar usage: of all responses so far.
    """

    options: ChatOptions
    ledger: Ledger
    answers: list[Item]
    usage: Usage

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        options = self.options
        return {
            "version": VERSION,
            "model": options.model,
            "instructions": options.instructions,
            "tools": options.toolbox.to_list(),
            "params": copy.deepcopy(dict(options.params)),
            "schema": None if options.schema is None else options.schema.format["name"],
            "transport": options.transport,
            "limits": asdict(options.limits),
            "eager_tools": options.eager_tools,
            "ledger": self.ledger.to_dict(),
            "answers": copy.deepcopy(self.answers),
            "usage": asdict(self.usage),
        }

    @classmethod
    @_reading_depths()
    def from_dict(cls, data: Mapping[str, Any], tools: Iterable[AnyTool], schema: Any) -> ChatState:
        """What :meth:`to_dict` gave, with its functions and its schema given again.

        Raises :class:`ConfigurationError` naming what is missing, or what cannot be read.
        """
        ledger = ledger_of(data)
        name = text(data.get("schema"))
        if schema is None and name is not None:
            raise ConfigurationError(f"schema: the stored chat has {name!r}; give it again")
        options = ChatOptions(
            data.get("model", ""),
            toolbox=Toolbox.from_list(mappings(data.get("tools")), tools),
            instructions=data.get("instructions"),
            params=copy.deepcopy(mapping(data.get("params"))),
            schema=as_schema(schema),
            transport=_transport(data.get("transport")),
            limits=_limits(mapping(data.get("limits"))),
            eager_tools=data.get("eager_tools") is True,
        )
        usage = {name: count(value) for name, value in _known(Usage, mapping(data.get("usage"))).items()}
        answers = copy.deepcopy(mappings(data.get("answers")))
        return cls(options, ledger, answers, Usage(**usage))


@_reading_depths()
def ledger_of(data: Mapping[str, Any]) -> Ledger:
    """The history in what :meth:`ChatState.to_dict` gave. Raises :class:`ConfigurationError`."""
    _check_version(data)
    return Ledger.from_dict(mapping(data.get("ledger")))


@contextlib.contextmanager
def reading(key: str) -> Iterator[None]:
    """What is wrong with what is read is told with the key that it is stored under."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"the stored conversation {key!r}: {error.message}") from None


def _check_version(data: Mapping[str, Any]) -> None:
    given: object = data  # whatever the annotation says
    version = count(given.get("version")) if isinstance(given, Mapping) else None
    if version is None:
        raise ConfigurationError("data is not what Chat.to_dict() gave")
    if version > VERSION:
        raise ConfigurationError(
            f"data has version {shown(version)}, and this release of responses_ws reads up to {VERSION}: "
            "it was written by a newer one"
        )


def _transport(stored: Any) -> Any:
    if stored not in (None, *TRANSPORTS):
        raise ConfigurationError("transport of the stored chat cannot be read")
    return stored


def _limits(stored: Mapping[str, Any]) -> ToolLimits:
    try:
        return ToolLimits(**_known(ToolLimits, stored))
    except ConfigurationError:  # it shows the value, which may be anything
        raise ConfigurationError("limits of the stored chat cannot be read") from None


def _known(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    names = [field.name for field in fields(kind)]
    return {name: values[name] for name in names if name in values}
