"""A tunnel through a SOCKS 5 proxy (RFC 1928), by name and password where it asks for them (RFC 1929)."""

from __future__ import annotations

import contextlib
import ipaddress
import socket

from responses_ws._transport.deadline import Deadline
from responses_ws._transport.net import Proxy
from responses_ws._transport.websocket_client import send_all, set_timeout
from responses_ws.errors import ConnectionError

__all__ = ["open_socks_tunnel"]

VERSION = 5
NO_AUTHENTICATION = 0
BY_PASSWORD = 2
NO_METHOD = 0xFF
CONNECT = 1
IPV4, NAME, IPV6 = 1, 3, 4
ADDRESS_BYTES = {IPV4: 4, IPV6: 16}
SUCCEEDED = 0
REPLIES = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}


def open_socks_tunnel(sock: socket.socket, proxy: Proxy, host: str, port: int, deadline: Deadline) -> None:
    """Ask the proxy that the socket is connected to for a tunnel.

    With ``socks5h`` the proxy looks the name up, with ``socks5`` this machine does.

    Raises :class:`ConnectionError` when it refuses, and OSError when the connection breaks.
    """
    _agree(sock, proxy, deadline)
    address = _address(host, remote=proxy.scheme == "socks5h")
    request = bytes([VERSION, CONNECT, 0]) + address + port.to_bytes(2, "big")
    send_all(sock, memoryview(request), deadline)
    _, reply, _, kind = _read(sock, 4, deadline)
    if reply != SUCCEEDED:
        raise ConnectionError(REPLIES.get(reply, f"reply {reply}"))
    length = ADDRESS_BYTES.get(kind) or _read(sock, 1, deadline)[0]
    _read(sock, length + 2, deadline)


def _agree(sock: socket.socket, proxy: Proxy, deadline: Deadline) -> None:
    """On how to say who is asking, and say it."""
    known = proxy.credentials is not None
    methods = bytes([NO_AUTHENTICATION, BY_PASSWORD] if known else [NO_AUTHENTICATION])
    send_all(sock, memoryview(bytes([VERSION, len(methods)]) + methods), deadline)
    version, method = _read(sock, 2, deadline)
    if version != VERSION:
        raise ConnectionError("its answer is not SOCKS 5")
    if method not in methods:
        wanted = "credentials" if method in (BY_PASSWORD, NO_METHOD) else f"method {method}"
        raise ConnectionError(f"it wants {wanted} that it was not given")
    if method == BY_PASSWORD:
        send_all(sock, _credentials(proxy), deadline)
        _, status = _read(sock, 2, deadline)
        if status != SUCCEEDED:
            raise ConnectionError("it does not accept the credentials")


def _credentials(proxy: Proxy) -> memoryview:
    """A memoryview, because its repr shows no credentials."""
    if proxy.credentials is None:
        raise ConnectionError("it wants credentials that it was not given")
    name, _, password = proxy.credentials.reveal().partition(":")
    parts = [name.encode(), password.encode()]
    return memoryview(b"\x01" + b"".join(bytes([len(part)]) + part for part in parts))


def _address(host: str, *, remote: bool) -> bytes:
    with contextlib.suppress(ValueError):
        return _packed(host)
    if not remote:
        return _packed(str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]))
    name = host.encode("ascii")
    return bytes([NAME, len(name)]) + name


def _packed(host: str) -> bytes:
    address = ipaddress.ip_address(host)
    return bytes([IPV4 if address.version == 4 else IPV6]) + address.packed


def _read(sock: socket.socket, count: int, deadline: Deadline) -> bytes:
    """Exactly so many bytes: what follows is the tunnel's."""
    found = b""
    while len(found) < count:
        set_timeout(sock, deadline)
        data = sock.recv(count - len(found))
        if not data:
            raise ConnectionError("it closed the connection")
        found += data
    return found
