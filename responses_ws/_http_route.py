"""The HTTP of a session: one request for each response, on connections that are used again."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any

from responses_ws._core.request import encode_http
from responses_ws._http_call import HttpCall
from responses_ws._http_line import HttpLine, HttpRequest
from responses_ws._settings import Settings
from responses_ws._transport.deadline import Deadline

__all__ = ["HttpRoute"]


class HttpRoute:
    """Makes the calls of a session and takes their connections back. May be used from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._line = HttpLine(settings)
        self._calls: collections.deque[HttpCall] = collections.deque()

    def call(self, payload: Mapping[str, Any], deadline: Deadline) -> HttpCall:
        """A request for a response, for :meth:`HttpCall.start` to send."""
        body = encode_http(payload, stream=None)
        self._settle()
        call = self._line.call(body, deadline)
        self._calls.append(call)
        return call

    def post(self, path: str, body: bytes, deadline: Deadline) -> HttpRequest:
        """A request that is no response; see :meth:`HttpLine.request`."""
        return self._line.request("POST", path, body=body, deadline=deadline)

    def close(self) -> None:
        """Drop what is running and close the connections. Takes no lock."""
        for call in list(self._calls):
            call.drop()
        self._line.close()

    def _settle(self) -> None:
        """Give back the connections of answers that are whole."""
        for _ in range(len(self._calls)):
            try:
                call = self._calls.popleft()
            except IndexError:  # another thread is at it
                return
            if not call.over:
                self._calls.append(call)
            elif not call.cancelled:
                call.settle()
