"""A conversation that is hit by faults is the conversation that it would have been without them."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chatting import calling, chat, meant, seen
from shell import SECONDS, Task

from responses_ws import ConnectionError, Message, ServerError
from responses_ws._breakers import _breakers
from responses_ws.chat import Chat
from responses_ws.testing import Connection, Model, ScriptedServer, Step, optional, refuse, reset, run, serve
from responses_ws.tools import Tool, tool

KIBIBYTE = 1024
STEPS = 100
OUTPUT = "x" * (4 * KIBIBYTE)


@pytest.fixture(autouse=True)
def no_breaker() -> Iterator[None]:
    """No test finds the losses of another."""
    _breakers.clear()
    yield
    _breakers.clear()


def counted(made: list[int], output: str = "done") -> Tool:
    """A tool that notes each time it runs."""

    @tool
    def work(number: int) -> str:
        made.append(number)
        return output

    return work


def go_on(talk: Chat, question: str) -> Message:
    """What a user does after a failure: go on with what is open, or else ask again."""
    return talk.run_tools(max_rounds=None) if talk.unfinished else talk.ask(question)


def insist(talk: Chat, question: str) -> Message:
    """Go on until there is an answer."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return go_on(talk, question)
        except (ConnectionError, ServerError):
            assert time.monotonic() < deadline


# -- a long tool loop


def steps(items: list[dict[str, Any]], request: dict[str, Any]) -> Any:
    """One call after the other, then an answer."""
    outputs = sum(item.get("type") == "function_call_output" for item in items)
    if outputs == STEPS:
        return "All done."
    return [{"type": "function_call", "name": "work", "arguments": json.dumps({"number": outputs})}]


@pytest.mark.parametrize("store", [True, False])
def test_a_long_loop_sends_what_is_new_and_little_more(store):
    """A hundred outputs of 4 KiB: at most 1.1 times the new items and 1 KiB a turn, so it grows linearly."""
    made: list[int] = []
    model = Model(steps)
    with ScriptedServer(model=model) as server:
        with chat(server, tools=[counted(made, OUTPUT)], store=store, max_rounds=None) as talk:
            assert talk.ask("Go.").content == "All done."
            assert meant(seen(model, talk)) == meant(talk.items)
        sent = [len(entry.data) for entry in server.log if (entry.direction, entry.kind) == ("in", "text")]
        new = [len(json.dumps(request["input"])) for request in server.requests]
    assert made == list(range(STEPS))
    assert len(sent) == STEPS + 1
    assert sum(sent) <= 1.1 * sum(new) + KIBIBYTE * len(sent)
    half = len(sent) // 2
    assert sum(sent[half:]) <= 1.1 * sum(sent[:half]) + KIBIBYTE * len(sent)


def events_of(connection: Connection) -> Iterator[dict[str, Any]]:
    """What the server's model answers the next request, over either transport."""
    model = connection.model
    assert model is not None
    request = {**connection.receive(), "type": "response.create"}
    request.pop("stream", None)
    memory = model.connect() if connection.http else connection.memories.setdefault(model, model.connect())
    return model.respond(request, memory)


def cut(after: int) -> Callable[[Connection], None]:
    """Answer like the model until so many events were sent, then drop the connection without a word."""

    def answer(connection: Connection) -> None:
        sent = 0
        while True:
            for event in events_of(connection):
                if sent == after:
                    connection.reset()
                    return
                connection.send(event)
                sent += 1

    return answer


EVENTS_OF_A_STEP = 7
DROPS: dict[str, tuple[Step, ...]] = {
    "at rest": (serve(turns=7), reset()),
    "in mid-answer": (run(cut(7 * EVENTS_OF_A_STEP + 4)),),
}


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("where", DROPS)
def test_a_long_loop_survives_the_loss_of_its_socket_every_seven_steps(store, where):
    """The same history here and on the server as without, and no tool is run twice."""
    made: list[int] = []
    model = Model(steps)
    with ScriptedServer(model=model) as server:
        for _ in range(2 * STEPS // 7):
            server.connection(*(optional(step) for step in DROPS[where]))
        options: dict[str, Any] = {"store": store, "max_rounds": None, "transport": "websocket"}
        with chat(server, tools=[counted(made)], **options) as talk:
            assert insist(talk, "Go.").content == "All done."
            assert meant(seen(model, talk)) == meant(talk.items)
            assert len(talk.items) == 2 * STEPS + 2
        assert len(server.connections) >= STEPS // 7
    assert made == list(range(STEPS))


# -- a server that dies in mid-answer


QUESTION = f"{calling('work', number=1)} {calling('work', number=2)}"
EVENTS_OF_A_TURN = 37


@pytest.fixture(scope="module")
def reference() -> tuple[list[dict[str, Any]], int]:
    """The history of the tool turn and of the question after it, and the number of events of the turn."""
    with ScriptedServer(model=Model()) as server, chat(server, tools=[counted([])]) as talk:
        talk.ask(QUESTION)
        events = sum((entry.direction, entry.kind) == ("out", "text") for entry in server.log)
        talk.ask("thanks")
        return meant(talk.items), events


def test_the_recorded_turn_has_so_many_events(reference):
    """Each of which is the last one below."""
    assert reference[1] == EVENTS_OF_A_TURN


DEATHS = [
    *(("websocket", "stored", index) for index in range(EVENTS_OF_A_TURN)),
    *(("websocket", "not stored", index) for index in range(EVENTS_OF_A_TURN)),
    *(("http", "stored", index) for index in range(EVENTS_OF_A_TURN)),
    *(("websocket", "lost", index) for index in range(0, EVENTS_OF_A_TURN, 4)),
]


@pytest.mark.parametrize(("transport", "kept", "index"), DEATHS)
def test_a_server_may_die_at_any_event(transport, kept, index, reference):
    """The next question goes on: the history is the one without the death, and no tool has run twice."""
    made: list[int] = []
    model = Model()
    with ScriptedServer(model=model) as server:
        server.connection(run(cut(index)))
        port = server.port
        options: dict[str, Any] = {"store": kept != "not stored", "transport": transport}
        talk = chat(server, tools=[counted(made)], **options)
        with pytest.raises(ConnectionError) as caught:
            talk.ask(QUESTION)
        assert (caught.value.partial is None) == (caught.value.delivery.value == "unknown")
    if kept == "lost":
        model.forget()
    with talk, ScriptedServer(model=model, port=port):
        go_on(talk, QUESTION)
        talk.ask("thanks")
        assert meant(talk.items) == meant(seen(model, talk)) == reference[0]
    assert sorted(made) == [1, 2]


# -- two transports


@pytest.mark.parametrize("store", [True, False])
def test_a_chat_may_change_its_transport_at_every_turn(store):
    """The history on the server is the same; what is stored is continued over the other one."""
    made: list[int] = []
    model = Model()
    with ScriptedServer(model=model) as server, chat(server, tools=[counted(made)], store=store) as talk:
        for turn in range(6):
            transport = ("websocket", "http")[turn % 2]
            question = f"{turn} {calling('work', number=turn)}" if turn % 3 else str(turn)
            answer = talk.with_params(transport=transport).ask(question)
            assert answer.transport == transport
            assert meant(model.history(answer.response_id or "")) == meant(talk.items)
        assert [message.content[:1] for message in talk.messages if message.role == "user"] == list("012345")
    assert made == [1, 2, 4, 5]
    continued = ["previous_response_id" in request for request in server.requests]
    assert all(continued[1:]) == store


@pytest.mark.parametrize("status", [404, 426, 503])
def test_a_chat_goes_over_http_where_there_is_no_socket(status):
    """In the same call."""
    with ScriptedServer(model=Model()) as server:
        server.connection(refuse(status))
        with chat(server) as talk:
            answer = talk.ask("hi")
            assert (answer.content, answer.transport) == ("You said: hi.", "http")


# -- many chats in many threads


WAYS = ("websocket", "http", "auto")


def chaos(seed: int, faults: list[str]) -> Step:
    """Answer like the model, and drop the connection every now and then, between answers or within."""

    def answer(connection: Connection) -> None:
        luck = random.Random(seed)  # noqa: S311
        while True:
            for event in events_of(connection):
                if luck.random() < 1 / 60:
                    faults.append("within")
                    connection.reset()
                    return
                connection.send(event)
            if luck.random() < 1 / 12:
                faults.append("between")
                if connection.http:
                    connection.reset()
                else:
                    connection.close(luck.choice([1000, 1001, 1011, 1012]))
                return

    return optional(run(answer))


def converse(server: ScriptedServer, number: int, until: float) -> None:
    """Talk until the time is over, now and then in a fork; every answer is made of what this chat said."""
    made: list[int] = []
    model = server.model
    assert model is not None
    name = f"chat-{number:02}"
    options: dict[str, Any] = {"store": number % 2 == 0, "transport": WAYS[number % len(WAYS)]}
    turns = 0
    while not turns or time.monotonic() < until:
        talk = chat(server, tools=[counted(made, name)], **options)
        for turn in range(8):
            if turn % 4 == 3:
                other = talk.fork()
                talk.close()
                talk = other
            question = f"{name} {turn} {calling('work', number=turns) if turn % 2 else ''}"
            answer = insist(talk, question)
            turns += 1
            assert all(name in message.content for message in talk.messages if message.role == "user")
            assert answer.content.startswith(
                f"work returned: {name}" if turn % 2 else f"You said: {question}"
            )
            assert meant(model.history(answer.response_id or "")) == meant(talk.items)
        talk.close()
    assert len(made) == len(set(made))


@pytest.mark.parametrize("seconds", [0.3, pytest.param(60, marks=pytest.mark.slow)])
def test_chats_in_many_threads_never_mix(seconds):
    """Sixteen of them, with random faults: each sees its own answers only, and its own history is whole."""
    faults: list[str] = []
    with ScriptedServer(model=Model(), record=False) as server:
        for seed in range(int(400 * seconds)):
            server.connection(chaos(seed, faults))
        until = time.monotonic() + seconds
        threads = [Task(converse, server, number, until) for number in range(16)]
        for thread in threads:
            thread.join(seconds + SECONDS)
        for thread in threads:
            thread.result()
    assert {"within", "between"} <= set(faults)
