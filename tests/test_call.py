"""How what came in one read is handed over to the calls that own it."""

from __future__ import annotations

import pytest
from shell import Event, completed, delta

from responses_ws._call import Call, batches
from responses_ws._core.states import State

END = completed("resp_a")
CASES: dict[str, tuple[list[tuple[str, Event]], dict[str, int]]] = {
    "nothing": ([], {}),
    "one response": ([("a", delta("1")), ("a", delta("2"))], {"a": 2}),
    "in turn": (
        [("a", delta("1")), ("b", delta("2")), ("a", delta("3")), ("b", delta("4"))],
        {"a": 2, "b": 2},
    ),
    "a stranger between": ([("a", delta("1")), ("", delta("2")), ("a", delta("3"))], {"a": 2}),
    "strangers around": ([("", delta("1")), ("a", delta("2")), ("", delta("3"))], {"a": 1}),
    "nobody's": ([("", delta("1"))], {}),
    "an end": ([("a", delta("1")), ("b", delta("2")), ("a", END), ("b", delta("3"))], {"a": 2, "b": 2}),
    "an end alone": ([("a", END)], {"a": 1}),
}


@pytest.mark.parametrize(("owned", "counts"), CASES.values(), ids=CASES)
def test_each_call_gets_its_own_in_order_and_at_once(
    owned: list[tuple[str, Event]], counts: dict[str, int]
) -> None:
    calls = {name: Call() for name in "ab"}
    owners = {id(event): calls.get(name) for name, event in owned}

    def route(event: Event) -> Call | None:
        call = owners[id(event)]
        if call is not None and event is END:
            call.state = State.DONE
        return call

    found = batches(route, [event for _, event in owned], 10 * len(owned))
    assert list(found) == [calls[name] for name in counts]
    for name, count in counts.items():
        batch = found[calls[name]]
        its_own = [event for owner, event in owned if owner == name]
        assert [*batch.events, *filter(None, [batch.terminal])] == its_own
        assert batch.terminal is (END if its_own[-1] is END else None)
        assert batch.size == 10 * count
