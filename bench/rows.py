"""Medians, and a measured row with its budget."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Samples:
    """Repeated measurements of one thing, in `unit`."""

    values: tuple[float, ...]
    unit: str = "ms"

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> str:
        """The middle half: from the first to the third quartile."""
        if len(self.values) < 4:
            return f"{figure(min(self.values))} … {figure(max(self.values))}"
        low, _, high = statistics.quantiles(self.values, n=4)
        return f"{figure(low)} … {figure(high)}"

    def __str__(self) -> str:
        return f"{figure(self.median)} {self.unit}"


def milliseconds(seconds: Sequence[float]) -> Samples:
    return Samples(tuple(value * 1000 for value in seconds))


def figure(value: float) -> str:
    """Three significant digits."""
    if value == 0:
        return "0"
    digits = 3 - len(str(int(abs(value)))) if abs(value) >= 1 else 2
    return f"{value:,.{max(0, digits)}f}"


@dataclass(frozen=True)
class Row:
    """One line of the results. `factor` is what the budget is about where that is a ratio; `limit` bounds `measured`.

    `at_least` turns the bound around: the measured value has to reach the limit.
    """

    what: str
    ours: Samples
    peers: tuple[tuple[str, Samples], ...] = ()
    budget: str = ""
    measured: float | None = None  # what is held against the limit; None: the median of ours
    limit: float | None = None  # None: no budget, told for information
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        if self.limit is None:
            return None
        value = self.ours.median if self.measured is None else self.measured
        return value >= self.limit if self.at_least else value <= self.limit

    @property
    def ratios(self) -> tuple[str, ...]:
        """Each peer's median as a multiple of ours; none where ours is nothing."""
        ours = self.ours.median
        return tuple(f"{figure(samples.median / ours)}{TIMES}" for _, samples in self.peers) if ours > 0 else ()


@dataclass(frozen=True)
class Section:
    """Rows that belong together, what exactly was measured, and where the time goes (name, milliseconds)."""

    title: str
    rows: tuple[Row, ...]
    measured: str
    phases: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = ()
