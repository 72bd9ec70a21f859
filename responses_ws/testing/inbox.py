"""What the client sent: frames put together, logged and kept until a step takes them."""

from __future__ import annotations

import contextlib
import json
from collections import deque

from websockets.frames import Frame, Opcode

from responses_ws.testing.interruptions import ScriptError
from responses_ws.testing.log import ConnectionRecord, LogEntry, parse_close
from responses_ws.testing.shared import Shared

__all__ = ["Inbox"]

KINDS = {
    Opcode.TEXT: "text",
    Opcode.BINARY: "binary",
    Opcode.PING: "ping",
    Opcode.PONG: "pong",
    Opcode.CLOSE: "close",
}


class Inbox:
    """Messages, pings and pongs in the order in which they came.

    :ivar messages: text as str, binary as bytes.
    """

    def __init__(self, record: ConnectionRecord, shared: Shared) -> None:
        self.messages: deque[str | bytes] = deque()
        self.pings: deque[bytes] = deque()
        self.pongs: deque[bytes] = deque()
        self._record = record
        self._shared = shared
        self._frames: list[Frame] = []

    def add(self, received: Frame) -> None:
        """Take one frame. Raises ScriptError for text that is not UTF-8."""
        if received.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._frames.append(received)
            if received.fin:
                self._add_message()
        else:
            self._add_control(received.opcode, bytes(received.data))

    def _add_control(self, opcode: Opcode, data: bytes) -> None:
        self._log(opcode, data)
        if opcode is Opcode.PING:
            self.pings.append(data)
        elif opcode is Opcode.PONG:
            self.pongs.append(data)
        else:
            self._record.close_code, self._record.close_reason = parse_close(data)

    def _add_message(self) -> None:
        frames, self._frames = self._frames, []
        data = b"".join(piece.data for piece in frames)
        self._log(frames[0].opcode, data, len(frames))
        if frames[0].opcode is Opcode.BINARY:
            self.messages.append(data)
            return
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise ScriptError("the client broke RFC 6455: a text message is not UTF-8") from None
        self._keep_request(text)
        self.messages.append(text)

    def _keep_request(self, text: str) -> None:
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(text)
            if isinstance(value, dict):
                self._shared.note_request(value)

    def _log(self, opcode: Opcode, data: bytes, frames: int = 1) -> None:
        self._shared.note(LogEntry(self._record.number, "in", KINDS[opcode], data, frames))
