"""Batches that are killed: every result once, and next to nothing paid twice, counted at the service."""

from __future__ import annotations

import collections
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_program import questions
from batches import Desk, named, run, serve

from responses_ws import ConnectionLost, Delivery, batch
from responses_ws.testing import ScriptedServer

HERE = Path(__file__).parent
PROGRAM = HERE / "batch_program.py"
CONCURRENCY = 8


class Gallows(Desk):
    """A service that kills a process when it was asked so many questions, before it answers the last one.

    :ivar fallen: set once it has.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fallen = threading.Event()
        self._lock = threading.Lock()
        self._left = 0
        self._victim: tuple[int, int] | None = None

    def kill(self, pid: int, after: int, by: int = signal.SIGKILL) -> None:
        with self._lock:
            self.fallen.clear()
            self._victim, self._left = (pid, by), after

    def __call__(self, items: list[dict[str, Any]], request: dict[str, Any]) -> Any:
        with self._lock:
            self._left -= 1
            if self._left == 0 and self._victim is not None:
                os.kill(*self._victim)
                self.fallen.set()
        return super().__call__(items, request)


@pytest.fixture
def desk() -> Gallows:
    return Gallows()


@pytest.fixture
def server(desk: Gallows) -> Iterator[ScriptedServer]:
    with serve(desk) as server:
        yield server


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def started(
    server: ScriptedServer, out: Path, count: int, *, kind: str = "threads", pool: str = ""
) -> subprocess.Popen[str]:
    """The program, which has a key and an address from its environment alone."""
    environment = {
        **os.environ,
        "OPENAI_API_KEY": "sk-environment",
        "OPENAI_BASE_URL": server.url,
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]),
    }
    command = [sys.executable, str(PROGRAM), kind, str(out), str(count), str(CONCURRENCY), pool]
    return subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def pid_of(program: subprocess.Popen[str]) -> int:
    """The process that it says it asks from."""
    assert program.stdout is not None
    return int(program.stdout.readline())


def finish(program: subprocess.Popen[str]) -> dict[str, int]:
    """What it says that it has done."""
    said, complaints = program.communicate(timeout=240)
    assert program.returncode == 0, complaints
    done: dict[str, int] = json.loads(said.splitlines()[-1])
    return done


def check(out: Path, count: int) -> None:
    """One line for each input, each with the answer to its question."""
    lines = out.read_bytes().splitlines()
    assert len(lines) == count
    found = {result.custom_id: result.message and result.message.content for result in batch.read(out)}
    assert found == {text: f"You said: {text}." for text in questions(count)}


def paid_twice(asked: collections.Counter[str]) -> int:
    return asked.total() - len(asked)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_five_kills_at_random(server: ScriptedServer, desk: Gallows, out: Path, seed: int) -> None:
    """Each costs at most what was under way."""
    chance = random.Random(seed)  # noqa: S311
    for _ in range(5):
        with started(server, out, 5000) as program:
            desk.kill(pid_of(program), after=chance.randint(1, 990))
            program.wait(120)
        assert program.returncode == -signal.SIGKILL
    with started(server, out, 5000) as program:
        finish(program)
    check(out, 5000)
    assert set(desk.asked) == set(questions(5000))
    assert paid_twice(desk.asked) <= 5 * CONCURRENCY


@pytest.mark.slow
def test_a_process_of_a_cluster_is_killed(server: ScriptedServer, desk: Gallows, out: Path) -> None:
    """The cluster replaces it, and the run goes on to its end."""
    chance = random.Random(3)  # noqa: S311
    with started(server, out, 5000, kind="dask") as program:
        desk.kill(pid_of(program), after=chance.randint(500, 4500))
        assert finish(program) == {"asked": 5000, "completed": 5000, "failed": 0}
    check(out, 5000)
    assert set(desk.asked) == set(questions(5000))
    assert paid_twice(desk.asked) <= CONCURRENCY


@pytest.mark.slow
def test_a_killed_run_on_a_cluster_goes_on(server: ScriptedServer, desk: Gallows, out: Path) -> None:
    """Also when its own process is the one that is killed."""
    with started(server, out, 600, kind="dask") as program:
        pid_of(program)
        desk.kill(program.pid, after=250)
        program.wait(120)
    assert program.returncode == -signal.SIGKILL
    with started(server, out, 600, kind="dask") as program:
        finish(program)
    check(out, 600)
    assert paid_twice(desk.asked) <= CONCURRENCY


@pytest.mark.slow
def test_an_input_that_kills_what_asks_it(server: ScriptedServer, out: Path) -> None:
    """The cluster gives it up after a few processes, and so does the run: it may have been paid."""
    with started(server, out, 1, kind="dask", pool="die") as program:
        pid_of(program)
        assert finish(program) == {"asked": 1, "completed": 0, "failed": 1}
    (failure,) = batch.read(out)
    assert isinstance(failure.error, ConnectionLost)
    assert failure.error.delivery is Delivery.UNKNOWN
    assert run(server, out, named("question 0")).asked == 0


@pytest.mark.parametrize("kind", ["spawn", pytest.param("fork", marks=pytest.mark.slow)])
def test_a_process_of_a_pool_is_killed(server: ScriptedServer, desk: Gallows, out: Path, kind: str) -> None:
    """Python gives up the whole pool then: the run ends with that, and the next one goes on."""
    with started(server, out, 60, kind=kind) as program:
        desk.kill(pid_of(program), after=30)
        _, complaints = program.communicate(timeout=60)
    assert program.returncode == 1
    assert "BrokenProcessPool" in complaints
    assert 20 <= len(list(batch.read(out))) < 60
    with started(server, out, 60, kind=kind) as program:
        finish(program)
    check(out, 60)
    assert paid_twice(desk.asked) <= CONCURRENCY
