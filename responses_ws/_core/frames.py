"""Bytes to messages and back: RFC 6455, section 5, for a client without extensions.

One read of the socket brings many small frames; they are cut from the buffer in one loop, with one call and
no system call for each. Everything that is not a whole, unfragmented text frame takes the slow path, where
the rules are checked clause by clause.
"""

from __future__ import annotations

import enum
import functools
import struct
import sys

from responses_ws._core.headers import Masker
from responses_ws._core.parser import Payload
from responses_ws._core.secret import Secret
from responses_ws.errors import ConnectionLost, PayloadTooLarge, ProtocolError

__all__ = ["FrameParser", "Opcode", "close_payload", "encode_frame"]


class Opcode(enum.IntEnum):
    """RFC 6455, 5.2."""

    CONT = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


FIN = 0x80
RESERVED = 0x70
MASKED = 0x80
CONTROL = 0x08
FIN_TEXT = FIN | Opcode.TEXT
CONT = int(Opcode.CONT)
HEAD = struct.Struct(">HH").unpack_from
SHORT_TEXT = FIN_TEXT << 8
"""The first two bytes of a whole message, which tell its length too if that is less than 126."""
MEDIUM_TEXT = SHORT_TEXT | 126
"""The length stands in the next two bytes."""
OPCODES = frozenset(Opcode)
OUR_PONG = bytes([FIN | Opcode.PONG, 0])
"""The answer to a ping without a payload."""

MAX_CONTROL_BYTES = 125
PIECE = 64 * 1024
"""Bytes from which on memory is taken with care: that which was not used before costs more to have than to
fill, for the kernel clears it page by page."""
SMALL = 1024
"""Bytes up to which a payload is masked in one piece."""
LITTLE = 4096
"""Bytes of a frame up to which its beginning waits for the next read and is cut with that: a place of its own
would cost more than the copy."""
EVERY_OCTET = int.from_bytes(bytes(range(256)), "big")
ONES = int.from_bytes(b"\1" * 256, "big")
NO_STATUS = 1005
CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
"""RFC 6455, 7.4.1 and the IANA registry; 3000 to 4999 are allowed besides (7.4.2)."""

Failure = ConnectionLost | PayloadTooLarge | ProtocolError


class FrameParser:
    """Cuts messages and control frames from the bytes of one connection.

    Not thread-safe: it belongs to the reader. After the first failure, or the peer's close frame, nothing
    more is read; what was complete before it was returned.

    :param max_message_bytes: of one message, headers of its frames included, so that a flood of empty
        fragments ends too; None means no limit.
    :param secrets: masked in the messages and in the reason of a close frame. A ping goes back unchanged.
    """

    def __init__(self, max_message_bytes: int | None = None, secrets: tuple[Secret, ...] = ()) -> None:
        self.failure: Failure | None = None
        self.pings: list[bytes] = []
        self._limit = sys.maxsize if max_message_bytes is None else max_message_bytes
        self._mask = Masker(secrets)
        # The start of a header that is not complete, or of a little frame.
        self._begun = b""
        # A frame whose payload is not complete: the first byte and the size of its header, the payload as far
        # as there is room for it, how much of that is filled, and its size in the end. A large message costs
        # what has come of it, in time and in memory, however small the pieces that it comes in.
        self._first = 0
        self._head = 0
        self._payload: bytearray | None = None
        self._filled = 0
        self._size = 0
        # A message in fragments: its payload so far (None between messages) and what it weighed on the wire.
        self._message: bytearray | None = None
        self._weight = 0

    def feed(self, data: bytes) -> list[Payload]:
        """Take what was read; return the payloads of the text messages that are now complete.

        Pings to answer are added to ``pings``; a failure or the peer's close is left in ``failure``.
        """
        # What an idle connection reads, again and again.
        if self.failure is not None or (data == OUR_PONG and self._payload is None and not self._begun):
            return []
        messages: list[Payload] = []
        try:
            if self._payload is not None:
                self._cut(data, self._fill(self._payload, data, messages), messages)
            else:
                data, self._begun = self._begun + data, b""
                self._cut(data, 0, messages)
        except (ConnectionLost, PayloadTooLarge, ProtocolError) as failure:
            # Without its traceback, whose frames hold what was received.
            self.failure = failure.with_traceback(None)
        # Looked for in all of it at once. The frames were cut from the bytes as they came: the end of a read
        # may cut a secret in two, and a header may look like the beginning of one.
        if messages and self._mask(data) is not data:
            messages = [self._mask(message) for message in messages]
        return messages

    def room(self, at_least: int) -> memoryview | None:
        """Where to receive what is missing of a data frame, if that is so many bytes; see :meth:`filled`.

        The view must be released before :meth:`filled` is called.
        """
        payload, missing = self._payload, self._size - self._filled
        if payload is None or missing < at_least or self._first & CONTROL:
            return None
        if self._filled == len(payload):
            self._grow(payload)
        return memoryview(payload)[self._filled : self._size]

    def filled(self, count: int) -> list[Payload]:
        """So many bytes were received into the room; what :meth:`feed` returns."""
        messages: list[Payload] = []
        self._filled += count
        if self._payload is not None and self._filled == self._size:
            self._complete(self._payload, messages)
        return messages

    def _fill(self, payload: bytearray, data: bytes, messages: list[Payload]) -> int:
        """Take what is missing of the payload; where that ends."""
        piece = data[: self._size - self._filled]
        end = self._filled + len(piece)
        while len(payload) < end and end >= PIECE:
            self._grow(payload)
        payload[self._filled : end] = piece
        self._filled = end
        if end == self._size:
            self._complete(payload, messages)
        return len(piece)

    def _grow(self, payload: bytearray) -> None:
        """Make room. A header that promises much has not sent it: the room doubles as it is filled.

        It begins with a size that ends, so doubled, a few bytes above the payload's: a last step of another
        size would be fresh memory for all of it.
        """
        if len(payload) >= PIECE:
            payload *= 2
            return
        doublings = max(0, (self._size // PIECE).bit_length() - 1)
        payload += bytes(-(-self._size >> doublings) - len(payload))

    def _complete(self, payload: bytearray, messages: list[Payload]) -> None:
        """Take the frame that has come in pieces, where it lies."""
        self._payload = None
        del payload[self._size :]
        self._take(self._first, payload, self._head + self._size, messages)
        messages[:] = [self._mask(message) for message in messages]

    def _cut(self, data: bytes, position: int, messages: list[Payload]) -> None:
        """Cut every whole frame from there on, and begin with the first incomplete one."""
        end = len(data)
        while True:
            if self._message is None:
                position = self._cut_events(data, position, messages)
            if position == end:
                return
            header = _header(data, position)
            if header is None:
                break
            first, start, length = header
            stop = start + length
            weight = stop - position
            # Most are one more piece of a large message.
            if first != (FIN_TEXT if self._message is None else CONT):
                self._check_header(first, length)
            if weight > self._limit - self._weight and not first & CONTROL:
                raise self._too_large(weight, length)
            if stop > end:
                if weight <= LITTLE:
                    break
                self._first, self._head = first, start - position
                self._payload = bytearray(data[start:])
                self._filled, self._size = end - start, length
                return
            if first == CONT and self._message is not None:
                stop = self._take_run(self._message, data, position, start, stop)
            else:
                self._take(first, data[start:stop], weight, messages)
            position = stop
        self._begun = data[position:]

    def _cut_events(self, data: bytes, position: int, messages: list[Payload]) -> int:
        """Cut the frames from there on that are as most are: whole messages of small size; where they end.

        What :meth:`_cut` does with every frame, in half the steps.
        """
        end = len(data)
        last, limit = end - 4, self._limit
        while position <= last:
            head, length = HEAD(data, position)
            start = position + 4
            if head != MEDIUM_TEXT:
                if not SHORT_TEXT <= head < MEDIUM_TEXT:
                    break
                start, length = position + 2, head - SHORT_TEXT
            stop = start + length
            if stop > end or stop - position > limit:
                break
            messages.append(data[start:stop])
            position = stop
        return position

    def _check_header(self, first: int, length: int) -> None:
        """What a header alone can get wrong (RFC 6455, 5.2, 5.4, 5.5), before its payload is waited for."""
        opcode = first & 0x0F
        if first & RESERVED:
            raise ProtocolError("the server set a reserved bit without an extension (RFC 6455, 5.2)")
        if opcode not in OPCODES:
            raise ProtocolError(f"the server used the reserved opcode {opcode:#x} (RFC 6455, 5.2)")
        if opcode & CONTROL:
            if not first & FIN:
                raise ProtocolError("the server fragmented a control frame (RFC 6455, 5.5)")
            if length > MAX_CONTROL_BYTES:
                raise ProtocolError(f"the server sent a control frame of {length} bytes (RFC 6455, 5.5)")
        elif opcode == Opcode.CONT:
            if self._message is None:
                raise ProtocolError("the server continued a message that it had not begun (RFC 6455, 5.4)")
        elif self._message is not None:
            raise ProtocolError("the server began a message inside another (RFC 6455, 5.4)")
        elif opcode == Opcode.BINARY:
            raise ProtocolError("the server sent a binary message; events are text", close_code=1003)

    def _take(self, first: int, payload: Payload, weight: int, messages: list[Payload]) -> None:
        """A whole frame whose header was checked."""
        if first == FIN_TEXT:
            messages.append(payload)
        elif first & CONTROL:
            self._take_control(first & 0x0F, payload)
        else:
            self._take_fragment(first, payload, weight, messages)

    def _take_fragment(self, first: int, payload: Payload, weight: int, messages: list[Payload]) -> None:
        message = bytearray() if self._message is None else self._message
        message += payload
        if first & FIN:
            self._message, self._weight = None, 0
            messages.append(self._mask(message))
        else:
            self._message, self._weight = message, self._weight + weight

    def _take_run(self, message: bytearray, data: bytes, position: int, start: int, stop: int) -> int:
        """Take a fragment and all that follow it with the same header; where they end.

        A large message comes in thousands. Nothing is said of them that was not checked of the first, but
        for the limit.
        """
        head, weight = data[position:start], stop - position
        count = min(len(data) - position, self._limit - self._weight) // weight
        run = memoryview(data)[position : position + count * weight]
        stop = position
        for each, payload in struct.iter_unpack(f"{len(head)}s{weight - len(head)}s", run):
            if each != head:
                break
            message += payload
            stop += weight
        self._weight += stop - position
        return stop

    def _take_control(self, opcode: int, payload: Payload) -> None:
        if opcode == Opcode.PING:
            self.pings.append(bytes(payload))
        elif opcode == Opcode.CLOSE:
            raise _closed(self._mask(payload))

    def _too_large(self, weight: int, length: int) -> PayloadTooLarge | ProtocolError:
        if length >> 63:
            return ProtocolError("the server sent a length with its highest bit set (RFC 6455, 5.2)")
        size = self._weight + weight
        return PayloadTooLarge(
            f"the server sent a message of {size} bytes or more; max_message_bytes is {self._limit}",
            size=size,
            limit=self._limit,
        )


def _header(data: bytes, position: int) -> tuple[int, int, int] | None:
    """The first byte of the frame that begins there, where its payload begins, and the length of that.

    None when the header is not complete.
    """
    have = len(data) - position
    if have < 2:
        return None
    first, length = data[position : position + 2]
    if length > 127:
        raise ProtocolError("the server sent a masked frame (RFC 6455, 5.1)")
    size = {126: 4, 127: 10}.get(length, 2)
    if have < size:
        return None
    start = position + size
    if size > 2:
        length = int.from_bytes(data[position + 2 : start], "big")
    return first, start, length


def _closed(payload: Payload) -> ConnectionLost:
    """The peer's close frame (RFC 6455, 5.5.1) as the end that it means."""
    if not payload:
        return ConnectionLost("the server closed the connection without a code", close_code=NO_STATUS)
    if len(payload) == 1:
        raise ProtocolError("the server sent a close frame with half a code (RFC 6455, 5.5.1)")
    code = int.from_bytes(payload[:2], "big")
    if code not in CLOSE_CODES and not 3000 <= code <= 4999:
        raise ProtocolError(f"the server closed with the code {code}, which may not be sent (RFC 6455, 7.4)")
    reason = _text(payload[2:])
    if reason is None:
        raise ProtocolError(
            "the reason of the server's close frame is not UTF-8 (RFC 6455, 8.1)", close_code=1007
        )
    told = f" ({reason})" if reason else ""
    return ConnectionLost(
        f"the server closed the connection with code {code}{told}", close_code=code, close_reason=reason
    )


def _text(payload: Payload) -> str | None:
    """The text, or None for what is no UTF-8: the decoder's error would hold the payload."""
    try:
        return str(payload, "utf-8")
    except UnicodeDecodeError:
        return None


def close_payload(code: int, reason: str = "") -> bytes:
    """The body of a close frame, its reason cut to what fits (RFC 6455, 5.5)."""
    room = MAX_CONTROL_BYTES - 2
    return code.to_bytes(2, "big") + reason.encode()[:room].decode(errors="ignore").encode()


def encode_frame(opcode: int, payload: bytes, key: bytes, *, final: bool = True) -> bytearray:
    """One masked frame (RFC 6455, 5.2 and 5.3).

    :param key: four bytes that nobody can foretell, another four for every frame.
    """
    size = len(payload)
    frame = bytearray((opcode | (FIN if final else 0),))
    if size < 126:
        frame.append(MASKED | size)
    elif size < 1 << 16:
        frame.append(MASKED | 126)
        frame += size.to_bytes(2, "big")
    else:
        frame.append(MASKED | 127)
        frame += size.to_bytes(8, "big")
    frame += key
    if size < SMALL:
        mask = (key * (size // 4 + 1))[:size]
        frame += (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")
        return frame
    start = len(frame)
    frame += payload
    # Every fourth byte has the same mask. As two long integers, as above, it takes half as long again.
    for place, each in enumerate(key):
        frame[start + place :: 4] = payload[place::4].translate(_table(each))
    return frame


@functools.cache
def _table(mask: int) -> bytes:
    """What every byte becomes, all at once as one integer. All of the tables together are 74 KB."""
    return (EVERY_OCTET ^ mask * ONES).to_bytes(256, "big")
