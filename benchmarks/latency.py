"""Latency: how long after the server's send an event is in the caller's code, at a steady rate."""

from __future__ import annotations

import statistics
import time
from functools import partial

import raw
from clients import OFFICIAL, available, opened
from harness import Measure, Plot, Server, Size, Task
from turns import Turn

__all__ = ["MEASURE", "latency", "percentiles", "tasks"]

RATES = (200, 2_000)
SECONDS = 2


def latency(client: str, server: Server, events: int, rate: int) -> dict[str, float]:
    """Percentiles over ``events`` deltas sent at ``rate`` a second, and CPU per delta, in microseconds."""
    parts: list[str] = []
    latencies: list[int] = []

    def take(delta: str) -> None:
        latencies.append(time.monotonic_ns() - int(delta))
        parts.append(delta)

    with opened(client, server) as exchange:
        cpu = time.process_time()
        text = exchange(Turn(events=events, rate=rate).metadata, take)
        cpu = time.process_time() - cpu
    if len(parts) != events or "".join(parts) != text:
        raise RuntimeError(f"{client} took {len(parts)} deltas of {events}, or text other than the final one")
    return percentiles(latencies) | {"cpu": cpu / events * 1e6}


def followed(server: Server, events: int, rate: int, *, threads: bool = False) -> dict[str, float]:
    return percentiles(raw.follow(server, events, rate, threads=threads))


def parsed(server: Server, events: int, rate: int) -> dict[str, float]:
    return percentiles(raw.follow_parsed(server, events, rate))


def percentiles(nanoseconds: list[int]) -> dict[str, float]:
    """The median and the 99th percentile, in microseconds."""
    cuts = statistics.quantiles(nanoseconds, n=100, method="inclusive")
    return {"p50": cuts[49] / 1e3, "p99": cuts[98] / 1e3}


def tasks(server: Server, size: Size) -> list[Task]:
    found = []
    for rate in RATES:
        setting, events = f"{rate:,} events/s", size.of(rate * SECONDS, rate // 10)
        found.append(Task(setting, raw.RAW, partial(followed, server, events, rate)))
        found.append(Task(setting, raw.RAW_PARSED, partial(parsed, server, events, rate)))
        found.append(Task(setting, raw.RAW_THREADS, partial(followed, server, events, rate, threads=True)))
        for name in available():
            found.append(Task(setting, name, partial(latency, name, server, events, rate)))
    return found


MEASURE = Measure(
    name="latency",
    title="Latency of an event",
    about="""
Each delta carries the time of its sending; the caller's code subtracts it from its own clock, which is the
same for all processes of a machine. Each figure is a percentile over a turn of 2 seconds, so the median of a
row is one over the rounds of such percentiles. The bare socket is one thread that reads and looks for the
times with a regular expression: the share of the kernel and the scheduler. With ``json.loads`` it cuts the
frames by their lengths and has each event parsed: no client that gives its caller events can be faster. Two
threads, of which one reads and hands over to the other, are the share of a client that reads on its own.
""",
    columns={"p50": "p50, µs", "p99": "p99, µs", "cpu": "CPU per event, µs"},
    tasks=tasks,
    against=OFFICIAL,
    plots=(Plot("p50", "median latency, µs"), Plot("p99", "99th percentile, µs")),
)
