"""A network that can be cut: what goes to a server goes through here."""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import struct
import threading
from types import TracebackType

CHUNK = 65536
RESET = struct.pack("ii", 1, 0)


class Network:
    """Carries connections to a port of this machine until :meth:`cut` ends one of them.

    :ivar cuts: how often one was cut.
    """

    def __init__(self, port: int) -> None:
        self.cuts = 0
        self._port = port
        self._links: set[_Link] = set()
        self._lock = threading.Lock()  # of the links
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._thread = threading.Thread(target=self._accept_all, daemon=True)

    @property
    def port(self) -> int:
        """The port to connect to."""
        return int(self._listener.getsockname()[1])

    @property
    def links(self) -> int:
        """The connections that there are."""
        with self._lock:
            return len(self._links)

    def cut(self) -> None:
        """End one connection by RST, on both sides, if there is one."""
        with self._lock:
            if self._links:
                random.choice(list(self._links)).cut()  # noqa: S311
                self.cuts += 1

    def __enter__(self) -> Network:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        with self._lock:
            links = list(self._links)
            for link in links:
                link.cut()
        for link in links:
            link.join()

    def _accept_all(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                _Link(self, client, socket.create_connection(("127.0.0.1", self._port)))

    def add(self, link: _Link) -> None:
        with self._lock:
            self._links.add(link)

    def remove(self, link: _Link) -> None:
        """A link has ended; from here on it is not cut any more, so that it can close its sockets."""
        with self._lock:
            self._links.discard(link)


class _Link(threading.Thread):
    """One connection, carried until one of its sides ends it."""

    def __init__(self, network: Network, client: socket.socket, server: socket.socket) -> None:
        super().__init__(daemon=True)
        self._network = network
        self._sides = {client: server, server: client}
        network.add(self)
        self.start()

    def cut(self) -> None:
        for side in self._sides:
            side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RD)  # which wakes the thread

    def run(self) -> None:
        with contextlib.suppress(OSError), selectors.DefaultSelector() as selector:
            for side in self._sides:
                selector.register(side, selectors.EVENT_READ)
            while self._carry(selector):
                pass
        self._network.remove(self)
        for side in self._sides:
            side.close()

    def _carry(self, selector: selectors.BaseSelector) -> bool:
        for key, _ in selector.select():
            data = key.fileobj.recv(CHUNK)  # type: ignore[union-attr]
            if not data:
                return False
            self._sides[key.fileobj].sendall(data)  # type: ignore[index]
        return True
