"""A tool loop: what its steps cost when each sends the whole history, and when each sends what is new."""

from __future__ import annotations

import time
from functools import partial

import loops
from harness import Measure, Plot, Server, Size, Task
from loops import LOOPS
from turns import Turn

__all__ = ["MEASURE", "tasks", "tool_loop"]


def tool_loop(name: str, server: Server, steps: int) -> dict[str, float]:
    """Kilobytes sent and milliseconds, for ``steps`` calls and the answer, after a short loop."""
    loop = LOOPS[name]
    with loop.open(server.url(loop.scheme)) as run:
        before = run(Turn(calls=2).metadata)
        cpu, wall = time.process_time(), time.perf_counter()
        after = run(Turn(calls=steps).metadata)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"sent": (after - before) / 1e3, "cpu": cpu * 1e3, "wall": wall * 1e3}


def tasks(server: Server, size: Size) -> list[Task]:
    return [
        Task(f"{steps} steps", name, partial(tool_loop, name, server, size.of(steps, steps // 10)))
        for steps in (20, 100)
        for name in loops.available()
    ]


MEASURE = Measure(
    name="loop",
    title="A tool loop",
    about=f"""
A model that calls a function 20 and 100 times and then answers. Instructions ({loops.INSTRUCTIONS_SIZE:,}
bytes), four tools and the output of the last call ({loops.RESULT_SIZE:,} bytes) go with each request; *full
history* sends everything before them as well, *continued* sends ``previous_response_id``. ``Session`` is
given the whole history by its caller and sends what is new. Bytes are counted by the server, HTTP fields and
WebSocket frames included. A short loop on the same connection comes before.
""",
    columns={"sent": "sent, kB", "cpu": "CPU, ms", "wall": "wall, ms"},
    tasks=tasks,
    against="openai over HTTP, full history",
    plots=(Plot("sent", "bytes sent, kB"), Plot("cpu", "CPU of the loop, ms")),
)
