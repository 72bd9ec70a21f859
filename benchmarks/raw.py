"""The limits of the machine: a bare socket that drains a burst, and one that notes when each event came.

Neither understands what it reads, so no client can be faster. The first proves that the server is not what
a client waits for; the second tells a client's latency from that of the kernel and of the scheduler.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from server import WARM_UP_EVENTS, encode_turn

__all__ = ["drain", "follow"]

STAMPED = re.compile(rb'"delta":"(\d{20})"')


def drain(url: str, events: int) -> float:
    """Wall seconds from the request to the last byte of a burst of ``events`` deltas."""
    buffer = bytearray(1024 * 1024)
    with connect(url) as sock:
        for ordinal, count in enumerate((WARM_UP_EVENTS, events)):
            missing = len(encode_turn(count, ordinal))
            start = time.perf_counter()
            send_request(sock, count, rate=0)
            while missing > 0:
                missing -= read_into(sock, buffer)
    return time.perf_counter() - start


def follow(url: str, events: int, rate: int) -> list[int]:
    """Nanoseconds between the sending of each delta and the return of the ``recv`` that brought it."""
    latencies: list[int] = []
    pending = b""
    with connect(url) as sock:
        send_request(sock, events, rate)
        while len(latencies) < events:
            pending += sock.recv(65536)
            now = time.monotonic_ns()
            end = 0
            for match in STAMPED.finditer(pending):
                latencies.append(now - int(match[1]))
                end = match.end()
            pending = pending[end:]
    return latencies


@contextlib.contextmanager
def connect(url: str) -> Iterator[socket.socket]:
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port or 80)) as sock:
        sock.sendall(
            f"GET {address.path}/responses HTTP/1.1\r\nHost: {address.netloc}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        yield sock


def send_request(sock: socket.socket, events: int, rate: int) -> None:
    """One frame, masked with a key of zeros, which leaves the payload as it is."""
    metadata = {"events": str(events), "rate": str(rate)}
    payload = json.dumps({"type": "response.create", "metadata": metadata}).encode()
    sock.sendall(struct.pack("!BB4x", 0x81, 0x80 | len(payload)) + payload)


def read_into(sock: socket.socket, buffer: bytearray) -> int:
    size = sock.recv_into(buffer)
    if not size:
        raise EOFError("the server left before the end of the turn")
    return size
