"""Waiting until the system says that a socket is ready."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

__all__ = ["poll", "waiting"]


def waiting(sock: socket.socket) -> Callable[[float | None], object]:
    """What waits so many milliseconds, and gives what is false when no bytes came.

    It is made once: making it takes as long as a read.
    """
    if not hasattr(select, "poll"):
        return lambda most: select.select([sock], [], [], None if most is None else most / 1000)[0]
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return poller.poll


def poll(sock: socket.socket, *, read: bool = False, write: bool = False, timeout: float | None) -> bool:
    """Wait for the socket, at most ``timeout`` seconds; whether it became ready, or broke."""
    if not hasattr(select, "poll"):
        ready = select.select([sock] if read else [], [sock] if write else [], [sock], timeout)
        return any(ready)
    poller = select.poll()
    poller.register(sock, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
    return bool(poller.poll(None if timeout is None else timeout * 1000))
