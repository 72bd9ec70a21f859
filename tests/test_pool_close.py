"""Ctrl-C while a pool closes: no connection outlives it."""

from __future__ import annotations

import gc
import sys

import pytest
from shell import Task, join_readers
from test_interrupt import AtStep

from responses_ws import ConnectionPool, Endpoint, Timeouts
from responses_ws.testing import ScriptedConnector


def closed_at(step: int) -> str:
    """Where the close of a pool with two connections was broken into; empty when it was shorter."""
    pool = ConnectionPool(
        "any",
        endpoint=Endpoint("ws://localhost/v1/responses"),
        client_class=ScriptedConnector(),
        timeouts=Timeouts(close=0.000001),
    )
    pool.open().prewarm(2)
    at_step = AtStep(step)
    try:
        with at_step.watching():
            pool.close()
    except KeyboardInterrupt:
        pass
    pool.close()
    return at_step.place


def test_an_interrupt_of_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it falls, the connections that it had let go of end as well."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    step, place = 1, "the first"
    while place:
        place = Task(closed_at, step).result()
        gc.collect()
        join_readers()
        step += 3
