"""At rest: what connections cost that nothing comes on."""

from __future__ import annotations

import contextlib
import time
from functools import partial

from clients import OFFICIAL, OURS, available, opened
from harness import Measure, Plot, Server, Size, Task
from memory import resident

__all__ = ["MEASURE", "idle", "tasks"]

CLIENTS = (OURS, OFFICIAL)


def idle(client: str, server: Server, connections: int, seconds: float) -> dict[str, float]:
    """Percent of one core that the connections take, pings included, and kilobytes of each."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(opened(client, server))
        before = resident()
        for _ in range(connections):
            stack.enter_context(opened(client, server, warm=False))
        memory = (resident() - before) / connections / 1e3
        cpu, start = time.process_time(), time.perf_counter()
        time.sleep(seconds)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - start
    return {"cpu": cpu / wall * 100, "memory": memory}


def tasks(server: Server, size: Size) -> list[Task]:
    connections, seconds = size.of(200, 2), 60 if not size.quick else 0.1
    return [
        Task("200 connections", name, partial(idle, name, server, connections, seconds))
        for name in available(*CLIENTS)
    ]


MEASURE = Measure(
    name="idle",
    title="Connections at rest",
    about="""
200 connections for 60 seconds without a request. Each client sends its pings: ours after 20 seconds of
silence, ``websockets`` (which the official SDK uses) every 20 seconds. A bare websocket-client loop sends
none, and would not notice a dead peer.
""",
    columns={"cpu": "CPU, % of a core", "memory": "memory per connection, kB"},
    tasks=tasks,
    against=OFFICIAL,
    plots=(Plot("cpu", "CPU of 200 connections, % of a core"),),
    rounds=3,
)
