"""One running response, from the caller's side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeAlias, cast, overload

from responses_ws._core.events import Event, terminal_status
from responses_ws._core.failures import parse_error, response_error
from responses_ws._deferring import DeferringAccumulator
from responses_ws._source import Batch, End, Source
from responses_ws._transport.deadline import Deadline, overdue
from responses_ws.errors import (
    ConfigurationError,
    Delivery,
    ResponseCancelled,
    ResponsesWSError,
    ResponseTimeout,
    bare,
    with_context,
)
from responses_ws.messages import Chunk, Message, Steer, check_seconds
from responses_ws.streaming import build_chunk

__all__ = ["ResponseStream"]

Input: TypeAlias = "str | Sequence[Mapping[str, Any]]"


class ResponseStream:
    """A running response: iterate over it for its chunks, or ask for its ``message``.

    Leaving it early, in any way (``break``, an exception, ``close()``, Ctrl-C, a timeout, dropping the last
    reference), abandons the response. The service may go on generating: over a socket what still comes is
    thrown away in the background, over HTTP the connection is closed. Nothing of it reaches a later request.

    One thread iterates; :meth:`cancel` and :meth:`close` may be called from any thread.
    """

    def __init__(
        self,
        source: Source,
        *,
        deadline: Deadline,
        response_timeout: float | None,
        completed: Callable[[Message], None],
        owner: object,
        steer: Callable[[Input], Steer] | None = None,
        stopped: Callable[[Message], None] | None = None,
    ) -> None:
        self._source = source
        self._deadline = deadline
        self._response_timeout = response_timeout
        self._completed = completed
        self._stopped = stopped
        # A connection that is only reachable through this stream must live until the stream is over.
        self._owner: object = owner
        self._steer = steer
        self._accumulator = DeferringAccumulator()
        self._events: Iterator[Event] = iter(())
        self._terminal: Event | None = None
        self._message: Message | None = None
        self._error: ResponsesWSError | None = None
        self._left_by: threading.Thread | None = None

    def __iter__(self) -> Iterator[Chunk]:
        """The chunks that were not seen yet. Leaving the loop abandons the response.

        Raises :class:`ResponseError` when the service fails the response, :class:`ConnectionLost` when the
        connection ends before it, :class:`ResponseTimeout` when a clock runs out, and
        :class:`ResponseCancelled` after :meth:`cancel` or :meth:`close`, and when the service says that the
        response was cancelled. Each carries ``partial``.
        """
        return cast("Iterator[Chunk]", self._chunks(None))

    @overload
    def chunks(self, *, heartbeat: None = None) -> Iterator[Chunk]: ...

    @overload
    def chunks(self, *, heartbeat: float) -> Iterator[Chunk | None]: ...

    def chunks(self, *, heartbeat: float | None = None) -> Iterator[Chunk | None]:
        """The chunks that were not seen yet, and None whenever there was none for a while.

        For a caller who has something to do meanwhile, such as to see whether its own client is still there.
        What is between two responses (a pause before another attempt) is silence too.

        :param heartbeat: seconds of silence before each None; None never gives one, as iterating does.

        Raises what iterating raises; :class:`ConfigurationError` for a heartbeat that cannot be waited.
        """
        return self._chunks(check_seconds("heartbeat", heartbeat))

    def _chunks(self, heartbeat: float | None) -> Iterator[Chunk | None]:
        source, accumulator = self._source, self._accumulator
        silence = Deadline(heartbeat)
        try:
            self._check_not_left()
            while True:
                add = accumulator.add if self._terminal is None else accumulator.before(self._terminal)
                for event in self._events:
                    chunk = build_chunk(event)
                    add(chunk)
                    yield chunk
                    if source.cancelled:
                        break
                if self._is_over():
                    return
                if self._terminal is not None:
                    yield self._finish(self._terminal)
                    return
                if not self._fetch(silence):
                    if not silence.expired:
                        continue
                    yield None
                if heartbeat is not None:
                    silence = Deadline(heartbeat)
        except ResponsesWSError as error:
            self._error = bare(error)
            raise
        finally:
            if self._message is None:
                self._source.abandon()
            self._owner = None

    @property
    def text(self) -> Iterator[str]:
        """The pieces of the answer's text as they come. Leaving the loop abandons the response."""
        return (chunk.content for chunk in self if chunk.content)

    @property
    def message(self) -> Message:
        """The whole answer, waiting for the rest of it. Raises what iterating raises."""
        if self._message is None:
            for _ in self:
                pass
        if self._message is None:
            raise ResponseCancelled("the response was cancelled", **self._context())
        return self._message

    def run(self, on_chunk: Callable[[Chunk], object] | None = None) -> Message:
        """Go on to the end, showing each chunk to ``on_chunk``; the whole answer."""
        with self:
            for chunk in self:
                if on_chunk is not None:
                    on_chunk(chunk)
            return self.message

    @property
    def superseded(self) -> tuple[Message, ...]:
        """The answers of this stream that a steer brought to their end, in order; see :meth:`steer`."""
        return tuple(self._accumulator.superseded)

    def steer(self, input: Input) -> Steer:
        """Give the running response more input: a text, or user messages. From any thread.

        The service ends the response early (``incomplete``, for the reason ``steered``) or lets it end, and
        begins its successor by itself. Both are this stream: its chunks go on with the successor's, and
        ``message`` is the last answer. The :class:`Steer` that is returned tells what the service says of the
        input, as soon as the connection has received it; when it refuses the input the response goes on.
        When it first wants outputs of tools (``pending``) the stream ends, and the service adds the input to
        the request that brings them. See the API's guide "Steering".

        Raises :class:`ConfigurationError` for bad input and for a service that has no steering,
        :class:`ConnectionError` when the response has not begun or is over, and :class:`ConnectionLost`.
        """
        if self._steer is None:
            raise ConfigurationError("steer: only a response over a WebSocket can be steered")
        return self._steer(input)

    def cancel(self) -> None:
        """Stop the response, if it is not over. Another thread that waits for it gets
        :class:`ResponseCancelled`; in the thread that iterates, the loop ends.

        The service has no event for it, so it may go on generating; over a socket what still comes is thrown
        away, over HTTP the connection is closed.
        """
        if self._message is None:
            self._left_by = self._left_by or threading.current_thread()
            self._source.abandon()
            self._owner = None

    def close(self) -> None:
        """The same. Returns at once, raises nothing, may be called again."""
        self.cancel()

    def __enter__(self) -> ResponseStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_message", self) is None:
            self._source.abandon()

    def __reduce__(self) -> str:
        raise TypeError("a ResponseStream cannot be copied or pickled: it is read from a connection")

    def __repr__(self) -> str:
        state = (
            "completed" if self._message is not None else "closed" if self._source.cancelled else "running"
        )
        return f"<ResponseStream {state}>"

    # -- the next events

    def _fetch(self, silence: Deadline) -> bool:
        """Wait for the next events, until a clock runs out or it was silent so long; whether any came."""
        found = self._source.next(silence.remaining(self._patience()))
        if isinstance(found, Batch):
            self._events = iter(found.events)
            self._terminal = found.terminal
            return True
        if isinstance(found, End):
            self._settle_superseded()
            raise with_context(found.cause, **(self._context() | {"delivery": found.delivery}))
        self._check_clocks()
        return False

    def _patience(self) -> float | None:
        """Seconds until the first of the clocks runs out."""
        if self._response_timeout is None:
            return self._deadline.remaining()
        silence = time.monotonic() - self._source.last_event_at
        return self._deadline.remaining(max(0.0, self._response_timeout - silence))

    def _check_clocks(self) -> None:
        if self._deadline.expired:
            raise overdue(self._deadline, **self._context())
        seconds = self._response_timeout
        if seconds is not None and time.monotonic() - self._source.last_event_at >= seconds:
            raise ResponseTimeout(
                f"no event of the response for {seconds:g} seconds (response_timeout)",
                clock="response_timeout",
                seconds=seconds,
                **self._context(),
            )

    # -- the end

    def _finish(self, terminal: Event) -> Chunk:
        """The terminal event as the last chunk, or as the error that it is."""
        self._settle_superseded()
        error = parse_error(terminal)
        if error is not None and terminal_status(terminal) == "error":
            raise response_error(error, **self._context())
        chunk = build_chunk(terminal)
        self._accumulator.conclude(chunk)
        if error is not None:
            raise response_error(error, **self._context())
        message = self._message_so_far()
        if message.status == "cancelled":
            raise ResponseCancelled("the service cancelled the response", **self._context())
        if message.status not in ("incomplete", "failed"):
            self._completed(message)
        elif message.status == "incomplete" and self._stopped is not None:
            self._stopped(message)
        self._message = message
        return chunk

    def _settle_superseded(self) -> None:
        """An answer that was whole moves the chain on, whatever comes of its successor."""
        for message in self._accumulator.superseded:
            if message.status == "completed":
                self._completed(message)

    def _is_over(self) -> bool:
        """Whether it has ended, or this thread has left it. Raises when it failed, or another one left."""
        left_by = self._left_by
        if left_by is not None and left_by is threading.current_thread() and self._error is None:
            return True
        self._check_not_left()
        return self._message is not None

    def _check_not_left(self) -> None:
        """Raise what the response failed with, or that it was left before its end."""
        if self._error is not None:
            raise bare(self._error)
        if self._source.cancelled and self._message is None:
            raise ResponseCancelled("the response was cancelled", **self._context())

    def _message_so_far(self) -> Message:
        message = self._accumulator.to_message()
        message.transport = self._source.transport
        return message

    def _context(self) -> dict[str, Any]:
        """What every error of this response carries."""
        partial = self._message_so_far() if self._source.delivery is Delivery.STARTED else None
        return {
            "delivery": self._source.delivery,
            "partial": partial,
            "response_id": None if partial is None else partial.response_id,
        }
