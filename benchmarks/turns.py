"""What the service says: turns of text, of a tool call, and of one large message, encoded for the wire."""

from __future__ import annotations

import functools
import hashlib
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from wire import server_frame

__all__ = [
    "RECEIVED",
    "STAMP",
    "WARM_UP_EVENTS",
    "Turn",
    "chunk",
    "closing",
    "delta",
    "encode_lane",
    "encode_lanes",
    "encode_turn",
    "event_text",
    "opening",
    "with_ids",
]

WARM_UP_EVENTS = 1_000
"""Deltas of the turn that each client takes before the measured one, so that nothing in it happens first."""

STAMP = b"#" * 20
"""Where a paced delta carries the time of its sending."""
RECEIVED = b"$" * 20
"""Where the end of a turn of a tool loop carries the bytes that its connection has received."""
TEMPLATE_ID = hashlib.sha256(b"template").hexdigest()[:48]
HTTP_CHUNK = 16 * 1024
VOCABULARY = (
    "the a of and to in is that for it as with on are be at this by from an or which more one all can has"
    " service answer stream every between without therefore measure connection naïve façade, time. so: we"
)
ARGUMENTS = '{"path":"src/responses/connection.py","first_line":1,"last_line":80}'


@dataclass(frozen=True)
class Turn:
    """What a request asks for, in its ``metadata``.

    :ivar events: deltas of text.
    :ivar rate: deltas a second; 0 is as fast as the socket takes them.
    :ivar calls: how many turns are a tool call before one is text.
    :ivar size: bytes of text that ``response.completed`` carries and nothing else does.
    :ivar fragment: bytes of each frame of that message; 0 for one frame.
    :ivar lanes: how many requests there are on this connection, on a lane each; they are answered together.
    :ivar delay: milliseconds until the answer, which no other answer of the connection holds up; on a lane.
    """

    events: int = 0
    rate: int = 0
    calls: int = 0
    size: int = 0
    fragment: int = 0
    lanes: int = 0
    delay: int = 0

    @classmethod
    def of(cls, metadata: dict[str, str]) -> Turn:
        return cls(**{name: int(value) for name, value in metadata.items()})

    @property
    def metadata(self) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(self).items() if value}


@functools.lru_cache(maxsize=64)
def encode_turn(turn: Turn, ordinal: int, http: bool = False) -> bytes:
    """A whole turn, as bytes of a WebSocket or of an HTTP response's body.

    The same for the same arguments, in any process. ``ordinal`` counts the turns of a connection: each has
    its own ids, for a client may drop what names an earlier response.
    """
    if turn.fragment:
        created, completed = (with_ids(payload, ordinal) for payload in _large(turn.size))
        return server_frame(created) + _fragmented(completed, turn.fragment)
    return with_ids(_encode_template(turn, http), ordinal)


def with_ids(encoded: bytes, ordinal: int) -> bytes:
    """Ids as long as the service's, 48 hexadecimal digits after the prefix, in place of the template's."""
    return encoded.replace(TEMPLATE_ID.encode(), hashlib.sha256(b"%d" % ordinal).hexdigest()[:48].encode())


@functools.cache
def _encode_template(turn: Turn, http: bool) -> bytes:
    payloads = list(_payloads(turn))
    if http:
        text = b"".join(map(event_text, payloads))
        pieces = [text[start : start + HTTP_CHUNK] for start in range(0, len(text), HTTP_CHUNK)]
        return b"".join(map(chunk, [*pieces, b""]))
    return b"".join(map(server_frame, payloads))


@functools.cache
def encode_lanes(turn: Turn, streams: tuple[str, ...], ordinal: int) -> bytes:
    """The same turn on several lanes, event by event in turn."""
    lanes = [encode_lane(turn, stream, ordinal * 100 + number) for number, stream in enumerate(streams)]
    return b"".join(frame for row in zip(*lanes, strict=True) for frame in row)


def encode_lane(turn: Turn, stream: str, ordinal: int) -> list[bytes]:
    """A turn on a lane, event by event."""
    name = b',"stream_id":"%b"}' % stream.encode()
    return [server_frame(with_ids(payload, ordinal)[:-1] + name) for payload in _payloads(turn)]


def event_text(payload: bytes) -> bytes:
    """A server-sent event."""
    kind = payload[9 : payload.index(b'"', 9)]
    return b"event: %b\ndata: %b\n\n" % (kind, payload)


def chunk(data: bytes) -> bytes:
    """RFC 9112, 7.1. An empty one ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _payloads(turn: Turn) -> Iterable[bytes]:
    if turn.calls:
        return _call()
    if turn.size:
        return _large(turn.size)
    choose = random.Random(turn.events)  # noqa: S311 - words for an answer, not secrets
    words = [f" {word}" for word in choose.choices(VOCABULARY.split(), k=turn.events)]
    deltas = [delta(index, word) for index, word in enumerate(words)]
    return [*opening(), *deltas, *closing(turn.events, "".join(words))]


def _fragmented(payload: bytes, size: int) -> bytes:
    """A message in frames of at most ``size`` bytes."""
    starts = range(0, len(payload), size)
    return b"".join(
        server_frame(payload[at : at + size], int(at == 0), final=at == starts[-1]) for at in starts
    )


def opening() -> Iterator[bytes]:
    """The events before the first delta."""
    yield _encode("response.created", 0, response=_response("in_progress"))
    yield _encode("response.in_progress", 1, response=_response("in_progress"))
    yield _encode("response.output_item.added", 2, output_index=0, item=_message("in_progress"))
    yield _encode("response.content_part.added", 3, **_position(), part=_part(""))


def delta(index: int, text: str) -> bytes:
    """One piece of text, padded as the service pads it against traffic analysis."""
    padding = f"{index * 2654435761 % 2**64:016x}"[len(text) % 12 :]
    fields = {"delta": text, "logprobs": [], "obfuscation": padding}
    return _encode("response.output_text.delta", 4 + index, **_position(), **fields)


def closing(events: int, text: str) -> Iterator[bytes]:
    """The events after the last delta; each carries the whole text, as the service's do."""
    sequence = 4 + events
    yield _encode("response.output_text.done", sequence, **_position(), text=text, logprobs=[])
    yield _encode("response.content_part.done", sequence + 1, **_position(), part=_part(text))
    item = _message("completed", _part(text))
    yield _encode("response.output_item.done", sequence + 2, output_index=0, item=item)
    yield _completed(sequence + 3, item, output_tokens=events)


def _call() -> Iterator[bytes]:
    """A turn that ends in one function call, its arguments in pieces."""
    yield _encode("response.created", 0, response=_response("in_progress"))
    yield _encode("response.in_progress", 1, response=_response("in_progress"))
    yield _encode("response.output_item.added", 2, output_index=0, item=_function_call("in_progress", ""))
    where = {"item_id": f"fc_{TEMPLATE_ID}", "output_index": 0}
    pieces = [ARGUMENTS[start : start + 8] for start in range(0, len(ARGUMENTS), 8)]
    for index, piece in enumerate(pieces):
        yield _encode("response.function_call_arguments.delta", 3 + index, **where, delta=piece)
    sequence = 3 + len(pieces)
    yield _encode("response.function_call_arguments.done", sequence, **where, arguments=ARGUMENTS)
    item = _function_call("completed", ARGUMENTS)
    yield _encode("response.output_item.done", sequence + 1, output_index=0, item=item)
    yield _completed(sequence + 2, item, output_tokens=len(pieces))


def _large(size: int) -> Iterator[bytes]:
    """A turn whose text stands in its last event alone, as long answers, images and files may."""
    text = ("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/" * (size // 64 + 1))[:size]
    yield _encode("response.created", 0, response=_response("in_progress"))
    yield _completed(1, _message("completed", _part(text)), output_tokens=1)


def _completed(sequence: int, item: dict[str, Any], *, output_tokens: int) -> bytes:
    usage = {
        "input_tokens": 36,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 36 + output_tokens,
    }
    fields = {"usage": usage, "metadata": {"received": RECEIVED.decode()}}
    return _encode("response.completed", sequence, response=_response("completed", item) | fields)


def _encode(kind: str, sequence_number: int, **fields: Any) -> bytes:
    event = {"type": kind, "sequence_number": sequence_number, **fields}
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def _position() -> dict[str, Any]:
    return {"item_id": f"msg_{TEMPLATE_ID}", "output_index": 0, "content_index": 0}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _message(status: str, *content: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"msg_{TEMPLATE_ID}",
        "type": "message",
        "status": status,
        "content": list(content),
        "role": "assistant",
    }


def _function_call(status: str, arguments: str) -> dict[str, Any]:
    return {
        "id": f"fc_{TEMPLATE_ID}",
        "type": "function_call",
        "status": status,
        "arguments": arguments,
        "call_id": f"call_{TEMPLATE_ID}",
        "name": "read_file",
    }


def _response(status: str, *output: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"resp_{TEMPLATE_ID}",
        "object": "response",
        "created_at": 1_760_000_000,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "model": "gpt-5.5",
        "output": list(output),
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "user": None,
        "metadata": {},
    }
