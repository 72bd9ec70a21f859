"""What the responses before the running one have named, for more of that may come late."""

from __future__ import annotations

import collections

from responses_ws._core.events import OPENINGS, Event, event_type, response_id
from responses_ws._core.failures import ErrorEvent, parse_error
from responses_ws._core.fields import mapping, text
from responses_ws._core.states import Items, Request, State

__all__ = ["Earlier", "claim", "item_id", "reason"]

ITEM_ADDED = "response.output_item.added"
ITEM_DONE = "response.output_item.done"
ANNOUNCEMENTS = frozenset({ITEM_ADDED, ITEM_DONE, "response.content_part.added"})
REMEMBERED_RESPONSES = 32
REMEMBERED_ITEM_SETS = 4
MAX_NAMES = 4096
STARTED = State.STARTED  # once for every event, see responses_ws._core.lanes


class Earlier:
    """The responses that ran one after the other on one lane, and what belonged to nobody between them.

    :ivar failure: the reason given by an ``error`` that ended a response, and whether the response had an id:
        a ``response.failed`` for the same response may still follow.
    """

    __slots__ = ("_ids", "_items", "failure")

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}  # in the order of their coming
        self._items: collections.deque[Items] = collections.deque(maxlen=REMEMBERED_ITEM_SETS)
        self.failure: tuple[str | None, bool] | None = None

    def forget(self) -> None:
        """Nothing of an earlier connection can come late on the next one."""
        self._ids.clear()
        self._items.clear()
        self.failure = None

    def add(self, request: Request) -> None:
        """The request is over."""
        for named in request.ids:
            self._remember_id(named)
        self._items.append(request.items)

    def remember(self, event: Event) -> None:
        """What an event names that belongs to nobody: more of that may come."""
        self._remember_id(response_id(event))
        if not self._items:
            self._items.append({})
        item = item_id(event)
        if item is not None:
            _note_item(self._items[-1], event_type(event), item)

    def _remember_id(self, named: str | None) -> None:
        if named is None:
            return
        self._ids.pop(named, None)
        self._ids[named] = None
        if len(self._ids) > REMEMBERED_RESPONSES:
            del self._ids[next(iter(self._ids))]

    def owns(self, event: Event, kind: str, named: str | None, item: str | None, request: Request) -> bool:
        """Whether an event is theirs, and not the request's that runs now.

        :param named: the response that it names.
        :param item: the item that it names.
        """
        started = request.state is STARTED
        if named is not None and (named in request.ids) != (named in self._ids):
            # Some servers use one id for all responses of a connection; the opening tells them apart.
            return named not in request.ids and (started or kind not in OPENINGS)
        if kind == "response.failed" and self._follows_error(event):
            return True
        if item is None or item in request.items:
            return False
        was_done = self._was_done(item)
        if was_done is None:
            return False
        # Some servers use the same item ids in every response. Then an item is announced anew; what an
        # unfinished item still had to come looks like an announcement, but does not add it.
        announced = kind == ITEM_ADDED or (was_done and kind in ANNOUNCEMENTS)
        return not started or not announced

    def _was_done(self, item: str) -> bool | None:
        """Whether an item of this id is done; None when no response had one."""
        for items in reversed(self._items):
            if item in items:
                return items[item]
        return None

    def _follows_error(self, event: Event) -> bool:
        """Whether this is the second voice of a failure whose first, an ``error``, has ended its turn."""
        failure, self.failure = self.failure, None
        if failure is None:
            return False
        given, had_id = failure
        another = had_id and response_id(event) is not None
        return not another and given is not None and given == reason(parse_error(event))


def claim(request: Request, kind: str, named: str | None, item: str | None) -> None:
    """Note what an event of this type names as the request's own: its response, and its item."""
    if named is not None and len(request.ids) < MAX_NAMES:
        request.ids.add(named)
        request.response_id = named
    if item is not None:
        _note_item(request.items, kind, item)


def reason(error: ErrorEvent | None) -> str | None:
    """What went wrong, in the service's words for programs."""
    return None if error is None else error.code or error.type


def _note_item(items: Items, kind: str, item: str) -> None:
    if len(items) < MAX_NAMES:
        items[item] = kind == ITEM_DONE or items.get(item, False)


def item_id(event: Event) -> str | None:
    """The id of the item that the event names."""
    if "item_id" in event:
        return text(event["item_id"]) or text(mapping(event.get("item")).get("id"))
    return text(mapping(event["item"]).get("id")) if "item" in event else None
