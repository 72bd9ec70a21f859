"""The session of a chat: the one that it was given, or one of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from responses_ws._core.options import check_method, check_type
from responses_ws._core.retry import Retry
from responses_ws._settings import Credentials, Settings
from responses_ws.errors import ConfigurationError
from responses_ws.session import Session

if TYPE_CHECKING:
    from responses_ws._transport.base import Connector

__all__ = ["given_credentials", "session_for"]

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
"""The options of a connection, as the constructor of a chat has them."""


def given_credentials(
    api_key: str | Callable[[], str] | None, headers: Mapping[str, str] | None, proxy: str | None
) -> Credentials | None:
    """What must not be seen, hidden; None when nothing of it was given."""
    if api_key is None and headers is None and proxy is None:
        return None
    return Credentials(api_key, headers, proxy)


def session_for(
    given: Session | None,
    credentials: Credentials | None,
    retry: Retry | None,
    client_class: Connector | None,
    **options: Any,
) -> Session:
    """The session that was given; or without one, a new one with these options.

    :param credentials: see :func:`given_credentials`.

    Raises :class:`ConfigurationError` for options beside a session, which has its own.
    """
    check_type("session", given, Session)
    check_type("retry", retry, Retry)
    check_method("client_class", client_class, "connect")
    if given is None:
        settings = Settings(credentials or Credentials(None, None, None), **(DEFAULTS | options))
        return Session._of(settings, client_class, retry or Retry())
    beside = {
        "retry": retry,
        "client_class": client_class,
        "api_key, headers or proxy": credentials,
        **options,
    }
    for name, value in beside.items():
        if value != DEFAULTS.get(name):
            raise ConfigurationError(f"{name} cannot be given beside a session, which has its own")
    return given
