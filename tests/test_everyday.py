"""Typical programs and typical mistakes: the same behaviour as on asyncio."""

from __future__ import annotations

import asyncio
import gc
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.programs import Program

# --- gather, wait, as_completed ---------------------------------------------------------------


def test_gather_keeps_the_order_of_its_arguments(loop: asyncio.AbstractEventLoop) -> None:
    finished: list[int] = []

    async def job(number: int) -> int:
        await asyncio.sleep((5 - number) * 0.002)
        finished.append(number)
        return number

    async def main() -> list[int]:
        return await asyncio.gather(*(job(number) for number in range(5)))

    assert loop.run_until_complete(main()) == [0, 1, 2, 3, 4]
    assert finished == [4, 3, 2, 1, 0]


def test_gather_raises_the_first_error_and_lets_the_others_go_on(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async def main() -> str:
        go_on = asyncio.Event()

        async def slow() -> str:
            await go_on.wait()
            return "not cancelled"

        slow_task = asyncio.ensure_future(slow())
        with pytest.raises(ZeroDivisionError):
            await asyncio.gather(slow_task, fail())
        go_on.set()
        return await slow_task

    assert loop.run_until_complete(main()) == "not cancelled"


def test_gather_can_return_the_errors(loop: asyncio.AbstractEventLoop) -> None:
    async def divide(by: int) -> float:
        return 1 / by

    async def main() -> tuple[Any, ...]:
        return tuple(await asyncio.gather(divide(1), divide(0), divide(2), return_exceptions=True))

    one, error, half = loop.run_until_complete(main())
    assert (one, half) == (1, 0.5)
    assert isinstance(error, ZeroDivisionError)


def test_wait_separates_the_done_from_the_pending(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        quick = asyncio.ensure_future(asyncio.sleep(0, "quick"))
        slow = asyncio.ensure_future(asyncio.sleep(3600))
        done, pending = await asyncio.wait({quick, slow}, return_when=asyncio.FIRST_COMPLETED)
        assert (done, pending) == ({quick}, {slow})
        done, pending = await asyncio.wait({slow}, timeout=0.001)
        assert (done, pending) == (set(), {slow})
        slow.cancel()
        done, pending = await asyncio.wait({slow})
        assert (done, pending) == ({slow}, set())

    loop.run_until_complete(main())


def test_as_completed_gives_results_as_they_come(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> list[int]:
        turns = [asyncio.Event() for _ in range(4)]

        async def job(number: int) -> int:
            await turns[number].wait()
            turns[number + 1].set()
            return number

        turns[0].set()
        return [await first for first in asyncio.as_completed([job(2), job(0), job(1)])]

    assert loop.run_until_complete(main()) == [0, 1, 2]


# --- bounds and queues ------------------------------------------------------------------------


def test_a_semaphore_bounds_how_many_run_at_once(loop: asyncio.AbstractEventLoop) -> None:
    running = peak = 0

    async def job(limit: asyncio.Semaphore, number: int) -> int:
        nonlocal running, peak
        async with limit:
            running += 1
            peak = max(peak, running)
            await asyncio.sleep(0.0005)
            running -= 1
        return number

    async def main() -> list[int]:
        limit = asyncio.Semaphore(3)
        return await asyncio.gather(*(job(limit, number) for number in range(30)))

    assert loop.run_until_complete(main()) == list(range(30))
    assert (running, peak) == (0, 3)


def test_a_lock_lets_one_in_and_is_fair(loop: asyncio.AbstractEventLoop) -> None:
    entered: list[int] = []

    async def job(lock: asyncio.Lock, number: int) -> None:
        async with lock:
            entered.append(number)
            await asyncio.sleep(0)
            assert entered[-1] == number

    async def main() -> None:
        lock = asyncio.Lock()
        await asyncio.gather(*(job(lock, number) for number in range(10)))

    loop.run_until_complete(main())
    assert entered == list(range(10))


def test_an_event_and_a_condition_wake_all_who_wait(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> list[str]:
        event, condition = asyncio.Event(), asyncio.Condition()

        async def wait_for_condition() -> str:
            async with condition:
                await condition.wait()
            return "condition"

        async def wait_for_event() -> str:
            await event.wait()
            return "event"

        waiting = [
            asyncio.ensure_future(wait)
            for wait in (wait_for_event(), wait_for_event(), wait_for_condition())
        ]
        await asyncio.sleep(0)
        event.set()
        async with condition:
            condition.notify_all()
        return await asyncio.gather(*waiting)

    assert loop.run_until_complete(main()) == ["event", "event", "condition"]


def test_a_full_queue_holds_its_producer_back(loop: asyncio.AbstractEventLoop) -> None:
    sizes: list[int] = []

    async def main() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)
        received: list[int] = []

        async def produce() -> None:
            for number in range(20):
                await queue.put(number)
                sizes.append(queue.qsize())

        async def consume() -> None:
            while True:
                received.append(await queue.get())
                queue.task_done()

        consumer = asyncio.ensure_future(consume())
        await produce()
        await queue.join()
        consumer.cancel()
        await asyncio.wait([consumer])
        return received

    assert loop.run_until_complete(main()) == list(range(20))
    assert max(sizes) == 2


def test_workers_share_a_queue_and_are_cancelled_in_the_end(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> tuple[int, list[bool]]:
        queue: asyncio.Queue[int] = asyncio.Queue()
        total = 0

        async def worker() -> None:
            nonlocal total
            while True:
                number = await queue.get()
                await asyncio.sleep(0)
                total += number
                queue.task_done()

        for number in range(100):
            queue.put_nowait(number)
        workers = [asyncio.ensure_future(worker()) for _ in range(5)]
        await queue.join()
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        return total, [task.cancelled() for task in workers]

    assert loop.run_until_complete(main()) == (4950, [True] * 5)


# --- timeouts and cancellation ----------------------------------------------------------------


def test_wait_for_cancels_what_is_too_slow_and_waits_for_its_clean_up(
    loop: asyncio.AbstractEventLoop,
) -> None:
    events: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            events.append("cleaned up")

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(slow(), 0.001)
        events.append("timed out")

    loop.run_until_complete(main())
    assert events == ["cleaned up", "timed out"]


def test_wait_for_gives_the_result_in_time(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> tuple[str, str]:
        in_time = await asyncio.wait_for(asyncio.sleep(0, "in time"), 3600)
        without_end = await asyncio.wait_for(asyncio.sleep(0, "without end"), None)
        return in_time, without_end

    assert loop.run_until_complete(main()) == ("in time", "without end")


def test_timeout_ends_a_block_and_only_that(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.sleep(3600)
        async with asyncio.timeout(3600) as scope:
            await asyncio.sleep(0)
        assert not scope.expired()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        return "went on"

    assert loop.run_until_complete(main()) == "went on"


def test_a_timeout_inside_another_expires_alone(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> tuple[bool, bool]:
        inner = asyncio.timeout(0.001)
        async with asyncio.timeout(3600) as outer:
            with pytest.raises(TimeoutError):
                async with inner:
                    await asyncio.sleep(60)
        return outer.expired(), inner.expired()

    assert loop.run_until_complete(main()) == (False, True)


def test_a_timeout_can_be_moved(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with asyncio.timeout(None) as scope:
            scope.reschedule(loop.time() + 0.001)
            await asyncio.sleep(3600)

    with pytest.raises(TimeoutError):
        loop.run_until_complete(main())


def test_a_shielded_task_survives_the_cancellation_of_its_waiter(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> str:
        go_on = asyncio.Event()

        async def protected() -> str:
            await go_on.wait()
            return "survived"

        inner = asyncio.ensure_future(protected())
        waiter = asyncio.ensure_future(asyncio.wait_for(asyncio.shield(inner), 3600))
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        go_on.set()
        return await inner

    assert loop.run_until_complete(main()) == "survived"


# --- task groups ------------------------------------------------------------------------------


def test_a_task_group_waits_for_all_of_its_tasks(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0.001, number)) for number in range(5)]
        return [task.result() for task in tasks]

    assert loop.run_until_complete(main()) == [0, 1, 2, 3, 4]


def test_a_failure_in_a_task_group_cancels_the_rest_and_comes_out(
    loop: asyncio.AbstractEventLoop,
) -> None:
    events: list[str] = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def wait() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(wait())
            group.create_task(fail())
            await wait()

    with pytest.raises(BaseException) as caught:  # noqa: PT011  # ExceptionGroup is new in 3.11
        loop.run_until_complete(main())
    errors: tuple[BaseException, ...] = getattr(caught.value, "exceptions", ())
    assert [type(error) for error in errors] == [ZeroDivisionError]
    assert events == ["cancelled", "cancelled"]


# --- background tasks -------------------------------------------------------------------------


def test_a_background_task_works_while_the_main_one_waits(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> list[int]:
        ticks: list[int] = []
        enough = asyncio.Event()

        async def tick() -> None:
            while True:
                ticks.append(len(ticks))
                if len(ticks) == 5:
                    enough.set()
                await asyncio.sleep(0.0005)

        background = asyncio.ensure_future(tick())
        await enough.wait()
        background.cancel()
        with pytest.raises(asyncio.CancelledError):
            await background
        return ticks[:5]

    assert loop.run_until_complete(main()) == [0, 1, 2, 3, 4]


def test_run_cancels_what_is_left_in_the_background(program: Program) -> None:
    child = program.run("""
    async def background():
        try:
            await asyncio.sleep(3600)
        finally:
            print("background cleaned up")

    async def counting():
        try:
            for number in range(10):
                yield number
        finally:
            print("generator closed")

    async def main():
        global kept, generator
        kept = asyncio.ensure_future(background())
        generator = counting()
        await generator.__anext__()
        print("main done")

    run(main())
    """)
    assert (child.stdout, child.stderr) == (
        "main done\nbackground cleaned up\ngenerator closed\n",
        "",
    )


# --- everyday mistakes ------------------------------------------------------------------------


async def forgotten() -> None:
    """A coroutine that is never awaited."""


def forget(coroutine_function: Any) -> None:  # noqa: ANN401
    """Calls a coroutine function without `await`."""
    coroutine_function()
    gc.collect()


def test_a_coroutine_never_awaited_warns(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with pytest.warns(RuntimeWarning, match="coroutine 'forgotten' was never awaited"):
            forget(forgotten)

    loop.run_until_complete(main())


def test_in_debug_mode_the_warning_says_where_it_was_made(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        with pytest.warns(RuntimeWarning, match="never awaited") as caught:
            forget(forgotten)
        message = str(caught[0].message)
        assert "Coroutine created at (most recent call last)" in message
        assert "coroutine_function()" in message

    loop.set_debug(True)
    loop.run_until_complete(main())


def test_a_pending_task_that_is_destroyed_says_so(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, object]]
) -> None:
    async def main() -> None:
        # The future and the task refer to each other, and there is no other reference.
        asyncio.ensure_future(wait_for_ever())  # noqa: RUF006  # this is the mistake
        await asyncio.sleep(0)
        gc.collect()

    async def wait_for_ever() -> None:
        await asyncio.get_running_loop().create_future()

    loop.set_debug(False)
    loop.run_until_complete(main())
    (context,) = reported
    assert context["message"] == "Task was destroyed but it is pending!"
    assert set(context) == {"message", "task"}
    assert "wait_for_ever()" in repr(context["task"])
    reported.clear()


def test_run_inside_a_running_loop_is_a_clear_error(program: Program) -> None:
    child = program.run("""
    async def inner():
        pass

    async def main():
        coroutine = inner()
        try:
            run(coroutine)
        except RuntimeError as error:
            print(error)
        coroutine.close()

    run(main())
    """)
    assert (child.stdout, child.stderr) == (
        "asyncio.run() cannot be called from a running event loop\n",
        "",
    )


def test_run_of_something_else_than_a_coroutine_is_a_clear_error(program: Program) -> None:
    child = program.run("""
    async def main():
        pass

    try:
        run(main)
    except (TypeError, ValueError) as error:
        print(type(error).__name__, str(error).partition(",")[0])
    """)
    # 3.14 accepts any awaitable, and its message says so.
    expected = {"ValueError a coroutine was expected\n", "TypeError An asyncio.Future\n"}
    assert child.stdout in expected
    assert child.stderr == ""


def test_a_blocking_call_shows_in_debug_mode_with_the_culprit(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def culprit() -> None:
        time.sleep(0.02)  # noqa: ASYNC251  # the mistake that this test is about

    async def main() -> None:
        await asyncio.gather(culprit(), asyncio.sleep(0))

    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    loop.run_until_complete(main())
    # On a busy machine other steps may be slow, too; this one always is.
    pattern = r"Executing <Task .* coro=<.*culprit\(\) .*> took \d+\.\d{3} seconds"
    assert any(re.fullmatch(pattern, record.getMessage()) for record in caplog.records)


def test_an_error_in_a_background_task_that_is_never_awaited_is_reported(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, object]]
) -> None:
    async def fail() -> None:
        raise ZeroDivisionError("nobody looks")

    async def main() -> None:
        done = asyncio.Event()
        background = {asyncio.ensure_future(fail())}
        next(iter(background)).add_done_callback(background.discard)
        next(iter(background)).add_done_callback(lambda _: done.set())
        await done.wait()
        assert not background

    loop.run_until_complete(main())
    gc.collect()
    assert [context["message"] for context in reported] == ["Task exception was never retrieved"]
    assert str(reported[0]["exception"]) == "nobody looks"
    reported.clear()


def test_awaiting_a_future_of_another_loop_is_a_clear_error(
    loop: asyncio.AbstractEventLoop,
) -> None:
    other = asyncio.new_event_loop()

    async def main() -> None:
        await other.create_future()

    try:
        with pytest.raises(RuntimeError, match="attached to a different loop"):
            loop.run_until_complete(main())
    finally:
        other.close()


def test_yielding_something_else_than_a_future_is_a_clear_error(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class Bad:
        def __await__(self) -> Any:  # noqa: ANN401
            yield "text"

    async def main() -> None:
        await Bad()

    with pytest.raises(RuntimeError, match="Task got bad yield: 'text'"):
        loop.run_until_complete(main())


def test_an_async_with_that_is_cancelled_leaves_its_block(
    loop: asyncio.AbstractEventLoop,
) -> None:
    events: list[str] = []

    class Resource:
        """Records when it is opened and closed."""

        async def __aenter__(self) -> None:
            events.append("opened")

        async def __aexit__(self, *_: object) -> None:
            await asyncio.sleep(0)
            events.append("closed")

    async def use() -> None:
        async with Resource():
            await asyncio.sleep(3600)

    async def main() -> None:
        task = asyncio.ensure_future(use())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    loop.run_until_complete(main())
    assert events == ["opened", "closed"]


def test_the_same_coroutine_cannot_run_twice(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> str:
        return "once"

    coroutine: Coroutine[Any, Any, str] = main()
    assert loop.run_until_complete(coroutine) == "once"
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        loop.run_until_complete(coroutine)
