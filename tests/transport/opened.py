"""What the tests of the socket transport share: one that is open, a peer by hand, and a reader for it."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from shell import SECONDS
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from responses_ws._transport import ws
from responses_ws._transport.base import Target, unused
from responses_ws._transport.deadline import Deadline
from responses_ws._transport.ws import SocketTransport
from responses_ws.testing import ScriptedServer


def target_of(server: ScriptedServer, **options: Any) -> Target:
    return Target(f"{server.url}/responses", **{"ssl_context": server.ssl_context, **options})


@contextlib.contextmanager
def opened(server: ScriptedServer, **options: Any) -> Iterator[SocketTransport]:
    """A transport to the server; what is left of it is given back at the end."""
    with given_back(SocketTransport.connect(target_of(server, **options), Deadline(SECONDS), unused)) as it:
        yield it


@contextlib.contextmanager
def given_back(transport: SocketTransport) -> Iterator[SocketTransport]:
    try:
        yield transport
    finally:
        transport.abort()
        transport.release()


class Reading:
    """A reader thread, as the connection has one. A context manager: at its end the transport is aborted.

    :ivar end: what ``receive`` raised in the end.
    """

    def __init__(self, transport: SocketTransport) -> None:
        self.transport = transport
        self.end: Exception | None = None
        self._messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, name="reading", daemon=True)
        self._thread.start()

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.abort()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()

    def next(self) -> bytes:
        """The next message."""
        message = self._messages.get(timeout=SECONDS)
        assert message is not None, f"the connection ended: {self.end!r}"
        return message

    def wait(self) -> Exception:
        """Wait for the end, passing messages over."""
        self._thread.join(SECONDS)
        assert self.end is not None, "the reader still reads"
        return self.end

    def _read(self) -> None:
        try:
            while True:
                for message in self.transport.receive(None) or ():
                    self._messages.put(message)
        except Exception as error:
            self.end = error
        finally:
            self._messages.put(None)
            self.transport.abort()


class Peer:
    """The other end of a transport over a pair of sockets: a server without a thread.

    :ivar transport: the end under test.
    :ivar frames: those that are whole of what was read.
    """

    def __init__(self, *, buffer: int | None = None, **options: Any) -> None:
        ours, self.sock = socket.socketpair()
        if buffer is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.sock.setblocking(False)
        self.transport = SocketTransport(ours, Target("ws://127.0.0.1/responses", **options))
        self.frames: list[Frame] = []
        self._stream = StreamReader()
        self._parser = self._parse()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.abort()
        self.transport.release()
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def take(self) -> bool:
        """Read once; whether anything was there. A frame that no client may send raises."""
        try:
            data = self.sock.recv(64 * 1024)
        except (BlockingIOError, ConnectionError):
            return False
        self._stream.feed_data(data)
        next(self._parser)
        return bool(data)

    def drain(self) -> list[Frame]:
        """Read all that is there; the frames found so far."""
        while self.take():
            pass
        return self.frames

    def _parse(self) -> Iterator[None]:
        while True:
            frame = yield from Frame.parse(self._stream.read_exact, mask=True, max_size=None, extensions=())
            self.frames.append(frame)

    def take_until(self, done: Callable[[list[Frame]], bool]) -> list[Frame]:
        """Go on reading until the frames found so far are as wanted."""
        deadline = Deadline(SECONDS)
        while not done(self.frames):
            assert not deadline.expired, f"only {len(self.frames)} frames came"
            ws.poll(self.sock, read=True, timeout=0.05)
            self.take()
        return self.frames

    def pongs(self) -> list[bytes]:
        return [bytes(frame.data) for frame in self.frames if frame.opcode is Opcode.PONG]


class Polls:
    """Counts how often transports ask the system for a socket that is ready, or for what it has."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr(ws, "poll", self._counted(ws.poll))
        monkeypatch.setattr(SocketTransport, "_read", self._counted(SocketTransport._read))

    def _counted(self, wait: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **named: Any) -> Any:
            self.count += 1
            return wait(*given, **named)

        return counted

    def over(self, seconds: float) -> int:
        """How many there are in so many seconds from now."""
        before = self.count
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            threading.Event().wait(left)
        return self.count - before
