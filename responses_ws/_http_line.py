"""HTTP to one service: its addresses, its kept connections, and requests that are no response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from responses_ws._core.events import Event, parse
from responses_ws._http_call import HttpCall
from responses_ws._process import connecting, watch
from responses_ws._settings import Settings
from responses_ws._transport.deadline import Deadline
from responses_ws.errors import ConnectionError, ResponseCancelled

if TYPE_CHECKING:
    from responses_ws._transport.http_exchange import Exchange, HttpClient

__all__ = ["HttpLine", "HttpRequest"]


class HttpRequest:
    """A request that is no response. One thread calls :meth:`answer`; :meth:`cancel` may come from any.

    :param max_bytes: of the answer; None means no limit.
    """

    def __init__(self, exchange: Exchange, method: str, url: str, *, max_bytes: int | None) -> None:
        self._exchange = exchange
        self._method = method
        self._url = url
        self._max_bytes = max_bytes
        self._cancelled = False

    def answer(self) -> Event:
        """Send it and wait for its JSON; an empty answer is an empty object.

        Raises :class:`ConnectionError`, the :class:`ResponseError` that a status stands for, and
        :class:`ResponseCancelled`.
        """
        exchange = self._exchange
        try:
            exchange.open(self._method, self._url)
            answer = exchange.read_all(self._max_bytes)
        except BaseException as error:
            exchange.abort()
            exchange.close()
            if self._cancelled and isinstance(error, ConnectionError):
                raise ResponseCancelled("the request was cancelled", delivery=exchange.delivery) from None
            raise
        if not exchange.release():
            exchange.close()
        return parse(answer) if answer.strip() else {}

    def cancel(self) -> None:
        """End it, whatever it is doing. Takes no lock."""
        self._cancelled = True
        self._exchange.abort()


class HttpLine:
    """Makes requests by the options of a client. May be used from any thread, and by any number at once.

    requests is imported by the first of them.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: HttpClient | None = None

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
        )

    def close(self) -> None:
        """Close the connections at rest."""
        if self._client is not None:
            self._client.close()

    def forget(self) -> None:
        """In a forked child: the parent's connections are not ours, and nobody is told."""
        if self._client is not None:
            self._client.forget()

    def _exchange(self, body: bytes, deadline: Deadline) -> Exchange:
        from responses_ws._transport.http_exchange import Exchange, HttpClient

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
