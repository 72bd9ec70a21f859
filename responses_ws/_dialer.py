"""Opens connections by the options of a client."""

from __future__ import annotations

from collections.abc import Callable

from responses_ws._connection import Connection
from responses_ws._settings import Settings
from responses_ws._transport.base import Connector
from responses_ws._transport.deadline import Deadline, overdue
from responses_ws.errors import ConcurrencyError, ConnectionError

__all__ = ["Dialer"]


class Dialer:
    """Makes connections and opens them. May be used from any thread.

    :param connector: what opens them; None is websocket-client.
    """

    def __init__(self, settings: Settings, connector: Connector | None) -> None:
        self._settings = settings
        self._connector = connector

    def new_connection(self, named: bool | None = None) -> Connection:
        """A connection that is not open.

        :param named: whether the service is known to name the lanes of its events.
        """
        settings = self._settings
        return Connection(
            settings.endpoint,
            max_buffered_bytes=settings.limits.max_buffered_bytes,
            patience=settings.response_timeout,
            named=named,
        )

    def dial(
        self,
        connection: Connection,
        deadline: Deadline,
        disconnects: int,
        given_up: Callable[[], bool] | None = None,
    ) -> None:
        """Open it, if it is not open. The key is asked for only then.

        Raises what :meth:`Connection.connect` raises.
        """
        if not connection.ready:
            connection.connect(self._connect_with(), self._settings.target(), deadline, disconnects, given_up)

    def make_ready(
        self,
        connection: Connection,
        deadline: Deadline,
        disconnects: int,
        given_up: Callable[[], bool] | None = None,
    ) -> None:
        """Open it, if it is not open, by this thread or by another that is at it.

        However many threads come one after the other, none waits longer than ``timeouts.connect``.

        :param deadline: of the whole call.
        """
        if connection.ready:
            return
        limit = Deadline(deadline.remaining(self._settings.timeouts.connect))
        while not connection.ready:
            try:
                connection.await_dialing(limit, given_up)
                _check(limit)
                self.dial(connection, limit, disconnects, given_up)
            except ConcurrencyError:
                continue  # another thread was quicker
            except ConnectionError as error:
                if deadline.expired:
                    raise overdue(deadline) from error
                raise

    def _connect_with(self) -> Connector:
        if self._connector is not None:
            return self._connector
        from responses_ws._transport.ws import SocketTransport

        return SocketTransport


def _check(limit: Deadline) -> None:
    if limit.expired:
        raise ConnectionError(f"could not connect within {limit.seconds:g} seconds")
