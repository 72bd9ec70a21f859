"""The breakers of this process, one for each scheme, host and port."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from responses_ws._core.breaker import CLOSED, Breaker, counts, refuses_sockets
from responses_ws._core.endpoint import Endpoint
from responses_ws.errors import ResponsesWSError

__all__ = ["Guard"]

logger = logging.getLogger("responses_ws")

Key = tuple[bool, str, int]


class Guard:
    """What a session asks before it connects, and tells of what came of it. Thread-safe."""

    def __init__(self, endpoint: Endpoint, clock: Callable[[], float] = time.monotonic) -> None:
        self._key: Key = (endpoint.secure, endpoint.host, endpoint.port)
        self._clock = clock

    def lets_try(self) -> bool:
        """Whether a socket may be tried now. Of many who ask when it opens again, one gets leave."""
        now = self._clock()
        with _lock():
            breaker = _breakers.get(self._key, CLOSED)
            if not breaker.allows(now):
                return False
            if breaker != CLOSED:
                _breakers[self._key] = breaker.probe(now)
        return True

    def failed(self, error: ResponsesWSError) -> None:
        """A connection could not be made, or broke."""
        now = self._clock()
        if refuses_sockets(error):
            self._move(lambda breaker: breaker.refused(now))
        elif counts(error):
            self._move(lambda breaker: breaker.lost(now))

    def worked(self) -> None:
        """A response came to its end over a socket."""
        if self._key in _breakers:
            self._move(Breaker.worked)

    def _move(self, move: Callable[[Breaker], Breaker]) -> None:
        with _lock():
            before = _breakers.get(self._key, CLOSED)
            after = _breakers[self._key] = move(before)
            if after == CLOSED:
                del _breakers[self._key]
        if after.rests_until is not None and before.rests_until is None:
            logger.warning("the WebSocket of %s is left alone for a while; HTTP is used", self._key[1])


_breakers: dict[Key, Breaker] = {}
_locks: dict[int, threading.RLock] = {}


def _lock() -> threading.RLock:
    """The lock of this process: in a forked child the parent's may be held for ever.

    Re-entrant, for a signal handler or a finalizer may ask as well.
    """
    return _locks.setdefault(os.getpid(), threading.RLock())
