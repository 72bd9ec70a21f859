"""A short turn: from the request to the final message of an answer of one delta."""

from __future__ import annotations

import time
from functools import partial

import raw
from clients import OFFICIAL, available, opened
from harness import Measure, Plot, Server, Size, Task
from latency import percentiles
from turns import Turn

__all__ = ["MEASURE", "tasks", "turn"]


def turn(client: str, server: Server, count: int) -> dict[str, float]:
    """Percentiles over ``count`` turns on one connection, and CPU per turn, in microseconds."""
    metadata = Turn(events=1).metadata
    nanoseconds = []
    parts: list[str] = []
    with opened(client, server) as exchange:
        cpu = time.process_time()
        for _ in range(count):
            start = time.perf_counter_ns()
            text = exchange(metadata, parts.append)
            nanoseconds.append(time.perf_counter_ns() - start)
            if text != parts[-1]:
                raise RuntimeError(f"{client} gave another text than its delta's")
        cpu = time.process_time() - cpu
    return percentiles(nanoseconds) | {"cpu": cpu / count * 1e6}


def bare(server: Server, count: int, *, http: bool = False, threads: bool = False) -> dict[str, float]:
    return in_microseconds(raw.turns(server, count, http=http, threads=threads))


def ahead(server: Server, count: int) -> dict[str, float]:
    """Of so many turns, :data:`raw.AHEAD` at a time; a percentile needs two of these."""
    return in_microseconds(raw.turns_ahead(server, count))


def in_microseconds(seconds: list[float]) -> dict[str, float]:
    return percentiles([round(each * 1e9) for each in seconds])


def tasks(server: Server, size: Size) -> list[Task]:
    count = size.of(500, 10)
    return [
        Task("one delta", raw.RAW, partial(bare, server, count)),
        Task("one delta", raw.RAW_AHEAD, partial(ahead, server, max(count, 2 * raw.AHEAD))),
        Task("one delta", raw.RAW_THREADS, partial(bare, server, count, threads=True)),
        Task("one delta", raw.RAW_HTTP, partial(bare, server, count, http=True)),
        *(Task("one delta", name, partial(turn, name, server, count)) for name in available()),
    ]


MEASURE = Measure(
    name="turn",
    title="A short turn",
    about="""
500 turns on one connection, each of one delta and the eight events around it: from the call that sends the
request to the final message. Over HTTP the connection is kept alive. The bare sockets know how many bytes
come, and parse none. In each of their turns the kernel wakes two sleeping processes, the server and the
client, which every client waits for; one that asks for 50 turns at once shows what the server itself takes.
""",
    columns={"p50": "p50, µs", "p99": "p99, µs", "cpu": "CPU per turn, µs"},
    tasks=tasks,
    against=OFFICIAL,
    plots=(Plot("p50", "median turn, µs"),),
)
