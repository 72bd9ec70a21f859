"""What the responses before the running one have named, for more of that may come late."""

from __future__ import annotations

import collections

from responses_ws._core.events import (
    OPENINGS,
    ErrorEvent,
    Event,
    event_type,
    parse_error,
    response_id,
)
from responses_ws._core.fields import mapping, text
from responses_ws._core.states import Items, Request, State

__all__ = ["Earlier", "claim", "reason"]

ITEM_ADDED = "response.output_item.added"
ITEM_DONE = "response.output_item.done"
ANNOUNCEMENTS = frozenset({ITEM_ADDED, ITEM_DONE, "response.content_part.added"})
REMEMBERED_RESPONSES = 32
REMEMBERED_ITEM_SETS = 4
MAX_NAMES = 4096


class Earlier:
    """The responses that ran one after the other on one lane, and what belonged to nobody between them.

    :ivar failure: the reason given by an ``error`` that ended a response, and whether the response had an id:
        a ``response.failed`` for the same response may still follow.
    """

    __slots__ = ("_ids", "_items", "failure")

    def __init__(self) -> None:
        self._ids: collections.deque[str] = collections.deque(maxlen=REMEMBERED_RESPONSES)
        self._items: collections.deque[Items] = collections.deque(maxlen=REMEMBERED_ITEM_SETS)
        self.failure: tuple[str | None, bool] | None = None

    def forget(self) -> None:
        """Nothing of an earlier connection can come late on the next one."""
        self._ids.clear()
        self._items.clear()
        self.failure = None

    def add(self, request: Request) -> None:
        """The request is over."""
        self._ids.extend(request.ids)
        self._items.append(request.items)

    def remember(self, event: Event) -> None:
        """What an event names that belongs to nobody: more of that may come."""
        named = response_id(event)
        if named is not None and named not in self._ids:
            self._ids.append(named)
        if not self._items:
            self._items.append({})
        _note_item(event, self._items[-1])

    def owns(self, event: Event, kind: str, request: Request) -> bool:
        """Whether an event is theirs, and not the request's that runs now."""
        started = request.state is State.STARTED
        named = response_id(event)
        if named is not None and (named in request.ids) != (named in self._ids):
            # Some servers use one id for all responses of a connection; the opening tells them apart.
            return named not in request.ids and (started or kind not in OPENINGS)
        if kind == "response.failed" and self._follows_error(event):
            return True
        item_id = _item_id(event)
        if item_id is None or item_id in request.items:
            return False
        was_done = self._item(item_id)
        if was_done is None:
            return False
        # Some servers use the same item ids in every response. Then an item is announced anew; what an
        # unfinished item still had to come looks like an announcement, but does not add it.
        announced = kind == ITEM_ADDED or (was_done and kind in ANNOUNCEMENTS)
        return not started or not announced

    def _item(self, item_id: str) -> bool | None:
        """Whether an item of this id is done; None when no response had one."""
        return next((items[item_id] for items in reversed(self._items) if item_id in items), None)

    def _follows_error(self, event: Event) -> bool:
        """Whether this is the second voice of a failure whose first, an ``error``, has ended its turn."""
        failure, self.failure = self.failure, None
        if failure is None:
            return False
        given, had_id = failure
        another = had_id and response_id(event) is not None
        return not another and given is not None and given == reason(parse_error(event))


def claim(request: Request, event: Event) -> None:
    """Note what the event names as the request's own."""
    named = response_id(event)
    if named is not None and len(request.ids) < MAX_NAMES:
        request.ids.add(named)
        request.response_id = named
    _note_item(event, request.items)


def reason(error: ErrorEvent | None) -> str | None:
    """What went wrong, in the service's words for programs."""
    return None if error is None else error.code or error.type


def _note_item(event: Event, items: Items) -> None:
    item_id = _item_id(event)
    if item_id is not None and len(items) < MAX_NAMES:
        items[item_id] = event_type(event) == ITEM_DONE or items.get(item_id, False)


def _item_id(event: Event) -> str | None:
    if "item_id" not in event and "item" not in event:
        return None
    return text(event.get("item_id")) or text(mapping(event.get("item")).get("id"))
