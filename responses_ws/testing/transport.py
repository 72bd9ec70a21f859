"""A connection in memory: what stands in for a transport where a test wants no socket."""

from __future__ import annotations

import collections
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

from responses_ws._transport.base import Hold, Target
from responses_ws._transport.deadline import NEVER, SLICE_SECONDS, Deadline, overdue
from responses_ws._transport.mailbox import Mailbox, wait_for
from responses_ws.errors import ConnectionError, ConnectionLost
from responses_ws.testing.frames import MessageData, encode

__all__ = ["ScriptedConnector", "ScriptedTransport"]

OnSend = Callable[[dict[str, Any]], object]


class Calls:
    """The calls that were made, in order, and a way to wait for the next of a kind.

    Takes no lock of Python's, so that a finalizer or a signal handler may add to it at any moment.
    """

    def __init__(self) -> None:
        self.made: list[str] = []
        self._unseen: Mailbox[str] = Mailbox()

    def add(self, name: str) -> None:
        self.made.append(name)
        self._unseen.put(name)

    def wait_for(self, name: str, timeout: float | None) -> None:
        deadline = Deadline(timeout)
        while True:
            seen = wait_for(self._unseen, deadline.remaining())
            if seen is None:
                raise AssertionError(f"no call of {name!r} came; there were {self.made}")
            if seen == name:
                return


class ScriptedTransport:
    """One connection that a test plays by hand.

    The test's side: :meth:`deliver`, :meth:`end`, :meth:`block_send`, :meth:`fail_send`, :meth:`wait_for`,
    ``sent``, ``calls``, ``closes``; all of it may be used from any thread. The rest is what a
    :class:`WebSocket` asks of a transport.

    :param on_send: called with each request once it was sent, on the sender's thread; it may deliver.
    :ivar sent: the requests, decoded, in order.
    :ivar calls: the names of the calls made, in order: ``send``, ``ping``, ``close``, ``abort``,
        ``release``, ``forget``; and ``blocked`` when a send begins to wait.
    :ivar closes: the code and reason of each close.
    """

    def __init__(self, headers: Mapping[str, str] | None = None, on_send: OnSend | None = None) -> None:
        self.headers: Mapping[str, str] = dict(headers or {})
        self.on_send = on_send
        self.sent: list[dict[str, Any]] = []
        self.closes: list[tuple[int, str]] = []
        self._calls = Calls()
        self.calls = self._calls.made
        self._inbound: Mailbox[list[bytes] | Exception] = Mailbox()
        self._verdicts: Mailbox[tuple[Exception | None]] = Mailbox()
        self._end: Exception | None = None
        self._aborted = False
        self._blocked = False
        self._send_failure: Exception | None = None
        self._sending = False

    # The test's side

    def deliver(self, *events: MessageData) -> None:
        """Let one ``receive`` return these messages. Without any, bytes come that complete no message."""
        self._inbound.put([encode(event) for event in events])

    def end(self, error: Exception) -> None:
        """Let ``receive`` raise this once everything delivered before was returned."""
        self._inbound.put(error)

    def block_send(self) -> None:
        """Let the next ``send`` wait for :meth:`unblock_send`, :meth:`fail_send` or an abort."""
        self._blocked = True

    def unblock_send(self) -> None:
        """Let the ``send`` that waits go on."""
        self._blocked = False
        self._verdicts.put((None,))

    def fail_send(self, error: Exception) -> None:
        """Let the ``send`` that waits, or else the next one, raise this; the request did not leave."""
        if self._blocked:
            self._blocked = False
            self._verdicts.put((error,))
        else:
            self._send_failure = error

    def wait_for(self, call: str, timeout: float | None = 5) -> None:
        """Wait for the next call of this name that no earlier wait has passed.

        :param timeout: in seconds; None waits for ever.

        Raises AssertionError when it does not come.
        """
        self._calls.wait_for(call, timeout)

    @property
    def pings(self) -> int:
        """The number of pings."""
        return self.calls.count("ping")

    # The transport's side

    def wait(self, timeout: float | None) -> bool:
        """Whether :meth:`receive` has something to return, or to raise, within so many seconds."""
        deadline = Deadline(timeout)
        while self._end is None and not (self._inbound.items or deadline.expired):
            self._inbound.bell.acquire(timeout=deadline.remaining(SLICE_SECONDS) or 0)
        return self._end is not None or bool(self._inbound.items)

    def receive(self, timeout: float | None) -> list[bytes] | None:
        if self._end is None:
            got = wait_for(self._inbound, timeout)
            if not isinstance(got, Exception):
                return got
            self._end = got
        raise self._end

    def send(self, message: bytes, deadline: Deadline = NEVER) -> None:
        self._sending = True
        try:
            self._pass(deadline)
        finally:
            self._sending = False
        request = json.loads(message)
        self.sent.append(request)
        self._calls.add("send")
        if self.on_send:
            self.on_send(request)

    def _pass(self, deadline: Deadline) -> None:
        failure, self._send_failure = self._send_failure, None
        if self._blocked:
            self._calls.add("blocked")
            failure = self._verdict(deadline)
        if self._aborted:
            failure = _aborted()
        try:
            if failure is not None:
                raise failure
        finally:
            # An exception in a variable of its own traceback keeps all frames on it until it is collected.
            del failure

    def _verdict(self, deadline: Deadline) -> Exception | None:
        found = wait_for(self._verdicts, deadline.remaining())
        return overdue(deadline) if found is None else found[0]

    @property
    def sending(self) -> bool:
        return self._sending

    def ping(self) -> None:
        self._calls.add("ping")

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.closes.append((code, reason))
        self._calls.add("close")

    def abort(self) -> None:
        self._aborted = True
        self._blocked = False
        self._inbound.put(_aborted())
        self._verdicts.put((None,))
        self._calls.add("abort")

    def release(self) -> None:
        self._calls.add("release")

    def forget(self) -> None:
        self._calls.add("forget")


def _aborted() -> ConnectionLost:
    return ConnectionLost("the connection was aborted")


class ScriptedConnector:
    """Opens scripted transports; for ``client_class``.

    :param on_connect: called with each transport before it is handed out, to give it a script.
    :ivar transports: those that were opened, in order.
    :ivar targets: what each attempt was to connect to, in order.
    """

    def __init__(self, on_connect: Callable[[ScriptedTransport], object] | None = None) -> None:
        self.on_connect = on_connect
        self.transports: list[ScriptedTransport] = []
        self.targets: list[Target] = []
        self._calls = Calls()
        self._lock = threading.Lock()  # blocked, openers
        self._blocked = False
        self._openers: list[socket.socket] = []
        self._failures: collections.deque[Exception] = collections.deque()

    def fail_connect(self, *errors: Exception) -> None:
        """Let the next attempts raise these, one each."""
        self._failures.extend(errors)

    def block_connect(self) -> None:
        """Let attempts wait for :meth:`unblock_connect`, an abort or their deadline."""
        with self._lock:
            self._blocked = True

    def unblock_connect(self) -> None:
        """Let the attempts that wait, and later ones, go on."""
        with self._lock:
            self._blocked = False
            for opener in self._openers:
                with contextlib.suppress(OSError):  # it was given up meanwhile
                    opener.send(b"\0")

    def wait_for(self, call: str, timeout: float | None = 5) -> None:
        """Wait for the next ``blocked`` or ``connect``; see :meth:`ScriptedTransport.wait_for`."""
        self._calls.wait_for(call, timeout)

    def connect(self, target: Target, deadline: Deadline, hold: Hold) -> ScriptedTransport:
        self.targets.append(target)
        self._pass(deadline, hold)
        if self._failures:
            raise self._failures.popleft()
        transport = ScriptedTransport()
        if self.on_connect:
            self.on_connect(transport)
        self.transports.append(transport)
        self._calls.add("connect")
        return transport

    def _pass(self, deadline: Deadline, hold: Hold) -> None:
        with self._lock:
            if not self._blocked:
                return
            ours, opener = socket.socketpair()
            self._openers.append(opener)
        self._calls.add("blocked")
        with ours, opener:
            try:
                hold(ours)
                ours.settimeout(deadline.remaining())
                opened = ours.recv(1)
            except (TimeoutError, BlockingIOError):
                raise ConnectionError(f"could not connect within {deadline.seconds} seconds") from None
            finally:
                with self._lock:
                    self._openers.remove(opener)
        if not opened:
            raise ConnectionError("connecting was given up")
