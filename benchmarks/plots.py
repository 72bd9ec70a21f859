"""The drawings of a run, as SVG."""

# mypy: disable-error-code="import-not-found"
# matplotlib is no dependency: the types are checked where benchmarks/requirements.txt is installed as well.

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from clients import OURS
from figures import number
from harness import Measure, Plot, Samples

__all__ = ["draw"]

COLORS = {True: "#1f77b4", False: "#9aa5b1"}
STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "benchmarks", "font.size": 9}
"""Text stays text, and a run that measures the same writes the same file."""


def draw(measure: Measure, samples: Samples, directory: Path) -> list[str]:
    """Draw each plot of the measure: bars of the medians, with the spread; the names of the files."""
    import matplotlib

    matplotlib.use("svg")
    with matplotlib.rc_context(STYLE):
        return [_draw(measure, plot, samples, directory) for plot in measure.plots]


def _draw(measure: Measure, plot: Plot, samples: Samples, directory: Path) -> str:
    from matplotlib import pyplot

    settings = {
        setting: {
            client: columns[plot.column] for client, columns in clients.items() if plot.column in columns
        }
        for setting, clients in samples.items()
    }
    settings = {setting: rows for setting, rows in settings.items() if rows}
    heights = [len(rows) + 1.5 for rows in settings.values()]
    figure, axes = pyplot.subplots(
        len(settings),
        squeeze=False,
        figsize=(8, 0.26 * sum(heights) + 0.5),
        height_ratios=heights,
        layout="constrained",
    )
    for (setting, rows), (axis,) in zip(settings.items(), axes, strict=True):
        _bars(axis, setting if len(settings) > 1 else measure.title, rows)
    axes[-1][0].set_xlabel(plot.label)
    name = f"{measure.name}-{plot.column}.svg"
    figure.savefig(directory / name, metadata={"Date": None})
    pyplot.close(figure)
    return name


def _bars(axis: Any, title: str, rows: dict[str, list[float]]) -> None:
    medians = [statistics.median(values) for values in rows.values()]
    below = [median - min(values) for median, values in zip(medians, rows.values(), strict=True)]
    above = [max(values) - median for median, values in zip(medians, rows.values(), strict=True)]
    colors = [COLORS[client.startswith(OURS)] for client in rows]
    bars = axis.barh(list(rows), medians, xerr=[below, above], color=colors, error_kw={"lw": 0.8})
    axis.bar_label(bars, [number(median) for median in medians], padding=4)
    axis.margins(x=0.12)
    axis.invert_yaxis()
    axis.set_title(title, loc="left", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
