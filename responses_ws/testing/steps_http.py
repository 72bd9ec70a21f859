"""The steps that speak HTTP and nothing else: requests of every kind, whole answers, and streams by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from responses_ws.testing.http import HttpSide
from responses_ws.testing.interruptions import ClientGone, ScriptError
from responses_ws.testing.matching import differences
from responses_ws.testing.step import Step

if TYPE_CHECKING:
    from responses_ws.testing.connection import Connection

__all__ = ["begin_stream", "end_stream", "expect_request", "read_head", "respond", "stream_bytes"]


def _http(connection: Connection) -> HttpSide:
    """The HTTP of a connection on which a request is waiting for its answer, or has got part of it."""
    if not (connection.http and (connection.http.request or connection.http.streaming)):
        connection.take_request()
    if connection.http is None:
        raise ScriptError("the client asked for an upgrade")
    return connection.http


@dataclass(frozen=True)
class ExpectRequest(Step):
    method: str
    path: str
    body: Mapping[str, Any] | None
    headers: Mapping[str, Any]
    opens = True
    needs_client = True

    def play(self, connection: Connection) -> None:
        if not connection.answered:
            connection.take_request()
        if connection.http is None:
            raise ScriptError("the client asked for an upgrade")
        request = connection.http.receive()
        if request.method != self.method or not request.path.endswith(self.path):
            raise ScriptError(f"{request.method} {request.path} came, not {self.method} {self.path}")
        found = differences(self.headers, request.headers)
        if self.body is not None:
            found += differences(self.body, request.json)
        if found:
            raise ScriptError(f"the request does not match: {'; '.join(found)}")


def expect_request(
    method: str = "POST",
    path: str = "/responses",
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, Any] | None = None,
) -> Step:
    """Wait for an HTTP request and compare it.

    :param path: how its path ends.
    :param body: keys and values that its JSON must have, at every depth; None accepts any body.
    :param headers: headers that it must have, names in lower case; a callable value is a predicate.
    """
    return ExpectRequest(method, path, body, dict(headers or {}))


@dataclass(frozen=True)
class ReadHead(Step):
    count: int
    opens = True
    needs_client = True

    def play(self, connection: Connection) -> None:
        connection.read_request()
        connection.answered = True
        connection.pause(after=self.count)
        connection.wait(lambda: connection.paused or connection.over)
        if not connection.paused:
            raise ClientGone


def read_head(count: int = 0) -> Step:
    """Read the head of the first request and ``count`` more bytes, then stop reading: a held upload.

    What is sent afterwards is for :func:`raw`.
    """
    return ReadHead(count)


@dataclass(frozen=True)
class Respond(Step):
    status: int
    headers: Mapping[str, str]
    body: bytes | str | Mapping[str, Any] = field(repr=False)
    reason: str | None
    framing: str
    opens = True

    def play(self, connection: Connection) -> None:
        _http(connection).respond(self.status, self.headers, self.body, self.reason, self.framing)


def respond(
    status: int,
    headers: Mapping[str, str] | None = None,
    body: bytes | str | Mapping[str, Any] = b"",
    reason: str | None = None,
    framing: str = "length",
) -> Step:
    """Answer the next HTTP request, or the one that was expected; the connection stays open.

    :param body: an object is sent as JSON.
    :param reason: the reason phrase; None takes the usual one, an empty string sends none.
    :param framing: how the body ends: ``length``, ``chunked``, or ``close`` (with the connection).
    """
    return Respond(status, dict(headers or {}), body, reason, framing)


@dataclass(frozen=True)
class BeginStream(Step):
    headers: Mapping[str, str]
    chunked: bool
    opens = True

    def play(self, connection: Connection) -> None:
        _http(connection).begin_stream(self.headers, chunked=self.chunked)


def begin_stream(headers: Mapping[str, str] | None = None, *, chunked: bool = True) -> Step:
    """Send the head of an event stream, as an answer to the next HTTP request or the one expected.

    Without this step it is sent before the first event.

    :param headers: added to the head, or replacing what it has.
    :param chunked: False lets the end of the connection end the stream.
    """
    return BeginStream(dict(headers or {}), chunked)


@dataclass(frozen=True)
class StreamBytes(Step):
    data: bytes
    opens = True

    def play(self, connection: Connection) -> None:
        _http(connection).stream(self.data)


def stream_bytes(data: bytes) -> Step:
    """Send any bytes of the event stream, as one chunk."""
    return StreamBytes(data)


@dataclass(frozen=True)
class EndStream(Step):
    opens = True

    def play(self, connection: Connection) -> None:
        _http(connection).end_stream()


def end_stream() -> Step:
    """End the event stream in good order, whatever was said in it; the connection stays open if it can."""
    return EndStream()
