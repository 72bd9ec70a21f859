"""The steps that begin and end a connection: answers to the upgrade, and every kind of end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from responses_ws.testing.step import Step
from responses_ws.testing.upgrade import http_response

if TYPE_CHECKING:
    from responses_ws.testing.connection import Connection

__all__ = [
    "accept",
    "close",
    "close_frame",
    "connect_reply",
    "eof",
    "hang",
    "raw_handshake",
    "refuse",
    "reset",
]


@dataclass(frozen=True)
class Accept(Step):
    headers: Mapping[str, str]
    opens = True
    needs_client = True

    def play(self, connection: Connection) -> None:
        connection.accept(self.headers)


def accept(headers: Mapping[str, str] | None = None) -> Step:
    """Accept the upgrade with more headers, or others, than RFC 6455 asks for.

    Without this step the upgrade is accepted before the first step that needs it.
    """
    return Accept(dict(headers or {}))


@dataclass(frozen=True)
class Refuse(Step):
    response: bytes
    opens = True

    def play(self, connection: Connection) -> None:
        connection.take_request()
        connection.answered = True
        connection.send_raw(self.response, kind="handshake")
        connection.finish(notify=True)


def refuse(
    status: int,
    headers: Mapping[str, str] | None = None,
    body: bytes | str | Mapping[str, Any] = b"",
    reason: str | None = None,
    framing: str = "length",
) -> Step:
    """Answer the upgrade request, or the HTTP request, with a response and end the connection.

    :param body: an object is sent as JSON.
    :param reason: the reason phrase; None takes the usual one, an empty string sends none.
    :param framing: how the body ends: ``length`` (Content-Length), ``chunked``, or ``close`` (with the
        connection).
    """
    return Refuse(http_response(status, dict(headers or {}), body, reason, framing))


@dataclass(frozen=True)
class RawHandshake(Step):
    data: bytes
    opens = True

    def play(self, connection: Connection) -> None:
        connection.take_request()
        if connection.http:
            connection.http.answer(self.data)
        else:
            connection.answer(self.data)


def raw_handshake(data: bytes) -> Step:
    """Answer the upgrade request with any bytes, or with none, and take the connection for upgraded.

    An HTTP request is answered in the same way.
    """
    return RawHandshake(data)


@dataclass(frozen=True)
class Hang(Step):
    read: bool
    opens = True

    @property
    def required(self) -> bool:
        return False

    def play(self, connection: Connection) -> None:
        if self.read:
            connection.take_request()
        else:
            connection.pause()
        connection.answered = True
        connection.wait(lambda: connection.over)


def hang(*, read: bool = True) -> Step:
    """Read the upgrade request, or the HTTP request, and never answer it, until the client leaves.

    :param read: False reads nothing at all, not even the beginning of TLS, until the server is closed.
    """
    return Hang(read)


@dataclass(frozen=True)
class ConnectReply(Step):
    data: bytes
    opens = True
    needs_client = True

    def play(self, connection: Connection) -> None:
        connection.read_head()
        connection.send_raw(self.data, kind="handshake")


def connect_reply(data: bytes) -> Step:
    """Play an HTTP proxy: read a CONNECT request, answer with ``data``, go on as the target.

    On a TLS server TLS begins after the answer.
    """
    return ConnectReply(data)


@dataclass(frozen=True)
class Close(Step):
    code: int | None
    reason: str

    def play(self, connection: Connection) -> None:
        connection.close(self.code, self.reason)


def close(code: int | None = 1000, reason: str = "") -> Step:
    """Send a close frame, wait up to five seconds for the client's, and end the sending direction.

    Over HTTP the answer ends, as its framing asks for, and then the connection.

    :param code: any number, also one that RFC 6455 forbids; None sends a frame without a code.
    """
    if code is None and reason:
        raise ValueError("a close frame without a code has no room for a reason")
    return Close(code, reason)


@dataclass(frozen=True)
class CloseFrame(Step):
    payload: bytes

    def play(self, connection: Connection) -> None:
        connection.send_close(self.payload)


def close_frame(payload: bytes) -> Step:
    """Send a close frame with any payload and go on to the next step."""
    return CloseFrame(payload)


@dataclass(frozen=True)
class Eof(Step):
    def play(self, connection: Connection) -> None:
        connection.finish(notify=False)


def eof() -> Step:
    """End the TCP connection by FIN, without a close frame and without a word in TLS."""
    return Eof()


@dataclass(frozen=True)
class Reset(Step):
    def play(self, connection: Connection) -> None:
        connection.reset()


def reset() -> Step:
    """End the TCP connection by RST."""
    return Reset()
