"""Does `explore()` find what fails in some order, and accuse nothing that is right?"""

from __future__ import annotations

import asyncio

import pytest

from tests.testing.races import RACES
from yamanote import testing

#: As issues and bug reports have it: a seed is worth nothing if it works most of the time.
REPLAYS = 100


def test_there_are_twenty() -> None:
    assert len(RACES) == 20


@pytest.mark.parametrize("strategy", ["pct", "uniform"])
@pytest.mark.parametrize("name", RACES)
def test_a_race_is_found_and_comes_back(name: str, strategy: testing.Strategy) -> None:
    wrong, _ = RACES[name]
    with pytest.raises(testing.ScheduleError) as found:
        testing.explore(wrong, seeds=200, strategy=strategy)
    assert found.value.seed is not None, "it fails in asyncio's own order, too"
    cause = found.value.__cause__
    assert cause is not None
    for _ in range(REPLAYS):
        with pytest.raises(type(cause)):
            testing.replay(wrong, schedule=found.value.schedule)
        with pytest.raises(type(cause)):
            testing.replay(wrong, seed=found.value.seed, strategy=strategy)


@pytest.mark.parametrize("name", RACES)
def test_its_twin_is_not_accused(name: str) -> None:
    _, right = RACES[name]
    explored = testing.explore(right, seeds=1000)
    assert explored.runs == 1001
    assert explored.orders > 1


def test_sleep_0_lets_a_new_task_begin_and_a_woken_one_go_on() -> None:
    """Asyncio has it so, and programs rely on it everywhere."""

    async def main() -> None:
        seen: list[str] = []
        event = asyncio.Event()

        async def worker(name: str) -> None:
            seen.append(f"{name} begins")
            await event.wait()
            seen.append(f"{name} goes on")

        async def busy() -> None:
            for _ in range(5):
                await asyncio.sleep(0)

        others = [asyncio.create_task(busy()) for _ in range(3)]
        workers = [asyncio.create_task(worker(name)) for name in "ab"]
        await asyncio.sleep(0)
        assert sorted(seen) == ["a begins", "b begins"]
        asyncio.get_running_loop().call_soon(seen.append, "called")
        event.set()
        await asyncio.sleep(0)
        assert sorted(seen[2:]) == ["a goes on", "b goes on", "called"]
        await asyncio.gather(*others, *workers)

    explored = testing.explore(main, seeds=1000)
    assert explored.orders > 1
