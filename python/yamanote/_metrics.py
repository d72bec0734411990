"""`LoopMetrics`: what a loop has counted, at one moment or between two."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import ClassVar, Final

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from yamanote._yamanote import Meters

_NS_PER_S: Final = 1e9


@dataclass(frozen=True)
class Histogram:
    """How often durations came, in buckets that double.

    Attributes:
        bounds: the upper bound of each bucket in seconds, exclusive: 1 us, 2 us, 4 us, ..., 67 s,
            infinity.
        counts: how many durations each bucket has.
        sum: all durations together, in seconds.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float

    @property
    def count(self) -> int:
        """How many durations there are."""
        return sum(self.counts)

    def quantile(self, q: float) -> float:
        """Return the upper bound, in seconds, of the bucket with that quantile; 0.0 without any.

        Args:
            q: from 0.0 to 1.0; 0.99 is the 99th percentile.

        Raises:
            ValueError: `q` is not between 0 and 1.
        """
        if not 0.0 <= q <= 1.0:
            message = f"a quantile is between 0 and 1, not {q!r}"
            raise ValueError(message)
        left = q * self.count
        for bound, count in zip(self.bounds, self.counts, strict=True):
            left -= count
            if count and left <= 0:
                return bound
        return 0.0

    def __sub__(self, earlier: Histogram) -> Histogram:
        """Return the durations that came after `earlier`."""
        if not isinstance(earlier, Histogram):  # pyright: ignore[reportUnnecessaryIsInstance]
            return NotImplemented
        counts = zip(self.counts, earlier.counts, strict=True)
        return Histogram(
            self.bounds,
            tuple(later - before for later, before in counts),
            self.sum - earlier.sum,
        )


@dataclass(frozen=True)
class LoopMetrics:
    """What a loop has done since it was made, or between two snapshots: `later - earlier`.

    The counters are always on. `Loop.metrics()` takes a snapshot, on any thread. Each number is
    exact, but while the loop runs they are not all of one instant; on free-threaded builds, gauges
    are then those when the loop last waited.

    Attributes:
        busy: seconds in turns: callbacks, reading and writing, looking at the kernel.
        idle: seconds in the kernel's wait.
        gil_wait: seconds from the end of the kernel's wait until the thread had the GIL again. On
            a free-threaded build, what it takes to attach the thread.
        turns: turns of the loop. One has a look at the kernel and one or more passes over what is
            ready.
        callbacks: entries of the ready queue that ran: callbacks, events of descriptors, steps of
            transports.
        io_events: events of transports, servers and watched descriptors. They count as callbacks,
            too.
        timers_fired: timers that came due. They count as callbacks, too.
        timers_cancelled: timers that were cancelled before they came due.
        accepts: accepted connections.
        connections_lost: transports whose `connection_lost` was called.
        bytes_in: bytes that the kernel gave to transports and to `sock_*` methods. Encrypted ones,
            where a connection uses TLS.
        bytes_out: bytes that the kernel took from them.
        threadsafe_wakeups: waits that `call_soon_threadsafe` ended.
        accept_pauses: how often a listener stopped accepting, as a limit was reached.
        first_byte_timeouts: connections that a limit ended: `Limits.first_byte`.
        handshake_timeouts: the same, for `Limits.handshake`.
        write_stalls: the same, for `Limits.write_stall`.
        idle_timeouts: the same, for `Limits.idle`.
        ready: entries of the ready queue.
        timers: timers that wait and were not cancelled.
        transports: open transports.
        fds: descriptors of transports and servers that the loop reads from or waits to write to,
            and those of `add_reader`, `add_writer` and waiting `sock_*` calls.
        buffered_bytes: bytes that wait in transports for room in the kernel.
        turn_durations: how long turns took. This is the loop's lag: what becomes ready waits that
            long.
        timer_lateness: how late timers came due.
    """

    #: The names of the gauges: they say how much there is, while all other numbers only grow.
    GAUGES: ClassVar[frozenset[str]] = frozenset(
        {"ready", "timers", "transports", "fds", "buffered_bytes"}
    )

    busy: float
    idle: float
    gil_wait: float
    turns: int
    callbacks: int
    io_events: int
    timers_fired: int
    timers_cancelled: int
    accepts: int
    connections_lost: int
    bytes_in: int
    bytes_out: int
    threadsafe_wakeups: int
    accept_pauses: int
    first_byte_timeouts: int
    handshake_timeouts: int
    write_stalls: int
    idle_timeouts: int
    ready: int
    timers: int
    transports: int
    fds: int
    buffered_bytes: int
    turn_durations: Histogram
    timer_lateness: Histogram

    @property
    def utilization(self) -> float:
        """The share of its running time that the loop was busy, from 0.0 to 1.0."""
        total = self.busy + self.idle + self.gil_wait
        return self.busy / total if total > 0 else 0.0

    def as_dict(self) -> dict[str, object]:
        """Return the numbers by name; a histogram is a dictionary of its attributes.

        The result can be passed to `json.dumps`; the last bound is then `Infinity`.
        """
        numbers: dict[str, object] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Histogram):
                value = {
                    "bounds": list(value.bounds),
                    "counts": list(value.counts),
                    "sum": value.sum,
                }
            numbers[field.name] = value
        return numbers

    def __sub__(self, earlier: LoopMetrics) -> LoopMetrics:
        """Return what happened after `earlier`. Gauges are this snapshot's."""
        if not isinstance(earlier, LoopMetrics):  # pyright: ignore[reportUnnecessaryIsInstance]
            return NotImplemented
        return LoopMetrics(
            **{
                field.name: getattr(self, field.name)
                if field.name in self.GAUGES
                else getattr(self, field.name) - getattr(earlier, field.name)
                for field in fields(self)
            }
        )


def snapshot(meters: Meters) -> LoopMetrics:
    """Return what the native core has counted."""
    numbers = dict(zip((field.name for field in fields(LoopMetrics)), meters, strict=True))
    for name in ("busy", "idle", "gil_wait"):
        numbers[name] /= _NS_PER_S
    for name in ("turn_durations", "timer_lateness"):
        numbers[name] = _histogram(*numbers[name])
    return LoopMetrics(**numbers)


def _histogram(counts: Sequence[int], total_ns: int) -> Histogram:
    last = len(counts) - 1
    bounds = tuple(2.0**bucket / 1e6 for bucket in range(last))
    return Histogram((*bounds, math.inf), tuple(counts), total_ns / _NS_PER_S)
