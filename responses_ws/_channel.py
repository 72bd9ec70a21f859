"""One lane of a connection, with what it takes to send on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from responses_ws._call import Call
from responses_ws._connection import Connection
from responses_ws._core.chain import Chain
from responses_ws._core.request import stores
from responses_ws._dialer import Dialer
from responses_ws._settings import Settings
from responses_ws._transport.deadline import Deadline, overdue
from responses_ws.errors import (
    ConfigurationError,
    ConnectionError,
    ConnectionLost,
    Delivery,
    ResponsesWSError,
    ResponseTimeout,
)
from responses_ws.stream import ResponseStream

__all__ = ["Channel"]

UNREAD = frozenset({1008, 1009})
"""Close codes that say what was wrong with the request; sending it again would meet the same."""


class Channel:
    """Sends the requests of one lane, and opens the connection for them when there is none.

    :param lane: its name (``stream_id``); None is the default lane.
    """

    def __init__(self, settings: Settings, dialer: Dialer, connection: Connection, lane: str | None) -> None:
        self._settings = settings
        self._dialer = dialer
        self._connection = connection
        self._lane = lane

    @property
    def busy(self) -> bool:
        """Whether a response is running on the lane that its caller has not left."""
        self._connection.check_process()
        return self._connection.lanes.busy(self._lane)

    @property
    def last_response_id(self) -> str | None:
        """What the next response continues."""
        chain = self._connection.chains.get(self._lane)
        return None if chain is None else chain.response_id

    def begin_chain(self) -> None:
        """What is asked next continues nothing."""
        self._connection.begin_chain(self._lane)

    def connect(self, deadline: Deadline) -> None:
        """Make sure of an open connection. Raises :class:`ConcurrencyError` while another thread connects."""
        self._connection.check_process()
        self._dialer.dial(self._connection, deadline, self._connection.disconnects)

    def start(self, payload: Callable[[], Mapping[str, Any]], owner: object) -> ResponseStream:
        """Take the lane, make sure of a connection, send; the running response.

        ``payload`` is asked again when the chain has changed meanwhile: another response was completed, or a
        new connection has cost the chain its last one.

        :param owner: kept alive by the response.
        """
        connection = self._connection
        connection.check_process()
        deadline = Deadline(self._settings.timeouts.total)
        chain, fields = connection.chains.get(self._lane), self._fields(payload)
        message = self._settings.encode(fields)
        call = Call(self._lane)
        call.parent, call.stored = fields.get("previous_response_id"), stores(fields)
        # Made before anything is sent: an interrupt at any later moment drops it, which abandons the call.
        stream = ResponseStream(
            call,
            deadline=deadline,
            response_timeout=self._settings.response_timeout,
            completed=lambda message: connection.remember(call, message.response_id),
            owner=owner,
            steer=lambda input: connection.steer(call, self._settings.steer(input)),
        )
        try:
            connection.rotate()
            connection.open(call, self._settings.timeouts.drain, deadline)
            self._send(call, payload, message, chain, deadline)
        except BaseException:
            call.abandoned = True  # at once, for the next interrupt may end what follows
            connection.leave(call)
            raise
        return stream

    # -- inside

    def _fields(self, payload: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        fields = payload()
        if not isinstance(fields, (dict, Mapping)):
            return fields  # which the encoding refuses
        if self._lane is None:
            if fields.get("stream_id") is not None and self._settings.endpoint.max_lanes:
                raise ConfigurationError("stream_id: ask on lane(name), which knows what is running there")
            return fields
        if fields.get("stream_id") not in (None, self._lane):
            raise ConfigurationError(f"stream_id: the payload names another lane than {self._lane!r}")
        return {**fields, "stream_id": self._lane}

    def _send(
        self,
        call: Call,
        payload: Callable[[], Mapping[str, Any]],
        message: bytes,
        chain: Chain | None,
        deadline: Deadline,
    ) -> None:
        """Send on the open connection, or on a new one when there is none.

        That the other side closed a connection at rest may be found out only by sending. Then nothing was
        run, and the request goes to a new connection, once; a new connection that fails is an error.
        """
        connection = self._connection
        connection.rotate()
        reused = connection.link is not None
        while True:
            connection.await_place(call, self._settings.timeouts.drain, deadline)
            self._make_ready(deadline)
            now = connection.chains.get(self._lane)
            if now is not chain:
                chain, fields = now, self._fields(payload)
                call.parent = fields.get("previous_response_id")
                message = self._settings.encode(fields)
            try:
                return connection.send(call, message, deadline)
            except ResponsesWSError as error:
                if not (reused and connection.opened and _found_dead(error)):
                    raise
                reused = False

    def _make_ready(self, deadline: Deadline) -> None:
        connection = self._connection
        disconnects = connection.disconnects
        if not connection.opened:
            raise ConnectionError("not connected: call connect() first, or use `with`")
        if deadline.expired:
            raise overdue(deadline)
        self._dialer.make_ready(connection, deadline, disconnects)


def _found_dead(error: ResponsesWSError) -> bool:
    """Whether a request did not leave because its connection had ended, for a reason that is not its own."""
    if error.delivery is not Delivery.NOT_SENT or isinstance(error, ResponseTimeout):
        return False
    return not (isinstance(error, ConnectionLost) and error.close_code in UNREAD)
