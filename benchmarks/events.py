"""What one streamed event costs: the measures of bursts and latency alone, with their bars.

::

    pip install -e . -r benchmarks/requirements.txt
    python benchmarks/events.py --speed --check

Figures are medians over the rounds, with the smallest and the largest; ratios are ratios of medians.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Container
from dataclasses import replace
from functools import partial
from pathlib import Path

import burst
import latency
from bars import judge, load
from clients import OURS_ORJSON
from harness import Measure, Server, Size, Task
from page import bars_table
from run import run

__all__ = ["main"]

MEASURES = (burst.MEASURE, latency.MEASURE)


def main() -> int:
    """Measure, print, and return the exit status."""
    options = parse_arguments()
    left_out = () if options.speed else (OURS_ORJSON,)
    measures = [replace(measure, tasks=partial(tasks_of, measure, left_out)) for measure in MEASURES]
    report = run(measures, options.rounds, Size(options.quick))
    bars = [bar for bar in load() if bar.client not in left_out]
    verdicts = judge(bars, report["results"], report["results"])
    print(bars_table(verdicts))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(options.check and not all(verdict.met for verdict in verdicts))


def tasks_of(measure: Measure, left_out: Container[str], server: Server, size: Size) -> list[Task]:
    return [task for task in measure.tasks(server, size) if task.client not in left_out]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="CPU and latency per streamed event, side by side.")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    parser.add_argument("--speed", action="store_true", help="measure responses_ws with orjson as well")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a bar is missed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
