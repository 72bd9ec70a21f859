"""What the threads of one server share."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from responses_ws._transport.deadline import Deadline
from responses_ws.testing.log import LogEntry
from responses_ws.testing.wire import Waker

if TYPE_CHECKING:
    from responses_ws.testing.http import HttpRequest

__all__ = ["Shared"]


class Shared:
    """Gates and marks, the log, and the end of the server.

    Under ``changed``: the wakers, and the sets of gates and marks for writing. The lists only grow.

    :param record: whether the lists grow at all.
    :ivar closing: the time left for ending, once the server is being closed.
    """

    def __init__(self, *, record: bool) -> None:
        self.changed = threading.Condition()
        self.gates: set[str] = set()
        self.marks: set[str] = set()
        self.log: list[LogEntry] = []
        self.requests: list[dict[str, Any]] = []
        self.http_requests: list[HttpRequest] = []
        self.closing: Deadline | None = None
        self._record = record
        self._wakers: set[Waker] = set()

    def note(self, entry: LogEntry) -> None:
        """Add to the log."""
        if self._record:
            self.log.append(entry)

    def note_request(self, request: dict[str, Any]) -> None:
        """Add to the requests."""
        if self._record:
            self.requests.append(request)

    def note_http(self, request: HttpRequest) -> None:
        """Add to the HTTP requests, and its body to the requests if it is a JSON object."""
        if not self._record:
            return
        self.http_requests.append(request)
        with contextlib.suppress(ValueError, RecursionError):
            if isinstance(body := request.json, dict):
                self.requests.append(body)

    def enter(self, waker: Waker) -> None:
        with self.changed:
            self._wakers.add(waker)

    def leave(self, waker: Waker) -> None:
        """A thread ends: its waker is closed, and whoever waits for a mark looks again."""
        with self.changed:
            self._wakers.discard(waker)
            self.changed.notify_all()
        waker.close()

    def open(self, gate: str) -> None:
        with self.changed:
            self.gates.add(gate)
            self._wake()

    def mark(self, name: str) -> None:
        with self.changed:
            self.marks.add(name)
            self.changed.notify_all()

    def close(self, seconds: float) -> Deadline:
        with self.changed:
            self.closing = Deadline(seconds)
            self._wake()
            return self.closing

    def _wake(self) -> None:
        for waker in self._wakers:
            waker.wake()
