"""Everything that can go wrong, as data.

::

    ResponsesWSError
      ConfigurationError (ValueError)        bad option, bad key, bad URL, bad argument
      ConcurrencyError                       a second response on a busy lane, a second writer in a store
      StoreError                             a store cannot be reached, is full or damaged
      ConnectionError (builtins.ConnectionError)
        HandshakeError                       the upgrade was refused, or was no upgrade at all
        ConnectionLost                       the connection ended before the response did
        ResponseTimeout (TimeoutError)       one of the clocks ran out
        ProtocolError                        the peer broke RFC 6455, UTF-8 or JSON
        PayloadTooLarge                      a message over one of the limits
        PoolTimeout, PoolClosed
      ResponseError                          the service refused or failed the response
        BadRequestError                      400 and other 4xx without a class of their own
        AuthenticationError                  401
        PermissionDeniedError                403
        NotFoundError                        404
        RateLimitError                       429
        ServerError                          5xx
        PreviousResponseNotFound             previous_response_not_found
        ConnectionLimitReached               websocket_connection_limit_reached
        StreamLimitReached                   websocket_stream_limit_reached
        ContinuationLost                     the chain cannot be rebuilt
      ResponseCancelled                      cancelled or closed from another thread, or by the service
      ToolError
        ToolRoundsExceeded
      RefusalError, IncompleteError, SchemaError   structured output that is not there

Every error carries ``delivery`` (how far the request got), ``partial`` (the :class:`Message` received so
far, or None), ``response_id`` and ``request_id``. All of them can be pickled. No text holds a key, and none
is built from the request.
"""

from __future__ import annotations

import builtins
import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from responses_ws._shown import shorten

if TYPE_CHECKING:
    from responses_ws.messages import Message

__all__ = [
    "AuthenticationError",
    "BadRequestError",
    "ConcurrencyError",
    "ConfigurationError",
    "ConnectionError",
    "ConnectionLimitReached",
    "ConnectionLost",
    "ContinuationLost",
    "Delivery",
    "HandshakeError",
    "IncompleteError",
    "NotFoundError",
    "PayloadTooLarge",
    "PermissionDeniedError",
    "PoolClosed",
    "PoolTimeout",
    "PreviousResponseNotFound",
    "ProtocolError",
    "RateLimitError",
    "RefusalError",
    "ResponseCancelled",
    "ResponseError",
    "ResponseTimeout",
    "ResponsesWSError",
    "SchemaError",
    "ServerError",
    "StoreError",
    "StreamLimitReached",
    "ToolError",
    "ToolRoundsExceeded",
]


class Delivery(enum.Enum):
    """How far a request got before it failed; what decides whether sending it again can cost twice."""

    NOT_SENT = "not_sent"
    """The last byte of the request never left: the service cannot have run it."""
    REJECTED = "rejected"
    """The service answered with an error before it began a response."""
    UNKNOWN = "unknown"
    """Sent in full, and not known what became of it: nothing was heard, or a gateway gave up waiting."""
    STARTED = "started"
    """At least one event of the response was seen."""


class ResponsesWSError(Exception):
    """Base of every error that this package raises on its own.

    :ivar message: what happened, in one sentence.
    :ivar delivery: how far the request got.
    :ivar partial: what was received of the answer, or None when nothing was.
    :ivar response_id: the service's id of the response, or None when unknown.
    :ivar request_id: the ``x-request-id`` that the service gave, or None.
    """

    _fields: tuple[str, ...] = ("delivery", "partial", "response_id", "request_id")

    def __init__(
        self,
        message: str = "",
        *,
        delivery: Delivery = Delivery.NOT_SENT,
        partial: Message | None = None,
        response_id: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = str(message)  # a function may well make a ToolError of another error
        self.delivery = delivery
        self.partial = partial
        self.response_id = response_id
        self.request_id = request_id

    def __str__(self) -> str:
        return shorten(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), dict(self.__dict__))


def _rebuild(cls: type[ResponsesWSError], fields: dict[str, Any]) -> ResponsesWSError:
    """Without the constructor, for that of somebody's own class may take anything."""
    error = cls.__new__(cls)
    error.__dict__.update(fields)
    error.args = (error.message,)
    return error


def with_context(error: ResponsesWSError, **fields: Any) -> ResponsesWSError:
    """A fresh copy with other fields, for one of several who get the same bad news; the cause is kept.

    What one of them adds to its headers or notes is nobody else's.
    """
    own = {
        name: value.copy() if isinstance(value, (dict, list)) else value
        for name, value in vars(error).items()
    }
    fresh = _rebuild(type(error), own | fields)
    fresh.__cause__ = error.__cause__
    return fresh


def bare(error: ResponsesWSError) -> ResponsesWSError:
    """A fresh copy to keep: without the tracebacks and causes that would keep whole threads' frames alive."""
    fresh = with_context(error)
    fresh.__cause__ = None
    return fresh


class ConfigurationError(ResponsesWSError, ValueError):
    """An option, a key, a URL or an argument that cannot work. The message names the parameter."""


class ConcurrencyError(ResponsesWSError):
    """A response is already running on this lane, or another thread is connecting; or somebody else has
    saved, deleted or locked the conversation in a store."""


class StoreError(ResponsesWSError):
    """A store of conversations cannot be reached, is full or damaged. What it held before, it holds still."""


class ConnectionError(ResponsesWSError, builtins.ConnectionError):
    """The connection could not be made, is not there, or broke."""


class HandshakeError(ConnectionError):
    """The server did not complete the opening handshake (RFC 6455, 4.1).

    :ivar status: the HTTP status, or None when the answer was no HTTP at all.
    :ivar headers: the response headers with lower-case names.
    :ivar body: the beginning of the body, or an empty string.
    """

    _fields = (*ConnectionError._fields, "status", "headers", "body")

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: str = "",
        **context: Any,
    ) -> None:
        super().__init__(message, **context)
        self.status = status
        self.headers = dict(headers or {})
        self.body = body


class ConnectionLost(ConnectionError):
    """The connection ended before the response did, whatever the close code, 1000 included.

    :ivar close_code: the code of the peer's close frame; 1005 when the frame had none, 1006 when there was
        no frame (RFC 6455, 7.1.5); None when this side ended the connection.
    :ivar close_reason: the reason in the peer's close frame, or an empty string.
    """

    _fields = (*ConnectionError._fields, "close_code", "close_reason")

    def __init__(
        self, message: str = "", *, close_code: int | None = None, close_reason: str = "", **context: Any
    ) -> None:
        super().__init__(message, **context)
        self.close_code = close_code
        self.close_reason = close_reason


class ResponseTimeout(ConnectionError, builtins.TimeoutError):
    """A clock ran out while the connection was alive.

    :ivar clock: the name of the option that fired: ``response_timeout``, ``total`` (also for ``timeout`` of
        ``poll``) or ``send``.
    :ivar seconds: its value in seconds, as the caller gave it.
    """

    _fields = (*ConnectionError._fields, "clock", "seconds")

    def __init__(
        self, message: str = "", *, clock: str = "response_timeout", seconds: float = 0.0, **context: Any
    ) -> None:
        super().__init__(message, **context)
        self.clock = clock
        self.seconds = seconds


class ProtocolError(ConnectionError):
    """The peer sent what RFC 6455, UTF-8 or JSON forbids. The connection is not used again.

    :ivar close_code: the code that this side answered with (1002, 1003, 1007, 1008), RFC 6455, 7.4.1.
    """

    _fields = (*ConnectionError._fields, "close_code")

    def __init__(self, message: str = "", *, close_code: int = 1002, **context: Any) -> None:
        super().__init__(message, **context)
        self.close_code = close_code


class PayloadTooLarge(ConnectionError):
    """A message over a limit: a request before a byte of it left, or what the server sent.

    :ivar size: bytes of the message, or of what was announced or buffered.
    :ivar limit: the limit in bytes.
    :ivar largest: the largest items of a request, as (where, bytes), largest first.
    """

    _fields = (*ConnectionError._fields, "size", "limit", "largest")

    def __init__(
        self,
        message: str = "",
        *,
        size: int = 0,
        limit: int = 0,
        largest: tuple[tuple[str, int], ...] = (),
        **context: Any,
    ) -> None:
        super().__init__(message, **context)
        self.size = size
        self.limit = limit
        self.largest = largest


class PoolTimeout(ConnectionError):
    """No connection of the pool became free in time."""


class PoolClosed(ConnectionError):
    """The pool was closed."""


class ResponseError(ResponsesWSError):
    """The service refused or failed the response.

    :ivar status: the HTTP status, given or derived from the code; None when neither tells.
    :ivar code: the service's code, e.g. ``rate_limit_exceeded``, or None.
    :ivar type: the service's class of error, e.g. ``invalid_request_error``, or None.
    :ivar param: the parameter that the service blames, or None.
    :ivar headers: headers that came with the error, names in lower case.
    :ivar retry_after: seconds after which the service wants to be asked again, or None.
    :ivar raw: the event as it was received, or None.
    """

    _fields = (*ResponsesWSError._fields, "status", "code", "type", "param", "headers", "retry_after", "raw")

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        code: str | None = None,
        type: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        raw: Mapping[str, Any] | None = None,
        **context: Any,
    ) -> None:
        super().__init__(message, **context)
        self.status = status
        self.code = code
        self.type = type
        self.param = param
        self.headers = dict(headers or {})
        self.retry_after = retry_after
        self.raw = raw

    def __str__(self) -> str:
        label = self.code or self.type
        head = f"{label} ({self.status})" if label and self.status else label or self.status
        return shorten(f"{head}: {self.message}" if head else self.message)


class BadRequestError(ResponseError):
    """400, and any other 4xx without a class of its own."""


class AuthenticationError(ResponseError):
    """401: the key is not accepted."""


class PermissionDeniedError(ResponseError):
    """403: the key may not do this."""


class NotFoundError(ResponseError):
    """404: no such model, response or address."""


class RateLimitError(ResponseError):
    """429: too many requests, or no quota left. ``retry_after`` says when to come back, where known."""


class ServerError(ResponseError):
    """5xx, and any failure that the service puts down to itself."""


class PreviousResponseNotFound(ResponseError):
    """The service no longer holds the response that ``previous_response_id`` names."""


class ConnectionLimitReached(ResponseError):
    """The connection reached the age that the service allows; a new one is needed."""


class StreamLimitReached(ResponseError):
    """The connection has used up its lane names."""


class ContinuationLost(ResponseError):
    """The chain cannot be continued and there is nothing to rebuild it from.

    :ivar last_response_id: the last response that was completed.
    """

    _fields = (*ResponseError._fields, "last_response_id")

    def __init__(self, message: str = "", *, last_response_id: str | None = None, **context: Any) -> None:
        super().__init__(message, **context)
        self.last_response_id = last_response_id


class ResponseCancelled(ResponsesWSError):
    """The response was cancelled, or its stream was closed, before its end.

    By this side; or by the service, and then ``partial.status`` is ``cancelled``.
    """


class ToolError(ResponsesWSError):
    """A tool raised, or its arguments do not fit.

    :ivar tool: the name of the tool, or None.
    :ivar call_id: the call that it was to answer, or None.
    """

    _fields = (*ResponsesWSError._fields, "tool", "call_id")

    def __init__(
        self, message: str = "", *, tool: str | None = None, call_id: str | None = None, **context: Any
    ) -> None:
        super().__init__(message, **context)
        self.tool = tool
        self.call_id = call_id


class ToolRoundsExceeded(ToolError):
    """The model still wants tools after the last allowed round; ``partial`` is the answer that wants them.

    :ivar rounds: the rounds that were made.
    """

    _fields = (*ToolError._fields, "rounds")

    def __init__(self, message: str = "", *, rounds: int = 0, **context: Any) -> None:
        super().__init__(message, **context)
        self.rounds = rounds


class RefusalError(ResponsesWSError):
    """The model refused, so there is no structured output. ``partial`` is the whole answer."""

    @property
    def text(self) -> str:
        """What the model said in place of it."""
        return "" if self.partial is None else self.partial.refusal or ""


class IncompleteError(ResponsesWSError):
    """The answer stopped early, so there is no structured output. ``partial`` says why."""

    @property
    def text(self) -> str:
        """The text as far as it goes."""
        return "" if self.partial is None else self.partial.content


class SchemaError(ResponsesWSError):
    """The answer does not fit the schema; the message says where. ``partial`` is the whole answer."""

    @property
    def text(self) -> str:
        """The text that does not fit."""
        return "" if self.partial is None else self.partial.content
