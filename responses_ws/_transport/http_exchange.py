"""One HTTP request and its answer at a time, on kept connections."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from responses_ws._core.failures import http_error
from responses_ws._core.headers import Masker, unfolded
from responses_ws._core.secret import Secret
from responses_ws._transport import net
from responses_ws._transport.base import Target
from responses_ws._transport.deadline import Deadline, overdue
from responses_ws._transport.http import Line
from responses_ws._transport.http_client import HttpClient
from responses_ws._transport.http_wire import NothingYetError, Reader, Wire
from responses_ws.errors import (
    ConnectionLost,
    Delivery,
    ProtocolError,
    ResponseError,
    ResponsesWSError,
    ResponseTimeout,
    bare,
)

if TYPE_CHECKING:
    from requests import Response

__all__ = ["Exchange"]

READ_BYTES = 64 * 1024
MAX_ERROR_BYTES = 64 * 1024
MAX_ERROR_SECONDS = 2.0

GAVE_UP_WAITING = (504, 524)
"""By which a gateway says that it had handed the request on and that no answer came in its time. The service
may go on with it. (524 is Cloudflare's.)"""

REQUEST_TIMEOUT = 408

HEADERS = {
    "User-Agent": "",
    "Accept": "text/event-stream, application/json",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
}
"""What the libraries would otherwise set in their own way; the caller's replace them."""


class Exchange:
    """One request and its answer. One thread uses it; :meth:`abort` may come from any.

    :param deadline: of the whole call.
    :param response_timeout: seconds that the head of the answer may take, or all of it with :meth:`read_all`.
    :ivar wire: its socket.
    :ivar reader: what is read from it.
    :ivar status: of the answer.
    :ivar headers: of the answer, names in lower case, secrets masked.
    :ivar delivery: NOT_SENT, UNKNOWN once the last byte has left, REJECTED by a status, but for those of a
        gateway that gave up waiting.
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
        self._gathered = bytearray()
        self._cut_short = False
        self._fault: ResponsesWSError | None = None
        self._patience = Deadline(response_timeout)

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What is masked in the answer."""
        return self._target.secrets

    @property
    def delivery(self) -> Delivery:
        if not self.status or self._accepted:
            return Delivery.UNKNOWN if self.status or self.sent_at else Delivery.NOT_SENT
        may_run = self.status in GAVE_UP_WAITING and self.sent_at
        return Delivery.UNKNOWN if may_run else Delivery.REJECTED

    @property
    def _accepted(self) -> bool:
        return 200 <= self.status < 300

    @property
    def sent_at(self) -> float | None:
        """When the last byte of the request had left (monotonic seconds), or None."""
        return self.wire.sent_at

    @property
    def overdue(self) -> bool:
        """Whether the time of the whole call is over."""
        return self._deadline.expired

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
        if not self._accepted:
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
        self._patience = Deadline(self._response_timeout)
        self.wire.expect_answer(self._response_timeout)

    # -- the answer

    def _take_head(self, response: Response) -> None:
        self._raw = response.raw
        original = getattr(response.raw, "_original_response", None)
        # Whatever stands in for the adapter in a test has no socket, and its body is there.
        self._body = original if isinstance(original, http.client.HTTPResponse) else None
        self.status = response.status_code
        self.headers = {
            name.lower(): self._mask(unfolded(value).encode("latin-1", "replace")).decode("latin-1")
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
        # When it cuts the head of a chunk another read is made for the rest, which may go on and on.
        pieces, size = [data], len(data)
        with contextlib.suppress(ResponsesWSError):
            while size < READ_BYTES and self.reader.waiting and (data := self._read_piece(0)):
                pieces.append(data)
                size += len(data)
        return b"".join(pieces)

    def _read_piece(self, seconds: float | None) -> bytes | None:
        if self._fault is not None:
            raise bare(self._fault)
        if self._cut_short:
            return b""
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
            self._fault = bare(failure)
            raise failure from failure.__cause__
        if body.length == 0:
            body.close()
        return data

    @property
    def whole(self) -> bool:
        """Whether nothing says that the end of the body was not the true one."""
        return not self._cut_short and (self._body is None or not self._body.length)

    def gather(self, seconds: float | None, limit: int | None) -> bytes | None:
        """The body, once all of it is there, secrets masked; None when it is not within so many seconds.

        Raises :class:`ConnectionLost` when it is cut short, and :class:`ProtocolError` above the limit.
        """
        patience = Deadline(seconds)
        while data := self.read(patience.remaining()):
            self._gathered += data
            if limit is not None and len(self._gathered) > limit:
                raise ProtocolError(
                    f"the server sent an answer of more than {limit} bytes", **self._context()
                )
            if patience.expired:
                return None
        if data is None:
            return None
        if not self.whole:
            raise ConnectionLost("the connection ended before the answer did", **self._context())
        return self._mask(bytes(self._gathered))

    def read_all(self, limit: int | None) -> bytes:
        """The body; see :meth:`gather`. Raises :class:`ResponseTimeout` too."""
        body = self.gather(self._deadline.remaining(self._patience.remaining()), limit)
        if body is None:
            raise self._silence()
        return body

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
        # That may have been said before the request came, whose own answer would then be the next one's.
        reusable = reusable and self.status != REQUEST_TIMEOUT
        if data or not reusable or self.reader.waiting:
            self.close()
            return True
        self._raw.release_conn()
        line.rest(self.headers.get("keep-alive", ""))
        if self.wire.let_go():
            self._client.keep(line)
        else:
            line.close()
        self._line = None  # last, for whoever is interrupted before closes it
        return True

    def settle(self, seconds: float = 0) -> None:
        """The same; if the body does not end, or an interrupt comes meanwhile, give the connection up."""
        settled = False
        try:
            settled = self.release(seconds)
        finally:
            if not settled:
                self.close()

    def abort(self) -> None:
        """End it, whatever it is doing. Takes no lock and never blocks: safe in a finalizer."""
        self.wire.abort()

    def close(self) -> None:
        """Give up the connection; takes no lock. Not while another thread is in a method of this object."""
        line, self._line = self._line, None
        self.wire.close()
        if line is not None:  # whose socket the wire does not hold before it sends
            line.close()

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
        told = getattr(last, "reason", None) if isinstance(last, ssl.SSLError) else None
        lost = ConnectionLost(f"the connection ended before the answer did ({told or type(last).__name__})")
        if isinstance(last, OSError):
            lost.__cause__ = last.with_traceback(None)
        return lost

    def _silence(self) -> ResponseTimeout:
        if self._deadline.expired:
            return overdue(self._deadline, **self._context())
        seconds = self._response_timeout or 0.0
        return ResponseTimeout(
            f"no answer within {seconds:g} seconds (response_timeout)",
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
        host = net.redirect_host(self.status, self.headers)
        if host is not None:
            error.message = f"the server redirects to {host}; redirects are not followed"
        self.settle()
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
