"""A conversation as this side keeps it, and the next request of it: new items only, or the whole history.

The service continues a response by its id, so that only what is new has to travel. An id can be lost: with
the connection that alone knew it, or by the service's own choice. Then everything travels again. So the
items, the id and the number of items behind the id are kept together and change together, when a response
is completed and at no other moment.
"""

from __future__ import annotations

import copy
import enum
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from responses_ws._core.fields import mappings, sendable, text
from responses_ws._core.replay import Item, ambiguous_calls, check_new, finished, open_calls, replayable
from responses_ws._core.request import stores
from responses_ws.errors import ConfigurationError

__all__ = ["Form", "Ledger", "Place", "Request", "Step"]

Place = Hashable
"""Where a response that was not stored is alive: a connection and its latest response. It is left as soon as
the connection ends or carries another request."""

ENCRYPTED = "reasoning.encrypted_content"


class Form(enum.Enum):
    """How much of the history travels."""

    SHORTEST = "shortest"
    """What the service does not have."""
    WHOLE = "whole"
    WITHOUT_REASONING = "without reasoning"
    """The whole without the model's reasoning."""


@dataclass(frozen=True, slots=True)
class Request:
    """A payload ready to be sent.

    :ivar continued: it names a previous response.
    """

    payload: dict[str, Any]
    continued: bool


@dataclass(frozen=True, slots=True)
class Anchor:
    """What the service has.

    :ivar response_id: the last completed response.
    :ivar position: the number of items behind it.
    :ivar place: where it is alive; None when it is stored.
    :ivar conversation: the ``conversation`` that it was made in, or None.
    """

    response_id: str
    position: int
    place: Place | None = None
    conversation: object = None

    def serves(self, fields: Mapping[str, Any], place: Place | None) -> bool:
        """Whether a request with these fields, sent from this place, can continue it.

        Model, tools, instructions and the like are no part of a chain: they travel with each request and may
        change at any time. Two fields forbid it: another ``conversation``, which has a history of its own,
        and ``store`` after a response that was not stored, whose items nobody could store.
        """
        if self.conversation != fields.get("conversation"):
            return False
        return self.place is None or (self.place == place and not stores(fields))


@dataclass(frozen=True, slots=True)
class State:
    """The items, and how many of them the service has under which id: one value, so that no interrupt can
    come between its parts."""

    items: tuple[Item, ...] = ()
    anchor: Anchor | None = None


class Ledger:
    """The history of one conversation: items of completed steps, sent and received. Not thread-safe.

    :param items: a history that no service has seen yet; they are copied.
    """

    __slots__ = ("_state",)

    def __init__(self, items: Iterable[Mapping[str, Any]] = ()) -> None:
        self._state = State(_copied(items))

    @property
    def items(self) -> tuple[Item, ...]:
        """The history, oldest first."""
        return self._state.items

    @property
    def last_response_id(self) -> str | None:
        """The last completed response; None at the start of a chain."""
        anchor = self._state.anchor
        return None if anchor is None else anchor.response_id

    @property
    def open_calls(self) -> dict[str, Item]:
        """The calls without an output, by ``call_id``, in order."""
        return open_calls(self._state.items)

    @property
    def ambiguous_calls(self) -> set[str]:
        """The ids of open calls that two different calls have."""
        return ambiguous_calls(self._state.items)

    def append(self, *items: Mapping[str, Any]) -> None:
        """Add what the next request must bring, whatever becomes of it: outputs of tools that ran.

        Raises :class:`ConfigurationError` for an output that no open call waits for, or an item whose id is
        in the history.
        """
        new = _copied(items)
        state = self._state
        check_new(state.items, new, all_answered=False)
        self._state = replace(state, items=(*state.items, *new))

    def replace(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Let these be the history, on a new chain."""
        self._state = State(_copied(items))

    def begin_chain(self) -> None:
        """Keep the history and forget the id: the next request sends everything."""
        self._state = replace(self._state, anchor=None)

    def fork(self) -> Ledger:
        """A ledger of its own with the same history."""
        other = Ledger()
        other._state = self._state
        return other

    def to_dict(self) -> dict[str, Any]:
        """The ledger as plain values for JSON. An id that only a connection knows is left out."""
        items, anchor = self._state.items, self._state.anchor
        kept = anchor if anchor is not None and anchor.place is None else None
        return {
            "items": copy.deepcopy(list(items)),
            "response_id": None if kept is None else kept.response_id,
            "position": 0 if kept is None else kept.position,
            "conversation": None if kept is None else kept.conversation,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Ledger:
        """The ledger that :meth:`to_dict` gave.

        Raises :class:`ConfigurationError` when it is none.
        """
        items, response_id, position = data.get("items"), data.get("response_id"), data.get("position", 0)
        if not isinstance(items, list) or len(mappings(items)) != len(items):
            raise ConfigurationError("items must be a list of dicts")
        ledger = cls(items)
        if response_id is None:
            return ledger
        if not text(response_id) or type(position) is not int or not 0 <= position <= len(items):
            raise ConfigurationError("response_id and position must be those of a ledger")
        anchor = Anchor(response_id, position, conversation=data.get("conversation"))
        ledger._state = replace(ledger._state, anchor=anchor)
        return ledger

    def step(self, items: Sequence[Mapping[str, Any]], fields: Mapping[str, Any]) -> Step:
        """The next step of the conversation, checked.

        Raises :class:`ConfigurationError` naming the item that cannot follow the history, or the call that
        has no output.
        """
        new = _copied(items)
        check_new(self._state.items, new, all_answered=True)
        return Step(self, self._state, new, _with_encrypted_reasoning(fields))

    def _advance(self, state: State) -> None:
        self._state = state


class Step:
    """One request of a conversation, in whatever form it has to travel, and what becomes of the ledger.

    :param state: of the ledger when the step began.
    :param new: the items that the step adds.
    :param fields: the rest of the payload.
    """

    __slots__ = ("_fields", "_ledger", "_length", "_new", "_state")

    def __init__(
        self, ledger: Ledger, state: State, new: tuple[Item, ...], fields: Mapping[str, Any]
    ) -> None:
        self._ledger = ledger
        self._state = state
        self._new = new
        self._fields = fields
        self._length = len(state.items)
        """Of the ledger, as far as it is this step's or earlier."""

    ours = True
    """The history is here, so that it can be sent whole."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """The payload without its input."""
        return self._fields

    def request(self, place: Place | None, form: Form = Form.SHORTEST) -> Request:
        """The request to send from this place; None is a place that keeps nothing."""
        anchor = self._state.anchor
        if form is not Form.SHORTEST or anchor is None or not anchor.serves(self._fields, place):
            history = replayable(self._state.items, reasoning=form is not Form.WITHOUT_REASONING)
            return Request({**self._fields, "input": [*history, *self._new]}, continued=False)
        unseen = [*replayable(self._state.items[anchor.position :]), *self._new]
        payload = {**self._fields, "input": unseen}
        if anchor.conversation is None:
            payload["previous_response_id"] = anchor.response_id
        return Request(payload, continued=anchor.conversation is None)

    def lost(self) -> None:
        """The service does not have the id any more."""
        if self._ledger.last_response_id is not None:
            self._ledger.begin_chain()

    def completed(self, response_id: str | None, output: Iterable[Item], place: Place | None) -> None:
        """The response was completed, at this place (None keeps nothing): the ledger goes on from it.

        May come again with more output, when a successor of the response goes on in the same step.
        """
        stored = stores(self._fields)
        items = (*self._state.items, *self._new, *_received(output))
        anchor = None
        if response_id is not None and (stored or place is not None):
            home = None if stored else place
            anchor = Anchor(response_id, len(items), home, self._fields.get("conversation"))
        self._record(items, anchor)

    def stopped(self, output: Iterable[Item]) -> None:
        """The response is incomplete: what was said stays, but nothing can continue its id for sure."""
        anchor = self._state.anchor
        items = (*self._state.items, *self._new, *_received(finished(output)))
        self._record(items, anchor if anchor is not None and anchor.place is None else None)

    def add(self, items: Iterable[Item]) -> None:
        """These belong to the history too; a new chain will bring them."""
        self._ledger.append(*items)
        self._ledger.begin_chain()

    def _record(self, items: tuple[Item, ...], anchor: Anchor | None) -> None:
        appended = self._ledger.items[self._length :]
        self._length = len(items)
        self._ledger._advance(State((*items, *appended), anchor))


def _copied(items: Iterable[Mapping[str, Any]]) -> tuple[Item, ...]:
    """The caller may change his own later; what the service was sent stays what it was."""
    return tuple(copy.deepcopy(dict(item)) for item in items)


def _received(output: Iterable[Item]) -> tuple[Item, ...]:
    """What the service said, as it can be sent back whatever it said."""
    return tuple(map(sendable, output))


def _with_encrypted_reasoning(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without ``store`` the reasoning must come along to be sent again."""
    include = fields.get("include")
    if stores(fields) or (include is not None and (not isinstance(include, list) or ENCRYPTED in include)):
        return fields
    return {**fields, "include": [*(include or ()), ENCRYPTED]}
