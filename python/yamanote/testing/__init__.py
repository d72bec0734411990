"""For tests of asyncio code: time that does not pass, hangs that say why, races that come back.

The loop of this runner sleeps an hour at once:

    with asyncio.Runner(loop_factory=yamanote.testing.new_event_loop) as runner:
        runner.run(asyncio.sleep(3600))

`docs/testing.md` has more examples.
"""

from __future__ import annotations

import math
from typing import Literal, overload

from yamanote.testing._choices import Strategy, chooser_of
from yamanote.testing._clock import Clock, Jumps
from yamanote.testing._deadlock import Deadlock
from yamanote.testing._explore import Exploration, explore, replay
from yamanote.testing._failure import ScheduleError
from yamanote.testing._faults import FaultCounts, Faults, faults
from yamanote.testing._loop import ArrangedLoop, RealIo, VirtualLoop, longest_wait
from yamanote.testing._schedule import Diverged, Schedule, Step, real_schedule

__all__ = [
    "ArrangedLoop",
    "Clock",
    "Deadlock",
    "Diverged",
    "Exploration",
    "FaultCounts",
    "Faults",
    "Jumps",
    "RealIo",
    "ScheduleError",
    "Step",
    "Strategy",
    "VirtualLoop",
    "explore",
    "faults",
    "new_event_loop",
    "replay",
]


@overload
def new_event_loop(
    *,
    start: float = ...,
    seed: int | None = ...,
    strategy: Strategy = ...,
    real_io: RealIo = ...,
    virtual_time: Literal[True] = ...,
) -> VirtualLoop: ...


@overload
def new_event_loop(
    *,
    start: float = ...,
    seed: int | None = ...,
    strategy: Strategy = ...,
    real_io: RealIo = ...,
    virtual_time: bool,
) -> VirtualLoop | ArrangedLoop: ...


def new_event_loop(
    *,
    start: float = 0.0,
    seed: int | None = None,
    strategy: Strategy = "pct",
    real_io: RealIo = "wait",
    virtual_time: bool = True,
) -> VirtualLoop | ArrangedLoop:
    """Return a yamanote loop whose clock is virtual.

    Its `time()` stands still while anything runs, and jumps to the deadline of the next timer when
    nothing else can happen: nothing is ready, the kernel has no event, and no executor, name
    look-up, child process or Rust future works for the loop. While one of these does, time passes
    really instead: as long as until the deadline at most. When nothing can ever wake the loop,
    the run ends with `Deadlock`.

    `loop.clock` is the clock. What does not use the loop's time does not notice: `time.time()`
    goes on, and `time.sleep()` blocks.

    Args:
        start: what the clock shows first, in seconds.
        seed: leads to an order of what asyncio leaves open: of tasks that are ready at the same
            time, and of timers that are due at the same time. `None` is asyncio's own order.
        strategy: how the seed does; as for `explore()`.
        real_io: what happens before a jump while a connection, server or other descriptor is open,
            through which bytes may come. "wait" waits for them really, for a second at most; for
            10 ms where both ends of each connection are in this loop. A number is another
            limit, in seconds. "ignore" jumps at once.
        virtual_time: with `False` the loop's time is real and only `seed` counts: for programs that
            measure time by another clock, or share it with other threads or processes. There is
            no `Deadlock` then.

    Raises:
        ValueError: `real_io` or `strategy` is none of these, or `start` is not finite.
        TypeError: `seed` is no integer.
    """
    if not math.isfinite(start):
        raise ValueError(f"start must be finite, not {start!r}")
    longest_wait(real_io)  # Checks it: a loop that was made would have to be closed.
    chooser = chooser_of(strategy)
    if not virtual_time:
        return ArrangedLoop(schedule=real_schedule(chooser, seed))
    schedule = None if seed is None else Schedule(chooser(seed))
    return VirtualLoop(start=start, real_io=real_io, schedule=schedule)
