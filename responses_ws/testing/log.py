"""What the scripted server saw and said: one entry a message, one record a connection."""

from __future__ import annotations

import json
import struct
import threading
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ConnectionRecord", "LogEntry", "parse_close"]


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One thing that went over a connection.

    :ivar connection: the number of the connection, from 1.
    :ivar direction: ``in`` from the client, ``out`` from the server.
    :ivar kind: ``handshake`` (the head of a request), ``response`` (of an HTTP answer), ``text``, ``binary``,
        ``ping``, ``pong``, ``close``, ``raw`` (bytes sent past the protocol), ``eof`` or ``reset`` (the TCP
        connection ended).
    :ivar data: the payload in bytes, a whole message where it came in fragments; for a handshake the head.
    :ivar frames: the number of frames that carried the message.
    """

    connection: int
    direction: str
    kind: str
    data: bytes = field(default=b"", repr=False)
    frames: int = 1

    @property
    def text(self) -> str:
        """The payload as text."""
        return self.data.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        """The payload as JSON. Raises ValueError when it is none."""
        return json.loads(self.data)

    @property
    def close_code(self) -> int:
        """The code of a close frame; 1005 when it has none (RFC 6455, 7.1.5)."""
        return parse_close(self.data)[0]


@dataclass(slots=True, eq=False)
class ConnectionRecord:
    """One TCP connection that the server accepted.

    :ivar number: from 1, in the order of accepting.
    :ivar path: of the first request, with the query; None before it came.
    :ivar headers: of the first request, names in lower case, repeated ones joined by a comma.
    :ivar close_code: of the client's close frame: 1005 for a frame without code, None without a frame.
    :ivar close_reason: of the client's close frame, or None.
    :ivar ended: how the connection ended: ``close`` (the client sent a close frame), ``eof`` (it ended the
        TCP connection without one), ``reset`` (by RST), ``tls`` (the TLS handshake failed), ``server`` (this
        side ended it); None while it is open.
    :ivar gone: set when the TCP connection is over.
    """

    number: int
    path: str | None = None
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    close_code: int | None = None
    close_reason: str | None = None
    ended: str | None = None
    gone: threading.Event = field(default_factory=threading.Event, repr=False)

    def take_head(self, head: bytes) -> None:
        """Note what the first request says."""
        request, *fields = head.decode("latin-1").strip().split("\r\n")
        self.path = request.split(" ")[1] if request.count(" ") == 2 else None
        for line in fields:
            name, _, value = line.partition(":")
            known = self.headers.get(name.lower())
            values = [value.strip()] if known is None else [known, value.strip()]
            self.headers[name.lower()] = ", ".join(values)


def parse_close(payload: bytes) -> tuple[int, str]:
    """The code and the reason in the payload of a close frame (RFC 6455, 5.5.1)."""
    if len(payload) < 2:
        return 1005, ""
    (code,) = struct.unpack_from(">H", payload)
    return code, payload[2:].decode("utf-8", "replace")
