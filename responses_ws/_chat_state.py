"""A chat as plain values: what another process needs to go on with it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from responses_ws._chat_options import TRANSPORTS, ChatOptions, ToolLimits, as_schema
from responses_ws._core.continuation import Ledger
from responses_ws._core.fields import count, mapping, mappings, text
from responses_ws._core.items import Item
from responses_ws._toolbox import AnyTool, Toolbox
from responses_ws.errors import ConfigurationError
from responses_ws.messages import Usage

__all__ = ["ChatState"]

VERSION = 1


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
    def from_dict(cls, data: Mapping[str, Any], tools: Iterable[AnyTool], schema: Any) -> ChatState:
        """What :meth:`to_dict` gave, with its functions and its schema given again.

        Raises :class:`ConfigurationError` naming what is missing, or what cannot be read.
        """
        _check_version(data)
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
        return cls(options, Ledger.from_dict(mapping(data.get("ledger"))), answers, Usage(**usage))


def _check_version(data: Mapping[str, Any]) -> None:
    given: object = data  # whatever the annotation says
    version = count(given.get("version")) if isinstance(given, Mapping) else None
    if version is None:
        raise ConfigurationError("data is not what Chat.to_dict() gave")
    if version > VERSION:
        raise ConfigurationError(
            f"data has version {version}, and this release of responses_ws reads up to {VERSION}: "
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
