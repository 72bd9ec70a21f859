"""Who asks for a batch: threads of its own, or the workers of an executor."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any, Protocol, TypeAlias

from responses_ws._transport.deadline import SLICE_SECONDS
from responses_ws._transport.mailbox import WOKEN, Mailbox, Mark, wait_for

__all__ = ["Bring", "Crew", "Hired", "Threads"]

Payload = Mapping[str, Any]
Bring = Callable[["Future[Any]"], None]
"""Takes what came of a request; never raises."""
Inputs: TypeAlias = "Mailbox[tuple[Payload, Bring] | Mark]"
"""Of one thread."""


class Crew(Protocol):
    """Asks."""

    def begin(self, payload: Payload, bring: Bring) -> None:
        """Have one more asked; ``bring`` is called in another thread."""

    def leave(self) -> None:
        """Take back what was not begun."""


class Hired:
    """An executor of the caller's.

    :param ask: asks with a payload, in a worker.
    """

    def __init__(self, executor: Executor, ask: Callable[[Payload], object]) -> None:
        self._executor = executor
        self._ask = ask
        self._futures: set[Future[Any]] = set()

    def begin(self, payload: Payload, bring: Bring) -> None:
        future = self._executor.submit(self._ask, payload)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        future.add_done_callback(bring)

    def leave(self) -> None:
        for future in self._futures.copy():
            future.cancel()


class Threads:
    """Threads of this process, as many as there are requests under way.

    Not those of an executor, for that waits in locks, which an interrupt may leave behind locked. One that
    comes while a thread is started may keep that one from beginning, for ever; so nobody waits for it, and it
    does not keep the process from its end.

    :param ask: asks with a payload.
    :ivar over: set to True, it lets each thread end, once it has brought what it is asking. So does
        forgetting this object.
    """

    def __init__(self, ask: Callable[[Payload], object]) -> None:
        self.over = False
        self._ask = ask
        self._all: list[Inputs] = []
        self._idle: deque[Inputs] = deque()
        self._begun: set[threading.Thread] = set()

    def begin(self, payload: Payload, bring: Bring) -> None:
        inputs = self._idle.popleft() if self._idle else self._new_thread()
        inputs.put((payload, bring))

    def leave(self) -> None:
        """There is nothing that was not begun."""

    def join(self) -> None:
        """Once it is over: wait for the threads that have begun to ask."""
        for inputs in self._all:
            inputs.put(WOKEN)
        for thread in self._begun.copy():
            while thread.is_alive():
                thread.join(SLICE_SECONDS)

    def ask(self, payload: Payload, bring: Bring, inputs: Inputs) -> None:
        """In one of the threads."""
        self._begun.add(threading.current_thread())
        outcome: Future[Any] = Future()  # which no other thread sees
        try:
            outcome.set_result(self._ask(payload))
        except BaseException as error:  # brought to the thread that waits
            outcome.set_exception(error)
        self._idle.append(inputs)  # first, so that who hears of the outcome need not start another thread
        bring(outcome)

    def _new_thread(self) -> Inputs:
        inputs: Inputs = Mailbox()
        self._all.append(inputs)
        name = f"responses_ws-batch-{len(self._all)}"
        threading.Thread(target=_work, args=(weakref.ref(self), inputs), name=name, daemon=True).start()
        return inputs


def _work(crew: Callable[[], Threads | None], inputs: Inputs) -> None:
    """A thread. While it waits it keeps nothing of the run, whose file and pool end with who forgets it."""
    while _goes_on(crew, inputs):
        pass


def _goes_on(crew: Callable[[], Threads | None], inputs: Inputs) -> bool:
    found = wait_for(inputs, SLICE_SECONDS)
    threads = crew()
    if threads is None or threads.over:
        return False
    if isinstance(found, tuple):
        threads.ask(*found, inputs)
    return True
