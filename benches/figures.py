"""Samples of a workload on each loop, and their statistics."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Summary:
    """Median and quartiles of the samples."""

    median: float
    low: float
    high: float
    """First and third quartile: the spread."""
    best: float

    @classmethod
    def of(cls, values: list[float]) -> Summary:
        """Summarise at least one value."""
        low, median, high = (
            statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
        )
        return cls(median, low, high, min(values))

    @property
    def spread(self) -> float:
        """Width of the middle half of the samples."""
        return self.high - self.low


@dataclass
class Row:
    """One workload: every loop's samples of every measure, and its failures."""

    name: str
    samples: dict[str, list[dict[str, float]]] = field(
        default_factory=dict[str, "list[dict[str, float]]"]
    )
    failures: dict[str, list[str]] = field(default_factory=dict[str, "list[str]"])

    def add(self, loop: str, sample: dict[str, float]) -> None:
        """Add a sample."""
        self.samples.setdefault(loop, []).append(sample)

    def fail(self, loop: str, reason: str) -> None:
        """Store the reason why there is no sample."""
        self.failures.setdefault(loop, []).append(reason)

    def measures(self) -> list[str]:
        """Return the names of the measures, the main one first."""
        for samples in self.samples.values():
            return list(samples[0])
        return []

    def summary(self, loop: str, measure: str) -> Summary | None:
        """Summarise one loop's samples; `None` if there are none."""
        values = [sample[measure] for sample in self.samples.get(loop, [])]
        return Summary.of(values) if values else None

    def ratio(self, loop: str, to: str, measure: str) -> float | None:
        """Divide two loops' medians; `None` if one has no samples."""
        ours, theirs = self.summary(loop, measure), self.summary(to, measure)
        return ours.median / theirs.median if ours and theirs else None


#: Words in the name of a measure, and their replacements in column headings.
UNITS = {"ns": "ns", "us": "µs", "kib": "KiB", "rps": "messages/s"}


def heading(measure: str) -> str:
    """Format a name as a heading: `cpu_us` becomes `CPU µs`."""
    words = [UNITS.get(word, word) for word in measure.split("_")]
    return " ".join(words).replace("cpu", "CPU")


def number(value: float) -> str:
    """Format a figure with three significant digits."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
