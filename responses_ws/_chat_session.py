"""The session of a chat: the one that it was given, or one of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from responses_ws._core.options import check_type
from responses_ws._core.retry import Retry
from responses_ws._settings import Credentials, refuse_beside
from responses_ws._way import way
from responses_ws.session import Session

if TYPE_CHECKING:
    from responses_ws._transport.base import Connector

__all__ = ["session_for"]


def session_for(
    given: Session | None,
    credentials: Credentials | None,
    retry: Retry | None,
    client_class: Connector | None,
    **options: Any,
) -> Session:
    """The session that was given; or without one, a new one with these options.

    :param credentials: None when none were given.

    Raises :class:`ConfigurationError` for options beside a session or a pool, which has its own.
    """
    check_type("session", given, Session)
    check_type("retry", retry, Retry)
    if given is None:
        settings, line = way(credentials, client_class, **options)
        return Session._of(settings, line, retry or Retry())
    beside = {
        "retry": retry,
        "client_class": client_class,
        "api_key, headers or proxy": credentials,
        **options,
    }
    refuse_beside("session", beside)
    return given
