"""The output of a response, put together from its events.

Items and their parts interleave, and gateways leave events out or change ids on the way. So an event is
attributed by what it names (item id, call id, place in the output) and never by what came last, and no event
is required. What the service sends as done is authoritative over the deltas before it, unless it is empty.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from responses_ws._core.fields import REPLACEMENT, count, mapping, mappings, printable, text
from responses_ws._core.parser import Event

__all__ = ["DELTAS", "Kind", "Output", "Part", "lacking"]

# -- the kinds of text


@dataclass(frozen=True, eq=False, slots=True)
class Kind:
    """A kind of text that arrives in pieces.

    :ivar event: the type of its events, without ``.delta`` and ``.done``.
    :ivar item_type: the type of item that it belongs to.
    :ivar field: the item's field that holds it, as the text itself or as a list of parts.
    :ivar part_type: its type in that list; None when the field is the text itself.
    :ivar number: the field of its events that tells the texts of one item apart.
    :ivar text: the field of a ``done`` event, and of the part, that holds the whole text.
    :ivar shown: the field of a chunk that holds a piece of it.
    """

    event: str
    item_type: str
    field: str
    part_type: str | None
    number: str
    text: str
    shown: Literal["content", "refusal", "reasoning", "tool_calls"]


OUTPUT_TEXT = Kind(
    event="response.output_text",
    item_type="message",
    field="content",
    part_type="output_text",
    number="content_index",
    text="text",
    shown="content",
)
REFUSAL = Kind(
    event="response.refusal",
    item_type="message",
    field="content",
    part_type="refusal",
    number="content_index",
    text="refusal",
    shown="refusal",
)
REASONING_TEXT = Kind(
    event="response.reasoning_text",
    item_type="reasoning",
    field="content",
    part_type="reasoning_text",
    number="content_index",
    text="text",
    shown="reasoning",
)
SUMMARY_TEXT = Kind(
    event="response.reasoning_summary_text",
    item_type="reasoning",
    field="summary",
    part_type="summary_text",
    number="summary_index",
    text="text",
    shown="reasoning",
)
ARGUMENTS = Kind(
    event="response.function_call_arguments",
    item_type="function_call",
    field="arguments",
    part_type=None,
    number="call_id",
    text="arguments",
    shown="tool_calls",
)
INPUT = Kind(
    event="response.custom_tool_call_input",
    item_type="custom_tool_call",
    field="input",
    part_type=None,
    number="call_id",
    text="input",
    shown="tool_calls",
)
KINDS = (OUTPUT_TEXT, REFUSAL, REASONING_TEXT, SUMMARY_TEXT, ARGUMENTS, INPUT)

DELTAS = {f"{kind.event}.delta": kind for kind in KINDS}
"""Event types that carry a piece of text, with the kind of it."""
DONES = {f"{kind.event}.done": kind for kind in KINDS}
PART_DONES = frozenset({"response.content_part.done", "response.reasoning_summary_part.done"})
PARTS: dict[str | None, Kind] = {kind.part_type: kind for kind in KINDS if kind.part_type}


class Part:
    """One text in the making.

    :ivar pieces: what arrived, in whole characters.
    :ivar held: the first half of a character whose second half must come with the next piece.
    :ivar whole: the service's own word for the whole text, which stands in for the pieces.
    """

    __slots__ = ("annotations", "held", "pieces", "whole")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.held = ""
        self.whole: str | None = None
        self.annotations: list[dict[str, Any]] = []

    def extend(self, delta: str) -> str:
        """Take a piece that may begin or end with half a character; what can be shown of it now."""
        joined = self.held + delta
        self.held = joined[-1] if "\ud800" <= joined[-1:] <= "\udbff" else ""
        shown = printable(joined[: len(joined) - len(self.held)])
        self.pieces.append(shown)
        return shown

    def finish(self, whole: str | None) -> None:
        """The text is done; an empty one says nothing against the pieces."""
        if whole:
            self.whole = whole
            self.pieces.clear()
            self.held = ""

    def text(self, ended: bool) -> str:
        """The text so far. Half a character at its end counts once no other half can come."""
        if self.whole is not None:
            return printable(self.whole)
        return "".join(self.pieces) + (REPLACEMENT if ended and self.held else "")


# -- items

FILLABLE = ("call_id", "name", "content", "summary", "arguments", "input")
"""Fields that are taken from earlier events where a later one leaves them empty."""
FILLABLE_OF = {
    "message": ("content",),
    "reasoning": ("content", "summary"),
    "function_call": ("call_id", "name", "arguments"),
    "custom_tool_call": ("call_id", "name", "input"),
}
"""Those of them that an item of this type may have."""


class Stage(enum.IntEnum):
    """How far an item is known."""

    NAMED = 0
    """From its deltas."""
    ADDED = 1
    """From ``response.output_item.added``."""
    DONE = 2
    """From ``response.output_item.done``."""
    FINAL = 3
    """From the terminal event."""


ITEM_STAGES = {"response.output_item.added": Stage.ADDED, "response.output_item.done": Stage.DONE}


class Item:
    """One output item in the making.

    :ivar sent: what the service sent of it.
    :ivar index: its place in the output, or None when unknown.
    """

    __slots__ = ("index", "parts", "sent", "stage")

    def __init__(self, sent: dict[str, Any], index: int | None) -> None:
        self.sent = sent
        self.index = index
        self.stage = Stage.NAMED
        self.parts: dict[tuple[Kind, int], Part] = {}

    def take(self, sent: dict[str, Any], stage: Stage) -> None:
        """The item as the service sends it now; a straggler of an earlier stage changes nothing."""
        if stage < self.stage:
            return
        self.sent = self.filled(sent) if self.sent or self.parts else sent
        self.stage = stage
        if stage is Stage.DONE:
            self.parts.clear()

    def filled(self, sent: dict[str, Any]) -> dict[str, Any]:
        """What the service sent or, where that leaves empty what is known, a copy with that filled in."""
        empty = lacking(sent)
        if not empty:
            return sent
        known = self.snapshot(ended=True)
        missing = {
            name: known[name]
            for name in empty
            if known.get(name) and not (sent.get(name) and _is_empty(known[name]))
        }
        return {**sent, **missing} if missing else sent

    def is_done_elsewhere(self, index: int | None) -> bool:
        """Whether nothing more comes to it, and its place is known to be another one."""
        return self.stage is Stage.DONE and None not in (index, self.index) and index != self.index

    def snapshot(self, *, ended: bool) -> dict[str, Any]:
        """The item as far as it is known: what was sent of it, with the texts that have arrived since."""
        if self.stage is Stage.DONE:
            return self.sent
        texts: dict[str, Any] = {}
        for kind, number in sorted(self.parts, key=lambda key: key[1]):
            part = self.parts[kind, number]
            if kind.part_type is None:
                texts[kind.field] = part.text(ended)
                continue
            entry: dict[str, Any] = {"type": kind.part_type, kind.text: part.text(ended)}
            if kind is OUTPUT_TEXT:
                entry["annotations"] = list(part.annotations)
            texts.setdefault(kind.field, []).append(entry)
        return {**self.sent, **texts}


def lacking(item: dict[str, Any]) -> list[str]:
    """The fields of an item that say nothing, though one of its type may have them."""
    fields = FILLABLE_OF.get(text(item.get("type")) or "", FILLABLE)
    return [name for name in fields if _is_empty(item.get(name))]


def _is_empty(field: object) -> bool:
    """Whether a field says nothing: some services send the parts of an item as done, and no text in them."""
    return not field or (isinstance(field, list) and all(map(_is_empty_part, field)))


def _is_empty_part(part: object) -> bool:
    fields = mapping(part)
    kind = PARTS.get(text(fields.get("type")))
    return kind is not None and not fields.get(kind.text)


# -- the output

Name = tuple[object, str, object]
IDS = ("id", "call_id")
MAX_ROUTES = 256
"""Some gateways change the item id with every event."""


class Output:
    """The output items of one response, found by whatever an event says of them. Not thread-safe."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._named: dict[Name, Item] = {}
        self._routes: dict[tuple[object, ...], Part] = {}

    def part(self, kind: Kind, event: Event) -> Part:
        """The text that an event adds to. Called for every delta, so the way to it is remembered."""
        route = (kind, event.get("item_id"), event.get("output_index"), event.get(kind.number))
        try:
            part = self._routes.get(route)
        except TypeError:  # a list or an object for an id
            return self._find_part(kind, event)
        if part is None:
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            part = self._routes[route] = self._find_part(kind, event)
        return part

    def note(self, event_type: str, event: Event) -> None:
        """Take an event that is no delta."""
        take = NOTES.get(event_type)
        if take is not None:
            take(self, event_type, event)

    def items(self, final: list[dict[str, Any]], *, ended: bool) -> list[dict[str, Any]]:
        """The items in output order: those of the terminal event or, when it has none, those seen."""
        if final:
            return [self._completed(item, index) for index, item in enumerate(final)]
        seen = sorted(self._items, key=lambda item: math.inf if item.index is None else item.index)
        return [item.snapshot(ended=ended) for item in seen]

    def _completed(self, item: dict[str, Any], index: int) -> dict[str, Any]:
        known = self._find(item, Stage.FINAL, index)
        if known is None or (known.stage is Stage.DONE and known.sent == item):
            return item
        return known.filled(item)

    def _find_part(self, kind: Kind, event: Event) -> Part:
        ids = {"id": text(event.get("item_id")), "call_id": text(event.get("call_id"))}
        said = {"type": kind.item_type, **{name: value for name, value in ids.items() if value}}
        if kind.item_type == "message":
            said["role"] = "assistant"
        index = count(event.get("output_index"))
        item = self._find(said, Stage.DONE, index)
        if item is None:
            item = self._open(said, index)
            self._name(item, said, index)
        return item.parts.setdefault((kind, count(event.get(kind.number)) or 0), Part())

    def _finish_text(self, event_type: str, event: Event) -> None:
        kind = DONES[event_type]
        self.part(kind, event).finish(text(event.get(kind.text)))

    def _finish_part(self, _: str, event: Event) -> None:
        part = mapping(event.get("part"))
        kind = PARTS.get(text(part.get("type")))
        if kind is not None:
            found = self.part(kind, event)
            found.finish(text(part.get(kind.text)))
            found.annotations = mappings(part.get("annotations")) or found.annotations

    def _annotate(self, _: str, event: Event) -> None:
        self.part(OUTPUT_TEXT, event).annotations += mappings([event.get("annotation")])

    def _note_item(self, event_type: str, event: Event) -> None:
        sent, stage = mapping(event.get("item")), ITEM_STAGES[event_type]
        index = count(event.get("output_index"))
        item = self._find(sent, stage, index) or self._open({}, index)
        item.take(sent, stage)
        item.index = index if item.index is None else item.index
        self._name(item, sent, index)
        self._routes.clear()

    def _find(self, said: dict[str, Any], stage: Stage, index: int | None) -> Item | None:
        """By id, else by place: a place belongs to the item there until that has reached the stage itself.

        A call that is done and another one at another place are two, though some services name them alike.
        """
        if not self._items:
            return None
        item_type = text(said.get("type"))
        item = self._named.get((item_type, "id", text(said.get("id"))))
        if item is not None:
            return item
        for name in (*_names(said, index), (item_type, "", None)):
            item = self._named.get(name)
            if item is None or (name[1] == "call_id" and item.is_done_elsewhere(index)):
                continue
            if name[1] == "call_id" or item.stage < stage:
                return item
        return None

    def _open(self, sent: dict[str, Any], index: int | None) -> Item:
        item = Item(sent, index)
        self._items.append(item)
        return item

    def _name(self, item: Item, said: dict[str, Any], index: int | None) -> None:
        self._named.update(dict.fromkeys(_names(said, index), item))


NOTES: dict[str, Callable[[Output, str, Event], None]] = {
    **dict.fromkeys(DONES, Output._finish_text),
    **dict.fromkeys(PART_DONES, Output._finish_part),
    **dict.fromkeys(ITEM_STAGES, Output._note_item),
    "response.output_text.annotation.added": Output._annotate,
}
"""What to do with an event that is no delta; most of them say nothing about the output."""


def _names(said: dict[str, Any], index: int | None) -> list[Name]:
    """All that tells an item from others of its type, surest first."""
    item_type = text(said.get("type"))
    names: list[Name] = []
    for name in IDS:
        value = said.get(name)
        if value and isinstance(value, str):
            names.append((item_type, name, value))
    if index is not None:
        names.append((item_type, "output_index", index))
    return names or [(item_type, "", None)]
