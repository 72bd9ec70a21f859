"""When to ping and when to give the peer up: the transport's clock, as a value fed with times."""

from __future__ import annotations

import enum

__all__ = ["Keepalive", "Verdict"]


class Verdict(enum.Enum):
    ALIVE = "alive"
    PING = "ping"
    DEAD = "dead"


class Keepalive:
    """Any byte is life: ``interval`` seconds of silence ask for a ping, ``timeout`` more mean a dead peer.

    :param interval: seconds; None means no pings, and a silent peer is never given up.
    :param timeout: seconds; None means pings go on for ever.
    :param now: the time at which the connection was opened, on the clock of all later calls.
    """

    def __init__(self, interval: float | None, timeout: float | None, now: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self._heard_at = now
        self._pinged_at: float | None = None
        self._was_sending = False

    def heard(self, now: float) -> float | None:
        """A byte came; what :meth:`wait` says now."""
        self._heard_at = now
        self._pinged_at = None
        return self._interval

    def wait(self, now: float) -> float | None:
        """Seconds until :meth:`check` has something to say; None when never."""
        due = self._due()
        return None if due is None else max(0.0, due - now)

    def check(self, now: float, *, sending: bool) -> Verdict:
        """What is due now.

        While a request is being written the peer may be too busy to answer; it has the whole ``timeout``
        once more when that is over.
        """
        if (sending or self._was_sending) and self._pinged_at is not None:
            self._pinged_at = now
        self._was_sending = sending
        due = self._due()
        if due is None or now < due:
            return Verdict.ALIVE
        if self._pinged_at is not None and self._timeout is not None:
            return Verdict.DEAD
        self._pinged_at = now
        return Verdict.PING

    def _due(self) -> float | None:
        if self._interval is None:
            return None
        if self._pinged_at is None:
            return self._heard_at + self._interval
        return self._pinged_at + (self._interval if self._timeout is None else self._timeout)
