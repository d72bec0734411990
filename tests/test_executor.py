"""Work on threads: `run_in_executor` and the lifetime of the default executor."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import math
import multiprocessing
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_result_comes_from_another_thread(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> tuple[int, str]:
        return await loop.run_in_executor(
            None, lambda: (threading.get_ident(), threading.current_thread().name)
        )

    ident, name = loop.run_until_complete(main())
    assert ident != threading.get_ident()
    assert name.startswith("asyncio_")


def test_arguments_are_passed_on_by_position(loop: asyncio.AbstractEventLoop) -> None:
    def job(*received: object) -> tuple[object, ...]:
        return received

    async def main() -> tuple[object, ...]:
        return await loop.run_in_executor(None, job, 1, "two", None)

    assert loop.run_until_complete(main()) == (1, "two", None)


def test_it_gives_a_future_of_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    future = loop.run_in_executor(None, int, "7")
    assert asyncio.isfuture(future)
    assert future.get_loop() is loop
    assert loop.run_until_complete(future) == 7


def test_an_exception_comes_back_as_it_was(loop: asyncio.AbstractEventLoop) -> None:
    error = ZeroDivisionError("in the thread")

    def fail() -> None:
        raise error

    with pytest.raises(ZeroDivisionError) as caught:
        loop.run_until_complete(loop.run_in_executor(None, fail))
    assert caught.value is error


def test_jobs_run_at_the_same_time(loop: asyncio.AbstractEventLoop) -> None:
    together = threading.Barrier(4)

    async def main() -> list[int]:
        # The barrier opens only if all four run at once.
        return sorted(
            await asyncio.gather(*(loop.run_in_executor(None, together.wait) for _ in range(4)))
        )

    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(4))
    assert loop.run_until_complete(main()) == [0, 1, 2, 3]


def test_many_jobs_keep_their_results_apart(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> list[str]:
        return await asyncio.gather(
            *(loop.run_in_executor(None, str, number) for number in range(500))
        )

    assert loop.run_until_complete(main()) == [str(number) for number in range(500)]


def test_the_loop_goes_on_while_a_job_blocks(loop: asyncio.AbstractEventLoop) -> None:
    release = threading.Event()

    async def main() -> str:
        job = loop.run_in_executor(None, release.wait)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not job.done()
        release.set()
        await job
        return "both got on"

    assert loop.run_until_complete(main()) == "both got on"


def test_an_executor_of_ones_own_is_used_and_left_alone(loop: asyncio.AbstractEventLoop) -> None:
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine") as executor:

        async def main() -> str:
            return await loop.run_in_executor(executor, lambda: threading.current_thread().name)

        assert loop.run_until_complete(main()).startswith("mine")
        loop.close()
        assert executor.submit(int, "1").result() == 1


@pytest.mark.slow
def test_a_process_pool_works_too(loop: asyncio.AbstractEventLoop) -> None:
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:

        async def main() -> int:
            return await loop.run_in_executor(executor, math.factorial, 20)

        assert loop.run_until_complete(main()) == math.factorial(20)


def test_the_default_executor_can_be_replaced(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1, "replaced"))
    name = loop.run_until_complete(
        loop.run_in_executor(None, lambda: threading.current_thread().name)
    )
    assert name.startswith("replaced")


def test_the_default_executor_must_be_of_threads(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(TypeError, match="executor must be ThreadPoolExecutor instance"):
        loop.set_default_executor(object())  # type: ignore[arg-type]


def test_to_thread_takes_the_context_along(loop: asyncio.AbstractEventLoop) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def main() -> str:
        variable.set("of the task")
        return await asyncio.to_thread(variable.get)

    assert loop.run_until_complete(main()) == "of the task"


def test_a_cancelled_wait_leaves_the_job_to_its_thread(loop: asyncio.AbstractEventLoop) -> None:
    release, finished = threading.Event(), threading.Event()

    def job() -> None:
        release.wait()
        finished.set()

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.run_in_executor(None, job), 0.001)
        assert not finished.is_set()
        release.set()
        await asyncio.to_thread(finished.wait)

    loop.run_until_complete(main())


def test_a_job_that_had_not_started_is_cancelled(loop: asyncio.AbstractEventLoop) -> None:
    release = threading.Event()
    ran: list[str] = []

    async def main() -> None:
        blocking = loop.run_in_executor(None, release.wait)
        queued = loop.run_in_executor(None, ran.append, "ran")
        queued.cancel()
        # The future notifies the executor in a separate turn.
        await asyncio.wait([queued])
        await asyncio.sleep(0)
        release.set()
        await blocking
        await loop.run_in_executor(None, int)

    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1))
    loop.run_until_complete(main())
    assert ran == []


def test_a_coroutine_is_refused_in_debug_mode(loop: asyncio.AbstractEventLoop) -> None:
    async def coroutine_function() -> None:
        """Is never called."""

    not_a_job: Callable[[], Any] = coroutine_function
    loop.set_debug(True)
    with pytest.raises(TypeError, match=r"coroutines cannot be used with run_in_executor\(\)"):
        loop.run_in_executor(None, not_a_job)


# --- the end ----------------------------------------------------------------------------------


def test_shutdown_waits_for_the_jobs(loop: asyncio.AbstractEventLoop) -> None:
    release, finished = threading.Event(), threading.Event()

    def job() -> None:
        release.wait()
        finished.set()

    async def main() -> None:
        job_done = loop.run_in_executor(None, job)
        loop.call_soon(release.set)
        await loop.shutdown_default_executor()
        assert finished.is_set()
        await job_done

    loop.run_until_complete(main())


def test_shutdown_without_an_executor_is_nothing(loop: asyncio.AbstractEventLoop) -> None:
    before = set(threading.enumerate())
    loop.run_until_complete(loop.shutdown_default_executor())
    assert set(threading.enumerate()) <= before


def test_after_the_shutdown_no_job_is_taken(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            await loop.run_in_executor(None, int)
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            assert await loop.run_in_executor(executor, int) == 0

    loop.run_until_complete(main())


@pytest.mark.skipif(
    sys.version_info < (3, 13), reason="the timeout is new in 3.12, where it waits all the same"
)
def test_shutdown_gives_up_after_its_timeout_and_warns(loop: asyncio.AbstractEventLoop) -> None:
    release = threading.Event()
    executor = concurrent.futures.ThreadPoolExecutor(1)

    async def main() -> None:
        job = loop.run_in_executor(None, release.wait)
        with pytest.warns(RuntimeWarning, match=r"did not finishing joining .* 0\.01 seconds"):
            await loop.shutdown_default_executor(timeout=0.01)  # type: ignore[call-arg]
        release.set()
        await job

    loop.set_default_executor(executor)
    loop.run_until_complete(main())
    executor.shutdown(wait=True)


def test_close_shuts_the_executor_down_without_waiting(loop: asyncio.AbstractEventLoop) -> None:
    release, started = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def job() -> None:
        threads.append(threading.current_thread())
        started.set()
        release.wait()

    async def main() -> None:
        loop.run_in_executor(None, job)
        await asyncio.to_thread(started.wait)

    loop.run_until_complete(main())
    loop.close()
    assert threads[0].is_alive()
    # The result arrives on a closed loop, which must not be reported as an error.
    release.set()
    threads[0].join()
