"""The other side: one process that speaks RFC 6455 by hand and answers with turns encoded beforehand.

A turn is what the service sends for a text answer: the set-up events, the deltas, the ``done`` events and
``response.completed``. The request's ``metadata`` says how many deltas to send and at what rate::

    {"events": "20000", "rate": "0"}      as fast as the socket takes them, delta text made of words
    {"events": "400", "rate": "200"}      200 a second, each delta's text being the time of its sending

That time is ``time.monotonic_ns()``, one clock for all processes of a machine, in 20 digits.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import itertools
import json
import random
import select
import socket
import struct
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["WARM_UP_EVENTS", "encode_turn", "run", "server_frame"]

WARM_UP_EVENTS = 1_000
"""Deltas of the turn that each client takes before the measured one, so that nothing in it happens first."""

WARM_UP, MEASURED = 0, 1
"""The turns of a connection. Each has its own ids: a client may drop what names an earlier response."""

ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
SLICE = 256 * 1024
STAMP = b"#" * 20
VOCABULARY = (
    "the a of and to in is that for it as with on are be at this by from an or which more one all can has"
    " service answer stream every between without therefore measure connection naïve façade, time. so: we"
)


def run(ready: Connection, events: int) -> None:
    """Serve one connection after the other on a free port of loopback, which is sent to ``ready``."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        encode_turn(WARM_UP_EVENTS, WARM_UP)
        encode_turn(events, MEASURED)
        ready.send(listener.getsockname()[1])
        while True:
            sock, _ = listener.accept()
            with sock, contextlib.suppress(EOFError, ConnectionError):
                serve(sock)


def serve(sock: socket.socket) -> None:
    """Answer the upgrade, then one turn for each request, until the client leaves."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    upgrade(sock)
    for ordinal in itertools.count():
        metadata = read_request(sock)["metadata"]
        events, rate = int(metadata["events"]), int(metadata["rate"])
        if rate:
            send_paced(sock, events, ordinal, rate)
        else:
            send_burst(sock, encode_turn(events, ordinal))


def send_burst(sock: socket.socket, turn: bytes) -> None:
    """Send a turn in large pieces, answering pings between them."""
    for start in range(0, len(turn), SLICE):
        answer_until(sock, time.monotonic())
        sock.sendall(turn[start : start + SLICE])


def send_paced(sock: socket.socket, events: int, ordinal: int, rate: int) -> None:
    """Send each delta at its own time after the start (lateness does not add up) and stamp it."""
    stamps = []
    sock.sendall(b"".join(map(server_frame, opening(ordinal))))
    start = time.monotonic()
    for index in range(events):
        frame = server_frame(delta(ordinal, index, STAMP.decode()))
        answer_until(sock, start + (index + 1) / rate)
        stamp = b"%020d" % time.monotonic_ns()
        sock.sendall(frame.replace(STAMP, stamp))
        stamps.append(stamp)
    text = b"".join(stamps).decode()
    sock.sendall(b"".join(map(server_frame, closing(ordinal, events, text))))


# --- RFC 6455, as much as a benchmark needs -----------------------------------------------------------------


def upgrade(sock: socket.socket) -> None:
    """Answer the opening handshake; no extension is accepted, so no client decompresses."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += receive(sock, 1)
    fields = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    key = next(value.strip() for name, _, value in fields if name.lower() == b"sec-websocket-key")
    accept = base64.b64encode(hashlib.sha1(key + ACCEPT_GUID, usedforsecurity=False).digest())
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def read_request(sock: socket.socket) -> dict[str, Any]:
    """The next ``response.create``; control frames before it are answered."""
    while True:
        opcode, payload = read_frame(sock)
        if opcode == TEXT:
            request: dict[str, Any] = json.loads(payload)
            return request
        answer(sock, opcode, payload)


def answer_until(sock: socket.socket, due: float) -> None:
    """Wait until ``due`` (monotonic seconds), answering the control frames that come before it."""
    while select.select([sock], [], [], max(0.0, due - time.monotonic()))[0]:
        answer(sock, *read_frame(sock))


def answer(sock: socket.socket, opcode: int, payload: bytes) -> None:
    """A ping gets its pong; a close frame gets its echo and ends the connection."""
    if opcode == PING:
        sock.sendall(server_frame(payload, PONG))
    elif opcode == CLOSE:
        sock.sendall(server_frame(payload, CLOSE))
        raise EOFError


def read_frame(sock: socket.socket) -> tuple[int, bytes]:
    """One masked frame of a client; every request here fits into one."""
    first, second = receive(sock, 2)
    length = second & 0x7F
    if length == 126:
        (length,) = struct.unpack("!H", receive(sock, 2))
    elif length == 127:
        (length,) = struct.unpack("!Q", receive(sock, 8))
    mask = receive(sock, 4)
    payload = receive(sock, length)
    return first & 0x0F, bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def receive(sock: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes; EOFError when the client left."""
    data = sock.recv(size, socket.MSG_WAITALL) if size else b""
    if len(data) < size:
        raise EOFError
    return data


def server_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One unmasked, unfragmented frame."""
    head = 0x80 | opcode
    if len(payload) < 126:
        return struct.pack("!BB", head, len(payload)) + payload
    if len(payload) < 1 << 16:
        return struct.pack("!BBH", head, 126, len(payload)) + payload
    return struct.pack("!BBQ", head, 127, len(payload)) + payload


# --- what the service says ----------------------------------------------------------------------------------


@functools.cache
def encode_turn(events: int, ordinal: int) -> bytes:
    """All frames of a turn with that many deltas; the same bytes for the same arguments, in any process."""
    choose = random.Random(events)  # noqa: S311 - words for an answer, not secrets
    words = [f" {word}" for word in choose.choices(VOCABULARY.split(), k=events)]
    deltas = [delta(ordinal, index, word) for index, word in enumerate(words)]
    payloads = [*opening(ordinal), *deltas, *closing(ordinal, events, "".join(words))]
    return b"".join(map(server_frame, payloads))


def opening(ordinal: int) -> Iterator[bytes]:
    """The events before the first delta."""
    yield encode("response.created", 0, response=response(ordinal, "in_progress"))
    yield encode("response.in_progress", 1, response=response(ordinal, "in_progress"))
    yield encode("response.output_item.added", 2, output_index=0, item=item(ordinal, "in_progress"))
    yield encode("response.content_part.added", 3, **position(ordinal), part=part(""))


def delta(ordinal: int, index: int, text: str) -> bytes:
    """One piece of text, padded as the service pads it against traffic analysis."""
    padding = f"{index * 2654435761 % 2**64:016x}"[len(text) % 12 :]
    fields = {"delta": text, "logprobs": [], "obfuscation": padding}
    return encode("response.output_text.delta", 4 + index, **position(ordinal), **fields)


def closing(ordinal: int, events: int, text: str) -> Iterator[bytes]:
    """The events after the last delta; each carries the whole text, as the service's do."""
    sequence = 4 + events
    yield encode("response.output_text.done", sequence, **position(ordinal), text=text, logprobs=[])
    yield encode("response.content_part.done", sequence + 1, **position(ordinal), part=part(text))
    done = item(ordinal, "completed", part(text))
    yield encode("response.output_item.done", sequence + 2, output_index=0, item=done)
    usage = {
        "input_tokens": 36,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": events,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 36 + events,
    }
    completed = response(ordinal, "completed", done) | {"usage": usage}
    yield encode("response.completed", sequence + 3, response=completed)


def encode(kind: str, sequence_number: int, **fields: Any) -> bytes:
    event = {"type": kind, "sequence_number": sequence_number, **fields}
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def position(ordinal: int) -> dict[str, Any]:
    return {"item_id": identifier("msg", ordinal), "output_index": 0, "content_index": 0}


def part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def item(ordinal: int, status: str, *content: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": identifier("msg", ordinal),
        "type": "message",
        "status": status,
        "content": list(content),
        "role": "assistant",
    }


def response(ordinal: int, status: str, *output: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": identifier("resp", ordinal),
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


def identifier(prefix: str, ordinal: int) -> str:
    """As long as the service's: 48 hexadecimal digits after the prefix."""
    return f"{prefix}_{hashlib.sha256(bytes([ordinal % 256])).hexdigest()[:48]}"
