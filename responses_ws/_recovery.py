"""One response that survives what can be survived: a source that may begin again before its first event."""

from __future__ import annotations

import logging
import random
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from responses_ws._breakers import Guard
from responses_ws._call import Call
from responses_ws._core.continuation import Form, Place, Request
from responses_ws._core.events import Event
from responses_ws._core.failures import parse_error, response_error
from responses_ws._core.request import stores
from responses_ws._core.retry import Attempt, Decision, Next, Retry, acts_on_its_own, decide, worse
from responses_ws._core.steered import Steered
from responses_ws._http_route import HttpRoute
from responses_ws._line import Sockets
from responses_ws._settings import Settings
from responses_ws._source import Batch, End, Source
from responses_ws._transport.deadline import Deadline, overdue
from responses_ws._transport.mailbox import WOKEN, Mailbox, Mark, wait_for
from responses_ws._usage import Ticket
from responses_ws.errors import (
    ConfigurationError,
    ConnectionError,
    ContinuationLost,
    Delivery,
    PreviousResponseNotFound,
    ResponseCancelled,
    ResponsesWSError,
    with_context,
)
from responses_ws.messages import Message, Steer
from responses_ws.stream import ResponseStream

__all__ = ["Recovery", "Routes", "TransportName", "Turn"]

logger = logging.getLogger("responses_ws")

TransportName = Literal["auto", "websocket", "http"]

NOT_FOUND = "previous_response_not_found"
UNFINISHED = frozenset({"queued", "in_progress"})


class Turn(Protocol):
    """A request of a conversation, in whatever form it has to travel; see :class:`Step`."""

    @property
    def fields(self) -> Mapping[str, Any]: ...

    @property
    def ours(self) -> bool: ...

    def request(self, place: Place | None, form: Form) -> Request: ...

    def lost(self) -> None: ...

    def completed(
        self, response_id: str | None, output: Iterable[dict[str, Any]], place: Place | None
    ) -> None: ...

    def stopped(self, output: Iterable[dict[str, Any]]) -> None: ...

    def add(self, items: Iterable[dict[str, Any]], /) -> None: ...


@dataclass(frozen=True, slots=True)
class Routes:
    """The ways to the service that a session has.

    :ivar ticket: a new account for a request that leaves.
    """

    settings: Settings
    line: Sockets
    http: HttpRoute
    guard: Guard
    ticket: Callable[[Source], Ticket]


class Recovery:
    """The source of one logical response; what :func:`decide` allows happens inside of ``next``.

    While no event of the response was seen another request may be made, after a pause, on another connection,
    over HTTP, or with the whole input. ``next`` never pauses longer than it was told to wait; connecting has
    its own limit.
    """

    def __init__(
        self, turn: Turn, routes: Routes, policy: Retry, transport: TransportName, deadline: Deadline
    ) -> None:
        self._turn = turn
        self._routes = routes
        self._policy = policy
        self._wanted = transport
        self._deadline = deadline
        self._began = time.monotonic()
        self._http = transport == "http"
        self._form = Form.SHORTEST
        self._done: frozenset[Next] = frozenset()
        self._retries = 0
        self._worst = Delivery.NOT_SENT
        self._source: Source | None = None
        self._place: Place | None = None
        self._request: Request | None = None
        self._lane: str | None = None
        self._ticket: Ticket | None = None
        self._pause: Deadline | None = None
        self._woken: Mailbox[Mark] = Mailbox()
        self._launching = False
        self._waiting: Call | None = None
        self._steered = Steered()
        self._answers: Callable[[], tuple[Message, ...]] = tuple
        self.cancelled = False

    # -- the source

    @property
    def transport(self) -> str:
        return "http" if self._http else "websocket"

    @property
    def delivery(self) -> Delivery:
        return self._worst if self._source is None else worse(self._worst, self._source.delivery)

    @property
    def last_event_at(self) -> float:
        """A pause is no silence of the service."""
        return time.monotonic() if self._source is None else self._source.last_event_at

    def next(self, seconds: float | None) -> Batch | End | None:
        if self._source is None:
            return self._go_on(seconds)
        found = self._source.next(seconds)
        if found is None:
            return None
        error = _failure(found, self._source)
        if error is not None:
            terminal = found.terminal if isinstance(found, Batch) else None
            return self._failed(error, terminal)
        if isinstance(found, Batch) and found.terminal is not None:
            failure = parse_error(found.terminal)
            if failure is not None and failure.code == NOT_FOUND:
                self._turn.lost()  # it is too late to ask again, but the next step must not name it either
            self._settle(found.terminal)
            if not self._http:
                self._routes.guard.worked()
        return found

    def abandon(self) -> None:
        self.cancelled = True
        self._woken.put(WOKEN)
        source, waiting = self._source, self._waiting
        if source is not None:
            source.abandon()
        elif self._launching:
            if waiting is not None:
                waiting.cancel()
            self._routes.line.interrupt()

    # -- the session's side

    def start(self) -> None:
        """Go on until a request has left. Raises what cannot be recovered from."""
        while True:
            found = self._go_on(self._deadline.remaining())
            if isinstance(found, End):
                raise with_context(found.cause, delivery=found.delivery)
            if self.cancelled:
                raise ResponseCancelled("the response was cancelled", delivery=self.delivery)
            if self._source is not None:
                return
            if self._deadline.expired:
                raise overdue(self._deadline, delivery=self.delivery)

    def follow(self, stream: ResponseStream) -> None:
        """This is the stream whose source it is."""
        following = weakref.ref(stream)
        self._answers = lambda: () if (found := following()) is None else found.superseded

    def steer(self, input: str | Sequence[Mapping[str, Any]]) -> Steer:
        """Give the running response more input; see :meth:`ResponseStream.steer`."""
        call = self._source
        if not isinstance(call, Call):
            raise ConfigurationError("steer: only a response over a WebSocket can be steered")
        # Noted before it leaves: the thread that reads may come to the end of the successor before this one
        # goes on.
        return self._routes.line.steer(
            call, input, lambda target, steer: self._steered.add(target, input, steer)
        )

    def completed(self, message: Message) -> None:
        """The stream has come to the end of a response that can be continued, or runs in the background."""
        if message.status in UNFINISHED and self._turn.fields.get("background"):
            return
        output = [*self._said_before(message), *message.output]
        self._turn.completed(message.response_id, output, self._place)
        waiting = self._steered.waiting_after(message)
        if waiting:
            # The service would add it to whatever continues the response. A new chain brings it itself, so
            # that the history here is the service's.
            self._turn.add(waiting)

    def stopped(self, message: Message) -> None:
        """The stream has come to the end of an incomplete response."""
        self._turn.stopped([*self._said_before(message), *message.output])

    def _said_before(self, message: Message) -> list[dict[str, Any]]:
        return self._steered.said_before(message, self._answers())

    # -- attempts

    def _go_on(self, seconds: float | None) -> End | None:
        """Make the next request, after the pause before it."""
        if self._pause is not None:
            wait_for(self._woken, self._pause.remaining(seconds))
            if not self._pause.expired:
                return None
            self._pause = None
        if self.cancelled:
            return None
        try:
            self._launch()
        except ResponsesWSError as error:
            if error.delivery is Delivery.NOT_SENT and self._ticket is not None:
                self._ticket.void()
            return self._failed(error, None)
        return None

    def _launch(self) -> None:
        if self._goes_over_http():
            self._launch_over_http()
            return
        self._launching = True
        try:
            self._source, self._place = self._routes.line.send(
                self._compose, self._deadline, self._waits_in, self._leaves_on, lambda: self.cancelled
            )
        except BaseException:
            if self._waiting is not None:
                self._waiting.abandon()  # an interrupt may come with the return, and nobody else knows of it
            raise
        finally:
            self._launching, self._waiting = False, None
        if self.cancelled:
            self._source.abandon()

    def _launch_over_http(self) -> None:
        if self._warmup:
            raise ConfigurationError("generate: only a WebSocket can be warmed up")
        request = self._request = self._turn.request(None, self._form)
        call = self._source = self._routes.http.call(request.payload, self._deadline)
        if self.cancelled:
            return
        self._leaves(call)
        try:
            call.start()
        except BaseException:
            self._source = None
            call.abandon()
            raise

    def _goes_over_http(self) -> bool:
        """An open socket is used; whether a new one may be tried is the breaker's word."""
        if self._may_fall_back():
            background = bool(self._turn.fields.get("background"))
            self._http = background or not (self._routes.line.ready or self._routes.guard.lets_try())
        return self._http

    def _may_fall_back(self) -> bool:
        return self._wanted == "auto" and not self._http and not self._warmup

    @property
    def _warmup(self) -> bool:
        """Over HTTP it would be a real request."""
        return self._turn.fields.get("generate") is False

    def _compose(self, place: Place | None, lane: str | None = None) -> bytes:
        request = self._request = self._turn.request(place, self._form)
        self._lane = lane
        payload = request.payload if lane is None else {**request.payload, "stream_id": lane}
        return self._routes.settings.encode(payload)

    def _waits_in(self, call: Call) -> None:
        """From here on ``abandon`` ends its waiting; one that came before did not know of it."""
        self._waiting = call
        if self.cancelled:
            call.cancel()

    def _leaves_on(self, call: Call) -> None:
        if self._request is not None:
            call.parent = self._request.payload.get("previous_response_id")
            call.stored = stores(self._request.payload)
        self._leaves(call)

    def _leaves(self, source: Source) -> None:
        self._ticket = self._routes.ticket(source)

    # -- failures

    def _failed(self, error: ResponsesWSError, terminal: Event | None) -> End | None:
        """Decide about a failure: None when another request will be made."""
        self._settle(terminal, rejected=error.delivery is Delivery.REJECTED)
        decision = decide(self._policy, error, self._attempt(), random.random)
        self._note(error, decision)
        if isinstance(error, PreviousResponseNotFound):
            self._turn.lost()  # also when nothing is sent again: the next step must not name it either
        delivery = self._worst = worse(self._worst, error.delivery)
        if self.cancelled:
            return None  # which the stream knows how to say
        if decision.next is Next.RAISE:
            return End(self._final(error), delivery)
        logger.info("a request failed (%s) and is made %s", type(error).__name__, decision.next.value)
        if isinstance(error, ConnectionError) and self._source is not None:
            self._source.abandon()  # its connection is not used again
        self._apply(decision)
        return None

    def _attempt(self) -> Attempt:
        """What is known at this moment, for the decision."""
        request = self._request
        return Attempt(
            retries=self._retries,
            seconds_left=self._deadline.remaining(),
            elapsed=time.monotonic() - self._began,
            reused=not self._http and self._routes.line.reused,
            fallback=self._may_fall_back(),
            ours=self._turn.ours,
            continued=request is not None and request.continued,
            acting=acts_on_its_own(self._turn.fields),
            on_lane=not self._http and self._lane is not None,
            done=self._done,
        )

    def _note(self, error: ResponsesWSError, decision: Decision) -> None:
        """Tell the breaker of a lost socket. Closed at rest or by this side it says nothing."""
        if not (self._http or self.cancelled or self._routes.line.closed or decision.next is Next.RECONNECT):
            self._routes.guard.failed(error)

    def _apply(self, decision: Decision) -> None:
        self._source = self._place = None
        self._done |= {decision.next}
        if decision.counted:
            self._retries += 1
            self._pause = Deadline(decision.pause)
        if decision.next is Next.HTTP:
            self._http = True
        elif decision.next is Next.FULL:
            self._form = Form.WHOLE
        elif decision.next is Next.WITHOUT_LANE:
            self._routes.line.forgo_lanes()
        elif decision.next is Next.WITHOUT_REASONING:
            self._form = Form.WITHOUT_REASONING

    def _final(self, error: ResponsesWSError) -> ResponsesWSError:
        """The error as the caller gets it."""
        if isinstance(error, PreviousResponseNotFound) and not self._turn.ours:
            error = _nothing_to_rebuild_from(error, self._turn.fields)
        if self._retries and error.delivery is not Delivery.STARTED:
            error = with_context(error)
            error.message = f"{error.message} (asked {self._retries + 1} times)"
        return error

    def _settle(self, terminal: Event | None, *, rejected: bool = False) -> None:
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            superseded = self._source.superseded if isinstance(self._source, Call) else ()
            ticket.settle(terminal, superseded, rejected=rejected)


def _failure(found: Batch | End, source: Source) -> ResponsesWSError | None:
    """The error that a source has come to, as far as something may still be done about it.

    What fails once a response has begun is the stream's to raise, with what was received.
    """
    if isinstance(found, End):
        return with_context(found.cause, delivery=found.delivery)
    if found.terminal is None or source.delivery is not Delivery.REJECTED:
        return None
    error = parse_error(found.terminal)
    return None if error is None else response_error(error, delivery=Delivery.REJECTED)


def _nothing_to_rebuild_from(error: PreviousResponseNotFound, payload: Mapping[str, Any]) -> ContinuationLost:
    """The caller named the response himself, so that its history is not here."""
    fields = {name: getattr(error, name) for name in error._fields}
    lost = ContinuationLost(error.message, **fields, last_response_id=payload.get("previous_response_id"))
    lost.__cause__ = error
    return lost
