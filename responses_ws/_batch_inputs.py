"""What a batch asks, input by input, each under an id of its own."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from responses_ws._core.fields import text
from responses_ws._core.request import encode
from responses_ws.errors import ConfigurationError

__all__ = ["Input", "read_inputs"]

SHOWN_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Input:
    """One request of a batch.

    :ivar custom_id: its name, by which a second run knows it again.
    :ivar digest: of the payload, so that an answer is never taken for that of another question.
    :ivar attempts: that failed in this run.
    """

    custom_id: str
    digest: str
    payload: dict[str, Any] = field(repr=False)
    attempts: int = 0

    def failed(self) -> Input:
        """The same, to be asked once more."""
        return replace(self, attempts=self.attempts + 1)


def read_inputs(requests: Iterable[str | Mapping[str, Any]], fields: Mapping[str, Any]) -> list[Input]:
    """All inputs, checked, so that nothing is paid for a list with a fault in it.

    An input without a ``custom_id`` is named by what it asks, and by how often that was asked before it: such
    a name outlives inputs that are added, left out or put in another order.

    :param fields: of each request that does not have its own.
    :raises ConfigurationError: naming the input.
    """
    if isinstance(requests, str | bytes | Mapping) or not isinstance(requests, Iterable):
        kind = type(requests).__name__
        raise ConfigurationError(f"requests must be an iterable of str or mappings, not {kind}")
    seen: Counter[str] = Counter()
    places: dict[str, int] = {}
    found = []
    for place, request in enumerate(requests):
        where = f"requests[{place}]"
        given, payload = _payload(request, fields, where)
        digest = _digest(payload)
        seen[digest] += 1
        custom_id = _derived(digest, seen[digest]) if given is None else given
        if custom_id in places:
            raise ConfigurationError(
                f"{where} has the custom_id {custom_id!r} of requests[{places[custom_id]}]"
            )
        places[custom_id] = place
        found.append(Input(custom_id, digest, payload))
    return found


def _payload(request: object, fields: Mapping[str, Any], where: str) -> tuple[str | None, dict[str, Any]]:
    """The id that was given, and a copy of the payload, for the caller may change his own meanwhile."""
    if isinstance(request, str):
        request = {"input": request}
    if not isinstance(request, Mapping):
        raise ConfigurationError(f"{where} must be a str or a mapping, not {type(request).__name__}")
    payload = {**fields, **request}
    custom_id = _checked_id(payload.pop("custom_id", None), where)
    model = payload.get("model")
    if model is None and payload.get("prompt") is None:
        raise ConfigurationError(f"{where} needs a model; model= gives one to all that have none")
    if model is not None and not text(model):
        raise ConfigurationError(f"{where}: model must be a non-empty str")
    if payload.get("background"):
        raise ConfigurationError(f"{where}: background does not work here, a batch waits for its answers")
    return custom_id, _copy(payload, where)


def _copy(payload: Mapping[str, Any], where: str) -> dict[str, Any]:
    try:
        encode(payload, max_bytes=None)  # which names the field that cannot be sent
        copied: dict[str, Any] = json.loads(json.dumps(payload))
    except (ConfigurationError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{where}: {error}") from None
    return copied


def _checked_id(custom_id: object, where: str) -> str | None:
    if custom_id is None or (isinstance(custom_id, str) and custom_id):
        return custom_id
    raise ConfigurationError(f"{where}: custom_id must be a str that is not empty")


def _digest(payload: Mapping[str, Any]) -> str:
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _derived(digest: str, count: int) -> str:
    shown = digest[:SHOWN_DIGITS]
    return shown if count == 1 else f"{shown}-{count}"
