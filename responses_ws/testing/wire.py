"""A TCP connection, perhaps under TLS, owned by one thread and never blocking in the socket.

What is written is buffered and leaves while the thread waits, so that a connection which sends can always
receive too. TLS runs over memory buffers: one thread, one state, and a FIN, an RST or half a record can be
sent at any moment.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import struct
import sys

__all__ = ["CHUNK", "Waker", "Wire"]

CHUNK = 256 * 1024
LINGER_RESET = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class Waker:
    """Interrupts the waiting of another thread."""

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)

    def fileno(self) -> int:
        return self._receiver.fileno()

    def wake(self) -> None:
        """May be called from any thread at any time, also after :meth:`close`."""
        with contextlib.suppress(OSError):
            self._sender.send(b"\0")

    def drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._receiver.recv(4096):
                pass

    def close(self) -> None:
        self._receiver.close()
        self._sender.close()


class Wire:
    """The bytes of one connection.

    :ivar ended: how the connection ended, in the words of :class:`ConnectionRecord`; None while it is open.
    :ivar broken: whether nothing can be sent any more.
    :ivar tls_error: what the client did wrong in TLS, or None.
    :ivar received: bytes taken from the TCP connection so far.
    """

    def __init__(self, sock: socket.socket, waker: Waker) -> None:
        sock.setblocking(False)
        self.ended: str | None = None
        self.broken = False
        self.tls_error: ssl.SSLError | None = None
        self.received = 0
        self._socket = sock
        self._waker = waker
        self._tls: _TLS | None = None
        self._out = bytearray()
        self._finishing = False
        self._finished = False
        self._watched = 0
        self._selector = selectors.DefaultSelector()
        self._selector.register(waker, selectors.EVENT_READ)

    @property
    def secure(self) -> bool:
        return self._tls is not None

    @property
    def flushed(self) -> bool:
        """Whether the kernel has taken all that was written."""
        return not self._out and not self._finishing

    def start_tls(self, context: ssl.SSLContext, received: bytes) -> bytes:
        """Speak TLS from here on. ``received`` is what already came of it; returns what that decrypts to."""
        self._tls = _TLS(context)
        return self._decrypt(self._tls, received)

    def write(self, data: bytes) -> None:
        if data:
            self._out += self._tls.encrypt(data) if self._tls else data

    def finish(self, *, notify: bool) -> None:
        """End the sending direction once everything written has left; ``notify`` says so in TLS before."""
        if self._finished:
            return
        if self._tls and notify:
            self._out += self._tls.goodbye()
        self._finishing = self._finished = True

    def turn(self, seconds: float | None, limit: int = CHUNK) -> bytes | None:
        """Wait up to ``seconds`` (None: until woken) for the socket, then write and read once.

        Returns the bytes that came, at most ``limit`` of them before TLS; an empty string when something
        else went forward; None when nothing did. A ``limit`` of 0 does not read.
        """
        self._watch(reading=limit > 0)
        ready = 0
        for key, events in self._selector.select(seconds):
            if key.fileobj is self._waker:
                self._waker.drain()
            else:
                ready = events
        if ready & selectors.EVENT_WRITE:
            self._send()
        if ready & selectors.EVENT_READ:
            return self._receive(limit)
        return b"" if ready else None

    def reset(self) -> None:
        """End the connection by RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
        self._drop()

    def close(self) -> None:
        """Give everything back."""
        self._drop()
        self._selector.close()

    def _drop(self) -> None:
        self.ended = self.ended or "server"
        self.broken = True
        self._watch(reading=False)
        self._socket.close()

    def _watch(self, *, reading: bool) -> None:
        wanted = 0
        if reading and self.ended is None:
            wanted |= selectors.EVENT_READ
        if not self.flushed and not self.broken:
            wanted |= selectors.EVENT_WRITE
        if wanted == self._watched:
            return
        if self._watched:
            self._selector.unregister(self._socket)
        if wanted:
            self._selector.register(self._socket, wanted)
        self._watched = wanted

    def _send(self) -> None:
        try:
            while self._out:
                sent = self._socket.send(self._out[:CHUNK])
                del self._out[:sent]
            if self._finishing:
                self._finishing = False
                self._socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            self.broken = True

    def _receive(self, limit: int) -> bytes:
        try:
            data = self._socket.recv(min(limit, CHUNK))
        except BlockingIOError:
            return b""
        except OSError:
            self.ended = "reset"
            self.broken = True
            return b""
        if not data:
            self.ended = "eof"
            return b""
        self.received += len(data)
        return self._decrypt(self._tls, data) if self._tls else data

    def _decrypt(self, tls: _TLS, data: bytes) -> bytes:
        try:
            plain, over = tls.decrypt(data)
        except ssl.SSLError as error:
            self._fail(error)
            return b""
        self._out += tls.pending()
        if over:
            self.ended = "eof"
        return plain

    def _fail(self, error: ssl.SSLError) -> None:
        if not self._finished:  # a client may answer an end without TLS notice as it likes
            self.tls_error = error
        self.ended = "tls" if self.tls_error else "eof"
        self.broken = True


class _TLS:
    """The server's side of TLS, between two buffers."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._agreed = False

    def decrypt(self, data: bytes) -> tuple[bytes, bool]:
        """What the records say, and whether the client said that it was the last."""
        self._incoming.write(data)
        pieces = []
        try:
            if not self._agreed:
                self._object.do_handshake()
                self._agreed = True
            while piece := self._object.read(CHUNK):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            return b"".join(pieces), False
        except ssl.SSLZeroReturnError:
            pass
        return b"".join(pieces), True

    def encrypt(self, data: bytes) -> bytes:
        self._object.write(data)
        return self._outgoing.read()

    def goodbye(self) -> bytes:
        with contextlib.suppress(ssl.SSLError):
            self._object.unwrap()
        return self._outgoing.read()

    def pending(self) -> bytes:
        return self._outgoing.read()
