"""The headers of the upgrade request, and what must be masked when a server echoes them.

Values stay inside :class:`Secret` from the first line on: a traceback with locals shows every variable of
every frame, so none of ours may hold a plain value at a moment at which something can raise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import overload

from responses_ws._core.parser import Payload
from responses_ws._core.secret import MASK, Secret
from responses_ws._shown import shown
from responses_ws.errors import ConfigurationError

__all__ = [
    "Masker",
    "check_headers",
    "check_key",
    "credentials",
    "hide",
    "secrets",
    "unfolded",
    "upgrade_headers",
]

KEY = re.compile(r"[!-~]+")
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, 5.6.2."""
VALUE = re.compile(r"[\t -~\x80-\xff]*")
"""RFC 9110, 5.5: visible characters, spaces and tabs; what latin-1 has beyond ASCII is sent as it is."""

FOLD = re.compile(r"\s*[\r\n]\s*")

HANDSHAKE = "it belongs to the opening handshake (RFC 6455, 4.1)"
FRAMING = "it would change where the request ends (RFC 9112, 6)"
REFUSED = {
    "host": HANDSHAKE,
    "upgrade": HANDSHAKE,
    "connection": HANDSHAKE,
    "content-length": FRAMING,
    "transfer-encoding": FRAMING,
    "cookie": "no cookie is ever sent",
    "origin": "no origin is ever sent",
    "proxy-authorization": "it would go to the service; put the credentials into the URL of the proxy",
}
HANDSHAKE_PREFIX = "sec-websocket-"

SECRET_NAMES = re.compile("authorization|key|token|secret|cookie")
LEAST_SECRET = 12
"""Characters; shorter values are place-holders such as "test", and masking them would corrupt answers."""


def check_key(key: Secret) -> Secret:
    """The key without surrounding whitespace (files end in a newline).

    Raises :class:`ConfigurationError` naming ``api_key`` when it is empty or holds anything but visible
    ASCII characters.
    """
    if not isinstance(key.reveal(), str):
        raise ConfigurationError(f"api_key must be a str, not {type(key.reveal()).__name__}")
    stripped = Secret(key.reveal().strip())
    if not stripped:
        raise ConfigurationError("api_key is empty")
    if not KEY.fullmatch(stripped.reveal()):
        raise ConfigurationError("api_key holds a space, a control character or a character beyond ASCII")
    return stripped


def hide(headers: Mapping[str, str | Secret] | Secret | None) -> dict[str, Secret] | Secret:
    """The caller's headers with their values hidden, and all of it hidden if it is no mapping.

    Checks and raises nothing, so that the caller can forget the plain values before anything does.
    """
    if headers is None:
        return {}
    if isinstance(headers, Mapping):
        return {name: _secret(value) for name, value in headers.items()}
    return _secret(headers)


def check_headers(headers: Mapping[str, str | Secret] | Secret | None) -> dict[str, Secret]:
    """The caller's headers, or what :func:`hide` made of them, checked and hidden; None means none.

    Raises :class:`ConfigurationError` naming ``headers`` and the header, never its value, for what HTTP
    forbids and for headers that are not the caller's to set.
    """
    hidden = hide(headers)
    del headers  # from here on something can raise
    if isinstance(hidden, Secret):
        kind = type(hidden.reveal()).__name__
        raise ConfigurationError(f"headers must be a mapping of str to str, not {kind}")
    for name in hidden:
        _check_name(name)
    if len({name.lower() for name in hidden}) < len(hidden):
        raise ConfigurationError("headers has the same name twice, in upper and lower case")
    return {name: _check_value(f"headers: the value of {name!r}", value) for name, value in hidden.items()}


def upgrade_headers(
    key: Secret | None,
    *,
    organization_id: str | None,
    project_id: str | None,
    extra: Mapping[str, Secret] | None,
    user_agent: str,
) -> dict[str, Secret]:
    """The headers that go on the upgrade besides those of the handshake itself.

    :param key: as :func:`check_key` returned it; None sends no ``Authorization``.
    :param extra: as :func:`check_headers` returned them; they replace ours of the same name, in any case.

    Raises :class:`ConfigurationError` naming ``organization_id`` or ``project_id``.
    """
    headers = {"User-Agent": Secret(user_agent)}
    if key is not None:
        headers["Authorization"] = Secret(f"Bearer {key.reveal()}")
    if organization_id:
        headers["OpenAI-Organization"] = _check_value("organization_id", Secret(organization_id))
    if project_id:
        headers["OpenAI-Project"] = _check_value("project_id", Secret(project_id))
    extra = extra or {}
    replaced = {name.lower() for name in extra}
    kept = {name: value for name, value in headers.items() if name.lower() not in replaced}
    return {**kept, **extra}


def credentials(headers: Mapping[str, Secret]) -> tuple[Secret, ...]:
    """The values that prove who is asking, going by the names of their headers; empty ones do not count."""
    return tuple(
        _credential(name, value)
        for name, value in headers.items()
        if value and SECRET_NAMES.search(name.lower())
    )


def secrets(headers: Mapping[str, Secret]) -> tuple[Secret, ...]:
    """What must be masked when a server echoes it, the longest first, so that none hides within another."""
    found = dict.fromkeys(secret for secret in credentials(headers) if len(secret.reveal()) >= LEAST_SECRET)
    return tuple(sorted(found, key=lambda secret: len(secret.reveal()), reverse=True))


def unfolded(value: str) -> str:
    """The value of a header on one line (RFC 9112, 5.2)."""
    return FOLD.sub(" ", value).strip()


class Masker:
    """Replaces every secret by asterisks, as many as it has bytes, so that lengths of frames stay right.

    Made once for a connection, so that the secrets are encoded once. Found are the secret as it is sent, and
    as JSON may escape it.
    """

    __slots__ = ("_needles",)

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._needles = tuple(needle for secret in secrets for needle in _forms(secret))

    @overload
    def __call__(self, data: bytes) -> bytes: ...

    @overload
    def __call__(self, data: Payload) -> Payload: ...

    def __call__(self, data: Payload) -> Payload:
        """The data itself where there is nothing to replace."""
        for needle in self._needles:
            if needle in data:
                data = data.replace(needle, MASK.encode() * len(needle))
        return data


def _forms(secret: Secret) -> tuple[bytes, ...]:
    escaped = secret.reveal().replace("\\", "\\\\").replace('"', '\\"')
    forms = (secret.reveal(), escaped, escaped.replace("/", "\\/"))
    return tuple(dict.fromkeys(form.encode(codec) for form in forms for codec in ("utf-8", "latin-1")))


def _secret(value: str | Secret) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not TOKEN.fullmatch(name):
        raise ConfigurationError(f"headers: {shown(name)} is no header name (RFC 9110, 5.6.2)")
    refused = HANDSHAKE if name.lower().startswith(HANDSHAKE_PREFIX) else REFUSED.get(name.lower())
    if refused:
        raise ConfigurationError(f"headers: {name!r} cannot be set: {refused}")


def _check_value(what: str, value: Secret) -> Secret:
    if not isinstance(value.reveal(), str):
        raise ConfigurationError(f"{what} must be a str, not {type(value.reveal()).__name__}")
    if not VALUE.fullmatch(value.reveal()):
        raise ConfigurationError(f"{what} holds a control character or a character beyond latin-1")
    return Secret(value.reveal().strip(" \t"))


def _credential(name: str, value: Secret) -> Secret:
    """The part of a header's value that is secret: what follows ``Bearer`` or another scheme."""
    if "authorization" not in name.lower():
        return value
    return Secret(value.reveal().partition(" ")[2].strip() or value.reveal())
