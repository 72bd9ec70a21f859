"""The one file that knows websocket-client: the opening handshake.

The library never sees the key, a cookie, a redirect or a refusal: it writes its request to, and reads the
answer from, a :class:`_Head`, which adds our headers on the way out and lets nothing but a clean 101 in.
"""

from __future__ import annotations

import contextlib
import io
import re
import socket
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import websocket

from responses_ws._core.failures import http_error
from responses_ws._core.headers import Masker, unfolded
from responses_ws._transport.base import Target
from responses_ws._transport.deadline import Deadline
from responses_ws._transport.net import redirect_host
from responses_ws.errors import HandshakeError

__all__ = ["MAX_HEAD_BYTES", "read_head", "refusal", "upgrade"]

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024
MAX_BODY_SECONDS = 2.0
READ_BYTES = 16 * 1024
END_OF_HEAD = b"\r\n\r\n"

SWITCHING = re.compile(rb"HTTP/1\.[1-9] 101[ \r]")
"""The status line of an accepted upgrade: RFC 6455, 4.1; HTTP/1.0 knows none (RFC 9110, 7.8)."""

CALLER_STATUSES = frozenset({401, 403, 429})
"""Refusals that speak about the caller and not about the way here."""


def upgrade(sock: socket.socket, target: Target, deadline: Deadline) -> tuple[dict[str, str], bytes]:
    """Make the opening handshake (RFC 6455, 4.1) on a connected socket.

    Returns the response headers (lower-case names) and the bytes that came after them. Raises
    :class:`HandshakeError`, or the :class:`ResponseError` class of a refusal that speaks about the caller.
    """
    head = _Head(sock, target, deadline)
    client = websocket.WebSocket(enable_multithread=False)
    try:
        client.connect(  # type: ignore[no-untyped-call]
            target.url,
            socket=head,
            host=urlsplit(target.url).netloc,
            suppress_origin=True,
            redirect_limit=0,
        )
    except Exception as error:
        if head.failure is not None:
            raise head.failure from None
        # The library's own exceptions quote the server's headers; their class says enough.
        raise HandshakeError(
            f"the server's answer to the upgrade is not valid ({type(error).__name__})", status=101
        ) from None
    headers = dict(client.getheaders() or {})
    for unasked in ("sec-websocket-extensions", "sec-websocket-protocol"):
        if unasked in headers:
            raise HandshakeError(
                f"the server chose a {unasked} that was not offered (RFC 6455, 4.1)", status=101
            )
    return headers, head.rest()


class _Head:
    """The socket as websocket-client sees it during the handshake.

    :ivar failure: what went wrong here; websocket-client would turn it into an exception of its own.
    """

    def __init__(self, sock: socket.socket, target: Target, deadline: Deadline) -> None:
        self._sock = sock
        self._target = target
        self._deadline = deadline
        self._answer: io.BytesIO | None = None
        self._rest = b""
        self.failure: Exception | None = None

    def gettimeout(self) -> float | None:
        return self._deadline.remaining()

    def send(self, request: bytes) -> int:
        """Send the request whole, without a cookie of some other connection, with our headers added."""
        lines = [line for line in request.split(b"\r\n") if line and not line.lower().startswith(b"cookie:")]
        try:
            send_all(
                self._sock,
                memoryview(b"\r\n".join([*lines, *self._header_lines(), b"", b""])),
                self._deadline,
            )
        except Exception as error:
            self.failure = error
            raise
        return len(request)

    def _header_lines(self) -> Iterator[bytes]:
        for name, value in self._target.headers.items():
            yield f"{name}: {value.reveal()}".encode("latin-1")

    def recv(self, count: int) -> bytes:
        if self._answer is None:
            try:
                self._answer = io.BytesIO(self._read_answer())
            except Exception as error:
                self.failure = error
                raise
        return self._answer.read(count)

    def _read_answer(self) -> bytes:
        mask = Masker(self._target.secrets)
        head, self._rest = read_head(self._sock, self._deadline, "the server", mask)
        if not SWITCHING.match(head):
            raise refusal(head + self._rest, self._sock, self._target, self._deadline)
        # websocket-client expects UTF-8 where HTTP speaks latin-1, and takes a line of spaces for the last.
        lines = head.decode("latin-1").strip().split("\n")
        if not all(line.strip() for line in lines):
            raise HandshakeError("the server's answer to the upgrade is not valid (empty line)", status=101)
        kept = [line for line in lines if not line.lstrip().lower().startswith("set-cookie:")]
        return "\n".join([*kept, "", ""]).encode()

    def rest(self) -> bytes:
        return self._rest

    def close(self) -> None:
        """The socket is closed by the one who opened it."""


def send_all(sock: socket.socket, data: memoryview, deadline: Deadline) -> None:
    """Send what may hold a secret: a memoryview shows none in a traceback with locals."""
    set_timeout(sock, deadline)
    sock.sendall(data)


def set_timeout(sock: socket.socket, deadline: Deadline) -> None:
    """Let the next operation run until the deadline. Zero would mean non-blocking, so it is an error."""
    if deadline.expired:
        raise TimeoutError("timed out")
    sock.settimeout(deadline.remaining())


def read_head(sock: socket.socket, deadline: Deadline, peer: str, mask: Masker) -> tuple[bytes, bytes]:
    """Read an HTTP response head, at most :data:`MAX_HEAD_BYTES`; return it and the bytes read beyond it.

    :param peer: who answers, for the text of an error.
    :param mask: applied to both.
    """
    received = io.BytesIO()  # and no variable: what is not masked yet must not be in a traceback with locals
    while True:
        length = received.getvalue().find(END_OF_HEAD) + len(END_OF_HEAD)
        if length >= len(END_OF_HEAD):
            return mask(received.getvalue()[:length]), mask(received.getvalue()[length:])
        if received.tell() > MAX_HEAD_BYTES:
            raise HandshakeError(f"{peer} sent an answer with a head of more than {MAX_HEAD_BYTES} bytes")
        set_timeout(sock, deadline)
        if not received.write(sock.recv(READ_BYTES)):
            said = "in the middle of its answer" if received.tell() else "without an answer"
            raise HandshakeError(f"{peer} closed the connection {said}")


def refusal(begun: bytes, sock: socket.socket, target: Target, deadline: Deadline) -> Exception:
    """The error for an answer that is no 101, with as much of its body as is there."""
    import http.client

    response = http.client.HTTPResponse(_Readable(_Body(begun, sock, deadline)))  # type: ignore[arg-type]
    try:
        response.begin()
    except (http.client.HTTPException, OSError, ValueError):
        return HandshakeError("the server's answer to the upgrade is no HTTP")
    body = b""
    with contextlib.suppress(http.client.HTTPException, OSError, ValueError):
        while len(body) < MAX_BODY_BYTES and (piece := response.read1(READ_BYTES)):
            body += piece
    body = Masker(target.secrets)(body)
    headers = {name.lower(): unfolded(value) for name, value in response.getheaders()}
    return _refused(response.status, response.reason, headers, body)


def _refused(status: int, reason: str, headers: Mapping[str, str], body: bytes) -> Exception:
    if status in CALLER_STATUSES:
        return http_error(status, headers, body)
    text = body.decode("utf-8", "replace")
    told = f"{status} {reason}".strip()
    host = redirect_host(status, headers)
    if host is not None:
        message = f"the server redirects the upgrade to {host} ({told}); redirects are not followed"
    else:
        message = f"the server refused the upgrade: {told}"
    return HandshakeError(message, status=status, headers=headers, body=text)


class _Body(io.RawIOBase):
    """The bytes of a refused upgrade: those already read, then the socket, bounded in size and time."""

    def __init__(self, begun: bytes, sock: socket.socket, deadline: Deadline) -> None:
        self._begun = begun
        self._sock = sock
        self._deadline = Deadline(deadline.remaining(MAX_BODY_SECONDS))
        self._room = MAX_HEAD_BYTES + MAX_BODY_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._begun:
            if self._room <= 0:
                return 0
            set_timeout(self._sock, self._deadline)
            self._begun = self._sock.recv(READ_BYTES)
            self._room -= len(self._begun)
        taken = min(len(buffer), len(self._begun))
        buffer[:taken] = self._begun[:taken]
        self._begun = self._begun[taken:]
        return taken


class _Readable:
    """What http.client wants of a socket."""

    def __init__(self, body: _Body) -> None:
        self._body = body

    def makefile(self, *_: object) -> io.BufferedReader:
        return io.BufferedReader(self._body)
