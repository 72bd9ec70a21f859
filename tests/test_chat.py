"""A chat remembers what was said, runs its tools, and can be left, forked, stored and gone on with."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from types import MappingProxyType
from typing import Any

import pytest
from chatting import add, calling, chat, meant, seen
from sessions import Costs
from shell import KEY, SECONDS, Task, answer, completed, created, delta, error_event, read_deltas, until
from test_fork import Child

from responses_ws import (
    ConcurrencyError,
    ConfigurationError,
    ConnectionError,
    ConnectionLost,
    Delivery,
    Endpoint,
    NotFoundError,
    PreviousResponseNotFound,
    ProtocolError,
    ResponseCancelled,
    ResponsesWSError,
    ServerError,
    ToolCall,
    ToolError,
    ToolRoundsExceeded,
    Usage,
)
from responses_ws._chat_stream import ChatStream
from responses_ws._core.retry import Retry
from responses_ws._core.tally import total
from responses_ws._line import Line
from responses_ws.chat import Chat
from responses_ws.content import Image
from responses_ws.session import Session
from responses_ws.testing import (
    Model,
    ScriptedServer,
    close,
    eof,
    expect,
    expect_gone,
    expect_request,
    gate,
    hang,
    mark,
    optional,
    respond,
    run,
    send,
    serve,
)
from responses_ws.tools import tool

PNG = b"\x89PNG\r\n\x1a\n----"
OPEN = {"a": 1, "b": 2}
ONCE = Retry(max_retries=0)
ITEM = {"type": "message", "role": "user"}
PART = {"type": "input_text"}
LOCK = threading.Lock()


async def awaited(*_: Any) -> bool:
    """As a program has it that is async elsewhere."""
    return True


class Locked(dict[str, Any]):
    """A dict as a framework may have it: JSON can express it, and it cannot be copied."""

    def __init__(self) -> None:
        super().__init__(a=1)
        self.lock = threading.Lock()


def nested() -> list[Any]:
    """Deeper than anything that is done by recursion."""
    found: list[Any] = []
    for _ in range(100_000):
        found = [found]
    return found


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def server(model):
    with ScriptedServer(model=model) as running:
        yield running


def said(talk: Chat) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in talk.messages]


# -- asking


def test_a_chat_remembers(server, model):
    """Only the new message travels; the history here and there is the same."""
    with chat(server) as talk:
        assert talk.ask("My name is Ada.").content == "You said: My name is Ada.."
        assert talk.ask("What is it?").content == "You said: What is it?. Before that: My name is Ada.."
        assert said(talk) == [
            ("user", "My name is Ada."),
            ("assistant", "You said: My name is Ada.."),
            ("user", "What is it?"),
            ("assistant", "You said: What is it?. Before that: My name is Ada.."),
        ]
        assert seen(model, talk) == talk.items
    assert [len(request["input"]) for request in server.requests] == [1, 1]
    assert server.requests[1]["previous_response_id"]


def test_nothing_is_opened_before_the_first_question(server):
    """Making, closing and forgetting a chat costs nothing."""
    with chat(server) as talk:
        talk.with_model("n").fork().close()
        assert (talk.messages, talk.last_response_id, talk.usage) == ([], None, Usage(0, 0, 0, 0, 0))
    assert server.connections == []


def test_a_stream_shows_every_response_on_the_way(server):
    """Its message is the answer after the last tool."""
    with chat(server, tools=[add]) as talk:
        stream = talk.stream(calling("add", **OPEN))
        chunks = list(stream)
        assert [chunk.type for chunk in chunks].count("response.completed") == 2
        assert stream.message.content.startswith("add returned: 3. You said:")
        assert "".join(chunk.content or "" for chunk in chunks) == stream.message.content
        assert list(stream) == []
        assert "".join(talk.stream("thanks").text).startswith("You said: thanks.")


def test_on_chunk_sees_what_a_stream_shows(server):
    """In the asking thread."""
    pieces, threads = [], set()

    def show(chunk):
        threads.add(threading.current_thread())
        pieces.append(chunk.content or "")

    with chat(server, tools=[add]) as talk:
        message = talk.ask(calling("add", **OPEN), show)
    assert ("".join(pieces), threads) == (message.content, {threading.current_thread()})


def test_images_and_items_can_be_asked(server):
    """In one message with the text, or as the service defines them."""
    with chat(server) as talk:
        talk.ask(["What is this?", Image(PNG)])
        talk.ask([{"role": "developer", "content": "Be brief."}, "Again."])
        assert [item["type"] for item in talk.items[0]["content"]] == ["input_text", "input_image"]
        assert [role for role, _ in said(talk)] == ["user", "assistant", "developer", "user", "assistant"]


@pytest.mark.parametrize("wrong", [None, [], 3])
def test_what_cannot_be_asked_is_refused_here(server, wrong):
    """And the chat is as it was."""
    with chat(server) as talk:
        with pytest.raises(ConfigurationError, match="input"):
            talk.ask(wrong)
        with pytest.raises(ConfigurationError, match="on_chunk"):
            talk.ask("hi", on_chunk="print")
        assert talk.ask("hi").content == "You said: hi."


# -- tools


def test_tools_are_run_until_the_answer(server, model):
    """Each call has one output, in order, and only outputs travel."""
    with chat(server, tools=[add]) as talk:
        question = f"{calling('add', **OPEN)} {calling('add', a=5, b=2)}"
        assert talk.ask(question).content == f"add returned: 3. add returned: 7. You said: {question}."
        assert [role for role, _ in said(talk)] == ["user", "assistant", "tool", "tool", "assistant"]
        assert seen(model, talk) == talk.items
    assert [item["output"] for item in server.requests[1]["input"]] == ["3", "7"]


def test_a_tool_may_return_an_image(server):
    """The model sees it, and the text beside it."""

    @tool
    def look() -> list:
        return ["A cat:", Image(PNG)]

    with chat(server, tools=[look]) as talk:
        talk.ask(calling("look"))
    [output] = server.requests[1]["input"]
    assert output["output"] == [{"type": "input_text", "text": "A cat:"}, Image(PNG).to_dict()]


def forever(items, request):
    return [{"type": "function_call", "name": "add", "arguments": '{"a": 1, "b": 1}'}]


def test_rounds_have_an_end():
    """The error has the answer with the calls, and the chat can go on with them, or with something else."""
    with ScriptedServer(model=Model(forever)) as server, chat(server, tools=[add], max_rounds=2) as talk:
        with pytest.raises(ToolRoundsExceeded) as caught:
            talk.ask("go")
        assert (caught.value.rounds, model_creates(server)) == (2, 3)
        assert [call.name for call in caught.value.partial.tool_calls.values()] == ["add"]
        with pytest.raises(ToolRoundsExceeded):
            talk.run_tools(max_rounds=1)
        assert model_creates(server) == 4
        server.model._reply = lambda items, request: "enough"
        assert talk.ask("Stop it.").content == "enough"
        outputs = [item["output"] for item in talk.items if item["type"] == "function_call_output"]
        assert outputs == ["2", "2", "2", "Error: the call was not made: the user went on without it"]


def model_creates(server: ScriptedServer) -> int:
    assert server.model is not None
    return server.model.creates


@pytest.mark.parametrize("eager", [False, True])
def test_a_service_may_count_calls_anew_in_each_answer(eager):
    """Some name every call ``call_0``; each of them is run, and gets its own output."""
    made: list[int] = []

    @tool
    def work(number: int) -> int:
        made.append(number)
        return number

    def reply(items, request):
        outputs = [item["output"] for item in items if item["type"] == "function_call_output"]
        if len(outputs) == 3:
            return " ".join(outputs)
        arguments = json.dumps({"number": len(outputs)})
        return [{"type": "function_call", "name": "work", "call_id": "call_0", "arguments": arguments}]

    with ScriptedServer(model=Model(reply)) as server, chat(server, tools=[work], eager_tools=eager) as talk:
        assert talk.ask("Go.").content == "0 1 2"
        assert (made, talk.unfinished) == ([0, 1, 2], False)


def doubling(*arguments: dict[str, Any]) -> Any:
    """A model that makes these calls with one id, then one after the other, and tells the outputs."""

    def reply(items: list[dict[str, Any]], request: dict[str, Any]) -> Any:
        outputs = [str(item["output"]) for item in items if item["type"] == "function_call_output"]
        if len(outputs) > len(arguments):
            return " ".join(outputs[1:])
        wanted = arguments[len(outputs) - 1 : len(outputs)] or arguments
        return [
            {"type": "function_call", "name": "add", "call_id": "1", "arguments": json.dumps(each)}
            for each in wanted
        ]

    return reply


@pytest.mark.parametrize("eager", [False, True])
def test_two_calls_with_one_id_are_not_told_apart_by_guessing(eager):
    """One output answers both, and the model could take it for that of either: it is asked to call again."""
    made: list[tuple[int, int]] = []

    @tool
    def add(a: int, b: int) -> int:
        made.append((a, b))
        return a + b

    model = Model(doubling({"a": 1, "b": 2}, {"a": 3, "b": 4}))
    with ScriptedServer(model=model) as server, chat(server, tools=[add], eager_tools=eager) as talk:
        message = talk.step("Go.")
        assert message.tool_calls is not None
        assert [call.arguments for call in message.tool_calls.values()] == [
            '{"a": 1, "b": 2}',
            '{"a": 3, "b": 4}',
        ]
        assert talk.run_tools().content == "3 7"
        (told, *_) = [item["output"] for item in talk.items if item["type"] == "function_call_output"]
        assert "the other was not made" in told if eager else "no call was made" in told
        until(lambda: len(made) == (3 if eager else 2))
        assert (made[-2:], talk.unfinished) == ([(1, 2), (3, 4)], False)


def test_a_call_that_is_sent_twice_is_made_once():
    """Some gateways repeat an item under another id."""
    made: list[int] = []

    @tool
    def work(number: int) -> str:
        made.append(number)
        return "done"

    def reply(items, request):
        if items[-1]["type"] == "function_call_output":
            return str(items[-1]["output"])
        return [
            {"type": "function_call", "name": "work", "call_id": "call_0", "arguments": '{"number":1}'}
        ] * 2

    with ScriptedServer(model=Model(reply)) as server, chat(server, tools=[work]) as talk:
        assert (talk.ask("Go.").content, made) == ("done", [1])


def test_a_question_goes_on_without_two_calls_with_one_id():
    """They have one output, as any other call."""
    model = Model(doubling({"a": 1, "b": 2}, {"a": 3, "b": 4}))
    with ScriptedServer(model=model) as server, chat(server, tools=[add]) as talk:
        talk.step("Go.")
        talk.ask("Never mind.")
        outputs = [item["output"] for item in talk.items if item["type"] == "function_call_output"]
        assert len([told for told in outputs if "no call was made" in told]) == 1


@pytest.mark.parametrize("call_id", ["", None])
def test_a_call_without_an_id_is_left_to_the_caller(call_id):
    """It cannot be answered, so that waiting for its output would never end."""
    asked = {"type": "function_call", "name": "add", "call_id": call_id, "arguments": json.dumps(OPEN)}
    with ScriptedServer(model=Model(lambda *_: [asked])) as server, chat(server, tools=[add]) as talk:
        waiting = Task(talk.ask, "Go.")
        try:
            (wanted,) = waiting.result().tool_calls.values()
        finally:
            talk.cancel()
        assert (wanted.id, wanted.name, talk.unfinished) == (None, "add", False)


def test_a_step_is_one_response(server):
    """The tools wait for the next step, so that the calls can be looked at."""
    made = []

    @tool
    def work(city: str) -> str:
        made.append(city)
        return "done"

    with chat(server, tools=[work]) as talk:
        first = talk.step(calling("work", city="Oslo"))
        assert ([call.name for call in first.tool_calls.values()], made) == (["work"], [])
        last = talk.step()
        assert (last.content.startswith("work returned: done."), made) == (True, ["Oslo"])
        assert talk.step().content == talk.run_tools().content == last.content
    assert model_creates(server) == 2


def test_there_must_be_something_to_go_on_with(server):
    """A chat in which nothing was said has no next step."""
    with chat(server) as talk, pytest.raises(ConfigurationError, match="ask something first"):
        talk.run_tools()


def test_calls_of_a_defined_tool_are_left_to_the_caller(server):
    """The chat's own are run, and their outputs travel with the caller's."""
    outside = {"type": "function", "name": "outside", "parameters": {}}
    with chat(server, tools=[add, outside]) as talk:
        message = talk.ask(f"{calling('add', **OPEN)} {calling('outside')}")
        [mine] = [call for call in message.tool_calls.values() if call.name == "outside"]
        with pytest.raises(ConfigurationError, match=f"no output for the call {mine.id}"):
            talk.ask("and?")
        answer = talk.ask({"type": "function_call_output", "call_id": mine.id, "output": "here"})
        assert answer.content.startswith("add returned: 3. outside returned: here.")


def test_an_approval_hook_decides(server):
    """Before anything is run."""
    with chat(server, tools=[add], approve=lambda call: "not today") as talk:
        answer = talk.ask(calling("add", **OPEN))
        assert answer.content.startswith("add returned: Error: the user refused the call: not today.")


def mcp(items, request):
    """Ask for an approval, then say what the answer was."""
    answers = [item for item in items if item.get("type") == "mcp_approval_response"]
    if answers:
        return f"approved: {answers[-1]['approve']}"
    request_item = {"name": "delete", "arguments": "{}", "server_label": "files"}
    return [{"type": "mcp_approval_request", **request_item}]


def test_mcp_servers_ask_the_same_hook():
    """And without one the request is the caller's to answer."""
    with ScriptedServer(model=Model(mcp)) as server:
        with chat(server, approve=lambda call: call.server_label == "files") as talk:
            assert talk.ask("delete it").content == "approved: True"
        with chat(server) as talk:
            message = talk.ask("delete it")
            answer = {"type": "mcp_approval_response", "approve": False}
            answer["approval_request_id"] = message.output[0]["id"]
            assert talk.ask([answer]).content == "approved: False"


def test_a_question_in_place_of_an_approval_refuses_it():
    """The hook is not asked about it when the conversation is elsewhere."""
    asked: list[str | None] = []

    def approve(call: ToolCall) -> bool:
        asked.append(call.name)
        raise LookupError

    with ScriptedServer(model=Model(mcp)) as server, chat(server, approve=approve) as talk:
        with pytest.raises(LookupError):
            talk.ask("delete it")
        assert talk.ask("never mind").content == "approved: False"
        assert (asked, talk.unfinished) == (["delete"], False)


def test_an_approval_that_nobody_gave_does_not_hold_a_chat_for_ever():
    """It can be given as long as nothing else was said; then the conversation is whole again."""

    def reply(items, request):
        return mcp(items, request) if items[-1].get("content") == "delete it" else "as you like"

    with ScriptedServer(model=Model(reply)) as server, chat(server) as talk:
        request = talk.ask("delete it").output[0]
        with pytest.raises(
            ConfigurationError, match=f"compact: {request['id']}: .* ask\\(\\) with the output"
        ):
            talk.compact()
        assert talk.unfinished
        assert talk.ask("never mind").content == "as you like"
        assert not talk.unfinished
        talk.compact()
        assert talk.ask("go on").content == "as you like"


def test_an_eager_tool_starts_while_the_answer_streams():
    """As soon as its arguments are whole: the answer goes on only when the tool has begun."""
    begun = threading.Event()

    @tool
    def work() -> str:
        begun.set()
        return "done"

    def wait(event: dict[str, Any]) -> None:
        if event["type"] == "response.function_call_arguments.done":
            made.append(1)
        elif event["type"] == "response.completed" and made:
            assert begun.wait(SECONDS)

    made: list[int] = []
    with (
        ScriptedServer(model=Model(before_event=wait)) as server,
        chat(server, tools=[work], eager_tools=True) as talk,
    ):
        assert talk.ask(calling("work")).content.startswith("work returned: done.")
    assert made == [1]


@pytest.mark.parametrize("empty", ["arguments", "item"])
def test_an_eager_tool_does_not_start_without_its_arguments(empty):
    """An empty text at the end of the deltas says nothing against them, as some gateways send it."""
    made: list[int] = []

    @tool
    def work(number: int = 0) -> int:
        made.append(number)
        return number

    whole = {
        "id": "fc_1",
        "type": "function_call",
        "call_id": "call_1",
        "name": "work",
        "arguments": '{"number":7}',
    }
    none = {**whole, "arguments": ""}
    arguments = {"type": "response.function_call_arguments", "item_id": "fc_1", "output_index": 0}
    with ScriptedServer() as server:
        server.connection(
            expect(),
            send(
                created("resp_1"),
                {"type": "response.output_item.added", "output_index": 0, "item": none},
                {**arguments, "type": f"{arguments['type']}.delta", "delta": whole["arguments"]},
                {**arguments, "type": f"{arguments['type']}.done", "arguments": ""},
                {
                    "type": "response.output_item.done",
                    "output_index": 0,
                    "item": none if empty == "item" else whole,
                },
                completed("resp_1"),
            ),
            expect(),
            send(*answer("resp_2", "done")),
        )
        with chat(server, tools=[work], eager_tools=True) as talk:
            assert talk.ask("Go.").content == "done"
        assert made == [7]


def test_an_eager_tool_that_finds_no_thread_costs_no_answer(server, monkeypatch):
    """It is started ahead where that can be, and else after the answer."""
    start, refused = threading.Thread.start, []

    def scarce(thread: threading.Thread) -> None:
        if "tool" in thread.name and not refused:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    with chat(server, tools=[add], eager_tools=True) as talk:
        assert talk.ask(calling("add", **OPEN)).content.startswith("add returned: 3.")
    assert len(refused) == 1


def test_an_eager_tool_of_a_failed_answer_leaves_no_trace(server, model):
    """It ran for nothing, as the option warns."""
    made = []

    @tool
    def work() -> str:
        made.append(1)
        return "done"

    model.fail_next(when="delta")
    with chat(server, tools=[work], eager_tools=True) as talk:
        with pytest.raises(ServerError):
            talk.ask(calling("work"))
        assert talk.items == []
        assert talk.ask(calling("work")).content.startswith("work returned: done.")
    assert seen(model, talk) == talk.items


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        (True, "work returned: done."),
        (False, "still being made when the user went on without it, and may have had effects"),
    ],
)
def test_an_eager_tool_that_was_begun_is_not_said_to_be_not_made(server, ends, told):
    """The user goes on without it; it is running, or has ended and nobody has looked."""
    free, begun, made = threading.Event(), threading.Event(), []

    @tool
    def work() -> str:
        begun.set()
        assert free.wait(SECONDS)
        made.append(threading.current_thread())
        return "done"

    with chat(server, tools=[work], eager_tools=True) as talk:
        talk.step(calling("work"))
        assert begun.wait(SECONDS)
        if ends:
            free.set()
            until(lambda: made)
            made[0].join(SECONDS)
        assert told in talk.ask("never mind").content
        free.set()
        assert not talk.unfinished


# -- what fails


def test_a_failed_step_leaves_no_trace(server, model):
    """Its input is not in the history, and the next question goes on from the last answer."""
    with chat(server, retry=ONCE) as talk:
        talk.ask("one")
        before = talk.items
        model.fail_next(when="created")
        with pytest.raises(ServerError):
            talk.ask("two")
        assert talk.items == before
        assert talk.ask("three").content == "You said: three. Before that: one."


def test_outputs_of_tools_that_ran_are_kept(server, model):
    """When the step after them fails, they go with the next one; no tool runs again."""
    made = []

    @tool
    def work() -> str:
        made.append(1)
        return "done"

    with chat(server, tools=[work], retry=ONCE) as talk:
        talk.ask("hi")
        talk.step(calling("work"))
        model.fail_next(when="created")
        with pytest.raises(ServerError):
            talk.run_tools()
        assert (talk.messages[-1].content, talk.unfinished) == ("done", True)
        assert talk.run_tools().content.startswith("work returned: done.")
        assert seen(model, talk) == talk.items
        assert not talk.unfinished
    assert made == [1]


def test_a_new_question_takes_the_kept_outputs_along(server, model):
    """So that each call has its output."""
    with chat(server, tools=[add], retry=ONCE) as talk:
        talk.step(calling("add", **OPEN))
        model.fail_next(when="created")
        with pytest.raises(ServerError):
            talk.step()
        assert talk.ask("and?").content.startswith("add returned: 3. You said: and?.")
        assert seen(model, talk) == talk.items


def test_an_incomplete_answer_is_kept_but_its_calls_are_not(server, model):
    """They may be cut off."""
    with chat(server, tools=[add]) as talk:
        message = talk.with_params(max_output_tokens=1).ask("one two three")
        assert (message.status, message.incomplete_reason) == ("incomplete", "max_output_tokens")
        assert said(talk) == [("user", "one two three"), ("assistant", "You ")]
        talk.with_params(max_output_tokens=None).ask("go on")
        assert meant(seen(model, talk)) == meant(talk.items)


def test_a_tool_may_raise_out_of_ask(server, model):
    """The chat goes on with a report as its output."""

    @tool(on_error="raise")
    def work() -> str:
        raise ValueError("broken")

    with chat(server, tools=[work]) as talk:
        with pytest.raises(ToolError, match="work raised ValueError: broken"):
            talk.ask(calling("work"))
        assert talk.run_tools().content.startswith("work returned: Error: work raised ValueError: broken.")
        assert seen(model, talk) == talk.items


# -- leaving


def test_ctrl_c_in_a_tool_leaves_a_chat_that_can_go_on(server, model):
    """The call has an output that says what happened."""
    hanging, released = threading.Event(), threading.Event()

    @tool
    def hang() -> str:
        hanging.set()
        released.wait(SECONDS)
        return "late"

    def interrupt() -> None:
        assert hanging.wait(SECONDS)
        os.kill(os.getpid(), signal.SIGINT)

    with chat(server, tools=[hang]) as talk:
        killer = Task(interrupt)
        with pytest.raises(KeyboardInterrupt):
            talk.ask(calling("hang"))
        killer.result()
        answer = talk.ask("What happened?")
        assert answer.content.startswith("hang returned: Error: the call was interrupted while it ran")
        assert seen(model, talk) == talk.items
    released.set()


def test_leaving_a_stream_leaves_no_trace(server, model):
    """By break, by close, by forgetting it, in the middle of any response."""
    with chat(server, tools=[add]) as talk:
        for _ in talk.stream("one"):
            break
        talk.stream("two").close()
        talk.stream("three")
        stream = talk.stream("four")
        next(iter(stream))
        stream.close()
        with pytest.raises(ResponseCancelled):
            stream.message  # noqa: B018
        assert talk.items == []
        for chunk in talk.stream(calling("add", **OPEN)):
            if chunk.content:
                break
        assert [role for role, _ in said(talk)] == ["user", "assistant", "tool"]
        assert talk.run_tools().content.startswith("add returned: 3.")
        assert seen(model, talk) == talk.items


def test_ctrl_c_in_mid_answer_leaves_no_trace():
    """And the next question is answered, on the same connection or, if that was still sending, on another."""
    with ScriptedServer(model=Model()) as server:
        server.connection(
            expect(),
            send(created("resp_1"), delta("a part")),
            run(lambda connection: os.kill(os.getpid(), signal.SIGINT)),
            optional(gate("on"), send(completed("resp_1")), serve()),
        )
        with chat(server) as talk:
            with pytest.raises(KeyboardInterrupt):
                talk.ask("one")
            server.open("on")
            assert talk.items == []
            talk.ask("two")
            assert said(talk) == [("user", "two"), ("assistant", "You said: two.")]


def test_an_error_of_the_callers_own_leaves_no_trace(server):
    """Raised out of on_chunk, it comes out of ask."""

    def show(chunk):
        raise RuntimeError("of the caller")

    with chat(server) as talk:
        with pytest.raises(RuntimeError, match="of the caller"):
            talk.ask("one", show)
        assert talk.ask("two").content == "You said: two."


def test_a_chat_that_is_forgotten_closes_its_connection(server):
    """Nothing of it stays behind."""
    talk = chat(server)
    talk.ask("one")
    del talk
    assert server.connections[0].gone.wait(SECONDS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_goes_on_with_a_connection_of_its_own(server, model):
    """Also when the parent is in the middle of an answer."""
    with chat(server) as talk:
        talk.ask("one")
        stream = talk.stream("of the parent")
        child = Child(lambda: talk.ask("of the child").content)
        assert child.result() == "You said: of the child. Before that: one."
        assert stream.message.content == "You said: of the parent. Before that: one."
        assert seen(model, talk) == talk.items
    assert len(server.connections) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_a_tool_of_its_parent(server):
    """The thread that runs it is not there; the model is told, and the parent gets the output."""
    begun, on = threading.Event(), threading.Event()

    @tool
    def work() -> str:
        begun.set()
        assert on.wait(SECONDS)
        return "done"

    with chat(server, tools=[work]) as talk:
        waiting = Task(talk.ask, calling("work"))
        assert begun.wait(SECONDS)
        child = Child(lambda: talk.run_tools().content)
        try:
            assert "work returned: Error: the call was interrupted while it ran" in child.result()
        finally:
            on.set()
        assert waiting.result().content.startswith("work returned: done.")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_a_reader_of_its_parent():
    """Nobody there will ever come out of the stream."""

    def read() -> str:
        with pytest.raises(ConnectionError, match="another process reads") as caught:
            stream.message  # noqa: B018
        stream.close()
        return str(caught.value.delivery)

    with ScriptedServer() as server:
        server.connection(
            expect(),
            send(created("resp_1"), delta("one")),
            mark("begun"),
            gate("on"),
            send(completed("resp_1")),
        )
        with chat(server) as talk:
            stream = talk.stream("hi")
            chunks = iter(stream)
            assert read_deltas(chunks, 1) == ["one"]
            reading = Task(lambda: [list(chunks), stream.message][1])
            until(stream._inside.locked)
            child = Child(read)
            assert child.result() == "Delivery.UNKNOWN"
            server.open("on")
            assert reading.result().content == "one"


def test_the_thread_that_iterates_may_cancel(server):
    """Its loop ends."""
    with chat(server) as talk:
        with talk.stream("one") as stream:
            pieces = [stream.cancel() for _ in stream]
        assert (len(pieces), repr(stream)) == (1, "<ChatStream closed>")
        assert talk.ask("two").content == "You said: two."


@pytest.mark.parametrize("by", ["chat", "stream"])
def test_another_thread_may_cancel_an_answer(by):
    """The one that waits gets ResponseCancelled with the part, and the chat goes on."""
    with ScriptedServer() as server:
        server.connection(
            expect(input=[{"type": "message", "role": "user", "content": "one"}]),
            send(created("resp_1"), delta("a part")),
            mark("begun"),
            gate("on"),
            send(completed("resp_1")),
            expect(),
            send(created("resp_2"), completed("resp_2")),
        )
        with chat(server) as talk:
            stream = talk.stream("one")
            waiting = Task(lambda: stream.message)
            server.wait_for("begun")
            (talk if by == "chat" else stream).cancel()
            error = waiting.error()
            assert isinstance(error, ResponseCancelled)
            server.open("on")
            assert talk.items == []
            talk.ask("two")


def test_cancelling_a_chat_ends_a_stream_that_nobody_reads(server):
    """The one who comes to read it is told."""
    with chat(server) as talk:
        unread = talk.stream("one")
        Task(talk.cancel).result()
        assert talk.ask("two").content == "You said: two."
        with pytest.raises(ResponseCancelled):
            list(unread)
        chunks = iter(talk.stream("three"))
        next(chunks)
        Task(talk.cancel).result()
        assert talk.ask("four").content == "You said: four. Before that: two."
        with pytest.raises(ResponseCancelled) as caught:
            next(chunks)
        assert caught.value.delivery is Delivery.STARTED


def test_cancelling_a_chat_ends_a_stream_that_is_just_made(server, monkeypatch):
    """Whoever cancels in that moment finds no stream yet that he could close."""

    class Late(ChatStream):
        def __init__(self, *given: Any) -> None:
            Task(talk.cancel).result()
            super().__init__(*given)

    with chat(server) as talk:
        with monkeypatch.context() as patch:
            patch.setattr("responses_ws._conversation.ChatStream", Late)
            with pytest.raises(ResponseCancelled) as caught:
                talk.stream("one")
            assert caught.value.delivery is not Delivery.NOT_SENT
        assert talk.ask("two").content == "You said: two."


def left_by_break(stream: ChatStream) -> None:
    for _ in stream:
        break


def left_by_with(stream: ChatStream) -> None:
    with stream:
        next(iter(stream))


@pytest.mark.parametrize(
    "leave", [left_by_break, left_by_with, ChatStream.close, ChatStream.run], ids=lambda leave: leave.__name__
)
def test_a_stream_that_is_over_keeps_no_connection(server, leave):
    """Whoever keeps the object, as a notebook does, keeps nothing else."""
    talk = chat(server)
    stream = talk.stream("one")
    leave(stream)
    del talk
    gc.collect()
    assert server.connections[0].gone.wait(SECONDS)
    assert repr(stream) in ("<ChatStream closed>", "<ChatStream completed>")


@pytest.mark.parametrize("transport", ["websocket", "http"])
@pytest.mark.parametrize("by", ["chat", "session"])
def test_an_answer_that_the_service_cancelled_is_no_answer(by, transport):
    """The question is not in the history then, and a message would hide that."""
    with ScriptedServer(model=Model()) as server:
        server.connection(
            expect(),
            send(created("resp_1"), delta("half"), completed("resp_1", "cancelled", "response.cancelled")),
            optional(serve()),
        )
        options = {"api_key": KEY, "api_base": server.url, "transport": transport}
        with Session(**options) as session, Chat("m", **options) as talk:
            asking = {
                "chat": lambda: talk.ask("hi"),
                "session": lambda: session.call({"model": "m", "input": [{"role": "user", "content": "hi"}]}),
            }
            with pytest.raises(ResponseCancelled) as caught:
                asking[by]()
            assert caught.value.delivery is Delivery.STARTED
            assert caught.value.partial is not None
            assert (caught.value.partial.status, caught.value.partial.content) == ("cancelled", "half")
            assert talk.messages == []
            assert talk.ask("again").content == "You said: again."


def test_a_loop_does_not_end_in_silence_when_another_thread_cancels_between_two_chunks(server):
    """The end of the loop would say that the answer is whole."""

    class Lock:
        """The lock of a stream, which another thread comes to first."""

        def __init__(self, inside):
            self.inside = inside

        def __enter__(self):
            stream._inside = self.inside
            Task(stream.cancel).result()
            return self.inside.__enter__()

        def __exit__(self, *failure):
            self.inside.__exit__(*failure)

    with chat(server) as talk:
        stream = talk.stream("one")
        chunks = iter(stream)
        next(chunks)
        stream._inside = Lock(stream._inside)
        with pytest.raises(ResponseCancelled):
            list(chunks)


@pytest.mark.parametrize("by", ["another thread", "its own"])
@pytest.mark.parametrize("whole", [False, True])
def test_a_cancelled_answer_says_how_far_it_had_come(by, whole):
    """It was left between two chunks, the last of a step among them: what was sent is not NOT_SENT."""
    with ScriptedServer(model=Model()) as server, chat(server, tools=[add]) as talk:
        stream = talk.stream(calling("add", **OPEN))
        chunks = iter(stream)
        last = "response.completed" if whole else "response.output_item.added"
        while next(chunks).type != last:
            pass
        stream.cancel() if by == "its own" else Task(stream.cancel).result()
        with pytest.raises(ResponseCancelled) as caught:
            stream.message  # noqa: B018
    assert caught.value.delivery is Delivery.STARTED
    assert caught.value.partial.tool_calls
    assert caught.value.response_id == caught.value.partial.response_id


def test_a_thread_that_comes_in_while_another_cancels_is_told_how_far_it_had_come(server):
    """Whoever sees that it was left has all there is to say of it."""
    errors = []

    class Left(ChatStream):
        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if name == "_left_by" and threading.current_thread() is threading.main_thread():
                errors.append(Task(next, chunks).error())

    with chat(server) as talk:
        stream = talk.stream("hi")
        chunks = iter(stream)
        next(chunks)
        stream.__class__ = Left
        stream.cancel()
    assert isinstance(errors[0], ResponseCancelled)
    assert errors[0].delivery is Delivery.STARTED


def test_a_hook_that_reads_the_stream_that_waits_for_it_is_told(server):
    """It would wait for itself."""

    def approve(call: ToolCall) -> bool:
        return bool(stream.message)

    with chat(server, tools=[add], approve=approve) as talk:
        stream = talk.stream(calling("add", **OPEN))
        with pytest.raises(ConcurrencyError, match="approve"):
            Task(stream.run).result()
        assert talk.unfinished


@pytest.mark.parametrize("start", [lambda talk: talk.ask("one"), lambda talk: talk.stream("one")])
def test_another_thread_may_cancel_what_still_connects(start):
    """At once, and not when the connection has been made or has timed out."""
    with ScriptedServer() as server:
        server.connection(hang())
        with chat(server) as talk:
            waiting = Task(start, talk)
            until(lambda: server.connections and server.connections[0].path)
            before = time.monotonic()
            talk.cancel()
            assert isinstance(waiting.error(), ResponseCancelled)
            assert time.monotonic() - before < SECONDS / 2


def test_what_is_cancelled_before_it_dials_does_not_dial(server):
    """Here the word comes while the key is asked for, when there is nothing to abort yet."""

    def key() -> str:
        talk.cancel()
        return KEY

    with chat(server, api_key=key) as talk:
        with pytest.raises(ResponseCancelled):
            talk.ask("one")
        assert talk.items == []
    assert server.connections == []


def test_another_thread_may_cancel_the_tools(server, model):
    """At once, also when one of them hangs."""
    hanging, released = threading.Event(), threading.Event()

    @tool
    def hang() -> str:
        hanging.set()
        released.wait(SECONDS)
        return "late"

    with chat(server, tools=[hang]) as talk:
        waiting = Task(talk.ask, calling("hang"))
        assert hanging.wait(SECONDS)
        talk.cancel()
        assert isinstance(waiting.error(), ResponseCancelled)
        talk.ask("go on")
        assert seen(model, talk) == talk.items
    released.set()


def test_a_chat_that_is_closed_while_it_begins_asks_nothing(server):
    """Its session is another's, and goes on."""

    class Lock:
        """The lock of a conversation, which another thread comes to first."""

        def __init__(self, inside):
            self.inside = inside

        def __enter__(self):
            Task(talk.close).result()
            return self.inside.__enter__()

        def __exit__(self, *failure):
            self.inside.__exit__(*failure)

    with Session(KEY, api_base=server.url, ssl_context=server.ssl_context) as session:
        talk = Chat("m", session=session)
        talk._conversation._lock = Lock(talk._conversation._lock)
        with pytest.raises(ConnectionError, match="the chat is closed"):
            talk.ask("hi")
    assert server.requests == []


def test_a_closed_chat_says_so_also_when_its_stream_was_not_read_to_the_end(server):
    """Its thread has not come out yet, and nobody else will get in any more."""
    talk = chat(server)
    stream = talk.stream("hi")
    talk.close()
    with pytest.raises(ConnectionError, match="the chat is closed"):
        talk.ask("again")
    stream.close()


def test_cancelling_nothing_is_no_mistake(server):
    """Nor does it touch the next question."""
    with chat(server) as talk:
        talk.cancel()
        assert talk.ask("one").content == "You said: one."
        talk.cancel()
        assert talk.ask("two").content == "You said: two. Before that: one."


def test_one_thread_uses_a_chat_at_a_time(server):
    """A second gets an error at once, and the first is not disturbed."""
    begun, released = threading.Event(), threading.Event()

    @tool
    def work() -> str:
        begun.set()
        assert released.wait(SECONDS)
        return "done"

    with chat(server, tools=[work]) as talk:
        first = Task(talk.ask, calling("work"))
        assert begun.wait(SECONDS)
        for use in (
            lambda: talk.ask("me too"),
            lambda: talk.stream("me too"),
            talk.step,
            talk.run_tools,
            lambda: talk.with_model("n"),
        ):
            with pytest.raises(ConcurrencyError):
                use()
        assert [role for role, _ in said(talk)] == ["user", "assistant"]
        released.set()
        assert first.result().content.startswith("work returned: done.")


def test_a_running_stream_holds_the_chat(server):
    """In the same thread too, until it is over or left."""
    with chat(server) as talk:
        stream = talk.stream("one")
        with pytest.raises(ConcurrencyError):
            talk.ask("two")
        assert stream.message.content == "You said: one."
        talk.ask("two")


def test_a_closed_chat_is_closed(server):
    """Asking again is an error; its history can still be read."""
    talk = chat(server)
    talk.ask("one")
    talk.close()
    talk.close()
    with pytest.raises(ConnectionError, match="closed"):
        talk.ask("two")
    assert len(talk.messages) == 2


# -- changing


def test_what_changes_is_sent_from_then_on(server):
    """On the same chain."""
    with chat(server, instructions="Be brief.") as talk:
        talk.ask("one")
        talk.with_model("n").with_instructions(None).with_tools(add).with_params(temperature=0.5, store=False)
        talk.ask("two")
        talk.with_params(temperature=None, compact_threshold=1000).with_tools()
        talk.ask("three")
    first, second, third = server.requests
    assert (first["model"], first["instructions"]) == ("m", "Be brief.")
    assert (second["model"], second["temperature"], second["store"]) == ("n", 0.5, False)
    assert [made["name"] for made in second["tools"]] == ["add"]
    assert "instructions" not in second
    assert "temperature" not in third
    assert "tools" not in third
    assert third["context_management"] == [{"type": "compaction", "compact_threshold": 1000}]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda talk: talk.with_params(model="n"), "model is no parameter; use with_model"),
        (lambda talk: talk.with_params(input="x"), "input is no parameter"),
        (lambda talk: talk.with_params(background=True), "background is no parameter; use HTTPTransport"),
        (lambda talk: talk.with_params(previous_response_id="x"), "previous_response_id is no parameter"),
        (lambda talk: talk.with_params(transport="pigeon"), "transport must be one of"),
        (lambda talk: talk.with_model(""), "model must be a non-empty str"),
        (lambda talk: talk.with_instructions(3), "instructions must be a str"),
        (lambda talk: talk.with_tools(3), "tool"),
        (lambda talk: talk.with_tools({"type": "web_search"}, {"name": LOCK}), r"^tools\[1\] cannot be sent"),
        (lambda talk: talk.with_params(metadata=MappingProxyType({})), "^metadata cannot be sent: .*proxy"),
        (lambda talk: talk.with_params(metadata=nested()), "^metadata cannot be sent: .*deep"),
        (lambda talk: talk.with_params(metadata=Locked()), "^metadata cannot be sent: .*lock"),
        (lambda talk: talk.ask(ITEM | {"content": LOCK}), "^input cannot be sent: .*lock"),
        (lambda talk: talk.ask([PART | {"text": LOCK}]), r"^input\[0\] cannot be sent: .*lock"),
        (lambda talk: talk.ask(["a", ITEM | {"content": [], "id": LOCK}]), r"^input\[1\] cannot be sent"),
        (lambda talk: talk.ask([ITEM | {"content": [PART | {"text": nested()}]}]), r"\.content\[0\] cannot"),
        (lambda talk: talk.run_tools(max_rounds=0), "max_rounds must be a whole number of at least 1"),
        (lambda talk: talk.run_tools(max_parallel=None), "max_parallel must be a whole number"),
        (lambda talk: talk.run_tools(timeout_per_tool=0), "timeout_per_tool must be a positive number"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_given(server, change, fault):
    """And changes nothing."""
    with chat(server) as talk:
        with pytest.raises(ConfigurationError, match=fault):
            change(talk)
        assert talk.ask("hi").content == "You said: hi."


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"max_rounds": 0}, "max_rounds"),
        ({"max_parallel": 0}, "max_parallel"),
        ({"timeout_per_tool": -1}, "timeout_per_tool"),
        ({"approve": True}, "approve must be callable"),
        ({"eager_tools": "no"}, "eager_tools must be True or False"),
        ({"approve": bool, "eager_tools": True}, "eager_tools and approve exclude each other"),
        ({"on_usage": 3}, "on_usage must be callable"),
        ({"on_usage": awaited}, "on_usage is async, and nothing here would await it"),
        ({"approve": awaited}, "approve is async, and nothing here would await it"),
        ({"session": 3}, "session must be a Session"),
        ({"session": Session(KEY)}, "api_key, headers or proxy cannot be given beside a session"),
        ({"session": Session(KEY), "api_key": None, "retry": ONCE}, "retry cannot be given beside"),
        ({"session": Session(KEY), "api_key": None, "api_base": "wss://x/"}, "api_base cannot be given"),
        ({"retry": 3}, "retry must be a Retry"),
        ({"client_class": object()}, "client_class must have a method connect"),
        ({"timeouts": 3}, "timeouts must be a Timeouts"),
        ({"transport": "ftp"}, "transport must be one of"),
        ({"tools": add}, "tools must be a list"),
        ({"api_key": ""}, None),
    ],
)
def test_options_are_checked_when_they_are_given(options, fault):
    """The message names them."""
    if fault is None:
        Chat("m", **options)
        return
    with pytest.raises(ConfigurationError, match=fault):
        Chat("m", **{"api_key": KEY, **options})


def test_a_session_that_was_given_stays_the_callers(server):
    """Several chats may take turns on it, and each counts its own tokens."""
    with Session(KEY, api_base=server.url) as session:
        with Chat("m", session=session) as one, Chat("m", session=session) as other:
            one.ask("one")
            answer = other.ask("two words")
            assert other.usage.output_tokens == answer.output_tokens
        answer = session.call({"model": "m", "input": "three"})
        assert answer.content == "You said: three."
    assert len(server.connections) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: Chat("m", api_key=KEY, timeouts=3),
        lambda: Chat("m", api_key=KEY, max_rounds=0),
        lambda: Chat("m", api_key=lambda: KEY, headers={"X-Key": KEY}, proxy=f"http://{KEY}@x:1", retry=3),
        lambda: Chat.from_dict(Chat("m", api_key=KEY).to_dict(), api_key=KEY, limits=3),
        lambda: Chat.from_dict({}, api_key=KEY),
    ],
)
def test_no_frame_of_a_chat_shows_the_key(make):
    """A crash report with the local variables of every frame may be sent to anybody."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    frames = [entry.frame for entry in caught.traceback if "responses_ws" in str(entry.path)]
    assert frames
    assert [frame.f_locals for frame in frames if KEY in repr(frame.f_locals)] == []


# -- usage


def test_usage_is_added_up(server):
    """Of every response, and each is told to the hook once."""
    told = []
    with chat(
        server, tools=[add], on_usage=lambda usage, response_id: told.append((usage, response_id))
    ) as talk:
        talk.ask(calling("add", **OPEN))
        answer = talk.ask("thanks")
        assert len(told) == 3
        assert told[-1] == (answer.usage, answer.response_id)
        assert talk.usage.input_tokens == sum(usage.input_tokens for usage, _ in told)
        assert talk.usage.cache_creation_tokens is None  # the model does not tell it


# -- compacting


def test_a_history_can_be_compacted(server, model):
    """It begins a new chain: what the user said, and an item in place of the rest."""
    told = []
    with chat(server, tools=[add], on_usage=lambda usage, response_id: told.append(usage)) as talk:
        talk.ask(calling("add", **OPEN))
        assert talk.compact() is talk
        assert [item["type"] for item in talk.items] == ["message", "compaction"]
        assert talk.last_response_id is None
        assert talk.ask("and now?").content.startswith("You said: and now?. Before that: call add")
        talk.ask("thanks")
        assert meant(seen(model, talk)) == meant(talk.items)
        assert talk.usage.input_tokens == sum(usage.input_tokens for usage in told)
    assert len(told) == 5
    asked = [request for request in server.requests if request.get("type") == "response.create"]
    assert [len(request["input"]) for request in asked] == [1, 1, 3, 1]
    assert "previous_response_id" not in asked[2]


def test_compacting_wants_a_history_that_is_whole(server):
    """An empty one is left alone; one with open calls is refused."""
    with chat(server, tools=[add]) as talk:
        talk.compact()
        talk.step(calling("add", **OPEN))
        with pytest.raises(ConfigurationError, match="compact: calls wait for their outputs"):
            talk.compact()
        talk.run_tools()
        talk.compact()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, {"error": {"message": "no such address"}}, NotFoundError),
        (500, {"error": {"message": "not today"}}, ServerError),
        (200, {"id": "resp_1", "object": "response.compaction"}, ProtocolError),
    ],
)
def test_what_cannot_be_compacted_stays_as_it_is(status, body, error):
    """The service may not know how."""
    with ScriptedServer() as server:
        server.connection(expect(), send(*answer("resp_1", "one")), expect(), send(*answer("resp_2", "two")))
        server.connection(expect_request("POST", "/v1/responses/compact"), respond(status, body=body))
        with chat(server) as talk:
            talk.ask("hi")
            before = talk.items
            with pytest.raises(error):
                talk.compact()
            assert talk.items == before
            talk.ask("go on")


@pytest.mark.parametrize(
    ("step", "in_all"),
    [
        (respond(500, body={"error": {"message": "not today"}}), total([])),
        (respond(200, body=b"{"), Usage()),
        (eof(), Usage()),
    ],
    ids=["rejected", "garbled", "lost"],
)
def test_a_compacting_that_fails_is_told_too(step, in_all):
    """It has left, and may have cost something where it was not rejected."""
    costs = []
    with ScriptedServer() as server:
        server.connection(expect_request("POST", "/v1/responses/compact"), step)
        with chat(server, on_usage=lambda usage, response_id: costs.append(usage)) as talk:
            talk._conversation.ledger.append({"type": "message", "role": "user", "content": "hi"})
            with pytest.raises(ResponsesWSError):
                talk.compact()
            assert costs == [Usage()]
            assert talk.usage == in_all


def test_a_compacting_that_never_left_is_not_told(server):
    costs = []
    with chat(server, on_usage=lambda usage, response_id: costs.append(usage)) as talk:
        talk.ask("hi")
        server.close()
        with pytest.raises(ConnectionError):
            talk.compact()
    assert len(costs) == 1


@pytest.mark.parametrize("own", [True, False], ids=["own session", "given session"])
@pytest.mark.parametrize("ending", ["cancel", "close"])
def test_compacting_can_be_ended_from_another_thread(ending, own):
    """The one that waits is told, and the history is as it was."""
    with ScriptedServer() as server:
        server.connection(expect(), send(*answer("resp_1", "one")))
        server.connection(expect_request("POST", "/v1/responses/compact"), mark("asked"), expect_gone())
        with Session(KEY, api_base=server.url) as session:
            given = {} if own else {"session": session, "api_key": None, "api_base": None}
            with chat(server, **given) as talk:
                talk.ask("hi")
                before = talk.items
                compacting = Task(talk.compact)
                server.wait_for("asked")
                getattr(talk, ending)()
                assert isinstance(compacting.error(), ResponseCancelled)
                assert talk.items == before


def test_a_session_ends_what_it_compacts():
    """As it ends a response."""
    with ScriptedServer() as server:
        server.connection(expect_request("POST", "/v1/responses/compact"), mark("asked"), expect_gone())
        with Session(KEY, api_base=server.url) as session:
            compacting = Task(session.compact, {"model": "m", "input": "hi"})
            server.wait_for("asked")
            session.cancel()
            assert compacting.error().delivery is Delivery.UNKNOWN


def test_a_chat_that_was_cancelled_before_it_asks_does_not_compact(server):
    """The word may come while the request is being made."""
    keys = []

    def key() -> str:
        if keys:
            talk.cancel()
        keys.append(KEY)
        return KEY

    with chat(server, api_key=key, transport="http") as talk:
        talk.ask("hi")
        with pytest.raises(ResponseCancelled):
            talk.compact()
    assert [record.path for record in server.connections if "compact" in record.path] == []


def test_a_previous_response_that_is_missed_late_is_not_named_again():
    """Its loss is told once the next response has begun. That one is not asked again, but the next can do."""
    lost = completed("resp_2", "failed", "response.failed")
    lost["response"]["error"] = {"code": "previous_response_not_found", "message": "gone"}
    answers = [answer("resp_1", "one"), [created("resp_2"), lost], answer("resp_3", "three")]
    with ScriptedServer() as server:
        server.connection(*(step for events in answers for step in (expect(), send(*events))))
        with chat(server) as talk:
            talk.ask("one")
            with pytest.raises(PreviousResponseNotFound) as caught:
                talk.ask("two")
            assert caught.value.delivery is Delivery.STARTED
            assert talk.ask("three").response_id == "resp_3"
    named = [request.get("previous_response_id") for request in server.requests]
    assert named == [None, "resp_1", None]


# -- steering


def test_a_running_answer_can_be_given_more_input():
    """The input and both answers are in the history; the stream goes on with the second."""
    steer = {"id": "steer_1", "previous_response_id": "resp_1"}
    with ScriptedServer() as server:
        server.connection(
            expect(),
            send(created("resp_1"), delta("one", "msg_1")),
            expect(type="response.steer", previous_response_id="resp_1", input="shorter"),
            send({"type": "response.steer.accepted", "steer": steer}),
            send(completed("resp_1"), *answer("resp_2", "two")),
        )
        with chat(server, endpoint=Endpoint(f"{server.url}/responses", steering=True)) as talk:
            stream = talk.stream("hi")
            pieces = stream.text
            assert next(pieces) == "one"
            stream.steer("shorter")
            assert list(pieces) == ["two"]
            assert said(talk) == [
                ("user", "hi"),
                ("assistant", "one"),
                ("user", "shorter"),
                ("assistant", "two"),
            ]
            with pytest.raises(ConnectionError, match="no response is running"):
                stream.steer("longer")


def test_the_input_of_a_steer_is_in_the_history_however_late_its_thread_goes_on(monkeypatch):
    """The successor is whole before the thread that has sent the steer gets its answer."""
    read = threading.Event()
    steer_call = Line.steer

    def slowly(*given: Any) -> Any:
        steer = steer_call(*given)
        assert read.wait(SECONDS)
        return steer

    monkeypatch.setattr(Line, "steer", slowly)
    with ScriptedServer() as server:
        server.connection(
            expect(),
            send(created("resp_1"), delta("one", "msg_1")),
            expect(type="response.steer"),
            send(completed("resp_1"), *answer("resp_2", "two")),
        )
        with chat(server, endpoint=Endpoint(f"{server.url}/responses", steering=True)) as talk:
            stream = talk.stream("hi")
            pieces = stream.text
            assert next(pieces) == "one"
            steering = Task(stream.steer, "shorter")
            assert list(pieces) == ["two"]
            read.set()
            assert steering.result().state == "committed"
            assert ("user", "shorter") in said(talk)


def with_usage(event: dict[str, Any], input_tokens: int, output_tokens: int) -> dict[str, Any]:
    event["response"]["usage"] = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    return event


FIRST = with_usage(completed("resp_1"), 100, 50)
SUCCESSOR = [created("resp_2"), with_usage(completed("resp_2"), 7, 3)]
NO_SUCCESSOR = {
    "type": "response.steer.failed",
    "steer": {"id": None, "previous_response_id": "resp_1"},
    "error": {"code": "successor_creation_failed", "message": "told to"},
}


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ([send(*SUCCESSOR)], (Usage(input_tokens=107, output_tokens=53), "resp_2")),
        ([send(NO_SUCCESSOR)], (Usage(input_tokens=100, output_tokens=50), "resp_1")),
        ([eof()], (Usage(), None)),
    ],
    ids=["successor", "none", "lost"],
)
def test_the_answers_of_a_steered_response_are_counted_together(rest, told, left):
    """They are one request; also when nobody reads its end."""
    costs = Costs()
    with ScriptedServer() as server:
        server.connection(
            expect(),
            send(created("resp_1"), delta("one", "msg_1")),
            expect(type="response.steer"),
            gate("go"),
            send(FIRST),
            *rest,
        )
        endpoint = Endpoint(f"{server.url}/responses", steering=True)
        with chat(server, endpoint=endpoint, on_usage=costs, transport="websocket") as talk:
            stream = talk.stream("hi")
            pieces = stream.text
            assert next(pieces) == "one"
            stream.steer("shorter")
            if left:
                stream.close()
            server.open("go")
            if not left:
                with contextlib.suppress(ConnectionLost):
                    list(pieces)
            costs.wait_for(lambda: bool(costs.told))
            counts = talk.usage
    assert costs.told == [told]
    assert counts == told[0]


# -- forks


def test_a_fork_does_not_look_for_the_last_response_on_its_own_connection(server):
    """It was not stored, and is alive on the first one. The fork's first answer is left."""
    with chat(server, store=False, retry=Retry(max_retries=0)) as talk:
        talk.ask("one")
        with talk.fork() as other:
            with other.stream("two") as stream:
                next(iter(stream))
            assert other.ask("three").content == "You said: three. Before that: one."


def test_a_fork_goes_its_own_way(server, model):
    """From the same history, on a connection of its own."""
    with chat(server) as talk:
        talk.ask("one")
        with talk.fork() as other:
            assert other.ask("left").content == "You said: left. Before that: one."
            assert talk.ask("right").content == "You said: right. Before that: one."
            assert [content for role, content in said(other) if role == "user"] == ["one", "left"]
            assert seen(model, other) == other.items
            assert seen(model, talk) == talk.items
    assert len(server.connections) == 2


def test_a_fork_is_not_in_the_conversation_of_the_service(server):
    """What each of the two says there would be said to the other; the whole history goes along instead."""
    with chat(server) as talk:
        talk.with_params(conversation="conv_1").ask("one")
        with talk.fork() as other:
            assert other.ask("two").content == "You said: two. Before that: one."
            assert other.ask("three").content == "You said: three. Before that: one; two."
        talk.ask("four")
    asked = [(request.get("conversation"), len(request["input"])) for request in server.requests]
    assert asked == [("conv_1", 1), (None, 3), (None, 1), ("conv_1", 1)]


class Guided(Chat):
    """A chat of an application, with a constructor of its own."""

    def __init__(self, guide: str, **options: Any) -> None:
        super().__init__("m", **options)
        self.guide = guide


def test_a_fork_has_what_a_subclass_keeps(server):
    """Without its constructor; and what is the chat's own is the fork's own."""
    with Guided("Ada", api_key=KEY, api_base=server.url) as talk:
        talk.ask("one")
        with talk.fork() as other:
            assert type(other) is Guided
            assert other.guide == "Ada"
            other.guide = "Grace"
            assert talk.guide == "Ada"
            assert talk.ask("two").content == "You said: two. Before that: one."
            assert other.ask("three").content == "You said: three. Before that: one."


def test_a_chat_of_a_subclass_comes_back_without_its_constructor(server):
    """What the constructor sets is the caller's to set again."""
    with Guided("Ada", api_key=KEY, api_base=server.url) as talk:
        talk.ask("one")
        with Guided.from_dict(talk.to_dict(), api_key=KEY, api_base=server.url) as other:
            assert type(other) is Guided
            assert not hasattr(other, "guide")
            assert other.ask("two").content == "You said: two. Before that: one."


def test_a_fork_has_the_outputs_that_wait(server):
    """So that both can go on after the tools."""
    made = []

    @tool
    def work() -> str:
        made.append(1)
        return "done"

    with chat(server, tools=[work], retry=ONCE) as talk:
        talk.step(calling("work"))
        server.model.fail_next(when="created")
        with pytest.raises(ServerError):
            talk.step()
        with talk.fork() as other:
            assert other.run_tools().content == talk.run_tools().content
    assert made == [1]


# -- another process


GO_ON = """
    import json, sys
    from responses_ws.chat import Chat
    from responses_ws.tools import tool

    @tool
    def add(a: int, b: int) -> int:
        "Add two numbers."
        return a + b

    given = json.load(sys.stdin)
    with Chat.from_dict(given["chat"], tools=[add], api_key="sk-other", api_base=given["url"]) as talk:
        answer = talk.ask("And now?")
        print(json.dumps({"content": answer.content, "chat": talk.to_dict()}))
"""


@pytest.mark.parametrize("gone", [False, True], ids=["kept", "gone"])
def test_another_process_goes_on(server, model, gone):
    """With the id, or with the whole history when the service has lost it."""
    with chat(server, tools=[add], instructions="Add.") as talk:
        talk.ask(calling("add", **OPEN))
        stored = talk.to_dict()
    if gone:
        model.forget()
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "error", "-c", textwrap.dedent(GO_ON)],
        input=json.dumps({"chat": stored, "url": server.url}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    result = json.loads(done.stdout)
    assert result["content"].startswith("Instructions: Add.. You said: And now?. Before that: call add")
    assert len(server.requests[-1]["input"]) == (5 if gone else 1)
    with Chat.from_dict(result["chat"], tools=[add], api_key=KEY, api_base=server.url) as back:
        assert meant(seen(model, back)) == meant(back.items)
        assert back.usage.input_tokens > talk.usage.input_tokens


def test_what_is_stored_is_the_chat(server):
    """Its options, its history, outputs that wait; and it is JSON."""
    with chat(server, tools=[add], retry=ONCE, max_rounds=3) as talk:
        talk.with_params(temperature=0.5, transport="websocket")
        talk.step(calling("add", **OPEN))
        server.model.fail_next(when="created")
        with pytest.raises(ServerError):
            talk.step()
        stored = json.loads(json.dumps(talk.to_dict()))
        with Chat.from_dict(stored, tools=[add], api_key=KEY, api_base=server.url) as back:
            assert back.to_dict() == talk.to_dict()
            assert back.items == talk.items
            assert back.run_tools().content.startswith("add returned: 3.")


def test_no_key_is_stored(server):
    """Neither ours nor that of an MCP server."""
    files = {"type": "mcp", "server_label": "files", "authorization": "sk-of-the-files"}
    with chat(server, tools=[files], headers={"X-Team": "sk-of-a-header"}) as talk:
        talk.ask("hi")
        stored = json.dumps(talk.to_dict())
        assert [word for word in (KEY, "sk-of-the-files", "sk-of-a-header") if word in stored] == []
        with pytest.raises(ConfigurationError, match="mcp files"):
            Chat.from_dict(json.loads(stored), api_key=KEY)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"version": 2}, "data has version 2, and this release of responses_ws reads up to 1"),
        ({"version": None}, r"data is not what Chat\.to_dict"),
        ({"version": "1"}, r"data is not what Chat\.to_dict"),
        ({"model": 7}, "model"),
        ({"model": None}, "model"),
        ({"ledger": None}, "items must be a list"),
        ({"limits": {"max_rounds": 0}}, "limits of the stored chat"),
        ({"schema": "Weather"}, "schema: the stored chat has 'Weather'; give it again"),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused(change, fault):
    """Newer versions, what is broken, and what lacks a function or a schema."""
    stored = Chat("m", tools=[add], api_key=KEY).to_dict()
    with pytest.raises(ConfigurationError, match=fault):
        Chat.from_dict({**stored, **change}, tools=[add], api_key=KEY)


def test_a_missing_function_is_named():
    """It has to be given again."""
    stored = Chat("m", tools=[add], api_key=KEY).to_dict()
    with pytest.raises(ConfigurationError, match="tools lacks the function 'add'"):
        Chat.from_dict(stored, api_key=KEY)


@pytest.mark.parametrize("data", [None, [], "{}", {}])
def test_what_is_no_stored_chat_is_refused(data):
    """Whatever it is."""
    with pytest.raises(ConfigurationError, match=r"data is not what Chat\.to_dict"):
        Chat.from_dict(data, api_key=KEY)


# -- what it shows


def test_a_chat_shows_no_content_and_cannot_be_pickled(server):
    """It holds a key and a connection."""
    with chat(server) as talk:
        talk.ask("a secret")
        assert repr(talk) == "<Chat m, 2 items>"
        assert repr(talk.stream("x")) == "<ChatStream running>"
        with pytest.raises(TypeError, match="to_dict"):
            pickle.dumps(talk)


def test_a_caller_changes_nothing_of_the_history(server):
    """Items and messages are copies."""
    with chat(server) as talk:
        talk.ask("one")
        talk.items[0]["content"] = talk.messages[0].output[0]["content"] = "changed"
        talk.to_dict()["ledger"]["items"][0]["content"] = "changed"
        assert talk.messages[0].content == "one"


@pytest.mark.parametrize("transport", ["websocket", "http"])
@pytest.mark.parametrize("status", ["in_progress", "queued"])
def test_an_answer_that_has_ended_is_in_the_history_whatever_its_status(status, transport):
    """Some gateways leave that of the beginning in it."""
    with ScriptedServer() as server:
        server.connection(
            expect(),
            send(created("resp_1"), delta("one"), completed("resp_1", status)),
            expect(previous_response_id="resp_1"),
            send(*answer("resp_2", "two")),
        )
        with chat(server, transport=transport) as talk:
            assert talk.ask("first").content == "one"
            assert said(talk) == [("user", "first"), ("assistant", "one")]
            assert talk.ask("second").content == "two"
            assert len(talk.messages) == 4


def test_numbers_that_no_json_can_express_do_not_end_a_conversation():
    """Python reads 1e999 as infinite; what is sent back is the number that comes nearest."""
    said = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [
            {"type": "output_text", "text": "hi", "logprobs": [{"logprob": "LOW"}, {"logprob": "HIGH"}]}
        ],
    }
    ended = completed("resp_1")
    ended["response"]["output"] = [said]
    message = json.dumps(ended).replace('"LOW"', "-1e999").replace('"HIGH"', "1e999")
    with ScriptedServer() as server:
        server.connection(expect(), send(created("resp_1")), send(message), close(1000))
        server.connection(expect(), send(*answer("resp_2", "two")))
        with chat(server, store=False) as talk:
            assert talk.ask("one").content == "hi"
            server.connections[0].gone.wait(SECONDS)
            assert talk.ask("two").content == "two"
            assert talk.fork().to_dict()["ledger"]["items"]
        (_, again) = [request for request in server.requests if request.get("type") == "response.create"]
        (part,) = again["input"][1]["content"]
        assert part["logprobs"] == [{"logprob": -sys.float_info.max}, {"logprob": sys.float_info.max}]


def test_a_lost_answer_carries_its_part():
    """And the chat connects anew for the next question."""
    with ScriptedServer() as server:
        server.connection(expect(), send(created("resp_1"), delta("a part")), close(1011))
        server.connection(expect(), send(created("resp_2"), delta("whole"), completed("resp_2")))
        with chat(server, retry=ONCE, transport="websocket") as talk:
            with pytest.raises(ConnectionLost) as caught:
                talk.ask("one")
            assert caught.value.partial.content == "a part"
            assert talk.ask("one").content == "whole"


def test_an_error_event_is_the_services(server):
    """Raised as it came, and nothing of the step stays."""
    with ScriptedServer() as scripted:
        scripted.connection(expect(), send(error_event("invalid_prompt", 400)))
        with chat(scripted) as talk:
            with pytest.raises(Exception, match="invalid_prompt"):
                talk.ask("one")
            assert talk.items == []
