"""The tables of a run, for the terminal and for ``docs/benchmarks``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bars import Verdict
from figures import number, ratio, spread
from harness import Measure, Samples

__all__ = ["bars_table", "describe", "measure_tables", "table", "write_page"]

TITLE = "Benchmarks"
INTRODUCTION = """
.. Written by benchmarks/run.py; the last section is tried.rst.

What this package costs, beside its peers, in one run of ``make bench``: every client in a process of its own,
one at a time, the server in another process; every round has each client once, so that what disturbs the
machine disturbs all of them. A figure is the median over the rounds with the smallest and the largest; a
ratio is one of medians.
"""
BARS_HEAD = ["measure", "setting", "column", "compared", "figure", "wanted", ""]


def write_page(
    directory: Path,
    report: Mapping[str, Any],
    measures: Iterable[Measure],
    verdicts: Iterable[Verdict],
    plots: Mapping[str, Sequence[str]],
) -> Path:
    """Write the page; ``plots`` are the files drawn for each measure, which lie in the same directory."""
    parts = [heading(TITLE, "="), INTRODUCTION, describe(report), heading("Bars", "-")]
    parts.append("What the package holds itself to. Where nothing is compared, the figure itself counts.\n")
    parts.append(bars_table(verdicts))
    for measure in measures:
        parts += [heading(measure.title, "-"), measure.about]
        parts += [f".. image:: {name}\n   :alt: {measure.title}\n" for name in plots.get(measure.name, ())]
        for setting, rows in measure_tables(measure, report["results"][measure.name]):
            parts += [f"{setting}:\n" if setting else "", table(rows)]
    parts.append(".. include:: tried.rst\n")
    page = directory / "index.rst"
    page.write_text("\n".join(parts), encoding="utf-8")
    return page


def describe(report: Mapping[str, Any]) -> str:
    about = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"{about['cpu']}, {about['cores']} cores, {about['system']}, {about['python']};"
        f" {report['rounds']} rounds on {report['date']}.\n{versions}.\n"
    )


def bars_table(verdicts: Iterable[Verdict]) -> str:
    return table([BARS_HEAD, *(verdict.row for verdict in verdicts)])


def measure_tables(measure: Measure, samples: Samples) -> Iterable[tuple[str, list[list[str]]]]:
    """For each setting its name, where there are more than one, and the rows of its table."""
    first = next(iter(measure.columns))
    for setting, clients in samples.items():
        head = ["", *measure.columns.values(), f"ratio to {measure.against}"]
        against = clients.get(measure.against, {}).get(first)
        rows = [
            [
                client,
                *(spread(columns[column]) if column in columns else "" for column in measure.columns),
                number(ratio(columns[first], against)) if against and first in columns else "",
            ]
            for client, columns in clients.items()
        ]
        yield setting if len(samples) > 1 else "", [head, *rows]


def heading(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n"


def table(rows: Sequence[Sequence[str]]) -> str:
    """A simple table of reStructuredText, which reads well as it is; the first row is the head."""
    filled = [_filled(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*filled, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    head, *body = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in filled]
    return "\n".join([rule, head, rule, *body, rule, ""])


def _filled(row: Sequence[str]) -> list[str]:
    """An empty first cell would make a row the continuation of the one before."""
    first, *others = row
    return [first or "\\", *others]
