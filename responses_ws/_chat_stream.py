"""One running question to a chat: every response on the way to its answer, as one stream."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

from responses_ws.errors import (
    ConcurrencyError,
    ConnectionError,
    Delivery,
    ResponseCancelled,
    ResponsesWSError,
    bare,
)
from responses_ws.messages import Chunk, Message, Steer, check_seconds

if TYPE_CHECKING:
    from responses_ws._source import Cancellable
    from responses_ws.stream import ResponseStream

__all__ = ["ChatStream", "Turn"]

SILENCE = (None,)
CANCELLED = "the chat was cancelled"


class Turn:
    """The use of a chat by one thread, from its start to its end. Nothing here takes a lock.

    :param wake: wakes what waits for tools.
    :ivar response: the response that is running, or None.
    :ivar stream: gives the stream that the turn is read from, or None.
    :ivar heartbeat: seconds of silence after which the thread wants to be let out for a moment, or None.
    :ivar over: another thread may use the chat.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.response: ResponseStream | None = None
        self.stream: Callable[[], ChatStream | None] = lambda: None
        self.heartbeat: float | None = None
        self.cancelled = False
        self.over = False
        self._wake = wake
        self._running: Cancellable | None = None

    def follow(self, response: ResponseStream) -> None:
        """A response begins; it has not connected yet."""
        self.response = response
        self.hold(response)

    def hold(self, running: Cancellable) -> None:
        """A request begins, which ends with this turn."""
        self._running = running
        if self.cancelled:
            running.cancel()

    def rest(self) -> None:
        """Nothing is running for now."""
        self.response = self._running = None

    def cancel(self) -> None:
        """End it: the thread that waits gets :class:`ResponseCancelled`. From any thread."""
        self.cancelled = True
        if not self.over:
            self._wake()
            self._leave()

    def check(self) -> None:
        """Raise :class:`ResponseCancelled` when it was cancelled."""
        if self.cancelled:
            raise ResponseCancelled(CANCELLED)

    def end(self) -> None:
        """Give the chat free, and leave what still runs. Safe in a finalizer, and any number of times."""
        self.over = True  # first, for an interrupt may end what follows
        self._leave()

    def _leave(self) -> None:
        running = self._running
        if running is not None:
            running.cancel()


class ChatStream:
    """A running question: iterate over it for its chunks, or ask for its ``message``.

    The chunks are those of every response on the way; tools run between two responses. Leaving early, in any
    way, abandons the response that is running and gives the chat free: completed steps stay in its history.

    One thread iterates; :meth:`cancel` and :meth:`close` may be called from any thread.
    """

    def __init__(self, rounds: Generator[Chunk | None, None, Message], turn: Turn) -> None:
        self._rounds: Generator[Chunk | None, None, Message] | None = rounds
        self._turn = turn
        # Held by the thread that is in the rounds; leaving never waits for it.
        self._inside = threading.Lock()
        self._pid = os.getpid()
        self._reader: threading.Thread | None = None
        self._left: ResponseStream | None = None
        self._message: Message | None = None
        self._error: ResponsesWSError | None = None
        self._left_by: threading.Thread | None = None
        turn.stream = weakref.ref(self)
        if turn.cancelled:  # by somebody who may have found no stream yet that he could close
            raise _cancelled(turn.response)

    def __iter__(self) -> Iterator[Chunk]:
        """The chunks that were not seen yet. Leaving the loop abandons the rest.

        Raises what :meth:`Chat.ask` raises.
        """
        return self.chunks()

    @overload
    def chunks(self, *, heartbeat: None = None) -> Iterator[Chunk]: ...

    @overload
    def chunks(self, *, heartbeat: float) -> Iterator[Chunk | None]: ...

    def chunks(self, *, heartbeat: float | None = None) -> Iterator[Chunk | None]:
        """The chunks that were not seen yet, and None whenever there was none for a while.

        See :meth:`ResponseStream.chunks`. Tools that run are silence too; connecting and the hook that
        approves calls are not interrupted by it.

        :param heartbeat: seconds of silence before each None; None never gives one, as iterating does.

        Raises what iterating raises; :class:`ConfigurationError` for a heartbeat that cannot be waited.
        """
        return self._chunks(check_seconds("heartbeat", heartbeat))

    def _chunks(self, heartbeat: float | None) -> Iterator[Chunk | None]:
        try:
            self._check()
            self._check_process()
            self._turn.heartbeat = heartbeat
            while found := self._next():
                if found != SILENCE or heartbeat is not None:  # another loop may have wanted it
                    yield from found
        except ResponsesWSError as error:
            self._error = bare(error)
            raise
        finally:
            try:
                self.close()
            except BaseException:  # an interrupt, of which a finalizer tells nobody who could close again
                self.close()
                raise

    @property
    def text(self) -> Iterator[str]:
        """The pieces of text as they come, of every response. Leaving the loop abandons the rest."""
        return (chunk.content for chunk in self if chunk.content)

    @property
    def message(self) -> Message:
        """The answer after the last tool, waiting for it. Raises what iterating raises."""
        for _ in self:
            pass
        if self._message is None:
            raise _cancelled(self._left)
        return self._message

    def run(self, on_chunk: Callable[[Chunk], object] | None = None) -> Message:
        """Go on to the end, showing each chunk to ``on_chunk``; the answer after the last tool."""
        with self:
            for chunk in self:
                if on_chunk is not None:
                    on_chunk(chunk)
            return self.message

    def steer(self, input: str | Sequence[Mapping[str, Any]]) -> Steer:
        """Give the response that is running more input; see :meth:`ResponseStream.steer`. From any thread.

        Raises :class:`ConnectionError` while none is running, and what that method raises.
        """
        response = self._turn.response
        if response is None:
            raise ConnectionError("steer: no response is running")
        return response.steer(input)

    def cancel(self) -> None:
        """Stop, if it is not over. Another thread that waits gets :class:`ResponseCancelled`; in the thread
        that iterates, the loop ends.
        """
        if self._message is not None:
            return
        # First: another thread that sees that it was left asks how far this had come.
        self._left = self._left or self._turn.response
        self._left_by = self._left_by or threading.current_thread()
        self._turn.cancel()
        if self._inside.locked():
            return  # the thread that is inside notices
        try:
            with self._inside:  # free by now: who comes in meanwhile sees that it was left, and goes out
                if self._rounds is not None:
                    self._rounds.close()
                self._rounds = None  # CPython keeps all that one holds which was closed before it began
        finally:
            self._turn.end()

    def close(self) -> None:
        """The same. Returns at once, raises nothing, may be called again."""
        self.cancel()

    def __enter__(self) -> ChatStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_left_by", self) is None:
            self.close()

    def __repr__(self) -> str:
        state = "completed" if self._message is not None else "closed" if self._left_by else "running"
        return f"<ChatStream {state}>"

    def _next(self) -> tuple[Chunk | None, ...]:
        """The next chunk; nothing after the last, and when this thread has left."""
        if self._reader is threading.current_thread() and self._inside.locked():
            raise ConcurrencyError("the stream cannot be read by what it calls, such as approve")
        with self._inside:
            try:
                self._reader = threading.current_thread()
                if self._is_over() or self._rounds is None:  # asked in here: another may leave at any moment
                    return ()
                return (next(self._rounds),)
            except StopIteration as end:
                self._turn.end()
                self._message = end.value  # last: with a message there is nothing to close
                return ()
            finally:
                self._reader = None

    def _is_over(self) -> bool:
        if self._left_by is threading.current_thread():
            return True
        self._check()
        return self._message is not None

    def _check_process(self) -> None:
        """In a forked child the thread that reads is not there, and will never come out."""
        if self._pid != os.getpid() and self._inside.locked():
            raise ConnectionError("another process reads the stream", delivery=Delivery.UNKNOWN)

    def _check(self) -> None:
        """Raise what it failed with, or that another thread has left it."""
        if self._error is not None:
            raise bare(self._error)
        if self._left_by is not None and self._message is None:
            raise _cancelled(self._left)


def _cancelled(response: ResponseStream | None) -> ResponseCancelled:
    """That the chat was cancelled, with what is known of the response that was running, if one was."""
    if response is None:
        return ResponseCancelled(CANCELLED)
    response.cancel()  # the thread that leaves may not have come so far
    try:
        message = response.message
    except ResponsesWSError as error:
        return ResponseCancelled(
            CANCELLED, delivery=error.delivery, partial=error.partial, response_id=error.response_id
        )
    return ResponseCancelled(
        CANCELLED, delivery=Delivery.STARTED, partial=message, response_id=message.response_id
    )
