"""What one streamed event costs: ``WebSocket.stream`` beside its peers, in interleaved rounds.

::

    pip install -e . -r benchmarks/requirements.txt
    python benchmarks/events.py

*Burst*: processor time of the client's process, per delta event, of a turn that comes as fast as it is taken.
*Paced*: time from the server's send of an event to the caller's code, at a steady rate; "added" is what
exceeds a bare socket in the same rounds. Every measurement is one fresh process; the server is another one.
Figures are medians over the rounds, with the smallest and the largest; ratios are ratios of medians.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import server
from clients import CLIENTS, Burst, Latency, latency_of, measure_burst, measure_paced
from raw import drain, follow

__all__ = ["main"]

OURS, BARE, OFFICIAL = CLIENTS
WITH_ORJSON = f"{OURS} with orjson"
RAW = "bare socket"
PACED_SECONDS = 2

P = ParamSpec("P")
T = TypeVar("T")
SPAWN = multiprocessing.get_context("spawn")


@dataclass
class Results:
    """Every sample of every round, in order, by client.

    :ivar drained: what the server can do: microseconds per delta of the bare socket, wall time.
    """

    drained: list[float] = field(default_factory=list)
    burst: dict[str, list[Burst]] = field(default_factory=dict)
    paced: dict[str, list[Latency]] = field(default_factory=dict)


@dataclass(frozen=True)
class Bar:
    """A ratio of medians, and what it must be."""

    name: str
    ratio: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.ratio >= self.limit if self.at_least else self.ratio <= self.limit

    def __str__(self) -> str:
        wanted = f"{'at least' if self.at_least else 'at most'} {self.limit:g}"
        return f"{self.name:<54}{self.ratio:>10.3f}  {wanted:<14}{'met' if self.met else 'MISSED'}"


def main() -> int:
    """Measure, print, and return the exit status."""
    options = parse_arguments()
    needed = ["responses_ws", "websocket", "openai", "websockets"] + ["orjson"] * options.speed
    missing = [module for module in needed if importlib.util.find_spec(module) is None]
    if missing:
        remedy = "pip install -e . -r benchmarks/requirements.txt"
        print(f"cannot import {', '.join(missing)}; run: {remedy}", file=sys.stderr)
        return 2
    with serving(options.events) as url:
        results = measure(url, options)
    bars = judge(results, options.rate)
    print_report(results, bars, options)
    if options.json:
        write_json(options.json, results, bars, options)
    return int(options.check and not all(bar.met for bar in bars))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="CPU and latency per streamed event, side by side.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--rounds", type=positive, default=5, help="interleaved rounds")
    parser.add_argument("--events", type=positive, default=20_000, help="deltas of a burst")
    parser.add_argument("--rate", type=positive, default=200, help="paced events a second")
    parser.add_argument("--speed", action="store_true", help="measure responses_ws with orjson as well")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a bar is missed")
    return parser.parse_args()


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


# --- measuring ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(events: int) -> Iterator[str]:
    """The server in its own process; the URL that stands for ``OPENAI_BASE_URL``."""
    receiver, sender = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=server.run, args=(sender, events), daemon=True)
    process.start()
    sender.close()
    try:
        yield f"ws://127.0.0.1:{receiver.recv()}/v1"
    finally:
        process.terminate()
        process.join()


def measure(url: str, options: argparse.Namespace) -> Results:
    """All rounds: in each, every client once in a burst and once paced."""
    events, rate = options.events, options.rate
    clients = {name: (name, False) for name in CLIENTS}
    if options.speed:
        clients[WITH_ORJSON] = (OURS, True)
    results = Results(burst={name: [] for name in clients}, paced={name: [] for name in [RAW, *clients]})
    for number in range(1, options.rounds + 1):
        show_progress(f"round {number} of {options.rounds}")
        results.drained.append(isolated(drain, url, events) / events * 1e6)
        for name, (client, speed) in clients.items():
            results.burst[name].append(isolated(measure_burst, client, url, events, speed))
        paced = rate * PACED_SECONDS
        results.paced[RAW].append(latency_of(isolated(follow, url, paced, rate)))
        for name, (client, speed) in clients.items():
            results.paced[name].append(isolated(measure_paced, client, url, paced, rate, speed))
    show_progress("")
    return results


def isolated(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call the function in a new interpreter: no client meets the imports or the garbage of another."""
    with ProcessPoolExecutor(1, mp_context=SPAWN) as executor:
        return executor.submit(function, *args, **kwargs).result()


def show_progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text:<20}", end="\r", file=sys.stderr, flush=True)


# --- judging ------------------------------------------------------------------------------------------------


def judge(results: Results, rate: int) -> list[Bar]:
    """The bars that responses_ws sets itself, and the one without which no figure says anything."""
    cpu = medians(results.burst, "cpu")
    p99 = medians(results.paced, "p99")
    fastest = min(medians(results.burst, "wall").values())
    return [
        Bar(f"burst, CPU: {OURS} / {BARE}", cpu[OURS] / cpu[BARE], 0.5),
        Bar(f"burst, CPU: {OURS} / {OFFICIAL}", cpu[OURS] / cpu[OFFICIAL], 0.15),
        Bar(f"{rate} events/s, p99: {OURS} / {OFFICIAL}", p99[OURS] / p99[OFFICIAL], 1),
        Bar("burst, rate: server / fastest client", fastest / statistics.median(results.drained), 3, True),
    ]


def medians(samples: Mapping[str, Sequence[Burst | Latency]], column: str) -> dict[str, float]:
    """The median over the rounds of one column, by client."""
    return {name: statistics.median(column_of(rounds, column)) for name, rounds in samples.items()}


def column_of(rounds: Sequence[Burst | Latency], column: str) -> list[float]:
    return [getattr(sample, column) for sample in rounds]


# --- reporting ----------------------------------------------------------------------------------------------


def print_report(results: Results, bars: list[Bar], options: argparse.Namespace) -> None:
    """One table for a person."""
    about = machine()
    print(f"{about['cpu']}, {about['cores']} cores, {about['system']}, {about['python']}")
    print(", ".join(f"{name} {version}" for name, version in about["versions"].items()))
    print(f"median (smallest .. largest) of {options.rounds} interleaved rounds, microseconds")
    print_burst(results, options.events)
    print_paced(results, options.rate)
    print("", *bars, sep="\n")


def print_burst(results: Results, events: int) -> None:
    size = len(server.encode_turn(events, 1)) / events
    cpu = medians(results.burst, "cpu")
    print(f"\nburst of {events:,} deltas, {size:.0f} bytes each with their share of the turn; per delta")
    print_row("", "client CPU", "wall", "CPU / openai's")
    for name, rounds in results.burst.items():
        ratio = f"{cpu[name] / cpu[OFFICIAL]:.3f}"
        print_row(name, spread(column_of(rounds, "cpu")), spread(column_of(rounds, "wall")), ratio)
    print_row(RAW, "", spread(results.drained), "")


def print_paced(results: Results, rate: int) -> None:
    p50, p99 = medians(results.paced, "p50"), medians(results.paced, "p99")
    print(f"\n{rate} events/s for {PACED_SECONDS} s, from the server's send to the caller's code")
    print_row("", "p50", "p99", "added p50, p99")
    for name, rounds in results.paced.items():
        added = f"{p50[name] - p50[RAW]:.0f}, {p99[name] - p99[RAW]:.0f}"
        print_row(name, spread(column_of(rounds, "p50")), spread(column_of(rounds, "p99")), added)


def print_row(name: str, first: str, second: str, last: str) -> None:
    print(f"{name:<26}{first:<28}{second:<28}{last:>14}")


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} .. {max(values):.2f})"


def write_json(path: Path, results: Results, bars: list[Bar], options: argparse.Namespace) -> None:
    """Everything that was measured, for another program."""
    report = {
        "machine": machine(),
        "options": {name: getattr(options, name) for name in ("rounds", "events", "rate", "speed")},
        "unit": "microseconds",
        "results": asdict(results),
        "bars": [asdict(bar) | {"met": bar.met} for bar in bars],
    }
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    from responses_ws._version import __version__

    versions = {OURS: __version__}
    for distribution in ("websocket-client", "openai", "websockets", "orjson"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[distribution] = importlib.metadata.version(distribution)
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": versions,
    }


def cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
