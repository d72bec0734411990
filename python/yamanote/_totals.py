"""`python -m yamanote --metrics`: what all loops of the process have done, in a table."""

from __future__ import annotations

import atexit
import os
import sys
import weakref

from yamanote._metrics import Histogram, LoopMetrics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from yamanote._loop import Loop


class Totals:
    """Collects what loops have done, and prints it when the interpreter ends."""

    def __init__(self) -> None:
        """Start without a loop."""
        self._process = os.getpid()
        self._open: weakref.WeakSet[Loop] = weakref.WeakSet()
        self._done: list[LoopMetrics] = []
        atexit.register(self._print)

    def add(self, loop: Loop) -> None:
        """Count a loop from now on."""
        self._open.add(loop)

    def closed(self, loop: Loop) -> None:
        """Keep what a closed loop has done."""
        if loop in self._open:
            self._open.discard(loop)
            self._done.append(loop.metrics())

    def _print(self) -> None:
        loops = [*self._done, *(loop.metrics() for loop in self._open)]
        if loops and os.getpid() == self._process:
            print("\n".join(table(loops)), file=sys.stderr)


def table(loops: list[LoopMetrics]) -> Iterator[str]:
    """Yield the lines of a table of sums over these loops."""
    count = len(loops)
    yield f"yamanote: {count} event loop{'s' if count > 1 else ''}"
    yield from (f"  {row}" for row in rows(loops))


def rows(loops: list[LoopMetrics]) -> Iterator[str]:
    """Yield the sums over these loops, each with its name."""
    for name in loops[0].as_dict():
        values = [getattr(metrics, name) for metrics in loops]
        if isinstance(values[0], Histogram):
            quantiles = [merged(values).quantile(q) for q in (0.5, 0.99, 1.0)]
            text = "50 % < {:g} s, 99 % < {:g} s, all < {:g} s".format(*quantiles)
        elif isinstance(values[0], float):
            text = f"{sum(values):.6f} s"
        else:
            text = f"{sum(values):,}"
        yield f"{name:<18} {text}"


def merged(histograms: list[Histogram]) -> Histogram:
    """Return all durations of these histograms together."""
    counts = zip(*(histogram.counts for histogram in histograms), strict=True)
    return Histogram(
        histograms[0].bounds,
        tuple(map(sum, counts)),
        sum(histogram.sum for histogram in histograms),
    )
