"""What a service can do, as a value: its address, its lanes, the age and the size it allows."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import SplitResult, quote, urlsplit

from responses_ws._core.options import check_count, check_flag
from responses_ws.errors import ConfigurationError
from responses_ws.messages import MEBIBYTE, check_seconds

__all__ = ["Endpoint", "ascii_host", "check_insecure"]

MINUTE = 60.0
SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
URL_SAFE = "%/:?@!$&'()*+,;=[]~"
"""What RFC 3986, 2.2 gives a meaning; everything else that is no letter or digit is percent-encoded."""

LONGEST_NAME = 253
"""Characters of a host's name (RFC 1035, 2.3.4, without the length bytes)."""
NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?")
BRACKETED = re.compile(r"(?:.*@)?\[[^\[\]]*:[^\[\]]*\](?::.*)?")
"""What some versions of urlsplit do not check of an address in brackets (RFC 3986, 3.2.2)."""


class Capabilities(NamedTuple):
    """The fields of an :class:`Endpoint` after its address."""

    max_age: float | None = 55 * MINUTE
    max_in_flight: int = 1
    max_lanes: int = 0
    max_request_bytes: int | None = None
    steering: bool = False


UNKNOWN = Capabilities()
KNOWN = {
    "api.openai.com": Capabilities(max_in_flight=16, max_lanes=32, steering=True),
    "openai.azure.com": UNKNOWN,
    "api.x.ai": Capabilities(max_age=22 * MINUTE),
    "ai-gateway.vercel.sh": Capabilities(max_age=12 * MINUTE, max_request_bytes=4 * MEBIBYTE),
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service is and what it can do. Immutable; build one by hand for a service of your own.

    :param url: the ``ws://`` or ``wss://`` address of its Responses WebSocket, usually ending in
        ``/responses``; ``http`` and ``https`` are read as ``ws`` and ``wss``.
    :param max_age: seconds after which a connection is replaced between two turns; None means never.
    :param max_in_flight: responses that may run in parallel on one connection.
    :param max_lanes: lane names (``stream_id``) that one connection may use; 0 means no lanes.
    :param max_request_bytes: bytes of one request; None means no cap beyond ``Limits.max_request_bytes``.
    :param steering: whether a running response takes more input (``response.steer``).

    Raises :class:`ConfigurationError` naming the parameter that cannot work.
    """

    url: str
    max_age: float | None = UNKNOWN.max_age
    max_in_flight: int = UNKNOWN.max_in_flight
    max_lanes: int = UNKNOWN.max_lanes
    max_request_bytes: int | None = UNKNOWN.max_request_bytes
    steering: bool = UNKNOWN.steering

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _websocket_address("url", self.url).geturl())
        check_seconds("max_age", self.max_age)
        check_count("max_in_flight", self.max_in_flight, least=1)
        check_count("max_lanes", self.max_lanes, least=0)
        if self.max_request_bytes is not None:
            check_count("max_request_bytes", self.max_request_bytes, least=1)
        check_flag("steering", self.steering)

    @classmethod
    def of(cls, api_base: str) -> Endpoint:
        """The endpoint under an API base such as ``https://api.openai.com/v1``.

        http becomes ws and https becomes wss; path prefix and query are kept; ``/responses`` ends the path.
        What the service can do follows from its host (or a sub-domain of it), by its own documentation:

        ========================  =====================================  ===================================
        host                      documented                             here
        ========================  =====================================  ===================================
        ``api.openai.com``        60 minutes, 16 in flight, 32 lanes,    replaced after 55 minutes
                                  steering
        ``*.openai.azure.com``    60 minutes, one in flight              replaced after 55 minutes, no lanes
        ``api.x.ai``              25 minutes, further requests wait      replaced after 22 minutes, no lanes
        ``ai-gateway.vercel.sh``  about 13 minutes, frames of 4 MiB      replaced after 12 minutes, no lanes
        any other                 usually 60 minutes where it is stated  replaced after 55 minutes, no lanes
        ========================  =====================================  ===================================

        Raises :class:`ConfigurationError` naming ``api_base``, without showing it: it may hold a password.
        """
        base = _websocket_address("api_base", api_base)
        url = base._replace(path=base.path.rstrip("/") + "/responses").geturl()
        return cls(url, *_capabilities(base.hostname or ""))

    @property
    def host(self) -> str:
        """The host in ASCII; an IPv6 address without its brackets."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port given, or the one of the scheme (RFC 6455, 3): 443 for wss, 80 for ws."""
        return urlsplit(self.url).port or (443 if self.secure else 80)

    @property
    def secure(self) -> bool:
        """Whether the connection is encrypted (wss)."""
        return self.url.startswith("wss:")

    @property
    def loopback(self) -> bool:
        """Whether the host is this machine by its name: ``localhost``, 127.0.0.0/8 or ``::1``."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.rstrip(".") == "localhost"


def check_insecure(endpoint: Endpoint, has_key: bool, allow_insecure: bool) -> None:
    """Refuse to send a key in clear text to another machine, unless the caller allowed it."""
    if has_key and not (endpoint.secure or endpoint.loopback or allow_insecure):
        raise ConfigurationError(
            f"the key would go to {endpoint.host} unencrypted; use wss://, or allow_insecure=True"
        )


def _capabilities(host: str) -> Capabilities:
    """What is known of a host, or of the host that it is a sub-domain of."""
    name = host.rstrip(".")
    for known, able in KNOWN.items():
        if name == known or name.endswith(f".{known}"):
            return able
    return UNKNOWN


def _websocket_address(name: str, url: str) -> SplitResult:
    """Check a URL and bring it to the form that goes on the wire; never shows it, it may hold a password."""
    if not isinstance(url, str):
        raise ConfigurationError(f"{name} must be a str, not {type(url).__name__}")
    if not url.isprintable() or " " in url:
        raise ConfigurationError(f"{name} holds a space or a control character")
    parts = _split(url)
    if parts is None or parts.scheme not in SCHEMES:
        raise ConfigurationError(f"{name} must be a URL that begins with https://, http://, wss:// or ws://")
    if "@" in parts.netloc:
        raise ConfigurationError(f"{name} must not hold a user name or password; use api_key or headers")
    if "#" in url:
        raise ConfigurationError(f"{name} must not have a fragment (RFC 6455, 3)")
    return SplitResult(
        SCHEMES[parts.scheme],
        _authority(name, parts),
        quote(parts.path, safe=URL_SAFE),
        quote(parts.query, safe=URL_SAFE),
        "",
    )


def _authority(name: str, parts: SplitResult) -> str:
    """The host in ASCII, in brackets if it is an IPv6 address, with the port that was given."""
    host = ascii_host(parts)
    if host is None:
        raise ConfigurationError(f"{name} has no valid host")
    port = _given_port(parts)
    if port == 0:
        raise ConfigurationError(f"{name} has no valid port; ports are 1 to 65535")
    bracketed = f"[{host}]" if ":" in host else host
    return bracketed if port is None else f"{bracketed}:{port}"


def ascii_host(parts: SplitResult) -> str | None:
    """The host as it goes on the wire: an IPv6 address without brackets, or a name in ASCII (RFC 3490).

    None when it is neither.
    """
    host = parts.hostname or ""
    if "[" in parts.netloc and not BRACKETED.fullmatch(parts.netloc):
        return None
    try:
        if ":" in host:
            return None if ipaddress.IPv6Address(host).scope_id else host
        name = host.encode("idna").decode("ascii").lower()
    except ValueError:
        return None
    return name if len(name) <= LONGEST_NAME and NAME.fullmatch(name) else None


def _split(url: str) -> SplitResult | None:
    """The parts of a URL, or None; the parser's own error would show the URL."""
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _given_port(parts: SplitResult) -> int | None:
    """The port that a URL names, None without one, 0 for one that cannot be."""
    try:
        return parts.port
    except ValueError:
        return 0
