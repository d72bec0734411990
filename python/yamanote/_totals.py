"""`python -m yamanote --metrics`: what all loops of the process have done, in a table."""

from __future__ import annotations

import atexit
import sys
import weakref

from yamanote._loop import Loop
from yamanote._metrics import Histogram, LoopMetrics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Loops that are not closed yet.
_open: weakref.WeakSet[CountedLoop] = weakref.WeakSet()
#: What the closed ones have done.
_closed: list[LoopMetrics] = []


class CountedLoop(Loop):
    """A loop whose metrics are part of the table."""

    def __init__(self) -> None:
        """Create a loop that is neither running nor closed."""
        super().__init__()
        _open.add(self)

    def close(self) -> None:
        """Close the loop as `Loop.close()` does, and keep its metrics."""
        super().close()
        if self in _open:
            _open.discard(self)
            _closed.append(self.metrics())


def print_at_exit() -> None:
    """Print the table on the standard error when the interpreter ends."""
    atexit.register(_print)


def _print() -> None:
    loops = [*_closed, *(loop.metrics() for loop in _open)]
    if loops:
        print("\n".join(table(loops)), file=sys.stderr)


def table(loops: list[LoopMetrics]) -> Iterator[str]:
    """Yield the lines of a table of sums over these loops."""
    count = len(loops)
    yield f"yamanote: {count} event loop{'s' if count > 1 else ''}"
    for name in loops[0].as_dict():
        values = [getattr(metrics, name) for metrics in loops]
        if isinstance(values[0], Histogram):
            quantiles = [merged(values).quantile(q) for q in (0.5, 0.99, 1.0)]
            text = "50 % < {:g} s, 99 % < {:g} s, all < {:g} s".format(*quantiles)
        elif isinstance(values[0], float):
            text = f"{sum(values):.6f} s"
        else:
            text = f"{sum(values):,}"
        yield f"  {name:<18} {text}"


def merged(histograms: list[Histogram]) -> Histogram:
    """Return all durations of these histograms together."""
    counts = zip(*(histogram.counts for histogram in histograms), strict=True)
    return Histogram(
        histograms[0].bounds,
        tuple(map(sum, counts)),
        sum(histogram.sum for histogram in histograms),
    )
