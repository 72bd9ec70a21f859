"""What the tests of lanes share: a service that has them, and events that name them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shell import Event, Task, answer, completed, created, delta, stack, until

from responses_ws import Delivery, Endpoint, ResponseStream, WebSocket
from responses_ws.lane import Lane
from responses_ws.testing import ScriptedServer, Step, expect, send

IN_FLIGHT = 16
NAMES = 32


def with_lanes(
    server: ScriptedServer, *, max_in_flight: int = IN_FLIGHT, max_age: float | None = None, **options: Any
) -> WebSocket:
    """A WebSocket to the server, which has lanes; not yet connected."""
    endpoint = Endpoint(
        f"{server.url}/responses",
        max_age=max_age,
        max_in_flight=max_in_flight,
        max_lanes=NAMES,
        steering=True,
    )
    return WebSocket("", endpoint=endpoint, ssl_context=server.ssl_context, **options)


def on(name: str | None, *events: Event) -> list[Event]:
    """The events of a lane."""
    return [event if name is None else {**event, "stream_id": name} for event in events]


def begun(name: str, piece: str = "begun ") -> list[Event]:
    """The first events of a response on a lane, whose id is made of the lane's name."""
    return on(name, created(f"resp_{name}"), delta(piece, f"msg_{name}"))


def ended(name: str, piece: str = "ended") -> list[Event]:
    """The rest of it."""
    return on(name, delta(piece, f"msg_{name}"), completed(f"resp_{name}"))


def starts(*names: str) -> list[Step]:
    """A request on each of these lanes, one after the other, of which the answer begins."""
    return [step for name in names for step in (expect(stream_id=name), send(*begun(name)))]


def turn(name: str, response_id: str, text: str, **fields: Any) -> list[Step]:
    """A request on a lane and its whole answer."""
    return [expect(stream_id=name, **fields), send(*on(name, *answer(response_id, text)))]


def ask(lane: Lane | WebSocket, text: str = "hi", **fields: Any) -> str:
    """The text of the answer."""
    return lane.create_response(model="m", input=text, **fields).content


def begin(ws: WebSocket, *names: str) -> list[ResponseStream]:
    """A running response on each of these lanes; see :func:`starts`."""
    streams = []
    for name in names:
        streams.append(ws.lane(name).stream(model="m", input="hi"))
        until(lambda: streams[-1]._source.delivery is Delivery.STARTED)
    return streams


def waiting(function: Callable[..., Any], *args: Any, **fields: Any) -> Task:
    """The function on a thread of its own, where it waits for its turn to send."""
    task = Task(function, *args, **fields)
    until(lambda: waits(task))
    return task


def waits(task: Task) -> bool:
    """Whether the thread waits for a place, or for another message to leave."""
    names = stack(task.ident or 0)
    return "wait_for" in names and ("await_place" in names or "_begin_sending" in names)
