"""Bounds on figures, and whether a run meets them.

A file of bounds is a JSON list. Each bound names a workload and a measure and says either
`{"to": "uvloop", "at_most": 0.85}`, a ratio of medians, or `{"to": "best", "at_most": "spread"}`:
not behind the best peer by more than the run's spread, which is the wider of both interquartile
ranges.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import loops
from figures import Summary, number
from streams import LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from figures import Row


@dataclass(frozen=True)
class Bound:
    """One bound."""

    workload: str
    measure: str
    to: str
    at_most: float | str

    def check(self, rows: Mapping[str, Row]) -> Verdict:
        """Compare with what was measured."""
        row = rows.get(self.workload)
        ours = row.summary(loops.OURS, self.measure) if row else None
        if row is None or ours is None:
            return Verdict(self, None, "not measured")
        if self.to == "best":
            return self._check_best(row, ours)
        theirs = row.summary(self.to, self.measure)
        if theirs is None:
            return Verdict(self, None, f"{self.to} was not measured")
        ratio = ours.median / theirs.median
        text = f"{ratio:.2f} of {self.to}'s, at most {self.at_most}"
        return Verdict(self, ratio <= float(self.at_most), text)

    def _check_best(self, row: Row, ours: Summary) -> Verdict:
        peers = {
            name: summary
            for name in row.samples
            if name not in (loops.OURS, LIMIT) and (summary := row.summary(name, self.measure))
        }
        if not peers:
            return Verdict(self, None, "no peer was measured")
        best = min(peers, key=lambda name: peers[name].median)
        allowed = max(ours.spread, peers[best].spread)
        behind = ours.median - peers[best].median
        text = f"{number(ours.median)} against {best}'s {number(peers[best].median)}"
        return Verdict(self, behind <= allowed, f"{text}, spread {number(allowed)}")


@dataclass(frozen=True)
class Verdict:
    """Whether a bound is met; `None` if the run cannot say."""

    bound: Bound
    met: bool | None
    text: str

    def __str__(self) -> str:
        """Write one line."""
        word = {True: "met", False: "NOT MET", None: "unknown"}[self.met]
        return f"{word:8} {self.bound.workload:32} {self.text}"


def read(path: Path) -> list[Bound]:
    """Read a file of bounds."""
    entries = cast("list[dict[str, str]]", json.loads(path.read_text()))
    return [Bound(**entry) for entry in entries]
