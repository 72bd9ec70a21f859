"""Whether a whole history, as a framework passes it, is an earlier request with its answer and something new.

Then only what is new has to travel. Nothing is guessed: where one item differs, everything travels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from responses_ws._core.continuation import Form, Place, Request
from responses_ws._core.fields import mappings, text
from responses_ws._core.replay import Item, answers_all, kind_of, open_calls
from responses_ws._core.request import stores
from responses_ws.errors import ConfigurationError

__all__ = ["Checkpoints", "Extension"]

REMEMBERED = 8
"""Conversations that may take turns on one session."""

NOT_COMPARED = frozenset(
    {
        "background",
        "generate",
        "input",
        "previous_response_id",
        "stream",
        "stream_id",
        "stream_options",
        "type",
    }
)
"""Fields that say how an answer is brought, and not what it is made from."""
SERVERS_OWN = frozenset({"annotations", "logprobs"})
"""Of a part of an answer: what the service adds to the text, and frameworks leave out."""

Digest = bytes


class Mark(NamedTuple):
    """An output item, to be known again when it is passed back."""

    content: Digest
    names: frozenset[str]
    """Of reasoning, whose text may be hidden: its id and its encrypted text."""

    def is_same(self, other: Mark) -> bool:
        unnamed = not self.names or not other.names
        return self.content == other.content and (unnamed or bool(self.names & other.names))


class History(NamedTuple):
    """A whole history as a request holds it.

    :ivar fields: of everything but the input.
    :ivar digests: of the items.
    """

    fields: Digest
    items: list[Item]
    digests: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A completed response, and the request that it answered.

    :ivar seen: the whole input, item by item.
    :ivar calls: of the answer.
    :ivar place: where the response is alive; None when it is stored.
    :ivar warmup: there was nothing to say, so that nothing new need follow.
    """

    response_id: str
    fields: Digest
    seen: tuple[Digest, ...]
    output: tuple[Mark, ...]
    calls: tuple[Item, ...]
    place: Place | None
    warmup: bool

    @property
    def length(self) -> int:
        return len(self.seen) + len(self.output)

    def is_continued_by(self, history: History) -> bool:
        """Whether it is what was asked, what was answered, and something new that fits."""
        asked, items = len(self.seen), history.items
        if history.fields != self.fields or history.digests[:asked] != self.seen:
            return False
        if len(items) < self.length:
            return False
        answered = items[asked : self.length]
        if not all(mark.is_same(_mark(item)) for mark, item in zip(self.output, answered, strict=True)):
            return False
        new = items[self.length :]
        return (bool(new) or self.warmup) and answers_all(self.calls, new)


class Checkpoints:
    """The last responses that a whole history may extend.

    Of what two threads do at once one may be forgotten, which costs a request its shortness and no more.
    """

    def __init__(self) -> None:
        self._made: tuple[Checkpoint, ...] = ()

    def extension(self, payload: Mapping[str, Any]) -> Extension:
        """The next request of whatever conversation the payload belongs to."""
        return Extension(self, payload)

    def find(self, history: History, place: Place | None) -> Checkpoint | None:
        """The longest that is alive and that the history extends."""
        alive = (made for made in self._made if made.place in (None, place))
        fitting = (made for made in alive if made.is_continued_by(history))
        return max(fitting, key=lambda made: made.length, default=None)

    def add(self, made: Checkpoint) -> None:
        self._made = (*self._made, made)[-REMEMBERED:]

    def remove(self, made: Checkpoint) -> None:
        self._made = tuple(other for other in self._made if other is not made)

    def forget(self, response_id: str) -> None:
        """The service does not have it any more."""
        self._made = tuple(made for made in self._made if made.response_id != response_id)


class Extension:
    """One request of a caller who holds the whole history.

    A payload that names its own ``previous_response_id`` or a ``conversation`` is left as it is, and so is
    one that cannot be read; the service, or the encoder, says what is wrong with it.
    """

    def __init__(self, checkpoints: Checkpoints, payload: Mapping[str, Any]) -> None:
        self._checkpoints = checkpoints
        if not isinstance(payload, Mapping):
            raise ConfigurationError(f"payload must be a mapping, not {type(payload).__name__}")
        self._payload = _own(payload)
        self._history = _history(self._payload)
        self._used: str | None = None
        self._made: Checkpoint | None = None

    @property
    def fields(self) -> Mapping[str, Any]:
        """The payload."""
        return self._payload

    @property
    def ours(self) -> bool:
        """Whether the history is here, so that it can be sent whole."""
        return self._history is not None

    def request(self, place: Place | None, form: Form = Form.SHORTEST) -> Request:
        """The request to send from this place; see :meth:`Step.request`."""
        found = None
        if form is Form.SHORTEST and self._history is not None:
            found = self._checkpoints.find(self._history, place)
        if found is None or self._history is None:
            return Request(dict(self._payload), continued=False)
        self._used = found.response_id
        unseen = {"input": self._history.items[found.length :], "previous_response_id": found.response_id}
        return Request({**self._payload, **unseen}, continued=True)

    def lost(self) -> None:
        """The service does not have what the request continued."""
        if self._used is not None:
            self._checkpoints.forget(self._used)

    def completed(self, response_id: str | None, output: Iterable[Item], place: Place | None) -> None:
        """The response was completed, at this place (None keeps nothing); see :meth:`Step.completed`."""
        self._forget_made()
        stored = stores(self._payload)
        if response_id is None or self._history is None or (place is None and not stored):
            return
        items = list(output)
        self._made = Checkpoint(
            response_id,
            self._history.fields,
            self._history.digests,
            output=tuple(map(_mark, items)),
            calls=tuple(dict(call) for call in open_calls(items).values()),
            place=None if stored else place,
            warmup=self._payload.get("generate") is False,
        )
        self._checkpoints.add(self._made)

    def stopped(self, output: Iterable[Item]) -> None:
        """The response is incomplete: nothing continues it."""

    def add(self, _items: Iterable[Item]) -> None:
        """The service holds more than the caller was told of: nothing continues the response."""
        self._forget_made()

    def _forget_made(self) -> None:
        if self._made is not None:
            self._checkpoints.remove(self._made)


def _own(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A copy: whoever asks may change his own while the answer comes, and a second attempt is the same."""
    try:
        return {name: _copied(value) for name, value in payload.items()}
    except RecursionError:
        return dict(payload)  # which the encoder refuses


def _copied(value: Any) -> Any:
    """What JSON has of containers, anew; in half the time of a deep copy."""
    if isinstance(value, dict):
        return {name: _copied(inside) for name, inside in value.items()}
    return [_copied(inside) for inside in value] if isinstance(value, (list, tuple)) else value


def _history(payload: Mapping[str, Any]) -> History | None:
    """The history that a payload holds; None when it names one, or is none."""
    if any(payload.get(name) is not None for name in ("previous_response_id", "conversation")):
        return None
    items = _items(payload.get("input"))
    fields = _digest({k: v for k, v in payload.items() if v is not None and k not in NOT_COMPARED})
    digests = tuple(_digest({"type": "message", **item}) for item in items or ())
    known = tuple(digest for digest in digests if digest is not None)
    return (
        None if items is None or fields is None or len(known) < len(items) else History(fields, items, known)
    )


def _items(given: object) -> list[Item] | None:
    """An input as items; None when it is none."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list | tuple) or not all(isinstance(item, dict) for item in given):
        return None
    return list(given)


def _digest(value: object) -> Digest | None:
    """A fingerprint of a JSON value; None when it is none. The caller may change the value itself later."""
    try:
        canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        return None
    return hashlib.sha256(canonical.encode()).digest()


def _mark(item: Item) -> Mark:
    """What an output item says, without what the service alone adds to it."""
    said = {k: v for k, v in item.items() if k not in ("id", "status") and v is not None and v != []}
    kind = said["type"] = kind_of(item)
    names: frozenset[str] = frozenset()
    if kind == "message":
        said["content"] = _parts(item.get("content"))
    elif kind == "function_call":
        said["arguments"] = _arguments(item.get("arguments"))
    elif kind == "reasoning":
        found = (text(item.get("id")), text(said.pop("encrypted_content", None)))
        names = frozenset(name for name in found if name)
    return Mark(_digest(said) or b"", names)


def _parts(content: object) -> list[Any]:
    """The parts of a message; a plain text is one of them."""
    if isinstance(content, str):
        return [{"type": "output_text", "text": content}] if content else []
    return [
        {name: value for name, value in part.items() if name not in SERVERS_OWN} for part in mappings(content)
    ]


def _arguments(given: object) -> object:
    """The arguments of a call as a value, since frameworks parse them and write them anew."""
    try:
        return [json.loads(given)] if isinstance(given, str) else given
    except (ValueError, RecursionError):
        return given
