"""A scripted server, a scripted transport and a model for testing code that uses this package.

::

    from responses_ws.testing import ScriptedServer, close, expect, send

    with ScriptedServer() as server:
        server.connection(expect(input="hi"), send({"type": "response.created"}), close(1011))
        ...  # connect to server.url

The names are loaded on first use, and with them what the extra ``testing`` installs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from responses_ws.testing.connection import Connection
    from responses_ws.testing.frames import frame
    from responses_ws.testing.http import HttpRequest
    from responses_ws.testing.log import ConnectionRecord, LogEntry
    from responses_ws.testing.model import Model
    from responses_ws.testing.model_memory import ModelConnection
    from responses_ws.testing.model_reply import default_reply
    from responses_ws.testing.server import ScriptedServer
    from responses_ws.testing.step import Step
    from responses_ws.testing.steps_ends import (
        accept,
        close,
        close_frame,
        connect_reply,
        eof,
        hang,
        raw_handshake,
        refuse,
        reset,
    )
    from responses_ws.testing.steps_flow import (
        deaf,
        delay,
        gate,
        mark,
        no_pong,
        optional,
        read_bytes,
        repeat,
        run,
        serve,
        silence,
    )
    from responses_ws.testing.steps_http import (
        begin_stream,
        end_stream,
        expect_request,
        read_head,
        respond,
        stream_bytes,
    )
    from responses_ws.testing.steps_messages import (
        expect,
        expect_close,
        expect_gone,
        expect_ping,
        expect_pong,
        fragments,
        half_frame,
        ping,
        raw,
        send,
        send_binary,
    )
    from responses_ws.testing.transport import ScriptedConnector, ScriptedTransport

__all__ = [
    "Connection",
    "ConnectionRecord",
    "HttpRequest",
    "LogEntry",
    "Model",
    "ModelConnection",
    "ScriptedConnector",
    "ScriptedServer",
    "ScriptedTransport",
    "Step",
    "accept",
    "begin_stream",
    "close",
    "close_frame",
    "connect_reply",
    "deaf",
    "default_reply",
    "delay",
    "end_stream",
    "eof",
    "expect",
    "expect_close",
    "expect_gone",
    "expect_ping",
    "expect_pong",
    "expect_request",
    "fragments",
    "frame",
    "gate",
    "half_frame",
    "hang",
    "mark",
    "no_pong",
    "optional",
    "ping",
    "raw",
    "raw_handshake",
    "read_bytes",
    "read_head",
    "refuse",
    "repeat",
    "reset",
    "respond",
    "run",
    "send",
    "send_binary",
    "serve",
    "silence",
    "stream_bytes",
]

MODULES = (
    "frames",
    "log",
    "model",
    "model_memory",
    "model_reply",
    "step",
    "steps_flow",
    "steps_messages",
    "transport",
    "http",
    "steps_http",
    "connection",
    "steps_ends",
    "server",
)
"""Where the names live, those that need nothing of the extra first."""

EXTRA = ("websockets", "trustme")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        modules = (importlib.import_module(f"{__name__}.{module}") for module in MODULES)
        home = next(module for module in modules if name in module.__all__)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA:
            raise
        message = f"{__name__}.{name} needs {package}, the extra 'testing'"
        raise ImportError(message, name=package) from error
    return getattr(home, name)
