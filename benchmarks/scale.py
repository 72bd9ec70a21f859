"""Scale: events a second over lanes and over connections of one process, and where the limit is."""

from __future__ import annotations

import contextlib
import time
from functools import partial

import raw
from clients import OFFICIAL, OURS, OURS_ORJSON, Exchange, available, opened
from harness import Measure, Plot, Server, Size, Task
from lanes import LANES, available_lanes
from many import run_together
from turns import Turn

__all__ = ["MEASURE", "connections", "lanes", "tasks"]

COUNTS = (1, 4, 16)
CLIENTS = (OURS, OURS_ORJSON, "websockets", OFFICIAL)


def connections(client: str, server: Server, count: int, events: int) -> dict[str, float]:
    """``count`` connections, each with a turn of ``events`` deltas."""
    with contextlib.ExitStack() as stack:
        exchanges = [stack.enter_context(opened(client, server)) for _ in range(count)]
        return together(exchanges, Turn(events=events))


def lanes(client: str, server: Server, count: int, events: int) -> dict[str, float]:
    """``count`` lanes of one connection, each with a turn of ``events`` deltas, event by event in turn."""
    with LANES[client](server.url("ws"), count) as exchanges:
        # Alone, for our client runs lanes in parallel once it has seen that the server names them.
        together(exchanges[:1], Turn(events=10, lanes=1))
        together(exchanges, Turn(events=10, lanes=count))
        return together(exchanges, Turn(events=events, lanes=count))


def drained(server: Server, events: int) -> dict[str, float]:
    return {"rate": events / raw.drain(server, events) / 1e3}


def drained_lanes(server: Server, count: int, events: int) -> dict[str, float]:
    return {"rate": count * events / raw.drain_lanes(server, count, events) / 1e3}


def together(exchanges: list[Exchange], turn: Turn) -> dict[str, float]:
    """Thousands of events a second, microseconds of CPU per event, and cores in use."""
    start = time.perf_counter()
    cpu, _ = run_together(exchanges, turn)
    wall = time.perf_counter() - start
    total = turn.events * len(exchanges)
    return {"rate": total / wall / 1e3, "cpu": cpu / total * 1e6, "cores": cpu / wall}


def tasks(server: Server, size: Size) -> list[Task]:
    total = size.of(32_000, 64)
    found = []
    for count in COUNTS:
        setting, events = f"connections: {count}", total // count
        found.append(Task(setting, raw.RAW, partial(drained, server, events)))
        for name in available(*CLIENTS):
            found.append(Task(setting, name, partial(connections, name, server, count, events)))
    for count in COUNTS:
        setting, events = f"lanes: {count}", total // count
        found.append(Task(setting, raw.RAW, partial(drained_lanes, server, count, events)))
        for name in available_lanes():
            found.append(Task(setting, name, partial(lanes, name, server, count, events)))
    return found


MEASURE = Measure(
    name="scale",
    title="Scale in one process",
    about="""
32,000 deltas as fast as they are taken, over 1, 4 and 16 connections and over 1, 4 and 16 lanes of one
connection, a caller's thread for each. The bare socket drains the same bytes on one connection. *Cores* is
CPU time by wall time: about 1 means that the interpreter lock is the limit, and that more events a second
need another process.
""",
    columns={"rate": "1,000 events/s", "cpu": "CPU per event, µs", "cores": "cores"},
    tasks=tasks,
    against=OFFICIAL,
    plots=(Plot("rate", "thousand events a second"),),
    rounds=3,
)
