"""Lanes beside each other: how many answers a second, and what a consumer who sleeps costs the others."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from functools import partial

from clients import Exchange
from harness import Measure, Plot, Server, Size, Task
from lanes import LANES, available_lanes
from turns import Turn

__all__ = ["MEASURE", "stalled", "tasks", "throughput"]

LANES_IN_USE = 16
DELAY = 50
"""Milliseconds that the server takes for an answer."""
RATE = 200
"""Deltas a second of the answer that nobody reads."""

SHORT = Turn(events=1, delay=DELAY)


def throughput(client: str, server: Server, count: int, turns: int) -> dict[str, float]:
    """Answers a second over ``count`` lanes, a thread for each, one answer after the other."""
    with LANES[client](server.url("ws"), count) as exchanges:
        know_lanes(exchanges[0])
        start = time.perf_counter()
        run_all([partial(repeat, exchange, turns) for exchange in exchanges])
        return {"rate": count * turns / (time.perf_counter() - start)}


def stalled(client: str, server: Server, seconds: float) -> dict[str, float]:
    """The 99th percentile of what an answer takes beyond the server's time, in milliseconds, on all lanes but
    one, whose consumer sleeps; and how much that is more than when it does not."""
    with LANES[client](server.url("ws"), LANES_IN_USE) as exchanges:
        know_lanes(exchanges[0])
        before = beside(exchanges, seconds, sleeps=False)
        p99 = beside(exchanges, seconds, sleeps=True)
    return {"p99": p99, "added": p99 - before}


def beside(exchanges: list[Exchange], seconds: float, *, sleeps: bool) -> float:
    """All lanes but the first ask for so long, while the first gets an answer that is long."""
    first, *others = exchanges
    end = time.perf_counter() + seconds
    late: list[list[float]] = [[] for _ in others]

    def take(_delta: str) -> None:
        if sleeps:
            time.sleep(max(0.0, end - time.perf_counter()))

    def ask(exchange: Exchange, taken: list[float]) -> None:
        while (start := time.perf_counter()) < end:
            repeat(exchange, 1)
            taken.append((time.perf_counter() - start) * 1e3 - DELAY)

    long = Turn(events=int(seconds * RATE), rate=RATE, delay=1)
    run_all(
        [
            partial(first, long.metadata, take),
            *(partial(ask, exchange, taken) for exchange, taken in zip(others, late, strict=True)),
        ]
    )
    return statistics.quantiles([value for taken in late for value in taken], n=100, method="inclusive")[98]


def know_lanes(exchange: Exchange) -> None:
    """Alone, for our client runs lanes in parallel once it has seen that the server names them."""
    repeat(exchange, 1)


def repeat(exchange: Exchange, turns: int) -> None:
    for _ in range(turns):
        parts: list[str] = []
        if exchange(SHORT.metadata, parts.append) != "".join(parts) or not parts:
            raise RuntimeError("an answer has another text than its deltas")


def run_all(work: list[Callable[[], object]]) -> None:
    """Each in a thread of its own; raises what one of them raised."""
    errors: list[BaseException] = []

    def run(one: Callable[[], object]) -> None:
        try:
            one()
        except BaseException as error:  # brought to the caller
            errors.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def tasks(server: Server, size: Size) -> list[Task]:
    turns, seconds = size.of(40, 2), size.of(10, 1)
    names = available_lanes()
    found = [
        Task(f"{count} lane{'s' * (count > 1)}", name, partial(throughput, name, server, count, turns))
        for count in (1, LANES_IN_USE)
        for name in names
    ]
    beside_one = f"{LANES_IN_USE - 1} lanes beside one that is not read"
    return [*found, *(Task(beside_one, name, partial(stalled, name, server, seconds)) for name in names)]


MEASURE = Measure(
    name="parallel",
    title="Lanes in parallel",
    about="""
Lanes of one connection to a server that takes 50 ms for an answer, a caller's thread for each: answers a
second on 1 and on 16 lanes. Then one lane gets an answer of 200 deltas a second whose consumer sleeps for 10
seconds, while 15 others ask: the 99th percentile of what their answers take beyond the 50 ms, and how much of
it is not there when the consumer reads.
""",
    columns={"rate": "answers/s", "p99": "p99 beyond 50 ms, ms", "added": "added by the sleeper, ms"},
    tasks=tasks,
    against="openai lanes",
    plots=(Plot("rate", "answers a second"),),
    rounds=3,
)
