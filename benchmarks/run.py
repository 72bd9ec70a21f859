"""Measure everything beside the peers, and write tables and drawings to ``docs/benchmarks``.

::

    make bench                                measure and write the page
    make bench ARGS="--only burst latency"    some of the measures; the page is left alone
    make bench ARGS=--quick                   see that everything runs; the figures mean nothing
    make bench-check                          measure, write, and exit with status 1 when a bar is missed
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import burst
import idle
import imports
import large
import latency
import loop
import many
import parallel
import pooled
import scale
import turn
from bars import judge, load
from clients import CLIENTS, OURS_HTTP, available
from harness import Measure, Samples, Size, measured, serving
from machine import machine
from page import bars_table, describe, measure_tables, table, write_page

__all__ = ["MEASURES", "main", "run"]

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks"
MEASURES = {
    measure.name: measure
    for measure in (
        burst.MEASURE,
        latency.MEASURE,
        turn.MEASURE,
        loop.MEASURE,
        imports.import_measure(),
        large.MEASURE,
        many.MEASURE,
        idle.MEASURE,
        scale.MEASURE,
        parallel.MEASURE,
        pooled.MEASURE,
    )
}


def main() -> int:
    """Measure, print, write, and return the exit status."""
    options = parse_arguments()
    missing = CLIENTS.keys() - {OURS_HTTP} - set(available())
    if missing and not options.quick and options.stored is None:
        remedy = "pip install -e . -r benchmarks/requirements.txt"
        print(f"not installed: {', '.join(sorted(missing))}; run: {remedy}", file=sys.stderr)
        return 2
    measures = [MEASURES[name] for name in options.only or MEASURES]
    if options.stored:
        report = json.loads(options.stored.read_text(encoding="utf-8"))
        measures = [measure for measure in measures if measure.name in report["results"]]
        show(report, measures)
    else:
        report = run(measures, options.rounds, Size(options.quick))
    verdicts = judge(load(), report["results"], [measure.name for measure in measures])
    print(bars_table(verdicts))
    if options.page:
        write(options.page, measures, report)
    return int(options.check and not all(verdict.met for verdict in verdicts))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure responses_ws beside its peers.")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    parser.add_argument("--only", nargs="+", choices=MEASURES, metavar="MEASURE", help=", ".join(MEASURES))
    parser.add_argument(
        "--quick", action="store_true", help="one round of tiny sizes: only to see that it runs"
    )
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a bar is missed")
    parser.add_argument(
        "--from", dest="stored", type=Path, metavar="FILE", help="do not measure: use a results.json"
    )
    parser.add_argument("--page", type=Path, metavar="DIRECTORY", help="write there, whatever was measured")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
    elif options.page is None and options.only is None:
        options.page = PAGE
    return options


def run(measures: Iterable[Measure], rounds: int, size: Size) -> dict[str, Any]:
    """Every measure in turn, shown as soon as it is there; what was measured, on what, when."""
    results: dict[str, Samples] = {}
    date = time.strftime("%Y-%m-%d", time.gmtime())
    report = {"date": date, "machine": machine(), "rounds": rounds, "results": results}
    show(report, ())
    with serving() as where:
        for measure in measures:
            results[measure.name] = measured(measure, where, size, rounds)
            print_tables(measure, results[measure.name])
    return report


def show(report: Mapping[str, Any], measures: Iterable[Measure]) -> None:
    print(describe(report), flush=True)
    for measure in measures:
        print_tables(measure, report["results"][measure.name])


def print_tables(measure: Measure, samples: Samples) -> None:
    print(f"{measure.title}\n")
    for setting, rows in measure_tables(measure, samples):
        print(*filter(None, (setting, table(rows))), sep="\n", flush=True)


def write(directory: Path, measures: list[Measure], report: dict[str, Any]) -> None:
    """The page, its drawings, and the samples that they are of."""
    from plots import draw

    directory.mkdir(parents=True, exist_ok=True)
    results = report["results"]
    names = {measure.name: draw(measure, results[measure.name], directory) for measure in measures}
    verdicts = judge(load(), results, results)
    write_page(directory, report, measures, verdicts, names)
    text = json.dumps(report, indent=None, separators=(",", ":"))
    (directory / "results.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
