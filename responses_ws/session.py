"""One logical call that survives what can be survived."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from responses_ws._breakers import Guard
from responses_ws._core.continuation import Ledger
from responses_ws._core.endpoint import Endpoint
from responses_ws._core.extension import Checkpoints
from responses_ws._core.options import check_callable, check_type
from responses_ws._core.request import encode_compact
from responses_ws._core.retry import Retry
from responses_ws._http_route import HttpRoute
from responses_ws._line import Sockets
from responses_ws._recovery import Recovery, Routes, TransportName, Turn
from responses_ws._settings import Settings, given_credentials
from responses_ws._shown import shown
from responses_ws._transport.base import Connector
from responses_ws._transport.deadline import Deadline
from responses_ws._usage import Accounts, OnUsage, Ticket
from responses_ws._way import way
from responses_ws.errors import (
    ConfigurationError,
    ConnectionError,
    Delivery,
    ProtocolError,
    ResponsesWSError,
)
from responses_ws.messages import Chunk, Limits, Message, Timeouts
from responses_ws.stream import ResponseStream
from responses_ws.streaming import StreamAccumulator, build_chunk

if TYPE_CHECKING:
    import ssl

    from responses_ws._source import Cancellable
    from responses_ws.pool import ConnectionPool

__all__ = ["Session"]

TRANSPORTS = ("auto", "websocket", "http")


class Session:
    """Asks the service and survives what can be survived: lost sockets, lost ids, age limits, overload.

    ::

        with Session() as session:
            message = session.call({"model": "gpt-5.5", "input": history})

    :meth:`call` and :meth:`stream` take the whole history, as an agent framework holds it. Only what is new
    travels when the history extends an earlier request with its answer: all other fields are equal, the
    answer's items are there (ids and status do not count), and every call in it has its output. Otherwise
    everything travels.

    Before the first event of a response a request that is known not to have run is made again, as ``retry``
    allows; see :class:`Retry`. After it never: the error carries what was received as ``partial``.

    With ``transport="auto"`` a request goes over a WebSocket, and over HTTP when that cannot be had or the
    request is too large for it. After three losses in a row the host's sockets rest for 60 seconds in this
    process; after an answer that there are none (404, 405, 426), for 10 minutes.

    Nothing is opened before the first response. One response runs at a time; a second thread gets
    :class:`ConcurrencyError`. :meth:`cancel`, :meth:`close` and the properties may be used from any
    thread.

    The parameters are those of :class:`WebSocket`, and

    :param transport: ``auto``, ``websocket`` or ``http``.
    :param retry: how often and how long to try.
    :param on_usage: called once for each request that has left, as ``on_usage(usage, response_id)``, with
        what is known: for one that was rejected or lost, and for one that was left and never drained, all
        counts and the id are None; for one that was steered, with the sum of its answers. It is called in the
        thread that reads the answer; for an answer that was left early in the connection's reader thread, so
        it should be quick; for one that was left when its end had come, with the next request; for what is
        still open then, in :meth:`close`. What it raises is logged.
    :param pool: whose connections are used, in place of one of its own and of the options of one.
    :param tenant: of the pool, whose connections no other tenant uses.
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
        transport: TransportName = "auto",
        retry: Retry | None = None,
        on_usage: OnUsage | None = None,
        pool: ConnectionPool | None = None,
        tenant: str | None = None,
    ) -> None:
        # Hidden first of all: a traceback with locals shows the variables of every frame on it.
        credentials = given_credentials(api_key, headers, proxy)
        api_key = headers = proxy = None
        check_type("retry", retry, Retry)
        check_callable("on_usage", on_usage)
        _check_transport(transport)
        settings, line = way(
            credentials,
            client_class,
            pool=pool,
            tenant=tenant,
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
        self._set_up(settings, line, transport, retry or Retry(), on_usage)

    def _set_up(
        self,
        settings: Settings,
        line: Sockets,
        transport: TransportName,
        retry: Retry,
        on_usage: OnUsage | None,
    ) -> None:
        self._settings = settings
        self._transport: TransportName = transport
        self._retry = retry
        self._on_usage = on_usage
        self._accounts = Accounts(on_usage)
        self._line = line
        self._http = HttpRoute(settings)
        guard = Guard(settings.endpoint)
        self._routes = Routes(settings, self._line, self._http, guard, self._accounts.open)
        self._checkpoints = Checkpoints()
        # No WeakSet: another thread may add to it while cancel() goes through it.
        self._running: dict[int, weakref.ref[Cancellable]] = {}
        self._closed = False
        # Not at the interpreter's end, which closes sockets by itself: threads woken then could only do harm.
        weakref.finalize(self, self._line.forsake).atexit = False
        weakref.finalize(self, self._http.close).atexit = False

    @property
    def transport(self) -> TransportName:
        """``auto``, ``websocket`` or ``http``, as it was given."""
        return self._transport

    @property
    def retry(self) -> Retry:
        """How often and how long one call tries."""
        return self._retry

    def call(self, payload: Mapping[str, Any], on_chunk: Callable[[Chunk], object] | None = None) -> Message:
        """Ask with the whole history, and wait for the answer.

        :param payload: of ``POST /v1/responses``, with the whole history as ``input``. With a
            ``previous_response_id`` or ``conversation`` of its own it is sent as it is.
        :param on_chunk: called with each :class:`Chunk`, in this thread.
        :raises ResponseError: the service refused or failed the response; :class:`ContinuationLost` when it
            does not have the ``previous_response_id`` of the payload.
        :raises ConnectionError: it cannot be reached, or was lost, or a clock ran out.
        :raises ConcurrencyError: a response is already running.
        :raises ConfigurationError: the payload cannot be sent; the message names the parameter.
        :raises ResponseCancelled: after :meth:`cancel` or :meth:`close` in another thread, and when the
            service cancelled the response.
        """
        check_callable("on_chunk", on_chunk)
        return self.stream(payload).run(on_chunk)

    def stream(self, payload: Mapping[str, Any]) -> ResponseStream:
        """Ask with the whole history, and return as soon as the request has left. See :meth:`call`."""
        return self._begin(self._checkpoints.extension(payload), self._transport)

    def respond(
        self,
        ledger: Ledger,
        items: Sequence[Mapping[str, Any]],
        fields: Mapping[str, Any],
        *,
        transport: TransportName | None = None,
        on_usage: OnUsage | None = None,
        on_begin: Callable[[ResponseStream], object] | None = None,
    ) -> ResponseStream:
        """Take the next step of a conversation, which its ledger records once the response is completed.

        :param items: what is new.
        :param fields: the rest of the payload, which may change from step to step.
        :param transport: for this step; None takes that of the session.
        :param on_usage: told of the requests of this step, besides the session's.
        :param on_begin: called with the stream before anything is done for it, so that it can be cancelled
            while it connects.
        :raises: what :meth:`call` raises; :class:`ConfigurationError` when a call has no output or two.
        """
        if transport is not None:
            _check_transport(transport)
        step = ledger.step(items, fields)
        return self._begin(step, transport or self._transport, on_usage=on_usage, on_begin=on_begin)

    def compact(
        self,
        payload: Mapping[str, Any],
        *,
        on_usage: OnUsage | None = None,
        on_begin: Callable[[Cancellable], object] | None = None,
    ) -> Message:
        """Have a history compacted (``POST /responses/compact``, over HTTP whatever the transport).

        :param payload: ``model``, the history as ``input``, and ``instructions`` if there are any.
        :param on_usage: told of it, besides the session's.
        :param on_begin: called with what can be cancelled, before anything is done for it.
        :return: its ``output`` begins a new chain in place of the history, and is taken as it is. Its
            ``response_id`` names nothing that could be continued.
        :raises: what :meth:`call` raises. Nothing is sent again.
        """
        deadline = Deadline(self._settings.timeouts.total)
        request = self._http.post("/compact", encode_compact(payload), deadline)
        self._note(request)
        if on_begin is not None:
            on_begin(request)
        if self._closed:
            raise ConnectionError("the session is closed")
        ticket = Ticket(told for told in (self._on_usage, on_usage) if told is not None)
        try:
            answer = request.answer(dict)
        except BaseException as error:
            delivery = error.delivery if isinstance(error, ResponsesWSError) else request.delivery
            if delivery is not Delivery.NOT_SENT:
                ticket.settle(None, rejected=delivery is Delivery.REJECTED)
            raise
        ended = {"type": "response.completed", "response": answer}
        ticket.settle(ended)
        accumulator = StreamAccumulator()
        accumulator.add(build_chunk(ended))
        message = accumulator.to_message()
        message.transport = "http"
        if not message.output:
            raise ProtocolError("the server's answer has no output", delivery=Delivery.STARTED)
        return message

    def cancel(self) -> None:
        """Stop what is running, also while it connects, pauses or waits to be sent: its thread gets
        :class:`ResponseCancelled`. A request that has begun to leave is sent whole before. From any thread;
        returns at once."""
        for known in list(self._running.values()):
            running = known()
            if running is not None:
                running.cancel()

    def close(self) -> None:
        """Stop what is running and close the connection. From any thread; may be called again.

        Takes at most about ``timeouts.close`` seconds.
        """
        self._closed = True
        self.cancel()
        self._line.close(self._settings.timeouts.close)
        self._http.close()
        self._accounts.flush(closing=True)

    def fork(self) -> Session:
        """A session with the same options and a connection of its own, for another thread.

        What a subclass keeps in attributes of its own (not in ``__slots__``) is in both, the same objects; no
        constructor is called.
        """
        other = object.__new__(type(self))
        vars(other).update(vars(self))  # what a subclass keeps; all that is the session's own is set up anew
        other._set_up(self._settings, self._line.fork(), self._transport, self._retry, self._on_usage)
        return other

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if not hasattr(self, "_closed"):
            return "<Session unfinished>"  # in a traceback of the constructor
        state = "closed" if self._closed else "connected" if self._line.ready else "not connected"
        return f"<Session {self._settings.endpoint.host} {self._transport} {state}>"

    def __reduce__(self) -> str:
        raise TypeError("a Session cannot be pickled: it holds a key and a connection")

    @classmethod
    def _of(cls, settings: Settings, line: Sockets, retry: Retry) -> Session:
        """A session with settings that are ready, for what holds it and tells the transport of each step."""
        made = object.__new__(cls)
        made._set_up(settings, line, "auto", retry, None)
        return made

    def _begin(
        self,
        turn: Turn,
        transport: TransportName,
        *,
        on_usage: OnUsage | None = None,
        on_begin: Callable[[ResponseStream], object] | None = None,
    ) -> ResponseStream:
        accounts = self._accounts
        accounts.flush()
        deadline = Deadline(self._settings.timeouts.total)
        routes = replace(self._routes, ticket=lambda source: accounts.open(source, on_usage))
        recovery = Recovery(turn, routes, self._retry, transport, deadline)
        # Made before anything is sent: an interrupt at any later moment drops it, which abandons what runs.
        stream = ResponseStream(
            recovery,
            deadline=deadline,
            response_timeout=self._settings.response_timeout,
            completed=recovery.completed,
            stopped=recovery.stopped,
            steer=recovery.steer,
            owner=self,
        )
        recovery.follow(stream)
        self._note(stream)
        if on_begin is not None:
            on_begin(stream)
        if self._closed:  # asked last: who closes it from now on finds the stream
            raise ConnectionError("the session is closed")
        try:
            recovery.start()
        except BaseException:
            stream.close()  # whoever keeps the traceback of an interrupt keeps the stream
            raise
        return stream

    def _note(self, running: Cancellable) -> None:
        key, noted = id(running), self._running
        noted[key] = weakref.ref(running, lambda _: noted.pop(key, None))


def _check_transport(transport: object) -> None:
    if transport not in TRANSPORTS:
        raise ConfigurationError(f"transport must be one of {', '.join(TRANSPORTS)}, not {shown(transport)}")
