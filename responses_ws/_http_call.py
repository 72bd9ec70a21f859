"""A response over HTTP: the events of one exchange, pulled by the thread that wants them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from responses_ws._core.events import Event, event_type, starts_response, terminal_status
from responses_ws._core.failures import parse_error, response_error
from responses_ws._core.fields import text
from responses_ws._core.parser import parse
from responses_ws._core.sse import EventStreamParser
from responses_ws._source import Batch, End
from responses_ws._transport.deadline import Deadline
from responses_ws.errors import ConnectionLost, Delivery, ProtocolError, ResponsesWSError

if TYPE_CHECKING:
    from responses_ws._transport.http_exchange import Exchange

__all__ = ["HttpCall", "as_event", "check_success"]

SETTLE_SECONDS = 0.05
"""Less than a new connection costs."""


class HttpCall:
    """A request with its answer: the :class:`Source` of a response over HTTP.

    :meth:`start` and :meth:`next` belong to one thread, :meth:`abandon` and :meth:`drop` to any. Whoever ends
    it shuts the socket down. It is closed by the thread that is inside of it, when that leaves, else by the
    one that ended it: of the flags ``_ended`` and ``_inside`` each side changes its own and then looks at the
    other's, so that at least one of them sees both.

    :ivar last_event_at: when there was last an event, or when it was sent (monotonic seconds).
    :ivar cancelled: its caller wants no more.
    :ivar over: nothing more will come.
    """

    transport = "http"

    def __init__(self, exchange: Exchange, url: str, *, max_message_bytes: int | None) -> None:
        self.last_event_at = time.monotonic()
        self.cancelled = False
        self.over = False
        self._exchange = exchange
        self._url = url
        self._max_message_bytes = max_message_bytes
        self._parser = EventStreamParser(max_message_bytes, exchange.secrets)
        self._streamed = True
        self._known: Delivery | None = None
        self._end: End | None = None
        self._late = False
        self._inside = False
        self._ended = False

    @property
    def delivery(self) -> Delivery:
        """How far the request is known to have come."""
        return self._known or self._exchange.delivery

    def start(self) -> None:
        """Send the request, and wait for the head of the answer.

        Raises what kept it from being sent. What goes wrong later, :meth:`next` brings.
        """
        self._inside = True
        try:
            self._exchange.open("POST", self._url)
            self._check_kind()
        except ResponsesWSError as error:
            if error.delivery is Delivery.NOT_SENT:
                raise
            self._end_with(error)
        finally:
            self.last_event_at = self._exchange.sent_at or self.last_event_at
            self._leave()

    def _check_kind(self) -> None:
        """What the answer is: an event stream or, when no stream was asked for or none is to be had, JSON."""
        kind = self._exchange.headers.get("content-type", "").partition(";")[0].strip().lower()
        coding = self._exchange.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("", "identity"):
            raise ProtocolError(
                "the server compressed its answer, which was not asked for", **self._context()
            )
        if kind.endswith("html"):
            raise ProtocolError(f"the server's answer is {kind}, no event stream", **self._context())
        self._streamed = not kind.endswith("json")

    def next(self, seconds: float | None) -> Batch | End | None:
        """The events that come next; see :class:`Source`."""
        self._inside = True
        try:
            found = None if self.cancelled else self._next(Deadline(seconds))
            # Whoever left it has broken its connection, which is no loss.
            return None if self.cancelled else found
        finally:
            self._leave()

    def _next(self, deadline: Deadline) -> Batch | End | None:
        while self._end is None and not self._late:
            try:
                batch = self._read(deadline)
            except ResponsesWSError as error:
                self._end_with(error)
                continue
            if batch is None or batch.terminal:
                return batch
            self._late = self._exchange.overdue  # which events without end would hide
            if batch.events:
                return batch
            if deadline.expired and self._end is None:  # comments, as fast as they can be read
                return None
        if self._end is not None:
            self.over = True
        return self._end

    def _read(self, deadline: Deadline) -> Batch | None:
        if not self._streamed:
            body = self._exchange.gather(deadline.remaining(), self._max_message_bytes)
            return None if body is None else self._batch([body], len(body))
        data = self._exchange.read(deadline.remaining())
        if data is None:
            return None
        payloads = self._parser.feed(data)
        batch = self._batch(payloads, len(data))
        failure = self._parser.failure
        if failure is not None:
            self._end_with(failure)
        elif self._parser.done or not data:
            self._end_with(ConnectionLost("the answer ended before the response did"))
        return batch

    def _batch(self, payloads: list[bytes], size: int) -> Batch:
        events: list[Event] = []
        for payload in payloads:
            try:
                event = parse(payload) if self._streamed else as_event(parse(payload))
            except ProtocolError as error:
                self._end_with(error)
                break
            status = terminal_status(event)
            if self._known is None and status != "error" and starts_response(event_type(event)):
                self._known = Delivery.STARTED
            if status is not None:
                return self._last(events, event, size)
            events.append(event)
        if events:
            self.last_event_at = time.monotonic()
        return Batch(events, None, size)

    def _last(self, events: list[Event], terminal: Event, size: int) -> Batch:
        self.last_event_at = time.monotonic()
        self._exchange.release()
        self.over = True
        error = parse_error(terminal) if terminal_status(terminal) == "error" else None
        if error is None:
            return Batch(events, terminal, size)
        # Raised from here, where the request's id is known.
        if self._known is None:
            self._known = Delivery.REJECTED
        self._end_with(response_error(error, request_id=self._exchange.request_id))
        return Batch(events, None, size)

    # -- the end

    def abandon(self) -> None:
        """Leave the response, and wake the thread that waits for it. Takes no lock."""
        self.cancelled = True
        self.drop()

    def drop(self) -> None:
        """End the connection; who waits for the response finds it lost. Takes no lock."""
        self.over = self._ended = True
        self._exchange.abort()
        if not self._inside:
            self._exchange.close()

    def settle(self) -> None:
        """Once it is over: give the connection back, unless the rest of the answer lets wait for itself."""
        if not self._ended:
            self._exchange.settle(SETTLE_SECONDS)

    def _leave(self) -> None:
        self._inside = False
        if self._ended:
            self._exchange.close()

    def _end_with(self, error: ResponsesWSError) -> None:
        if self._end is None:
            self._end = End(error.with_traceback(None), self.delivery)

    def _context(self) -> dict[str, Any]:
        return {"delivery": self.delivery, "request_id": self._exchange.request_id}


def as_event(answer: Event) -> Event:
    """A response, or an error, that came as JSON, as the event that ends its stream.

    Raises :class:`ProtocolError` for anything else.
    """
    if _is_response(answer):
        return {"type": "response.completed", "response": answer}
    if answer.get("error"):
        return {**answer, "type": "error"}
    raise ProtocolError("the server's answer is JSON but no response")


def check_success(answer: Event) -> None:
    """Raise the error that came as JSON with a status of success, as some gateways send it."""
    if _is_response(answer) or not answer.get("error"):
        return
    error = parse_error(as_event(answer))
    if error is not None:
        raise response_error(error, delivery=Delivery.REJECTED)


def _is_response(answer: Event) -> bool:
    return bool(text(answer.get("status")) and text(answer.get("id")))
