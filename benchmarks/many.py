"""Many connections in one process, all streaming: what an event costs then, and what memory each takes."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from functools import partial

from clients import OFFICIAL, OURS, OURS_ORJSON, Exchange, available, opened
from harness import Measure, Plot, Server, Size, Task
from memory import resident
from turns import Turn

__all__ = ["MEASURE", "many", "run_together", "tasks"]

CLIENTS = (OURS, OURS_ORJSON, "websockets", OFFICIAL, "openai lanes")
RATE = 50


def many(client: str, server: Server, connections: int, turn: Turn) -> dict[str, float]:
    """Microseconds of CPU per delta over all connections, and kilobytes that each added to the process.

    The memory is that of the connections and of the callers' threads, halfway through the turns.
    """
    with contextlib.ExitStack() as stack:
        exchanges = [stack.enter_context(opened(client, server))]
        gc.collect()
        before = resident()
        for _ in range(connections - 1):
            exchanges.append(stack.enter_context(opened(client, server, warm=False)))
        cpu, halfway = run_together(exchanges, turn)
    figures = {"cpu": cpu / turn.events / connections * 1e6}
    if connections > 1:
        figures["memory"] = (halfway - before) / (connections - 1) / 1e3
    return figures


def run_together(exchanges: list[Exchange], turn: Turn) -> tuple[float, int]:
    """One turn on each, a thread for each; CPU seconds, and bytes resident when the first is halfway."""
    counts = [0] * len(exchanges)
    halfway = []

    def run(index: int) -> None:
        def take(_delta: str) -> None:
            counts[index] += 1
            if index == 0 and counts[0] == turn.events // 2:
                halfway.append(resident())

        exchanges[index](turn.metadata, take)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(exchanges))]
    cpu = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cpu = time.process_time() - cpu
    if counts != [turn.events] * len(exchanges):
        raise RuntimeError("a connection lost deltas")
    return cpu, halfway[0]


def tasks(server: Server, size: Size) -> list[Task]:
    burst = Turn(events=size.of(4_000, 20))
    steady = Turn(events=size.of(4 * RATE, 5), rate=RATE)
    return [
        Task(f"{count}, {form}", name, partial(many, name, server, size.of(connections, 2), turn))
        for form, turn in (("burst", burst), (f"{RATE} events/s each", steady))
        for connections, count in ((1, "1 connection"), (50, "50 connections"))
        for name in available(*CLIENTS)
    ]


MEASURE = Measure(
    name="many",
    title="Many streaming connections",
    about="""
1 and 50 connections in one process, a caller's thread for each. In a burst every connection gets 4,000
deltas as fast as they are taken; at a steady rate each gets 50 a second for 4 seconds. CPU is that of the
whole client per delta. Memory is what the resident set grew by for each connection after the first, caller's
thread included, halfway through the turns; in a burst it holds what came and has not been taken.
""",
    columns={"cpu": "CPU per event, µs", "memory": "memory per connection, kB"},
    tasks=tasks,
    against=OFFICIAL,
    plots=(Plot("cpu", "CPU per event, µs"), Plot("memory", "memory per connection, kB")),
    rounds=3,
)
