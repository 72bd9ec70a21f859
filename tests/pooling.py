"""What the tests of the pool share: a service in memory that answers at a word, and pools that lead to it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from shell import KEY, SECONDS, Event, until

from responses_ws import Chat, ConnectionLost, ConnectionPool, Endpoint
from responses_ws.testing import Model, ScriptedConnector, ScriptedTransport

URL = "ws://localhost/v1/responses"
ONE_BY_ONE = Endpoint(URL)
"""A service without lanes."""
LANES = Endpoint(URL, max_in_flight=16, max_lanes=32)


class Service:
    """A service in memory: a :class:`Model` behind each connection. Lanes run in parallel, whatever they are.

    An answer whose question was held comes when it is let go; before that the service has begun with it, or
    is silent about it.

    :param echoes: whether events name their lanes.
    :param lanes: whether ``stream_id`` is known; if not it is refused.
    :ivar requests: each with the number of its connection, in order.
    :ivar most: the most responses that ran at the same time on one connection.
    """

    def __init__(self, *, echoes: bool = True, lanes: bool = True) -> None:
        self.model = Model(lambda history, request: "re " + text_of(request), lanes=lanes)
        self.connector = ScriptedConnector(self._play)
        self.requests: list[tuple[int, Event]] = []
        self.most = 0
        self._echoes = echoes
        self._held: set[str] = set()
        self._silent: set[str] = set()
        self._waiting: dict[str, Callable[[], None]] = {}
        self._running: Counter[int] = Counter()
        self._lock = threading.RLock()

    @property
    def transports(self) -> list[ScriptedTransport]:
        """Those that were opened, in order."""
        return self.connector.transports

    @property
    def asked(self) -> list[str]:
        """The last text of each request."""
        return [text_of(request) for _, request in self.requests]

    def seats(self, *texts: str) -> list[tuple[int, str | None]]:
        """The number of the connection and the lane on which each of these was asked last."""
        found = {text_of(request): (number, request.get("stream_id")) for number, request in self.requests}
        return [found[text] for text in texts]

    def hold(self, *texts: str, silent: bool = False) -> None:
        """Do not answer these before they are let go."""
        self._held.update(texts)
        if silent:
            self._silent.update(texts)

    def wait_for(self, *texts: str) -> None:
        """Wait until these, which are held, were asked."""
        until(lambda: set(texts) <= set(self._waiting))

    def let_go(self, *texts: str) -> None:
        """Answer these, which were held and asked."""
        for text in texts:
            until(lambda: text in self._waiting)  # noqa: B023
            self._held.discard(text)
            self._waiting.pop(text)()

    def lose(self, number: int, code: int = 1006) -> None:
        """End a connection; the client has noticed when this returns."""
        transport = self.transports[number]
        transport.end(ConnectionLost("gone", close_code=code))
        until(lambda: "release" in transport.calls)

    def _play(self, transport: ScriptedTransport) -> None:
        memory, number = self.model.connect(), len(self.transports)

        def answer(request: Event) -> None:
            with self._lock:
                self.requests.append((number, request))
                self._running[number] += 1
                self.most = max(self.most, self._running[number])
                events = list(self.model.respond(request, memory))
            if not self._echoes:
                events = [{name: event[name] for name in event if name != "stream_id"} for event in events]
            text = text_of(request)
            if text not in self._held:
                finish(events)
                return
            begun = 0 if text in self._silent else 2
            transport.deliver(*events[:begun])
            self._waiting[text] = lambda: finish(events[begun:])

        def finish(events: list[Event]) -> None:
            with self._lock:
                self._running[number] -= 1
            transport.deliver(*events)

        def close(code: int = 1000, reason: str = "") -> None:
            ScriptedTransport.close(transport, code, reason)
            transport.end(ConnectionLost("closed", close_code=code))

        transport.on_send = answer
        transport.close = close  # type: ignore[method-assign]


def text_of(request: Event) -> str:
    """The last text of a request's input."""
    given = request["input"]
    if isinstance(given, str):
        return given
    content = given[-1]["content"]
    return content if isinstance(content, str) else content[0]["text"]


@contextmanager
def pool_of(service: Service, endpoint: Endpoint = ONE_BY_ONE, **options: Any) -> Iterator[ConnectionPool]:
    """An open pool of the service's connections."""
    options = {"lease_timeout": SECONDS, **options}
    with ConnectionPool(KEY, endpoint=endpoint, client_class=service.connector, **options) as pool:
        yield pool
    until(lambda: all("release" in transport.calls for transport in service.transports))


def chat(pool: ConnectionPool, **options: Any) -> Chat:
    """A chat on the pool, that has no other way."""
    return Chat("m", pool=pool, **options).with_params(transport="websocket")


def counts(pool: ConnectionPool) -> tuple[int, int, int]:
    """Connections, taken, waiting."""
    stats = pool.stats()
    return stats.connections, stats.taken, stats.waiting
