"""Programs that mean no good: `explore()` and `replay()` say clearly what is wrong."""

from __future__ import annotations

import asyncio
import sys
import unittest
import uuid
from typing import Any

import pytest

from yamanote import testing


async def two() -> None:
    await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))


def test_inside_a_running_loop_is_no_failure_of_the_program() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="running event loop"):
            testing.explore(two)
        with pytest.raises(RuntimeError, match="running event loop"):
            testing.replay(two, seed=1)

    asyncio.run(main())


@pytest.mark.parametrize("main", [7, int, lambda: None])
def test_what_is_not_asynchronous_is_refused(main: Any) -> None:  # noqa: ANN401
    with pytest.raises(TypeError, match="main must"):
        testing.explore(main)


@pytest.mark.parametrize("seed", ["1", 1.5, object()])
def test_a_seed_is_an_integer(seed: Any) -> None:  # noqa: ANN401
    with pytest.raises(TypeError, match="integer"):
        testing.explore(two, seeds=[seed])
    with pytest.raises(TypeError, match="integer"):
        testing.replay(two, seed=seed)
    with pytest.raises(TypeError, match="integer"):
        testing.new_event_loop(seed=seed)


def test_there_cannot_be_less_than_no_seeds() -> None:
    with pytest.raises(ValueError, match="negative"):
        testing.explore(two, seeds=-1)


@pytest.mark.parametrize("text", ["", ".", "\0", "x...", "1.5x.20b.aa", "1.w.20b.aa", "..20.aa"])
def test_other_texts_are_no_schedules(text: str) -> None:
    with pytest.raises(ValueError, match="not a schedule"):
        testing.replay(two, schedule=text)


@pytest.mark.parametrize("text", ["...", "1...", "..zZ0.aa", "..00a.aa", ".." + "20b" * 999 + ".a"])
def test_changed_schedules_diverge(text: str) -> None:
    with pytest.raises(testing.Diverged):
        testing.replay(two, schedule=text)


def test_a_schedule_is_a_text() -> None:
    wrong: Any = b"..."
    with pytest.raises(TypeError, match="a schedule is a text"):
        testing.replay(two, schedule=wrong)


def test_what_a_lost_task_raises_is_a_failure() -> None:
    async def lost() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        asyncio.create_task(lost())  # noqa: RUF006 - Lost.
        await asyncio.sleep(1)

    with pytest.raises(testing.ScheduleError, match="ZeroDivisionError"):
        testing.explore(main, seeds=0)


@pytest.mark.parametrize("grouped", [False, True])
def test_pytests_own_failures_are_failures(grouped: bool) -> None:
    async def fails() -> None:
        pytest.fail("wrong")

    async def main() -> None:
        if not grouped:
            await fails()
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())

    with pytest.raises(testing.ScheduleError):
        testing.explore(main, seeds=0)


@pytest.mark.parametrize(
    "error", [unittest.SkipTest("no"), pytest.skip.Exception("no"), KeyboardInterrupt()]
)
def test_what_ends_a_test_is_none(error: BaseException) -> None:
    async def main() -> None:
        raise error

    with pytest.raises(type(error)):
        testing.explore(main)


def test_a_pass_of_thousands_has_an_order_soon() -> None:
    """Steps and callbacks in turn: with the cube of their number it would take an hour."""
    done = 0

    async def count() -> None:
        nonlocal done
        done += 1

    async def main() -> None:
        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[None]] = []
        for _ in range(3000):
            tasks.append(loop.create_task(count()))
            loop.call_soon(int)
            loop.call_at(1, int)
        await asyncio.gather(*tasks)
        await asyncio.sleep(1)

    testing.replay(main, seed=3)
    assert done == 3000


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
def test_an_eager_task_has_begun_when_it_is_queued() -> None:
    async def eager() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        await asyncio.create_task(eager())

    with pytest.raises(testing.ScheduleError) as caught:
        testing.explore(main, seeds=0)
    assert [(step.task, step.first) for step in caught.value.steps] == [
        ("main", True),
        ("eager", False),
        ("main", False),
    ]


def test_names_that_are_never_the_same_do_not_diverge() -> None:
    async def append(to: list[int], number: int) -> None:
        to.append(number)

    async def main() -> None:
        found: list[int] = []
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(append(found, number), name=str(uuid.uuid4()))
        assert found == [0, 1, 2]

    with pytest.raises(testing.ScheduleError) as caught:
        testing.explore(main)
    with pytest.raises(AssertionError):
        testing.replay(main, schedule=caught.value.schedule)


def test_tasks_that_are_written_in_python_have_orders_too() -> None:
    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:  # noqa: ANN401
        kind: Any = asyncio.tasks
        return kind._PyTask(coroutine, loop=loop, **options)

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        await two()

    assert testing.explore(main, seeds=9).steps == 6
