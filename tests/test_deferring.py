"""The accumulator that is told of the end beforehand, against the one that is not."""

from __future__ import annotations

import contextlib
import copy
import itertools
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shell import KEY, SECONDS, Event, Task, completed, created, delta, error_event, wait_until_in
from test_accumulator import STREAMS, item, text_item, with_output
from test_interrupt import AtStep

import responses_ws._deferring
from responses_ws import Chunk, Message, ResponseCancelled, ResponseError, Timeouts, WebSocket
from responses_ws._core.accumulate import Output
from responses_ws._deferring import DeferringAccumulator
from responses_ws.streaming import StreamAccumulator, build_chunk
from responses_ws.testing import ScriptedConnector


def at_once(events: list[Event]) -> tuple[list[Chunk], StreamAccumulator]:
    accumulator = StreamAccumulator()
    chunks = [build_chunk(event) for event in copy.deepcopy(events)]
    for chunk in chunks:
        accumulator.add(chunk)
    return chunks, accumulator


def deferred(events: list[Event], begun: int) -> tuple[list[Chunk], DeferringAccumulator]:
    """So many events come before the read that brings the others, of which the last one ends the response."""
    accumulator = DeferringAccumulator()
    chunks = [build_chunk(event) for event in copy.deepcopy(events)]
    for chunk in chunks[:begun]:
        accumulator.add(chunk)
    take = accumulator.before(chunks[-1].raw)
    for chunk in chunks[begun:-1]:
        take(chunk)
    accumulator.conclude(chunks[-1])
    return chunks, accumulator


def check_same(events: list[Event], begun: int) -> None:
    expected_chunks, expected = at_once(events)
    chunks, accumulator = deferred(events, begun)
    assert chunks == expected_chunks
    assert accumulator.to_message() == expected.to_message()
    assert accumulator.superseded == expected.superseded


def whole(text: str = "one two", number: int = 1, kind: str = "completed") -> list[Event]:
    """A short answer as the service sends it: its end says all."""
    item_id = f"msg_{number}"
    done = text_item(text, id=item_id)
    end = completed(f"resp_{number}", kind, f"response.{kind}")
    end["response"]["output"] = [done]
    return [
        created(f"resp_{number}"),
        item("added", text_item("", id=item_id), output_index=0),
        *(delta(piece, item_id) for piece in (text[:3], text[3:])),
        item("done", done, output_index=0),
        end,
    ]


# -- the same as the other


@pytest.mark.parametrize("output", ["as it is", [], None, "missing"])
@pytest.mark.parametrize("name", STREAMS)
def test_every_recorded_stream_is_the_same_wherever_it_was_cut(name: str, output: Any) -> None:
    events = STREAMS[name]
    if output != "as it is":
        events = with_output(events, output)
    if output == "missing":
        del events[-1]["response"]["output"]
    for begun in range(len(events)):
        check_same(events, begun)


@pytest.mark.parametrize("missing", ["id", "model", "usage", "status"])
def test_what_the_end_leaves_out_is_of_the_events_before_it(missing: str) -> None:
    events = whole()
    events[-1]["response"].pop(missing, None)
    for begun in range(len(events)):
        check_same(events, begun)


@pytest.mark.parametrize("field", ["content", "text"])
def test_an_item_that_the_end_leaves_empty_is_filled_in(field: str) -> None:
    events = whole()
    emptied = copy.deepcopy(events[-1]["response"]["output"][0])
    if field == "content":
        emptied["content"] = []
    else:
        emptied["content"][0]["text"] = ""
    events[-1]["response"]["output"] = [emptied]
    for begun in range(len(events)):
        check_same(events, begun)
    assert deferred(events, 0)[1].to_message().content == "one two"


HALVES = ["\ud83c", "\udf7b", "a", "\u00f8l", "\ud83c", "b", "\udf7b\ud83c", "\udf7b"]


@pytest.mark.parametrize("kind", ["output_text", "refusal", "reasoning_text", "function_call_arguments"])
def test_characters_in_halves_are_shown_alike(kind: str) -> None:
    pieces = [{**delta(piece), "type": f"response.{kind}.delta"} for piece in HALVES]
    for end in (whole()[-1], completed("resp_1")):
        events = [created("resp_1"), *pieces, end]
        for begun in range(len(events)):
            check_same(events, begun)


def test_what_a_tool_of_the_service_did_is_kept_though_the_end_does_not_say_it() -> None:
    """As some gateways do, whose output is the message alone."""
    *before, end = whole()
    did = {"type": "response.web_search_call.completed", "item_id": "ws_1", "output_index": 0}
    for begun in range(len(before) + 1):
        check_same([*before, did, end], begun)
    assert deferred([did, end], 0)[1].to_message().built_in_tool_events == [did]


SUCCESSORS = {
    "its end says all": whole("three", 2),
    "its end says nothing": [*whole("three", 2)[:-1], completed("resp_2")],
    "its end alone": [created("resp_2"), completed("resp_2")],
}


@pytest.mark.parametrize("second", SUCCESSORS.values(), ids=SUCCESSORS)
@pytest.mark.parametrize("first", ["completed", "incomplete"])
def test_a_response_that_was_followed_by_another_is_the_same(first: str, second: list[Event]) -> None:
    events = [*whole(kind=first), *second]
    for begun in range(len(events)):
        check_same(events, begun)
    assert [message.response_id for message in deferred(events, 0)[1].superseded] == ["resp_1"]


@pytest.mark.parametrize("value", [None, 5, [], {}, "response.created", ["x"]])
@pytest.mark.parametrize("name", ["type", "delta", "item", "item_id", "response"])
def test_events_of_any_shape_are_the_same(name: str, value: object) -> None:
    events = whole()
    for place in range(len(events) - 1):
        bent = [*events[:place], {**events[place], name: value}, *events[place + 1 :]]
        check_same(bent, 0)


@given(st.data())
def test_any_part_of_a_stream_in_any_order_is_the_same(data: Any) -> None:
    *before, last = data.draw(st.sampled_from(list(STREAMS.values())))
    kept = data.draw(st.lists(st.sampled_from(before), max_size=12))
    begun = data.draw(st.integers(0, len(kept)))
    end = data.draw(st.sampled_from([last, with_output([last], [])[0]]))
    check_same([*kept, end], begun)


@pytest.mark.parametrize("name", STREAMS)
def test_the_part_is_known_at_every_moment(name: str) -> None:
    """Whoever is interrupted between two of them gets all that came before."""
    events = STREAMS[name]
    for asked in itertools.product([False, True], repeat=3):
        accumulator, other = DeferringAccumulator(), StreamAccumulator()
        take = accumulator.before(whole()[-1])
        for event, asks in zip(events[:-1], itertools.cycle(asked)):
            take(build_chunk(event))
            other.add(build_chunk(event))
            if asks:
                assert accumulator.to_message() == other.to_message()
        assert accumulator.to_message() == other.to_message()


@pytest.mark.parametrize("output", ["as it is", []])
def test_an_interrupt_at_the_end_loses_nothing_that_was_seen(output: Any) -> None:
    """Wherever it comes: what is put together at the end is no more than the end itself."""
    events = whole() if output == "as it is" else with_output(whole(), output)
    for step in itertools.count(1):
        accumulator = DeferringAccumulator()
        *chunks, last = map(build_chunk, copy.deepcopy(events))
        take = accumulator.before(last.raw)
        for chunk in chunks:
            take(chunk)
        at = AtStep(step)
        with contextlib.suppress(KeyboardInterrupt), at.watching():
            accumulator.conclude(last)
        assert accumulator.to_message().content == "one two", at.place
        if at.left > 0:
            break


def test_what_was_put_aside_does_not_come_after_the_end() -> None:
    """Where an interrupt came just before it was let go of."""
    events = whole()
    events[-1]["response"]["id"] = "resp_2"  # as some gateways do
    accumulator = DeferringAccumulator()
    *chunks, last = map(build_chunk, events)
    take = accumulator.before(last.raw)
    for chunk in chunks:
        take(chunk)
    accumulator.add(last)
    assert accumulator.to_message() == at_once(events)[1].to_message()
    assert accumulator.superseded == []


def test_an_interrupt_of_the_part_costs_one_piece_at_most() -> None:
    for step in itertools.count(1):
        accumulator = DeferringAccumulator()
        *chunks, last = map(build_chunk, whole())
        take = accumulator.before(last.raw)
        for chunk in chunks[:-1]:
            take(chunk)
        at = AtStep(step)
        with contextlib.suppress(KeyboardInterrupt), at.watching():
            accumulator.to_message()
        assert accumulator.to_message().content in ("one two", "one", " two"), at.place
        if at.left > 0:
            break


def test_two_threads_that_ask_for_the_part_get_it_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cancels a response, and who is told of that."""
    accumulator = DeferringAccumulator()
    *chunks, last = map(build_chunk, whole())
    take = accumulator.before(last.raw)
    for chunk in chunks[:-1]:
        take(chunk)
    asked, go_on = threading.Event(), threading.Event()
    part = Output.part

    def slow_part(self: Output, kind: Any, event: Event) -> Any:
        asked.set()
        go_on.wait(SECONDS)
        return part(self, kind, event)

    monkeypatch.setattr(Output, "part", slow_part)
    first = Task(accumulator.to_message)
    assert asked.wait(SECONDS)
    second = Task(accumulator.to_message)
    wait_until_in(second.ident or 0, "_catch_up")
    go_on.set()
    assert first.result().content == second.result().content == "one two"


def test_a_thread_that_a_fork_left_behind_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the child its lock stays locked for ever."""
    monkeypatch.setattr(responses_ws._deferring, "PATIENCE_SECONDS", 0.01)
    for ended in (False, True):
        accumulator = DeferringAccumulator()
        *chunks, last = map(build_chunk, whole())
        take = accumulator.before(last.raw)
        for chunk in chunks:
            take(chunk)
        Task(accumulator._taking.acquire).result()
        if ended:
            accumulator.conclude(last)
        assert accumulator.to_message().content == "one two"


@pytest.mark.parametrize("output", ["as it is", []])
def test_a_chunk_is_its_callers_to_change(output: Any) -> None:
    """As soon as he has it. Nor is a chunk changed that he has."""
    events = whole("\u00f8l") if output == "as it is" else with_output(whole("\u00f8l"), output)
    expected = at_once(events)[1].to_message()
    for ended in (False, True):
        accumulator = DeferringAccumulator()
        *chunks, last = map(build_chunk, copy.deepcopy(events))
        take = accumulator.before(last.raw)
        for chunk in chunks:
            take(chunk)
            chunk.content = "mine"
            chunk.raw.clear()
        if ended:
            accumulator.conclude(last)
        assert accumulator.to_message().content == expected.content
        assert {chunk.content for chunk in chunks} == {"mine"}


# -- what it is for


def test_what_the_end_says_again_is_not_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = at_once(whole())[1].to_message()
    seen: list[str] = []
    monkeypatch.setattr(Output, "part", lambda _, __, event: seen.append(event["type"]))
    monkeypatch.setattr(Output, "note", lambda _, kind, __: seen.append(kind))
    assert deferred(whole(), 0)[1].to_message() == expected
    assert seen == ["response.completed"]


# -- in a response


@pytest.fixture
def connector() -> ScriptedConnector:
    return ScriptedConnector()


@pytest.fixture
def ws(connector: ScriptedConnector) -> Any:
    with WebSocket(KEY, client_class=connector, timeouts=Timeouts(close=0.01)) as ws:
        yield ws


def test_an_answer_in_one_read_is_the_answer(
    ws: WebSocket, connector: ScriptedConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And none of it is put together that its end says."""
    monkeypatch.setattr(Output, "part", lambda _, __, event: pytest.fail(event["type"]))
    with ws.stream(model="m", input="?") as stream:
        connector.transports[0].deliver(*whole())
        assert [chunk.content for chunk in stream if chunk.content] == ["one", " two"]
        assert stream.message.content == "one two"
    assert stream.message.output == whole()[-1]["response"]["output"]
    assert stream._accumulator._deferred == []  # it is let go of, however long the stream is kept


ENDS = [error_event(), completed("resp_1", "failed", "response.failed"), whole(kind="failed")[-1]]


@pytest.mark.parametrize("end", ENDS, ids=["error", "failed", "failed and told all"])
def test_a_failure_in_the_same_read_carries_what_came_before_it(
    ws: WebSocket, connector: ScriptedConnector, end: Event
) -> None:
    with ws.stream(model="m", input="?") as stream:
        connector.transports[0].deliver(*whole()[:-1], end)
        with pytest.raises(ResponseError) as caught:
            _ = stream.message
    assert isinstance(caught.value.partial, Message)
    assert caught.value.partial.content == "one two"


def test_a_response_that_is_left_between_two_of_them_carries_what_was_seen(
    ws: WebSocket, connector: ScriptedConnector
) -> None:
    """Its end has come, and says more than its caller has seen."""
    with ws.stream(model="m", input="?") as stream:
        connector.transports[0].deliver(*whole())
        chunks = iter(stream)
        assert [next(chunks).content for _ in range(3)] == [None, None, "one"]
        stream.close()
        with pytest.raises(ResponseCancelled) as caught:
            _ = stream.message
    assert caught.value.partial is not None
    assert caught.value.partial.content == "one"


def test_a_stream_of_deltas_is_not_kept(ws: WebSocket, connector: ScriptedConnector) -> None:
    """Only what comes in the same read as the end is, and that is there anyway."""
    *before, end = whole()
    with ws.stream(model="m", input="?") as stream:
        connector.transports[0].deliver(*before)
        chunks = iter(stream)
        assert [next(chunks).raw for _ in before] == before
        assert stream._accumulator._deferred == []
        connector.transports[0].deliver(end)
        assert stream.message.content == "one two"


def test_the_next_answer_is_its_own(ws: WebSocket, connector: ScriptedConnector) -> None:
    for text in ("one two", "three"):
        with ws.stream(model="m", input="?") as stream:
            connector.transports[0].deliver(*whole(text))
            assert stream.message.content == text
