"""One lane of a connection, and which of them may send."""

from __future__ import annotations

from collections.abc import Iterable

from responses_ws._core.earlier import Earlier
from responses_ws._core.states import Request

__all__ = ["Lane", "admissible"]


class Lane:
    """The responses of one ``stream_id``, one after the other.

    :ivar latest: the response that ended last, if its connection alone keeps it.
    :ivar used: whether its name was sent on this connection.
    """

    __slots__ = ("current", "earlier", "latest", "used", "waiting")

    def __init__(self, earlier: Earlier) -> None:
        self.current: Request | None = None
        self.waiting: Request | None = None
        self.earlier = earlier
        self.latest: str | None = None
        self.used = False

    def go_on(self) -> None:
        """Who has the lane is done with it; who waits for it has it now."""
        self.current, self.waiting = self.waiting, None

    def forget(self) -> None:
        """Its connection is gone."""
        self.earlier.forget()
        self.latest = None
        self.used = False


def admissible(lanes: Iterable[Lane], limit: int) -> list[Request]:
    """The requests that may be sent now and could not before: first come, first served.

    Computed from the lanes each time, so that no interrupt leaves a place taken by nobody.

    :param limit: responses that may run in parallel.
    """
    first = [lane.current for lane in lanes if lane.current is not None]
    waiting = [request for request in first if not request.admitted]
    if not waiting or len(first) == 1:  # nearly always, and there is neither a limit nor a fork to mind
        return waiting
    room = limit - (len(first) - len(waiting))
    forked = {request.source for request in first if request.admitted}
    found: list[Request] = []
    for request in sorted(waiting, key=lambda request: request.turn):
        if len(found) < room and (request.lane,) not in forked:
            found.append(request)
            forked.add(request.source)
    return found
