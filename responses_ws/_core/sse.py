"""Bytes to event payloads: the receiving half of server-sent events (WHATWG HTML, 9.2).

Lines end at LF, CR or CRLF and at nothing else: U+2028 and U+0085, at which text is split too, may stand in
a JSON string. Everything stays bytes; a payload is decoded once, strictly, where its JSON is parsed.
"""

from __future__ import annotations

import io
import sys

from responses_ws._core.headers import Masker
from responses_ws._core.secret import Secret
from responses_ws.errors import PayloadTooLarge

__all__ = ["EventStreamParser"]

BOM = b"\xef\xbb\xbf"
DONE = b"[DONE]"


class EventStreamParser:
    """Cuts the payloads of the events from the bytes of one response.

    ``event``, ``id`` and ``retry`` say nothing that the payload does not; comments and events without data
    are none. What follows the last empty line is no event, so a stream that was cut yields no half of one.
    Not thread-safe.

    :param max_message_bytes: of one event, and of one line of any kind; None means no limit.
    :param secrets: masked in the payloads.
    :ivar failure: set once a limit was passed; what was complete before it was returned.
    :ivar done: whether ``[DONE]`` came, with which some services end the stream.
    """

    def __init__(self, max_message_bytes: int | None = None, secrets: tuple[Secret, ...] = ()) -> None:
        self.failure: PayloadTooLarge | None = None
        self.done = False
        self._limit = sys.maxsize if max_message_bytes is None else max_message_bytes
        self._mask = Masker(secrets)
        # The data of an event that has not ended, and its bytes with the ends of all its lines. Most events
        # have one; in a list of many a short one would take twenty times its bytes.
        self._data: bytes | bytearray | None = None
        self._size = 0
        # The start of a line whose end has not come: looked at once, however small its pieces.
        self._begun = io.BytesIO()
        self._after_cr = False
        self._first_line = True

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read; return the payloads of the events that are now complete."""
        if self.failure is not None or not data:
            return []
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        lines = data.splitlines()
        begun = lines.pop() if lines and not data.endswith((b"\r", b"\n")) else b""
        payloads: list[bytes] = []
        try:
            self._take(lines, payloads)
            self._begun.write(begun)
            self._check(self._begun.tell())
        except PayloadTooLarge as failure:
            # Without its traceback, whose frames hold what was received.
            self.failure = failure.with_traceback(None)
        return payloads

    def _take(self, lines: list[bytes], payloads: list[bytes]) -> None:
        """Whole lines, without their ends; of the first, what has not come before."""
        if lines:
            lines[0] = self._complete(lines[0])
        for line in lines:
            # By far most lines of an event are not too long, and not of data.
            if len(line) > self._limit - self._size:
                self._check(len(line))
            if line.startswith(b"data"):
                self._take_field(line)
            elif not line and self._data is not None:
                self._dispatch(bytes(self._data), payloads)

    def _complete(self, line: bytes) -> bytes:
        if self._begun.tell():
            self._begun.write(line)
            line = self._begun.getvalue()
            self._begun = io.BytesIO()
        if self._first_line:
            self._first_line = False
            self._check(len(line))  # with its mark, as a piece of it is
            line = line.removeprefix(BOM)
        return line

    def _take_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name != b"data":
            return
        value = value.removeprefix(b" ")
        self._size += len(value) + 1
        if self._data is None:
            self._data = value
            return
        if isinstance(self._data, bytes):
            self._data = bytearray(self._data)
        self._data += b"\n"
        self._data += value

    def _dispatch(self, payload: bytes, payloads: list[bytes]) -> None:
        self._data = None
        self._size = 0
        if payload == DONE:
            self.done = True
        elif payload.strip():
            payloads.append(self._mask(payload))

    def _check(self, more: int) -> None:
        size = self._size + more
        if size > self._limit:
            raise PayloadTooLarge(
                f"the server sent an event of {size} bytes or more; max_message_bytes is {self._limit}",
                size=size,
                limit=self._limit,
            )
