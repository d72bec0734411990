"""Orders on the real clock: what the seed decides is the order, not the time."""

from __future__ import annotations

import asyncio
import time
import weakref
from typing import TYPE_CHECKING, Literal

import pytest

from yamanote import testing

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

#: In one order of six, all seeds of so many would agree with a chance below one in a million.
SEEDS = range(30)


def run(main: Callable[[], Coroutine[Any, Any, list[str]]], seed: int | None) -> list[str]:
    """Run `main` on the real clock."""
    with asyncio.Runner(
        loop_factory=lambda: testing.new_event_loop(seed=seed, virtual_time=False)
    ) as runner:
        return runner.run(main())


async def three_tasks() -> list[str]:
    names: list[str] = []

    async def note(name: str) -> None:
        names.append(name)

    await asyncio.gather(*map(note, "abc"))
    return names


async def three_callbacks() -> list[str]:
    names: list[str] = []
    loop = asyncio.get_running_loop()
    for name in "abc":
        loop.call_soon(names.append, name)
    await asyncio.sleep(0)
    return names


def test_a_seed_arranges_tasks() -> None:
    orders = {tuple(run(three_tasks, seed)) for seed in SEEDS}
    assert len(orders) == 6
    assert all(run(three_tasks, seed) == run(three_tasks, seed) for seed in SEEDS)


def test_without_a_seed_the_order_is_that_of_asyncio() -> None:
    assert run(three_tasks, None) == ["a", "b", "c"]


@pytest.mark.parametrize("seed", SEEDS)
def test_callbacks_keep_their_order(seed: int) -> None:
    assert run(three_callbacks, seed) == ["a", "b", "c"]


def test_time_is_real() -> None:
    async def main() -> list[str]:
        start, before = time.monotonic(), asyncio.get_running_loop().time()
        await asyncio.sleep(0.02)
        assert time.monotonic() - start >= 0.02
        assert asyncio.get_running_loop().time() - before >= 0.02
        return []

    run(main, 1)


@pytest.mark.parametrize("virtual_time", [True, False])
def test_a_task_that_is_done_is_not_kept(virtual_time: Literal[True]) -> None:
    async def work() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        task = asyncio.create_task(work())
        gone = weakref.ref(task)
        await task
        del task
        await asyncio.sleep(0)
        assert gone() is None

    with asyncio.Runner(
        loop_factory=lambda: testing.new_event_loop(seed=1, virtual_time=virtual_time)
    ) as runner:
        runner.run(main())


def test_a_task_may_take_many_steps() -> None:
    """It may look for a time to come; on virtual time, it would not end."""
    loop = testing.new_event_loop(seed=1, virtual_time=False)
    assert isinstance(loop, testing.ArrangedLoop)
    schedule = loop._schedule  # pyright: ignore[reportPrivateUsage]
    assert schedule is not None
    schedule.step_count = 2_000_000
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
