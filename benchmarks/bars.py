"""The bars of ``bars.toml``, and whether a run meets them."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:  # the measures want 3.11; their tests run with what pytest brings
    import tomli as tomllib

from figures import number, ratio
from harness import Samples
from raw import RAW

__all__ = ["Bar", "Verdict", "judge", "load"]

FASTEST = "fastest client"
BARS = Path(__file__).parent / "bars.toml"


@dataclass(frozen=True)
class Bar:
    """What a ratio of medians of one run must be.

    :ivar against: the client that is compared with, or None for a bar on the figure itself.
    :ivar against_setting: the setting that is compared with, where it is another.
    """

    measure: str
    setting: str
    column: str
    client: str
    against: str | None = None
    against_setting: str | None = None
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(f"a bar of {self.measure} must have one of at_most and at_least")

    @property
    def wanted(self) -> str:
        return f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"

    @property
    def compared(self) -> str:
        """The two sides, in words."""
        if self.against is None and self.against_setting is None:
            return self.client
        return f"{self.client} / {', '.join(filter(None, (self.against, self.against_setting)))}"

    def allows(self, value: float) -> bool:
        return value <= self.at_most if self.at_most is not None else value >= (self.at_least or 0)


@dataclass(frozen=True)
class Verdict:
    """A bar with what a run says; ``value`` is None where the run lacks one side."""

    bar: Bar
    value: float | None

    @property
    def met(self) -> bool:
        return self.value is not None and self.bar.allows(self.value)

    @property
    def row(self) -> list[str]:
        bar = self.bar
        value = "" if self.value is None else number(self.value)
        answer = "not measured" if self.value is None else "met" if self.met else "MISSED"
        return [bar.measure, bar.setting, bar.column, bar.compared, value, bar.wanted, answer]


def load(path: Path = BARS) -> list[Bar]:
    return [Bar(**fields) for fields in tomllib.loads(path.read_text(encoding="utf-8"))["bar"]]


def judge(bars: Iterable[Bar], results: Mapping[str, Samples], measures: Container[str]) -> list[Verdict]:
    """The bars of these measures, each with its ratio in the results."""
    return [Verdict(bar, _value(bar, results[bar.measure])) for bar in bars if bar.measure in measures]


def _value(bar: Bar, samples: Samples) -> float | None:
    values = _samples(samples, bar.setting, bar.client, bar.column)
    if values is None:
        return None
    if bar.against is None and bar.against_setting is None:
        return ratio(values, None)
    others = _samples(samples, bar.against_setting or bar.setting, bar.against or bar.client, bar.column)
    return None if others is None else ratio(values, others)


def _samples(samples: Samples, setting: str, client: str, column: str) -> list[float] | None:
    found = samples.get(setting, {})
    if client == FASTEST:
        rows = [columns[column] for name, columns in found.items() if not name.startswith(RAW)]
        return min(rows, key=statistics.median, default=None)
    return found.get(client, {}).get(column)
