"""One HTTP request and its answer at a time, on kept connections."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import http.client
import os
import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from responses_ws._core.events import http_error
from responses_ws._core.headers import Masker
from responses_ws._core.secret import Secret
from responses_ws._transport import net
from responses_ws._transport.base import Target
from responses_ws._transport.deadline import Deadline, overdue
from responses_ws._transport.http import Line
from responses_ws._transport.http_wire import NothingYetError, Reader, Wire
from responses_ws.errors import (
    ConnectionLost,
    Delivery,
    ProtocolError,
    ResponseError,
    ResponsesWSError,
    ResponseTimeout,
)

if TYPE_CHECKING:
    from requests import Response

__all__ = ["Exchange", "HttpClient"]

READ_BYTES = 64 * 1024
MAX_ERROR_BYTES = 64 * 1024
MAX_ERROR_SECONDS = 2.0

HEADERS = {
    "User-Agent": "",
    "Accept": "text/event-stream, application/json",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
}
"""What the libraries would otherwise set in their own way; the caller's replace them."""


class HttpClient:
    """The kept connections to one service. May be used from any thread.

    :param dialling: where attempts to connect are to be found while they last.
    """

    def __init__(self, dialling: set[Any]) -> None:
        self.dialling = dialling
        self._idle: collections.deque[Line] = collections.deque()
        self._pid = os.getpid()
        self._ssl_context: ssl.SSLContext | None = None

    def close(self) -> None:
        """Close the connections at rest."""
        while line := self._take():
            line.close()

    def forget(self) -> None:
        """In a forked child: give up the parent's connections without a byte to their peers."""
        self._pid = os.getpid()
        self.close()

    def lease(self, url: str) -> Line:
        """The connection that was used last, if the server is likely to hold it still, or a new one."""
        if self._pid != os.getpid():
            self.forget()
        while line := self._take():
            if line.fresh:
                return line
            line.close()
        return Line(url)

    def keep(self, line: Line) -> None:
        """A connection is at rest again."""
        self._idle.append(line)

    def prepared(self, target: Target) -> Target:
        """The target with its TLS context, which is kept: reading the authorities takes milliseconds."""
        if target.ssl_context is not None or not target.url.startswith("wss:"):
            return target
        if self._ssl_context is None:
            self._ssl_context = net.tls_context()
        return dataclasses.replace(target, ssl_context=self._ssl_context)

    def _take(self) -> Line | None:
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        return None


class Exchange:
    """One request and its answer. One thread uses it; :meth:`abort` may come from any.

    :param deadline: of the whole call.
    :param response_timeout: seconds that the head of the answer may take, and each wait of :meth:`read_all`.
    :ivar wire: its socket.
    :ivar reader: what is read from it.
    :ivar status: of the answer.
    :ivar headers: of the answer, names in lower case, secrets masked.
    :ivar delivery: NOT_SENT, UNKNOWN once the last byte has left, REJECTED by a status.
    """

    def __init__(
        self,
        client: HttpClient,
        target: Target,
        body: bytes = b"",
        *,
        deadline: Deadline,
        response_timeout: float | None,
    ) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._client = client
        self._target = target
        self._content = body
        self._deadline = deadline
        self._response_timeout = response_timeout
        self._mask = Masker(target.secrets)
        ours = {name.lower() for name in HEADERS}
        secret = {name: value for name, value in target.headers.items() if name.lower() not in ours}
        self.wire = Wire(client.prepared(target), deadline, secret, len(body))
        self.reader = Reader(self.wire.receive)
        self._line: Line | None = None
        self._raw: Any = None
        self._body: http.client.HTTPResponse | None = None
        self._cut_short = False

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What is masked in the answer."""
        return self._target.secrets

    @property
    def delivery(self) -> Delivery:
        if self.status and not 200 <= self.status < 300:
            return Delivery.REJECTED
        return Delivery.UNKNOWN if self.status or self.wire.sent_at else Delivery.NOT_SENT

    @property
    def sent_at(self) -> float | None:
        """When the last byte of the request had left (monotonic seconds), or None."""
        return self.wire.sent_at

    @property
    def request_id(self) -> str | None:
        """What the service calls this request."""
        return self.headers.get("x-request-id")

    def open(self, method: str, url: str) -> None:
        """Connect if need be, send, and wait for the head of the answer.

        Raises :class:`ConnectionError`, :class:`ResponseTimeout`, or the :class:`ResponseError` of a status
        that is not 2xx.
        """
        self._line = self._client.lease(self._target.url)
        try:
            response = self._line.send(self, method, url, self._headers(url), self._content)
            self._take_head(response)
        except Exception as error:
            failure = self._failure(error)
            raise failure from failure.__cause__
        if self.delivery is Delivery.REJECTED:
            raise self._refusal()

    def _headers(self, url: str) -> dict[str, str]:
        given = {name.lower(): value for name, value in self._target.headers.items()}
        headers = {
            name: given[name.lower()].reveal() if name.lower() in given else value
            for name, value in HEADERS.items()
        }
        return {"Host": urlsplit(url).netloc, **headers}

    def new_socket(self) -> socket.socket:
        """For the line, if it has none that is open."""
        return self.wire.connect(self._client.dialling)

    def expect_answer(self) -> None:
        """The line has sent the request."""
        self.wire.expect_answer(self._response_timeout)

    # -- the answer

    def _take_head(self, response: Response) -> None:
        self._raw = response.raw
        original = getattr(response.raw, "_original_response", None)
        # Whatever stands in for the adapter in a test has no socket, and its body is there.
        self._body = original if isinstance(original, http.client.HTTPResponse) else None
        self.status = response.status_code
        self.headers = {
            name.lower(): self._mask(value.encode("latin-1", "replace")).decode("latin-1")
            for name, value in response.headers.items()
        }

    def read(self, seconds: float | None) -> bytes | None:
        """What has come of the body, waiting at most so many seconds (None: for ever).

        None when nothing has come, an empty string at the end, be it the true one or not; see
        :attr:`whole`. Raises :class:`ConnectionLost` when the connection breaks.
        """
        data = self._read_piece(seconds)
        if not data:
            return data
        # A read of the socket brings many chunks. What goes wrong at their end shows again the next time.
        pieces = [data]
        with contextlib.suppress(ResponsesWSError):
            while self.reader.waiting and (data := self._read_piece(0)):
                pieces.append(data)
        return b"".join(pieces)

    def _read_piece(self, seconds: float | None) -> bytes | None:
        self.wire.clock = Deadline(seconds)
        body, reader = self._body, self.reader
        if body is None:
            return bytes(self._raw.read(READ_BYTES))
        chunk = body.chunk_left
        reader.mark()
        try:
            data = body.read1(READ_BYTES)
        except NothingYetError:
            # What was read of a chunk's head, http.client knows once it knows all of it. Else it must find
            # it again.
            if body.chunk_left == chunk:
                reader.rewind()
            return None
        except http.client.IncompleteRead:
            self._cut_short = True
            return b""
        except Exception as error:
            failure = self._failure(error)
            raise failure from failure.__cause__
        if body.length == 0:
            body.close()
        return data

    @property
    def whole(self) -> bool:
        """Whether nothing says that the end of the body was not the true one."""
        return not self._cut_short and (self._body is None or not self._body.length)

    def read_all(self, limit: int | None) -> bytes:
        """The rest of the body, secrets masked.

        Raises :class:`ConnectionLost`, :class:`ResponseTimeout`, and :class:`ProtocolError` above the limit.
        """
        found = bytearray()
        while True:
            data = self.read(self._deadline.remaining(self._response_timeout))
            if data is None:
                raise self._silence()
            if not data:
                break
            found += data
            if limit is not None and len(found) > limit:
                raise ProtocolError(
                    f"the server sent an answer of more than {limit} bytes", **self._context()
                )
        if not self.whole:
            raise ConnectionLost("the connection ended before the answer did", **self._context())
        return self._mask(bytes(found))

    # -- the end

    def release(self, seconds: float = 0) -> bool:
        """Give the connection back, if the body ends within so many seconds; whether it is settled."""
        line, body = self._line, self._body
        if line is None:
            return True
        if self._raw is None:  # there is no answer whose end could be waited for
            self.close()
            return True
        try:
            data = self.read(seconds)
        except ResponsesWSError:
            data = b""
        if data is None:
            return False
        reusable = body is not None and body.isclosed() and not body.will_close and self.whole
        if data or not reusable or self.reader.waiting:
            self.close()
            return True
        self._line = None
        free = self.wire.let_go()
        self._raw.release_conn()
        line.rest(self.headers.get("keep-alive", ""))
        if free:
            self._client.keep(line)
        else:
            line.close()
        return True

    def abort(self) -> None:
        """End it, whatever it is doing. Takes no lock and never blocks: safe in a finalizer."""
        self.wire.abort()

    def close(self) -> None:
        """Give up the connection; takes no lock. Not while another thread is in a method of this object."""
        self._line = None
        self.wire.close()

    def __del__(self) -> None:
        # Of an answer whose end nobody waited for.
        if hasattr(self, "_line"):
            self.close()

    # -- what goes wrong

    def _context(self) -> dict[str, Any]:
        return {"delivery": self.delivery, "request_id": self.request_id}

    def _failure(self, error: Exception) -> ResponsesWSError:
        """An exception of http.client, urllib3 or requests as one of ours; their texts quote the server."""
        failure = self.wire.failure or self._translated(error)
        failure.delivery, failure.request_id = self.delivery, self.request_id
        return failure.with_traceback(None)

    def _translated(self, error: Exception) -> ResponsesWSError:
        reasons = list(_reasons(error))
        if any(isinstance(reason, NothingYetError) for reason in reasons):
            return self._silence()
        for reason in reasons:
            if isinstance(reason, http.client.HTTPException) and not isinstance(reason, OSError):
                return ProtocolError(f"the server's answer is no HTTP ({type(reason).__name__})")
        last = reasons[-1]
        lost = ConnectionLost(f"the connection ended before the answer did ({type(last).__name__})")
        if isinstance(last, OSError):
            lost.__cause__ = last.with_traceback(None)
        return lost

    def _silence(self) -> ResponseTimeout:
        if self._deadline.expired:
            return overdue(self._deadline, **self._context())
        seconds = self._response_timeout or 0.0
        return ResponseTimeout(
            f"no answer for {seconds:g} seconds (response_timeout)",
            clock="response_timeout",
            seconds=seconds,
            **self._context(),
        )

    def _refusal(self) -> ResponseError:
        """The error that a status stands for, with what comes of its body within a short time."""
        body = b""
        clock = Deadline(self._deadline.remaining(MAX_ERROR_SECONDS))
        with contextlib.suppress(ResponsesWSError):
            while len(body) < MAX_ERROR_BYTES and (data := self.read(clock.remaining())):
                body += data
        error = http_error(self.status, self.headers, self._mask(body), **self._context())
        if 300 <= self.status < 400:
            host = net.redirect_host(self.headers.get("location", ""))
            error.message = f"the server redirects to {host}; redirects are not followed"
        if not self.release():
            self.close()
        return error


def _reasons(error: BaseException | None) -> Iterator[BaseException]:
    """The error, then what each was made from: its cause, an argument, or what was being handled."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        yield error
        seen.append(error)
        inner = next((value for value in error.args if isinstance(value, BaseException)), None)
        context = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or inner or context
