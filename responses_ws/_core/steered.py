"""What a step of a conversation has said, where its answer was given more input while it ran."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from responses_ws._core.replay import Item, finished
from responses_ws.messages import Message, Steer

__all__ = ["Steered"]


class Given(NamedTuple):
    """Input that was given to a response."""

    target: str
    items: list[Item]
    steer: Steer


class Steered:
    """The input that was given to the responses of one step."""

    def __init__(self) -> None:
        self._given: list[Given] = []

    def add(self, target: str, input: str | Sequence[Mapping[str, Any]], steer: Steer) -> None:
        """Input was sent to the response with this id."""
        if isinstance(input, str):
            input = [{"type": "message", "role": "user", "content": input}]
        self._given.append(Given(target, [copy.deepcopy(dict(item)) for item in input], steer))

    def said_before(self, message: Message, answers: Iterable[Message]) -> list[Item]:
        """The answers before this one, each with the input that brought it to its end."""
        said: list[Item] = []
        for answer in answers:
            if answer is message:
                break
            said += answer.output if answer.status == "completed" else finished(answer.output)
            said += self._items(answer, "committed")
        return said

    def waiting_after(self, message: Message) -> list[Item]:
        """The input that waits at the service for the next request, which brings the outputs of tools."""
        return self._items(message, "pending")

    def _items(self, answer: Message, state: str) -> list[Item]:
        given = (one for one in self._given if one.target == answer.response_id and one.steer.state == state)
        return [item for one in given for item in one.items]
