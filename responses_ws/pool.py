"""Connections that many threads and many conversations share."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from responses_ws._core.endpoint import Endpoint
from responses_ws._core.options import check_count, check_method, check_type
from responses_ws._core.request import UNSET, Unset
from responses_ws._dialer import Dialer
from responses_ws._pool.desk import Desk
from responses_ws._pool.line import PooledLine
from responses_ws._pool.roster import Rules
from responses_ws._settings import Credentials, Settings
from responses_ws._transport.base import Connector
from responses_ws.lease import Lease
from responses_ws.messages import Limits, Timeouts, check_seconds

if TYPE_CHECKING:
    import ssl

__all__ = ["ConnectionPool", "PoolStats"]


@dataclass(frozen=True, slots=True)
class PoolStats:
    """A pool at one moment.

    :param connections: that are open.
    :param taken: lanes that somebody has, or on which a response that was left still runs.
    :param waiting: callers who wait.
    :param opened: connections so far, also those that failed to open.
    :param closed: of these.
    :param reclaimed: leases that were forgotten.
    :param lanes: whether responses run in parallel on one connection; None until that is known.
    """

    connections: int
    taken: int
    waiting: int
    opened: int
    closed: int
    reclaimed: int
    lanes: bool | None


class ConnectionPool:
    """WebSockets for many threads and many conversations.

    ::

        pool = ConnectionPool().open()
        chat = Chat(model="gpt-5.5", pool=pool)

    Each response of a :class:`Chat` or :class:`Session` takes a seat for as long as it runs: a lane of a
    connection where the service has lanes, else a whole connection. A conversation comes back to the seat
    that holds its last response, if that is free; otherwise its history is sent again, as far as the service
    does not store it. Who comes first is served first.

    The constructor opens nothing; nor does :meth:`open`, after which connections are opened as they are
    needed. They are closed when nobody has used them for ``max_idle`` seconds, and replaced before the
    service ends them. May be used from any thread, and in forked children: made in a parent, it begins anew
    in each.

    The other parameters are those of :class:`WebSocket`, and

    :param max_connections: that are open at the same time; for a moment more, while one replaces another.
    :param max_waiting: callers who may wait for a seat; one more gets :class:`PoolTimeout`. None means no
        limit.
    :param max_idle: seconds, looked at about every ``timeouts.ping_interval``; None closes none for that.
    :param lease_timeout: seconds to wait for a seat, then :class:`PoolTimeout`; None means no limit. Where a
        new connection is opened for it, ``timeouts.connect`` counts from then on.
    :raises ConfigurationError: for an option that cannot work; the message names it.
    """

    def __init__(
        self,
        api_key: str | Callable[[], str] | None = None,
        *,
        api_base: str | None = None,
        organization_id: str | None = None,
        project_id: str | None = None,
        client_class: Connector | None = None,
        response_timeout: float | None = 600,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        endpoint: Endpoint | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        allow_insecure: bool = False,
        max_connections: int = 4,
        max_waiting: int | None = None,
        max_idle: float | None = 300.0,
        lease_timeout: float | None = 30.0,
    ) -> None:
        # Hidden first of all: a traceback with locals shows the variables of every frame on it.
        credentials = Credentials(api_key, headers, proxy)
        api_key = headers = proxy = None
        check_method("client_class", client_class, "connect")
        check_count("max_connections", max_connections, least=1)
        if max_waiting is not None:
            check_count("max_waiting", max_waiting, least=0)
        settings = Settings(
            credentials,
            api_base=api_base,
            organization_id=organization_id,
            project_id=project_id,
            response_timeout=response_timeout,
            timeouts=timeouts,
            limits=limits,
            endpoint=endpoint,
            ssl_context=ssl_context,
            allow_insecure=allow_insecure,
        )
        self._settings = settings
        self._connector = client_class
        idle, drain = check_seconds("max_idle", max_idle), settings.timeouts.drain
        rules = Rules(max_connections, max_waiting, idle, drain)
        seconds = check_seconds("lease_timeout", lease_timeout)
        self._desk = Desk(settings, Dialer(settings, client_class), rules, seconds)
        # Not at the interpreter's end, which closes sockets by itself: threads woken then could only do harm.
        weakref.finalize(self, self._desk.forsake).atexit = False

    def open(self) -> ConnectionPool:
        """Let connections be opened from now on; the pool itself. May be called again."""
        self._desk.check_process()
        self._desk.is_open = True
        return self

    def close(self) -> None:
        """Close all connections. Who waits gets :class:`PoolClosed`, and what runs :class:`ConnectionLost`.

        Takes at most about ``timeouts.close`` seconds; the pool can be opened again.
        """
        self._desk.close()

    def __enter__(self) -> ConnectionPool:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def lease(
        self,
        key: Hashable | None = None,
        *,
        timeout: float | Unset | None = UNSET,
        tenant: str | None = None,
    ) -> Lease:
        """A seat for a while, to ask on without a session; see :class:`Lease`.

        :param key: who comes with the same key gets the same seat again, if it is free.
        :param timeout: seconds to wait for one, opening a connection not included; None means no limit; left
            out, ``lease_timeout`` counts.
        :param tenant: only leases and sessions of the same tenant share a connection.
        :raises PoolTimeout: none became free in time, or too many wait; it tells for how long they are taken.
        :raises PoolClosed: the pool is not open.
        :raises ConnectionError: a new connection was needed and could not be opened.
        """
        seconds = self._desk.lease_timeout if timeout is UNSET else check_seconds("timeout", timeout)
        check_type("tenant", tenant, str)
        return Lease(self, key=key, tenant=tenant, timeout=seconds)

    def prewarm(self, count: int = 1, *, tenant: str | None = None) -> None:
        """Open connections until there are so many, at most ``max_connections``.

        :raises: what :meth:`lease` raises.
        """
        check_count("count", count, least=1)
        check_type("tenant", tenant, str)
        self._desk.prewarm(count, tenant)

    def stats(self) -> PoolStats:
        """What there is at this moment."""
        roster = self._desk.roster
        with roster.lock:
            return PoolStats(
                connections=sum(member.connection.ready for member in roster.members),
                taken=sum(member.busy() for member in roster.members),
                waiting=roster.count_waiting(),
                opened=roster.opened,
                closed=roster.closed,
                reclaimed=roster.reclaimed,
                lanes=roster.lanes,
            )

    def __repr__(self) -> str:
        if not hasattr(self, "_desk"):
            return "<ConnectionPool unfinished>"  # in a traceback of the constructor
        self._desk.check_process()
        stats = self.stats()
        state = "open" if self._desk.is_open else "closed"
        return (
            f"<ConnectionPool {self._settings.endpoint.host} {state}, {stats.connections} connections, "
            f"{stats.taken} taken, {stats.waiting} waiting>"
        )

    def __reduce__(self) -> str:
        raise TypeError("a ConnectionPool cannot be pickled: it holds a key and connections")

    def _line(self, tenant: str | None) -> PooledLine:
        """The sockets of a session."""
        return PooledLine(self._desk, tenant, self)
