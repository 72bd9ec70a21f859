"""What ``import responses_ws`` costs, next to the ``import websocket`` of websocket-client and to openai's.

Each import runs in an interpreter of its own, from bytecode, the packages in turn::

    python benchmarks/imports.py --rounds 30
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness import Measure, Server, Size, Task

__all__ = ["PACKAGES", "import_measure", "imported", "measure", "tasks"]

PACKAGES = ("websocket", "responses_ws")
PEERS = ("websockets.sync.client", "openai", "agents")
BAR = 1.3
REPEATS = 5
HERE = Path(__file__).parent
PROGRAM = """
import sys, time
sys.path.insert(0, {here!r})
import memory
before = memory.resident()
began = time.perf_counter()
import {package}
print(time.perf_counter() - began, memory.resident(), memory.resident() - before)
"""


def measure(rounds: int) -> dict[str, float]:
    """The median seconds that importing each package takes."""
    with tempfile.TemporaryDirectory() as bytecode:
        for package in PACKAGES:
            _import(package, bytecode)
        times = [[_import(package, bytecode)[0] for package in PACKAGES] for _ in range(rounds)]
    return dict(zip(PACKAGES, map(statistics.median, zip(*times, strict=True)), strict=True))


def imported(package: str) -> dict[str, float]:
    """Milliseconds, and megabytes of the interpreter afterwards and of that what the import added."""
    bytecode = str(Path(tempfile.gettempdir()) / f"benchmark-bytecode-{os.getuid()}")
    _import(package, bytecode)
    repeats = [_import(package, bytecode) for _ in range(REPEATS)]
    seconds, after, added = map(statistics.median, zip(*repeats, strict=True))
    return {"time": seconds * 1e3, "memory": after / 1e6, "added": added / 1e6}


def _import(package: str, bytecode: str) -> list[float]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = bytecode
    command = [sys.executable, "-c", PROGRAM.format(here=str(HERE), package=package)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    return [float(word) for word in done.stdout.split()]


def tasks(_server: Server, _size: Size) -> list[Task]:
    from harness import Task

    found = [package for package in (*PACKAGES, *PEERS) if find_spec(package.partition(".")[0])]
    return [Task("import", package, partial(imported, package)) for package in found]


def import_measure() -> Measure:
    """Made on demand: this module alone needs nothing that the others need."""
    from harness import Measure, Plot

    return Measure(
        name="imports",
        title="Import",
        about="""
Each package imported from bytecode in a new interpreter; the median of 5 is one figure. Memory is the
resident set of the interpreter after the import, *added* what the import brought.
""",
        columns={"time": "time, ms", "memory": "memory, MB", "added": "added, MB"},
        tasks=tasks,
        against="openai",
        plots=(Plot("time", "time of the import, ms"), Plot("memory", "memory after the import, MB")),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what importing costs.")
    parser.add_argument("--rounds", type=int, default=30, help="interpreters for each package (default 30)")
    medians = measure(parser.parse_args().rounds)
    for package, seconds in medians.items():
        print(f"import {package:<12} {seconds * 1000:6.1f} ms")
    print(f"ratio {medians['responses_ws'] / medians['websocket']:.2f}, bar {BAR}")


if __name__ == "__main__":
    main()
