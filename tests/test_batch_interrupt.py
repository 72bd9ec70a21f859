"""Ctrl-C at every step of a batch, once and twice: what is done is kept, and the next run does the rest."""

from __future__ import annotations

import collections
import gc
import random
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from batches import answers, named, serve
from shell import PAUSE, SECONDS, Task, answer
from test_batch_kills import CONCURRENCY, Gallows, check, finish, paid_twice, pid_of, started
from test_interrupt import AtStep

from responses_ws import ConnectionPool, Endpoint, Timeouts, batch
from responses_ws.testing import ScriptedConnector, ScriptedTransport

TEXTS = [f"letter {name}" for name in "abcdefgh"]
THREADS = 2
AT_ONCE = 3.0
"""Seconds, with the end of the interpreter."""


class InThreading(AtStep):
    """At the n-th place in Python's own threads and executors, which wait in locks.

    Not in ``Thread.start``, which may leave a thread that never begins, whoever starts it.
    """

    @staticmethod
    def _ours(frame: FrameType) -> bool:
        path = Path(frame.f_code.co_filename)
        if path.name != "threading.py" and path.parent.name != "futures":
            return False
        caller: FrameType | None = frame
        while caller is not None and caller.f_code is not threading.Thread.start.__code__:
            caller = caller.f_back
        return caller is None


class Life:
    """A run that was broken into at a step, and perhaps once more a few steps later.

    :ivar place: where; an empty string when the run was shorter.
    """

    def __init__(self, out: Path, at_step: AtStep) -> None:
        self.asked: collections.Counter[str] = collections.Counter()
        self._out = out
        self._lock = threading.Lock()
        Task(self._lead, at_step).result()
        self.place = at_step.place

    def _lead(self, at_step: AtStep) -> None:
        try:
            with at_step.watching():
                self.run()
        except KeyboardInterrupt:
            pass

    def run(self) -> batch.Report:
        return batch.run(
            named(*TEXTS), model="m", out=self._out, pool=self._pool, concurrency=THREADS, progress=False
        )

    def check(self) -> None:
        """Every line is whole, nothing that is in the file is asked again, and the rest is."""
        before = answers(batch.read(self._out))
        report = Task(self.run).result()
        assert answers(report) == {text: text for text in TEXTS}, self.place
        assert report.asked == len(TEXTS) - len(before), self.place
        assert len(self._out.read_bytes().splitlines()) == len(TEXTS), self.place
        assert self.asked.total() <= len(TEXTS) + THREADS, self.place

    def _pool(self) -> ConnectionPool:
        return ConnectionPool(
            "any",
            endpoint=Endpoint("ws://localhost/v1/responses"),
            client_class=ScriptedConnector(self._play),
            timeouts=Timeouts(close=0.000001),
        )

    def _play(self, transport: ScriptedTransport) -> None:
        def reply(request: dict[str, Any]) -> None:
            text = request["input"]
            with self._lock:
                self.asked[text] += 1
            transport.deliver(*answer(f"resp_{text}", text))

        transport.on_send = reply


@pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning"
)  # a second interrupt may fall into close()
@pytest.mark.parametrize("again", [None, 1, 2, 5])
@pytest.mark.parametrize("stride", [211, pytest.param(1, marks=pytest.mark.slow)])
def test_an_interrupt_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stride: int, again: int | None
) -> None:
    """Also a second one while the first is dealt with."""
    # CPython drops an interrupt that falls into a finalizer, after saying so.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    step = 1
    while True:
        out = tmp_path / f"{step}.jsonl"
        out.touch()  # the descriptor of a new file's directory is a bare number, which an interrupt can lose
        life = Life(out, AtStep(step, again=again))
        if not life.place:
            break
        life.check()
        step += stride
    gc.collect()  # closes what a second interrupt has left open


def test_an_interrupt_while_a_thread_is_handed_an_input(tmp_path: Path) -> None:
    """What it leaves locked inside Python's own modules, no other thread waits for."""
    step = 1
    while True:
        out = tmp_path / f"{step}.jsonl"
        life = Life(out, InThreading(step))
        if not life.place:
            break
        life.check()
        step += 1
    assert step > 1


# -- a real one, in a process of its own


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_ctrl_c_twice_at_random(tmp_path: Path, seed: int) -> None:
    """The program ends soon, each time, and a run costs no more than what was under way."""
    chance = random.Random(seed)  # noqa: S311
    out = tmp_path / "results.jsonl"
    desk = Gallows()
    with serve(desk) as server:
        for _ in range(8):
            with started(server, out, 3000) as program:
                desk.kill(pid_of(program), chance.randint(1, 370), by=signal.SIGINT)
                assert desk.fallen.wait(SECONDS)
                PAUSE.wait(chance.choice([0, 0.0005, 0.002, 0.01, 0.05]))
                program.send_signal(signal.SIGINT)
                program.communicate(timeout=AT_ONCE)
            assert program.returncode != 0
        with started(server, out, 3000) as program:
            finish(program)
    check(out, 3000)
    assert paid_twice(desk.asked) <= 8 * CONCURRENCY
