"""Batches in one process: everything is asked once, the file has it, and a second run goes on."""

from __future__ import annotations

import concurrent.futures
import functools
import json
import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tqdm
from batches import Desk, answers, make_pool, named, run, serve
from shell import SECONDS, Task, created, delta, error_event

import responses_ws
from responses_ws import (
    AuthenticationError,
    BadRequestError,
    ConcurrencyError,
    ConfigurationError,
    ConnectionLost,
    ConnectionPool,
    Delivery,
    PoolClosed,
    RateLimitError,
    ResponsesWSError,
    ServerError,
    _batch_policy,
    batch,
)
from responses_ws._batch_policy import Throttle
from responses_ws.testing import Model, ScriptedServer, close, expect, send

LETTERS = [f"letter {name}" for name in "abcdefghij"]


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def server(desk: Desk) -> Iterator[ScriptedServer]:
    with serve(desk) as server:
        yield server


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def model_of(server: ScriptedServer) -> Model:
    assert server.model is not None
    return server.model


# -- asking


def test_everything_is_asked_once_and_comes_in_the_order_of_the_inputs(
    server: ScriptedServer, desk: Desk, out: Path
) -> None:
    """Whatever order the answers came in."""
    texts = [f"question {number}" for number in range(60)]
    report = run(server, out, texts, concurrency=6)
    said = [found.message.content for found in report if found.message]
    assert said == [f"You said: {text}." for text in texts]
    assert desk.asked == dict.fromkeys(texts, 1)
    assert (report.asked, report.completed, report.failures, len(report)) == (60, 60, (), 60)
    assert repr(report) == f"<Report 60 completed, 0 failed, 60 asked: {out}>"


def test_the_file_has_one_line_for_each_input(server: ScriptedServer, out: Path) -> None:
    """For other programs than this one."""
    run(server, out, named("a", "b"))
    lines = {line["custom_id"]: line for line in map(json.loads, out.read_text().splitlines())}
    assert set(lines) == {"a", "b"}
    assert set(lines["a"]) == {"custom_id", "digest", "message", "error"}
    message = lines["a"]["message"]
    assert (message["content"], message["status"], message["output_tokens"]) == (
        "You said: a.",
        "completed",
        3,
    )
    assert lines["a"]["error"] is None
    assert "raw" not in message


def test_no_more_than_the_concurrency_are_under_way(server: ScriptedServer, desk: Desk, out: Path) -> None:
    """And no less, as long as there is something to ask."""
    first = Desk(*LETTERS)
    with serve(first) as slow:
        task = Task(run, slow, out, LETTERS, concurrency=3)
        first.wait_for(*LETTERS[:3])
        assert len(first.asked) == 3
        first.let_go()
        task.result()
    assert max(first.at_once) == 3


def test_a_second_run_asks_nothing(server: ScriptedServer, desk: Desk, out: Path) -> None:
    """Everything is there."""
    first = run(server, out, LETTERS)
    before = out.read_bytes()
    second = run(server, out, LETTERS)
    assert answers(second) == answers(first)
    assert (second.asked, second.completed) == (0, 10)
    assert set(desk.asked.values()) == {1}
    assert out.read_bytes() == before


def test_a_second_run_asks_what_is_new(server: ScriptedServer, desk: Desk, out: Path) -> None:
    """In whatever order it stands."""
    run(server, out, LETTERS[:5])
    report = run(server, out, reversed(LETTERS))
    assert report.asked == 5
    assert list(answers(report).values()) == [f"You said: {text}." for text in reversed(LETTERS)]
    assert set(desk.asked.values()) == {1}


def test_nothing_to_ask(server: ScriptedServer, out: Path) -> None:
    """An empty list has an empty report."""
    report = run(server, out, [])
    assert (list(report), len(report), out.read_bytes()) == ([], 0, b"")


def test_an_id_that_was_answered_may_not_ask_something_else(
    server: ScriptedServer, desk: Desk, out: Path
) -> None:
    """Its answer would be that of another question."""
    run(server, out, named("a"))
    with pytest.raises(ConfigurationError, match="'a' is not what was asked under this custom_id"):
        run(server, out, [{"custom_id": "a", "input": "b"}])
    assert dict(desk.asked) == {"a": 1}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"concurrency": 0}, "concurrency must be a whole number of at least 1, not 0"),
        ({"concurrency": True}, "concurrency must be"),
        ({"concurrency": 2.0}, "concurrency must be"),
        ({"out": None}, "out must be a str or a path, not NoneType"),
        ({"out": b"x"}, "out must be a str or a path, not bytes"),
        ({"out": ""}, "out must name a file"),
        ({"out": "a\0b"}, "out must name a file"),
        ({"out": "\ud800"}, "out must name a file"),
        ({"out": "."}, "out: . is no file"),
        ({"out": os.devnull}, f"out: {os.devnull} is no file"),
        ({"rerun": "some"}, "rerun must be 'unpaid' or 'all', not 'some'"),
        ({"executor": 3}, r"executor must have a method submit\(\)"),
        ({"pool": 3}, "pool must be"),
        ({"pool": lambda: 3}, "pool gave no ConnectionPool but int"),
    ],
)
def test_a_bad_option_is_refused_by_name(
    server: ScriptedServer, out: Path, options: dict[str, Any], complaint: str
) -> None:
    """Before anything is asked."""
    with pytest.raises(ConfigurationError, match=complaint):
        run(server, requests=["a"], **{"out": out, **options})
    assert model_of(server).creates == 0


def test_two_runs_do_not_write_one_file(desk: Desk, out: Path) -> None:
    """The second is refused, the first goes on."""
    desk = Desk("a")
    with serve(desk) as server:
        first = Task(run, server, out, named("a"))
        desk.wait_for("a")
        with pytest.raises(ConcurrencyError):
            run(server, out, named("b"))
        desk.let_go()
        assert answers(first.result()) == {"a": "You said: a."}
    assert dict(desk.asked) == {"a": 1}


def test_without_a_pool_the_environment_says_where(
    server: ScriptedServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As everywhere in the package."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    assert answers(run(server, out, named("a"), pool=None)) == {"a": "You said: a."}


def test_a_pool_of_the_caller_stays_open(server: ScriptedServer, out: Path) -> None:
    """Others may use it, before and after."""
    with make_pool(server, max_connections=2)() as pool:
        report = run(server, out, LETTERS, pool=pool, concurrency=6)
        assert pool.stats().connections in (1, 2)
        with pool.lease() as lease:
            assert lease.create_response(model="m", input="more").content == "You said: more."
    assert report.completed == 10


def test_a_pool_that_is_not_open_ends_the_run(server: ScriptedServer, out: Path) -> None:
    """It is the caller's to open."""
    with pytest.raises(PoolClosed):
        run(server, out, LETTERS, pool=make_pool(server)())


def test_a_pool_cannot_be_given_for_other_processes(server: ScriptedServer, out: Path) -> None:
    """It holds a key and connections."""
    with pytest.raises(ConfigurationError, match="pool must be a function that makes a ConnectionPool"):
        run(server, out, LETTERS, pool=make_pool(server)(), executor=Inline())


def test_a_pool_that_is_too_small_for_the_threads(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds no place in time tries again."""
    turned_back = threading.Event()

    def note(throttle: Throttle) -> bool:
        turned_back.set()
        return really(throttle)

    really = Throttle.turned_back
    monkeypatch.setattr(Throttle, "turned_back", note)
    desk = Desk("letter a")
    with serve(desk) as server, make_pool(server, max_connections=1, lease_timeout=0.1)() as pool:
        task = Task(run, server, out, LETTERS, pool=pool, concurrency=3)
        assert turned_back.wait(SECONDS)
        desk.let_go()
        assert task.result().completed == 10


def test_without_a_key_nothing_is_asked(out: Path) -> None:
    """The error is that of every client."""
    with pytest.raises(ConfigurationError, match="api_key"):
        batch.run(["a"], model="m", out=out, progress=False)


# -- failures


def test_a_refused_input_is_a_failure_and_the_others_go_on(server: ScriptedServer, out: Path) -> None:
    """It is listed with its error, of its own class."""
    model_of(server).fail_next("invalid_value", 400, message="No such thing.")
    report = run(server, out, named("a", "b", "c"), concurrency=1)
    assert answers(report) == {"a": None, "b": "You said: b.", "c": "You said: c."}
    assert report.completed == 2
    (failure,) = report.failures
    assert failure.custom_id == "a"
    assert isinstance(failure.error, BadRequestError)
    assert (failure.error.code, failure.error.status) == ("invalid_value", 400)
    assert failure.error.delivery is Delivery.REJECTED


def test_a_failure_that_cost_nothing_is_asked_again_by_the_next_run(
    server: ScriptedServer, desk: Desk, out: Path
) -> None:
    """And is one no more."""
    model_of(server).fail_next("invalid_value", 400)
    run(server, out, named("a", "b"), concurrency=1)
    report = run(server, out, named("a", "b"))
    assert (report.asked, report.failures) == (1, ())
    assert dict(desk.asked) == {"a": 1, "b": 1}
    assert [found.custom_id for found in batch.read(out)] == ["b", "a"]


def test_a_failure_that_may_have_been_paid_is_asked_again_only_when_told(
    server: ScriptedServer, desk: Desk, out: Path
) -> None:
    """What had come of it is kept."""
    server.connection(expect(), send(created("resp_1"), delta("Hel")), close(1011))
    report = run(server, out, named("a"))
    (failure,) = report.failures
    assert isinstance(failure.error, ConnectionLost)
    assert failure.error.delivery is Delivery.STARTED
    assert failure.error.partial is not None
    assert failure.error.partial.content == "Hel"
    again = run(server, out, named("a"))
    assert (again.asked, len(again.failures)) == (0, 1)
    assert not desk.asked
    assert answers(run(server, out, named("a"), rerun="all")) == {"a": "You said: a."}


def test_a_failed_id_may_ask_something_else(server: ScriptedServer, out: Path) -> None:
    """That is how one mends it, also when the first may have been paid."""
    server.connection(expect(), send(created("resp_1"), delta("Hel")), close(1011))
    run(server, out, named("a"))
    assert answers(run(server, out, [{"custom_id": "a", "input": "b"}])) == {"a": "You said: b."}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that are as many as ever, and short."""
    monkeypatch.setattr(_batch_policy, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(_batch_policy, "LONGEST_PAUSE", 0.002)


@pytest.mark.usefixtures("quick")
def test_a_service_that_fails_for_a_while_costs_no_input(
    server: ScriptedServer, desk: Desk, out: Path
) -> None:
    """What it did not run is asked again."""
    for _ in range(4):
        model_of(server).fail_next("server_error", 503)
    report = run(server, out, named("a", "b"), concurrency=1)
    assert report.completed == 2
    assert dict(desk.asked) == {"a": 1, "b": 1}


@pytest.mark.usefixtures("quick")
def test_an_input_that_fails_every_time_is_a_failure(out: Path) -> None:
    """After five times, while the others are answered."""
    broken = [expect(input="bad"), send(error_event("server_error", 500))]
    with ScriptedServer(model=Model()) as server:
        server.connection(*broken, expect(input="good"), send(*responses_to("good")), *broken * 4)
        report = run(server, out, named("bad", "good"), concurrency=1)
    assert answers(report) == {"bad": None, "good": "good"}
    assert isinstance(report.failures[0].error, ServerError)


def responses_to(text: str) -> list[dict[str, Any]]:
    end = {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": []}}
    return [created("resp_1"), delta(text), end]


@pytest.mark.usefixtures("quick")
def test_a_service_that_is_not_there_ends_the_run(out: Path) -> None:
    """No input is a failure for that."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    pool = functools.partial(ConnectionPool, "any", api_base=address)
    with pytest.raises(ResponsesWSError) as caught:
        batch.run(LETTERS, model="m", out=out, progress=False, pool=pool)
    assert caught.value.delivery is Delivery.NOT_SENT
    assert out.read_bytes() == b""


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        ({"code": "invalid_api_key", "status": 401}, AuthenticationError),
        ({"code": "insufficient_quota", "status": 429}, RateLimitError),
        ({"code": "rate_limit_exceeded", "status": 429, "headers": {"retry-after": "601"}}, RateLimitError),
        ({"code": "server_is_overloaded", "status": 503, "headers": {"retry-after": "601"}}, ServerError),
    ],
)
def test_what_every_input_would_meet_ends_the_run(out: Path, failure: dict[str, Any], kind: type) -> None:
    """What is under way is waited for, and the next run goes on."""
    desk = Desk("letter b")
    with serve(desk) as server:
        model = model_of(server)
        first = run(server, out, LETTERS[:1])
        task = Task(run, server, out, LETTERS[:2], concurrency=1)
        desk.wait_for("letter b")
        model.fail_next(**failure)
        other = Task(run, server, out.with_name("other"), LETTERS, concurrency=1)
        assert isinstance(other.error(), kind)
        desk.let_go()
        assert task.result().completed == 2
        assert first.completed == 1
        assert run(server, out, LETTERS).completed == 10


def test_what_is_under_way_is_waited_for_when_the_run_ends(out: Path) -> None:
    """It is paid for."""
    desk = Desk("a")
    with serve(desk) as server:
        task = Task(run, server, out, named("a", "b", "c"), concurrency=2)
        desk.wait_for("a", "b")  # and c
        desk.wait_for("c")
        desk.let_go()
        assert task.result().completed == 3


# -- the throttle


def test_after_a_rate_limit_all_wait_and_one_goes_first(out: Path) -> None:
    """Not one request comes before the time, and then they come one by one."""
    desk = Desk()
    with serve(desk) as server:
        for _ in range(4):
            model_of(server).fail_next("rate_limit_exceeded", 429, headers={"retry-after-ms": "400"})
        began = time.monotonic()
        report = run(server, out, LETTERS, concurrency=4)
    assert report.completed == 10
    assert model_of(server).creates == 14
    assert desk.times[0] - began >= 0.4
    assert desk.at_once[:2] == [1, 1]
    assert set(desk.asked.values()) == {1}


@pytest.mark.usefixtures("quick")
def test_rate_limits_are_no_attempts_of_an_input(server: ScriptedServer, out: Path) -> None:
    """However often it is the one that meets them."""
    for _ in range(9):
        model_of(server).fail_next("rate_limit_exceeded", 429, headers={"retry-after-ms": "1"})
    assert run(server, out, named("a"), concurrency=1).completed == 1


def test_a_rate_limit_in_place_of_an_answer_that_had_begun(server: ScriptedServer, out: Path) -> None:
    """Nothing had come of it, so nothing is paid twice."""
    model_of(server).fail_next(
        "rate_limit_exceeded", 429, when="created", headers={"retry-after-ms": "1"}, then_failed=True
    )
    assert run(server, out, named("a"), concurrency=1).completed == 1


# -- executors


def test_threads_of_the_caller(server: ScriptedServer, desk: Desk, out: Path) -> None:
    """They are used, and go on living."""
    with concurrent.futures.ThreadPoolExecutor(2, "mine") as executor:
        report = run(server, out, LETTERS, executor=executor, concurrency=2)
        assert executor.submit(lambda: threading.current_thread().name).result().startswith("mine")
    assert report.completed == 10


class Inline(concurrent.futures.Executor):
    """Does at once what it is given, in the thread that gives it."""

    def submit(self, function: Any, /, *args: Any, **named: Any) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            future.set_result(function(*args, **named))
        except BaseException as error:
            future.set_exception(error)
        return future


def test_any_executor(server: ScriptedServer, desk: Desk, out: Path) -> None:
    """Also one that is no pool at all. What it has made here is closed by the next run."""
    assert run(server, out, LETTERS[:5], executor=Inline()).completed == 5
    assert run(server, out, LETTERS, executor=Inline()).completed == 10
    assert set(desk.asked.values()) == {1}


class Far(Inline):
    """Takes and gives what can be pickled, as one does that runs things in other processes."""

    def submit(self, function: Any, /, *args: Any, **named: Any) -> concurrent.futures.Future[Any]:
        far, args = pickle.loads(pickle.dumps((function, args)))  # noqa: S301
        return super().submit(lambda: pickle.loads(pickle.dumps(far(*args))))  # noqa: S301


def test_what_travels_to_another_process_and_back(server: ScriptedServer, out: Path) -> None:
    """Payloads, answers and errors; not the pool, but what makes it."""
    model_of(server).fail_next("invalid_value", 400, message="No such thing.")
    report = run(server, out, named("a", "b"), executor=Far(), concurrency=1)
    assert answers(report) == {"a": None, "b": "You said: b."}
    assert isinstance(report.failures[0].error, BadRequestError)


def test_a_pool_that_cannot_travel_ends_the_run(server: ScriptedServer, out: Path) -> None:
    """With the word of the executor that could not take it."""
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        run(server, out, LETTERS, pool=lambda: None, executor=Far())


def no_pool() -> Any:
    raise ConfigurationError("api_key: none was given")


def test_a_pool_that_cannot_be_made_over_there_ends_the_run(server: ScriptedServer, out: Path) -> None:
    """No input is a failure for that."""
    with pytest.raises(ConfigurationError, match="api_key"):
        run(server, out, LETTERS, pool=no_pool, executor=Far())
    assert out.read_bytes() == b""


class Forgetful(concurrent.futures.Executor):
    """Runs what it is given, and brings something else."""

    def submit(self, *_: Any, **__: Any) -> Any:
        future: concurrent.futures.Future[object] = concurrent.futures.Future()
        future.set_result(None)
        return future


def test_an_executor_that_brings_something_else_ends_the_run(server: ScriptedServer, out: Path) -> None:
    """Nothing of it is written down."""
    with pytest.raises(ConfigurationError, match="executor brought NoneType"):
        run(server, out, named("a"), executor=Forgetful())
    assert out.read_bytes() == b""


def test_an_executor_that_was_shut_down_ends_the_run(server: ScriptedServer, out: Path) -> None:
    """With its own word for it."""
    executor = concurrent.futures.ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        run(server, out, LETTERS, executor=executor)


def test_a_full_disk_ends_the_run(server: ScriptedServer, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written down is not taken for done."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("responses_ws._batch_file.ResultsFile.add", refuse)
        with pytest.raises(OSError, match="No space left"):
            run(server, out, LETTERS)
    assert run(server, out, LETTERS).asked == 10


# -- progress


class Terminal:
    """A stderr that is one."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


@pytest.fixture
def no_monitor() -> Iterator[None]:
    """No thread of tqdm's is left behind."""
    yield
    if tqdm.tqdm.monitor is not None:
        tqdm.tqdm.monitor.exit()
        tqdm.tqdm.monitor = None


def shown(monkeypatch: pytest.MonkeyPatch, *args: Any, **options: Any) -> str:
    """What a run shows on a terminal. Set here, for pytest sets its own between a fixture and its test."""
    terminal = Terminal()
    with monkeypatch.context() as context:
        context.setattr(sys, "stderr", terminal)
        run(*args, **options)
    return terminal.text


@pytest.mark.usefixtures("no_monitor")
def test_a_bar_on_a_terminal(server: ScriptedServer, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins where the last run stopped, and counts the failures."""
    assert "1/1" in shown(monkeypatch, server, out, named("a"), progress=True)
    model_of(server).fail_next("invalid_value", 400)
    text = shown(monkeypatch, server, out, named("a", "b", "c"), progress=True, concurrency=1)
    assert " 1/3" in text
    assert " 3/3" in text
    assert "failed=1" in text


@pytest.mark.usefixtures("no_monitor")
def test_the_bar_says_that_all_wait(
    server: ScriptedServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise one would think that it hangs."""
    model_of(server).fail_next("rate_limit_exceeded", 429, headers={"retry-after-ms": "300"})
    text = shown(monkeypatch, server, out, named("a", "b"), progress=True, concurrency=1)
    assert "waiting 1 s" in text


def test_no_bar_when_told(server: ScriptedServer, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even on a terminal."""
    assert shown(monkeypatch, server, out, named("a")) == ""


def test_no_bar_without_a_terminal(
    server: ScriptedServer, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log file wants none."""
    run(server, out, named("a"), progress=True)
    assert capsys.readouterr() == ("", "")


def test_no_bar_without_a_stderr(
    server: ScriptedServer, out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A daemon has closed it."""
    closed = (tmp_path / "stderr").open("w")
    closed.close()
    for stderr in (closed, None):
        monkeypatch.setattr(sys, "stderr", stderr)
        assert run(server, out, LETTERS, progress=True).completed == 10


def test_no_bar_without_tqdm(server: ScriptedServer, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert shown(monkeypatch, server, out, named("a"), progress=True) == ""
    assert answers(batch.read(out)) == {"a": "You said: a."}


# -- Ctrl-C


def press(desk: Desk, *texts: str) -> None:
    desk.wait_for(*texts)
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("own_threads", [True, False])
def test_ctrl_c_keeps_what_is_done_and_leaves_what_runs(out: Path, own_threads: bool) -> None:
    """At once. The next run asks what was under way, and what was not begun."""
    desk = Desk(*LETTERS[5:7])
    with serve(desk) as server, concurrent.futures.ThreadPoolExecutor(2) as executor:
        options = {} if own_threads else {"executor": executor}
        helper = Task(press, desk, *LETTERS[5:7])
        with pytest.raises(KeyboardInterrupt):
            run(server, out, named(*LETTERS), concurrency=2, **options)
        pressed = time.monotonic()
        helper.result()
        assert sorted(answers(batch.read(out))) == LETTERS[:5]
        assert set(desk.asked) == set(LETTERS[:7])
        desk.let_go()
        assert run(server, out, named(*LETTERS)).asked == 5
        assert time.monotonic() - pressed < 5
    assert desk.asked == {text: 2 if text in LETTERS[5:7] else 1 for text in LETTERS}


def test_ctrl_c_takes_back_what_an_executor_has_not_begun(out: Path) -> None:
    """It will not be asked when nobody wants it any more."""

    class Later(concurrent.futures.Executor):
        def __init__(self) -> None:
            self.futures: list[concurrent.futures.Future[Any]] = []

        def submit(self, *_: Any, **__: Any) -> concurrent.futures.Future[Any]:
            if len(self.futures) == 3:
                raise KeyboardInterrupt
            self.futures.append(concurrent.futures.Future())
            return self.futures[-1]

    executor = Later()
    with pytest.raises(KeyboardInterrupt):
        batch.run(LETTERS, model="m", out=out, executor=executor, progress=False)
    assert [future.cancelled() for future in executor.futures] == [True] * 3


def test_the_module_is_reached_through_the_package() -> None:
    """Without an import of its own."""
    assert responses_ws.batch is batch


def test_a_pool_is_not_shown(server: ScriptedServer) -> None:
    """It knows the key."""
    assert "sk-" not in repr(batch.Report(Path("x"), 0, 0, (), ()))
    assert make_pool(server) is not None
