"""The same conversation over HTTP: one request for each response, its events as they come."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from responses_ws._core.chain import Chain
from responses_ws._core.endpoint import Endpoint
from responses_ws._core.events import Event
from responses_ws._core.options import check_callable
from responses_ws._core.request import UNSET, Unset, encode_http, stores
from responses_ws._http_call import HttpCall
from responses_ws._http_line import HttpLine
from responses_ws._settings import Credentials, Settings
from responses_ws._stored_responses import UNFINISHED, StoredResponses
from responses_ws._transport.deadline import NEVER, Deadline
from responses_ws._verbs import Chained
from responses_ws.errors import ConcurrencyError
from responses_ws.messages import Chunk, Limits, Message, Timeouts
from responses_ws.stream import ResponseStream

if TYPE_CHECKING:
    import ssl

__all__ = ["HTTPTransport"]

T = TypeVar("T")


class HTTPTransport(Chained, StoredResponses):
    """A blocking client for the Responses API over HTTP, with the verbs, chunks, messages and errors of
    :class:`WebSocket`.

    No thread runs while an answer streams: whoever iterates reads, and whoever leaves early closes the
    connection. (A new connection is dialled in a thread that ends with it, because the look-up of a name can
    be neither interrupted nor timed.) After a whole answer the connection is kept for the next request. It
    takes the proxies and authorities of a WebSocket, no cookies, no ``.netrc`` and no redirects.

    One object is one conversation, as a WebSocket is: :meth:`create_response` and :meth:`stream` continue the
    last completed response by themselves, and one response runs at a time, for of two that ran at once
    neither would know which of them the next one continues; a second thread gets :class:`ConcurrencyError`.
    An abandoned response is in nobody's way. What was not stored (``store=False``) cannot be continued over
    HTTP: the next response begins a new chain, without a warning. The requests about stored responses,
    :meth:`close` and the properties may come from any thread.

    Nothing is opened before the first request, and in a forked child the object begins without a connection.
    ``Limits.max_request_bytes`` does not apply: it is a WebSocket's.

    :param api_key: the key, or a function that returns it, called for each request; None takes OPENAI_API_KEY
        from the environment; an empty string sends none.
    :param api_base: address to which ``/responses`` is added; None takes OPENAI_BASE_URL, else the address of
        OpenAI. ``ws`` is read as ``http``.
    :param organization_id: None takes OPENAI_ORG_ID.
    :param project_id: None takes OPENAI_PROJECT_ID.
    :param response_timeout: seconds without an event of the running response; comments that keep the
        connection alive are none. None means no limit.
    :param headers: extra headers of each request; they replace ours of the same name.
    :param timeouts: the other clocks; those of pings, of draining and of closing do not apply.
    :param limits: bounds of what is received.
    :param endpoint: where the service is and what it can do, in place of ``api_base`` and OPENAI_BASE_URL;
        None derives it from these.
    :param ssl_context: None builds one from the file or directory in SSL_CERT_FILE, REQUESTS_CA_BUNDLE or
        CURL_CA_BUNDLE, else from the system's store, else from that of certifi.
    :param proxy: URL of an HTTP or SOCKS 5 proxy; None asks the environment.
    :param allow_insecure: send the key over ``http://`` to another machine.
    :raises ConfigurationError: for an option that cannot work; the message names it.
    """

    def __init__(
        self,
        api_key: str | Callable[[], str] | None = None,
        *,
        api_base: str | None = None,
        organization_id: str | None = None,
        project_id: str | None = None,
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
        self._begin(settings)

    @classmethod
    def of(cls, settings: Settings) -> HTTPTransport:
        """One with the options of another client."""
        transport = cls.__new__(cls)
        transport._begin(settings)
        return transport

    def _begin(self, settings: Settings) -> None:
        self._settings = settings
        # Guards ``running``, ``calls`` and ``chain``.
        self._lock = threading.Lock()
        self._running: HttpCall | None = None
        self._calls = 0
        self._chain: Chain | None = None
        self._pid = os.getpid()
        self._line = HttpLine(settings)
        weakref.finalize(self, self._line.close).atexit = False

    # -- the object

    def close(self) -> None:
        """Close the connections; a response that is running is lost, and so is a request about another.

        From any thread, any number of times.
        The object can be used again: it opens what it needs.
        """
        self._check_process()
        running = self._running
        if running is not None:
            running.drop()
        self._line.close()

    def __enter__(self) -> HTTPTransport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def in_flight(self) -> bool:
        """Whether a response is running that its caller has not left."""
        self._check_process()
        running = self._running
        return running is not None and not running.over

    @property
    def last_response_id(self) -> str | None:
        """The last completed response, which the next one continues; None at the start of a chain, and after
        a response that was not stored.
        """
        chain = self._chain
        return None if chain is None else chain.response_id

    def clear_previous_response_id(self) -> None:
        """Begin a new chain with the next response."""
        with self._lock:
            self._chain = None

    def __repr__(self) -> str:
        if not hasattr(self, "_line"):
            return "<HTTPTransport unfinished>"  # in a traceback of the constructor
        running = " in flight" if self.in_flight else ""
        return f"<HTTPTransport {self._settings.endpoint.host}{running}>"

    def __reduce__(self) -> str:
        raise TypeError("an HTTPTransport cannot be pickled: it holds a key and connections")

    # -- responses

    def call(self, payload: Mapping[str, Any], on_chunk: Callable[[Chunk], object] | None = None) -> Message:
        """Send a payload of ``POST /v1/responses`` as it is, and wait for the answer.

        Top-level None and what only a socket knows (``generate``, ``stream_id``) are left out. Nothing is
        chained. With ``background`` the message is there at once, ``queued`` and without an answer, for which
        :meth:`poll` waits; but with ``on_chunk`` or ``stream: True`` the answer is waited for.

        :param on_chunk: called with each :class:`Chunk`, in this thread.
        :raises ResponseError: the service refused or failed the response.
        :raises ConnectionError: it cannot be reached, or was lost, or a clock ran out.
        :raises ConcurrencyError: a response is already running.
        :raises ConfigurationError: the payload cannot be sent; the message names the parameter.
        """
        check_callable("on_chunk", on_chunk)
        return self._start(lambda: payload, stream=on_chunk is not None or None).run(on_chunk)

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
        :param extra: any other field of the service; ``compact_threshold`` (tokens) asks for compaction; for
            ``background`` see :meth:`call`.
        :raises: what :meth:`call` raises.
        """
        check_callable("on_chunk", on_chunk)
        payload = self._payload(
            model=model,
            input=input,
            tools=tools,
            previous_response_id=previous_response_id,
            instructions=instructions,
            extra=extra,
        )
        return self._start(payload, stream=on_chunk is not None or None).run(on_chunk)

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
        """Ask, and return as soon as the service begins to answer. See :meth:`create_response`.

        What goes wrong once the request has left is raised by the stream.
        """
        payload = self._payload(
            model=model,
            input=input,
            tools=tools,
            previous_response_id=previous_response_id,
            instructions=instructions,
            extra=extra,
        )
        return self._start(payload)

    def warmup(self, *, model: str, **extra: Any) -> None:
        """Do nothing: over HTTP there is no connection that could be prepared."""

    # -- inside

    def _start(
        self, payload: Callable[[], Mapping[str, Any]], *, stream: bool | None = True
    ) -> ResponseStream:
        """Send a request, unless another is running; the running response.

        :param stream: None leaves it to the payload: one in the background is not waited for.
        """
        self._check_process()
        settings = self._settings
        deadline = Deadline(settings.timeouts.total)
        fields = payload()
        call, stored = self._line.call(encode_http(fields, stream=stream), deadline), stores(fields)
        background = bool(fields.get("background"))
        known = weakref.ref(self)

        def completed(message: Message) -> None:
            transport = known()  # which lives until the stream is over, and no longer
            if transport is not None:
                transport._remember(number, message, stored=stored, background=background)

        # Made before anything is sent: an interrupt at any later moment drops it, which abandons the call.
        running = ResponseStream(
            call,
            deadline=deadline,
            response_timeout=settings.response_timeout,
            completed=completed,
            owner=self,
        )
        try:
            number = self._enter(call)
            call.start()
        except BaseException:
            call.abandon()  # whoever keeps the traceback of an interrupt keeps the stream
            raise
        return running

    def _enter(self, call: HttpCall) -> int:
        """Make the call the running one; its number."""
        with self._lock:
            before = self._running
            if before is not None and not before.over:
                raise ConcurrencyError("another response is running")
            self._running = call
            self._calls += 1
            number = self._calls
        if before is not None:
            before.settle()
        return number

    def _settle(self) -> None:
        """Give the connection of a response that is over back."""
        with self._lock:
            before = self._running
            if before is None or not before.over:
                return
            self._running = None
        before.settle()

    def _remember(self, number: int, message: Message, *, stored: bool, background: bool) -> None:
        """A response was completed: what is asked next continues it, if it can be continued.

        One in the background may only have begun; otherwise the event says that it has ended.
        """
        if message.response_id is None or (background and message.status in UNFINISHED):
            return
        with self._lock:
            if self._chain is None or self._chain.number < number:
                self._chain = Chain(message.response_id, stored, number) if stored else None

    def _request(
        self,
        method: str,
        path: str,
        read: Callable[[Event], T],
        *,
        query: Mapping[str, str] | None = None,
        deadline: Deadline = NEVER,
    ) -> T:
        self._check_process()
        self._settle()
        deadline = deadline.sooner(self._settings.timeouts.total)
        return self._line.request(method, path, query, deadline=deadline).answer(read)

    def _check_process(self) -> None:
        """In a forked child: the connections are the parent's, and a lock of it may be held for ever."""
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self._lock = threading.Lock()
        running, self._running = self._running, None
        if running is not None:
            running.drop()
        self._line.forget()
