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

if TYPE_CHECKING:
    from responses_ws._transport.http_exchange import Exchange, HttpClient

__all__ = ["HttpLine"]


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
    ) -> Event:
        """Make a request that is answered as JSON; an empty answer is an empty object.

        :param path: what follows ``/responses`` in the address, quoted.
        :param body: JSON, or nothing.

        Raises :class:`ConnectionError`, and the :class:`ResponseError` that a status stands for.
        """
        exchange = self._exchange(body, deadline)
        try:
            exchange.open(method, self._url(path, query))
            answer = exchange.read_all(self._settings.limits.max_message_bytes)
        except BaseException:
            exchange.abort()
            exchange.close()
            raise
        if not exchange.release():
            exchange.close()
        return parse(answer) if answer.strip() else {}

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
