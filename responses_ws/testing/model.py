"""A model that answers like the service, as a pure generator of events."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from responses_ws.testing.model_events import (
    Event,
    complete_item,
    error_event,
    flat_error,
    lifecycle_event,
    new_id,
    output_events,
    response_object,
    usage,
)
from responses_ws.testing.model_input import check_calls
from responses_ws.testing.model_memory import Failure, Made, ModelConnection
from responses_ws.testing.model_refusals import Refusal, invalid, json_object, not_found
from responses_ws.testing.model_reply import (
    Item,
    Reply,
    as_items,
    default_reply,
    items_of,
    limit_words,
)
from responses_ws.testing.model_requests import check_compaction, check_request

__all__ = ["Model"]

WARMUPS = ("created", "completed", "unsupported", "generate")
MOMENTS = ("start", "created", "delta")
ERROR_SHAPES = ("wrapped", "flat")
MAX_LANES = 32
AGE_LIMIT = "Responses websocket connection limit reached. Open a new connection to go on."


class Model:
    """Answers ``response.create`` like the service, over WebSocket and over HTTP.

    What was stored lives in the model, so that several connections and servers can share one; what the
    service keeps with a connection lives in the :class:`ModelConnection` that :meth:`connect` gives. All
    methods may be called from any thread; requests of one connection must come one after the other.

    It refuses what is known to be refused, with the service's codes: fields of a wrong type, items and tools
    without what they need, calls without their outputs. It steers nothing, and a ``prompt`` or a
    ``conversation`` that is kept at the service adds nothing to what it sees.

    :param reply: what to say, a function of the visible history (the items) and the request; see
        :func:`default_reply`. It returns a text or output items.
    :param warmup: what ``generate: false`` does: ``created`` (``response.created``, then
        ``response.completed``), ``completed`` (that alone), ``unsupported`` (an error) or ``generate`` (a
        whole answer).
    :param max_age: responses after which a connection gets ``websocket_connection_limit_reached`` and is
        closed; None never.
    :param keepalive: put a ``keepalive`` event after ``response.in_progress`` and after every delta.
    :param errors: the shape of errors over WebSocket, ``wrapped`` or ``flat``.
    :param lanes: whether ``stream_id`` is known; if not it is refused. Lanes answer one after the other.
    :param background_polls: times that a background response is retrieved before it is there.
    :param before_event: called with each event before it is sent, on the connection's thread, which serves
        nothing else meanwhile.
    :ivar creates: the number of ``response.create`` received.
    """

    def __init__(
        self,
        reply: Callable[[list[Item], Item], Reply] = default_reply,
        *,
        warmup: str = "created",
        max_age: int | None = None,
        keepalive: bool = False,
        errors: str = "wrapped",
        lanes: bool = True,
        background_polls: int = 1,
        before_event: Callable[[Event], object] | None = None,
    ) -> None:
        _check_choice("warmup", warmup, WARMUPS)
        _check_choice("errors", errors, ERROR_SHAPES)
        self.creates = 0
        self.before_event = before_event
        self._reply = reply
        self._warmup = warmup
        self._max_age = max_age
        self._keepalive = keepalive
        self._errors = errors
        self._lanes = lanes
        self._background_polls = background_polls
        # Creates, made and stored responses, what these were given, the background, forgotten ids, failures.
        self._lock = threading.Lock()
        self._made: dict[str, Made] = {}
        self._stored: dict[str, Item] = {}
        self._inputs: dict[str, list[Item]] = {}
        self._background: dict[str, int] = {}
        self._forgotten: set[str] = set()
        self._failures: deque[Failure] = deque()

    def connect(self) -> ModelConnection:
        """What a new connection starts with."""
        return ModelConnection()

    def receive(self, message: str | bytes, connection: ModelConnection) -> Iterator[Event]:
        """The events that answer one message, whatever it is."""
        request = json_object(message) if isinstance(message, str) else None
        if request is None:
            refusal = invalid("invalid_json", "The message is no JSON object.")
            yield self._show(error_event(refusal.error, refusal.status), self._errors)
        elif request.get("type") == "response.steer":
            yield self._show(self._steer_failed(request), self._errors)
        else:
            yield from self.respond(request, connection)

    def respond(
        self, request: Item, connection: ModelConnection, *, errors: str | None = None
    ) -> Iterator[Event]:
        """The events that answer a request.

        :param errors: the shape of errors; None takes that of the model.
        """
        shape = errors or self._errors
        number = 0
        lane = {"stream_id": request["stream_id"]} if self._lanes and "stream_id" in request else {}
        try:
            for event in self._keep_alive(self._turn(request, connection)):
                yield self._show({**event, **lane, "sequence_number": number}, shape)
                number += 1
        except Refusal as refusal:
            event = error_event(refusal.error, refusal.status)
            if not refusal.of_connection:
                connection.evict(request)
                event.update(lane)
            yield self._show(event, shape)

    def fail_next(
        self,
        code: str | None = "server_error",
        status: int = 500,
        *,
        when: str = "start",
        then_failed: bool = False,
        headers: Mapping[str, str] | None = None,
        message: str = "The model was told to fail.",
    ) -> None:
        """Let the next valid ``response.create`` fail; called again, the one after it too.

        :param when: ``start`` (in place of a response), ``created`` (after ``response.created``) or
            ``delta`` (after the first delta).
        :param then_failed: let ``response.failed`` follow the error; not at the start.
        :param headers: given with the error.
        """
        _check_choice("when", when, MOMENTS)
        error: Item = {"type": _error_type(status), "code": code, "message": message, "param": None}
        if headers:
            error["headers"] = dict(headers)
        with self._lock:
            self._failures.append(Failure(error, status, when, then_failed))

    def forget(self, response_id: str | None = None) -> None:
        """Lose a response, wherever it is held; None loses all made so far."""
        with self._lock:
            self._forgotten |= set(self._made) if response_id is None else {response_id}

    def history(self, response_id: str) -> list[Item]:
        """All items that the model saw and made up to and with this response, oldest first.

        Raises KeyError when it never made it.
        """
        with self._lock:
            return self._made[response_id].history

    # Over HTTP

    def start(self, request: Item) -> Item:
        """A response in the background: made, but not shown before it was asked for a few times."""
        if request.get("store") is False:
            raise invalid("invalid_value", "A background response must be stored.", "store")
        *_, last = self.respond(request, self.connect(), errors="wrapped")
        if last["type"] == "error":
            raise Refusal(last["error"], last["status"])
        response_id = str(last["response"]["id"])
        with self._lock:
            self._stored[response_id] = {**last["response"], "background": True}
            self._inputs[response_id] = items_of(request.get("input"))
            self._background[response_id] = self._background_polls
        return self._unfinished(response_id, "queued")

    def retrieve(self, response_id: str) -> Item:
        """A stored response as it is now. Raises a refusal for others."""
        with self._lock:
            self._find(response_id)
            left = self._background.get(response_id, 0)
            if left:
                self._background[response_id] = left - 1
                return self._unfinished(response_id, "in_progress")
            return self._stored[response_id]

    def cancel(self, response_id: str) -> Item:
        """Stop a background response, if it is still running."""
        with self._lock:
            self._find(response_id)
            if not self._stored[response_id]["background"]:
                raise invalid(None, "Cannot cancel a synchronous response.")
            if self._background.pop(response_id, 0):
                self._stored[response_id] = self._unfinished(response_id, "cancelled")
            return self._stored[response_id]

    def delete(self, response_id: str) -> None:
        """Forget a stored response."""
        with self._lock:
            self._find(response_id)
            self._forgotten.add(response_id)

    def input_items(self, response_id: str) -> list[Item]:
        """What a stored response was given, oldest first."""
        with self._lock:
            self._find(response_id)
            return self._inputs[response_id]

    def compact(self, request: Item) -> Item:
        """A history made short: what the user said, and one item that stands for all else."""
        check_compaction(request)
        parent = self._parent(request, self.connect())
        items = [*(parent.history if parent else []), *items_of(request.get("input"))]
        check_calls(items)
        kept = [item for item in items if item.get("role") == "user"]
        output = [*kept, {"type": "compaction", "id": new_id("cmp"), "encrypted_content": new_id("sealed")}]
        counts = usage(items, [], output)
        return {"id": new_id("resp"), "object": "response.compaction", "output": output, "usage": counts}

    def _find(self, response_id: str) -> None:
        if response_id in self._forgotten or response_id not in self._stored:
            raise not_found(response_id)

    def _unfinished(self, response_id: str, status: str) -> Item:
        return {**self._stored[response_id], "status": status, "output": [], "usage": None}

    # Making a response

    def _turn(self, request: Item, connection: ModelConnection) -> Iterator[Event]:
        self._check(request, connection)
        failure = self._next_failure()
        if failure and failure.when == "start":
            raise Refusal(failure.error, failure.status)
        parent = self._parent(request, connection)
        before = parent.history if parent else []
        items = items_of(request.get("input"))
        check_calls([*before, *items])
        warm = request.get("generate") is False and self._warmup != "generate"
        output, cut = ([], False) if warm else self._output([*before, *items], request)
        made = Made(new_id("resp"), parent, items, output, stored=request.get("store") is not False)
        connection.responses += 1
        events = self._running_events(request, made, warm=warm)
        if failure:
            yield from failure.cut(events)
            connection.evict(request)
            yield from self._failed_events(failure, request, made)
            return
        yield from events
        counts = usage([*before, *items], before, output)
        final = _final_response(request, made, counts, cut=cut)
        self._keep(made, final, request, connection)
        yield lifecycle_event(final)

    def _next_failure(self) -> Failure | None:
        with self._lock:
            return self._failures.popleft() if self._failures else None

    def _check(self, request: Item, connection: ModelConnection) -> None:
        if request.get("type") == "response.create":
            with self._lock:
                self.creates += 1
        check_request(request, lanes=self._lanes)
        if self._max_age is not None and connection.responses >= self._max_age:
            connection.over = True
            raise invalid("websocket_connection_limit_reached", AGE_LIMIT, of_connection=True)
        lane = request.get("stream_id")
        if lane is not None and lane not in connection.lanes:
            if len(connection.lanes) >= MAX_LANES:
                text = f"This connection has used its {MAX_LANES} stream ids."
                raise invalid("websocket_stream_limit_reached", text, "stream_id")
            connection.lanes.add(lane)
        if request.get("generate") is False and self._warmup == "unsupported":
            raise Refusal({"detail": "Unsupported parameter: generate"})

    def _parent(self, request: Item, connection: ModelConnection) -> Made | None:
        previous = request.get("previous_response_id")
        if previous is None:
            return None
        with self._lock:
            made = None if previous in self._forgotten else self._made.get(previous)
        if made is None or not (made.stored or made in connection.latest.values()):
            text = f"Previous response with id '{previous}' not found."
            raise invalid("previous_response_not_found", text, "previous_response_id")
        return made

    def _output(self, items: list[Item], request: Item) -> tuple[list[Item], bool]:
        reply = as_items(self._reply(items, request))
        kept, cut = limit_words(reply, request.get("max_output_tokens"))
        return [complete_item(item) for item in kept], cut

    def _running_events(self, request: Item, made: Made, *, warm: bool) -> Iterator[Event]:
        running = response_object(request, made.id, "in_progress")
        if not warm or self._warmup == "created":
            yield {"type": "response.created", "response": running}
        if not warm:
            yield {"type": "response.in_progress", "response": running}
            yield from output_events(made.output)

    def _failed_events(self, failure: Failure, request: Item, made: Made) -> Iterator[Event]:
        yield error_event(failure.error, failure.status)
        if failure.then_failed:
            error = {name: failure.error[name] for name in ("code", "message")}
            yield lifecycle_event(response_object(request, made.id, "failed", error=error))

    def _keep(self, made: Made, final: Item, request: Item, connection: ModelConnection) -> None:
        with self._lock:
            self._made[made.id] = made
            if made.stored:
                self._stored[made.id] = final
                self._inputs[made.id] = made.input
        connection.latest[request.get("stream_id")] = made

    def _keep_alive(self, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            yield event
            kind = str(event["type"])
            if self._keepalive and (kind == "response.in_progress" or kind.endswith(".delta")):
                yield {"type": "keepalive"}

    def _show(self, event: Event, shape: str) -> Event:
        shown = flat_error(event) if shape == "flat" and event["type"] == "error" else event
        if self.before_event:
            self.before_event(shown)
        return shown

    def _steer_failed(self, request: Item) -> Event:
        """A model answers one message after the other, so that there is nothing left to steer."""
        previous = request.get("previous_response_id")
        with self._lock:
            code = "response_already_completed" if previous in self._made else "response_not_found"
        message = f"The response cannot be steered: {code}."
        return {
            "type": "response.steer.failed",
            "error": {"type": "invalid_request_error", "code": code, "message": message},
            "steer": {"previous_response_id": previous, "input": request.get("input")},
            "sequence_number": 0,
        }


def _final_response(request: Item, made: Made, counts: Item, *, cut: bool) -> Item:
    if not cut:
        return response_object(request, made.id, "completed", made.output, usage=counts)
    details = {"reason": "max_output_tokens"}
    return response_object(
        request, made.id, "incomplete", made.output, usage=counts, incomplete_details=details
    )


def _error_type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
