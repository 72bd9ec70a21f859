"""Burst: what a turn costs per delta event when its events come as fast as they are taken."""

from __future__ import annotations

import time
from functools import partial

import raw
from clients import OFFICIAL, available, opened
from harness import Measure, Plot, Server, Size, Task
from turns import Turn

__all__ = ["MEASURE", "burst", "tasks"]


def burst(client: str, server: Server, events: int) -> dict[str, float]:
    """Microseconds per delta event: ``cpu`` of all threads, and ``wall`` from request to final message."""
    parts: list[str] = []
    with opened(client, server) as exchange:
        cpu, wall = time.process_time(), time.perf_counter()
        text = exchange(Turn(events=events).metadata, parts.append)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if len(parts) != events or "".join(parts) != text:
        raise RuntimeError(f"{client} took {len(parts)} deltas of {events}, or text other than the final one")
    return {"cpu": cpu / events * 1e6, "wall": wall / events * 1e6}


def drained(server: Server, events: int, http: bool) -> dict[str, float]:
    return {"wall": raw.drain(server, events, http=http) / events * 1e6}


def tasks(server: Server, size: Size) -> list[Task]:
    events = size.of(20_000, 200)
    return [
        Task("burst", raw.RAW, partial(drained, server, events, False)),
        Task("burst", raw.RAW_HTTP, partial(drained, server, events, True)),
        *(Task("burst", name, partial(burst, name, server, events)) for name in available()),
    ]


MEASURE = Measure(
    name="burst",
    title="A burst",
    about="""
A turn of 20,000 text deltas, sent as fast as the client takes them (about 240 bytes an event, with their
share of the events around them). Each client gives every piece of text to the caller's thread and keeps
the final text. CPU is user and system time of the whole client process, wall is from the request to the
final message, both per delta. Over HTTP the server packs events into chunks of 16 KiB; one chunk an event
would cost these clients more. openai-agents has no blocking form and runs in an event loop.
The bare sockets only drain the bytes: that is what the server can do.
""",
    columns={"cpu": "CPU, µs", "wall": "wall, µs"},
    tasks=tasks,
    against=OFFICIAL,
    plots=(Plot("cpu", "CPU per delta event, µs"),),
)
