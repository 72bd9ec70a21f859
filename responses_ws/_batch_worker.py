"""One request of a batch, in whatever process it is asked; the pool that it goes through is made there."""

from __future__ import annotations

import contextlib
import functools
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from responses_ws._batch_crew import Crew, Hired, Threads
from responses_ws._core.retry import Retry
from responses_ws.errors import ConfigurationError, ResponsesWSError, bare
from responses_ws.messages import Message
from responses_ws.pool import ConnectionPool
from responses_ws.session import Session

__all__ = ["Ask", "MakePool", "Outcome", "Worker", "ask_there", "workers"]

NO_PAUSES = Retry(max_retries=1, max_seconds=0.001)
"""A session recovers what it can at once. When to ask again is said by the batch, for all its workers."""

Outcome = Message | ResponsesWSError
MakePool = Callable[[], ConnectionPool]
Ask = Callable[[Mapping[str, Any]], Outcome]


class Worker:
    """What one process has for one run: a pool, and a session for each response under way.

    Takes no lock, so that no interrupt and no fork can leave one behind.

    :param pool: one that the caller has opened and will close, or what makes one.
    """

    def __init__(self, pool: ConnectionPool | MakePool) -> None:
        self._pool = pool if isinstance(pool, ConnectionPool) else _made(pool)
        self._owns = not isinstance(pool, ConnectionPool)
        self._idle: list[Session] = []
        self._busy: set[Session] = set()
        self._dismissed = False

    @property
    def busy(self) -> bool:
        return bool(self._busy)

    def ask(self, payload: Mapping[str, Any]) -> Outcome:
        """Ask once, and bring what came of it, as a value that can travel.

        What this raises is no fault of the input: the thread is interrupted.
        """
        session = self._take()
        try:
            message = session.call(payload)
        except ResponsesWSError as error:
            return bare(error)
        finally:
            self._busy.discard(session)
            self._idle.append(session)
        message.raw = None
        return message

    def dismiss(self) -> None:
        """Leave what runs, and close everything but the caller's pool."""
        self._dismissed = True
        for session in [*self._busy.copy(), *self._idle]:
            session.close()
        if self._owns:
            self._pool.close()

    def _take(self) -> Session:
        try:
            session = self._idle.pop()
        except IndexError:
            session = Session(pool=self._pool, retry=NO_PAUSES)
        self._busy.add(session)
        if self._dismissed:  # asked once it is busy: either this sees that, or the one who dismisses sees it
            session.close()
        return session


def _made(make_pool: MakePool) -> ConnectionPool:
    found: object = make_pool()  # whatever the annotation says
    if not isinstance(found, ConnectionPool):
        raise ConfigurationError(f"pool gave no ConnectionPool but {type(found).__name__}")
    return found.open()


@contextlib.contextmanager
def workers(
    pool: ConnectionPool | MakePool | None, concurrency: int, executor: Executor | None
) -> Iterator[Crew]:
    """Who asks: threads of this process, or whatever the executor has.

    :param pool: None takes one of the environment, with a connection for each that is under way at most.
    """
    pool = pool or functools.partial(ConnectionPool, max_connections=concurrency)
    if executor is not None and not isinstance(executor, ThreadPoolExecutor):
        if isinstance(pool, ConnectionPool):
            raise ConfigurationError(
                "pool must be a function that makes a ConnectionPool, for the executor may run it elsewhere"
            )
        yield Hired(executor, functools.partial(ask_there, uuid.uuid4().hex, pool))
        return
    worker = Worker(pool)
    threads = Threads(worker.ask)
    try:
        yield threads if executor is None else Hired(executor, worker.ask)
    finally:
        threads.over = True  # at once, for a second interrupt may end what follows
        worker.dismiss()
        threads.join()


_workers: dict[tuple[int, str], Worker] = {}
"""By process and run. A forked child inherits those of its parent, and leaves them alone."""


def ask_there(run: str, make_pool: MakePool, payload: Mapping[str, Any]) -> Outcome:
    """Ask in a process of an executor, through the pool that the run has there. See :meth:`Worker.ask`.

    :param run: the name of the run.
    """
    key = (os.getpid(), run)
    worker = _workers.get(key)
    if worker is None:
        _dismiss_idle()
        worker = _workers.setdefault(key, Worker(make_pool))
    return worker.ask(payload)


def _dismiss_idle() -> None:
    """A process of an executor is not told when a run is over: it notices when another one begins."""
    for key, worker in list(_workers.items()):
        if key[0] == os.getpid() and not worker.busy:
            del _workers[key]
            worker.dismiss()
