"""What a test asks of its loop."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, get_args

from yamanote.testing._choices import Strategy, chooser_of
from yamanote.testing._leaks import RememberingLoop, RememberingVirtualLoop
from yamanote.testing._loop import longest_wait
from yamanote.testing._schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from yamanote._loop import Loop
    from yamanote.testing._loop import RealIo


@dataclass(frozen=True)
class Options:
    """The arguments of the marker.

    Attributes:
        virtual_time: whether the loop's clock is virtual. `None` is yes with `seed` and `seeds`,
            and otherwise no.
        seed: leads to an order of tasks.
        seeds: run the test in asyncio's order and with so many seeds.
        strategy: how a seed leads to an order.
        cancel_points: with `seeds`, also cancel one task at one `await`.
        real_io: as for `yamanote.testing.new_event_loop()`.
        leaks: "error" fails a test that leaves tasks, transports, timers or asynchronous generators
            behind.
        watch: fail a test that blocks the loop for longer, in real seconds.
        timeout: fail a test that takes longer, in seconds of its loop's clock.
    """

    virtual_time: bool | None = None
    seed: int | None = None
    seeds: int | None = None
    strategy: Strategy = "pct"
    cancel_points: bool = False
    real_io: RealIo = "wait"
    leaks: Literal["error", "ignore"] = "ignore"
    watch: float | None = None
    timeout: float | None = None

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Options:
        """Check the arguments of a marker.

        Raises:
            ValueError: one is unknown, has a value that it cannot have, or does not go with the
                others.
        """
        known = [it.name for it in fields(cls)]
        for name in arguments:
            if name not in known:
                raise ValueError(f"the marker yamanote has no {name!r}; it has {', '.join(known)}")
        options = cls(**arguments)
        if options.leaks not in ("error", "ignore"):
            raise ValueError(f"leaks must be 'error' or 'ignore', not {options.leaks!r}")
        if options.strategy not in get_args(Strategy):
            raise ValueError(f"strategy must be 'pct' or 'uniform', not {options.strategy!r}")
        longest_wait(options.real_io)
        if options.virtual_time is False and not (options.seed is options.seeds is None):
            raise ValueError("seeds need virtual_time")
        if options.seed is not None and options.seeds is not None:
            raise ValueError("give one seed, or how many seeds")
        if options.cancel_points and options.seeds is None:
            raise ValueError("cancel_points go with seeds")
        return options

    @property
    def is_virtual(self) -> bool:
        """Whether the clock is virtual."""
        if self.virtual_time is None:
            return self.seed is not None or self.seeds is not None
        return self.virtual_time

    def new_event_loop(self) -> Loop:
        """Return a loop for one run of a test."""
        if self.is_virtual:
            seed = self.seed
            schedule = None if seed is None else Schedule(chooser_of(self.strategy)(seed))
            return RememberingVirtualLoop(
                start=0.0, real_io=self.real_io, schedule=schedule, until=self.timeout
            )
        return RememberingLoop()
