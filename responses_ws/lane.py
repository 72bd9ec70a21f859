"""One of several conversations that run in parallel on one connection."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from responses_ws._channel import Channel
from responses_ws._verbs import Verbs
from responses_ws.errors import ConfigurationError
from responses_ws.stream import ResponseStream

__all__ = ["Lane", "check_lane"]

NAME = re.compile(r"[A-Za-z0-9_.-]{1,256}")


class Lane(Verbs):
    """A lane of a :class:`WebSocket`, which :meth:`WebSocket.lane` gives: a chain of its own.

    On one lane one response runs at a time; a second thread gets :class:`ConcurrencyError`. Different lanes
    run in parallel, each in a thread of its own, as many as ``Endpoint.max_in_flight``; what is more waits
    for a place, at most ``response_timeout`` seconds, then :class:`ConcurrencyError`. Leaving a response on
    one lane, or reading it slowly, holds no other up. See the API's guide "WebSocket mode", multiplexing.

    A response of another lane can be continued (``previous_response_id``). When it is not stored, what
    continues it on its own lane waits until the service has begun with the fork.
    """

    def __init__(self, channel: Channel, name: str, owner: object) -> None:
        self._channel = channel
        self._name = name
        self._owner = owner

    @property
    def name(self) -> str:
        """Its name, which travels as ``stream_id``."""
        return self._name

    @property
    def in_flight(self) -> bool:
        """Whether a response is running on the lane that its caller has not left."""
        return self._channel.busy

    @property
    def last_response_id(self) -> str | None:
        """The last completed response, which the next one continues; None at the start of a chain."""
        return self._channel.last_response_id

    def clear_previous_response_id(self) -> None:
        """Begin a new chain with the next response."""
        self._channel.begin_chain()

    def __repr__(self) -> str:
        running = ", in flight" if self.in_flight else ""
        return f"<Lane {self._name}{running}>"

    def __reduce__(self) -> str:
        raise TypeError("a Lane cannot be pickled: it is part of a connection")

    def _start(self, payload: Callable[[], Mapping[str, Any]]) -> ResponseStream:
        return self._channel.start(payload, self)


def check_lane(name: object) -> str:
    """The name, if a lane can have it. Raises :class:`ConfigurationError`."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigurationError("name must be 1 to 256 letters, digits, dots, hyphens and underscores")
    return name
