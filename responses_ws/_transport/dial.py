"""From an address to a connected socket: DNS, TCP, proxy and TLS under one deadline.

Runs in the reader thread, so that a look-up that cannot be interrupted (``getaddrinfo``) delays nobody: the
caller waits for the outcome with a deadline of its own and can leave at any moment.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from urllib.parse import urlsplit

from responses_ws._core.headers import Masker
from responses_ws._transport import net
from responses_ws._transport.base import Hold, Target
from responses_ws._transport.deadline import Deadline
from responses_ws._transport.socks import open_socks_tunnel
from responses_ws._transport.websocket_client import read_head, send_all, set_timeout
from responses_ws.errors import ConnectionError

__all__ = ["dial", "failure"]

ANSWER = re.compile(rb"HTTP/1\.[0-9] ([1-5][0-9]{2}\b[^\r\n]*)")
SYSTEM_SECONDS = 300.0
"""More than systems try to connect. A socket in blocking mode would not notice that it is given up."""

UNSENT_BYTES = 128 * 1024
"""What the kernel may hold back of an upload. Left alone it takes megabytes, and a pong waits behind them."""

SOCKET_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_NOTSENT_LOWAT", None), UNSENT_BYTES),
)


def dial(target: Target, deadline: Deadline, hold: Hold) -> socket.socket:
    """Connect to the target's host, through its proxy, with TLS where the URL says so.

    Raises :class:`ConnectionError` naming the host and the step that failed.
    """
    parts = urlsplit(target.url)
    secure = parts.scheme == "wss"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    proxy = net.proxy_for(target.url, target.proxy)
    if proxy is None:
        sock = _connect(host, port, deadline, hold)
    else:
        sock = _connect(proxy.host, proxy.port, deadline, hold, role="the proxy ")
    try:
        if proxy is not None:
            ask = _tunnel if proxy.scheme == "http" else _socks_tunnel
            ask(sock, proxy, host, port, deadline)
        return _secure(sock, host, target, deadline, hold) if secure else sock
    except BaseException:
        sock.close()
        raise


def _connect(host: str, port: int, deadline: Deadline, hold: Hold, role: str = "") -> socket.socket:
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConnectionError(failure("look up", f"{role}{host}", deadline, error)) from error
    last: OSError = OSError("no address")
    for position, (family, kind, protocol, _, address) in enumerate(addresses):
        # An address that swallows packets must leave time for those after it.
        left = deadline.remaining()
        share = Deadline((SYSTEM_SECONDS if left is None else left) / (len(addresses) - position))
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:  # a system without IPv6 may still be given its addresses
            last = error
            continue
        try:
            hold(sock)
            set_timeout(sock, share)
            sock.connect(address)
            # A socket that was shut down before it began to connect seems to be connected.
            hold(sock)
            _set_options(sock)
        except OSError as error:
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise ConnectionError(failure("connect to", f"{role}{host}:{port}", deadline, last)) from last


def _set_options(sock: socket.socket) -> None:
    """Set what this system knows; a connection works without any of it."""
    for level, option, value in SOCKET_OPTIONS:
        if option is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(level, option, value)


def _tunnel(sock: socket.socket, proxy: net.Proxy, host: str, port: int, deadline: Deadline) -> None:
    """Ask an HTTP proxy for a tunnel (RFC 9110, 9.3.6). Any 2xx opens it, whatever its HTTP version."""
    mask = Masker(net.proxy_secrets(proxy))
    try:
        send_all(sock, net.connect_request(proxy, host, port), deadline)
        head, rest = read_head(sock, deadline, "the proxy", mask)
    except (OSError, ConnectionError) as error:
        step = "open a tunnel through the proxy"
        raise ConnectionError(failure(step, f"{proxy.host}:{proxy.port}", deadline, error)) from error
    answer = ANSWER.match(head)
    if answer is None:
        raise ConnectionError(f"the proxy {proxy.host}:{proxy.port} gave an answer that is no HTTP")
    status = answer[1].decode("latin-1").strip()
    if not status.startswith("2"):
        raise ConnectionError(f"the proxy {proxy.host}:{proxy.port} refused the tunnel: {status[:100]}")
    if rest:
        raise ConnectionError(f"the proxy {proxy.host}:{proxy.port} sent data before the tunnel was used")


def _socks_tunnel(sock: socket.socket, proxy: net.Proxy, host: str, port: int, deadline: Deadline) -> None:
    try:
        open_socks_tunnel(sock, proxy, host, port, deadline)
    except OSError as error:
        step = "open a tunnel through the proxy"
        raise ConnectionError(failure(step, f"{proxy.host}:{proxy.port}", deadline, error)) from error


def _secure(sock: socket.socket, host: str, target: Target, deadline: Deadline, hold: Hold) -> ssl.SSLSocket:
    context = target.ssl_context or net.tls_context()
    try:
        secured = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    except (OSError, ValueError) as error:
        raise ConnectionError(failure("secure the connection to", host, deadline, error)) from error
    try:
        hold(secured)
        set_timeout(secured, deadline)
        secured.do_handshake()
    except OSError as error:
        secured.close()
        raise ConnectionError(failure("secure the connection to", host, deadline, error)) from error
    except BaseException:
        secured.close()
        raise
    return secured


def failure(step: str, place: str, deadline: Deadline, error: Exception) -> str:
    """What to say of a step of connecting that failed."""
    if isinstance(error, TimeoutError) or deadline.expired:
        limit = "" if deadline.seconds is None else f" within {deadline.seconds:g} seconds"
        return f"could not {step} {place}{limit}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"could not {step} {place}: {error.verify_message or error.reason}"
    told = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"could not {step} {place}: {told}"
