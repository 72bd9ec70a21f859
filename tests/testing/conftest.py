"""A client without a library, and a guard against what a server leaves behind."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import threading
from collections.abc import Iterator

import pytest
from websockets.frames import Frame, Opcode

from responses_ws.testing import ScriptedServer

FDS = "/proc/self/fd"


class RawClient:
    """A socket and, after :meth:`upgrade`, frames built one by one."""

    def __init__(self, server: ScriptedServer, *, tls: bool = True) -> None:
        self.server = server
        self.sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        if tls and server.ssl_context:
            self.start_tls()

    def start_tls(self) -> None:
        context = self.server.ssl_context
        self.sock = context.wrap_socket(
            self.sock, server_hostname="127.0.0.1", suppress_ragged_eofs=False
        )

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

    def send(self, payload: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True, masked: bool = True) -> None:
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


@pytest.fixture
def raw_client() -> Iterator[type[RawClient]]:
    """Makes raw clients that are closed after the test."""
    made: list[RawClient] = []

    class Client(RawClient):
        def __init__(self, server: ScriptedServer, *, tls: bool = True) -> None:
            super().__init__(server, tls=tls)
            made.append(self)

    yield Client
    for client in made:
        client.close()


def held() -> list[str]:
    """The names of the server's threads and of what the open files are."""
    names = [thread.name for thread in threading.enumerate() if "testing" in thread.name]
    for number in os.listdir(FDS) if os.path.isdir(FDS) else ():
        with contextlib.suppress(OSError):  # that of the listing itself is gone
            names.append(os.readlink(f"{FDS}/{number}"))
    return sorted(names)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Every test gives back the threads, sockets and files that it took."""
    before = held()
    yield
    assert held() == before
