"""Which ends of a steered response are told, for what it cost."""

from __future__ import annotations

from typing import Any

import pytest

from responses_ws._core.steering import Steering
from responses_ws.messages import Steer

Event = dict[str, Any]


def end(number: int, response_id: str | None, kind: str = "response.incomplete") -> Event:
    named = {} if response_id is None else {"id": response_id}
    return {"type": kind, "response": {**named, "usage": {"input_tokens": number}}}


@pytest.mark.parametrize("response_id", [None, "resp_1"])
def test_each_answer_counts_though_their_ids_do_not_tell_them_apart(response_id: str | None) -> None:
    """Some servers give no ids, and some the same one to all responses of a connection."""
    steering = Steering()
    ends = [end(number, response_id) for number in range(3)]
    for event in ends:
        steering.add(Steer())
        assert not steering.ends("incomplete", event)
        steering.begin()
    assert list(steering.ended) == ends


@pytest.mark.parametrize("response_id", [None, "resp_1"])
def test_an_end_that_is_marked_twice_counts_once(response_id: str | None) -> None:
    """The trailing mark tells no tokens."""
    steering = Steering()
    steering.add(Steer())
    told = end(5, "resp_1")
    steering.ends("incomplete", told)
    steering.ends("completed", {"type": "response.done", "response": {"id": response_id}})
    assert list(steering.ended) == [told]
