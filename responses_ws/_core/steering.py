"""Input for a response that is already running: what became of it, and whether more will follow.

A steered response may end as if it were over, and the service begins its successor by itself, without a
request (the API's guide "Steering"). So its end is not the end of the turn while a steer is on its way.
"""

from __future__ import annotations

from responses_ws._core.events import Event, response_id
from responses_ws._core.failures import parse_error, response_error
from responses_ws._core.fields import mapping, text
from responses_ws.errors import Delivery, ResponseError
from responses_ws.messages import Steer

__all__ = ["STEER_EVENTS", "Steering", "steered_response"]

STEER_EVENTS = "response.steer."
ON_ITS_WAY = frozenset({"sent", "accepted"})
FOLLOWED = frozenset({"completed", "incomplete"})
"""How a response ends that may have a successor."""


class Steering:
    """The steers of one request, in the order of sending.

    :ivar held: whether the response has ended and its successor, or the end of the turn, is waited for.
    :ivar ended: the last event of each response that did not end the turn, in order.
    """

    __slots__ = ("_steers", "ended", "held")

    def __init__(self) -> None:
        self.held = False
        self.ended: list[Event] = []
        self._steers: list[Steer] = []

    def add(self, steer: Steer) -> None:
        self._steers.append(steer)

    @property
    def waits(self) -> bool:
        """Whether a successor may still come."""
        return any(steer.state in ON_ITS_WAY for steer in self._steers)

    def ends(self, status: str, event: Event) -> bool:
        """A response of the turn has ended so, with this event; whether the turn ends with it."""
        again = self.held and response_id(event) in (None, response_id(self.ended[-1]))
        self.held = status in FOLLOWED and self.waits
        if self.held and not again:  # some servers mark the end of a response twice
            self.ended.append(event)
        return not self.held

    def begin(self) -> None:
        """A response has begun: after one that has ended it is the successor."""
        if self.held:
            self.held = False
            for steer in self._steers:
                if steer.state in ON_ITS_WAY:
                    steer.state = "committed"

    def note(self, kind: str, event: Event) -> bool:
        """What the service says of a steer; whether that ends the turn."""
        steer = self._find(text(mapping(event.get("steer")).get("id")))
        if steer is not None:
            steer.id = steer.id or text(mapping(event.get("steer")).get("id"))
            steer.state = kind.removeprefix(STEER_EVENTS)
            if steer.state == "failed":
                steer.error = _refusal(event)
        return self.held and not self.waits

    def _find(self, steer_id: str | None) -> Steer | None:
        """By id, else the first that was not answered: answers come in the order of sending."""
        named = (steer for steer in self._steers if steer_id is not None and steer.id == steer_id)
        unanswered = (steer for steer in self._steers if steer.state == "sent")
        return next(named, None) or next(unanswered, None)


def _refusal(event: Event) -> ResponseError | None:
    error = parse_error({**event, "type": "error"})
    return None if error is None else response_error(error, delivery=Delivery.REJECTED)


def steered_response(event: Event) -> str | None:
    """The id of the response that a steer was for."""
    return text(mapping(event.get("steer")).get("previous_response_id"))
