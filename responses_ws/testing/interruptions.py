"""What ends a step before it is done."""

from __future__ import annotations

__all__ = ["ClientGone", "Closing", "ScriptError"]


class ClientGone(Exception):
    """The client ended the connection, or its side of the conversation."""


class Closing(Exception):
    """The server is being closed while a step waits."""


class ScriptError(Exception):
    """The client did not do what the script or RFC 6455 asks for."""
