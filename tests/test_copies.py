"""A copy of a chat, by ``fork()`` or ``to_dict()``, never makes a call that the chat makes itself."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chatting import chat
from shell import KEY, SECONDS, Task, until
from test_fork import Child

from responses_ws import Chunk, ServerError, ToolCall
from responses_ws._core.retry import Retry
from responses_ws.chat import Chat
from responses_ws.testing import Model, ScriptedServer
from responses_ws.tools import tool

Copy = Callable[[Chat], Chat]
RUNNING = "Error: the call was still being made when this conversation was copied, and may have had effects"
OUTPUTS = "output 1 | output 2"


def two_calls(items: list[dict[str, Any]], request: dict[str, Any]) -> Any:
    """Call the tool twice, then say what came of it."""
    outputs = [item["output"] for item in items if item["type"] == "function_call_output"]
    if outputs:
        return " | ".join(outputs)
    arguments = [json.dumps({"number": number}) for number in (1, 2)]
    return [{"type": "function_call", "name": "work", "arguments": given} for given in arguments]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(model=Model(two_calls)) as running:
        yield running


class Work:
    """A tool that can be caught at work.

    :ivar made: the calls that were made, by their numbers.
    :ivar free: what each call waits for, by its number.
    """

    def __init__(self) -> None:
        self.made: list[int] = []
        self.free = {1: threading.Event(), 2: threading.Event()}
        self.tool = tool(name="work")(self._work)

    def _work(self, number: int) -> str:
        """Do some work."""
        self.made.append(number)
        assert self.free[number].wait(SECONDS)
        return f"output {number}"

    def wait_for(self, count: int) -> None:
        until(lambda: len(self.made) == count)

    def finish(self) -> None:
        for event in self.free.values():
            event.set()


@pytest.fixture
def work() -> Iterator[Work]:
    made = Work()
    yield made
    made.finish()


@pytest.fixture(params=["fork", "to_dict"])
def copy(request: pytest.FixtureRequest, work: Work, server: ScriptedServer) -> Copy:
    """Both ways to go on with the same history somewhere else."""

    def by_dict(talk: Chat) -> Chat:
        data = json.loads(json.dumps(talk.to_dict()))
        return Chat.from_dict(data, tools=[work.tool], api_key=KEY, api_base=server.url)

    return Chat.fork if request.param == "fork" else by_dict


@pytest.mark.parametrize("most", [1, 2], ids=["one waits its turn", "both run"])
def test_a_call_that_is_being_made_is_not_made_by_a_copy(server, work, copy, most):
    """The copy tells the model so; the chat itself brings the outputs."""
    with chat(server, tools=[work.tool], max_parallel=most) as talk:
        asking = Task(talk.ask, "go")
        work.wait_for(most)
        with copy(talk) as other:
            work.finish()
            assert asking.result().content == OUTPUTS
            assert other.run_tools().content == f"{RUNNING} | {RUNNING}"
    assert sorted(work.made) == [1, 2]


def test_a_copy_has_the_outputs_that_are_there(server, work, copy):
    """Of two calls one has ended."""
    with chat(server, tools=[work.tool]) as talk:
        asking = Task(talk.ask, "go")
        work.wait_for(2)
        work.free[1].set()
        until(lambda: talk.items[-1].get("output") == "output 1")
        with copy(talk) as other:
            work.finish()
            assert other.run_tools().content == f"output 1 | {RUNNING}"
            assert asking.result().content == OUTPUTS


def test_a_call_that_is_about_to_be_made_is_not_made_by_a_copy(server, work, copy):
    """Its approval is being asked for."""
    taken = []

    def approve(call: ToolCall) -> bool:
        if not taken:
            taken.append(copy(talk))
        return True

    work.finish()
    with chat(server, tools=[work.tool], approve=approve) as talk:
        assert talk.ask("go").content == OUTPUTS
        with taken[0] as other:
            assert other.run_tools().content == f"{RUNNING} | {RUNNING}"
    assert sorted(work.made) == [1, 2]


def test_an_eager_tool_may_be_running_between_two_steps(server, work, copy):
    """Nobody uses the chat then, and yet the calls are being made; one has ended, and nobody has looked."""
    with chat(server, tools=[work.tool], eager_tools=True) as talk:
        talk.step("go")
        work.wait_for(2)
        work.free[1].set()
        until(lambda: not tool_threads(1))
        with copy(talk) as other:
            work.finish()
            assert other.run_tools().content == f"output 1 | {RUNNING}"
            assert talk.run_tools().content == OUTPUTS
    assert sorted(work.made) == [1, 2]


def tool_threads(most: int) -> bool:
    """Whether more tools than these are running."""
    return sum(thread.name.startswith("responses_ws-tool") for thread in threading.enumerate()) > most


def test_open_calls_of_a_chat_at_rest_are_the_copys_to_make(server, work, copy):
    """And the chat's: these are two conversations, each with its own calls."""
    work.finish()
    with chat(server, tools=[work.tool]) as talk:
        talk.step("go")
        with copy(talk) as other:
            assert other.run_tools().content == OUTPUTS
            assert talk.run_tools().content == OUTPUTS
    assert sorted(work.made) == [1, 1, 2, 2]


def test_a_copy_in_mid_answer_has_the_outputs(server, work, copy):
    """The response that brings them to the model has begun, and is not completed."""
    taken = []

    def look(chunk: Chunk) -> None:
        if chunk.content and not taken:
            taken.append(copy(talk))

    work.finish()
    with chat(server, tools=[work.tool]) as talk:
        assert talk.ask("go", look).content == OUTPUTS
        with taken[0] as other:
            assert other.run_tools().content == OUTPUTS
    assert sorted(work.made) == [1, 2]


def test_a_copy_while_another_thread_goes_on_is_of_one_moment(server, work, copy):
    """However the two fall together, no call is made twice and each has its one output."""
    work.finish()
    for _ in range(8):
        work.made.clear()
        with chat(server, tools=[work.tool]) as talk:
            asking = Task(talk.ask, "go")
            taken = []
            while asking.is_alive():
                taken.append(talk.to_dict())
            assert asking.result().content == OUTPUTS
        for data in taken:
            items = data["ledger"]["items"]
            calls = [item["call_id"] for item in items if item["type"] == "function_call"]
            outputs = [item for item in items if item["type"] == "function_call_output"]
            answered = [item["call_id"] for item in [*outputs, *data["answers"]]]
            assert answered == calls
        assert sorted(work.made) == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_does_not_make_the_calls_of_its_parent(server, work):
    """It has the chat, and not the threads of its tools."""
    with chat(server, tools=[work.tool]) as talk:
        asking = Task(talk.ask, "go")
        work.wait_for(2)
        child = Child(lambda: talk.to_dict()["answers"])
        interrupted = [answer["output"] for answer in child.result()]
        work.finish()
        assert asking.result().content == OUTPUTS
    assert len(interrupted) == 2
    assert all("may have had effects" in output for output in interrupted)


def test_the_items_are_of_one_moment(server, work):
    """Another thread comes to the end between the look at the history and the one at what waits."""
    work.finish()
    with chat(server, tools=[work.tool], retry=Retry(max_retries=0)) as talk:
        talk.step("go")
        server.model.fail_next(when="created")
        with pytest.raises(ServerError):
            talk.run_tools()
        loop = talk._conversation._loop
        unsent = loop.unsent

        def late() -> list[dict[str, Any]]:
            loop.unsent = unsent
            Task(talk.run_tools).result()
            return unsent()

        before = talk.items
        loop.unsent = late
        assert talk.items in (before, talk.items)


def test_a_copy_after_a_failure_has_the_outputs(server, work, copy):
    """They are kept until a completed response has them."""
    work.finish()
    with chat(server, tools=[work.tool], retry=Retry(max_retries=0)) as talk:
        talk.step("go")
        server.model.fail_next(when="created")
        with pytest.raises(ServerError):
            talk.run_tools()
        with copy(talk) as other:
            assert other.run_tools().content == OUTPUTS
    assert sorted(work.made) == [1, 2]
