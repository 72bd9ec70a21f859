"""Which request owns an event: what each sequence of events means, and what may never happen."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from responses_ws._core.earlier import MAX_NAMES, item_id
from responses_ws._core.lane import Lane
from responses_ws._core.lanes import Lanes
from responses_ws._core.states import MOVES, Request, State
from responses_ws.errors import ConcurrencyError, Delivery, StreamLimitReached
from responses_ws.messages import Steer

Event = dict[str, Any]
REJECTED, STARTED, UNKNOWN, NOT_SENT = (
    Delivery.REJECTED,
    Delivery.STARTED,
    Delivery.UNKNOWN,
    Delivery.NOT_SENT,
)

# -- events


def event(kind: str, **fields: Any) -> Event:
    return {"type": kind, **fields}


def about(kind: str, response: str | None = None, **fields: Any) -> Event:
    """An event with a ``response``, of an id if one is given."""
    return event(kind, response={**({} if response is None else {"id": response}), **fields})


def created(response: str) -> Event:
    return about("response.created", response, status="in_progress")


def completed(response: str | None = None) -> Event:
    return about("response.completed", response, status="completed")


def failed(response: str | None = None, code: str | None = "server_error") -> Event:
    return about("response.failed", response, status="failed", error={"code": code})


def done(response: str | None = None) -> Event:
    return about("response.done", response)


def error(code: str | None = "server_error", **fields: Any) -> Event:
    return event("error", error={"code": code, "message": "no"}, **fields)


def added(item: str) -> Event:
    return event("response.output_item.added", output_index=0, item={"id": item, "type": "message"})


def item_done(item: str) -> Event:
    return event("response.output_item.done", output_index=0, item={"id": item, "type": "message"})


def part(item: str) -> Event:
    return event("response.content_part.added", item_id=item, output_index=0, content_index=0)


def delta(item: str | None = None, **fields: Any) -> Event:
    named = {} if item is None else {"item_id": item}
    return event("response.output_text.delta", **named, output_index=0, delta="x", **fields)


KEEPALIVE = event("keepalive", sequence_number=3)
VENDOR = event("codex.rate_limits", limits={})
STEERED = event("response.steer.accepted", steer={"id": "steer_1", "previous_response_id": "r0"})


def on(lane: str, *events: Event) -> list[Event]:
    return [at(lane, found) for found in events]


def at(lane: str | None, found: Event) -> Event:
    return found if lane is None else {**found, "stream_id": lane}


# -- the steps of a table


class Scene:
    """A lane table, and the requests of a test by number."""

    def __init__(self, **options: Any) -> None:
        self.lanes = Lanes(**options)
        self.requests: dict[int, Request] = {}

    def owner(self, found: Event) -> int | None:
        """The number of the request to which the table gives an event."""
        request = self.lanes.route(found)
        return next((number for number, known in self.requests.items() if known is request), None)


Step = Callable[[Scene], None]


def opens(number: int, lane: str | None = None, *, free: bool = True) -> Step:
    def step(scene: Scene) -> None:
        scene.requests[number] = Request(lane)
        assert scene.lanes.open(scene.requests[number]) is free

    return step


def sends(number: int) -> Step:
    """The whole message leaves."""

    def step(scene: Scene) -> None:
        begins(number)(scene)
        scene.lanes.sent(scene.requests[number])

    return step


def begins(number: int, *, alone: bool = True) -> Step:
    """The message begins to leave, unless another one is leaving."""

    def step(scene: Scene) -> None:
        assert scene.requests[number].admitted
        assert scene.lanes.send(scene.requests[number]) is alone

    return step


def has_left(number: int) -> Step:
    return lambda scene: scene.lanes.sent(scene.requests[number])


def breaks_off(number: int, *, again: bool = True) -> Step:
    """The message did not leave whole: it is sent again, or has come to its end."""

    def step(scene: Scene) -> None:
        assert scene.lanes.unsent(scene.requests[number]) is again

    return step


def continues(number: int, parent: str, *, stored: bool = False) -> Step:
    """The request continues this response."""

    def step(scene: Scene) -> None:
        scene.requests[number].parent = parent
        scene.requests[number].stored = stored

    return step


def has_no_name_for(lane: str) -> Step:
    def step(scene: Scene) -> None:
        with pytest.raises(StreamLimitReached) as refusal:
            scene.lanes.open(Request(lane))
        assert refusal.value.delivery is NOT_SENT

    return step


def knows(named: bool | None) -> Step:
    """Whether the server names the lanes of its events."""

    def step(scene: Scene) -> None:
        assert scene.lanes.named is named

    return step


def closes(closing: bool = True) -> Step:
    return lambda scene: setattr(scene.lanes, "closing", closing)


def is_deserted(deserted: bool) -> Step:
    def step(scene: Scene) -> None:
        assert scene.lanes.deserted() is deserted

    return step


def looks(scene: Scene) -> None:
    """Who waits looks for a place."""
    scene.lanes.admit()


def asks(number: int, lane: str | None = None) -> Step:
    def step(scene: Scene) -> None:
        opens(number, lane)(scene)
        sends(number)(scene)

    return step


def refused(lane: str | None = None) -> Step:
    def step(scene: Scene) -> None:
        request = Request(lane)
        with pytest.raises(ConcurrencyError):
            scene.lanes.open(request)
        assert request.state is State.QUEUED

    return step


def abandons(number: int) -> Step:
    def step(scene: Scene) -> None:
        scene.requests[number].abandoned = True

    return step


def releases(number: int) -> Step:
    return lambda scene: scene.lanes.release(scene.requests[number])


def gets(number: int, *events: Event) -> Step:
    """The events are the request's and it goes on."""

    def step(scene: Scene) -> None:
        for found in events:
            assert scene.owner(found) == number, found
            assert scene.requests[number].state is not State.DONE, found

    return step


def ends(number: int, last: Event, delivery: Delivery = STARTED) -> Step:
    """The event is the request's, and its last."""

    def step(scene: Scene) -> None:
        assert scene.owner(last) == number
        assert scene.requests[number].state is State.DONE
        assert scene.requests[number].delivery is delivery

    return step


def drops(*events: Event) -> Step:
    """The events are nobody's, are told as strays, and change no request."""

    def step(scene: Scene) -> None:
        before = {number: request.state for number, request in scene.requests.items()}
        for found in events:
            told = len(scene.lanes.strays)
            assert scene.owner(found) is None, found
            assert len(scene.lanes.strays) == told + 1
        assert {number: request.state for number, request in scene.requests.items()} == before
        assert scene.lanes.connection_error is None

    return step


def breaks(last: Event) -> Step:
    """The event ends the connection and is nobody's."""

    def step(scene: Scene) -> None:
        assert scene.owner(last) is None
        assert scene.lanes.connection_error is last

    return step


def is_in(number: int, state: State, delivery: Delivery) -> Step:
    def step(scene: Scene) -> None:
        request = scene.requests[number]
        assert (request.state, request.delivery) == (state, delivery)

    return step


def is_ready(*numbers: int) -> Step:
    """These requests, and no others, are told that their lane is theirs."""

    def step(scene: Scene) -> None:
        assert scene.lanes.ready == [scene.requests[number] for number in numbers]
        scene.lanes.ready.clear()

    return step


def is_busy(*lanes: str | None) -> Step:
    """These lanes of None, a and b, and no others, are taken by somebody who waits."""

    def step(scene: Scene) -> None:
        assert [lane for lane in (None, "a", "b") if scene.lanes.busy(lane)] == list(lanes)

    return step


def loses(*numbers: int) -> Step:
    """The connection ends, and with it these requests."""

    def step(scene: Scene) -> None:
        ended: list[Request] = []
        scene.lanes.end(ended)
        assert ended == [scene.requests[number] for number in numbers]
        assert all(scene.requests[number].state is State.DONE for number in numbers)

    return step


def answers(number: int, response: str, item: str, *, lane: str | None = None) -> Step:
    """A whole turn as the service sends it."""
    events = [created(response), added(item), part(item), delta(item), item_done(item), completed(response)]
    *middle, last = events if lane is None else on(lane, *events)

    def step(scene: Scene) -> None:
        gets(number, *middle)(scene)
        ends(number, last)(scene)

    return step


def turn(number: int, response: str, item: str) -> list[Step]:
    return [asks(number), answers(number, response, item)]


TURNS: dict[str, list[Step]] = {
    "one after the other": [*turn(1, "r1", "m1"), *turn(2, "r2", "m2"), *turn(3, "r3", "m3"), is_busy()],
    "each terminal ends it": [
        *itertools.chain.from_iterable(
            [asks(number), gets(number, created(f"r{number}")), ends(number, about(kind, f"r{number}"))]
            for number, kind in enumerate(
                ["response.completed", "response.failed", "response.incomplete", "response.cancelled"]
            )
        ),
        is_busy(),
    ],
    "an error ends it": [asks(1), gets(1, created("r1")), ends(1, error()), is_busy()],
    "response.error ends it": [asks(1), gets(1, created("r1")), ends(1, event("response.error"))],
    "an error without a type ends it": [
        asks(1),
        gets(1, created("r1")),
        ends(1, {"error": {"message": "no"}}),
    ],
    "an unknown type ends it when its status says so": [
        asks(1),
        gets(1, created("r1"), added("m1"), event("response.finished", item_id="m1")),
        ends(1, {**about("response.finished", "r1", status="completed"), "item_id": "m1"}),
    ],
    "a terminal that names an item": [
        asks(1),
        gets(1, created("r1"), added("m1")),
        ends(1, {**completed("r1"), "item_id": "m1"}),
    ],
    "an error that names an item": [
        asks(1),
        gets(1, created("r1"), added("m1")),
        ends(1, error(item_id="m1")),
    ],
    "rejected before it began": [asks(1), ends(1, error(), REJECTED), is_busy()],
    "rejected after a heartbeat": [asks(1), gets(1, KEEPALIVE), ends(1, error(), REJECTED)],
    "failed at once": [asks(1), ends(1, failed("r1"))],
    "completed alone": [asks(1), ends(1, completed("r1")), *turn(2, "r2", "m2")],
    "a terminal without an id": [asks(1), ends(1, completed())],
    "heartbeats before, in and after it": [
        drops(KEEPALIVE, VENDOR),
        asks(1),
        gets(1, KEEPALIVE, VENDOR, event("response.inject.created", response_id="r0")),
        drops(STEERED),
        is_in(1, State.SENT, UNKNOWN),
        gets(1, created("r1"), KEEPALIVE, VENDOR, about("response.in_progress", "r1")),
        ends(1, completed("r1")),
        drops(KEEPALIVE, VENDOR, STEERED),
    ],
    "no response.created": [
        asks(1),
        gets(1, delta("m1")),
        is_in(1, State.STARTED, STARTED),
        gets(1, delta("m1"), delta()),
        ends(1, completed("r1")),
        drops(delta("m1"), done("r1")),
    ],
    "queued before created": [
        asks(1),
        gets(1, about("response.queued", "r1"), created("r1")),
        ends(1, completed("r1")),
    ],
    "deltas that name nothing": [
        asks(1),
        gets(1, event("response.audio.delta", delta="x")),
        ends(1, completed("r1")),
        asks(2),
        gets(2, event("response.audio.delta", delta="x")),
        ends(2, completed("r2")),
    ],
    "items that interleave": [
        asks(1),
        gets(
            1, created("r1"), added("f1"), added("f2"), delta("f1"), delta("f2"), item_done("f1"), delta("f2")
        ),
        ends(1, completed("r1")),
        asks(2),
        drops(delta("f1"), delta("f2")),
    ],
    "ids of gateways that change within one response": [
        asks(1),
        gets(1, created("r1"), about("response.in_progress", "x1")),
        ends(1, completed("y1")),
        asks(2),
        drops(done("r1"), done("x1"), done("y1")),
    ],
    "more items than are remembered": [
        asks(1),
        gets(1, created("r1"), *[added(f"m{i}") for i in range(MAX_NAMES + 2)], delta(f"m{MAX_NAMES + 1}")),
        ends(1, completed("r1")),
    ],
    # -- stragglers
    "nothing runs": [drops(created("r1"), added("m1"), delta("m1"), completed("r1"), error(), done())],
    "nothing was sent": [opens(1), drops(created("r0"), delta("m0"), completed("r0"), error(), failed())],
    "a response that nobody asked for": [
        drops(created("r0"), added("m0")),
        asks(1),
        drops(delta("m0"), item_done("m0"), completed("r0")),
        answers(1, "r1", "m1"),
    ],
    "a response that nobody asked for, after a turn": [
        *turn(1, "r1", "m1"),
        drops(created("r0"), added("m0")),
        opens(2),
        drops(added("n0")),
        sends(2),
        drops(delta("m0"), delta("n0"), completed("r0"), delta("m1"), done("r1")),
        answers(2, "r2", "m2"),
    ],
    "late, by the id of the response": [
        *turn(1, "r1", "m1"),
        drops(about("response.in_progress", "r1"), completed("r1"), done("r1"), failed("r1"), created("r1")),
        asks(2),
        drops(about("response.in_progress", "r1"), completed("r1"), done("r1"), failed("r1")),
        drops(event("response.custom", response_id="r1"), delta(response_id="r1"), error(response_id="r1")),
        gets(2, created("r2")),
        drops(about("response.in_progress", "r1"), completed("r1"), done("r1"), failed("r1"), created("r1")),
        drops(event("response.custom", response_id="r1"), delta(response_id="r1"), error(response_id="r1")),
        gets(2, delta("m2")),
        drops(completed("r1"), delta("m2", response_id="r1")),
        drops({**about("response.in_progress", "r1"), "item_id": "m2"}),
        ends(2, completed("r2")),
    ],
    "late, by the id of an item": [
        *turn(1, "r1", "m1"),
        drops(delta("m1"), item_done("m1")),
        asks(2),
        drops(delta("m1"), item_done("m1"), added("m1"), part("m1")),
        gets(2, created("r2")),
        drops(delta("m1")),
        gets(2, delta("m2")),
        drops(delta("m1")),
        ends(2, completed("r2")),
        drops(delta("m1"), delta("m2")),
    ],
    "late, what an item had still to come when its response failed": [
        asks(1),
        gets(1, created("r1"), added("m1"), delta("m1")),
        ends(1, error()),
        asks(2),
        drops(delta("m1"), part("m1"), item_done("m1")),
        gets(2, created("r2"), added("m2")),
        drops(delta("m1"), part("m1"), item_done("m1"), delta("m1")),
        gets(2, delta("m2"), item_done("m2")),
        ends(2, completed("r2")),
    ],
    "late, of the turn before the last": [
        *turn(1, "r1", "m1"),
        *turn(2, "r2", "m2"),
        asks(3),
        gets(3, created("r3")),
        drops(delta("m1"), completed("r1"), delta("m2")),
        ends(3, completed("r3")),
    ],
    "late, after much of another": [
        *turn(1, "r1", "m1"),
        drops(*[about("response.in_progress", "r0")] * 100),
        asks(2),
        drops(completed("r1")),
        answers(2, "r2", "m2"),
    ],
    "late, of a response without an id": [
        asks(1),
        gets(1, delta("m1")),
        ends(1, completed()),
        asks(2),
        drops(delta("m1")),
        answers(2, "r2", "m2"),
    ],
    # -- an error that response.failed follows
    "error, failed, the next": [
        asks(1),
        gets(1, created("r1"), KEEPALIVE),
        ends(1, error()),
        drops(failed("r1")),
        *turn(2, "r2", "m2"),
    ],
    "error, the next, failed": [
        asks(1),
        gets(1, created("r1")),
        ends(1, error()),
        asks(2),
        drops(failed("r1")),
        answers(2, "r2", "m2"),
    ],
    "error, the next is created, failed": [
        asks(1),
        gets(1, created("r1")),
        ends(1, error()),
        asks(2),
        gets(2, created("r2")),
        drops(failed("r1")),
        ends(2, completed("r2")),
    ],
    "error, the next, failed without an id": [
        asks(1),
        gets(1, created("r1")),
        ends(1, error()),
        asks(2),
        drops(failed()),
        answers(2, "r2", "m2"),
    ],
    "error before created, failed, the next": [
        asks(1),
        ends(1, error(), REJECTED),
        drops(failed("r1")),
        asks(2),
        ends(2, failed("r2")),
    ],
    "error before created, the next, failed with an id": [
        asks(1),
        ends(1, error(), REJECTED),
        asks(2),
        gets(2, KEEPALIVE),
        drops(failed("r1")),
        answers(2, "r2", "m2"),
    ],
    "error before created, the next, failed without an id": [
        asks(1),
        ends(1, error(), REJECTED),
        asks(2),
        drops(failed()),
        ends(2, failed()),
    ],
    "error with a type and no code, the next, failed with that code": [
        asks(1),
        ends(1, event("error", error={"type": "server_error", "message": "no"}), REJECTED),
        asks(2),
        drops(failed("r1", "server_error")),
        answers(2, "r2", "m2"),
    ],
    "error, and the next fails for another reason": [
        asks(1),
        ends(1, error("rate_limit_exceeded"), REJECTED),
        asks(2),
        ends(2, failed("r2", "server_error")),
    ],
    "error, and the next fails for the same reason, with an id of its own": [
        asks(1),
        gets(1, created("r1")),
        ends(1, error()),
        asks(2),
        ends(2, failed("r2")),
    ],
    "error, and the next begins and fails for the same reason": [
        asks(1),
        ends(1, error(), REJECTED),
        asks(2),
        gets(2, created("r2")),
        ends(2, failed("r2")),
    ],
    "error, and the next is rejected for the same reason": [
        asks(1),
        ends(1, error(), REJECTED),
        asks(2),
        ends(2, error(), REJECTED),
        asks(3),
        drops(failed()),
        answers(3, "r3", "m3"),
    ],
    "error, a good response, and the next fails for the same reason": [
        asks(1),
        ends(1, error(), REJECTED),
        *turn(2, "r2", "m2"),
        asks(3),
        ends(3, failed("r3")),
    ],
    "error without a reason, and the next fails without one": [
        asks(1),
        ends(1, error(None), REJECTED),
        asks(2),
        ends(2, failed("r2", None)),
    ],
    "failed, then error, then the next": [
        asks(1),
        gets(1, created("r1")),
        ends(1, failed("r1")),
        drops(error()),
        *turn(2, "r2", "m2"),
    ],
    # -- response.done
    "done trailing": [*turn(1, "r1", "m1"), drops(done("r1"), done()), *turn(2, "r2", "m2")],
    "done trailing after the next was asked": [
        *turn(1, "r1", "m1"),
        asks(2),
        drops(done("r1")),
        answers(2, "r2", "m2"),
    ],
    "done without an id trailing after the next was asked": [
        *turn(1, "r1", "m1"),
        asks(2),
        drops(done()),
        is_in(2, State.SENT, UNKNOWN),
        answers(2, "r2", "m2"),
    ],
    "done in place of completed": [
        asks(1),
        gets(1, created("r1"), delta("m1")),
        ends(1, done("r1")),
        asks(2),
        gets(2, created("r2")),
        ends(2, done()),
    ],
    "done alone": [asks(1), ends(1, done("r1")), asks(2), drops(done("r1")), ends(2, done("r2"))],
    # -- one id for all responses of a connection
    "one id for all": [
        *turn(1, "r", "m1"),
        drops(done("r")),
        asks(2),
        drops(done("r"), completed("r"), about("response.in_progress", "r"), delta("m1")),
        answers(2, "r", "m2"),
        asks(3),
        gets(3, about("response.queued", "r"), created("r")),
        drops(delta("m1"), delta("m2")),
        ends(3, completed("r")),
    ],
    "one id for all, late by an item with that id": [
        *turn(1, "r", "m1"),
        asks(2),
        gets(2, created("r"), delta("m2", response_id="r")),
        drops(delta("m1", response_id="r")),
        ends(2, completed("r")),
    ],
    "one id for all, error and failed": [
        asks(1),
        gets(1, created("r")),
        ends(1, error()),
        asks(2),
        drops(failed("r")),
        answers(2, "r", "m2"),
    ],
    # -- item ids that begin anew in each response
    "the same item ids in each response": [
        *turn(1, "r1", "msg_0"),
        *turn(2, "r2", "msg_0"),
        *turn(3, "r3", "msg_0"),
    ],
    "the same item ids after a failure": [
        asks(1),
        gets(1, created("r1"), added("msg_0"), delta("msg_0")),
        ends(1, error()),
        *turn(2, "r2", "msg_0"),
    ],
    "the same item ids, announced by a part": [
        *turn(1, "r1", "msg_0"),
        asks(2),
        gets(2, created("r2"), part("msg_0"), delta("msg_0"), item_done("msg_0")),
        ends(2, completed("r2")),
    ],
    "the same item ids, told when it is done": [
        *turn(1, "r1", "msg_0"),
        asks(2),
        gets(2, created("r2"), item_done("msg_0")),
        ends(2, completed("r2")),
    ],
    "the same item ids, announced by a part, after something late": [
        *turn(1, "r1", "msg_0"),
        drops(delta("msg_0")),
        asks(2),
        gets(2, created("r2"), part("msg_0"), delta("msg_0")),
        ends(2, completed("r2")),
    ],
    "the same item ids, late of one that was not finished": [
        *turn(1, "r1", "msg_0"),
        asks(2),
        gets(2, created("r2"), added("msg_0")),
        ends(2, error()),
        asks(3),
        gets(3, created("r3")),
        drops(part("msg_0"), delta("msg_0")),
        ends(3, completed("r3")),
    ],
    "the same item ids, with the id of the response": [
        *turn(1, "r1", "msg_0"),
        asks(2),
        drops(delta("msg_0", response_id="r1")),
        gets(2, created("r2"), delta("msg_0", response_id="r2")),
        drops(delta("msg_0", response_id="r1")),
        gets(2, delta("msg_0", response_id="r2")),
        ends(2, completed("r2")),
    ],
    "an empty item id names nothing": [
        asks(1),
        gets(1, created("r1"), delta(""), added("")),
        ends(1, completed("r1")),
        asks(2),
        gets(2, created("r2"), delta("")),
        ends(2, completed("r2")),
    ],
    # -- lanes
    "lanes side by side": [
        asks(1),
        asks(2, "a"),
        asks(3, "b"),
        gets(2, *on("a", created("r2"), added("m2"))),
        gets(1, created("r1"), added("m1")),
        gets(3, *on("b", created("r3"))),
        gets(2, *on("a", delta("m2"))),
        gets(1, delta("m1")),
        is_busy(None, "a", "b"),
        ends(1, completed("r1")),
        ends(3, at("b", completed("r3"))),
        is_busy("a"),
        drops(*on("b", delta("m3")), delta("m1")),
        ends(2, at("a", completed("r2"))),
        is_busy(),
    ],
    "a stream_id of null is the default lane": [
        asks(1),
        asks(2, "a"),
        gets(1, {**created("r1"), "stream_id": None}),
        ends(1, {**completed("r1"), "stream_id": None}),
    ],
    "an unknown stream_id while lanes have names": [
        asks(1),
        asks(2, "a"),
        drops(*on("b", created("r1"), delta("m1"), completed("r1"), error())),
        drops(*on("", delta("m1"))),
        drops({**delta("m1"), "stream_id": 5}, {**delta("m1"), "stream_id": ["a"]}),
        answers(1, "r1", "m1"),
    ],
    "an unknown stream_id while no lane has a name": [
        asks(1),
        answers(1, "r1", "m1", lane="their own"),
        asks(2),
        ends(2, error(stream_id="their own"), REJECTED),
    ],
    "a lane whose server echoes no stream_id": [
        asks(1, "a"),
        drops(created("r1"), delta("m1")),
        answers(1, "r1", "m1", lane="a"),
    ],
    "ids of one lane on another": [
        asks(1, "a"),
        answers(1, "r1", "m1", lane="a"),
        asks(2, "a"),
        drops(*on("a", delta("m1"), completed("r1"))),
        asks(3),
        answers(3, "r3", "m3"),
    ],
    "an error without stream_id, one response on its lane": [
        asks(1, "a"),
        answers(1, "r1", "m1", lane="a"),
        asks(2),
        ends(2, error(), REJECTED),
    ],
    "an error without stream_id, one response on a lane with a name": [
        asks(1, "a"),
        ends(1, error("invalid_stream_id"), REJECTED),
        asks(2, "a"),
        gets(2, *on("a", created("r2"))),
        ends(2, {**error(), "stream_id": None}),
    ],
    "an error without stream_id, and only a response that was not sent": [opens(1, "a"), drops(error())],
    "an error with stream_id among many": [
        asks(1),
        asks(2, "a"),
        ends(2, at("a", error()), REJECTED),
        answers(1, "r1", "m1"),
    ],
    "an error without stream_id among many": [
        asks(1),
        asks(2, "a"),
        gets(1, created("r1")),
        breaks(error()),
        is_in(1, State.STARTED, STARTED),
        is_in(2, State.SENT, UNKNOWN),
        loses(1, 2),
    ],
    "an error with a stream_id of null among many": [
        asks(1),
        asks(2, "a"),
        breaks({**error(), "stream_id": None}),
    ],
    "an error without stream_id among many that have names": [asks(1, "a"), asks(2, "b"), breaks(error())],
    "an error without stream_id, one that runs and one that waits": [
        asks(1),
        opens(2, "a"),
        ends(1, error(), REJECTED),
    ],
    "the age limit in a response": [
        asks(1),
        gets(1, created("r1")),
        breaks(error("websocket_connection_limit_reached")),
        is_in(1, State.STARTED, STARTED),
    ],
    "the age limit at once": [asks(1), breaks(error("websocket_connection_limit_reached")), loses(1)],
    "the age limit at rest": [breaks(error("websocket_connection_limit_reached"))],
    "the age limit before anything is sent": [opens(1), breaks(error("websocket_connection_limit_reached"))],
    "the age limit on a lane": [asks(1, "a"), breaks(at("a", error("websocket_connection_limit_reached")))],
    # -- taking, leaving and losing a lane
    "a second request is refused": [
        opens(1),
        refused(),
        sends(1),
        refused(),
        gets(1, created("r1")),
        refused(),
        gets(1, delta("m1")),
        ends(1, completed("r1")),
        asks(2),
    ],
    "lanes do not refuse each other": [
        asks(1),
        asks(2, "a"),
        refused(),
        refused("a"),
        opens(3, "b"),
        refused("b"),
    ],
    "an abandoned response drains before the next": [
        asks(1),
        gets(1, created("r1"), delta("m1")),
        abandons(1),
        is_busy(),
        opens(2, free=False),
        is_busy(None),
        gets(1, delta("m1"), delta(), added("n1")),
        is_ready(),
        refused(),
        ends(1, completed("r1")),
        is_ready(2),
        drops(delta("m1"), delta("n1")),
        is_busy(None),
        sends(2),
        drops(delta("m1"), delta("n1"), done("r1")),
        answers(2, "r2", "m2"),
        is_ready(),
    ],
    "an abandoned response drains while nobody waits": [
        asks(1),
        abandons(1),
        answers(1, "r1", "m1"),
        *turn(2, "r2", "m2"),
        is_ready(),
    ],
    "an abandoned response drains to an error": [
        asks(1),
        abandons(1),
        opens(2, free=False),
        ends(1, error(), REJECTED),
        is_ready(2),
        sends(2),
        drops(failed("r1")),
        answers(2, "r2", "m2"),
    ],
    "who waits leaves": [
        asks(1),
        abandons(1),
        opens(2, free=False),
        abandons(2),
        releases(2),
        is_in(2, State.DONE, NOT_SENT),
        is_busy(),
        opens(3, free=False),
        ends(1, completed("r1")),
        is_ready(3),
    ],
    "who waits was abandoned, and is followed": [
        asks(1),
        abandons(1),
        opens(2, free=False),
        abandons(2),
        opens(3, free=False),
        is_in(2, State.DONE, NOT_SENT),
        ends(1, completed("r1")),
        is_ready(3),
    ],
    "who waits was abandoned, and its lane becomes free": [
        asks(1),
        abandons(1),
        opens(2, free=False),
        abandons(2),
        ends(1, completed("r1")),
        is_busy(),
        is_ready(2),
        opens(3),
        is_in(2, State.DONE, NOT_SENT),
        is_ready(),
    ],
    "abandoned in the middle of a message that did not leave, and so was who waits": [
        opens(1),
        lambda scene: scene.requests[1].move(State.SENDING),
        abandons(1),
        opens(2, free=False),
        abandons(2),
        lambda scene: scene.requests[1].move(State.QUEUED),
        opens(3),
        is_in(1, State.DONE, NOT_SENT),
        is_in(2, State.DONE, NOT_SENT),
        is_ready(),
        is_busy(None),
    ],
    "abandoned before a byte left": [
        opens(1),
        abandons(1),
        is_busy(),
        opens(2),
        is_in(1, State.DONE, NOT_SENT),
        sends(2),
        answers(2, "r2", "m2"),
    ],
    "left before a byte left": [opens(1), releases(1), is_in(1, State.DONE, NOT_SENT), asks(2)],
    "left in the middle of the message": [
        opens(1),
        lambda scene: scene.requests[1].move(State.SENDING),
        releases(1),
        is_in(1, State.DONE, NOT_SENT),
        asks(2),
    ],
    "left after the message": [asks(1), releases(1), is_in(1, State.SENT, UNKNOWN), is_busy(None), refused()],
    "left twice": [opens(1), releases(1), opens(2), releases(1), is_busy(None), refused()],
    "the answer is faster than the sender": [
        opens(1),
        lambda scene: scene.requests[1].move(State.SENDING),
        gets(1, created("r1")),
        is_in(1, State.STARTED, STARTED),
        lambda scene: scene.lanes.sent(scene.requests[1]),
        is_in(1, State.STARTED, STARTED),
        ends(1, completed("r1")),
        lambda scene: scene.lanes.sent(scene.requests[1]),
        is_in(1, State.DONE, STARTED),
    ],
    "the rejection is faster than the sender": [
        opens(1),
        lambda scene: scene.requests[1].move(State.SENDING),
        ends(1, error(), REJECTED),
        lambda scene: scene.lanes.sent(scene.requests[1]),
        is_in(1, State.DONE, REJECTED),
    ],
    "a connection ends at rest": [*turn(1, "r1", "m1"), loses(), *turn(2, "r2", "m2")],
    "a connection ends before a byte left": [
        opens(1),
        loses(),
        is_in(1, State.QUEUED, NOT_SENT),
        is_busy(None),
        sends(1),
        answers(1, "r1", "m1"),
    ],
    "a connection ends in the middle of the message": [
        opens(1),
        lambda scene: scene.requests[1].move(State.SENDING),
        loses(),
        is_in(1, State.SENDING, NOT_SENT),
        is_busy(None),
        lambda scene: scene.requests[1].move(State.QUEUED),
        is_in(1, State.QUEUED, NOT_SENT),
        sends(1),
        answers(1, "r1", "m1"),
    ],
    "a connection ends in the middle of a message that was abandoned": [
        opens(1),
        lambda scene: scene.requests[1].move(State.SENDING),
        abandons(1),
        opens(2, free=False),
        loses(1),
        is_in(1, State.DONE, NOT_SENT),
        is_ready(2),
        loses(),
        sends(2),
        answers(2, "r2", "m2"),
    ],
    "a connection ends after the message": [asks(1), loses(1), is_in(1, State.DONE, UNKNOWN), asks(2)],
    "a connection ends in the answer": [
        asks(1),
        gets(1, created("r1")),
        loses(1),
        is_in(1, State.DONE, STARTED),
        asks(2),
    ],
    "a connection ends while an abandoned response drains": [
        asks(1),
        abandons(1),
        opens(2, free=False),
        loses(1),
        is_ready(2),
        is_in(2, State.QUEUED, NOT_SENT),
        sends(2),
        answers(2, "r2", "m2"),
    ],
    "a connection ends with every lane in another state": [
        asks(1),
        asks(2, "a"),
        gets(2, *on("a", created("r2"))),
        opens(3, "b"),
        loses(1, 2),
        is_busy("b"),
    ],
    "a connection ends twice": [asks(1), loses(1), loses()],
    "no error of an earlier connection is followed on the next": [
        asks(1),
        ends(1, error(), REJECTED),
        loses(),
        asks(2),
        ends(2, failed("r2")),
    ],
    "nothing of an earlier connection comes late on the next": [
        asks(1),
        gets(1, created("r"), added("m")),
        ends(1, error()),
        loses(),
        asks(2),
        gets(2, delta("m"), about("response.in_progress", "r")),
        ends(2, failed("r")),
    ],
}


def made(number: int, response: str, lane: str | None = None, *, stored: bool = False) -> list[Step]:
    """A whole answer, kept by the connection alone unless it is stored."""
    asked = [opens(number, lane), continues(number, "none", stored=stored), sends(number)]
    return [*asked, answers(number, response, f"m{number}", lane=lane)]


def fork(number: int, lane: str, parent: str) -> list[Step]:
    return [opens(number, lane), continues(number, parent), sends(number)]


TWO = {"max_in_flight": 2}
UNKNOWN_NAMES = {"named": None}
NO_NAMES = {"named": False}
PARALLEL: dict[str, tuple[dict[str, Any], list[Step]]] = {
    "error, the first lane with a name begins, the next, failed": (
        UNKNOWN_NAMES,
        [
            asks(1),
            ends(1, error(), REJECTED),
            asks(2, "a"),
            gets(2, at("a", created("r2"))),
            knows(True),
            asks(3),
            drops(failed("r1")),
            answers(3, "r3", "m3"),
            ends(2, at("a", completed("r2"))),
        ],
    ),
    # -- places
    "the third of two waits, and goes on in turn": (
        TWO,
        [
            asks(1, "a"),
            asks(2, "b"),
            opens(3, "c", free=False),
            opens(4, "d", free=False),
            ends(2, at("b", completed("r2"))),
            is_ready(3),
            ends(1, at("a", completed("r1"))),
            is_ready(4),
        ],
    ),
    "who waits for a place leaves, and the next comes": (
        TWO,
        [
            asks(1, "a"),
            asks(2, "b"),
            opens(3, "c", free=False),
            opens(4, "d", free=False),
            releases(3),
            ends(2, at("b", completed("r2"))),
            is_ready(4),
        ],
    ),
    "a place that was left without a word is found by who looks": (
        {"max_in_flight": 1},
        [
            opens(1, "a"),
            opens(2, "b", free=False),
            abandons(1),
            is_ready(),
            looks,
            is_ready(2),
            is_in(1, State.DONE, NOT_SENT),
        ],
    ),
    "an abandoned response keeps its place": (
        TWO,
        [
            asks(1, "a"),
            asks(2, "b"),
            abandons(1),
            opens(3, "c", free=False),
            is_deserted(False),
            abandons(2),
            is_deserted(True),
            ends(1, at("a", completed("r1"))),
            is_ready(3),
            is_deserted(False),
        ],
    ),
    "nobody has left what is about to be sent": (
        {"max_in_flight": 1},
        [opens(1, "a"), opens(2, "b", free=False), is_deserted(False)],
    ),
    "the lane's own abandoned response while others run": (
        {},
        [
            asks(1, "a"),
            abandons(1),
            asks(2, "b"),
            opens(3, "a", free=False),
            is_deserted(False),
            ends(2, at("b", completed("r2"))),
            is_deserted(True),
        ],
    ),
    "a connection that is to be replaced lets nobody in while something runs, then one": (
        {},
        [
            asks(1, "a"),
            asks(2, "b"),
            closes(),
            opens(3, "c", free=False),
            opens(4, "d", free=False),
            ends(1, at("a", completed("r1"))),
            is_ready(),
            ends(2, at("b", completed("r2"))),
            is_ready(3),
            loses(),
            is_ready(3, 4),
        ],
    ),
    "a connection that is not to be replaced after all": (
        {},
        [asks(1, "a"), closes(), opens(2, "b", free=False), closes(False), looks, is_ready(2)],
    ),
    # -- one message at a time
    "one message leaves at a time, in turn": (
        {},
        [
            opens(1, "a"),
            opens(2, "b"),
            opens(3, "c"),
            begins(2),
            begins(3, alone=False),
            begins(1, alone=False),
            has_left(2),
            is_ready(1),
            begins(1),
            gets(1, *on("a", created("r1"))),
            has_left(1),
            is_ready(3),
            begins(3),
        ],
    ),
    "who waits for a message to leave goes, and the next is told": (
        {},
        [
            opens(1, "a"),
            opens(2, "b"),
            opens(3, "c"),
            begins(1),
            begins(2, alone=False),
            begins(3, alone=False),
            has_left(1),
            is_ready(2),
            releases(2),
            is_ready(3),
        ],
    ),
    "a message that broke off, and who waited for it": (
        {},
        [
            opens(1, "a"),
            opens(2, "b"),
            begins(1),
            begins(2, alone=False),
            loses(),
            is_ready(2),
            breaks_off(1),
            is_in(1, State.QUEUED, NOT_SENT),
            is_ready(1, 2),
        ],
    ),
    "a message that broke off after its refusal": (
        {},
        [
            opens(1, "a"),
            begins(1),
            ends(1, at("a", error()), REJECTED),
            loses(),
            breaks_off(1, again=False),
            is_in(1, State.DONE, REJECTED),
            is_ready(),
            is_busy(),
        ],
    ),
    "a message that broke off after its response had begun": (
        {},
        [
            opens(1, "a"),
            begins(1),
            gets(1, at("a", created("r1"))),
            loses(1),
            breaks_off(1, again=False),
            is_in(1, State.DONE, STARTED),
            is_ready(),
            is_busy(),
        ],
    ),
    # -- names
    "names end, and begin anew with the connection": (
        {"max_lanes": 2},
        [
            asks(1, "a"),
            asks(2, "b"),
            has_no_name_for("c"),
            asks(3),
            ends(1, at("a", completed("r1"))),
            has_no_name_for("c"),
            asks(4, "a"),
            loses(3, 4, 2),
            asks(5, "c"),
            asks(6, "d"),
            has_no_name_for("a"),
        ],
    ),
    "a name that was never sent is not used up": (
        {"max_lanes": 1},
        [
            opens(1, "a"),
            has_no_name_for("b"),
            releases(1),
            asks(2, "b"),
            has_no_name_for("a"),
        ],
    ),
    "a name is kept over a connection by who is about to use it": (
        {"max_lanes": 1},
        [opens(1, "a"), loses(), has_no_name_for("b"), sends(1), answers(1, "r1", "m1", lane="a")],
    ),
    # -- whether the server names lanes
    "the first event of a response decides: it names them": (
        UNKNOWN_NAMES,
        [
            asks(1, "a"),
            opens(2, "b", free=False),
            opens(3, free=False),
            gets(1, *on("a", KEEPALIVE)),
            knows(None),
            gets(1, *on("a", created("r1"))),
            knows(True),
            is_ready(2, 3),
            sends(2),
            gets(2, *on("b", created("r2"))),
            ends(1, at("a", completed("r1"))),
        ],
    ),
    "the first event of a response decides: it names none": (
        UNKNOWN_NAMES,
        [
            asks(1, "a"),
            opens(2, "b", free=False),
            gets(1, created("r1"), added("m1")),
            knows(False),
            ends(1, completed("r1")),
            is_ready(2),
            sends(2),
            drops(delta("m1"), about("response.in_progress", "r1")),
            answers(2, "r2", "m2"),
        ],
    ),
    "the first event of a response decides: it has names of its own": (
        UNKNOWN_NAMES,
        [asks(1, "a"), gets(1, *on("theirs", created("r1"))), knows(False), ends(1, completed("r1"))],
    ),
    "an error decides nothing": (
        UNKNOWN_NAMES,
        [
            asks(1, "a"),
            opens(2, "b", free=False),
            ends(1, error("unknown_parameter"), REJECTED),
            knows(None),
            is_ready(2),
            sends(2),
            ends(2, at("b", error()), REJECTED),
            knows(None),
        ],
    ),
    "but that lanes are refused": (
        UNKNOWN_NAMES,
        [
            asks(1, "a"),
            ends(1, event("error", error={"param": "stream_id", "message": "no"}), REJECTED),
            knows(False),
        ],
    ),
    "the default lane decides nothing": (
        UNKNOWN_NAMES,
        [asks(1), opens(2, "a", free=False), answers(1, "r1", "m1"), knows(None), is_ready(2)],
    ),
    "what one lane left comes late while another runs, without a name": (
        NO_NAMES,
        [
            asks(1, "a"),
            gets(1, created("r1"), added("m1"), delta("m1")),
            abandons(1),
            opens(2, "b", free=False),
            gets(1, delta("m1")),
            ends(1, completed("r1")),
            is_ready(2),
            drops(delta("m1"), completed("r1")),
            sends(2),
            drops(delta("m1"), completed("r1"), done("r1")),
            answers(2, "r2", "m2"),
        ],
    ),
    "an event of a named lane, where names are not known to be ours": (
        NO_NAMES,
        [asks(1, "a"), opens(2, "b", free=False), gets(1, *on("a", created("r1"))), ends(1, completed("r1"))],
    ),
    "each connection shows anew that it names them": (
        UNKNOWN_NAMES,
        [
            asks(1, "a"),
            gets(1, *on("a", created("r1"))),
            opens(2, "b"),
            opens(3, "c"),
            loses(1),
            knows(None),
            is_ready(2),
            sends(2),
            gets(2, created("r2")),
            knows(False),
            ends(2, completed("r2")),
            is_ready(3),
        ],
    ),
    "a lane that has come over from a connection where names were known": (
        UNKNOWN_NAMES,
        [
            asks(1, "a"),
            gets(1, *on("a", created("r1"))),
            opens(2, "b"),
            loses(1),
            sends(2),
            gets(2, created("r2"), added("m2")),
            opens(3, "c", free=False),
            ends(2, completed("r2")),
            sends(3),
            drops(delta("m2"), completed("r2")),
            answers(3, "r3", "m3"),
        ],
    ),
    "that it names none is not asked again": (
        UNKNOWN_NAMES,
        [asks(1, "a"), gets(1, created("r1")), loses(1), knows(False)],
    ),
    "what was known from the start stays known": (
        {"named": True},
        [asks(1, "a"), gets(1, *on("a", created("r1"))), loses(1), knows(True)],
    ),
    # -- forks
    "a lane waits for a fork of its latest response": (
        {},
        [
            *made(1, "r1", "a"),
            *fork(2, "b", "r1"),
            opens(3, "a", free=False),
            gets(2, *on("b", created("r2"))),
            is_ready(),
            gets(2, *on("b", about("response.in_progress", "r2"))),
            is_ready(3),
        ],
    ),
    "an event after response.in_progress tells as much": (
        {},
        [
            *made(1, "r1"),
            *fork(2, "b", "r1"),
            opens(3, free=False),
            gets(2, *on("b", added("m2"))),
            is_ready(3),
        ],
    ),
    "a fork that fails": (
        {},
        [
            *made(1, "r1", "a"),
            *fork(2, "b", "r1"),
            opens(3, "a", free=False),
            ends(2, at("b", error()), REJECTED),
            is_ready(3),
        ],
    ),
    "a fork that ends at once, as a warmup does": (
        {},
        [
            *made(1, "r1", "a"),
            *fork(2, "b", "r1"),
            opens(3, "a", free=False),
            gets(2, *on("b", created("r2"))),
            ends(2, at("b", completed("r2"))),
            is_ready(3),
        ],
    ),
    "a fork that is abandoned has not begun": (
        {},
        [
            *made(1, "r1", "a"),
            *fork(2, "b", "r1"),
            abandons(2),
            opens(3, "a", free=False),
            is_deserted(True),
            gets(2, *on("b", delta("m2"))),
            is_ready(3),
        ],
    ),
    "a fork that loses its connection": (
        {},
        [*made(1, "r1", "a"), *fork(2, "b", "r1"), opens(3, "a", free=False), loses(2), is_ready(3)],
    ),
    "a fork that is not sent whole": (
        {},
        [
            *made(1, "r1", "a"),
            opens(2, "b"),
            continues(2, "r1"),
            begins(2),
            opens(3, "a", free=False),
            loses(),
            breaks_off(2),
            is_ready(2, 3),
            sends(2),
            opens(4, "c"),
        ],
    ),
    "a fork that waits until another's message has left": (
        {},
        [
            *made(1, "r1", "a"),
            opens(2, "c"),
            begins(2),
            opens(3, "b"),
            continues(3, "r1"),
            begins(3, alone=False),
            opens(4, "a", free=False),
            has_left(2),
            is_ready(3),
            sends(3),
            is_ready(),
            gets(3, *on("b", created("r3"), added("m3"))),
            is_ready(4),
        ],
    ),
    "a fork that waits until another's message has left, and leaves": (
        {},
        [
            *made(1, "r1", "a"),
            opens(2, "c"),
            begins(2),
            opens(3, "b"),
            continues(3, "r1"),
            begins(3, alone=False),
            opens(4, "a", free=False),
            releases(3),
            is_ready(4),
        ],
    ),
    "a fork that has not left is none on the next connection": (
        {},
        [
            *made(1, "r1", "a"),
            opens(2, "c"),
            begins(2),
            opens(3, "b"),
            continues(3, "r1"),
            begins(3, alone=False),
            opens(4, "a", free=False),
            loses(),
            is_ready(3, 4),
            breaks_off(2),
            is_ready(2, 3),
            sends(3),
            releases(4),
            opens(5, "a"),
        ],
    ),
    "two forks of one response": (
        {},
        [
            *made(1, "r1", "a"),
            *fork(2, "b", "r1"),
            *fork(3, "c", "r1"),
            opens(4, "a", free=False),
            gets(2, *on("b", added("m2"))),
            is_ready(),
            gets(3, *on("c", added("m3"))),
            is_ready(4),
        ],
    ),
    "forks of each other wait for nobody": (
        {},
        [*made(1, "r1", "a"), *made(2, "r2", "b"), *fork(3, "a", "r2"), opens(4, "b", free=False)],
    ),
    "what the lane made since is no fork's business": (
        {},
        [*made(1, "r1", "a"), *made(2, "r2", "a"), *fork(3, "b", "r1"), opens(4, "a")],
    ),
    "what is stored can be forked at any time": (
        {},
        [*made(1, "r1", "a", stored=True), *fork(2, "b", "r1"), opens(3, "a")],
    ),
    "a lane continues its own": ({}, [*made(1, "r1", "a"), *fork(2, "a", "r1"), opens(3, "b")]),
    "a response of an earlier connection is nobody's": (
        {},
        [*made(1, "r1", "a"), loses(), *fork(2, "b", "r1"), opens(3, "a")],
    ),
    "other lanes do not wait for a fork": ({}, [*made(1, "r1", "a"), *fork(2, "b", "r1"), opens(3, "c")]),
    # -- errors of the connection
    "the age limit on one of several lanes": (
        {},
        [
            asks(1, "a"),
            asks(2, "b"),
            breaks(at("b", error("websocket_connection_limit_reached"))),
            loses(1, 2),
            is_in(1, State.DONE, UNKNOWN),
            is_in(2, State.DONE, REJECTED),
        ],
    ),
    "an error of nobody knows, among several": (
        {},
        [
            asks(1, "a"),
            asks(2, "b"),
            breaks(error()),
            loses(1, 2),
            is_in(1, State.DONE, UNKNOWN),
            is_in(2, State.DONE, UNKNOWN),
        ],
    ),
    "an error of the connection with one response on it is its answer": (
        {},
        [
            asks(1, "a"),
            opens(2, "b"),
            breaks(error("websocket_connection_limit_reached")),
            loses(1),
            is_in(1, State.DONE, REJECTED),
            is_in(2, State.QUEUED, NOT_SENT),
        ],
    ),
}


@pytest.mark.parametrize(("options", "steps"), PARALLEL.values(), ids=PARALLEL)
def test_in_parallel(options: dict[str, Any], steps: list[Step]) -> None:
    """Who may send, and when: places, names, forks, and servers that name no lanes."""
    scene = Scene(**options)
    for step in steps:
        step(scene)


@pytest.mark.parametrize("steps", TURNS.values(), ids=TURNS)
def test_turns(steps: list[Step]) -> None:
    """Each event of the sequence reaches the request that owns it, or nobody."""
    scene = Scene()
    for step in steps:
        step(scene)


# -- the moves


@pytest.mark.parametrize("new", State)
@pytest.mark.parametrize("old", State)
def test_moves(old: State, new: State) -> None:
    """A move of the table is made; any other raises and changes nothing."""
    request = Request()
    request.state, request.delivery = old, STARTED
    if new in MOVES[old]:
        request.move(new)
        assert request.state is new
    else:
        with pytest.raises(AssertionError, match=f"{old.value} request cannot become {new.value}"):
            request.move(new)
        assert (request.state, request.delivery) == (old, STARTED)


@pytest.mark.parametrize(
    ("path", "delivery"),
    [
        ([], NOT_SENT),
        ([State.DONE], NOT_SENT),
        ([State.SENDING], NOT_SENT),
        ([State.SENDING, State.DONE], NOT_SENT),
        ([State.SENDING, State.QUEUED], NOT_SENT),
        ([State.SENDING, State.SENT], UNKNOWN),
        ([State.SENDING, State.SENT, State.DONE], UNKNOWN),
        ([State.SENDING, State.STARTED], STARTED),
        ([State.SENDING, State.SENT, State.STARTED], STARTED),
        ([State.SENDING, State.SENT, State.STARTED, State.DONE], STARTED),
    ],
)
def test_a_move_says_how_far_the_request_got(path: list[State], delivery: Delivery) -> None:
    request = Request()
    for state in path:
        request.move(state)
    assert request.delivery is delivery


def test_every_state_leads_to_the_end() -> None:
    """Whatever happens, a request can be over; once over, it stays so."""
    assert set(MOVES) == set(State)
    assert all(State.DONE in MOVES[state] for state in State if state is not State.DONE)
    assert MOVES[State.DONE] == frozenset()


def test_who_knows_of_no_lanes_is_told_of_none() -> None:
    lanes = Lanes()
    lanes.open(Request())
    with pytest.raises(ConcurrencyError, match="running on this connection"):
        lanes.open(Request())
    lanes.open(Request("a"))
    for name in (None, "a"):
        with pytest.raises(ConcurrencyError, match="running on this lane"):
            lanes.open(Request(name))


def test_release_of_a_request_that_holds_no_place_changes_nothing() -> None:
    """A refused caller who cleans up neither frees the lane nor ends anything."""
    lanes = Lanes()
    winner, loser, stranger = Request(), Request(), Request("a")
    lanes.open(winner)
    with pytest.raises(ConcurrencyError):
        lanes.open(loser)
    lanes.release(loser)
    lanes.release(stranger)
    assert (winner.state, loser.state, stranger.state) == (State.QUEUED,) * 3
    assert lanes.busy()
    assert not lanes.ready
    with pytest.raises(ConcurrencyError):
        lanes.open(loser)


def test_what_is_remembered_of_earlier_responses_is_bounded() -> None:
    """A server that names ever new things makes the table no larger."""
    lanes = Lanes()
    lanes.route(added("first"))
    for number in range(3):
        request = Request()
        lanes.open(request)
        request.move(State.SENDING)
        for i in range(2 * MAX_NAMES):
            lanes.route(added(f"m{number}-{i}"))
            lanes.route(created(f"r{number}-{i}"))
        assert len(request.ids) <= MAX_NAMES
        assert len(request.items) <= MAX_NAMES
        lanes.route(completed())
        for i in range(2 * MAX_NAMES):
            lanes.route(added(f"n{number}-{i}"))
            lanes.route(created(f"s{number}-{i}"))
    lane = lanes._default
    assert len(lane.earlier._ids) <= 32
    assert sum(map(len, lane.earlier._items)) <= 4 * MAX_NAMES


# -- values of any type anywhere

ODD: list[Any] = [None, True, 0, 10**400, 1.5, "", "x", [], ["x"], {}, {"id": ["x"]}, {"x": {"x": []}}]
PLACES = [
    *[
        "type",
        "item_id",
        "item",
        "stream_id",
        "response",
        "response_id",
        "error",
        "code",
        "status",
        "headers",
    ],
    *["response.id", "response.status", "response.error", "item.id", "error.code", "error.type"],
    *["error.message", "error.status", "error.headers", "error.headers.retry-after", "error.headers.date"],
]


def put(found: Event, place: str, value: Any) -> Event:
    """A copy of the event with the value in its place, which may be within an object."""
    name, _, rest = place.partition(".")
    held = found.get(name)
    inner = held if isinstance(held, dict) else {}
    return {**found, name: put(inner, rest, value) if rest else value}


EVENTS = [
    created("r1"),
    added("m1"),
    delta("m1"),
    delta(),
    completed("r1"),
    failed("r1"),
    done("r1"),
    error(),
    {},
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", [None, "a"])
def test_a_value_of_any_type_is_routed(place: str, name: str | None) -> None:
    """Nothing that JSON can hold in any place makes the table raise, at rest or in a response."""
    for found, value in itertools.product(EVENTS, ODD):
        lanes = Lanes()
        request = Request(name)
        odd = put(found, place, value)
        lanes.route(odd)
        lanes.open(request)
        lanes.route(odd)
        request.move(State.SENDING)
        fields = {} if name is None else {"stream_id": name}
        lanes.route({**odd, **fields})
        for known in (created("r1"), added("m1"), odd, completed("r1"), odd):
            lanes.route({**known, **fields})
            lanes.route(known)
        assert request.state is State.DONE or lanes.connection_error is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=5,
)
KINDS = ["response.created", "response.completed", "response.failed", "response.done", "error", "response.x"]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "type": st.sampled_from(KINDS) | JSON,
                "item_id": st.sampled_from(["m1", "m2"]) | JSON,
                "item": st.fixed_dictionaries({"id": st.sampled_from(["m1", "m2"]) | JSON}) | JSON,
                "stream_id": st.sampled_from(["a", "b"]) | JSON,
                "response": st.fixed_dictionaries({"id": st.sampled_from(["r1", "r2"]) | JSON}) | JSON,
                "error": JSON,
            },
        ),
        max_size=8,
    )
)
def test_any_events_are_routed_to_a_request_that_runs(events: list[Event]) -> None:
    lanes = Lanes()
    requests = [Request(), Request("a")]
    for request in requests:
        lanes.open(request)
        request.move(State.SENDING)
    for found in events:
        running = lanes.running()
        owner = lanes.route(found)
        assert owner is None or owner in running
        assert (owner is not None and owner.state is State.DONE) == (len(lanes.running()) < len(running))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, None),
        ({"item_id": "m1"}, "m1"),
        ({"item": {"id": "m1"}}, "m1"),
        ({"item_id": "m1", "item": {"id": "m2"}}, "m1"),
        ({"item_id": None, "item": {"id": "m1"}}, "m1"),
        ({"item_id": "", "item": {"id": "m1"}}, "m1"),
        ({"item_id": 5, "item": ["m1"]}, None),
        ({"item": {"id": ["m1"]}}, None),
    ],
)
def test_the_item_that_an_event_names(fields: Event, named: str | None) -> None:
    assert item_id(fields) == named


def test_what_is_said_of_a_steer_is_noted_whatever_else_it_names() -> None:
    """An item that is known does not make it one more event of the answer."""
    lanes, request, steer = Lanes(), Request(), Steer()
    lanes.open(request)
    request.move(State.SENDING)
    for found in (created("r1"), added("m1")):
        lanes.route(found)
    lanes.steer(request, steer)
    lanes.route(event("response.steer.accepted", item_id="m1", steer={"previous_response_id": "r1"}))
    assert steer.state == "accepted"


# -- a server, its clients, and chance


class Answer:
    """What a server sends for one request: its events in order, and how many of them precede the last.

    Now and then it leaves events out. With one response id for a whole connection, or item ids that begin
    anew in each response, the opening and the announcements stay: nobody could tell what belongs to what.

    :ivar late: events that name what was sent, as they might come once more when all is over.
    """

    def __init__(
        self, request: Request, number: int, chance: random.Random, *, one_id: bool, same_items: bool
    ) -> None:
        self.request = request
        self._chance = chance
        self._response = "resp" if one_id else f"resp_{number}"
        self._item = "msg" if same_items else f"msg_{number}"
        self._reason = f"reason_{number}"
        self.late: list[Event] = []
        body = self._some([created(self._response)], at_least=one_id or same_items)
        body += self._some([about("response.in_progress", self._response)])
        for index in range(chance.randrange(3)):
            body += self._output(f"{self._item}_{index}", same_items)
        self.before_last = len(body)
        self.events = [*body, *self._ending(began=bool(body))]

    def _some(self, events: list[Event], *, at_least: bool = False) -> list[Event]:
        return [found for found in events if at_least or self._chance.random() < 0.6]

    def _output(self, item: str, announced: bool) -> list[Event]:
        events = self._some([added(item)], at_least=announced)
        return events + self._some(
            [part(item), delta(item), KEEPALIVE, delta(item), delta(), item_done(item)]
        )

    def _ending(self, *, began: bool) -> list[Event]:
        """The terminal event, and what may trail it."""
        response, reason = self._response, self._reason
        trailing = self._chance.choice([[], [done(response)], [done()]])
        second_voice = self._chance.choice([[], [failed(response, reason)], [failed(None, reason)]])
        endings = [[completed(response), *trailing], [error(reason), *second_voice]]
        if began:
            endings += [[failed(response, reason), *trailing], [done(response)]]
        return self._chance.choice(endings)


class Turns(RuleBasedStateMachine):
    """Clients that ask, leave and lose connections in any order; a server that answers each lane in order.

    It names the lanes of its events or does not, which is known beforehand or is not. What is sent without a
    name comes in one order on all lanes.
    """

    NAMES = (None, "a", "b")
    WAYS = ((True, True), (None, True), (None, False), (False, False))

    def __init__(self) -> None:
        super().__init__()
        self.count = itertools.count(1)
        self.requests: list[Request] = []
        self.ended: list[Request] = []
        self.told: set[Request] = set()
        self.waited: set[Request] = set()
        self.server: dict[str | None, list[Answer]] = {name: [] for name in self.NAMES}
        self.over: dict[str | None, list[Answer]] = {name: [] for name in self.NAMES}

    @initialize(
        chance=st.randoms(use_true_random=False),
        ids=st.sampled_from(["unique", "one_id", "same_items"]),
        way=st.sampled_from(WAYS),
        most=st.sampled_from([1, 2, 16]),
    )
    def begin(self, chance: random.Random, ids: str, way: tuple[bool | None, bool], most: int) -> None:
        self.ids = ids
        self.given, self.echoes = way
        self.most = most
        self.lanes = Lanes(most, len(self.NAMES), self.given)
        self.make = functools.partial(
            Answer, chance=chance, one_id=ids == "one_id", same_items=ids == "same_items"
        )
        # The lanes are there, so that their events are told apart by their names.
        for name in self.NAMES:
            request = Request(name)
            self.lanes.open(request)
            self.lanes.release(request)

    def all(self, *states: State) -> list[Request]:
        return [request for request in self.requests if request.state in states]

    def holders(self, lane: str | None) -> list[Request]:
        """Who has the lane, and who waits for it."""
        alive = self.all(State.QUEUED, State.SENDING, State.SENT, State.STARTED)
        return [request for request in alive if request.lane == lane]

    def owner(self, lane: str | None) -> Request | None:
        return next(iter(self.holders(lane)), None)

    def owners(self) -> list[Request]:
        return [owner for owner in map(self.owner, self.NAMES) if owner is not None]

    def queue(self, lane: str | None) -> str | None:
        """Whose answers come one after the other."""
        return lane if self.echoes else None

    # -- clients

    @rule(lane=st.sampled_from(NAMES), parent=st.sampled_from((*NAMES, None, None)), stored=st.booleans())
    def open(self, lane: str | None, parent: str | None, stored: bool) -> None:
        taken = [holder for holder in self.holders(lane) if not is_left(holder)]
        request = Request(lane)
        request.stored = stored
        request.parent = self.latest(parent)
        if len(taken) > 1 or any(not holder.abandoned for holder in taken):
            with pytest.raises(ConcurrencyError):
                self.lanes.open(request)
            return
        self.requests.append(request)
        free = self.lanes.open(request)
        assert free is request.admitted
        assert not (free and taken)
        self.waited.update([] if free else [request])
        assert self.holders(lane) == [*taken, request]

    def latest(self, lane: str | None) -> str | None:
        done = [request for request in self.ended if request.lane == lane and request.response_id]
        return done[-1].response_id if done else None

    @precondition(lambda self: self.all(State.QUEUED))
    @rule(lane=st.sampled_from(NAMES))
    def send(self, lane: str | None) -> None:
        """The message of a request that was let in begins to leave, unless another one's is leaving."""
        request = self.owner(lane)
        if request is None or request.state is not State.QUEUED or request.abandoned or not request.admitted:
            return
        alone = not self.all(State.SENDING)
        assert self.lanes.send(request) is alone
        assert request.held is not alone
        if request.held:
            self.told.discard(request)

    @precondition(lambda self: self.all(State.SENDING))
    @rule(noticed=st.booleans())
    def arrive(self, noticed: bool) -> None:
        """The message is at the server. Its sender may notice that later than the reader sees the answer."""
        for request in self.all(State.SENDING):
            answers = self.server[self.queue(request.lane)]
            if all(answer.request is not request for answer in answers):
                answers.append(self.make(request, next(self.count)))
            if noticed:
                self.lanes.sent(request)

    @rule(lane=st.sampled_from(NAMES))
    def ask(self, lane: str | None) -> None:
        self.open(lane, None, stored=True)
        self.send(lane)
        self.arrive(noticed=True)

    @precondition(lambda self: any(map(self.lanes.busy, self.NAMES)))
    @rule(lane=st.sampled_from(NAMES), which=st.integers(0, 1), at_once=st.booleans())
    def leave(self, lane: str | None, which: int, at_once: bool) -> None:
        for request in self.holders(lane)[which : which + 1]:
            request.abandoned = True
            if at_once and request.state is State.QUEUED:
                self.lanes.release(request)
                assert is_over(request)

    @rule()
    def look(self) -> None:
        """Who waits looks after those who were left."""
        self.lanes.admit()
        assert not any(map(is_left, self.owners()))

    @rule()
    def close(self) -> None:
        """The connection is old: nobody is let in while anything runs."""
        self.lanes.closing = True

    @precondition(lambda self: self.all(State.SENDING) or len(self.lanes.running()) > 1)
    @rule(again=st.booleans())
    def lose(self, again: bool) -> None:
        """The connection ends. Who is in the middle of a message tries again, or gives up."""
        sending = [request for request in self.all(State.SENDING) if not request.abandoned]
        running = self.all(State.SENDING, State.SENT, State.STARTED)
        gone: list[Request] = []
        self.lanes.end(gone)
        assert set(gone) == set(running) - set(sending)
        self.ended += gone
        self.server = {name: [] for name in self.NAMES}
        self.over = {name: [] for name in self.NAMES}
        self.lanes.connection_error = None
        self.told.clear()
        self.waited = set(self.all(State.QUEUED, State.SENDING))
        for request in sending:
            if again:
                assert self.lanes.unsent(request)
            else:
                self.lanes.release(request)

    # -- the server

    @precondition(lambda self: any(self.server.values()))
    @rule(lane=st.sampled_from(NAMES), count=st.integers(1, 6))
    def answer(self, lane: str | None, count: int) -> None:
        """Some more of the answer that is first on the lane."""
        for _ in range(count):
            if self.server[lane]:
                self.emit(self.server[lane][0])

    @precondition(lambda self: any(self.server.values()))
    @rule(lane=st.sampled_from(NAMES))
    def finish(self, lane: str | None) -> None:
        """The answer that is first on the lane, but for what trails it."""
        for answer in self.server[lane][:1]:
            while answer.before_last >= 0 and answer in self.server[lane]:
                self.emit(answer)

    def emit(self, answer: Answer) -> None:
        lane = self.queue(answer.request.lane)
        found = at(lane, answer.events.pop(0))
        is_last, is_late = answer.before_last == 0, answer.before_last < 0
        answer.before_last -= 1
        others = len(self.lanes.running()) - (0 if is_late else 1)
        owner = self.lanes.route(found)
        if is_last and self.lanes.named is None:
            # What trails an answer that taught nothing has the memory of no lane yet.
            answer.events.clear()
        if not answer.events:
            self.server[lane].remove(answer)
        if is_last and others and lane is None and found["type"] == "error":
            assert (owner, self.lanes.connection_error) == (None, found)
            self.lose(again=True)
            return
        assert self.lanes.connection_error is None
        assert owner is (None if is_late else answer.request)
        assert is_late or is_last is is_over(answer.request)
        answer.late += again(found) if answer.before_last >= 0 else []
        if is_last:
            self.ended.append(answer.request)
            self.over[lane] = [*self.over[lane], answer][-2:]

    @precondition(lambda self: self.ids == "unique" and any(self.over.values()))
    @rule(lane=st.sampled_from(NAMES))
    def straggle(self, lane: str | None) -> None:
        """Something comes late of what ended a while ago, in between whatever goes on now."""
        for answer in self.over[lane]:
            for found in answer.late:
                assert self.lanes.route(at(lane, found)) is None

    # -- what always holds

    @invariant()
    def a_lane_has_one_owner_and_one_who_waits_for_an_abandoned_one(self) -> None:
        for name in self.NAMES:
            holders = self.holders(name)
            assert len(holders) <= 2
            assert all(holder.abandoned for holder in holders[:-1])
            assert all(holder.state is State.QUEUED and not holder.admitted for holder in holders[1:])
            assert self.lanes.busy(name) is any(not holder.abandoned for holder in holders)

    @invariant()
    def no_more_run_than_can_be_told_apart(self) -> None:
        admitted = [owner for owner in self.owners() if owner.admitted]
        assert len(admitted) <= self.most
        assert len(admitted) <= 1 or self.lanes.named
        assert all(owner.admitted for owner in self.owners() if owner.state is not State.QUEUED)
        assert self.lanes.named in (self.given, self.echoes)
        assert len(self.all(State.SENDING)) <= 1

    @invariant()
    def who_waits_does_so_for_a_reason(self) -> None:
        """No place is free, or a fork of what the lane made last has not begun."""
        owners = self.owners()
        limit = self.most if self.lanes.named and not self.lanes.closing else 1
        forked = {owner.source for owner in owners}
        for waiting in (owner for owner in owners if not owner.admitted):
            assert sum(owner.admitted for owner in owners) >= limit or (waiting.lane,) in forked

    @invariant()
    def who_waited_is_told(self) -> None:
        """When it is let in, and when its message may leave."""
        ready, self.lanes.ready = self.lanes.ready, []
        self.told.update(ready)
        for request in self.waited:
            assert not request.admitted or request in self.told or request.held or is_over(request)
        held = [request for request in self.all(State.QUEUED) if request.held]
        if held and not self.all(State.SENDING) and not any(request.abandoned for request in held):
            assert self.told.intersection(held)

    @invariant()
    def nobody_ends_twice(self) -> None:
        assert len(self.ended) == len(set(self.ended))
        assert all(is_over(request) for request in self.ended)

    def teardown(self) -> None:
        """When all is sent and answered, every request has ended, and every lane is free."""
        if not hasattr(self, "lanes"):
            return
        self.arrive(noticed=True)
        for name in self.NAMES:
            while self.server[name]:
                self.emit(self.server[name][0])
        for request in self.all(State.QUEUED):
            self.lanes.release(request)
        for name in self.NAMES:
            assert not self.holders(name)
            assert not self.lanes.busy(name)
            request = Request(name)
            assert self.lanes.open(request)
            self.lanes.release(request)
        assert not self.lanes.running()


def again(found: Event) -> list[Event]:
    """Events that name the same item, or the same response."""
    item = found.get("item_id") or found.get("item", {}).get("id")
    response = found.get("response", {}).get("id")
    named = [delta(item)] if item else []
    return named + ([about("response.in_progress", response)] if response else [])


def is_left(request: Request) -> bool:
    """Whether nothing was sent and nobody wants it."""
    return request.abandoned and request.state is State.QUEUED


def is_over(request: Request) -> bool:
    return request.state is State.DONE


def test_no_event_of_one_response_reaches_another() -> None:
    """Over any order of asking, answering, leaving and losing, with what servers leave out."""
    run_state_machine_as_test(
        Turns, settings=settings(max_examples=500, stateful_step_count=40, deadline=None, derandomize=True)
    )


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_an_end_that_was_broken_off_is_finished(
    monkeypatch: pytest.MonkeyPatch, times: int, late: bool
) -> None:
    """By calling it again: no request is missing from the list, whatever the interrupt fell on."""
    scene = Scene()
    for number, lane in enumerate("ab"):
        for step in (opens(number, lane), sends(number)):
            step(scene)
    go_on, calls = Lane.go_on, iter(range(100))

    def broken_off(lane: Lane) -> None:
        interrupted = next(calls) == times - 1
        if interrupted and not late:
            raise KeyboardInterrupt
        go_on(lane)
        if interrupted:
            raise KeyboardInterrupt

    monkeypatch.setattr(Lane, "go_on", broken_off)
    ended: list[Request] = []
    with pytest.raises(KeyboardInterrupt):
        scene.lanes.end(ended)
    scene.lanes.end(ended)
    assert set(ended) == set(scene.requests.values())
    assert {request.state for request in ended} == {State.DONE}
    assert scene.lanes.running() == []
