"""Rust futures by the hundred thousand, a third of them cancelled: no leak, no hang.

`YAMANOTE_SOAK=1000000` sets their number; the default is meant for CI.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
from typing import TYPE_CHECKING, Any

import pytest

import yamanote
from tests.interop.extension import rust
from tests.processes import LINUX
from tests.soak.resources import Resources
from yamanote import _yamanote

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.skipif(not LINUX, reason="looks into /proc"),
    pytest.mark.slow,
    pytest.mark.hang_after(900),
]

AWAITS = int(os.environ.get("YAMANOTE_SOAK", "30000"))
#: In flight at once.
WIDTH = 500
#: Measured over a million awaits: at most 0.6 MiB, independent of the number; a leak of 32 bytes
#: per await would be 30 MiB.
GROWTH_BYTES = 4 * 1024 * 1024


class Result:
    """The result of local futures; a leak shows as an extra reference."""


def makers(value: Result) -> dict[str, Callable[[random.Random], Any]]:
    """Returns the two kinds of futures, with the functions that create them."""
    return {
        "local": lambda dice: rust.yielding(value, dice.randrange(2, 9)),
        "unsendable": lambda dice: rust.local(dice.randrange(2, 9)),
        "spawned": lambda dice: rust.spawned(1, dice.randrange(4000)),
    }


async def storm(make: Callable[[random.Random], Any], count: int, dice: random.Random) -> int:
    """Awaits `count` futures and cancels a third of them: at once, soon, or some turns later."""

    async def one(future: Any) -> None:  # noqa: ANN401 - whatever the extension gives.
        await future

    cancelled = 0
    for _ in range(count // WIDTH):
        tasks = [asyncio.ensure_future(one(make(dice))) for _ in range(WIDTH)]
        for _ in range(3):
            for task in dice.sample(tasks, WIDTH // 8):
                task.cancel()
            await asyncio.sleep(0)
        # Awaitables that are never awaited, too.
        for _ in range(WIDTH // 50):
            make(dice)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(each is None or isinstance(each, asyncio.CancelledError) for each in results)
        cancelled += sum(each is not None for each in results)
    return cancelled


@pytest.mark.parametrize("path", ["local", "unsendable", "spawned"])
def test_nothing_is_left_of_many_futures(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    before = _yamanote._live_futures()
    value = Result()
    make = makers(value)[path]
    dice = random.Random(6)

    def run(count: int) -> int:
        async def main() -> int:
            return await storm(make, count, dice)

        cancelled = yamanote.run(main())
        gc.collect()
        return cancelled

    run(20_000)
    references, resources = sys.getrefcount(value), Resources.now()
    cancelled = run(AWAITS)
    assert cancelled > AWAITS // 5
    assert _yamanote._live_futures() == before
    assert sys.getrefcount(value) == references
    after = Resources.now()
    assert after.descriptors == resources.descriptors
    assert after.resident_bytes - resources.resident_bytes < GROWTH_BYTES
    assert unraisable == []
