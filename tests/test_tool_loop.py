"""Tools are run for the model: in parallel, once a call, in the order of the calls, and nothing hangs."""

from __future__ import annotations

import contextvars
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from chatting import calling, chat
from shell import SECONDS, Task, until

from responses_ws import ConfigurationError, ResponseCancelled, ToolCall, ToolError
from responses_ws._chat_options import ChatOptions, ToolLimits
from responses_ws._core.continuation import Ledger
from responses_ws._tool_loop import ToolLoop
from responses_ws._tool_runner import Run
from responses_ws._toolbox import Toolbox
from responses_ws._transport.deadline import Deadline
from responses_ws.testing import Model, ScriptedServer
from responses_ws.tools import custom_tool, file_search, tool

Item = dict[str, Any]


def call(number: int, name: str = "work", arguments: str = "{}", kind: str = "function_call") -> Item:
    field = "arguments" if kind == "function_call" else "input"
    return {"type": kind, "call_id": f"call_{number}", "name": name, field: arguments}


def approval(number: int, name: str = "delete") -> Item:
    return {
        "type": "mcp_approval_request",
        "id": f"mcpr_{number}",
        "name": name,
        "arguments": "{}",
        "server_label": "files",
    }


def loop(*items: Item) -> ToolLoop:
    return ToolLoop(Ledger(items))


def options(*tools: Any, approve: Any = None, **limits: Any) -> ChatOptions:
    return ChatOptions("m", toolbox=Toolbox(tools), approve=approve, limits=ToolLimits(**limits))


def go_on() -> None:
    """The check of a loop that nobody ends."""


def run(calls: ToolLoop, options: ChatOptions, check: Any) -> None:
    """To the end, without a heartbeat."""
    assert list(calls.run(options, check)) == []


def outputs(of: ToolLoop) -> list[str]:
    return [item["output"] for item in of.unsent()]


def ended(of: ToolLoop) -> list[Run]:
    """The runs that have put themselves in the queue, where nobody has looked yet."""
    return [run for run in of._runner._ended.items if isinstance(run, Run)]


def run_out(of: ToolLoop) -> None:
    """The time of every call is over now."""
    for run in of._runner.running:
        run.deadline = Deadline(0)


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What a hanging tool waits for; set in the end, so that its thread ends."""
    event = threading.Event()
    yield event
    event.set()


# -- running


def test_calls_run_in_parallel_and_answer_in_order():
    """Each waits for the other two; the outputs stand in the order of the calls."""
    together = threading.Barrier(3, timeout=SECONDS)
    ended = [threading.Event() for _ in range(3)]

    @tool
    def work(number: int) -> str:
        together.wait()
        if number < 2:
            ended[number + 1].wait(SECONDS)  # the last one ends first
        ended[number].set()
        return f"output {number}"

    calls = loop(*(call(number, arguments=f'{{"number": {number}}}') for number in range(3)))
    run(calls, options(work), go_on)
    assert calls.unsent() == [
        {"type": "function_call_output", "call_id": f"call_{number}", "output": f"output {number}"}
        for number in range(3)
    ]
    assert not calls.left()


@pytest.mark.parametrize("most", [1, 2])
def test_no_more_than_max_parallel_run_at_once(most):
    """The next one starts when one has ended."""
    running, highest = [], []

    @tool
    def work() -> str:
        running.append(1)
        highest.append(len(running))
        running.pop()
        return "done"

    calls = loop(*(call(number) for number in range(6)))
    run(calls, options(work, max_parallel=most), go_on)
    assert outputs(calls) == ["done"] * 6
    assert max(highest) <= most


def test_a_call_is_made_once():
    """However often it is asked for, and while it runs as well."""
    made = []

    @tool
    def work() -> str:
        made.append(1)
        return "done"

    calls = loop(call(1))
    [waiting] = calls.todo(options(work))
    calls.start(waiting, options(work))
    calls.start(waiting, options(work))
    run(calls, options(work), go_on)
    run(calls, options(work), go_on)
    assert (outputs(calls), made) == (["done"], [1])


def test_a_custom_tool_gets_the_text():
    """And is answered in its own type."""

    @custom_tool
    def shout(text: str) -> str:
        return text.upper()

    calls = loop(call(1, "shout", "free text", "custom_tool_call"))
    run(calls, options(shout), go_on)
    assert calls.unsent() == [{"type": "custom_tool_call_output", "call_id": "call_1", "output": "FREE TEXT"}]


def test_context_variables_reach_the_tool():
    """Those of the thread that asks."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("of the caller")

    @tool
    def work() -> str:
        return variable.get()

    calls = loop(call(1))
    run(calls, options(work), go_on)
    assert outputs(calls) == ["of the caller"]


def test_a_tool_that_nobody_knows_is_reported():
    """The model can choose another."""
    calls = loop(call(1, "unheard"))
    run(calls, options(), go_on)
    assert outputs(calls) == ["Error: there is no tool of the name 'unheard'"]


# -- errors


def test_an_exception_becomes_the_output():
    """The others are not disturbed."""

    @tool
    def work() -> str:
        raise ValueError("no such city")

    @tool
    def other() -> str:
        return "done"

    calls = loop(call(1), call(2, "other"))
    run(calls, options(work, other), go_on)
    assert outputs(calls) == ["Error: work raised ValueError: no such city", "done"]


def test_a_tool_may_raise_to_the_caller():
    """After all have ended: the first in the order of the calls, with a report as its output."""
    ended = threading.Event()

    @tool(on_error="raise")
    def first() -> str:
        ended.wait(SECONDS)
        raise ValueError("one")

    @tool(on_error="raise")
    def second() -> str:
        ended.set()
        raise ValueError("two")

    calls = loop(call(1, "first"), call(2, "second"), call(3, "second"))
    with pytest.raises(ToolError, match="first raised ValueError: one") as caught:
        run(calls, options(first, second), go_on)
    assert (caught.value.tool, caught.value.call_id) == ("first", "call_1")
    assert isinstance(caught.value.__cause__, ValueError)
    assert outputs(calls) == [
        "Error: first raised ValueError: one",
        "Error: second raised ValueError: two",
        "Error: second raised ValueError: two",
    ]
    run(calls, options(first, second), go_on)  # raised once, answered: nothing more to do


class OutOfStock(ToolError):
    """An error of the program's own, which is not made like ours."""

    def __init__(self, number: int) -> None:
        super().__init__(f"there is no number {number}")
        self.number = number


def test_a_tool_may_raise_an_error_of_its_own():
    """It comes as it is, with the call that it answers."""

    @tool(on_error="raise")
    def work() -> str:
        raise OutOfStock(3) from KeyError("cause")

    calls = loop(call(0))
    with pytest.raises(OutOfStock, match="there is no number 3") as caught:
        run(calls, options(work), go_on)
    error = caught.value
    assert (error.number, error.tool, error.call_id) == (3, "work", "call_0")
    assert isinstance(error.__cause__, KeyError)


def test_a_hook_may_raise_an_error_of_its_own():
    """The stream keeps it for whoever asks again."""

    def approve(_: ToolCall) -> bool:
        raise OutOfStock(4)

    @tool
    def work() -> str:
        return "done"

    with ScriptedServer(model=Model()) as server, chat(server, tools=[work], approve=approve) as talk:
        stream = talk.stream(calling("work"))
        for _ in range(2):
            with pytest.raises(OutOfStock, match="there is no number 4"):
                stream.message  # noqa: B018


def test_a_call_that_finds_no_thread_is_not_made_yet(monkeypatch):
    """Nothing is said of effects that it cannot have had; the next attempt makes it."""

    @tool
    def work() -> str:
        return "done"

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    calls = loop(call(0))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="new thread"):
            run(calls, options(work), go_on)
    assert (calls.unsent(), calls.left()) == ([], True)
    run(calls, options(work), go_on)
    assert outputs(calls) == ["done"]


def test_a_call_that_finds_no_thread_waits_for_those_that_have_one(monkeypatch, released):
    """What runs is not given up for it, and nothing is made twice."""
    made: list[int] = []
    start = threading.Thread.start

    def scarce(thread: threading.Thread) -> None:
        if made and not released.is_set():
            released.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    @tool
    def work(number: int) -> int:
        made.append(number)
        if number == 1:
            assert released.wait(SECONDS)
        return number

    monkeypatch.setattr(threading.Thread, "start", scarce)
    calls = loop(*(call(number, arguments=f'{{"number":{number}}}') for number in (1, 2)))
    run(calls, options(work), go_on)
    assert (made, outputs(calls)) == ([1, 2], ["1", "2"])


def test_a_tool_may_end_the_program():
    """``sys.exit`` in a tool is one of the program, not of a thread."""

    @tool
    def work() -> str:
        sys.exit(3)

    calls = loop(call(1))
    with pytest.raises(SystemExit):
        run(calls, options(work), go_on)
    assert not calls.left()


# -- time


def test_a_tool_that_takes_too_long_is_left_behind(released):
    """Its output says so, whatever it returns later; others have their place meanwhile."""

    @tool(timeout=0.05)
    def hang() -> str:
        released.wait(SECONDS)
        return "late"

    @tool
    def work() -> str:
        return "done"

    calls = loop(call(1, "hang"), call(2))
    run(calls, options(hang, work, max_parallel=1, timeout_per_tool=SECONDS), go_on)
    assert outputs(calls) == ["Error: the call took longer than 0.05 seconds", "done"]
    released.set()
    until(lambda: not [thread for thread in threading.enumerate() if "hang" in thread.name])
    run(calls, options(hang, work), go_on)
    assert outputs(calls)[0] == "Error: the call took longer than 0.05 seconds"


def test_the_timeout_of_the_loop_is_for_tools_without_their_own(released):
    """In seconds from the start of the call."""

    @tool
    def work() -> str:
        released.wait(SECONDS)
        return "late"

    calls = loop(call(1))
    run(calls, options(work, timeout_per_tool=0.05), go_on)
    assert outputs(calls) == ["Error: the call took longer than 0.05 seconds"]


@pytest.mark.parametrize("late", [False, True], ids=["in time", "late"])
def test_what_has_ended_before_anybody_looks_keeps_its_output(late, released):
    """The clocks run out while the caller is busy with a heartbeat. Three have ended, the fourth has not."""
    release = threading.Event()

    @tool
    def work(number: int) -> str:
        (released if number == 3 else release).wait(SECONDS)
        return f"output {number}"

    calls = loop(*(call(number, arguments=f'{{"number": {number}}}') for number in range(4)))
    running = calls.run(options(work, timeout_per_tool=SECONDS), go_on, heartbeat=0.01)
    next(running)
    if late:
        run_out(calls)
    release.set()
    until(lambda: len(ended(calls)) == 3)
    run_out(calls)
    list(running)
    assert outputs(calls)[:3] == ["output 0", "output 1", "output 2"]
    assert outputs(calls)[3] == "Error: the call took longer than 0 seconds"


def test_what_was_started_early_keeps_its_output():
    """The answer streams for longer than the tools may take; nobody waits for them meanwhile."""

    @tool
    def work() -> str:
        return "done"

    calls, given = loop(*(call(number) for number in range(3))), options(work, timeout_per_tool=SECONDS)
    for to_make in calls.todo(given):
        calls.start(to_make, given)
    until(lambda: len(ended(calls)) == 3)
    run_out(calls)
    run(calls, given, go_on)
    assert outputs(calls) == ["done"] * 3


def test_a_tool_that_hangs_does_not_hold_the_process():
    """Its thread ends with the program."""
    program = """
        import threading
        from responses_ws._chat_options import ChatOptions, ToolLimits
        from responses_ws._core.continuation import Ledger
        from responses_ws._tool_loop import ToolLoop
        from responses_ws._toolbox import Toolbox

        def work() -> str:
            "Hang."
            threading.Event().wait()

        call = {"type": "function_call", "call_id": "call_1", "name": "work", "arguments": "{}"}
        calls = ToolLoop(Ledger([call]))
        options = ChatOptions("m", toolbox=Toolbox([work]), limits=ToolLimits(timeout_per_tool=0.05))
        list(calls.run(options, lambda: None))
        print(calls.unsent()[0]["output"])
    """
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("Error: the call took longer than 0.05 seconds\n", "")


# -- interrupts


def test_an_interrupt_answers_what_is_open(released):
    """What has ended keeps its output, what runs may have had effects, and what waits was not made."""
    hanging = threading.Event()

    @tool
    def work() -> str:
        return "done"

    @tool
    def hang() -> str:
        hanging.set()
        released.wait(SECONDS)
        return "late"

    calls = loop(call(1), call(2, "hang"), call(3))

    def interrupt() -> None:
        assert hanging.wait(SECONDS)
        os.kill(os.getpid(), signal.SIGINT)

    killer = Task(interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(calls, options(work, hang, max_parallel=1), go_on)
    killer.result()
    assert outputs(calls) == [
        "done",
        "Error: the call was interrupted while it ran, and may have had effects",
        "Error: the call was not made: the user interrupted",
    ]
    assert not calls.left()


def test_the_check_ends_the_waiting(released):
    """At the next wake, from whatever thread."""
    hanging, ended = threading.Event(), threading.Event()

    @tool
    def hang() -> str:
        hanging.set()
        released.wait(SECONDS)
        return "late"

    def check() -> None:
        if ended.is_set():
            raise ResponseCancelled("told to")

    calls = loop(call(1, "hang"))
    running = Task(run, calls, options(hang), check)
    assert hanging.wait(SECONDS)
    ended.set()
    calls.wake()
    assert isinstance(running.error(), ResponseCancelled)
    assert not calls.left()


# -- approvals


@pytest.mark.parametrize(
    ("said", "output"),
    [
        (True, "made with {}"),
        (False, "Error: the user refused the call"),
        ("", "Error: the user refused the call"),
        ("too dear", "Error: the user refused the call: too dear"),
        (ToolCall("call_1", "work", '{"city": "Bergen"}'), "made with Bergen"),
        (ToolCall(arguments='{"city": "Bergen"}'), "made with Bergen"),
    ],
)
def test_a_call_needs_its_approval(said, output):
    """The hook sees it before it is made, and may refuse it, say why, or edit it."""
    seen, asked_in = [], []

    @tool
    def work(city: str = "{}") -> str:
        return f"made with {city}"

    def approve(wanted: ToolCall) -> Any:
        seen.append((wanted.id, wanted.name, wanted.arguments))
        asked_in.append(threading.current_thread())
        return said

    calls = loop(call(1))
    run(calls, options(work, approve=approve), go_on)
    assert outputs(calls) == [output]
    assert (seen, asked_in) == ([("call_1", "work", "{}")], [threading.current_thread()])


@pytest.mark.parametrize(
    ("said", "response"),
    [(True, {"approve": True}), (False, {"approve": False}), ("no", {"approve": False, "reason": "no"})],
)
def test_an_mcp_approval_is_answered_by_the_same_hook(said, response):
    """It sees the server, too."""
    seen = []

    def approve(wanted: ToolCall) -> Any:
        seen.append((wanted.type, wanted.server_label, wanted.name))
        return said

    calls = loop(approval(1))
    run(calls, options(approve=approve), go_on)
    answer = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", **response}
    assert calls.unsent() == [answer]
    assert seen == [("mcp_approval_request", "files", "delete")]


def test_a_reason_that_cannot_be_sent_does_not_end_the_conversation():
    """It would be kept and sent with every request from then on."""
    calls = loop(approval(1))
    run(calls, options(approve=lambda wanted: "not \ud83d"), go_on)
    assert calls.unsent()[0]["reason"] == "not \ufffd"


def test_without_a_hook_an_mcp_approval_is_left_to_the_caller():
    """Nobody else may give it."""
    calls = loop(approval(1))
    run(calls, options(), go_on)
    assert (calls.unsent(), calls.left(), calls.todo(options())) == ([], True, [])


def nothing() -> str:
    """A tool that must not run."""
    raise AssertionError("it was run")


@pytest.mark.parametrize("said", [None, 1, {"city": "Oslo"}])
@pytest.mark.parametrize("item", [call(1, "nothing"), approval(1)], ids=["function", "mcp"])
def test_a_hook_that_says_nothing_approves_nothing(said, item):
    """A forgotten return is an error; the call stays open, to be asked about again."""
    calls = loop(item)
    with pytest.raises(ConfigurationError, match=f"approve must return .*, not {type(said).__name__}"):
        run(calls, options(nothing, approve=lambda wanted: said), go_on)
    assert calls.left()


def test_a_hook_cannot_have_another_tool_called():
    """It would take a harmless one for the one that it was asked about, which ran with its arguments."""
    calls = loop(call(1, "nothing"))
    with pytest.raises(ConfigurationError, match="approve can edit the arguments of a call, not its name"):
        run(calls, options(nothing, approve=lambda wanted: replace(wanted, name="work")), go_on)
    assert calls.left()


def test_the_call_of_a_server_cannot_be_edited():
    """Only allowed or refused."""
    calls = loop(approval(1))
    with pytest.raises(ConfigurationError, match="approve cannot edit"):
        run(calls, options(approve=lambda wanted: wanted), go_on)


def test_an_error_of_the_hook_leaves_the_call_open():
    """Nothing was run; those decided before keep what was decided."""
    made = []

    @tool
    def work() -> str:
        made.append(1)
        return "done"

    answers = iter([False, RuntimeError("of the hook"), True])

    def approve(wanted: ToolCall) -> bool:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    calls = loop(call(1), call(2))
    with pytest.raises(RuntimeError, match="of the hook"):
        run(calls, options(work, approve=approve), go_on)
    assert (made, calls.left()) == ([], True)
    run(calls, options(work, approve=approve), go_on)
    assert outputs(calls) == ["Error: the user refused the call", "done"]


# -- who answers


def test_calls_of_tools_that_are_only_defined_are_the_callers():
    """The chat runs its functions and leaves the rest."""

    @tool
    def work() -> str:
        return "done"

    outside = {"type": "function", "name": "outside", "parameters": {}}
    inside = {"type": "namespace", "name": "crm", "tools": [{"type": "function", "name": "inside"}]}
    calls = loop(
        call(1),
        call(2, "outside"),
        call(3, "inside"),
        {"type": "computer_call", "call_id": "call_4", "action": {}},
    )
    offered = options(work, outside, inside)
    assert [wanted.id for wanted in calls.todo(offered)] == ["call_1"]
    run(calls, offered, go_on)
    assert (outputs(calls), calls.left()) == (["done"], True)


def test_what_goes_before_new_items():
    """Answers that are ready, and a word about calls that were not made; not what the caller answers."""

    @tool
    def work() -> str:
        return "done"

    ledger = Ledger([call(1), call(2), call(3)])
    calls = ToolLoop(ledger, [{"type": "function_call_output", "call_id": "call_1", "output": "ready"}])
    mine = {"type": "function_call_output", "call_id": "call_3", "output": "mine"}
    before = calls.answers_for([mine], options(work))
    assert [(item["call_id"], item["output"]) for item in before] == [
        ("call_1", "ready"),
        ("call_2", "Error: the call was not made: the user went on without it"),
    ]
    assert [item["call_id"] for item in calls.unsent()] == ["call_1"]


def test_the_output_for_a_program_goes_to_that_program():
    """Calls that a program of the model made name it; those that the model made itself need no address."""

    @tool
    def work() -> str:
        return "done"

    program = {"type": "program", "caller_id": "call_9"}
    calls = loop({**call(1), "caller": program}, {**call(2), "caller": {"type": "direct"}})
    assert [item.get("caller") for item in calls.answers_for([], options(work))] == [program, None]
    run(calls, options(work), go_on)
    assert [item.get("caller") for item in calls.unsent()] == [program, None]


def test_what_no_call_waits_for_is_forgotten():
    """Answers stay until a completed step took them."""
    ledger = Ledger([call(1)])
    answer = {"type": "function_call_output", "call_id": "call_1", "output": "done"}
    calls = ToolLoop(ledger, [answer])
    calls.prune()
    assert calls.unsent() == [answer]
    ledger.append(answer)
    calls.prune()
    assert (calls.unsent(), calls.waiting()) == ([], {})


def test_a_later_call_of_the_same_id_is_another_call():
    """What a completed step has answered is over; what still runs goes on."""
    made: list[int] = []

    @tool
    def work(number: int) -> str:
        made.append(number)
        return f"done {number}"

    ledger = Ledger([call(1, arguments='{"number": 1}')])
    calls = ToolLoop(ledger)
    run(calls, options(work), go_on)
    answered = list(calls.waiting())
    ledger.append(*calls.unsent(), call(1, arguments='{"number": 2}'))
    calls.forget(answered)
    run(calls, options(work), go_on)
    assert (made, outputs(calls)) == ([1, 2], ["done 2"])


# -- the tools of a chat


def test_two_functions_of_one_name_are_refused():
    """The model could not tell them apart."""

    @tool(name="work")
    def one() -> str:
        return ""

    @tool(name="work")
    def two() -> str:
        return ""

    with pytest.raises(ConfigurationError, match="two functions of the name 'work'"):
        Toolbox([one, two])


@pytest.mark.parametrize(
    "defined",
    [
        {"type": "function", "name": "work", "parameters": {}},
        {"type": "namespace", "name": "crm", "tools": [{"type": "function", "name": "work"}]},
    ],
    ids=["function", "namespace"],
)
def test_a_function_and_a_definition_of_one_name_are_refused(defined):
    """A call does not tell which is meant, and the function would never be run."""

    @tool
    def work() -> str:
        return "done"

    with pytest.raises(ConfigurationError, match="tools has a function and a definition of the name 'work'"):
        Toolbox([work, defined])


def test_a_namespace_may_have_the_name_of_a_function():
    """It is not called itself."""

    @tool
    def work() -> str:
        return "done"

    calls = loop(call(1))
    run(calls, options(work, {"type": "namespace", "name": "work", "tools": []}), go_on)
    assert outputs(calls) == ["done"]


@pytest.mark.parametrize("tools", ["work", {"type": "web_search"}, 3, [3]])
def test_what_is_no_list_of_tools_is_refused(tools):
    """A single definition in place of a list is an easy mistake."""
    with pytest.raises(ConfigurationError, match="tool"):
        Toolbox(tools)


def test_tools_of_one_label_are_given_again_each_for_its_own():
    """Two searches have one type and no name; the one must not stand for the other."""

    @tool
    def work() -> str:
        return "done"

    given = [file_search(["vs_a"]), work, file_search(["vs_b"])]
    box = Toolbox(given)
    for again in (given, [work]):
        assert Toolbox.from_list(box.to_list(), again).definitions == box.definitions
    more = Toolbox.from_list(Toolbox(given[1:]).to_list(), [given[2], work, given[0]])
    assert more.definitions == [work.definition, given[2], given[0]]


def test_tools_are_stored_without_functions_and_credentials():
    """Both are given again, and nothing of them is in what was stored."""

    @tool
    def work() -> str:
        return "done"

    files = {"type": "mcp", "server_label": "files", "headers": {"Authorization": "sk-secret"}}
    search = {"type": "web_search", "search_context_size": "low"}
    namesake = {"type": "namespace", "name": "work", "tools": []}
    stored = Toolbox([search, namesake, work, files]).to_list()
    assert "secret" not in str(stored)
    box = Toolbox.from_list(stored, [files, work, namesake])
    assert box.definitions == [search, namesake, work.definition, files]
    assert box.functions == {"work": work}


@pytest.mark.parametrize(("kept", "missing"), [("work", "mcp files"), ("files", "the function 'work'")])
def test_a_tool_that_is_not_given_again_is_named(kept, missing):
    """The chat would not be what it was."""

    def work() -> str:
        """Work."""
        return "done"

    files = {"type": "mcp", "server_label": "files", "authorization": "sk-secret"}
    stored = Toolbox([work, files]).to_list()
    given = {"work": work, "files": files}
    with pytest.raises(ConfigurationError, match=missing):
        Toolbox.from_list(stored, [given[kept]])
