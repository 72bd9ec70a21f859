"""The options that every client of the package takes, checked and resolved."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from responses_ws._core import headers as header_rules
from responses_ws._core.endpoint import Endpoint, check_insecure
from responses_ws._core.key import KeySource
from responses_ws._core.options import check_flag, check_method, check_type
from responses_ws._core.request import encode, encode_steer
from responses_ws._core.secret import Secret
from responses_ws._transport.base import Target
from responses_ws._version import __version__
from responses_ws.errors import ConfigurationError
from responses_ws.messages import Limits, Timeouts, check_seconds

if TYPE_CHECKING:
    import ssl

__all__ = ["DEFAULTS", "Credentials", "Settings", "given_credentials", "refuse_beside"]

DEFAULT_API_BASE = "https://api.openai.com/v1"
DEFAULTS: dict[str, Any] = {
    "api_base": None,
    "organization_id": None,
    "project_id": None,
    "response_timeout": 600,
    "timeouts": None,
    "limits": None,
    "endpoint": None,
    "ssl_context": None,
    "allow_insecure": False,
}
"""The options of a connection, as constructors have them."""
USER_AGENT = f"responses_ws/{__version__} python/{'.'.join(map(str, sys.version_info[:3]))}"


class Credentials:
    """What must never be seen: the key, and the headers and the proxy's URL, which may hold passwords.

    Made first of all in a constructor, whose own variables are then set to None, because a traceback with
    locals shows the variables of every frame on it. So nothing is checked here and nothing raised.
    """

    __slots__ = ("headers", "key", "proxy")

    def __init__(
        self,
        api_key: str | Callable[[], str] | None,
        headers: Mapping[str, str] | None,
        proxy: str | None,
    ) -> None:
        self.key = KeySource((os.environ.get("OPENAI_API_KEY") or None) if api_key is None else api_key)
        self.headers = header_rules.hide(headers)
        self.proxy = None if proxy is None else Secret(proxy)


def given_credentials(
    api_key: str | Callable[[], str] | None, headers: Mapping[str, str] | None, proxy: str | None
) -> Credentials | None:
    """What must not be seen, hidden; None when nothing of it was given."""
    if api_key is None and headers is None and proxy is None:
        return None
    return Credentials(api_key, headers, proxy)


class Settings:
    """The checked options of a client. The parameters are those of :class:`WebSocket`.

    :ivar endpoint: where the service is and what it can do.
    :ivar max_request_bytes: the smaller of the caller's limit and the service's; None when there is neither.
    :raises ConfigurationError: for an option that cannot work; the message names it.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        api_base: str | None,
        organization_id: str | None,
        project_id: str | None,
        response_timeout: float | None,
        timeouts: Timeouts | None,
        limits: Limits | None,
        endpoint: Endpoint | None,
        ssl_context: ssl.SSLContext | None,
        allow_insecure: bool,
    ) -> None:
        check_type("timeouts", timeouts, Timeouts)
        check_type("limits", limits, Limits)
        check_type("endpoint", endpoint, Endpoint)
        check_type("organization_id", organization_id, str)
        check_type("project_id", project_id, str)
        check_method("ssl_context", ssl_context, "wrap_socket")
        check_flag("allow_insecure", allow_insecure)
        self._set_credentials(credentials)
        self._organization_id = _or_environment(organization_id, "OPENAI_ORG_ID")
        self._project_id = _or_environment(project_id, "OPENAI_PROJECT_ID")
        self._request_headers(None)  # so that a bad one is refused here
        self.response_timeout = check_seconds("response_timeout", response_timeout)
        self.timeouts = timeouts or Timeouts()
        self.limits = limits or Limits()
        if api_base is None:
            api_base = os.environ.get("OPENAI_BASE_URL") or DEFAULT_API_BASE
        self.endpoint = endpoint or Endpoint.of(api_base)
        has_key = bool(self._key) or bool(header_rules.credentials(self._headers))
        check_insecure(self.endpoint, has_key, allow_insecure)
        self._ssl_context = ssl_context
        most = (self.limits.max_request_bytes, self.endpoint.max_request_bytes)
        self.max_request_bytes = min((limit for limit in most if limit is not None), default=None)

    def target(self) -> Target:
        """Where to connect and how, with the key of this moment. Raises what the key function raises."""
        headers = self._request_headers(self._key.secret())
        return Target(
            url=self.endpoint.url,
            headers=headers,
            secrets=header_rules.secrets(headers),
            ssl_context=self._ssl_context,
            proxy=self._proxy,
            timeouts=self.timeouts,
            limits=self.limits,
        )

    def encode(self, payload: Mapping[str, Any]) -> bytes:
        """The WebSocket message for a payload; see :func:`responses_ws._core.request.encode`."""
        return encode(payload, max_bytes=self.max_request_bytes)

    def steer(self, input: str | Sequence[Mapping[str, Any]]) -> Callable[[str], bytes]:
        """What makes the message that gives a response more input, from the response's id.

        Raises :class:`ConfigurationError` for a service that has no steering; what it gives, for bad input.
        """
        if not self.endpoint.steering:
            raise ConfigurationError("steer: this service has no steering (Endpoint.steering)")
        return lambda target: encode_steer(target, input, max_bytes=self.max_request_bytes)

    def _set_credentials(self, credentials: Credentials) -> None:
        self._key = credentials.key
        self._proxy = credentials.proxy
        if self._proxy is not None and not isinstance(self._proxy.reveal(), str):
            raise ConfigurationError("proxy must be a str or None")
        self._key.check()
        self._headers = header_rules.check_headers(credentials.headers)
        if self._key.missing and not header_rules.credentials(self._headers):
            raise ConfigurationError(
                "api_key: none was given and OPENAI_API_KEY is not set (an empty string sends none)"
            )

    def _request_headers(self, key: Secret | None) -> dict[str, Secret]:
        return header_rules.upgrade_headers(
            key,
            organization_id=self._organization_id,
            project_id=self._project_id,
            extra=self._headers,
            user_agent=USER_AGENT,
        )


def refuse_beside(owner: str, given: Mapping[str, Any]) -> None:
    """Refuse options beside something that has its own, naming the first."""
    for name, value in given.items():
        if value != DEFAULTS.get(name):
            raise ConfigurationError(f"{name} cannot be given beside a {owner}, which has its own")


def _or_environment(given: str | None, variable: str) -> str | None:
    return os.environ.get(variable) if given is None else given
