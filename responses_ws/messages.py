"""The values that travel: chunks, messages, tool calls, usage; and the option values.

Field names are those of the service. A count that the service did not give is None, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from responses_ws._shown import shown
from responses_ws.errors import ConfigurationError

if TYPE_CHECKING:
    from responses_ws.errors import ResponseError

__all__ = ["Chunk", "Limits", "Message", "Steer", "Timeouts", "ToolCall", "Usage"]

MEBIBYTE = 1024 * 1024
MOST_SECONDS = 1_000_000
"""Eleven days. What the system's own clocks take ends at twice that."""


@dataclass(slots=True)
class ToolCall:
    """One call that the model wants made.

    :ivar id: the ``call_id`` that the output must carry; None on a delta that does not name it.
    :ivar name: the function or custom tool; None on a delta that does not name it.
    :ivar arguments: on a chunk the piece of text that arrived; on a message the whole text (JSON for a
        function, free text for a custom tool), as the model wrote it.
    :ivar type: ``function_call`` or ``custom_tool_call``; ``mcp_approval_request`` where a call of the
        service's own needs an approval.
    :ivar item_id: the id of the output item.
    :ivar server_label: of an approval request, the MCP server that is to be called.
    """

    id: str | None = None
    name: str | None = None
    arguments: str = ""
    type: str = "function_call"
    item_id: str | None = None
    server_label: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one response. None is unknown, not zero."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_creation_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(slots=True, eq=False)
class Steer:
    """Input that was given to a running response. Its fields change as the service answers.

    :ivar state: ``sent``; ``accepted``; ``committed`` once the successor has begun, which has the input;
        ``pending`` when the service first wants outputs of tools, and adds the input to the request that
        brings them; ``failed``.
    :ivar id: the service's name for it, once it is accepted.
    :ivar error: why it failed.
    """

    state: str = "sent"
    id: str | None = None
    error: ResponseError | None = None


@dataclass(slots=True)
class Chunk:
    """One event of a running response.

    :ivar type: the service's event type; types unknown to this version pass through.
    :ivar content: the piece of answer text, or None.
    :ivar tool_calls: pieces of tool calls, keyed by ``call_id`` (by item id where the event has no other).
    :ivar reasoning: a piece of reasoning text or of its summary, or None.
    :ivar refusal: a piece of a refusal, or None.
    :ivar built_in_tool_events: events of the service's own tools, as received.
    :ivar raw: the event as received.
    """

    type: str = ""
    content: str | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False)
    tool_calls: dict[str, ToolCall] | None = None
    reasoning: str | None = None
    refusal: str | None = None
    response_id: str | None = None
    model_id: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_creation_tokens: int | None = None
    built_in_tool_events: list[dict[str, Any]] | None = None
    role: str = "assistant"


@dataclass(slots=True)
class Message:
    """A whole answer, or the part of it that arrived.

    :ivar content: the answer text; an empty string when there is none.
    :ivar tool_calls: the calls to make, keyed by ``call_id`` (a second one of the same ``call_id`` by item id
        or place), in output order; None when there are none.
    :ivar status: ``completed``, ``incomplete``, ``failed`` or what the service said; ``in_progress`` for a
        part.
    :ivar incomplete_reason: why the answer stopped early, e.g. ``max_output_tokens``.
    :ivar output: the output items as the service sent them; together they are the answer.
    :ivar reasoning: reasoning text, or its summary where the text is withheld; None when there is none.
    :ivar refusal: the model's refusal, or None.
    :ivar annotations: citations and the like, in order of appearance.
    :ivar built_in_tool_events: events of the service's own tools, as received.
    :ivar parsed: the structured output, where a schema was asked for.
    :ivar transport: ``websocket`` or ``http``.
    :ivar raw: the terminal ``response`` as received, or None for a part.
    """

    role: str = "assistant"
    content: str = ""
    tool_calls: dict[str, ToolCall] | None = None
    model_id: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_creation_tokens: int | None = None
    reasoning_tokens: int | None = None
    response_id: str | None = None
    built_in_tool_events: list[dict[str, Any]] = field(default_factory=list, repr=False)
    status: str = "in_progress"
    incomplete_reason: str | None = None
    output: list[dict[str, Any]] = field(default_factory=list, repr=False)
    refusal: str | None = None
    reasoning: str | None = None
    annotations: list[dict[str, Any]] = field(default_factory=list, repr=False)
    parsed: Any = None
    transport: str = "websocket"
    raw: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def usage(self) -> Usage:
        """The token counts as one value."""
        return Usage(
            self.input_tokens,
            self.output_tokens,
            self.cached_tokens,
            self.cache_creation_tokens,
            self.reasoning_tokens,
        )

    def __str__(self) -> str:
        return self.content


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for each wait, up to a million. None means no limit; 0 and negative values are refused.

    :param connect: DNS, proxy, TCP, TLS and the upgrade together.
    :param send: without progress while a request is written.
    :param ping_interval: of silence after which a ping is sent (RFC 6455, 5.5.2).
    :param ping_timeout: without a byte after that ping; then the peer is dead.
    :param drain: that a new response waits for the rest of an abandoned one, before it reconnects.
    :param close: for the closing handshake of a connection at rest.
    :param total: for one response, connecting and retries included; each response of a chat has its own, and
        tools do not count.
    """

    connect: float | None = 10
    send: float | None = 30
    ping_interval: float | None = 20
    ping_timeout: float | None = 20
    drain: float | None = 0.5
    close: float | None = 1
    total: float | None = None

    def __post_init__(self) -> None:
        for option in fields(self):
            check_seconds(option.name, getattr(self, option.name))


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes. None means no limit; 0 and negative values are refused.

    :param max_message_bytes: of one message from the server, frame headers included.
    :param max_buffered_bytes: received for one response and not yet taken by its caller.
    :param max_request_bytes: of one request; a larger one raises :class:`PayloadTooLarge` unsent.
    """

    max_message_bytes: int | None = 64 * MEBIBYTE
    max_buffered_bytes: int | None = 64 * MEBIBYTE
    max_request_bytes: int | None = 15 * MEBIBYTE

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
                raise ConfigurationError(
                    f"{option.name} must be a positive number of bytes or None, not {shown(value)}"
                )


def check_seconds(name: str, value: float | None, *, unlimited: bool = True) -> float | None:
    """Refuse what is no number of seconds that can be waited, naming the parameter.

    :param unlimited: whether it may be None, which means no limit.
    """
    if value is None and unlimited:
        return None
    or_none = " or None" if unlimited else ""
    number: object = value  # whatever the annotation says
    if not isinstance(number, (int, float)) or isinstance(number, bool) or not number > 0:
        raise ConfigurationError(f"{name} must be a positive number of seconds{or_none}, not {shown(value)}")
    if number > MOST_SECONDS:
        raise ConfigurationError(f"{name} must be at most {MOST_SECONDS} seconds{or_none}")
    return value
