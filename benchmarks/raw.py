"""The limits of the machine: bare sockets that do what every client must do, and nothing else.

None checks a frame, so no client can be faster. They prove that the server is not what a client waits
for, and tell a client's share of a time from that of the kernel, the scheduler and the JSON parser.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from harness import Server
from peers import MODEL, PROMPT
from server import HEADERS
from turns import WARM_UP_EVENTS, Turn, encode_lanes, encode_turn

__all__ = [
    "RAW",
    "RAW_AHEAD",
    "RAW_HTTP",
    "RAW_PARSED",
    "RAW_THREADS",
    "drain",
    "drain_lanes",
    "follow",
    "follow_parsed",
    "receive_and_parse",
    "send_large",
    "turns",
    "turns_ahead",
]

RAW = "bare socket"
RAW_HTTP = "bare socket over HTTP"
RAW_PARSED = "bare socket and json.loads"
"""Parses what it reads: the limit of a client that gives its caller events."""
RAW_THREADS = "bare socket, two threads"
"""One thread reads and hands over what it read to another: the limit of a client that reads on its own."""
RAW_AHEAD = "bare socket, turns ahead"
"""Asks for many turns at once: what the server takes for one, with nobody to wake in between."""
STAMPED = re.compile(rb'"delta":"(\d{20})"')
BUFFER = 1024 * 1024
READ = 64 * 1024
AHEAD = 50
"""As many turns as fit in the buffers of a connection: nobody waits for room."""


def drain(server: Server, events: int, *, http: bool = False) -> float:
    """Wall seconds from the request to the last byte of a burst of ``events`` deltas."""
    both = (Turn(events=WARM_UP_EVENTS), Turn(events=events))
    _exchange(server, both, http=http)  # the server encodes each turn when it is first asked for it
    return _exchange(server, both, http=http)[-1]


def turns(server: Server, count: int, *, http: bool = False, threads: bool = False) -> list[float]:
    """Wall seconds of each of ``count`` turns of one delta."""
    return _exchange(server, [Turn(events=1)] * count, http=http, threads=threads)


def turns_ahead(server: Server, count: int) -> list[float]:
    """Wall seconds of a turn of one delta, :data:`AHEAD` at a time, ``count`` or a few more in all."""
    turn = Turn(events=1)
    requests = request_frame(turn, PROMPT) * AHEAD
    buffer = bytearray(BUFFER)
    seconds = []
    with connected(server) as sock:
        for first in range(0, count, AHEAD):
            size = sum(len(encode_turn(turn, first + number)) for number in range(AHEAD))
            start = time.perf_counter()
            sock.sendall(requests)
            receive(sock, size, buffer)
            seconds.append((time.perf_counter() - start) / AHEAD)
    return seconds


def _exchange(server: Server, turns: Iterable[Turn], *, http: bool, threads: bool = False) -> list[float]:
    """Wall seconds of each of these turns on one connection."""
    buffer = bytearray(BUFFER)
    seconds = []
    with connected(server, http=http) as sock, contextlib.ExitStack() as stack:
        read = stack.enter_context(handed_over(sock)) if threads else None
        for ordinal, turn in enumerate(turns):
            size = len(encode_turn(turn, ordinal, http)) + (len(HEADERS) if http else 0)
            request = request_of(turn) if http else request_frame(turn, PROMPT)
            start = time.perf_counter()
            sock.sendall(request)
            if read is None:
                receive(sock, size, buffer)
            else:
                take(read, size)
            seconds.append(time.perf_counter() - start)
    return seconds


def drain_lanes(server: Server, lanes: int, events: int) -> float:
    """Wall seconds from the requests on so many lanes to the last byte of their turns."""
    buffer = bytearray(BUFFER)
    streams = tuple(f"lane-{number}" for number in range(lanes))
    seconds = 0.0
    warm_up = Turn(events=10, lanes=lanes)
    for _ in range(2):  # as in drain()
        with connected(server) as sock:
            # The third, as it is with the clients: each turn of a connection is encoded for its place.
            for ordinal, turn in enumerate((warm_up, warm_up, Turn(events=events, lanes=lanes))):
                size = len(encode_lanes(turn, tuple(sorted(streams)), ordinal))
                start = time.perf_counter()
                for stream in streams:
                    send_request(sock, turn, stream_id=stream)
                receive(sock, size, buffer)
                seconds = time.perf_counter() - start
    return seconds


def follow(server: Server, events: int, rate: int, *, threads: bool = False) -> list[int]:
    """Nanoseconds between the sending of each delta and the return of the read that brought it."""
    latencies: list[int] = []
    pending = b""
    with connected(server) as sock, contextlib.ExitStack() as stack:
        read = stack.enter_context(handed_over(sock)) if threads else partial(sock.recv, READ)
        send_request(sock, Turn(events=events, rate=rate))
        while len(latencies) < events:
            data = read()
            now = time.monotonic_ns()
            received(len(data))
            pending += data
            end = 0
            for match in STAMPED.finditer(pending):
                latencies.append(now - int(match[1]))
                end = match.end()
            pending = pending[end:]
    return latencies


def follow_parsed(server: Server, events: int, rate: int) -> list[int]:
    """Nanoseconds between the sending of each delta and the moment when ``json.loads`` has read its event."""
    latencies: list[int] = []
    pending = b""
    with connected(server) as sock:
        send_request(sock, Turn(events=events, rate=rate))
        while len(latencies) < events:
            data = sock.recv(READ)
            received(len(data))
            pending += data
            start, size = payload_in(pending)
            while len(pending) >= start + size:
                event = json.loads(pending[start : start + size])
                if event["type"] == "response.output_text.delta":
                    latencies.append(time.monotonic_ns() - int(event["delta"]))
                pending = pending[start + size :]
                start, size = payload_in(pending)
    return latencies


def payload_in(data: bytes) -> tuple[int, int]:
    """Where the payload of the server's frame begins, and its size. Of half a header, more than there is."""
    if len(data) < 4:
        return 4, 0
    if data[1] == 127:
        return 10, int.from_bytes(data[2:10], "big")
    return (4, data[2] << 8 | data[3]) if data[1] == 126 else (2, data[1])


def receive_and_parse(
    server: Server, turn: Turn, parse: Callable[[bytes], object] | None, *, repeats: int, secure: bool
) -> list[float]:
    """Wall seconds of each repeat: drain a large turn; or, with ``parse``, keep it and parse its message."""
    whole = encode_turn(Turn(size=turn.size), 0)
    message = whole[whole.rindex(b'{"type":"response.completed"') :]
    buffer = bytearray(BUFFER)
    seconds: list[float] = []
    for _ in range(2):  # as in drain()
        with connected(server, secure=secure) as sock:
            seconds.clear()
            for ordinal in range(repeats + 1):
                size = len(encode_turn(turn, ordinal))
                start = time.perf_counter()
                send_request(sock, turn)
                if parse is None:
                    receive(sock, size, buffer)
                else:
                    keep(sock, size)
                    parse(message)
                seconds.append(time.perf_counter() - start)
    return seconds[1:]


def send_large(server: Server, size: int, *, secure: bool) -> float:
    """Wall seconds from the first byte of a request of ``size`` bytes to the end of a short answer."""
    turn = Turn(events=1)
    request = request_frame(turn, "x" * size)
    buffer = bytearray(BUFFER)
    with connected(server, secure=secure) as sock:
        start = time.perf_counter()
        sock.sendall(request)
        receive(sock, len(encode_turn(turn, 0)), buffer)
        return time.perf_counter() - start


@contextlib.contextmanager
def connected(server: Server, *, secure: bool = False, http: bool = False) -> Iterator[socket.socket]:
    port = (server.secure if secure else server.plain) or 0
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if secure:
            context = ssl.create_default_context(cafile=server.ca_file)
            sock = stack.enter_context(context.wrap_socket(sock, server_hostname="127.0.0.1"))
        if http:
            yield sock
            return
        sock.sendall(
            b"GET /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        yield sock


@contextlib.contextmanager
def handed_over(sock: socket.socket) -> Iterator[Callable[[], bytes]]:
    """What a thread of its own reads, read by read; an empty one is the end."""
    found: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        with contextlib.suppress(ConnectionError):  # the end of the turn is not that of the connection
            while data := sock.recv(READ):
                found.put(data)
        found.put(b"")

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield found.get
    finally:
        sock.shutdown(socket.SHUT_RDWR)
        thread.join()


def send_request(sock: socket.socket, turn: Turn, **fields: str) -> None:
    sock.sendall(request_frame(turn, PROMPT, **fields))


def request_of(turn: Turn) -> bytes:
    """The same over HTTP."""
    payload = json.dumps(
        {"stream": True, "model": MODEL, "input": PROMPT, "metadata": turn.metadata}
    ).encode()
    return b"POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b" % (
        len(payload),
        payload,
    )


def request_frame(turn: Turn, text: str, **fields: str) -> bytes:
    """One frame, masked with a key of zeros, which leaves the payload as it is."""
    payload = json.dumps(
        {"type": "response.create", "model": MODEL, "input": text, **fields, "metadata": turn.metadata}
    ).encode()
    if len(payload) < 1 << 16:  # and never so short that a byte could say it
        return struct.pack("!BBH4x", 0x81, 0x80 | 126, len(payload)) + payload
    return struct.pack("!BBQ4x", 0x81, 0x80 | 127, len(payload)) + payload


def keep(sock: socket.socket, size: int) -> bytearray:
    """The next ``size`` bytes, in memory of their own."""
    data = bytearray(size)
    filled = 0
    with memoryview(data) as view:
        while filled < size:
            filled += received(sock.recv_into(view[filled:]))
    return data


def receive(sock: socket.socket, size: int, buffer: bytearray) -> None:
    """Drain ``size`` bytes, as many at a time as come."""
    missing = size
    while missing > 0:
        missing -= received(sock.recv_into(buffer))


def take(read: Callable[[], bytes], size: int) -> None:
    """Have ``size`` bytes handed over, as many at a time as come."""
    missing = size
    while missing > 0:
        missing -= received(len(read()))


def received(count: int) -> int:
    if not count:
        raise EOFError("the server left before the end of the turn")
    return count
