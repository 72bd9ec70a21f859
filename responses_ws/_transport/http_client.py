"""The connections to one service that wait for their next request."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import ssl
from typing import Any

from responses_ws._transport import net
from responses_ws._transport.base import Target
from responses_ws._transport.http import Line

__all__ = ["HttpClient"]


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
            if _is_usable(line):
                return line
        return Line(url)

    def keep(self, line: Line) -> None:
        """A connection is at rest again. Those that rest too long are closed: the last one is used first."""
        self._idle.append(line)
        with contextlib.suppress(IndexError):  # another thread may take them meanwhile
            while not self._idle[0].fresh:
                self._idle.popleft().close()

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


def _is_usable(line: Line) -> bool:
    """Whether the server is likely to hold it still. If not, or if that is interrupted, it is closed."""
    fresh = False
    try:
        fresh = line.fresh
    finally:
        if not fresh:
            line.close()
    return fresh
