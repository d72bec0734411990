"""Many threads: one loop used by all, and a loop in each. For free-threaded builds."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import yamanote
from tests.forks import in_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.loops import LoopFactory

THREADS = 4


def in_threads(work: Callable[[int], None]) -> list[threading.Thread]:
    """Starts `work(number)` on several threads, which begin together."""
    together = threading.Barrier(THREADS)

    def begin(number: int) -> None:
        together.wait()
        work(number)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    return threads


def join(threads: list[threading.Thread]) -> None:
    """Joins all threads."""
    for thread in threads:
        thread.join()


def test_each_thread_runs_a_loop_of_its_own(loop_factory: LoopFactory) -> None:
    results: dict[int, int] = {}

    async def work(number: int) -> int:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=3)

        async def produce() -> None:
            for item in range(200):
                await queue.put(item)
                loop.call_later(3600, print).cancel()

        async def consume() -> int:
            return sum([await queue.get() for _ in range(200)])

        total, _ = await asyncio.gather(consume(), produce())
        return total + await loop.run_in_executor(None, int, number)

    def run(number: int) -> None:
        for _ in range(5):
            loop = loop_factory()
            try:
                results[number] = loop.run_until_complete(work(number))
                loop.run_until_complete(loop.shutdown_default_executor())
            finally:
                loop.close()

    join(in_threads(run))
    assert results == {number: 19900 + number for number in range(THREADS)}


def test_a_cancellation_from_a_thread_and_the_run_race_without_harm(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Whichever comes first, a callback runs at most once, and others are not affected."""
    each = 1000
    cancelled: list[int] = []
    kept: list[int] = []
    left = THREADS

    def hammer(number: int) -> None:
        for key in range(number * each, (number + 1) * each):
            handle = loop.call_soon_threadsafe(cancelled.append, key)
            loop.call_soon_threadsafe(kept.append, key)
            handle.cancel()
            assert handle.cancelled()
        loop.call_soon_threadsafe(finished)

    def finished() -> None:
        nonlocal left
        left -= 1
        if not left:
            loop.stop()

    threads = in_threads(hammer)
    loop.run_forever()
    join(threads)
    assert len(cancelled) == len(set(cancelled))
    assert sorted(kept) == list(range(THREADS * each))


def test_threads_that_call_while_the_loop_closes_are_refused_or_ignored(
    loop_factory: LoopFactory,
) -> None:
    for _ in range(20):
        loop = loop_factory()
        outcomes: list[str] = []

        def hammer(
            _: int, loop: asyncio.AbstractEventLoop = loop, outcomes: list[str] = outcomes
        ) -> None:
            try:
                while True:
                    loop.call_soon_threadsafe(int)
            except RuntimeError as error:
                outcomes.append(str(error))

        threads = in_threads(hammer)
        # One turn would not end: the threads schedule faster than it runs the callbacks.
        loop.close()
        join(threads)
        assert outcomes == ["Event loop is closed"] * THREADS


def test_futures_of_one_loop_are_completed_by_all(loop: asyncio.AbstractEventLoop) -> None:
    count = 2000

    async def main() -> int:
        futures: list[asyncio.Future[int]] = [loop.create_future() for _ in range(count)]

        def complete(number: int) -> None:
            for key in range(number, count, THREADS):
                loop.call_soon_threadsafe(futures[key].set_result, key)

        threads = in_threads(complete)
        total = 0
        for future in futures:
            total += await future
        join(threads)
        return total

    assert loop.run_until_complete(main()) == sum(range(count))


def _here() -> tuple[int, int]:
    return threading.get_ident(), threading.get_native_id()


def test_a_loop_knows_which_thread_runs_it() -> None:
    loop = yamanote.new_event_loop()
    assert loop._running_thread() is None
    found: list[tuple[tuple[int, int] | None, tuple[int, int]]] = []

    def run() -> None:
        loop.call_soon(lambda: found.append((loop._running_thread(), _here())))
        loop.call_soon(loop.stop)
        loop.run_forever()

    run()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert len(found) == 2
    assert all(known == actual for known, actual in found)
    assert loop._running_thread() is None
    loop.close()


def test_a_child_that_a_callback_forked_runs_the_loop_under_its_own_number() -> None:
    async def main() -> str:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, yamanote.Loop)
        return in_child(lambda: loop._running_thread() == _here())

    assert yamanote.run(main()) == "True"
