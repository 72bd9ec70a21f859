"""Clients of the scripted server: a bare socket, and a conforming one."""

from __future__ import annotations

import base64
import contextlib
import socket
from collections.abc import Callable, Iterator

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import CONNECTING, OPEN
from websockets.uri import parse_uri

from responses_ws.testing import ScriptedServer


class RawClient:
    """A socket and, after :meth:`upgrade`, frames built one by one."""

    def __init__(self, server: ScriptedServer, *, tls: bool = True) -> None:
        self.server = server
        self.sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        if tls and server.ssl_context:
            self.start_tls()

    def start_tls(self) -> None:
        context = self.server.ssl_context
        self.sock = context.wrap_socket(self.sock, server_hostname="127.0.0.1", suppress_ragged_eofs=False)

    def upgrade(self, path: str = "/v1/responses", headers: str = "") -> bytes:
        """Ask for the upgrade; returns the head of the answer."""
        self.request_upgrade(path, headers)
        return self.read_head()

    def request_upgrade(self, path: str = "/v1/responses", headers: str = "") -> None:
        key = base64.b64encode(b"sixteen  letters").decode()
        head = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
        )
        self.sock.sendall(head.encode())

    def read_head(self) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.read(1)
        return head

    def send(
        self, payload: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True, masked: bool = True
    ) -> None:
        self.sock.sendall(Frame(opcode, payload, fin).serialize(mask=masked))

    def send_close(self, payload: bytes = b"\x03\xe8") -> None:
        self.send(payload, Opcode.CLOSE)

    def read(self, count: int) -> bytes:
        """Exactly so many bytes."""
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            assert piece, f"the server ended after {data!r}"
            data += piece
        return data

    def read_all(self) -> bytes:
        """Everything up to the server's end."""
        pieces = []
        while piece := self.sock.recv(65536):
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        self.sock.close()


class ServerClosed(Exception):
    """The server ended; ``code`` is that of its close frame, 1006 without one."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Client:
    """A conforming client in one thread, on the protocol part of the websockets package.

    Its own threaded client is not used over TLS: two threads in one SSLSocket lose bytes now and then.
    """

    def __init__(self, server: ScriptedServer, path: str = "", headers: dict[str, str] | None = None) -> None:
        self.raw = RawClient(server)
        self.protocol = ClientProtocol(parse_uri(f"{server.url}/responses{path}"), max_size=None)
        self.frames: list[Frame] = []
        self.ended = False
        request = self.protocol.connect()
        request.headers.update(headers or {})
        self.protocol.send_request(request)
        self.flush()
        while self.protocol.state is CONNECTING and not self.ended:
            self.read()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, text: str) -> None:
        self.protocol.send_text(text.encode())
        self.flush()

    def send_fragments(self, first: str, *rest: str) -> None:
        self.protocol.send_text(first.encode(), fin=False)
        for piece in rest:
            self.protocol.send_continuation(piece.encode(), fin=piece is rest[-1])
        self.flush()

    def ping(self, data: bytes) -> None:
        """Send a ping and wait for its pong."""
        self.protocol.send_ping(data)
        self.flush()
        pong = self.next_frame(Opcode.PONG)
        assert pong.data == data

    def recv(self) -> str | bytes:
        """The next message. Raises :class:`ServerClosed` when there is none."""
        frame = self.next_frame(Opcode.TEXT, Opcode.BINARY)
        data = bytes(frame.data)
        fin = frame.fin
        while not fin:
            more = self.next_frame(Opcode.CONT)
            data, fin = data + more.data, more.fin
        return data.decode() if frame.opcode is Opcode.TEXT else data

    def next_frame(self, *opcodes: Opcode) -> Frame:
        while True:
            for place, frame in enumerate(self.frames):
                if frame.opcode in opcodes:
                    return self.frames.pop(place)
            if self.ended:
                close = self.protocol.close_rcvd
                raise ServerClosed(int(close.code), close.reason) if close else ServerClosed(1006, "")
            self.read()

    def close(self, code: int = 1000, reason: str = "") -> None:
        try:
            if self.protocol.state is OPEN:
                self.protocol.send_close(code, reason)
                self.flush()
            while not self.ended:
                self.read()
        finally:
            self.raw.close()

    def read(self) -> None:
        data = self.raw.sock.recv(65536)
        if data:
            self.protocol.receive_data(data)
        else:
            self.ended = True
            self.protocol.receive_eof()
        self.frames += [event for event in self.protocol.events_received() if isinstance(event, Frame)]
        self.flush()

    def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                self.raw.sock.sendall(data)


@pytest.fixture
def raw_client() -> Iterator[Callable[..., RawClient]]:
    """Makes raw clients that are closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(server: ScriptedServer, *, tls: bool = True) -> RawClient:
            client = RawClient(server, tls=tls)
            stack.callback(client.close)
            return client

        yield make


@pytest.fixture
def dial() -> type[Client]:
    """Connects a conforming client."""
    return Client


@pytest.fixture
def server_closed() -> type[ServerClosed]:
    return ServerClosed
