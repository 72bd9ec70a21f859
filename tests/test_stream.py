"""A running response from the caller's side: iterating, the message, leaving, clocks and bounds."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from shell import (
    KEY,
    SECONDS,
    Event,
    Task,
    answer,
    ask,
    completed,
    created,
    delivered,
    delta,
    error_event,
    join_readers,
    read_deltas,
    until,
    wait_until_in,
    websocket,
)

import responses_ws.stream
from responses_ws import (
    Chunk,
    ConnectionLost,
    Delivery,
    Limits,
    Message,
    PayloadTooLarge,
    ResponseCancelled,
    ResponseError,
    ResponseStream,
    ResponseTimeout,
    ServerError,
    Timeouts,
    WebSocket,
)
from responses_ws._call import Call
from responses_ws._core.states import State
from responses_ws._transport.deadline import Deadline
from responses_ws.testing import (
    ScriptedConnector,
    ScriptedServer,
    ScriptedTransport,
    close,
    delay,
    expect,
    expect_gone,
    gate,
    optional,
    ping,
    repeat,
    send,
)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def connector() -> ScriptedConnector:
    return ScriptedConnector()


@pytest.fixture
def ws(connector: ScriptedConnector) -> Iterator[WebSocket]:
    with WebSocket(KEY, client_class=connector, timeouts=Timeouts(close=0.01)) as ws:
        yield ws


def begin(ws: WebSocket, **fields: Any) -> ResponseStream:
    return ws.stream(model="m", input="hi", **fields)


ANSWER = answer("resp_1", "one ", "two ", "three")

# -- iterating


def test_the_chunks_are_the_events_in_order(ws: WebSocket, connector: ScriptedConnector) -> None:
    """From the first event to the terminal one, each once, whatever batches they came in."""
    stream = begin(ws)
    transport = connector.transports[0]
    transport.deliver(ANSWER[0], ANSWER[1])
    transport.deliver()
    transport.deliver(ANSWER[2])
    transport.deliver(*ANSWER[3:])
    assert [chunk.raw for chunk in stream] == ANSWER
    assert stream.message.content == "one two three"


def test_events_unknown_to_this_version_pass_through(ws: WebSocket, connector: ScriptedConnector) -> None:
    """A vendor's events, and such without a usable type, are chunks and harm nothing."""
    strange: list[Event] = [
        {"type": "keepalive", "sequence_number": 4},
        {"type": "response.made_up.delta", "delta": {"a": 1}},
        {"type": ["a", "list"]},
        {"type": None},
        {"no": "type"},
        {},
    ]
    stream = begin(ws)
    connector.transports[0].deliver(ANSWER[0], *strange, *ANSWER[1:])
    assert [chunk.raw for chunk in stream] == [ANSWER[0], *strange, *ANSWER[1:]]
    assert stream.message.content == "one two three"


def test_text_is_the_pieces_of_the_answer(ws: WebSocket, connector: ScriptedConnector) -> None:
    """Strings only, and the message is there afterwards."""
    stream = begin(ws)
    connector.transports[0].deliver(*ANSWER)
    assert list(stream.text) == ["one ", "two ", "three"]
    assert stream.message.content == "one two three"
    assert list(stream.text) == []


def test_the_message_drains_what_was_not_read(ws: WebSocket, connector: ScriptedConnector) -> None:
    """After some chunks, or none; an iterator that is still held goes on with nothing."""
    stream = begin(ws)
    connector.transports[0].deliver(*ANSWER)
    chunks = iter(stream)
    assert read_deltas(chunks, 1) == ["one "]
    assert stream.message.content == "one two three"
    assert list(chunks) == []
    assert list(stream) == []


def test_the_message_may_be_asked_for_many_times(ws: WebSocket, connector: ScriptedConnector) -> None:
    """It is one object, and nothing is waited for."""
    stream = begin(ws)
    connector.transports[0].deliver(*ANSWER)
    message = stream.message
    assert all(stream.message is message for _ in range(5))
    stream.close()
    stream.cancel()
    with stream:
        pass
    assert stream.message is message
    assert message.status == "completed"


def test_a_second_loop_sees_what_the_first_has_not(ws: WebSocket, connector: ScriptedConnector) -> None:
    """Two iterators share one response; each event goes to one of them."""
    stream = begin(ws)
    connector.transports[0].deliver(*ANSWER)
    first, second = iter(stream), iter(stream)
    seen = [next(iterator).raw for iterator in (first, second, first, second)]
    seen += [chunk.raw for chunk in first]
    assert seen == ANSWER
    assert list(second) == []


def test_a_loop_that_was_left_is_not_taken_up_again(ws: WebSocket, connector: ScriptedConnector) -> None:
    """Leaving it abandoned the response: reading on would give a part for the whole."""
    stream = begin(ws)
    connector.transports[0].deliver(*ANSWER)
    for _ in stream:
        break
    for read in (lambda: list(stream), lambda: list(stream.text), lambda: stream.message):
        with pytest.raises(ResponseCancelled) as caught:
            read()
        assert caught.value.delivery is Delivery.STARTED
        assert caught.value.response_id == "resp_1"


def test_the_repr_tells_the_state(ws: WebSocket, connector: ScriptedConnector) -> None:
    """And nothing of what was said."""
    streams = [begin(ws)]
    assert repr(streams[0]) == "<ResponseStream running>"
    connector.transports[0].deliver(*ANSWER)
    assert streams[0].message.status == "completed"
    assert repr(streams[0]) == "<ResponseStream completed>"
    streams.append(begin(ws))
    streams[1].close()
    assert repr(streams[1]) == "<ResponseStream closed>"


# -- the context manager


def test_a_with_block_that_ends_early_leaves_the_response(
    ws: WebSocket, connector: ScriptedConnector
) -> None:
    """Nothing is raised; what was read is kept."""
    with begin(ws) as stream:
        connector.transports[0].deliver(*ANSWER[:2])
        assert read_deltas(iter(stream), 1) == ["one "]
    assert not ws.in_flight
    with pytest.raises(ResponseCancelled) as caught:
        _ = stream.message
    assert caught.value.partial is not None
    assert caught.value.partial.content == "one "


def test_a_with_block_that_read_to_the_end_keeps_the_message(
    ws: WebSocket, connector: ScriptedConnector
) -> None:
    """It may be asked for inside and after."""
    with begin(ws) as stream:
        connector.transports[0].deliver(*ANSWER)
        assert stream.message.content == "one two three"
    assert stream.message.content == "one two three"


def test_an_exception_in_a_with_block_is_the_callers(ws: WebSocket, connector: ScriptedConnector) -> None:
    """It comes out as it is."""
    with pytest.raises(LookupError), begin(ws):
        raise LookupError
    assert not ws.in_flight


# -- errors


@pytest.mark.parametrize(
    "end",
    [
        lambda transport: transport.deliver(error_event()),
        lambda transport: transport.deliver(completed("resp_1", "failed", "response.failed")),
        lambda transport: transport.deliver("not JSON"),
        lambda transport: transport.end(ConnectionLost("gone", close_code=1011)),
    ],
)
def test_an_error_stays_the_error(
    ws: WebSocket, connector: ScriptedConnector, end: Callable[[ScriptedTransport], None]
) -> None:
    """After it everything that reads raises the same; closing raises nothing."""
    stream = begin(ws)
    connector.transports[0].deliver(*ANSWER[:2])
    end(connector.transports[0])
    seen: list[Chunk] = []
    with pytest.raises(Exception, match=r".") as first:
        seen.extend(stream)
    for read in (lambda: list(stream), lambda: list(stream.text), lambda: stream.message):
        with pytest.raises(type(first.value)) as again:
            read()
        assert str(again.value) == str(first.value)
        assert vars(again.value) == vars(first.value)
    assert first.value.partial.content == "one "  # type: ignore[attr-defined]
    stream.close()
    stream.cancel()
    assert not ws.in_flight


def test_what_is_added_to_an_error_stays_with_that_error(ws: WebSocket, connector: ScriptedConnector) -> None:
    """The next one who is told of it gets what the service said."""
    stream = begin(ws)
    connector.transports[0].deliver({**error_event(), "headers": {"x-a": "1"}})
    with pytest.raises(ResponseError) as first:
        list(stream)
    told = dict(first.value.headers)
    first.value.headers["x-b"] = "2"
    with pytest.raises(ResponseError) as again:
        list(stream)
    assert again.value.headers == told


def test_events_before_an_error_are_seen(ws: WebSocket, connector: ScriptedConnector) -> None:
    """An error in the same piece of network takes nothing away from what came before it."""
    stream = begin(ws)
    connector.transports[0].deliver(*ANSWER[:3], error_event())
    chunks = iter(stream)
    assert read_deltas(chunks, 2) == ["one ", "two "]
    with pytest.raises(ServerError):
        next(chunks)


# -- leaving, in this thread and from another


@pytest.mark.parametrize("leave", ["close", "cancel"])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_leaving_within_the_own_loop_ends_it(
    ws: WebSocket, connector: ScriptedConnector, leave: str, after: int
) -> None:
    """No further chunk, no error, and no answer: the id is not advanced, though its end has come."""
    stream = begin(ws)
    connector.transports[0].deliver(*ANSWER)
    seen = []
    for text in stream.text:
        seen.append(text)
        if len(seen) == after:
            getattr(stream, leave)()
            getattr(stream, leave)()
    assert seen == ["one ", "two ", "three"][:after]
    assert ws.last_response_id is None
    with pytest.raises(ResponseCancelled):
        _ = stream.message


def test_leaving_at_the_last_chunk_is_too_late(ws: WebSocket, connector: ScriptedConnector) -> None:
    """The answer is complete when its terminal event is seen."""
    stream = begin(ws)
    connector.transports[0].deliver(*ANSWER)
    for chunk in stream:
        if chunk.type == "response.completed":
            stream.close()
    assert stream.message.content == "one two three"
    assert ws.last_response_id == "resp_1"


READERS: dict[str, Callable[[ResponseStream], object]] = {
    "iterating": list,
    "text": lambda stream: list(stream.text),
    "message": lambda stream: stream.message,
}


@pytest.mark.parametrize("leave", ["close", "cancel"])
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("events", [[], ANSWER[:1], ANSWER[:3]], ids=["nothing", "created", "deltas"])
def test_leaving_from_another_thread_wakes_the_one_that_waits(
    ws: WebSocket, connector: ScriptedConnector, leave: str, reader: str, events: list[Event]
) -> None:
    """It gets ResponseCancelled with what came; the connection stays, and the rest drains."""
    stream = begin(ws)
    transport = connector.transports[0]
    transport.deliver(*events)
    task = Task(READERS[reader], stream)
    if events:
        until(lambda: stream._accumulator.to_message().response_id)
    wait_until_in(task.ident or 0, "wait_for")
    getattr(stream, leave)()
    error = task.error()
    assert type(error) is ResponseCancelled
    if events:
        assert error.delivery is Delivery.STARTED
        assert error.partial is not None
        assert error.partial.content == ("one two " if len(events) == 3 else "")
        assert error.response_id == "resp_1"
    else:
        assert (error.delivery, error.partial) == (Delivery.UNKNOWN, None)
    assert ws.connected
    assert not ws.in_flight
    transport.deliver(*(ANSWER[len(events) :]))
    transport.on_send = lambda request: transport.deliver(*answer("resp_2", "second"))
    assert ask(ws) == "second"
    assert ws.last_response_id == "resp_2"
    assert len(connector.transports) == 1


def test_leaving_from_another_thread_between_chunks(ws: WebSocket, connector: ScriptedConnector) -> None:
    """The one that reads hears of it at its next step, though the whole answer lies ready."""
    stream = begin(ws)
    connector.transports[0].deliver(*ANSWER)
    chunks = iter(stream)
    assert read_deltas(chunks, 1) == ["one "]
    Task(stream.close).result()
    with pytest.raises(ResponseCancelled) as caught:
        next(chunks)
    assert caught.value.partial is not None
    assert caught.value.partial.content == "one "
    assert ws.last_response_id is None


def test_reading_what_another_thread_has_left(ws: WebSocket, connector: ScriptedConnector) -> None:
    """It does not begin."""
    stream = begin(ws)
    connector.transports[0].deliver(*ANSWER)
    Task(stream.close).result()
    for reader in READERS.values():
        with pytest.raises(ResponseCancelled):
            reader(stream)


def test_leaving_from_another_thread_after_the_end_changes_nothing(
    ws: WebSocket, connector: ScriptedConnector
) -> None:
    """A complete answer stays one."""
    stream = begin(ws)
    connector.transports[0].deliver(*ANSWER)
    message = stream.message
    Task(stream.cancel).result()
    assert stream.message is message


# -- clocks


def test_a_consumer_that_is_slow_does_not_run_into_the_clock(
    ws: WebSocket, connector: ScriptedConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While events wait for it the server is not silent, however long it takes over each of them."""
    hours = 0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600 * hours)
    monkeypatch.setattr(responses_ws.stream, "time", clock)
    stream = begin(ws)
    for event in ANSWER:
        connector.transports[0].deliver(event)
    until(lambda: not ws.in_flight)
    seen = []
    for chunk in stream:
        seen.append(chunk.raw)
        hours += 1
    assert seen == ANSWER


def test_the_clock_counts_from_the_last_event_and_not_from_its_taking(
    ws: WebSocket, connector: ScriptedConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that was silent all the while that the consumer took is silent too long."""
    hours = 0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600 * hours)
    monkeypatch.setattr(responses_ws.stream, "time", clock)
    stream = begin(ws)
    connector.transports[0].deliver(*ANSWER[:2])
    chunks = iter(stream)
    assert read_deltas(chunks, 1) == ["one "]
    hours = 1
    with pytest.raises(ResponseTimeout) as caught:
        next(chunks)
    assert (caught.value.clock, caught.value.seconds) == ("response_timeout", 600)


def test_keepalive_events_are_life(server: ScriptedServer) -> None:
    """A response that only says that it is alive is not given up."""
    server.connection(
        expect(),
        send(created("resp_1")),
        repeat(16, delay(0.05), send({"type": "keepalive"})),
        send(delta("late"), completed("resp_1")),
    )
    with websocket(server, response_timeout=0.6) as ws:
        assert ask(ws) == "late"


def test_pings_are_no_life_of_a_response(server: ScriptedServer) -> None:
    """A peer that answers and pings, and sends no event, is the event clock's business."""
    server.connection(expect(), send(created("resp_1")), optional(repeat(40, delay(0.02), ping())))
    with websocket(server, response_timeout=0.2, timeouts=Timeouts(ping_interval=0.05)) as ws:
        with pytest.raises(ResponseTimeout) as caught:
            ask(ws)
        assert (caught.value.clock, caught.value.seconds) == ("response_timeout", 0.2)
        assert ws.connected


def test_the_total_ends_a_response_that_goes_on_and_on(server: ScriptedServer) -> None:
    """However lively it is."""
    server.connection(expect(), send(created("resp_1")), optional(repeat(500, delay(0.01), send(delta("x")))))
    with websocket(server, timeouts=Timeouts(total=0.3, drain=0.01)) as ws:
        with pytest.raises(ResponseTimeout) as caught:
            ask(ws)
        assert (caught.value.clock, caught.value.seconds) == ("total", 0.3)
        assert caught.value.partial is not None
        assert set(caught.value.partial.content) == {"x"}


def test_without_clocks_a_response_is_waited_for(server: ScriptedServer) -> None:
    """None means no limit."""
    server.connection(expect(), gate("answer"), send(*answer("resp_1", "at last")))
    with websocket(server, response_timeout=None, timeouts=Timeouts(total=None)) as ws:
        task = Task(ask, ws)
        wait_until_in(task.ident or 0, "wait_for")
        server.open("answer")
        assert task.result() == "at last"


def test_a_wait_that_ends_a_moment_early_blames_no_other_clock() -> None:
    """The queue's clock may be ahead of the deadline's; without a ``response_timeout`` it is never named."""
    clock = itertools.chain([0.0] * 10, itertools.repeat(1.0))
    call = Call()
    call.move(State.SENDING)
    call.move(State.SENT)
    stream = ResponseStream(
        call,
        deadline=Deadline(0.01, lambda: next(clock)),
        response_timeout=None,
        completed=lambda response_id: None,
        owner=None,
    )
    with pytest.raises(ResponseTimeout) as caught:
        list(stream)
    assert (caught.value.clock, caught.value.seconds) == ("total", 0.01)
    assert caught.value.delivery is Delivery.UNKNOWN


# -- the bound of what is buffered

FLOOD = 200


def flood(size: int) -> list[Event]:
    return [delta("x" * size) for _ in range(FLOOD)]


@pytest.mark.parametrize("ends", [True, False])
def test_a_buffer_that_overflows_fails_its_request_alone(server: ScriptedServer, ends: bool) -> None:
    """The reader goes on: the next turn works on the same connection."""
    rest = [send(completed("resp_1"))] if ends else []
    server.connection(
        expect(),
        send(created("resp_1"), delta("first")),
        *delivered("begun"),
        send(*flood(1000)),
        *rest,
        *delivered("flooded"),
        *([] if ends else [gate("left"), send(completed("resp_1"))]),
        expect(),
        send(*answer("resp_2", "second")),
    )
    limits = Limits(max_buffered_bytes=50_000)
    with websocket(server, limits=limits, timeouts=Timeouts(drain=SECONDS)) as ws:
        stream = begin(ws)
        server.wait_for("flooded")
        assert not ws.in_flight
        with pytest.raises(PayloadTooLarge, match="max_buffered_bytes") as caught:
            list(stream)
        error = caught.value
        assert error.limit == 50_000
        assert error.size > 50_000
        assert error.delivery is Delivery.STARTED
        assert error.response_id == "resp_1"
        assert error.partial is not None
        assert error.partial.content.startswith("first")
        assert len(error.partial.content) < 60_000
        assert ws.connected
        assert ws.last_response_id is None
        server.open("left")
        assert ask(ws) == "second"
    assert len(server.connections) == 1


def test_what_is_taken_does_not_count(server: ScriptedServer) -> None:
    """An answer may be larger than the buffer, if it is read as it comes."""
    rounds: list[Any] = []
    for number in range(20):
        rounds += [gate(f"go {number}"), send(delta("x" * 1000, "msg_1"))]
    server.connection(expect(), send(created("resp_1")), *rounds, send(completed("resp_1")))
    with websocket(server, limits=Limits(max_buffered_bytes=5000)) as ws:
        stream = begin(ws)
        number = 0
        for chunk in stream:
            if chunk.type in ("response.created", "response.output_text.delta"):
                server.open(f"go {number}")
                number += 1
        assert len(stream.message.content) == 20_000


def test_without_the_bound_everything_is_kept(server: ScriptedServer) -> None:
    """None means no limit."""
    server.connection(
        expect(), send(created("resp_1"), *flood(1000), completed("resp_1")), *delivered("sent")
    )
    with websocket(server, limits=Limits(max_buffered_bytes=None)) as ws:
        stream = begin(ws)
        server.wait_for("sent")
        assert len(stream.message.content) == 1000 * FLOOD


def test_the_bound_is_each_requests_own(server: ScriptedServer) -> None:
    """What an earlier answer took does not count against the next."""
    for _ in range(1):
        server.connection(
            *(
                step
                for number in range(10)
                for step in (expect(), send(*answer(f"r{number}", *["x" * 1000] * 3)))
            )
        )
    with websocket(server, limits=Limits(max_buffered_bytes=6000)) as ws:
        for _ in range(10):
            assert len(ask(ws)) == 3000


# -- the end of the connection


def test_what_came_before_a_close_is_read_first(server: ScriptedServer) -> None:
    """A consumer that is behind sees every event before it hears of the end."""
    server.connection(expect(), send(*ANSWER[:4]), close(1011))
    with websocket(server) as ws:
        stream = begin(ws)
        chunks = iter(stream)
        assert read_deltas(chunks, 3) == ["one ", "two ", "three"]
        with pytest.raises(ConnectionLost) as caught:
            next(chunks)
        assert caught.value.partial is not None
        assert caught.value.partial.content == "one two three"


def test_an_answer_that_came_whole_survives_its_connection(server: ScriptedServer) -> None:
    """Read after the close, after a reconnect, and after the WebSocket was forgotten."""
    server.connection(expect(), send(*ANSWER), close(1000))
    ws = websocket(server).connect()
    stream = begin(ws)
    join_readers()
    ws.disconnect()
    del ws
    gc.collect()
    assert [chunk.raw for chunk in stream] == ANSWER
    assert isinstance(stream.message, Message)


def test_disconnect_in_the_own_loop_ends_it_with_an_error(server: ScriptedServer) -> None:
    """The response is lost, and says so."""
    server.connection(expect(), send(*ANSWER[:3]), expect_gone())
    with websocket(server) as ws:
        chunks = iter(begin(ws))
        assert read_deltas(chunks, 2) == ["one ", "two "]
        ws.disconnect()
        with pytest.raises(ConnectionLost, match="disconnect") as caught:
            next(chunks)
        assert caught.value.close_code is None
        assert caught.value.partial is not None
        assert caught.value.partial.content == "one two "
