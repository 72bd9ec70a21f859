"""The one file that knows requests: a connection that it keeps, for one request at a time.

Only its adapter is used and no session, so that there is no ``.netrc``, no cookie and no redirect. The
sockets are opened as those of WebSockets are: proxies, authorities and client certificates follow one rule.
"""

from __future__ import annotations

import http.client
import queue
import re
import socket
import time
import weakref
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.adapters
import urllib3.connection
import urllib3.connectionpool
from urllib3.exceptions import HeaderParsingError
from urllib3.util.response import assert_header_parsing

from responses_ws._transport.http_wire import Reader

__all__ = ["Line"]

IDLE_SECONDS = 50.0
"""After so long a connection is not used again. Servers and proxies end theirs after a minute or so, and of a
request that meets that end nobody can say whether it was run."""
MARGIN_SECONDS = 1.0

SWITCHING = 101
WITHOUT_BODY = (SWITCHING, 204, 304)
"""They end with their head, whatever it announces (RFC 9112, 6.3)."""
MOST_INTERIM = 16
MAX_LINE = 64 * 1024
Head = tuple[str, str, dict[str, str]]
"""Method, address and headers of a request."""

DECIMAL = re.compile("[0-9]{1,18}")
HEXADECIMAL = re.compile(b"[0-9A-Fa-f]{1,15}")


class Line:
    """A connection, with what the libraries need around it.

    It does not keep its exchange alive: who forgets that closes the connection.
    """

    def __init__(self, url: str) -> None:
        self._exchange: Callable[[], Any] = _nobody
        self._usable_until = 0.0
        self._prepared: tuple[Head, requests.PreparedRequest] | None = None
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "wss" else 80)
        # Weak: what a finalizer of urllib3 knows, the connections of its pools, must not keep the pool alive.
        self._pool = _Pool(parts.hostname or "", port, maxsize=1, line=weakref.ref(self))
        self._adapter = _Adapter(self._pool)

    @property
    def exchange(self) -> Any:
        """The :class:`Exchange` that it is used for, between :meth:`send` and :meth:`rest`; else None."""
        return self._exchange()

    @property
    def fresh(self) -> bool:
        """Whether the server is likely to hold it still."""
        return time.monotonic() < self._usable_until

    def send(
        self, exchange: object, method: str, url: str, headers: dict[str, str], body: bytes
    ) -> requests.Response:
        """Send a request and wait for the head of its answer."""
        self._exchange = weakref.ref(exchange)
        request = self._prepare((method, url, headers))
        request.prepare_body(body or None, None)
        return self._adapter.send(request, stream=True)

    def _prepare(self, head: Head) -> requests.PreparedRequest:
        """The request without its body: most are like the one before, and preparing is a tenth of a turn."""
        if self._prepared is None or self._prepared[0] != head:
            method, url, headers = head
            self._prepared = head, requests.Request(method, url, headers=headers).prepare()
        return self._prepared[1].copy()

    def rest(self, keep_alive: str) -> None:
        """The exchange is over; the header ``Keep-Alive`` may say how long the server waits for another."""
        self._exchange = _nobody
        self._usable_until = time.monotonic() + _idle_seconds(keep_alive)

    def uses(self, sock: socket.socket) -> bool:
        """Whether an exchange goes over this socket, which then closes it."""
        exchange = self.exchange
        return exchange is not None and exchange.wire.holds(sock)

    def close(self) -> None:
        """End the connection, if it is at rest."""
        self._usable_until = 0.0
        self._pool.close()


def _exchange(line: Callable[[], Line | None]) -> Any:
    """What a line that is alive is used for."""
    found = line()
    return None if found is None else found.exchange


def _nobody() -> None:
    """The exchange of a line at rest."""


def _idle_seconds(keep_alive: str) -> float:
    for parameter in keep_alive.split(","):
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "timeout" and DECIMAL.fullmatch(value):
            return min(IDLE_SECONDS, int(value) - MARGIN_SECONDS)
    return IDLE_SECONDS


class _Response(http.client.HTTPResponse):
    """Strict where http.client guesses: what is taken for the end of an answer begins the next one."""

    def begin(self) -> None:
        super().begin()
        try:
            assert_header_parsing(self.headers)
        except HeaderParsingError:
            raise http.client.HTTPException("a line of the head is no header") from None
        codings, lengths = self._values("transfer-encoding"), set(self._values("content-length"))
        if codings:
            self._frame_by(codings)
        elif lengths:
            self._frame_to(lengths)

    def _values(self, name: str) -> list[str]:
        lines = self.headers.get_all(name, [])
        return [value.strip().lower() for line in lines for value in line.split(",")]

    def _frame_by(self, codings: list[str]) -> None:
        if codings != ["chunked"]:
            raise http.client.HTTPException("a transfer coding that was not asked for")
        if self.status in WITHOUT_BODY:
            # Whether its chunks follow, nobody can say: it is not waited for them, nor asked again here.
            self.chunked, self.length, self.will_close = False, 0, True
            return
        self.chunked, self.chunk_left, self.length = True, None, None
        self.will_close = self._check_close()  # type: ignore[attr-defined]

    def _frame_to(self, lengths: set[str]) -> None:
        """The same length may be said twice (RFC 9110, 8.6)."""
        length = lengths.pop()
        if lengths or not DECIMAL.fullmatch(length):
            raise http.client.HTTPException("a length that is none")
        if self.length is None:
            self.length = int(length)

    def _read_status(self) -> tuple[str, int, str]:
        """Pass over every interim answer (RFC 9110, 15.2); http.client knows 100 alone."""
        for _ in range(MOST_INTERIM):
            found: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
            if not 100 <= found[1] < 200 or found[1] == SWITCHING:
                return found
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException(f"{MOST_INTERIM} interim answers and no final one")

    def _read_next_chunk_size(self) -> int:
        """http.client takes what int() takes: signs, underscores, ``0x``."""
        size = self.fp.readline(MAX_LINE).partition(b";")[0].strip()
        if not HEXADECIMAL.fullmatch(size):
            raise ValueError("a chunk without its size")
        return int(size, 16)

    def _read_and_discard_trailer(self) -> None:
        """Not without end."""
        http.client.parse_headers(self.fp)


class _Connection(urllib3.connection.HTTPConnection):
    """urllib3's connection, plain for every scheme: TLS is the socket's own affair."""

    response_class = _Response

    def __init__(self, *args: Any, line: Callable[[], Line | None], **options: Any) -> None:
        super().__init__(*args, **options)
        self._line = line

    def connect(self) -> None:
        self.sock = _Socket(_exchange(self._line).new_socket(), self._line)

    def getresponse(self) -> Any:
        _exchange(self._line).expect_answer()
        return super().getresponse()


class _Place:
    """Where urllib3 keeps a connection that is not used.

    It takes no lock. Its own queue does, which an interrupt may leave locked; and urllib3 puts something in
    on its way out.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[Any] = []

    def put(self, item: Any, **_: Any) -> None:
        if self.qsize() >= self._size:
            raise queue.Full
        self._kept.append(item)

    def get(self, **_: Any) -> Any:
        try:
            return self._kept.pop()
        except IndexError:
            raise queue.Empty from None

    def qsize(self) -> int:
        return len(self._kept)


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = _Connection
    QueueCls = _Place  # type: ignore[assignment]  # of which it needs these methods only


class _Adapter(requests.adapters.HTTPAdapter):
    """requests' adapter on one pool, whatever the address: it has one connection, to one service."""

    def __init__(self, pool: _Pool) -> None:
        super().__init__()
        self._pool = pool

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> _Pool:
        return self._pool

    def get_connection(self, *_: Any, **__: Any) -> _Pool:
        return self._pool

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """The certificate was checked when the socket was opened."""


class _Socket:
    """A socket as http.client sees it: what goes through it goes through the wire of the exchange."""

    def __init__(self, sock: socket.socket, line: Callable[[], Line | None]) -> None:
        self._sock = sock
        self._line = line

    def sendall(self, data: bytes) -> None:
        wire = _exchange(self._line).wire
        wire.hold(self._sock)
        wire.send(data)

    def makefile(self, *_: Any) -> Reader:
        reader: Reader = _exchange(self._line).reader
        return reader

    def settimeout(self, seconds: float | None) -> None:
        """The wire has clocks of its own."""

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        # http.client closes it before it reads the rest of an answer that ends with its connection.
        line = self._line()
        if line is None or not line.uses(self._sock):
            self._sock.close()
