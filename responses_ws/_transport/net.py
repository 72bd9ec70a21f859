"""One rule for proxies and certificates, used by every transport.

Nothing here is needed before the first connect, so ssl, urllib.request, requests and certifi are imported
where they are used.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from responses_ws._core.endpoint import ascii_host
from responses_ws._core.secret import Secret
from responses_ws.errors import ConfigurationError

if TYPE_CHECKING:
    import ssl

__all__ = ["Proxy", "connect_request", "proxy_for", "proxy_secrets", "redirect_host", "tls_context"]

PORTS = {"http": 80, "socks5": 1080, "socks5h": 1080}
"""The schemes of proxies, each with its usual port."""
MAX_SOCKS_BYTES = 255
REDIRECTS = (301, 302, 303, 307, 308)
CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""How OpenSSL names the files of a certificate directory (``openssl rehash``)."""

UNSUPPORTED = {
    "https": "TLS to the proxy itself is not supported; use an http:// proxy",
    "socks": "of SOCKS only version 5 is supported; use socks5h:// or socks5://",
}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that tunnels with CONNECT (RFC 9110, 9.3.6), or a SOCKS 5 proxy (RFC 1928).

    :param scheme: how the proxy itself is spoken to, TLS to the service goes through the tunnel: ``http``,
        ``socks5h``, or ``socks5``, with which names are looked up here and not by the proxy.
    :param host: an IPv6 address without its brackets.
    :param credentials: ``user:password``, percent-decoded, or None.
    """

    scheme: str
    host: str
    port: int
    credentials: Secret | None = None


def proxy_for(url: str, explicit: Secret | None) -> Proxy | None:
    """The proxy that a connection to ``url`` takes, or None for a direct one.

    :param url: ``ws://`` or ``wss://``.
    :param explicit: the caller's choice; without one the environment is asked (``wss_proxy`` or ``ws_proxy``,
        then ``https_proxy`` or ``http_proxy``, then ``all_proxy``, upper case too; ``no_proxy`` with ports
        and CIDR blocks), and the system's settings on macOS and Windows, all by the rule of requests.

    Raises :class:`ConfigurationError` naming ``proxy`` when the chosen proxy cannot be used: it is never
    passed by, and its URL is never shown.
    """
    chosen = explicit if explicit is not None else _from_environment(url)
    return None if chosen is None else _parse_proxy(chosen)


def connect_request(proxy: Proxy, host: str, port: int) -> memoryview:
    """The request that asks a proxy for a tunnel; a memoryview, because its repr shows no credentials.

    :param host: in ASCII and without brackets, as :attr:`Endpoint.host` gives it.
    """
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    opening = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n".encode("ascii")
    return memoryview(b"%b%b\r\n" % (opening, _authorization(proxy)))


def proxy_secrets(proxy: Proxy) -> tuple[Secret, ...]:
    """What must be masked when the proxy echoes it: the credentials, as they are sent, and the password."""
    if proxy.credentials is None:
        return ()
    sent = Secret(_basic(proxy.credentials).decode())
    password = Secret(proxy.credentials.reveal().partition(":")[2])
    return tuple(secret for secret in (proxy.credentials, sent, password) if secret)


def tls_context() -> ssl.SSLContext:
    """A new client context: TLS 1.2 or later without renegotiation, certificate and host name checked, ALPN
    ``http/1.1``.

    The trusted authorities are those of the first variable that is set, ``SSL_CERT_FILE``,
    ``REQUESTS_CA_BUNDLE`` or ``CURL_CA_BUNDLE`` (a file or a directory), else those of the system, else those
    of certifi. Reading them takes milliseconds; keep the context.

    Raises :class:`ConfigurationError` naming the variable whose path cannot be used.
    """
    import ssl

    context = _context_of_variable() or _context_of_system()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


def redirect_host(status: int, headers: Mapping[str, str]) -> str | None:
    """The host to which an answer redirects, for the text of an error: redirects are not followed.

    None when it does not redirect.
    """
    if status not in REDIRECTS:
        return None
    try:
        return urlsplit(headers.get("location", "")).hostname or "elsewhere"
    except ValueError:
        return "elsewhere"


def _from_environment(url: str) -> Secret | None:
    """What requests would choose for the same host over HTTP, so that both transports take the same way."""
    if not _may_have_proxy():
        return None
    import requests.utils

    scheme, rest = url.split(":", 1)
    over_http = f"{'https' if scheme == 'wss' else 'http'}:{rest}"
    proxies = requests.utils.get_environ_proxies(over_http)
    chosen = proxies.get(scheme) or requests.utils.select_proxy(over_http, proxies)
    return Secret(chosen) if chosen else None


def _may_have_proxy() -> bool:
    """Whether there is anything to ask requests about; importing it takes longer than connecting."""
    if sys.platform in ("darwin", "win32"):
        import urllib.request

        return any(name != "no" for name in urllib.request.getproxies())
    return any(
        value and name.lower().endswith("_proxy") and name.lower() != "no_proxy"
        for name, value in os.environ.items()
    )


def _parse_proxy(chosen: Secret) -> Proxy:
    url = Secret(chosen.reveal().strip())
    if "://" not in url.reveal():
        url = Secret(f"http://{url.reveal()}")
    scheme = url.reveal().partition("://")[0].lower()
    if scheme not in PORTS:
        unsupported = UNSUPPORTED.get("socks" if scheme.startswith("socks") else scheme)
        if unsupported:
            raise ConfigurationError(f"proxy: {unsupported}")
    proxy = _proxy(scheme, url) if scheme in PORTS else None
    if proxy is None:
        raise ConfigurationError("proxy must be a URL of the form http://user:password@host:port")
    return proxy


def _proxy(scheme: str, url: Secret) -> Proxy | None:
    """None for what is no URL of a proxy; raises nothing, as its variables hold the credentials."""
    if not url.reveal().isprintable() or " " in url.reveal():
        return None
    try:
        parts = urlsplit(url.reveal())
        host, port = ascii_host(parts), parts.port
    except ValueError:
        return None
    # More than a host is most likely a password with an unescaped "/", "?" or "#" in it.
    if host is None or port == 0 or parts.path not in ("", "/") or parts.query or parts.fragment:
        return None
    proxy = Proxy(scheme, host, port or PORTS[scheme], _credentials(parts))
    return None if scheme != "http" and _too_long(proxy) else proxy


def _too_long(proxy: Proxy) -> bool:
    """Whether name or password have more bytes than SOCKS can say."""
    given = proxy.credentials or Secret("")
    return any(len(part.encode()) > MAX_SOCKS_BYTES for part in given.reveal().partition(":"))


def _credentials(parts: SplitResult) -> Secret | None:
    if not parts.username and not parts.password:
        return None
    return Secret(f"{unquote(parts.username or '')}:{unquote(parts.password or '')}")


def _authorization(proxy: Proxy) -> bytes:
    """RFC 7617, with the credentials in UTF-8."""
    if proxy.credentials is None:
        return b""
    return b"Proxy-Authorization: Basic %b\r\n" % _basic(proxy.credentials)


def _basic(credentials: Secret) -> bytes:
    return base64.b64encode(credentials.reveal().encode())


def _context_of_variable() -> ssl.SSLContext | None:
    """A context that trusts what the first variable names, and nothing else."""
    import ssl

    for variable in CA_VARIABLES:
        path = os.environ.get(variable)
        if not path:
            continue
        try:
            if os.path.isdir(path):
                return ssl.create_default_context(capath=path)
            return ssl.create_default_context(cafile=path)
        except OSError as error:
            raise ConfigurationError(f"{variable}: {path!r} holds no readable certificates") from error
    return None


def _context_of_system() -> ssl.SSLContext:
    import ssl

    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"] and not _has_directory():
        import certifi

        context.load_verify_locations(cafile=certifi.where())
    return context


def _has_directory() -> bool:
    """Whether the system has a certificate directory, which OpenSSL reads only during a handshake."""
    import ssl

    directory = ssl.get_default_verify_paths().capath
    return bool(directory) and any(HASHED.fullmatch(name) for name in os.listdir(directory))
