"""What connections do when the process forks, and when the interpreter ends."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Protocol

from responses_ws._transport.deadline import Deadline

__all__ = ["Forgettable", "Stoppable", "connecting", "watch"]

EXIT_SECONDS = 0.5


class Forgettable(Protocol):
    """What holds sockets that a forked child inherits and must not use."""

    def forget(self) -> None:
        """In the child: nothing of the parent's connection is ours."""


class Stoppable(Protocol):
    """What may be connecting when the interpreter ends."""

    def stop(self, deadline: Deadline) -> None:
        """End it, and wait for its thread until the deadline."""


connecting: set[Stoppable] = set()
"""Those whose thread may be inside OpenSSL for long, reading certificates, where the end of the process would
crash it. The reader of an open connection sleeps outside of OpenSSL."""

_living: weakref.WeakSet[Forgettable] = weakref.WeakSet()
_hooks: list[str] = []


def watch(connection: Forgettable) -> None:
    """From its first connect on, a connection is told of forks.

    The hooks are set at the first use and not at import: a process that never connects has none.
    """
    if not _hooks:
        atexit.register(_before_exit)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork_in_child)
        _hooks.append("set")  # last: to be set twice does no harm, to be taken as set by an interrupt does
    _living.add(connection)


def _after_fork_in_child() -> None:
    connecting.clear()  # the parent's, whose sockets the end of the child must not shut down
    for connection in list(_living):
        connection.forget()


def _before_exit() -> None:
    deadline = Deadline(EXIT_SECONDS)
    for one in list(connecting):
        one.stop(deadline)
