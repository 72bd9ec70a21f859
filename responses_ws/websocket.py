"""The public connection: one WebSocket, one conversation, blocking calls."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from responses_ws._channel import Channel
from responses_ws._core.endpoint import Endpoint
from responses_ws._core.options import check_method
from responses_ws._core.request import UNSET, Unset
from responses_ws._dialer import Dialer
from responses_ws._settings import Credentials, Settings
from responses_ws._transport.base import Connector
from responses_ws._transport.deadline import Deadline
from responses_ws._verbs import Verbs
from responses_ws.errors import ConfigurationError
from responses_ws.lane import Lane, check_lane
from responses_ws.messages import Limits, Timeouts, check_seconds
from responses_ws.stream import ResponseStream

if TYPE_CHECKING:
    import ssl

__all__ = ["WebSocket"]


class WebSocket(Verbs):
    """A blocking client for the Responses API over one WebSocket.

    One object is one conversation: :meth:`create_response` and :meth:`stream` continue the last completed
    response by themselves. One response runs at a time; a second thread gets :class:`ConcurrencyError`, or
    uses a :meth:`lane` of its own. :meth:`disconnect` and the properties may be used from any thread.

    Nothing is opened before :meth:`connect` or ``with``. When the connection is lost, the next call connects
    anew, once. In a forked child the object begins without a connection and leaves the parent's alone.

    :param api_key: the key, or a function that returns it, called at each connect in the connecting thread;
        None takes OPENAI_API_KEY from the environment; an empty string sends none.
    :param api_base: ``http(s)://`` or ``ws(s)://`` address to which ``/responses`` is added; None takes
        OPENAI_BASE_URL, else the address of OpenAI.
    :param organization_id: None takes OPENAI_ORG_ID.
    :param project_id: None takes OPENAI_PROJECT_ID.
    :param client_class: what opens the connection, in place of websocket-client; for tests.
    :param response_timeout: seconds without an event of the running response; None means no limit. A
        reasoning model can be silent for minutes.
    :param headers: extra headers of the upgrade; they replace ours of the same name.
    :param timeouts: the other clocks.
    :param limits: bounds of what is sent, received and buffered.
    :param endpoint: where the service is and what it can do, in place of ``api_base`` and OPENAI_BASE_URL;
        None derives it from these.
    :param ssl_context: None builds one from the file or directory in SSL_CERT_FILE, REQUESTS_CA_BUNDLE or
        CURL_CA_BUNDLE, else from the system's store, else from that of certifi.
    :param proxy: URL of an HTTP or SOCKS 5 proxy; None asks the environment.
    :param allow_insecure: send the key over ``ws://`` to another machine.
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
    ) -> None:
        # Hidden first of all: a traceback with locals shows the variables of every frame on it.
        credentials = Credentials(api_key, headers, proxy)
        api_key = headers = proxy = None
        check_method("client_class", client_class, "connect")
        self._settings = Settings(
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
        self._dialer = Dialer(self._settings, client_class)
        self._connection = self._dialer.new_connection()
        self._channel = self._new_channel(None)
        # Not at the interpreter's end, which closes sockets by itself: threads woken then could only do harm.
        weakref.finalize(self, self._connection.forsake).atexit = False

    # -- the connection

    def connect(self, timeout: float | Unset | None = UNSET) -> WebSocket:
        """Open the connection, if it is not open; the object itself.

        :param timeout: seconds for DNS, proxy, TCP, TLS and upgrade together; None means no limit; left out,
            ``timeouts.connect`` counts (10).
        :raises ConnectionError: it cannot be reached; :class:`HandshakeError`, :class:`AuthenticationError`,
            :class:`PermissionDeniedError` or :class:`RateLimitError` when the upgrade was refused.
        :raises ConcurrencyError: another thread is connecting this object.
        """
        self._channel.connect(Deadline(self._connect_seconds(timeout)))
        return self

    def disconnect(self) -> None:
        """Close the connection. From any thread; a thread that waits gets :class:`ConnectionLost`.

        Takes at most about ``timeouts.close`` seconds; may be called again.
        """
        self._connection.check_process()
        self._connection.disconnect(self._settings.timeouts.close)

    def reconnect(self, timeout: float | Unset | None = UNSET) -> WebSocket:
        """Close the connection and open a new one; see :meth:`connect`."""
        self._connect_seconds(timeout)
        self.disconnect()
        return self.connect(timeout)

    def __enter__(self) -> WebSocket:
        return self.connect()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.disconnect()

    @property
    def connected(self) -> bool:
        """Whether the connection is open, as far as is known: what ended it right after an answer is seen
        within a fifth of a second, or by the next request.
        """
        self._connection.check_process()
        return self._connection.ready

    @property
    def in_flight(self) -> bool:
        """Whether a response is running that its caller has not left; each :meth:`lane` tells its own."""
        return self._channel.busy

    @property
    def last_response_id(self) -> str | None:
        """The last completed response, which the next one continues; None at the start of a chain.

        With ``store=False`` a response lives on its connection alone, so a new connection forgets it.
        """
        return self._channel.last_response_id

    def clear_previous_response_id(self) -> None:
        """Begin a new chain with the next response."""
        self._channel.begin_chain()

    def lane(self, name: str) -> Lane:
        """A lane of the connection, on which responses run beside those of the others.

        :param name: 1 to 256 letters, digits, dots, hyphens and underscores. The same name is the same lane.
            The service takes 32 names on one connection, which it never gives back; one more is
            :class:`StreamLimitReached`.
        :raises ConfigurationError: the service has no lanes (``Endpoint.max_lanes``), or the name cannot be.
        """
        check_lane(name)
        if not self._settings.endpoint.max_lanes:
            raise ConfigurationError("lane: this service has no lanes (Endpoint.max_lanes)")
        return Lane(self._new_channel(name), name, self)

    def __repr__(self) -> str:
        if not hasattr(self, "_connection"):
            return "<WebSocket unfinished>"  # in a traceback of the constructor
        state = "connected" if self.connected else "not connected"
        running = ", in flight" if self.in_flight else ""
        return f"<WebSocket {self._settings.endpoint.host} {state}{running}>"

    def __reduce__(self) -> str:
        raise TypeError("a WebSocket cannot be pickled: it holds a key and a connection")

    # -- inside

    def _new_channel(self, lane: str | None) -> Channel:
        return Channel(self._settings, self._dialer, self._connection, lane)

    def _connect_seconds(self, timeout: float | Unset | None) -> float | None:
        return self._settings.timeouts.connect if timeout is UNSET else check_seconds("timeout", timeout)

    def _start(self, payload: Callable[[], Mapping[str, Any]]) -> ResponseStream:
        return self._channel.start(payload, self)
