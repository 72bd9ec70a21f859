"""HTTP to one service: its addresses, its kept connections, and requests that are no response."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode, urlsplit

from responses_ws._core.events import Event
from responses_ws._core.parser import parse
from responses_ws._http_call import HttpCall, check_success
from responses_ws._process import connecting, watch
from responses_ws._settings import Settings
from responses_ws._transport.deadline import Deadline
from responses_ws.errors import (
    ConnectionError,
    Delivery,
    ProtocolError,
    ResponseCancelled,
    ResponsesWSError,
    with_context,
)

if TYPE_CHECKING:
    from responses_ws._transport.http_client import HttpClient
    from responses_ws._transport.http_exchange import Exchange

__all__ = ["HttpLine", "HttpRequest"]


T = TypeVar("T")


class HttpRequest:
    """A request that is no response. One thread calls :meth:`answer`; the rest may come from any.

    :param max_bytes: of the answer; None means no limit.
    :param running: where it is to be found while it waits for its answer.
    """

    def __init__(
        self, exchange: Exchange, method: str, url: str, *, max_bytes: int | None, running: set[HttpRequest]
    ) -> None:
        self._exchange = exchange
        self._method = method
        self._url = url
        self._max_bytes = max_bytes
        self._running = running
        self._cancelled = False

    @property
    def delivery(self) -> Delivery:
        """How far it is known to have come."""
        return self._exchange.delivery

    def answer(self, read: Callable[[Event], T]) -> T:
        """Send it and wait for its JSON.

        :param read: makes the result of the answer, an empty one being an empty object. It may raise
            :class:`ProtocolError`.

        Raises :class:`ConnectionError`, the :class:`ResponseError` that a status or an answer stands for, and
        :class:`ResponseCancelled`.
        """
        body = self._body()
        try:
            answer = parse(body) if body.strip() else {}
            check_success(answer)
            return read(answer)
        except ResponsesWSError as error:
            known: dict[str, Any] = {"request_id": self._exchange.request_id}
            if isinstance(error, ProtocolError):
                known["delivery"] = self._exchange.delivery
            raise with_context(error, **known) from error.__cause__

    def _body(self) -> bytes:
        exchange = self._exchange
        self._running.add(self)
        try:
            exchange.open(self._method, self._url)
            body = exchange.read_all(self._max_bytes)
            exchange.settle()
        except BaseException as error:
            exchange.abort()
            exchange.close()
            if self._cancelled and isinstance(error, ConnectionError):
                raise ResponseCancelled("the request was cancelled", delivery=exchange.delivery) from None
            raise
        finally:
            self._running.discard(self)
        return body

    def cancel(self) -> None:
        """End it, whatever it is doing. Takes no lock."""
        self._cancelled = True
        self.drop()

    def drop(self) -> None:
        """End its connection; who waits for the answer finds it lost. Takes no lock."""
        self._exchange.abort()


class HttpLine:
    """Makes requests by the options of a client. May be used from any thread, and by any number at once.

    requests is imported by the first of them.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: HttpClient | None = None
        self._running: set[HttpRequest] = set()

    def call(self, body: bytes, deadline: Deadline) -> HttpCall:
        """A request for a response, for :meth:`HttpCall.start` to send.

        Raises what the caller's key function raises.
        """
        return HttpCall(
            self._exchange(body, deadline),
            self._url(),
            max_message_bytes=self._settings.limits.max_message_bytes,
        )

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: bytes = b"",
        deadline: Deadline,
    ) -> HttpRequest:
        """A request that is answered as JSON, for :meth:`HttpRequest.answer` to send.

        :param path: what follows ``/responses`` in the address, quoted.
        :param body: JSON, or nothing.
        """
        return HttpRequest(
            self._exchange(body, deadline),
            method,
            self._url(path, query),
            max_bytes=self._settings.limits.max_message_bytes,
            running=self._running,
        )

    def close(self) -> None:
        """Close the connections at rest, and end the requests that run."""
        for request in list(self._running):
            request.drop()
        if self._client is not None:
            self._client.close()

    def forget(self) -> None:
        """In a forked child: the parent's connections are not ours, and nobody is told."""
        self._running = set()
        if self._client is not None:
            self._client.forget()

    def _exchange(self, body: bytes, deadline: Deadline) -> Exchange:
        from responses_ws._transport.http_client import HttpClient
        from responses_ws._transport.http_exchange import Exchange

        if self._client is None:
            watch(self)
            self._client = HttpClient(connecting)
        return Exchange(
            self._client,
            self._settings.target(),
            body,
            deadline=deadline,
            response_timeout=self._settings.response_timeout,
        )

    def _url(self, path: str = "", query: Mapping[str, str] | None = None) -> str:
        parts = urlsplit(self._settings.endpoint.url)
        scheme = "https" if parts.scheme == "wss" else "http"
        asked = "&".join(part for part in (parts.query, urlencode(query or {})) if part)
        return parts._replace(scheme=scheme, path=parts.path + path, query=asked).geturl()
