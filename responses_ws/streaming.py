"""Events to chunks, chunks to a message. Pure: no connection is needed.

::

    accumulator = StreamAccumulator()
    for event in events:
        chunk = build_chunk(event)
        accumulator.add(chunk)
        print(chunk.content or "", end="")
    message = accumulator.to_message()
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from responses_ws._core import items
from responses_ws._core.accumulate import DELTAS, Kind, Output
from responses_ws._core.events import (
    ONGOING,
    OPENINGS,
    TERMINAL,
    Event,
    event_type,
    response_id,
    terminal_status,
)
from responses_ws._core.failures import parse_error, response_error
from responses_ws._core.fields import count, mapping, mappings, printable, text
from responses_ws._core.parser import parse
from responses_ws.errors import ProtocolError
from responses_ws.messages import Chunk, Message, ToolCall, Usage

__all__ = [
    "StreamAccumulator",
    "build_chunk",
    "build_streaming_tool_call",
    "parse_streaming_error",
    "stream_url",
]

NO_COUNTS = Usage()
BUILT_IN_TOOLS = (
    "web_search_",
    "file_search_",
    "code_interpreter_",
    "image_generation_",
    "mcp_",
    "shell_",
    "local_shell_",
    "apply_patch_",
    "computer_",
)
"""How the item types of the service's own tools begin."""
BUILT_IN_EVENTS = tuple(f"response.{tool}" for tool in BUILT_IN_TOOLS)

CALL_TYPES = {
    "response.function_call_arguments.delta": "function_call",
    "response.custom_tool_call_input.delta": "custom_tool_call",
}

STREAMING_STATUS: dict[str | None, int] = {
    "server_error": 500,
    "internal_error": 500,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "invalid_request_error": 400,
    "invalid_api_key": 400,
}


def stream_url() -> str:
    """The path of the endpoint, relative to the base URL."""
    return "responses"


def parse_streaming_error(data: str | bytes) -> tuple[int, str] | None:
    """The HTTP status that stands for an error event, and its message; None when the text is no error.

    The status goes by ``error.type``, else by the code: 500 for the service's own failures, 429 for limits,
    400 for any other. What is no JSON object gives 500 and the text itself.
    """
    payload = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    try:
        error = parse_error(parse(payload))
    except ProtocolError:
        return 500, payload.decode("utf-8", "replace")
    if error is None:
        return None
    status = STREAMING_STATUS.get(error.type) or STREAMING_STATUS.get(error.code) or 400
    return status, error.message


# -- events to chunks


def build_chunk(data: Event) -> Chunk:
    """The chunk for one event; an event of a type unknown to this version gives its ``type`` and ``raw``.

    Half characters (lonely surrogates) become U+FFFD, so that a chunk can always be printed;
    :meth:`StreamAccumulator.add` mends those whose other half comes with the next chunk.

    Raises :class:`ResponseError` for an error event. ``response.failed`` gives a chunk.
    """
    try:
        build = _BUILDERS.get(data.get("type"), _other_chunk)
    except TypeError:  # a list or an object for a type
        build = _other_chunk
    return build(data)


def build_streaming_tool_call(data: Event) -> dict[str, ToolCall] | None:
    """The piece of a tool call in an event, keyed by its call id or else its item id; None when it has none.

    A call is announced by ``response.output_item.added``, which names it; its arguments follow in deltas,
    which the service sends with the item id alone. Events that repeat the whole call give None.
    """
    kind = event_type(data)
    if kind == "response.output_item.added":
        call = items.tool_call(mapping(data.get("item")))
    elif kind in CALL_TYPES:
        call = ToolCall(
            text(data.get("call_id")), None, _piece(data) or "", CALL_TYPES[kind], text(data.get("item_id"))
        )
    else:
        call = None
    return None if call is None else {call.id or call.item_id or str(data.get("output_index", "")): call}


def _piece(data: Event) -> str | None:
    delta = data.get("delta")
    if type(delta) is not str:
        return None
    return delta if delta.isascii() else printable(delta)


def _text_chunk(data: Event) -> Chunk:
    return Chunk(data["type"], _piece(data), data)


def _refusal_chunk(data: Event) -> Chunk:
    return Chunk(data["type"], None, data, refusal=_piece(data))


def _reasoning_chunk(data: Event) -> Chunk:
    return Chunk(data["type"], None, data, reasoning=_piece(data))


def _tool_call_chunk(data: Event) -> Chunk:
    return Chunk(data["type"], None, data, build_streaming_tool_call(data))


def _item_chunk(data: Event) -> Chunk:
    item_type = text(mapping(data.get("item")).get("type")) or ""
    if item_type in items.CALLS:
        return _tool_call_chunk(data)
    chunk = Chunk(data["type"], None, data)
    if item_type.startswith(BUILT_IN_TOOLS):
        chunk.built_in_tool_events = [data]
    return chunk


def _bare_chunk(data: Event) -> Chunk:
    """Of an event that says where the response has come and nothing besides, as most around the deltas do."""
    if "response" in data or "response_id" in data:
        return _response_chunk(data["type"], data)
    return Chunk(data["type"], None, data)


def _response_chunk(kind: str, data: Event) -> Chunk:
    response = mapping(data.get("response"))
    chunk = Chunk(kind, None, data)
    chunk.response_id = response_id(data)
    chunk.model_id = text(response.get("model"))
    usage = response.get("usage")
    if usage and isinstance(usage, dict):
        _note_usage(chunk, usage)
    return chunk


def _note_usage(chunk: Chunk, usage: dict[str, Any]) -> None:
    of_input = mapping(usage.get("input_tokens_details"))
    written = count(of_input.get("cache_write_tokens"))
    if written is None:
        written = count(of_input.get("cache_creation_tokens"))
    chunk.input_tokens = count(usage.get("input_tokens"))
    chunk.output_tokens = count(usage.get("output_tokens"))
    chunk.cached_tokens = count(of_input.get("cached_tokens"))
    chunk.cache_creation_tokens = written


def _other_chunk(data: Event) -> Chunk:
    kind = event_type(data)
    error = parse_error(data) if TERMINAL.get(kind) == "error" else None
    if error is not None:
        raise response_error(error)
    chunk = _response_chunk(kind, data)
    if kind.startswith(BUILT_IN_EVENTS):
        chunk.built_in_tool_events = [data]
    return chunk


def _reasoning_tokens(response: dict[str, Any]) -> int | None:
    of_output = mapping(mapping(response.get("usage")).get("output_tokens_details"))
    return count(of_output.get("reasoning_tokens"))


_BUILDERS: dict[Any, Callable[[Event], Chunk]] = {
    **{kind: _bare_chunk for kind in ONGOING if not kind.startswith(BUILT_IN_EVENTS)},
    **{kind: _bare_chunk for kind, status in TERMINAL.items() if status != "error"},
    "response.output_text.delta": _text_chunk,
    "response.refusal.delta": _refusal_chunk,
    "response.reasoning_text.delta": _reasoning_chunk,
    "response.reasoning_summary_text.delta": _reasoning_chunk,
    "response.function_call_arguments.delta": _tool_call_chunk,
    "response.custom_tool_call_input.delta": _tool_call_chunk,
    "response.output_item.added": _item_chunk,
    "response.output_item.done": _item_chunk,
}


# -- chunks to a message


class StreamAccumulator:
    """The message of one response, from its chunks in the order of arrival. Not thread-safe.

    Items, parts and tool calls may interleave, and no event is required. The items that the service sends as
    done, and its terminal event, are authoritative; where they are missing or empty, the deltas count.

    A steered response is followed by its successor in the same stream, which begins a message of its own.

    :ivar superseded: the messages before it, in order.
    """

    def __init__(self) -> None:
        self.superseded: list[Message] = []
        self._start()

    def _start(self) -> None:
        self._output = Output()
        self._response_id: str | None = None
        self._model_id: str | None = None
        self._built_in_tool_events: list[Event] = []
        self._status: str | None = None
        self._final: dict[str, Any] = {}
        self._counts: Chunk | Usage = NO_COUNTS
        # Whether a character ever came in halves, so that the next chunk may have to show the other half.
        self._halved = False

    def add(self, chunk: Chunk) -> None:
        """Take a chunk, before it is shown: a half character at its end is held back for the next one."""
        kind = DELTAS.get(chunk.type)
        if kind is None:
            self._note(chunk)
            return
        delta = chunk.raw.get("delta")
        if type(delta) is not str:
            return
        part = self._output.part(kind, chunk.raw)
        if not part.held and (chunk.content is delta or delta.isascii()):  # build_chunk found it whole
            part.pieces.append(delta)
        else:
            _show(chunk, kind, part.extend(delta))
            self._halved = self._halved or bool(part.held)

    def to_message(self) -> Message:
        """The message so far; ``status`` is ``in_progress`` and ``raw`` None until the terminal event.

        Items that the service did not finish are put together from their deltas.
        """
        ended = self._status is not None
        output = self._output.items(mappings(self._final.get("output")), ended=ended)
        said = items.read(output)
        counts = self._counts
        details = mapping(self._final.get("incomplete_details"))
        return Message(
            content=said.content,
            tool_calls=said.tool_calls,
            model_id=self._model_id,
            input_tokens=counts.input_tokens,
            output_tokens=counts.output_tokens,
            cached_tokens=counts.cached_tokens,
            cache_creation_tokens=counts.cache_creation_tokens,
            reasoning_tokens=_reasoning_tokens(self._final),
            response_id=self._response_id,
            built_in_tool_events=list(self._built_in_tool_events),
            status=self._status or "in_progress",
            incomplete_reason=text(details.get("reason")),
            output=output,
            refusal=said.refusal,
            reasoning=said.reasoning,
            annotations=said.annotations,
            raw=self._final if ended else None,
        )

    def _note(self, chunk: Chunk) -> None:
        kind, event = chunk.type, chunk.raw
        if self._status is not None and kind in OPENINGS and chunk.response_id != self._response_id:
            self.superseded.append(self.to_message())
            self._start()
        self._output.note(kind, event)
        if chunk.response_id is not None:
            self._response_id = chunk.response_id
        if chunk.model_id is not None:
            self._model_id = chunk.model_id
        # The pieces that the tools' deltas hold come again, whole, in their ``done`` events.
        if chunk.built_in_tool_events and not kind.endswith(".delta"):
            self._built_in_tool_events += chunk.built_in_tool_events
        if kind not in ONGOING and self._status is None:
            self._end(chunk)

    def _end(self, chunk: Chunk) -> None:
        """The response has ended, if that is what the event says."""
        status = terminal_status(chunk.raw)
        if status is not None:
            self._final = mapping(chunk.raw.get("response"))
            self._counts = chunk
            self._status = status  # last: what has a status is whole, whoever is interrupted here


def _show(chunk: Chunk, kind: Kind, piece: str) -> None:
    if kind.shown == "tool_calls":
        for call in (chunk.tool_calls or {}).values():
            call.arguments = piece
    else:
        setattr(chunk, kind.shown, piece)
