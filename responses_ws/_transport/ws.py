"""An open WebSocket: who may touch the socket when.

Two threads inside one ``SSLSocket`` corrupt it, and one that blocks inside it keeps the other out. So the
socket is non-blocking, every read and write of it happens inside one small lock (``_guard``), and waiting
happens outside, in ``poll``. The reader never waits for a writer: what it has to say (pongs, pings, the close
frame) lies in ``_control`` until the socket takes it, put there by whichever thread holds ``_frame_lock``.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from responses_ws._core.frames import FrameParser, Opcode, close_payload, encode_frame
from responses_ws._core.parser import Payload
from responses_ws._transport.base import Hold, Target
from responses_ws._transport.deadline import NEVER, SLICE_SECONDS, Deadline, overdue
from responses_ws._transport.dial import dial, failure
from responses_ws._transport.polling import poll, waiting
from responses_ws._transport.websocket_client import upgrade
from responses_ws.errors import (
    ConnectionLost,
    HandshakeError,
    PayloadTooLarge,
    ProtocolError,
    ResponsesWSError,
    ResponseTimeout,
)

__all__ = ["SocketTransport"]

READ_BYTES = 64 * 1024
RECORD_BYTES = 16 * 1024
"""What TLS gives at a time, however much is asked for (RFC 8446, 5.1)."""
NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
RENEGOTIATION_SECONDS = 0.05
FRAGMENT_BYTES = 64 * 1024
NO_CLOSE_FRAME = 1006


class SocketTransport:
    """A :class:`Transport` on a real socket."""

    headers: Mapping[str, str]

    def __init__(
        self,
        sock: socket.socket,
        target: Target,
        headers: Mapping[str, str] | None = None,
        begun: bytes = b"",
    ) -> None:
        sock.setblocking(False)
        self.headers = headers or {}
        self._sock = sock
        self._tls = sock if isinstance(sock, ssl.SSLSocket) else None
        self._send_timeout = target.timeouts.send
        self._parser = FrameParser(target.limits.max_message_bytes, target.secrets)
        self._begun = begun
        self._poll = waiting(sock)
        # What one read brings at most. A full one leaves more behind, most of the time, and TLS that had to
        # write may have taken what ``poll`` would show: then the next one tries before it waits.
        self._read_bytes = READ_BYTES if self._tls is None else RECORD_BYTES
        self._try_first = False
        # What ended a row of records, to be raised once they are handed on: it is told only once.
        self._met: list[OSError] = []
        # Re-entrant, for a finalizer that aborts this connection may run in a thread that is inside it.
        self._guard = threading.RLock()
        # One message at a time; held over all its fragments.
        self._message_lock = threading.Lock()
        # One frame at a time. Guards _unsent, the rest of a control frame that the socket did not take whole,
        # without which nothing else may be written. Re-entrant only because such a lock knows who holds it:
        # nobody takes it twice.
        self._frame_lock = threading.RLock()
        self._unsent: Payload = b""
        # Control frames that wait to be sent. Appended by any thread, taken under _frame_lock. Only the
        # latest pong is owed (RFC 6455, 5.5.3), so that a flood of pings costs one.
        self._control: collections.deque[Payload] = collections.deque()
        self._pong: collections.deque[Payload] = collections.deque(maxlen=1)
        self._sending = False
        self._deadline = NEVER
        self._aborted = False
        self._closing = False
        # A write failed or stopped half-way: nothing more can be said, but what was received is still read.
        self._mute = False

    @classmethod
    def connect(cls, target: Target, deadline: Deadline, hold: Hold) -> SocketTransport:
        """Dial, and make the opening handshake. See :class:`Connector`."""
        sock = dial(target, deadline, hold)
        try:
            headers, begun = upgrade(sock, target, deadline)
        except BaseException as error:
            sock.close()
            if isinstance(error, OSError) and not isinstance(error, ResponsesWSError):
                peer = urlsplit(target.url).netloc
                raise HandshakeError(failure("upgrade the connection to", peer, deadline, error)) from error
            raise
        return cls(sock, target, headers, begun)

    # -- receiving: one thread at a time

    def wait(self, timeout: float | None) -> bool:
        if self._begun or self._try_first or self._parser.failure is not None:
            return True
        if self._tls is not None and self._pending():
            return True
        if self._unsent or self._control or self._pong:
            return self._wait_in_debt(timeout)
        self._try_first = bool(self._poll(None if timeout is None else timeout * 1000))
        return self._try_first

    def receive(self, timeout: float | None) -> Sequence[Payload] | None:
        parser = self._parser
        if parser.failure is not None:
            raise self._farewell(parser.failure)
        messages = self._read(timeout)
        if parser.pings:
            self._pong.append(_frame(Opcode.PONG, parser.pings[-1]))
            parser.pings.clear()
            self._flush()
        return messages

    def _read(self, timeout: float | None) -> list[Payload] | None:
        """The messages in what the socket has, waiting for it once; None when nothing came."""
        if self._begun:
            begun, self._begun = self._begun, b""
            return self._parser.feed(begun)
        if self._try_first or (self._tls is not None and self._pending()):
            messages = self._try_read()
            if messages is not None:
                return messages
        return self._try_read() if self.wait(timeout) else None

    def _pending(self) -> bool:
        """Whether the TLS layer holds bytes that ``poll`` cannot see."""
        with self._guard:
            return self._tls is not None and self._tls.pending() > 0

    def _try_read(self) -> list[Payload] | None:
        """Read without waiting; None when there is nothing. Raises :class:`ConnectionLost` at the end."""
        self._try_first = False
        data = b""
        room = self._parser.room(self._read_bytes)
        try:
            with self._guard:
                if self._met:
                    raise self._met.pop()
                if room is None:
                    data = self._recv()
                    count = len(data)
                else:
                    count = self._sock.recv_into(room)
        except ssl.SSLWantWriteError:
            poll(self._sock, write=True, timeout=RENEGOTIATION_SECONDS)
            self._try_first = True
            return None
        except NOT_NOW:
            return None
        except (OSError, ValueError) as error:
            if not self._is_of_the_socket(error):
                raise
            raise self._broken(error) from error
        if not count or self._aborted:
            raise self._broken(None)
        self._try_first = count >= self._read_bytes
        if room is None:
            return self._parser.feed(data)
        room.release()
        return self._parser.filled(count)

    def _recv(self) -> bytes:
        """Under the guard: what the socket has, at most :data:`READ_BYTES`."""
        data = self._sock.recv(self._read_bytes)
        if self._tls is None or len(data) < RECORD_BYTES:
            return data
        # One record after the other would be cut, and routed, in as many rounds.
        records, size = [data], len(data)
        try:
            while size < READ_BYTES and len(records[-1]) == RECORD_BYTES:
                records.append(self._sock.recv(RECORD_BYTES))
                size += len(records[-1])
        except NOT_NOW:
            pass  # the next read tries before it waits: ``poll`` does not show all of it
        except OSError as error:
            if not self._is_of_the_socket(error):
                raise
            self._met.append(error.with_traceback(None))
        return b"".join(records)

    def _broken(self, error: Exception | None) -> ConnectionLost:
        if self._aborted:
            return ConnectionLost("the connection was ended by this side")
        told = "" if error is None else f" ({type(error).__name__})"
        return ConnectionLost(f"the connection ended without a close frame{told}", close_code=NO_CLOSE_FRAME)

    def _farewell(self, end: ConnectionLost | PayloadTooLarge | ProtocolError) -> Exception:
        """Answer what ended the connection (RFC 6455, 5.5.1 and 7.1.7), then hand it on."""
        if isinstance(end, ConnectionLost):
            self.close(1000 if end.close_code in (None, 1005) else end.close_code)
        else:
            self.close(1009 if isinstance(end, PayloadTooLarge) else end.close_code)
        return end

    def _wait_in_debt(self, timeout: float | None) -> bool:
        """Wait until there is something to read, or room for what the reader still has to say.

        While a message is being sent its sender says it, and a socket that is writable for the sender must
        not keep the reader turning.
        """
        has_more = self._owes() and not self._sending and not self._mute
        ready = poll(self._sock, read=True, write=has_more, timeout=timeout)
        self._flush()
        return ready

    # -- sending: any thread

    def send(self, message: bytes, deadline: Deadline = NEVER) -> None:
        with self._message_lock:
            self._sending = True
            self._deadline = deadline
            try:
                for frame in encode_message(message):
                    with self._frame_lock:
                        self._write_control(wait=True)
                        self._check_not_closing()
                        self._write(frame)
            except BaseException as error:
                # What followed would be swallowed by the half message.
                self._mute = True
                if self._is_of_the_socket(error):
                    raise ConnectionLost(
                        f"the connection broke while the request was sent ({type(error).__name__})",
                        close_code=NO_CLOSE_FRAME,
                    ) from error
                raise
            finally:
                self._sending = False
            self._flush(wait=True)

    def _is_of_the_socket(self, error: BaseException) -> bool:
        """Whether the socket failed. A signal handler may raise a TimeoutError too, which has no number."""
        if isinstance(error, OSError):
            return error.errno is not None
        return isinstance(error, ValueError) and self._sock.fileno() < 0

    def _check_not_closing(self) -> None:
        """After our close frame no message may follow (RFC 6455, 5.5.1)."""
        if self._closing:
            raise BrokenPipeError(errno.EPIPE, "the connection is being closed")

    @property
    def sending(self) -> bool:
        return self._sending

    def ping(self) -> None:
        self._say(Opcode.PING, b"")

    def close(self, code: int = 1000, reason: str = "") -> None:
        # After a close frame nothing may follow, not even a second one (RFC 6455, 5.5.1).
        with self._guard:
            first, self._closing = not self._closing, True
        if first:
            self._say(Opcode.CLOSE, close_payload(code, reason))

    def _say(self, opcode: Opcode, payload: bytes) -> None:
        self._control.append(_frame(opcode, payload))
        self._flush()

    def _owes(self) -> bool:
        """Whether there are control frames to send."""
        return bool(self._unsent or self._control or self._pong)

    def _flush(self, *, wait: bool = False) -> None:
        """Send the control frames that the socket takes now; with ``wait`` all of them.

        Whoever holds the frame lock looks again after letting it go, and whoever adds a frame tries the lock
        after adding: so one of the two always sees the frame, and neither waits for the other. That goes for
        a signal handler too, which finds the lock held by its own thread.

        A signal handler may raise between the lock's taking and the knowledge of it. So it is let go whether
        or not it is known to be held, in one step, and the lock itself tells who does not hold it.
        """
        if self._frame_lock._is_owned():  # type: ignore[attr-defined]
            return
        while self._owes() and not self._mute:
            try:
                if not (self._frame_lock.acquire(blocking=wait) and self._write_control(wait=wait)):
                    return
            except (OSError, ValueError) as error:
                # A pong that cannot leave must not hide the close frame that may lie in the buffer, and its
                # clocks are no failure of the message before it, which has left whole.
                self._mute = True
                if not (isinstance(error, ResponseTimeout) or self._is_of_the_socket(error)):
                    raise
            finally:
                try:  # noqa: SIM105 - contextlib.suppress is a function, at whose beginning a signal is seen
                    self._frame_lock.release()
                except RuntimeError:
                    pass

    def _write_control(self, *, wait: bool) -> bool:
        """Under the frame lock: send what lies ready; False when the socket takes no more now."""
        while self._owes():
            if not self._unsent:
                self._unsent = (self._pong or self._control).popleft()
            if wait:
                self._write(self._unsent)
                self._unsent = b""
                continue
            self._unsent = self._unsent[self._try_write(memoryview(self._unsent)) :]
            if self._unsent:
                return False
        return True

    def _write(self, frame: Payload) -> None:
        """Under the frame lock: send a frame whole, if it makes progress every ``Timeouts.send`` seconds."""
        view = memoryview(frame)
        clock = Deadline(self._send_timeout)
        try:
            while view:
                written = self._try_write(view)
                if written:
                    view = view[written:]
                    clock = Deadline(self._send_timeout)
                else:
                    self._check_clocks(clock)
                    left = clock.remaining(SLICE_SECONDS)
                    poll(self._sock, write=True, timeout=self._deadline.remaining(left))
        except BaseException:
            # Part of the frame may be out.
            self._mute = True
            raise

    def _check_clocks(self, send: Deadline) -> None:
        if self._deadline.expired:
            raise overdue(self._deadline)
        if send.expired:
            seconds = self._send_timeout or 0.0
            raise ResponseTimeout(
                f"the request made no progress for {seconds:g} seconds (send)", clock="send", seconds=seconds
            )

    def _try_write(self, view: memoryview) -> int:
        """Write without waiting; how many bytes the socket took."""
        try:
            with self._guard:
                if self._aborted or self._mute:
                    raise BrokenPipeError(errno.EPIPE, "the connection was ended by this side")
                return self._sock.send(view)
        except ssl.SSLWantReadError:
            # A renegotiation (TLS 1.2) goes on when the reader has read: ``poll`` for writing would not wait.
            poll(self._sock, read=True, timeout=RENEGOTIATION_SECONDS)
            return 0
        except NOT_NOW:
            return 0

    # -- the end

    def abort(self) -> None:
        self._aborted = True
        # Not SSLSocket.shutdown, which drops the TLS layer first: the reader, woken, would take ciphertext
        # for data.
        with self._guard, contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def release(self) -> None:
        with self._guard:
            self._sock.close()

    def forget(self) -> None:
        # No lock: the thread that held it exists in the parent only.
        self._aborted = True
        self._sock.close()


def encode_message(message: bytes) -> Iterator[bytearray]:
    """A text message as frames of at most :data:`FRAGMENT_BYTES`, between which a pong can leave."""
    opcode = Opcode.TEXT
    for start in range(0, len(message), FRAGMENT_BYTES):
        stop = start + FRAGMENT_BYTES
        yield _frame(opcode, message[start:stop], final=stop >= len(message))
        opcode = Opcode.CONT


def _frame(opcode: int, payload: bytes, *, final: bool = True) -> bytearray:
    return encode_frame(opcode, payload, os.urandom(4), final=final)
