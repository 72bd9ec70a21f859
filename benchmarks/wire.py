"""RFC 6455 and HTTP/1.1 by hand, as much of the serving side as a benchmark needs."""

from __future__ import annotations

import base64
import hashlib
import re
import select
import socket
import ssl
import struct

__all__ = ["CLOSE", "PING", "PONG", "Wire", "accept", "content_length", "server_frame", "unmask"]

ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
CONTINUATION, TEXT, CLOSE, PING, PONG = 0, 1, 8, 9, 10
PIECE = 64 * 1024
SLICE = 256 * 1024
TAIL = 64 * 1024
"""Bytes at the end of a request that are unmasked. What the server must know stands there; undoing what a
client did to megabytes would make it wait for the server."""


class Wire:
    """A connection with what has been read of it and not yet been used.

    :ivar received: bytes that came on this connection so far.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = 0
        self._pending = bytearray()

    def read(self, size: int) -> bytearray:
        """Exactly ``size`` bytes; EOFError when the client left."""
        missing = size - len(self._pending)
        if missing > PIECE:
            return self._read_large(size)
        while len(self._pending) < size:
            self._pending += self._receive()
        data, self._pending = self._pending[:size], self._pending[size:]
        return data

    def _read_large(self, size: int) -> bytearray:
        whole = bytearray(size)
        filled = len(self._pending)
        whole[:filled] = self._pending
        self._pending.clear()
        with memoryview(whole) as view:
            while filled < size:
                filled += self._count(self.sock.recv_into(view[filled:]))
        return whole

    def head(self) -> bytes:
        """The start line and the fields of an HTTP request."""
        while (end := self._pending.find(b"\r\n\r\n")) < 0:
            self._pending += self._receive()
        return bytes(self.read(end + 4))

    def message(self) -> bytes:
        """The end of the next text message; control frames before and inside it are answered."""
        while (message := self.message_or_control()) is None:
            pass
        return message

    def message_or_control(self) -> bytes | None:
        """The same, or None once a control frame before it was answered: a message may be long in coming."""
        frames: list[tuple[bytes, bytearray]] = []
        final = False
        while not final:
            final, opcode, mask, payload = self._frame()
            if opcode in (CONTINUATION, TEXT):
                frames.append((mask, payload))
                continue
            self._answer(opcode, unmask(payload, mask))
            if not frames:
                return None
            final = False
        tail = b""
        while frames and len(tail) < TAIL:
            mask, payload = frames.pop()
            start = max(0, len(payload) - TAIL) & ~3
            tail = unmask(payload[start:], mask) + tail
        return tail

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_large(self, data: bytes) -> None:
        """Send in large pieces, answering pings between them."""
        self.sock.sendall(data[:SLICE])
        with memoryview(data) as view:
            for start in range(SLICE, len(data), SLICE):
                self.answer_for(0)
                self.sock.sendall(view[start : start + SLICE])

    def answer_for(self, seconds: float) -> None:
        """Answer the first control frame that comes in this time."""
        if self.readable(seconds):
            _, opcode, mask, payload = self._frame()
            self._answer(opcode, unmask(payload, mask))

    def readable(self, seconds: float) -> bool:
        if self._pending or (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()):
            return True
        return bool(select.select([self.sock], [], [], max(0.0, seconds))[0])

    def _answer(self, opcode: int, payload: bytes) -> None:
        """A ping gets its pong; a close frame gets its echo and ends the connection."""
        if opcode == PING:
            self.send(server_frame(payload, PONG))
        elif opcode == CLOSE:
            self.send(server_frame(payload, CLOSE))
            raise EOFError

    def _frame(self) -> tuple[bool, int, bytes, bytearray]:
        if not self._pending:
            self._pending += self._receive()
        head = bytes(self._pending[:8])
        # A short request, whole and alone: what a client waits for is not the server's reading.
        if len(head) == 8 and head[1] & 0x7F == 126 and len(self._pending) == 8 + (head[2] << 8 | head[3]):
            payload, self._pending = self._pending[8:], bytearray()
            return bool(head[0] & 0x80), head[0] & 0x0F, head[4:], payload
        first, second = self.read(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.read(8))
        mask = bytes(self.read(4))
        return bool(first & 0x80), first & 0x0F, mask, self.read(length)

    def _receive(self) -> bytes:
        data = self.sock.recv(PIECE)
        self._count(len(data))
        return data

    def _count(self, size: int) -> int:
        if not size:
            raise EOFError
        self.received += size
        return size


def unmask(payload: bytes | bytearray, mask: bytes) -> bytes:
    """RFC 6455, 5.3, as one exclusive or of two long integers."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def accept(head: bytes) -> bytes:
    """The answer to an upgrade. No extension is accepted, so no client decompresses."""
    key = _field(head, b"sec-websocket-key") + ACCEPT_GUID
    digest = base64.b64encode(hashlib.sha1(key, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n"
    )


def content_length(head: bytes) -> int:
    return int(_field(head, b"content-length"))


def _field(head: bytes, name: bytes) -> bytes:
    found = re.search(rb"\r\n" + name + rb": *([^\r]*)", head, re.IGNORECASE)
    if found is None:
        raise ValueError(f"no {name.decode()} in the request")
    return found[1]


def server_frame(payload: bytes, opcode: int = TEXT, *, final: bool = True) -> bytes:
    """One unmasked frame."""
    head = opcode | (0x80 if final else 0)
    if len(payload) < 126:
        return struct.pack("!BB", head, len(payload)) + payload
    if len(payload) < 1 << 16:
        return struct.pack("!BBH", head, 126, len(payload)) + payload
    return struct.pack("!BBQ", head, 127, len(payload)) + payload
