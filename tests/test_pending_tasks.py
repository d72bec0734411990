"""`tasks()`, `dump()` and `keep_tasks`: pending tasks are seen, and none is lost."""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import weakref
from typing import TYPE_CHECKING

import pytest

import yamanote

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from tests.loops import LoopFactory


async def for_ever() -> None:
    """Waits for what does not come."""
    await asyncio.get_running_loop().create_future()


async def deep(depth: int) -> None:
    """Waits below so many more coroutines."""
    if depth:
        await deep(depth - 1)
    else:
        await for_ever()


async def some(*coroutines: tuple[str, Coroutine[object, object, object]]) -> list[str]:
    """Starts named tasks, lets them run until they wait, and returns the printed tree."""
    for name, coroutine in coroutines:
        keep.append(asyncio.create_task(coroutine, name=name))
    for _ in range(3):
        await asyncio.sleep(0)
    text = io.StringIO()
    yamanote.dump(file=text)
    return text.getvalue().splitlines()


keep: list[asyncio.Task[object]] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    """Lets the tasks of the test before go."""
    keep.clear()


def test_a_task_is_seen_where_it_waits(loop_factory: LoopFactory) -> None:
    async def main() -> list[yamanote.TaskInfo]:
        await some(("one", deep(2)))
        return yamanote.tasks()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        mine, one = runner.run(main())
    assert (one.name, one.coroutine) == ("one", "deep")
    assert [frame.name for frame in one.stack] == ["deep", "deep", "deep", "for_ever"]
    assert one.stack[-1].line == "await asyncio.get_running_loop().create_future()"
    assert one.waits_for.startswith("<Future pending")
    assert (one.awaited_by, one.age, one.origin) == ((), None, None)
    assert mine.waits_for == ""
    assert mine.stack[0].name == "main"


def test_a_task_that_has_not_begun_is_ready(loop_factory: LoopFactory) -> None:
    async def main() -> yamanote.TaskInfo:
        keep.append(asyncio.create_task(for_ever(), name="fresh"))
        return next(info for info in yamanote.tasks() if info.name == "fresh")

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        fresh = runner.run(main())
    assert fresh.waits_for == ""
    assert [frame.name for frame in fresh.stack] == ["for_ever"]


def test_the_tree_has_waiting_tasks_above_those_that_they_wait_for(
    loop_factory: LoopFactory,
) -> None:
    async def gathers() -> None:
        await asyncio.gather(for_ever(), for_ever())

    async def waits() -> None:
        await keep[0]

    async def main() -> list[str]:
        return await some(("z-gatherer", gathers()), ("a-waiter", waits()))

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        lines = runner.run(main())
    assert lines[0] == "5 pending tasks"
    heads = [line for line in lines if ": " in line and "File" not in line]
    assert [line[: len(line) - len(line.lstrip())] for line in heads] == [
        "  ",
        "  ",
        "    ",
        "      ",
        "      ",
    ]
    assert "a-waiter" in heads[1]
    assert "z-gatherer" in heads[2]
    assert sum("waits for <Future pending" in line for line in lines) == 2
    assert sum(line.strip() == "runs" for line in lines) == 1


def test_tasks_that_wait_for_each_other_are_shown_once(loop_factory: LoopFactory) -> None:
    async def waits(index: int) -> None:
        await keep[index]

    async def main() -> list[str]:
        lines = await some(("one", waits(1)), ("two", waits(0)))
        # Cancelling one of them would cancel the other, which would cancel the one ...
        for task in keep:
            task.get_coro().close()  # type: ignore[union-attr]
        return lines

    loop = loop_factory()
    lines = loop.run_until_complete(main())
    loop.set_exception_handler(lambda _, context: None)
    loop.close()
    keep.clear()
    gc.collect()
    assert "    two (see above)" not in lines
    assert sum("one" in line for line in lines) >= 2
    assert any(line.endswith("(see above)") for line in lines)


def test_a_generator_in_between_is_no_error(loop_factory: LoopFactory) -> None:
    async def generator() -> AsyncGenerator[int, None]:
        yield 1
        await for_ever()

    async def loops() -> None:
        async for _ in generator():
            pass

    async def main() -> list[str]:
        return await some(("loops", loops()))

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        lines = runner.run(main())
    assert any(line.endswith(", in loops") for line in lines)


def test_the_loop_is_the_running_one_unless_given(loop_factory: LoopFactory) -> None:
    loop = loop_factory()
    task = loop.create_task(for_ever(), name="mine")
    with pytest.raises(RuntimeError):
        yamanote.tasks()
    assert [info.task for info in yamanote.tasks(loop)] == [task]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert yamanote.tasks(loop) == []
    loop.close()


def test_debug_mode_tells_where_a_task_was_created(loop_factory: LoopFactory) -> None:
    async def main() -> list[str]:
        return await some(("one", for_ever()))

    with asyncio.Runner(loop_factory=loop_factory, debug=True) as runner:
        lines = runner.run(main())
    (head,) = (line for line in lines if "one: for_ever" in line)
    assert f", created at {__file__}:" in head


async def lose_one(lost: list[weakref.ref[asyncio.Task[None]]]) -> None:
    """Starts a task that only a cycle of its own refers to, and collects."""

    async def waits_for_itself() -> None:
        future = asyncio.get_running_loop().create_future()
        future.held_by = future  # type: ignore[attr-defined]
        await future

    lost.append(weakref.ref(asyncio.create_task(waits_for_itself())))
    await asyncio.sleep(0)
    gc.collect()


def test_without_keep_tasks_a_task_may_be_lost(caplog: pytest.LogCaptureFixture) -> None:
    lost: list[weakref.ref[asyncio.Task[None]]] = []
    yamanote.run(lose_one(lost))
    assert lost[0]() is None
    assert "Task was destroyed but it is pending!" in caplog.text


def test_kept_tasks_are_not_lost(caplog: pytest.LogCaptureFixture) -> None:
    lost: list[weakref.ref[asyncio.Task[None]]] = []
    alive: list[bool] = []

    async def main() -> None:
        await lose_one(lost)
        alive.append(lost[0]() is not None)
        (info,) = (info for info in yamanote.tasks() if info.task is lost[0]())
        assert info.age is not None
        assert info.age >= 0

    yamanote.run(main(), keep_tasks=True)
    gc.collect()
    assert alive == [True]
    assert lost[0]() is None
    assert caplog.text == ""


def test_kept_tasks_go_when_they_are_done() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        finished = [weakref.ref(loop.create_task(asyncio.sleep(0))) for _ in range(100)]
        for _ in range(4):
            await asyncio.sleep(0)
        gc.collect()
        assert [task() for task in finished] == [None] * 100

    yamanote.run(main(), keep_tasks=True)


@pytest.mark.parametrize("debug", [False, True])
def test_pending_tasks_of_a_closed_loop_are_one_record(
    caplog: pytest.LogCaptureFixture, debug: bool
) -> None:
    loop = yamanote.new_event_loop(keep_tasks=True)
    loop.set_debug(debug)
    tasks = [loop.create_task(deep(0), name=f"number {number}") for number in range(3)]
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    loop.close()
    del tasks
    gc.collect()
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    lines = record.getMessage().splitlines()
    assert lines[0] == "3 task(s) were pending when the event loop was closed:"
    known = "created" if debug else "defined"
    for number, line in enumerate(lines[1:]):
        assert line.startswith(f"  number {number}: deep, {known} at {__file__}:")


def test_a_kept_loop_has_its_task_factory(caplog: pytest.LogCaptureFixture) -> None:
    class Mine(asyncio.Task[None]):
        pass

    def factory(loop: asyncio.AbstractEventLoop, coro: object, **options: object) -> Mine:
        return Mine(coro, loop=loop, **options)  # type: ignore[arg-type]

    loop = yamanote.new_event_loop(keep_tasks=True)
    loop.set_task_factory(factory)  # type: ignore[arg-type]
    task = loop.create_task(asyncio.sleep(0), name="mine")
    assert type(task) is Mine
    assert task.get_name() == "mine"
    loop.run_until_complete(task)
    loop.close()
    assert caplog.text == ""


def test_a_closed_loop_that_kept_tasks_is_freed_at_once() -> None:
    gc.collect()
    gc.disable()
    try:
        loop = yamanote.new_event_loop(keep_tasks=True)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        reference = weakref.ref(loop)
        del loop
        gc.collect()
        assert reference() is None
    finally:
        gc.enable()


def test_a_factory_of_loops_decides_about_tasks_itself() -> None:
    main = asyncio.sleep(0)
    with pytest.raises(ValueError, match="keep_tasks is for the loop_factory to decide"):
        yamanote.run(main, loop_factory=asyncio.new_event_loop, keep_tasks=True)
    main.close()
