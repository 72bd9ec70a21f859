"""What a chat asks for in every request, and how it runs its tools, as one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from responses_ws._core.options import check_callable, check_count, check_flag, copied
from responses_ws._core.request import build
from responses_ws._core.schema import Schema
from responses_ws._shown import shown
from responses_ws._toolbox import Toolbox
from responses_ws.errors import ConfigurationError
from responses_ws.messages import ToolCall, check_seconds

if TYPE_CHECKING:
    from responses_ws._recovery import TransportName

__all__ = ["TRANSPORTS", "Approve", "ChatOptions", "ToolLimits", "as_schema"]

Approve = Callable[[ToolCall], bool | str | ToolCall]
TRANSPORTS = ("auto", "websocket", "http")
ELSEWHERE = {
    "model": "with_model()",
    "tools": "with_tools()",
    "instructions": "with_instructions()",
    "input": "ask()",
    "previous_response_id": "nothing: the chat continues by itself",
    "background": "HTTPTransport: a chat waits for its answer",
}
"""The fields of a request that are no parameters of a chat, with what is to be used in their place."""


@dataclass(frozen=True, slots=True)
class ToolLimits:
    """How tools are run.

    :param max_rounds: of tools after one question; None means no limit.
    :param max_parallel: tools that run at the same time.
    :param timeout_per_tool: seconds; None means no limit.
    """

    max_rounds: int | None = 25
    max_parallel: int = 8
    timeout_per_tool: float | None = None

    def __post_init__(self) -> None:
        if self.max_rounds is not None:
            check_count("max_rounds", self.max_rounds, least=1)
        check_count("max_parallel", self.max_parallel, least=1)
        check_seconds("timeout_per_tool", self.timeout_per_tool)


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """Immutable; :meth:`but` gives a changed one. What cannot work is refused here, not when it is sent."""

    model: str
    toolbox: Toolbox = field(default_factory=Toolbox)
    instructions: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    schema: Schema | None = None
    transport: TransportName | None = None
    limits: ToolLimits = field(default_factory=ToolLimits)
    eager_tools: bool = False
    approve: Approve | None = None

    def __post_init__(self) -> None:
        if self.transport is not None and self.transport not in TRANSPORTS:
            raise ConfigurationError(
                f"transport must be one of {', '.join(TRANSPORTS)}, not {shown(self.transport)}"
            )
        check_callable("approve", self.approve)
        check_flag("eager_tools", self.eager_tools)
        if self.eager_tools and self.approve is not None:
            raise ConfigurationError("eager_tools and approve exclude each other: approval comes first")
        if self.instructions is not None and not isinstance(self.instructions, str):
            raise ConfigurationError(
                f"instructions must be a str or None, not {type(self.instructions).__name__}"
            )
        for name, instead in ELSEWHERE.items():
            if name in self.params:
                raise ConfigurationError(f"{name} is no parameter; use {instead}")
        self.fields()

    def but(self, **changes: Any) -> ChatOptions:
        """The same with changes."""
        return replace(self, **changes)

    def with_params(self, params: Mapping[str, Any]) -> ChatOptions:
        """The same with these parameters added; None takes one away."""
        merged = {**self.params, **{name: copied(name, value) for name, value in params.items()}}
        transport = merged.pop("transport", self.transport)
        kept = {name: value for name, value in merged.items() if value is not None}
        return self.but(params=kept, transport=transport)

    def fields(self) -> dict[str, Any]:
        """The request without its input."""
        extra = dict(self.params)
        if self.schema is not None:
            text = extra.get("text") or {}
            if not isinstance(text, Mapping) or "format" in text:
                raise ConfigurationError("text must be a dict without a format: the schema gives it")
            extra["text"] = {**text, "format": self.schema.format}
        fields = build(
            model=self.model,
            input=(),
            tools=self.toolbox.definitions or None,
            instructions=self.instructions,
            extra=extra,
        )
        del fields["input"]
        return fields

    def to_compact(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """The request to compact these items."""
        return {"model": self.model, "instructions": self.instructions, "input": items}


def as_schema(given: Any) -> Schema | None:
    """The schema for a type; None and a ready schema are what they are."""
    return given if given is None or isinstance(given, Schema) else Schema(given)
