"""When to leave a host's WebSocket alone for a while and ask over HTTP."""

from __future__ import annotations

from dataclasses import dataclass, replace

from responses_ws.errors import (
    ConnectionError,
    HandshakeError,
    PayloadTooLarge,
    PermissionDeniedError,
    PoolClosed,
    PoolTimeout,
    ResponsesWSError,
    ResponseTimeout,
)

__all__ = ["CLOSED", "Breaker", "counts", "refuses_sockets"]

MAX_LOSSES = 3
REST_SECONDS = 60.0
REFUSED_SECONDS = 600.0
NO_SOCKET_HERE = frozenset({404, 405, 426})
"""Statuses with which services without WebSockets answer the upgrade."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """The state for one scheme, host and port; every move gives a new one.

    ``closed`` lets everybody try. Three losses in a row open it for 60 seconds, an answer that there is no
    WebSocket for 10 minutes. Then one caller may try, whose outcome closes it or opens it again; whoever asks
    meanwhile, or for another 60 seconds if that caller never tells, is sent to HTTP.

    :ivar losses: in a row.
    :ivar rests_until: monotonic seconds; None when closed.
    """

    losses: int = 0
    rests_until: float | None = None

    def allows(self, now: float) -> bool:
        """Whether a socket may be tried now. When it is open, who tries must :meth:`probe` first."""
        return self.rests_until is None or now >= self.rests_until

    def probe(self, now: float) -> Breaker:
        """Somebody tries now."""
        return self if self.rests_until is None else replace(self, rests_until=now + REST_SECONDS)

    def lost(self, now: float) -> Breaker:
        """A connection could not be made, or broke."""
        losses = self.losses + 1
        if losses < MAX_LOSSES:
            return Breaker(losses)
        return Breaker(losses, max(self.rests_until or 0.0, now + REST_SECONDS))

    def refused(self, now: float) -> Breaker:
        """The service has no WebSocket."""
        return Breaker(MAX_LOSSES, now + REFUSED_SECONDS)

    def worked(self) -> Breaker:
        """A response came to its end."""
        return CLOSED


CLOSED = Breaker()


def counts(error: ResponsesWSError) -> bool:
    """Whether it is a loss of the transport. What the service says about a request is none."""
    if isinstance(error, PayloadTooLarge | PoolTimeout | PoolClosed):
        return False
    if isinstance(error, ResponseTimeout):
        return error.clock == "send"
    return isinstance(error, ConnectionError | PermissionDeniedError)


def refuses_sockets(error: ResponsesWSError) -> bool:
    """Whether the service says that it has no WebSocket."""
    return isinstance(error, HandshakeError) and error.status in NO_SOCKET_HERE
