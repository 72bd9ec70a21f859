"""What ``import responses_ws`` costs, next to the ``import websocket`` of websocket-client.

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

__all__ = ["PACKAGES", "measure"]

PACKAGES = ("websocket", "responses_ws")
BAR = 1.3
PROGRAM = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"


def measure(rounds: int) -> dict[str, float]:
    """The median seconds that importing each package takes."""
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = bytecode
        for package in PACKAGES:
            _import(package, environment)
        times = [[_import(package, environment) for package in PACKAGES] for _ in range(rounds)]
    return dict(zip(PACKAGES, map(statistics.median, zip(*times, strict=True)), strict=True))


def _import(package: str, environment: dict[str, str]) -> float:
    command = [sys.executable, "-c", PROGRAM.format(package)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what importing costs.")
    parser.add_argument("--rounds", type=int, default=30, help="interpreters for each package (default 30)")
    medians = measure(parser.parse_args().rounds)
    for package, seconds in medians.items():
        print(f"import {package:<12} {seconds * 1000:6.1f} ms")
    print(f"ratio {medians['responses_ws'] / medians['websocket']:.2f}, bar {BAR}")


if __name__ == "__main__":
    main()
