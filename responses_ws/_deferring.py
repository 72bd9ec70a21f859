"""An accumulator that is told when the end of a response is already there.

The terminal event holds the whole output. So what comes with it, in one read, need not be put together only
to be compared with that: which is all of a short answer, and of a long one the events that end its parts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from responses_ws._core.accumulate import lacking
from responses_ws._core.events import PROGRESS, Event, response_id
from responses_ws._core.fields import mapping, mappings, text
from responses_ws.messages import Chunk, Message
from responses_ws.streaming import StreamAccumulator, build_chunk

__all__ = ["DeferringAccumulator"]

PATIENCE_SECONDS = 1.0
"""Nobody holds the lock for so long, but a thread that a fork has left in the parent process."""


class DeferringAccumulator(StreamAccumulator):
    """Gives the messages, and shows the chunks, that :class:`StreamAccumulator` does.

    Not thread-safe, but for :meth:`to_message`: who cancels a response may ask for its part while another
    thread, which has just been told, asks for it too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._deferred: list[Event] = []
        # Held while what was put aside is taken. Re-entrant: a signal handler may ask in the middle of it.
        self._taking = threading.RLock()

    def before(self, terminal: Event) -> Callable[[Chunk], None]:
        """What takes the chunks that came with a terminal event; :meth:`conclude` follows, with its own.

        Known before the first of them, so that none is put together late, when an interrupt might lose what
        its caller has seen.
        """
        return self._defer if _says_all(terminal) else self.add

    def conclude(self, chunk: Chunk) -> None:
        """Take the chunk of the terminal event."""
        held = self._taking.acquire(timeout=PATIENCE_SECONDS)
        try:
            self.add(chunk)
            self._deferred.clear()
        finally:
            if held:
                self._taking.release()

    def to_message(self) -> Message:
        if self._status is None:  # else what was put aside is said again by the end
            self._catch_up()
        return super().to_message()

    def _defer(self, chunk: Chunk) -> None:
        if self._status is None and not self._halved and chunk.type in PROGRESS:
            delta = chunk.raw.get("delta")  # None, as the content is, for what is no piece of a text
            whole = chunk.content is delta or (type(delta) is str and delta.isascii())
            if whole and not chunk.built_in_tool_events:
                # A copy, for the chunk is its caller's from here on, who may change it.
                self._deferred.append(chunk.raw.copy())
                return
        self._catch_up()
        self.add(chunk)

    def _catch_up(self) -> None:
        """Take what was put aside: one after the other, so that an interrupt leaves the rest there."""
        held = self._taking.acquire(timeout=PATIENCE_SECONDS)
        try:
            while self._deferred:
                self.add(build_chunk(self._deferred.pop(0)))
        finally:
            if held:
                self._taking.release()


def _says_all(terminal: Event) -> bool:
    """Whether a terminal event leaves nothing to be filled in from those before it."""
    response = mapping(terminal.get("response"))
    if response_id(terminal) is None or text(response.get("model")) is None:
        return False
    output = mappings(response.get("output"))
    return bool(output) and not any(map(lacking, output))
