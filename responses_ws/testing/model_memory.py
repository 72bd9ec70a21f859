"""What a model remembers: responses that it made, what belongs to a connection, and failures to come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from responses_ws.testing.model_events import Event
from responses_ws.testing.model_reply import Item

__all__ = ["Failure", "Made", "ModelConnection"]


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A response that was made: what it added to the history of its parent."""

    id: str
    parent: Made | None
    input: list[Item]
    output: list[Item]
    stored: bool

    @property
    def history(self) -> list[Item]:
        chain: list[Made] = []
        made: Made | None = self
        while made:
            chain.append(made)
            made = made.parent
        return [item for made in reversed(chain) for item in (*made.input, *made.output)]


@dataclass(slots=True, eq=False)
class ModelConnection:
    """What the service keeps with one connection, and loses with it.

    :ivar responses: requests that were answered with a response.
    :ivar over: whether the service wants to close the connection.
    """

    latest: dict[str | None, Made] = field(default_factory=dict)
    lanes: set[str] = field(default_factory=set)
    responses: int = 0
    over: bool = False

    def evict(self, request: Item) -> None:
        """A continuation that failed on the lane of its parent loses the parent from the connection."""
        lane, previous = request.get("stream_id"), request.get("previous_response_id")
        latest = self.latest.get(lane)
        if latest and latest.id == previous:
            del self.latest[lane]


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure to play; see :meth:`Model.fail_next`."""

    error: Item
    status: int
    when: str
    then_failed: bool

    def cut(self, events: Iterator[Event]) -> Iterator[Event]:
        """The events that come before it."""
        for event in events:
            yield event
            if event["type"].endswith("." + self.when):
                return
