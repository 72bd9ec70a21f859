"""A blocking, thread-safe client for the Responses API over one persistent WebSocket.

What goes beyond one connection (``Chat``, ``Session``, ``HTTPTransport``, ``batch``, ``tools``) is loaded on
first use.
"""

from __future__ import annotations

import importlib
import typing

from responses_ws import errors, streaming
from responses_ws._core.endpoint import Endpoint
from responses_ws._version import __version__
from responses_ws.errors import (
    AuthenticationError,
    BadRequestError,
    ConcurrencyError,
    ConfigurationError,
    ConnectionError,
    ConnectionLimitReached,
    ConnectionLost,
    ContinuationLost,
    Delivery,
    HandshakeError,
    IncompleteError,
    NotFoundError,
    PayloadTooLarge,
    PermissionDeniedError,
    PoolClosed,
    PoolTimeout,
    PreviousResponseNotFound,
    ProtocolError,
    RateLimitError,
    RefusalError,
    ResponseCancelled,
    ResponseError,
    ResponsesWSError,
    ResponseTimeout,
    SchemaError,
    ServerError,
    StoreError,
    StreamLimitReached,
    ToolError,
    ToolRoundsExceeded,
)
from responses_ws.lane import Lane
from responses_ws.messages import Chunk, Limits, Message, Steer, Timeouts, ToolCall, Usage
from responses_ws.stream import ResponseStream
from responses_ws.websocket import WebSocket

if typing.TYPE_CHECKING:
    from responses_ws import batch, tools
    from responses_ws._chat_stream import ChatStream
    from responses_ws._core.retry import Retry
    from responses_ws._core.schema import Schema
    from responses_ws.chat import Chat
    from responses_ws.content import Audio, File, Image
    from responses_ws.http_transport import HTTPTransport
    from responses_ws.lease import Lease
    from responses_ws.pool import ConnectionPool, PoolStats
    from responses_ws.session import Session

__all__ = [
    "Audio",
    "AuthenticationError",
    "BadRequestError",
    "Chat",
    "ChatStream",
    "Chunk",
    "ConcurrencyError",
    "ConfigurationError",
    "ConnectionError",
    "ConnectionLimitReached",
    "ConnectionLost",
    "ConnectionPool",
    "ContinuationLost",
    "Delivery",
    "Endpoint",
    "File",
    "HTTPTransport",
    "HandshakeError",
    "Image",
    "IncompleteError",
    "Lane",
    "Lease",
    "Limits",
    "Message",
    "NotFoundError",
    "PayloadTooLarge",
    "PermissionDeniedError",
    "PoolClosed",
    "PoolStats",
    "PoolTimeout",
    "PreviousResponseNotFound",
    "ProtocolError",
    "RateLimitError",
    "RefusalError",
    "ResponseCancelled",
    "ResponseError",
    "ResponseStream",
    "ResponseTimeout",
    "ResponsesWSError",
    "Retry",
    "Schema",
    "SchemaError",
    "ServerError",
    "Session",
    "Steer",
    "StoreError",
    "StreamLimitReached",
    "Timeouts",
    "ToolCall",
    "ToolError",
    "ToolRoundsExceeded",
    "Usage",
    "WebSocket",
    "__version__",
    "batch",
    "errors",
    "streaming",
    "tools",
]

_LATER = {
    "Audio": "content",
    "Chat": "chat",
    "ConnectionPool": "pool",
    "Lease": "lease",
    "PoolStats": "pool",
    "ChatStream": "_chat_stream",
    "File": "content",
    "HTTPTransport": "http_transport",
    "Image": "content",
    "Retry": "_core.retry",
    "Schema": "_core.schema",
    "Session": "session",
}
"""Where the names live that are loaded on first use."""


def __getattr__(name: str) -> typing.Any:
    if name in ("batch", "tools"):
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = value
    return value
