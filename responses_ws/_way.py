"""How a session reaches the service: over a connection of its own, or over those of a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from responses_ws._core.options import check_method, check_type
from responses_ws._line import Line, Sockets
from responses_ws._settings import DEFAULTS, Credentials, Settings, refuse_beside
from responses_ws.errors import ConfigurationError

if TYPE_CHECKING:
    from responses_ws._transport.base import Connector
    from responses_ws.pool import ConnectionPool

__all__ = ["way"]


def way(
    credentials: Credentials | None,
    client_class: Connector | None,
    *,
    pool: ConnectionPool | None = None,
    tenant: str | None = None,
    **options: Any,
) -> tuple[Settings, Sockets]:
    """The settings and the sockets of a session with these options.

    :param credentials: None when none were given.

    Raises :class:`ConfigurationError` for options beside a pool, which has its own.
    """
    check_method("client_class", client_class, "connect")
    check_type("tenant", tenant, str)
    if pool is None:
        if tenant is not None:
            raise ConfigurationError("tenant: only a pool has tenants")
        settings = Settings(credentials or Credentials(None, None, None), **(DEFAULTS | options))
        return settings, Line(settings, client_class)
    from responses_ws.pool import ConnectionPool

    check_type("pool", pool, ConnectionPool)
    refuse_beside("pool", {"client_class": client_class, "api_key, headers or proxy": credentials, **options})
    return pool._settings, pool._line(tenant)
