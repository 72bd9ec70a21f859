"""An accumulator that is told when the end of a response is already there.

The terminal event holds the whole output. So what comes with it, in one read, need not be put together only
to be compared with that: which is all of a short answer, and of a long one the events that end its parts.
"""

from __future__ import annotations

from responses_ws._core.accumulate import lacking
from responses_ws._core.events import PROGRESS
from responses_ws._core.fields import mapping, mappings
from responses_ws.messages import Chunk, Message
from responses_ws.streaming import StreamAccumulator

__all__ = ["DeferringAccumulator"]


class DeferringAccumulator(StreamAccumulator):
    """Gives the messages, and shows the chunks, that :class:`StreamAccumulator` does. Not thread-safe."""

    def __init__(self) -> None:
        super().__init__()
        self._deferred: list[Chunk] = []

    def defer(self, chunk: Chunk) -> None:
        """Take a chunk whose terminal event is there: :meth:`conclude` follows, after the last such chunk."""
        if self._status is None and not self._halved and chunk.type in PROGRESS:
            delta = chunk.raw.get("delta")  # None, as the content is, for what is no piece of a text
            whole = chunk.content is delta or (type(delta) is str and delta.isascii())
            if whole and not chunk.built_in_tool_events:
                self._deferred.append(chunk)
                return
        self._catch_up()
        self.add(chunk)

    def conclude(self, chunk: Chunk) -> None:
        """Take the chunk of the terminal event."""
        if self._deferred and not _says_all(chunk):
            self._catch_up()
        self._deferred.clear()
        self.add(chunk)

    def to_message(self) -> Message:
        self._catch_up()
        return super().to_message()

    def _catch_up(self) -> None:
        deferred, self._deferred = self._deferred, []
        for chunk in deferred:
            self.add(chunk)


def _says_all(chunk: Chunk) -> bool:
    """Whether a terminal event leaves nothing to be filled in from those before it."""
    if chunk.response_id is None or chunk.model_id is None:
        return False
    output = mappings(mapping(chunk.raw.get("response")).get("output"))
    return bool(output) and not any(map(lacking, output))
