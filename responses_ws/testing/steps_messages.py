"""The steps that send to the client and wait for what it sends.

While a step waits, the server goes on reading, so that pings get pongs and a close frame is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from responses_ws.testing.frames import MessageData, encode, frame
from responses_ws.testing.interruptions import ScriptError
from responses_ws.testing.matching import differences
from responses_ws.testing.script import perform
from responses_ws.testing.step import Step, flattened

if TYPE_CHECKING:
    from responses_ws.testing.connection import Connection

__all__ = [
    "expect",
    "expect_close",
    "expect_gone",
    "expect_ping",
    "expect_pong",
    "fragments",
    "half_frame",
    "ping",
    "raw",
    "send",
    "send_binary",
]

Match = Mapping[str, Any] | Callable[[dict[str, Any]], object] | None


@dataclass(frozen=True)
class Expect(Step):
    match: Match
    needs_client = True

    def play(self, connection: Connection) -> None:
        if found := differences(self.match or {}, connection.receive()):
            raise ScriptError(f"the message does not match: {'; '.join(found)}")


def expect(match: Match = None, **fields: Any) -> Step:
    """Wait for the next message, or over HTTP the next ``POST`` of a response, and compare it.

    :param match: an object of which the message must have all keys and values, at every depth; or a
        predicate of the whole message; None accepts any JSON object.
    :param fields: more keys to have. A value that is callable is a predicate of the message's value.
    """
    if callable(match):
        if fields:
            raise TypeError("expect takes a predicate or fields, not both")
        return Expect(match)
    return Expect({**(match or {}), **fields})


@dataclass(frozen=True)
class Send(Step):
    events: tuple[MessageData, ...]

    def play(self, connection: Connection) -> None:
        connection.send(*self.events)


def send(*events: MessageData) -> Step:
    """Send each event as one text message: an object as JSON, text or bytes as they are.

    Over HTTP each is one event of an event stream, whose head is sent before the first; it ends after a last
    event that ends a response, and otherwise with the next request.
    """
    return Send(events)


@dataclass(frozen=True)
class SendBinary(Step):
    data: bytes

    def play(self, connection: Connection) -> None:
        connection.send_binary(self.data)


def send_binary(data: bytes) -> Step:
    """Send one binary message."""
    return SendBinary(data)


@dataclass(frozen=True)
class Fragments(Step):
    event: MessageData
    size: int
    between: tuple[Step, ...]

    def play(self, connection: Connection) -> None:
        data = encode(self.event)
        starts = range(0, max(len(data), 1), self.size)
        connection.log_message(data, len(starts))
        for start in starts:
            last = start == starts[-1]
            connection.send_fragment(data[start : start + self.size], first=start == 0, last=last)
            if not last:
                for step in self.between:
                    perform(step, connection)


def fragments(event: MessageData, size: int, between: Sequence[Step] = ()) -> Step:
    """Send one text message in fragments.

    :param size: bytes of each, the last one excepted; characters are cut where it falls.
    :param between: steps to play after every fragment but the last.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 byte, not {size!r}")
    return Fragments(event, size, flattened(between))


@dataclass(frozen=True)
class Raw(Step):
    data: bytes

    def play(self, connection: Connection) -> None:
        connection.send_raw(self.data)


def raw(data: bytes) -> Step:
    """Send any bytes on the open connection."""
    return Raw(data)


def half_frame(event: MessageData) -> Step:
    """Send the first half of the bytes of the event's frame."""
    whole = frame(encode(event))
    return Raw(whole[: len(whole) // 2])


@dataclass(frozen=True)
class Ping(Step):
    data: bytes

    def play(self, connection: Connection) -> None:
        connection.send_ping(self.data)


def ping(data: bytes = b"") -> Step:
    """Send a ping; over HTTP a comment."""
    return Ping(data)


@dataclass(frozen=True)
class ExpectPing(Step):
    needs_client = True

    def play(self, connection: Connection) -> None:
        connection.receive_ping()


def expect_ping() -> Step:
    """Wait for a ping of the client, or take one that came before."""
    return ExpectPing()


@dataclass(frozen=True)
class ExpectPong(Step):
    data: bytes | None
    needs_client = True

    def play(self, connection: Connection) -> None:
        while connection.receive_pong() != self.data and self.data is not None:
            pass


def expect_pong(data: bytes | None = None) -> Step:
    """Wait for a pong, or take one that came before.

    :param data: that it must carry; pongs with other data are passed over. None accepts any.
    """
    return ExpectPong(data)


@dataclass(frozen=True)
class ExpectClose(Step):
    code: int | None
    needs_client = True
    ends_client = True

    def play(self, connection: Connection) -> None:
        connection.resume()
        connection.wait(lambda: connection.gone)
        if connection.record.close_code is None:
            raise ScriptError("the client ended the TCP connection without a close frame")
        if self.code not in (None, connection.record.close_code):
            raise ScriptError(f"the client closed with {connection.record.close_code}, not {self.code}")


def expect_close(code: int | None = None) -> Step:
    """Wait for the client's close frame.

    :param code: that it must have, 1005 for a frame without one; None accepts any.
    """
    return ExpectClose(code)


@dataclass(frozen=True)
class ExpectGone(Step):
    needs_client = True
    ends_client = True

    def play(self, connection: Connection) -> None:
        connection.resume()
        connection.wait(lambda: connection.gone)


def expect_gone() -> Step:
    """Wait until the client has left: by a close frame, an end of TCP or a reset."""
    return ExpectGone()
