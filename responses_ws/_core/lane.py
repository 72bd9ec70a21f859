"""One lane of a connection, and which of them may send."""

from __future__ import annotations

from collections.abc import Iterable

from responses_ws._core.earlier import Earlier
from responses_ws._core.states import Request

__all__ = ["Lane", "admissible"]


class Lane:
    """The responses of one ``stream_id``, one after the other."""

    __slots__ = ("current", "earlier", "waiting")

    def __init__(self, earlier: Earlier) -> None:
        self.current: Request | None = None
        self.waiting: Request | None = None
        self.earlier = earlier


def admissible(lanes: Iterable[Lane], limit: int) -> list[Request]:
    """The requests that may be sent now and could not before: first come, first served.

    Computed from the lanes each time, so that no interrupt leaves a place taken by nobody.

    :param limit: responses that may run in parallel.
    """
    taken = [lane for lane in lanes if lane.current is not None]
    room = limit - sum(lane.current.admitted for lane in taken if lane.current)
    if room == limit - len(taken):
        return []
    forked = {lane.current.source for lane in taken if lane.current}
    waiting = [
        lane.current
        for lane in taken
        if lane.current and not lane.current.admitted and (lane.current.lane,) not in forked
    ]
    return sorted(waiting, key=lambda request: request.turn)[: max(0, room)]
