"""The demo does what it says, and says so when it does not."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from responses_ws import WebSocket
from responses_ws.testing import Model, ModelConnection, ScriptedServer, default_reply

ROOT = Path(__file__).parent.parent
SECONDS = 60
STEPS = (
    "connect",
    "stream an answer",
    "go on",
    "let the model call a tool",
    "warm up",
    "lose the connection",
)
PROOFS = (
    "the connection is open",
    "the second answer knows what was said before the first",
    "the second response continues the first",
    "the model made one call",
    "the answer names the shelf",
    "the next response continues the warmup",
    "the part that was received is not lost",
    "there is a new connection",
    "the chain goes on from the last completed response",
    "the new connection knows the old conversation",
)


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-W", "error", "examples/demo.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    with start(*arguments, **environment) as process:
        out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


def live(server: ScriptedServer) -> tuple[int, str, str]:
    return run("--live", OPENAI_API_KEY="sk-demo", OPENAI_BASE_URL=server.url)


def check_story(out: str) -> None:
    """Every step was told, and every proof, in order."""
    found = [line.strip() for line in out.splitlines()]
    titles = [line.removeprefix("== ") for line in found if line.startswith("== ")]
    assert [title.startswith(step) for title, step in zip(titles, STEPS, strict=True)] == [True] * len(STEPS)
    assert [line.removeprefix("ok: ") for line in found if line.startswith("ok: ")] == list(PROOFS)
    assert found[-1] == "Every step did what it says."


def test_the_demo_does_every_step_without_a_key_or_a_network() -> None:
    """A proxy of the environment does not get in the way of this machine."""
    status, out, err = run(HTTPS_PROXY="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9")
    assert (status, err) == (0, "")
    check_story(out)
    assert "You said: hello, my name is Ada." in out
    assert 'find_parcel({"parcel": "A7"}) -> A7 lies on shelf' in out
    assert "ConnectionLost: " in out
    assert "received before: 'one, two'" in out
    assert "\x1b" not in out


class Holding:
    """Keeps the rest of the answer that the demo cuts, until the demo has noticed the cut."""

    def __init__(self) -> None:
        self.cut = threading.Event()
        self._counting = False
        self._pieces = 0

    def reply(self, items: list[dict[str, Any]], request: dict[str, Any]) -> Any:
        self._counting = "count from one" in str(request["input"])
        return default_reply(items, request)

    def before_event(self, event: Mapping[str, Any]) -> None:
        self._pieces += self._counting and event["type"].endswith("text.delta")
        if self._pieces > 1:
            assert self.cut.wait(SECONDS)


@pytest.fixture
def holding() -> Iterator[Holding]:
    held = Holding()
    yield held
    held.cut.set()


def test_live_it_cuts_the_connection_by_itself(holding: Holding) -> None:
    """The service of OPENAI_BASE_URL does nothing but answer."""
    model = Model(holding.reply, before_event=holding.before_event)
    with (
        ScriptedServer(model=model) as server,
        start("--live", OPENAI_API_KEY="sk-demo", OPENAI_BASE_URL=server.url) as process,
    ):
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "ConnectionLost: " in line:
                holding.cut.set()
        _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (0, "")
    check_story("".join(lines))
    assert len(server.connections) == 2


def forget(items: list[dict[str, Any]], request: dict[str, Any]) -> str:
    return "I know nothing."


def talk(items: list[dict[str, Any]], request: dict[str, Any]) -> str:
    return "I know Ada, and call no tool."


def call_and_ignore(items: list[dict[str, Any]], request: dict[str, Any]) -> Any:
    said = default_reply(items, request)
    return "It is somewhere, Ada." if "returned" in str(said) else said


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (forget, "it does not hold that the second answer knows what was said before the first"),
        (talk, "it does not hold that the model made one call"),
        (call_and_ignore, "it does not hold that the answer names the shelf"),
    ],
)
def test_a_step_that_does_not_do_what_it_says_fails_the_demo(reply: Any, fault: str) -> None:
    """The exit status is 1 and the fault is named, whatever came before."""
    with ScriptedServer(model=Model(reply)) as server:
        status, out, err = live(server)
    assert (status, err) == (1, f"FAILED: {fault}\n")
    assert "Every step" not in out


def test_an_incomplete_answer_fails_the_demo() -> None:
    """The text may look well, the status counts."""
    model = Model()
    answer = model.respond

    def cut_short(request: dict[str, Any], connection: ModelConnection) -> Iterator[dict[str, Any]]:
        return answer({**request, "max_output_tokens": 3}, connection)

    model.respond = cut_short
    with ScriptedServer(model=model) as server:
        status, _, err = live(server)
    assert (status, err) == (1, "FAILED: the answer is incomplete\n")


def test_an_error_of_the_service_is_told_without_a_traceback() -> None:
    """What the service says goes to the terminal as one line."""
    model = Model()
    model.fail_next("rate_limit_exceeded", 429, message="Slow down.")
    with ScriptedServer(model=model) as server:
        status, _, err = live(server)
    assert (status, err) == (1, "RateLimitError: rate_limit_exceeded (429): Slow down.\n")


def test_live_needs_a_key() -> None:
    """The message names the variable."""
    status, _, err = run("--live")
    assert status == 1
    assert err.startswith("ConfigurationError: api_key: none was given and OPENAI_API_KEY is not set")


def test_the_scripted_model_does_not_wait_for_acknowledgements() -> None:
    """Small events leave at once; held back for the ACK of the one before, each turn would take 40 ms."""
    with ScriptedServer(model=Model()) as server, WebSocket("any-key", api_base=server.url) as ws:
        seconds = []
        for _ in range(25):
            started = time.monotonic()
            ws.warmup(model="any", previous_response_id=None)
            seconds.append(time.monotonic() - started)
    assert statistics.median(seconds) < 0.03
