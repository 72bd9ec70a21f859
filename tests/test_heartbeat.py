"""A caller who iterates gets a word while nothing comes, so that it can look after its own client."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from chatting import calling, chat, seen
from sessions import rejection
from shell import SECONDS, Task, answer, created, delta, join_readers, until, websocket

from responses_ws import ConfigurationError, ResponseCancelled, ResponseTimeout, Retry
from responses_ws.testing import (
    Model,
    ScriptedServer,
    close,
    delay,
    expect,
    expect_gone,
    gate,
    optional,
    repeat,
    send,
)
from responses_ws.tools import tool

BEAT = 0.05
SEVERAL = 3


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def modelled() -> Iterator[ScriptedServer]:
    with ScriptedServer(model=Model()) as server:
        yield server


def beats(chunks: Iterator[Any], wanted: int = SEVERAL) -> float:
    """Read on until so many beats have come one after the other; the seconds that they took."""
    before = time.monotonic()
    found = 0
    while found < wanted:
        if next(chunks) is None:
            found += 1
        else:
            found, before = 0, time.monotonic()
    return time.monotonic() - before


def contents(chunks: Iterator[Any]) -> str:
    return "".join(chunk.content or "" for chunk in chunks if chunk is not None)


@pytest.mark.parametrize("transport", ["websocket", "http"])
def test_an_answer_that_pauses_beats(server: ScriptedServer, transport: str) -> None:
    """At the pace that was asked for, over both transports; afterwards the answer goes on."""
    first, *rest = answer("resp_1", "one ", "two")
    server.connection(expect(), send(first), gate("more"), send(*rest))
    with chat(server, transport=transport) as talk, talk.stream("hi") as stream:
        chunks = stream.chunks(heartbeat=BEAT)
        assert SEVERAL * BEAT <= beats(chunks) < SECONDS
        server.open("more")
        assert contents(chunks) == "one two"
        assert stream.message.content == "one two"


def test_a_single_response_beats_too(server: ScriptedServer) -> None:
    """A stream of a WebSocket has the same verb."""
    first, *rest = answer("resp_1", "one ", "two")
    server.connection(expect(), send(first), gate("more"), send(*rest))
    with websocket(server) as ws, ws.stream(model="m", input="hi") as stream:
        chunks = stream.chunks(heartbeat=BEAT)
        beats(chunks)
        server.open("more")
        assert contents(chunks) == "one two"


def test_an_answer_that_flows_does_not_beat(server: ScriptedServer) -> None:
    """Each event is a sign of life; an answer may take many times the heartbeat."""
    flow = repeat(40, delay(BEAT / 5), send(delta("x")))
    first, *_, last = answer("resp_1")
    server.connection(expect(), send(first), flow, send(last))
    with websocket(server) as ws, ws.stream(model="m", input="hi") as stream:
        before = time.monotonic()
        assert None not in list(stream.chunks(heartbeat=10 * BEAT))
        assert time.monotonic() - before > 5 * BEAT


def test_without_a_heartbeat_there_is_no_beat(server: ScriptedServer) -> None:
    """Iterating gives chunks only, also after a loop that wanted beats."""
    first, *rest = answer("resp_1", "one ", "two")
    server.connection(expect(), send(first), delay(4 * BEAT), send(*rest))
    with chat(server) as talk, talk.stream("hi") as stream:
        beating = stream.chunks(heartbeat=BEAT)
        assert next(beating) is not None
        assert None not in list(stream)
        assert list(beating) == []


def test_a_pause_before_another_attempt_beats(server: ScriptedServer) -> None:
    """Nobody is asked meanwhile, and the client has to be looked after all the same."""
    server.connection(
        expect(), send(rejection(retry_after="0.4")), expect(), send(*answer("resp_1", "at last"))
    )
    with chat(server, retry=Retry(max_retries=1)) as talk, talk.stream("hi") as stream:
        chunks = stream.chunks(heartbeat=BEAT)
        beats(chunks)
        assert contents(chunks) == "at last"


def test_tools_that_run_beat(modelled: ScriptedServer) -> None:
    """They are not disturbed by it: each runs once, to its end."""
    released = threading.Event()
    made = []

    @tool
    def wait() -> str:
        made.append(1)
        assert released.wait(SECONDS)
        return "over"

    with chat(modelled, tools=[wait]) as talk, talk.stream(calling("wait")) as stream:
        chunks = stream.chunks(heartbeat=BEAT)
        assert beats(chunks) < SECONDS
        released.set()
        assert "wait returned: over." in contents(chunks)
        assert made == [1]


def test_leaving_at_a_beat_of_an_answer_abandons_it(server: ScriptedServer) -> None:
    """As leaving at a chunk does: the connection is free for the next question."""
    server.connection(expect(), send(created("resp_1")), expect_gone())
    server.connection(expect(), send(*answer("resp_2", "hello")))
    with chat(server) as talk:
        for chunk in talk.stream("hi").chunks(heartbeat=BEAT):
            if chunk is None:
                break
        assert talk.ask("again").content == "hello"
        assert [message.content for message in talk.messages] == ["again", "hello"]


def test_leaving_at_a_beat_of_a_tool_leaves_the_tool(modelled: ScriptedServer) -> None:
    """Its call is answered as one that was interrupted, and the chat can go on."""
    released = threading.Event()

    @tool
    def wait() -> str:
        released.wait(SECONDS)
        return "late"

    with chat(modelled, tools=[wait]) as talk:
        stream = talk.stream(calling("wait"))
        beats(stream.chunks(heartbeat=BEAT))
        stream.close()
        assert "may have had effects" in talk.ask("go on").content
        assert modelled.model is not None
        assert seen(modelled.model, talk) == talk.items
    released.set()


def test_another_thread_may_cancel_between_two_beats(server: ScriptedServer) -> None:
    """The thread that iterates is told, wherever it is."""
    server.connection(expect(), send(created("resp_1")), optional(expect_gone()))
    with chat(server) as talk:
        stream = talk.stream("hi")
        begun = threading.Event()

        def read() -> None:
            for chunk in stream.chunks(heartbeat=BEAT):
                if chunk is not None:  # so the server has sent what it had to send
                    begun.set()

        waiting = Task(read)
        until(begun.is_set)
        talk.cancel()
        assert isinstance(waiting.error(), ResponseCancelled)
    join_readers()


def test_the_clocks_run_on(server: ScriptedServer) -> None:
    """A beat is no event of the response: its silence has the same end."""
    server.connection(expect(), send(created("resp_1")), optional(expect_gone()))
    with chat(server, response_timeout=5 * BEAT) as talk:
        chunks = talk.stream("hi").chunks(heartbeat=BEAT)
        with pytest.raises(ResponseTimeout) as caught:
            beats(chunks, wanted=100)
        assert caught.value.clock == "response_timeout"
    join_readers()


def test_a_connection_that_is_lost_ends_the_beating(server: ScriptedServer) -> None:
    """What iterating raises is raised here."""
    server.connection(expect(), send(created("resp_1")), gate("end"), close(1011))
    with chat(server) as talk:
        chunks = talk.stream("hi").chunks(heartbeat=BEAT)
        beats(chunks)
        server.open("end")
        with pytest.raises(ConnectionError):
            beats(chunks, wanted=1000)


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), "15", True])
def test_what_is_no_heartbeat_is_refused(modelled: ScriptedServer, wrong: Any) -> None:
    """At once, not with the first silence."""
    with chat(modelled) as talk, talk.stream("hi") as stream:
        with pytest.raises(ConfigurationError, match="heartbeat"):
            stream.chunks(heartbeat=wrong)
        assert stream.message.content == "You said: hi."
