"""The public connection: one WebSocket, one conversation, blocking calls."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from responses_ws._call import Call
from responses_ws._connection import Connection
from responses_ws._core.chain import Chain
from responses_ws._core.endpoint import Endpoint
from responses_ws._core.options import check_callable, check_method
from responses_ws._core.request import UNSET, Unset, build, encode_steer, stores
from responses_ws._settings import Credentials, Settings
from responses_ws._transport.base import Connector
from responses_ws._transport.deadline import Deadline, overdue
from responses_ws.errors import (
    ConfigurationError,
    ConnectionError,
    ConnectionLost,
    Delivery,
    ProtocolError,
    ResponsesWSError,
    ResponseTimeout,
)
from responses_ws.messages import Chunk, Limits, Message, Steer, Timeouts, check_seconds
from responses_ws.stream import ResponseStream

if TYPE_CHECKING:
    import ssl

__all__ = ["WebSocket"]

UNREAD = frozenset({1008, 1009})
"""Close codes that say what was wrong with the request; sending it again would meet the same."""


class WebSocket:
    """A blocking client for the Responses API over one WebSocket.

    One object is one conversation: :meth:`create_response` and :meth:`stream` continue the last completed
    response by themselves. One response runs at a time; a second thread gets :class:`ConcurrencyError`.
    :meth:`disconnect` and the properties may be used from any thread.

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
    :param endpoint: what the service can do; None derives it from ``api_base``.
    :param ssl_context: None builds one from SSL_CERT_FILE, REQUESTS_CA_BUNDLE or the system's store.
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
        self._connector = client_class
        self._connection = Connection(
            max_buffered_bytes=self._settings.limits.max_buffered_bytes,
            max_age=self._settings.endpoint.max_age,
        )
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
        seconds = self._connect_seconds(timeout)
        self._connection.check_process()
        self._open(Deadline(seconds), self._connection.disconnects)
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
        """Whether the connection is open at this moment."""
        self._connection.check_process()
        return self._connection.ready

    @property
    def in_flight(self) -> bool:
        """Whether a response is running that its caller has not left."""
        self._connection.check_process()
        return self._connection.lanes.busy()

    @property
    def last_response_id(self) -> str | None:
        """The last completed response, which the next one continues; None at the start of a chain.

        With ``store=False`` a response lives on its connection alone, so a new connection forgets it.
        """
        chain = self._connection.chain
        return None if chain is None else chain.response_id

    def clear_previous_response_id(self) -> None:
        """Begin a new chain with the next response."""
        self._connection.begin_chain()

    def __repr__(self) -> str:
        if not hasattr(self, "_connection"):
            return "<WebSocket unfinished>"  # in a traceback of the constructor
        state = "connected" if self.connected else "not connected"
        running = ", in flight" if self.in_flight else ""
        return f"<WebSocket {self._settings.endpoint.host} {state}{running}>"

    def __reduce__(self) -> str:
        raise TypeError("a WebSocket cannot be pickled: it holds a key and a connection")

    # -- responses

    def call(self, payload: Mapping[str, Any], on_chunk: Callable[[Chunk], object] | None = None) -> Message:
        """Send a payload of ``POST /v1/responses`` as it is, and wait for the answer.

        ``stream`` and ``background`` are left out and top-level None is dropped, except an explicit
        ``previous_response_id``. Nothing is chained.

        :param on_chunk: called with each :class:`Chunk`, in this thread.
        :raises ResponseError: the service refused or failed the response.
        :raises ConnectionError: not connected, or lost, or a clock ran out.
        :raises ConcurrencyError: a response is already running.
        :raises ConfigurationError: the payload cannot be sent; the message names the parameter.
        """
        check_callable("on_chunk", on_chunk)
        return self._start(lambda: payload).run(on_chunk)

    def create_response(
        self,
        *,
        model: str,
        input: str | Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        previous_response_id: str | Unset | None = UNSET,
        instructions: str | None = None,
        on_chunk: Callable[[Chunk], object] | None = None,
        **extra: Any,
    ) -> Message:
        """Ask, and wait for the answer.

        :param input: a text, or items as the service defines them.
        :param previous_response_id: left out, the last completed response is continued; None begins a new
            chain.
        :param on_chunk: called with each :class:`Chunk`, in this thread.
        :param extra: any other field of the service; ``compact_threshold`` (tokens) asks for compaction.
        :raises: what :meth:`call` raises.
        """
        check_callable("on_chunk", on_chunk)
        return self.stream(
            model=model,
            input=input,
            tools=tools,
            previous_response_id=previous_response_id,
            instructions=instructions,
            **extra,
        ).run(on_chunk)

    def stream(
        self,
        *,
        model: str,
        input: str | Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        previous_response_id: str | Unset | None = UNSET,
        instructions: str | None = None,
        **extra: Any,
    ) -> ResponseStream:
        """Ask, and return as soon as the request has left. See :meth:`create_response`."""

        def payload() -> dict[str, Any]:
            return build(
                model=model,
                input=input,
                tools=tools,
                previous_response_id=self._chained(previous_response_id, extra),
                instructions=instructions,
                extra=extra,
            )

        return self._start(payload)

    def warmup(self, *, model: str, **extra: Any) -> str:
        """Prepare the service for what comes (tools, instructions), without an answer; the response's id.

        It continues the chain and is continued by the next response, like an answer. A service that does not
        know ``generate: false`` refuses it, or answers for real.

        :raises: what :meth:`call` raises.
        """

        def payload() -> dict[str, Any]:
            asked = {"input": (), "previous_response_id": UNSET, **extra, "generate": False}
            previous = self._chained(asked.pop("previous_response_id"), extra)
            fields = build(
                model=model,
                input=asked.pop("input"),
                tools=asked.pop("tools", None),
                instructions=asked.pop("instructions", None),
                previous_response_id=previous,
                extra=asked,
            )
            return fields if "input" in extra else {k: v for k, v in fields.items() if k != "input"}

        message = self._start(payload).run()
        if message.response_id is None:
            raise ProtocolError(
                "the warmup ended without a response id", delivery=Delivery.STARTED, partial=message
            )
        return message.response_id

    # -- inside

    def _connect_seconds(self, timeout: float | Unset | None) -> float | None:
        return self._settings.timeouts.connect if timeout is UNSET else check_seconds("timeout", timeout)

    def _chained(self, given: str | Unset | None, extra: Mapping[str, Any]) -> str | Unset | None:
        """The caller's word, else the chain; a ``conversation`` holds its history itself."""
        if given is not UNSET or extra.get("conversation") is not None:
            return given
        return self.last_response_id or UNSET

    def _start(self, payload: Callable[[], Mapping[str, Any]]) -> ResponseStream:
        """Take the lane, make sure of a connection, send; the running response.

        ``payload`` is asked again when the chain has changed meanwhile: another response was completed, or a
        new connection has cost the chain its last one.
        """
        connection = self._connection
        connection.check_process()
        deadline = Deadline(self._settings.timeouts.total)
        chain, fields = connection.chain, payload()
        message = self._settings.encode(fields)
        call, stored = Call(), stores(fields)
        # Made before anything is sent: an interrupt at any later moment drops it, which abandons the call.
        stream = ResponseStream(
            call,
            deadline=deadline,
            response_timeout=self._settings.response_timeout,
            completed=lambda message: connection.remember(call, message.response_id, stored=stored),
            owner=self,
            steer=lambda input: self._steer(call, input),
        )
        try:
            connection.open(call, self._settings.timeouts.drain, deadline)
            self._send(call, payload, message, chain, deadline)
        except BaseException:
            call.abandoned = True  # at once, for the next interrupt may end what follows
            connection.leave(call)
            raise
        return stream

    def _steer(self, call: Call, input: str | Sequence[Mapping[str, Any]]) -> Steer:
        if not self._settings.endpoint.steering:
            raise ConfigurationError("steer: this service has no steering (Endpoint.steering)")
        most = self._settings.max_request_bytes
        return self._connection.steer(call, lambda target: encode_steer(target, input, max_bytes=most))

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
            disconnects = connection.disconnects
            self._check_open(deadline)
            try:
                self._open(Deadline(deadline.remaining(self._settings.timeouts.connect)), disconnects)
            except ConnectionError as error:
                if deadline.expired:
                    raise overdue(deadline) from error
                raise
            if connection.chain is not chain:
                chain = connection.chain
                message = self._settings.encode(payload())
            try:
                return connection.send(call, message, deadline)
            except ResponsesWSError as error:
                if not (reused and connection.opened and _found_dead(error)):
                    raise
                reused = False

    def _check_open(self, deadline: Deadline) -> None:
        if not self._connection.opened:
            raise ConnectionError("not connected: call connect() first, or use `with`")
        if deadline.expired:
            raise overdue(deadline)

    def _open(self, deadline: Deadline, disconnects: int) -> None:
        """Make sure of an open connection. The key is asked for only when a new one is made."""
        if not self._connection.ready:
            self._connection.connect(self._connect_with(), self._settings.target(), deadline, disconnects)

    def _connect_with(self) -> Connector:
        if self._connector is not None:
            return self._connector
        from responses_ws._transport.ws import SocketTransport

        return SocketTransport


def _found_dead(error: ResponsesWSError) -> bool:
    """Whether a request did not leave because its connection had ended, for a reason that is not its own."""
    if error.delivery is not Delivery.NOT_SENT or isinstance(error, ResponseTimeout):
        return False
    return not (isinstance(error, ConnectionLost) and error.close_code in UNREAD)
