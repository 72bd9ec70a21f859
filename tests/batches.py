"""What the tests of batches share: a service that counts, a batch that asks it, inputs with names."""

from __future__ import annotations

import collections
import functools
import threading
import time
from pathlib import Path
from typing import Any

from shell import KEY, SECONDS

from responses_ws import ConnectionPool, batch
from responses_ws.testing import Model, ScriptedServer, default_reply
from responses_ws.testing.model_reply import text_of


class Desk:
    """Answers, counts what it was asked, and holds back what it is told to hold back.

    :ivar asked: how often each text was asked.
    :ivar times: when requests came (monotonic seconds).
    :ivar at_once: how many were being answered when each of them came, itself included.
    """

    def __init__(self, *held: str) -> None:
        self.asked: collections.Counter[str] = collections.Counter()
        self.times: list[float] = []
        self.at_once: list[int] = []
        self._held = held
        self._here = 0
        self._changed = threading.Condition()
        self._open = threading.Event()

    def __call__(self, items: list[dict[str, Any]], request: dict[str, Any]) -> Any:
        text = text_of(items[-1])
        with self._changed:
            self._here += 1
            self.asked[text] += 1
            self.times.append(time.monotonic())
            self.at_once.append(self._here)
            self._changed.notify_all()
        if text in self._held:
            self._open.wait(SECONDS)
        with self._changed:
            self._here -= 1
        return default_reply(items, request)

    def wait_for(self, *texts: str) -> None:
        """Until all of these were asked."""
        with self._changed:
            asked = self._changed.wait_for(lambda: set(texts) <= set(self.asked), SECONDS)
        assert asked, f"only {self.asked} were asked"

    def let_go(self) -> None:
        """Answer what was held back, now and later."""
        self._open.set()


def serve(desk: Desk) -> ScriptedServer:
    return ScriptedServer(model=Model(desk), record=False)


def make_pool(server: ScriptedServer, **options: Any) -> functools.partial[ConnectionPool]:
    """What makes a pool that leads to the server, in whatever process."""
    return functools.partial(ConnectionPool, KEY, api_base=server.url, **options)


def run(server: ScriptedServer, out: Path, requests: Any, **options: Any) -> batch.Report:
    """A batch that asks the server."""
    options = {"pool": make_pool(server), "model": "m", "progress": False, "out": out, **options}
    return batch.run(requests, **options)


def named(*texts: str) -> list[dict[str, Any]]:
    """Inputs whose id is their text."""
    return [{"custom_id": text, "input": text} for text in texts]


def answers(report: Any) -> dict[str, str | None]:
    """The text of each answer, None for a failure, by id."""
    return {found.custom_id: found.message and found.message.content for found in report}
