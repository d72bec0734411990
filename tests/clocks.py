"""Loops whose clock stands still until a test advances it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import yamanote

if TYPE_CHECKING:
    from collections.abc import Callable


class FakeClockLoop(asyncio.AbstractEventLoop):
    """A mixin for loops: `time()` returns the attribute `now`."""

    #: Seconds.
    now: float = 1000.0

    def time(self) -> float:
        """Returns `now`."""
        return self.now


class _AsyncioLoop(FakeClockLoop, asyncio.SelectorEventLoop):
    pass


class _YamanoteLoop(FakeClockLoop, yamanote.Loop):
    pass


#: The keys are those of `tests.loops.LOOPS`.
FAKE_CLOCK_LOOPS: dict[str, Callable[[], FakeClockLoop]] = {
    "asyncio": _AsyncioLoop,
    "yamanote": _YamanoteLoop,
}
