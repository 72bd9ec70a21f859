"""Leaving a response before its end, in every way there is: nothing of it reaches the next one."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import pytest
from shell import (
    SECONDS,
    Event,
    Task,
    answer,
    ask,
    completed,
    created,
    delta,
    error_event,
    join_readers,
    read_deltas,
    wait_until_in,
    websocket,
)

from responses_ws import (
    Chunk,
    ConcurrencyError,
    ConnectionError,
    Delivery,
    ResponseCancelled,
    ResponseStream,
    ResponseTimeout,
    Timeouts,
    WebSocket,
)
from responses_ws.testing import (
    Model,
    ScriptedServer,
    close,
    eof,
    expect,
    expect_gone,
    gate,
    optional,
    reset,
    send,
)

# -- the ways to leave

Leave = Callable[[WebSocket, "Script"], None]


class Script:
    """A first answer that stops after three pieces."""

    PIECES = ("first one ", "first two ", "first three ")
    REST = ("first four ", "first five ", "first six")

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server

    def begin(self, ws: WebSocket) -> tuple[ResponseStream, Iterator[Chunk]]:
        """Ask, and read three pieces."""
        stream = ws.stream(model="m", input="hi")
        chunks = iter(stream)
        assert read_deltas(chunks, 3) == list(self.PIECES)
        return stream, chunks


def leave_by_break(ws: WebSocket, script: Script) -> None:
    seen = []
    for chunk in ws.stream(model="m", input="hi"):
        if chunk.content:
            seen.append(chunk.content)
        if len(seen) == 3:
            break
    assert seen == list(script.PIECES)


def leave_by_break_of_text(ws: WebSocket, script: Script) -> None:
    seen = []
    for text in ws.stream(model="m", input="hi").text:
        seen.append(text)
        if len(seen) == 3:
            break
    assert seen == list(script.PIECES)


def leave_by_close(ws: WebSocket, script: Script) -> None:
    stream, _ = script.begin(ws)
    stream.close()


def leave_by_close_in_the_loop(ws: WebSocket, script: Script) -> None:
    seen = []
    stream = ws.stream(model="m", input="hi")
    for chunk in stream:
        if chunk.content:
            seen.append(chunk.content)
        if len(seen) == 3:
            stream.close()
    assert seen == list(script.PIECES)


def leave_by_cancel(ws: WebSocket, script: Script) -> None:
    stream, _ = script.begin(ws)
    stream.cancel()


def leave_by_with(ws: WebSocket, script: Script) -> None:
    with ws.stream(model="m", input="hi") as stream:
        assert read_deltas(iter(stream), 3) == list(script.PIECES)


def leave_by_closing_the_iterator(ws: WebSocket, script: Script) -> None:
    _, chunks = script.begin(ws)
    chunks.close()  # type: ignore[attr-defined]


def leave_by_response_timeout(ws: WebSocket, script: Script) -> None:
    ws._settings.response_timeout = 0.1
    with pytest.raises(ResponseTimeout) as caught:
        ask(ws)
    ws._settings.response_timeout = 600
    assert caught.value.partial is not None
    assert caught.value.partial.content == "".join(script.PIECES)


def leave_by_keyboard_interrupt(ws: WebSocket, script: Script) -> None:
    main, three = threading.get_ident(), threading.Event()
    seen = []

    def note(chunk: Chunk) -> None:
        if chunk.content:
            seen.append(chunk.content)
        if len(seen) == 3:
            three.set()

    def interrupt() -> None:
        assert three.wait(SECONDS)
        wait_until_in(main, "wait_for")
        os.kill(os.getpid(), signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    task = Task(interrupt)
    with pytest.raises(KeyboardInterrupt):
        ws.create_response(model="m", input="hi", on_chunk=note)
    task.result()
    assert seen == list(script.PIECES)


def leave_by_an_exception_in_on_chunk(ws: WebSocket, script: Script) -> None:
    seen = []

    def note(chunk: Chunk) -> None:
        if chunk.content:
            seen.append(chunk.content)
        if len(seen) == 3:
            raise LookupError("of the callback")

    with pytest.raises(LookupError, match="of the callback"):
        ws.create_response(model="m", input="hi", on_chunk=note)
    assert seen == list(script.PIECES)


def leave_by_an_exception_in_the_loop(ws: WebSocket, script: Script) -> None:
    def read() -> None:
        for count, _ in enumerate(ws.stream(model="m", input="hi").text, 1):
            if count == 3:
                raise LookupError

    with pytest.raises(LookupError):
        read()


def leave_by_an_exception_thrown_in(ws: WebSocket, script: Script) -> None:
    _, chunks = script.begin(ws)
    with pytest.raises(LookupError):
        chunks.throw(LookupError())  # type: ignore[attr-defined]


def leave_by_system_exit(ws: WebSocket, script: Script) -> None:
    def read() -> None:
        with ws.stream(model="m", input="hi") as stream:
            read_deltas(iter(stream), 3)
            raise SystemExit

    with pytest.raises(SystemExit):
        read()


def leave_by_dropping_the_reference(ws: WebSocket, script: Script) -> None:
    stream, chunks = script.begin(ws)
    del stream, chunks


def leave_by_dropping_the_stream_unread(ws: WebSocket, script: Script) -> None:
    stream = ws.stream(model="m", input="hi")
    del stream


def leave_by_dropping_a_cycle(ws: WebSocket, script: Script) -> None:
    gc.disable()
    try:
        holder: dict[str, Any] = {}
        holder["stream"], holder["chunks"] = script.begin(ws)
        holder["itself"] = holder
        del holder
        assert ws.in_flight
        gc.collect()
    finally:
        gc.enable()


def leave_by_dropping_a_cycle_through_the_stream(ws: WebSocket, script: Script) -> None:
    gc.disable()
    try:
        stream = ws.stream(model="m", input="hi")
        stream.itself = stream  # type: ignore[attr-defined]
        del stream
        assert ws.in_flight
        gc.collect()
    finally:
        gc.enable()


def leave_by_dropping_on_another_thread(ws: WebSocket, script: Script) -> None:
    held = list(script.begin(ws))
    Task(held.clear).result()


WAYS: dict[str, Leave] = {
    name.removeprefix("leave_by_").replace("_", " "): function
    for name, function in list(globals().items())
    if name.startswith("leave_by_")
}


@pytest.fixture(params=[False, True], ids=["ws", "wss"])
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    with ScriptedServer(tls=request.param) as server:
        yield server


@pytest.mark.parametrize("way", WAYS)
def test_what_drains_in_time_keeps_the_socket(server: ScriptedServer, way: str) -> None:
    """The next request waits for the end of the abandoned answer and gets its own, on the same connection."""
    script = Script(server)
    server.connection(
        expect(),
        send(created("resp_1"), *(delta(piece) for piece in script.PIECES)),
        gate("left"),
        send(*(delta(piece) for piece in script.REST), completed("resp_1")),
        expect(lambda request: "previous_response_id" not in request),
        send(*answer("resp_2", "second")),
    )
    with websocket(server, timeouts=Timeouts(drain=SECONDS)) as ws:
        WAYS[way](ws, script)
        assert not ws.in_flight
        assert ws.connected
        server.open("left")
        assert_own_answer(ws)
    assert len(server.connections) == 1


@pytest.mark.parametrize("way", WAYS)
def test_what_does_not_drain_costs_the_socket(server: ScriptedServer, way: str) -> None:
    """After the budget the connection is given up, and the next request goes to a new one."""
    script = Script(server)
    server.connection(
        expect(),
        send(created("resp_1"), *(delta(piece) for piece in script.PIECES)),
        gate("late"),
        optional(send(*(delta(piece) for piece in script.REST), completed("resp_1"))),
        expect_gone(),
    )
    server.connection(expect(), send(*answer("resp_2", "second")))
    with websocket(server, timeouts=Timeouts(drain=0.02)) as ws:
        WAYS[way](ws, script)
        assert not ws.in_flight
        assert_own_answer(ws)
        server.open("late")
    assert len(server.connections) == 2


def assert_own_answer(ws: WebSocket) -> None:
    """A next turn gets exactly its own events."""
    stream = ws.stream(model="m", input="hi")
    chunks = list(stream)
    kinds = ["response.created", "response.output_text.delta", "response.completed"]
    assert [chunk.type for chunk in chunks] == kinds
    assert stream.message.content == "second"
    assert stream.message.response_id == "resp_2"
    assert ws.last_response_id == "resp_2"


# -- moments at which a response is left


@pytest.fixture
def plain() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def test_a_response_left_before_its_first_event_drains(plain: ScriptedServer) -> None:
    """It may be announced only after the next request has begun to wait."""
    plain.connection(
        expect(),
        gate("left"),
        send(*answer("resp_1", "first")),
        expect(),
        send(*answer("resp_2", "second")),
    )
    with websocket(plain, timeouts=Timeouts(drain=SECONDS)) as ws:
        ws.stream(model="m", input="hi").close()
        task = Task(assert_own_answer, ws)
        wait_until_in(task.ident or 0, "wait_for")
        plain.open("left")
        task.result()
    assert len(plain.connections) == 1


@pytest.mark.parametrize(
    "end",
    [
        [error_event()],
        [error_event(), completed("resp_1", "failed", "response.failed")],
        [completed("resp_1", "incomplete", "response.incomplete")],
        [completed("resp_1", "failed", "response.failed")],
        [{"type": "response.done"}],
        [completed("resp_1"), {"type": "response.done", "response": {"id": "resp_1"}}],
    ],
)
def test_an_abandoned_response_may_end_as_it_likes(plain: ScriptedServer, end: list[Event]) -> None:
    """Whatever its terminal event is, nobody hears of it."""
    plain.connection(
        expect(),
        send(created("resp_1"), delta("first")),
        gate("left"),
        send(*end),
        expect(),
        send(*answer("resp_2", "second")),
    )
    with websocket(plain, timeouts=Timeouts(drain=SECONDS)) as ws:
        leave_after_one(ws)
        plain.open("left")
        assert_own_answer(ws)
    assert len(plain.connections) == 1


def leave_after_one(ws: WebSocket) -> None:
    for chunk in ws.stream(model="m", input="hi"):
        if chunk.content:
            break


@pytest.mark.parametrize("end", [close(1000), close(1011), eof(), reset()])
def test_a_connection_that_ends_while_it_drains_is_replaced_at_once(plain: ScriptedServer, end: Any) -> None:
    """A drain that has come to its end, good or bad, is waited for no longer."""
    plain.connection(expect(), send(created("resp_1"), delta("first")), gate("left"), end)
    plain.connection(expect(), send(*answer("resp_2", "second")))
    with websocket(plain, timeouts=Timeouts(drain=None, total=SECONDS)) as ws:
        leave_after_one(ws)
        task = Task(assert_own_answer, ws)
        wait_until_in(task.ident or 0, "wait_for")
        plain.open("left")
        task.result()
    assert len(plain.connections) == 2


def test_a_response_left_after_its_end_leaves_nothing(plain: ScriptedServer) -> None:
    """With the last chunk the turn is over: leaving then abandons nothing, and the answer counts."""
    plain.connection(
        expect(),
        send(*answer("resp_1", "first")),
        expect(previous_response_id="resp_1"),
        send(*answer("resp_2", "second")),
    )
    with websocket(plain, timeouts=Timeouts(drain=0.001)) as ws:
        for chunk in ws.stream(model="m", input="hi"):
            if chunk.type == "response.completed":
                break
        assert ws.last_response_id == "resp_1"
        assert_own_answer(ws)
    assert len(plain.connections) == 1


def test_the_total_bounds_the_waiting_for_a_drain(plain: ScriptedServer) -> None:
    """A drain without a limit ends with the call; the object is usable, and the answer drains on."""
    plain.connection(
        expect(),
        send(created("resp_1"), delta("first")),
        gate("left"),
        send(completed("resp_1")),
        expect(),
        send(*answer("resp_2", "second")),
    )
    with websocket(plain, timeouts=Timeouts(drain=None, total=0.2)) as ws:
        leave_after_one(ws)
        with pytest.raises(ResponseTimeout) as caught:
            ask(ws)
        assert (caught.value.clock, caught.value.seconds) == ("total", 0.2)
        assert caught.value.delivery is Delivery.NOT_SENT
        assert not ws.in_flight
        ws._settings.timeouts = Timeouts(drain=SECONDS)
        plain.open("left")
        assert_own_answer(ws)
    assert len(plain.connections) == 1


def test_an_interrupt_while_a_drain_is_waited_for(plain: ScriptedServer) -> None:
    """The request that waited is as if it had never been; the next one waits for the same drain."""
    plain.connection(
        expect(),
        send(created("resp_1"), delta("first")),
        gate("left"),
        send(completed("resp_1")),
        expect(input="hi"),
        send(*answer("resp_2", "second")),
    )
    main = threading.get_ident()

    def interrupt() -> None:
        wait_until_in(main, "wait_for")
        os.kill(os.getpid(), signal.SIGINT)

    with websocket(plain, timeouts=Timeouts(drain=SECONDS)) as ws:
        leave_after_one(ws)
        task = Task(interrupt)
        with pytest.raises(KeyboardInterrupt):
            ask(ws, "never sent")
        task.result()
        assert not ws.in_flight
        plain.open("left")
        assert_own_answer(ws)
    assert len(plain.connections) == 1
    assert [request["input"] for request in plain.requests] == ["hi", "hi"]


def test_one_waits_for_a_drain_and_a_second_is_refused(plain: ScriptedServer) -> None:
    """The one that waits has the lane; it gets its own answer."""
    plain.connection(
        expect(),
        send(created("resp_1"), delta("first")),
        gate("left"),
        send(completed("resp_1")),
        expect(),
        send(*answer("resp_2", "second")),
    )
    with websocket(plain, timeouts=Timeouts(drain=SECONDS)) as ws:
        leave_after_one(ws)
        task = Task(assert_own_answer, ws)
        wait_until_in(task.ident or 0, "wait_for")
        assert ws.in_flight
        with pytest.raises(ConcurrencyError) as caught:
            ask(ws)
        assert caught.value.delivery is Delivery.NOT_SENT
        plain.open("left")
        task.result()
    assert len(plain.requests) == 2


def test_disconnect_while_a_drain_is_waited_for(plain: ScriptedServer) -> None:
    """The one that waits is told at once, and nothing is opened for it."""
    plain.connection(expect(), send(created("resp_1"), delta("first")), expect_gone())
    with websocket(plain, timeouts=Timeouts(drain=None)) as ws:
        leave_after_one(ws)
        task = Task(ask, ws)
        wait_until_in(task.ident or 0, "wait_for")
        ws.disconnect()
        error = task.error()
        assert isinstance(error, ConnectionError)
        assert error.delivery is Delivery.NOT_SENT
        assert not ws.connected
    assert len(plain.connections) == 1


def test_one_answer_after_the_other_is_abandoned(plain: ScriptedServer) -> None:
    """Each drains before the next begins; the last gets its own."""
    olds = [(expect(), send(*answer(f"old_{number}", "a", "b", "c", "d"))) for number in range(5)]
    plain.connection(*chain.from_iterable(olds), expect(), send(*answer("resp_2", "second")))
    with websocket(plain, timeouts=Timeouts(drain=SECONDS)) as ws:
        for _ in range(5):
            leave_after_one(ws)
        assert_own_answer(ws)
    assert len(plain.connections) == 1


def test_what_an_abandoned_response_still_sends_is_not_kept(plain: ScriptedServer) -> None:
    """A flood after leaving does not fill the queue of a stream that somebody still holds."""
    plain.connection(
        expect(),
        send(created("resp_1"), delta("first")),
        gate("left"),
        send(*(delta("x" * 1000) for _ in range(1000)), completed("resp_1")),
        expect(),
        send(*answer("resp_2", "second")),
    )
    with websocket(plain, timeouts=Timeouts(drain=SECONDS)) as ws:
        stream = ws.stream(model="m", input="hi")
        read_deltas(chunks := iter(stream), 1)
        stream.close()
        plain.open("left")
        assert_own_answer(ws)
        # What was put there after leaving is the word to look at the flags, and no event.
        assert len(stream._source.queue.items) <= 2
        assert list(chunks) == []
        with pytest.raises(ResponseCancelled) as caught:
            _ = stream.message
        assert caught.value.partial is not None
        assert caught.value.partial.content == "first"


def test_the_websocket_lives_as_long_as_its_stream(plain: ScriptedServer) -> None:
    """A stream that outlives the last reference to its WebSocket is read to its end."""
    plain.connection(
        expect(),
        send(created("resp_1"), delta("one")),
        gate("forgotten"),
        send(completed("resp_1")),
        expect_gone(),
    )
    ws = websocket(plain).connect()
    stream = ws.stream(model="m", input="hi")
    del ws
    gc.collect()
    plain.open("forgotten")
    assert stream.message.content == "one"
    del stream
    gc.collect()
    join_readers()


# -- many times over

ROUNDS = 200


@pytest.mark.parametrize("drain", [SECONDS, pytest.param(0.001, marks=pytest.mark.slow)])
def test_200_rounds_with_random_cuts_over_tls(drain: float) -> None:
    """Every answer carries the nonce of its question, and no answer ever holds another's."""
    seed = int(os.environ.get("RESPONSES_WS_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"RESPONSES_WS_SEED={seed}")  # shown when the test fails
    chance = random.Random(seed)  # noqa: S311

    def reply(items: list[Any], request: dict[str, Any]) -> str:
        nonce, count = request["input"].split()
        return " ".join(f"{nonce}:{number}" for number in range(int(count)))

    with ScriptedServer(tls=True, model=Model(reply, keepalive=True)) as server:
        with websocket(server, timeouts=Timeouts(drain=drain), response_timeout=SECONDS) as ws:
            for number in range(ROUNDS):
                play_round(ws, chance, f"n{number}")
            play_to_the_end(ws, "last", 30)
        assert server.model is not None
        assert server.model.creates == ROUNDS + 1
        if drain == SECONDS:
            assert len(server.connections) == 1


def play_to_the_end(ws: WebSocket, nonce: str, count: int) -> None:
    stream = ws.stream(model="m", input=f"{nonce} {count}", previous_response_id=None)
    expected = " ".join(f"{nonce}:{number}" for number in range(count))
    assert "".join(stream.text) == expected
    assert stream.message.content == expected
    assert ws.last_response_id == stream.message.response_id


CUTS = ["end", "break", "close", "raise", "cancel", "interrupt", "timeout"]


def play_round(ws: WebSocket, chance: random.Random, nonce: str) -> None:
    count, way = chance.randint(1, 60), chance.choice(CUTS)
    if way == "end":
        play_to_the_end(ws, nonce, count)
        return
    cut = chance.randint(0, count)
    stream = ws.stream(model="m", input=f"{nonce} {count}", previous_response_id=None)
    canceller = Task(stream.cancel) if way == "cancel" else None
    seen: list[str] = []
    with contextlib.suppress(LookupError, ResponseCancelled, KeyboardInterrupt, ResponseTimeout):
        for text in stream.text:
            seen.append(text)
            if len(seen) < cut:
                continue
            if way == "close":
                stream.close()
            elif way == "raise":
                raise LookupError
            elif way == "interrupt":
                signal.raise_signal(signal.SIGINT)
            elif way == "timeout":
                stream._response_timeout = 1e-9
                continue
            break
    if canceller is not None:
        canceller.result()
    assert all(text.startswith(f"{nonce}:") for text in seen), (nonce, seen)
