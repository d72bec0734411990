"""Programs that mean no good: time jumps over nothing that is in flight, and stops for nothing."""

from __future__ import annotations

import _thread
import asyncio
import math
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from yamanote import testing
from yamanote.testing import _loop

if TYPE_CHECKING:
    from collections.abc import Coroutine


def run(main: Coroutine[Any, Any, Any], **options: Any) -> None:
    """Runs `main` on a new loop with virtual time."""
    with asyncio.Runner(loop_factory=lambda: testing.new_event_loop(**options)) as runner:
        runner.run(main)


def clock() -> testing.Clock:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, testing.VirtualLoop)
    return loop.clock


def test_a_thread_without_an_object_is_no_deadlock() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        began, release = threading.Event(), threading.Event()

        def work() -> None:
            began.set()
            release.wait()
            loop.call_soon_threadsafe(done.set)

        _thread.start_new_thread(work, ())
        began.wait()
        threading.Timer(0.05, release.set).start()
        await done.wait()

    run(main())


@pytest.mark.parametrize("deadline", [None, 3600.0])
def test_a_call_that_comes_while_the_loop_decides_is_heard(
    monkeypatch: pytest.MonkeyPatch, deadline: float | None
) -> None:
    """A thread calls, and is idle, after the loop has looked for calls."""
    loop = testing.new_event_loop()
    called = asyncio.Event()
    looks = _loop.VirtualLoop._count_sources

    def look(self: testing.VirtualLoop) -> tuple[int, int, int]:
        if not called.is_set():
            thread = threading.Thread(target=self.call_soon_threadsafe, args=(called.set,))
            thread.start()
            thread.join()
        return looks(self)

    monkeypatch.setattr(_loop.VirtualLoop, "_count_sources", look)

    async def main() -> None:
        async with asyncio.timeout(deadline):
            await called.wait()
        assert loop.time() == 0

    loop.run_until_complete(main())
    loop.close()


def test_a_hold_that_ends_after_a_call_hides_it_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_loop, "LONGEST_STANDSTILL_S", math.inf)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        mine = clock()
        for _ in range(300):
            called = asyncio.Event()
            hold = mine.hold()
            hold.__enter__()

            def work(called: asyncio.Event = called, hold: Any = hold) -> None:  # noqa: ANN401
                loop.call_soon_threadsafe(called.set)
                hold.__exit__(None, None, None)

            thread = threading.Thread(target=work)
            thread.start()
            async with asyncio.timeout(3600):
                await called.wait()
            assert loop.time() == 0
            thread.join()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        run(main())
    finally:
        sys.setswitchinterval(before)


def test_a_job_that_calls_all_the_time_does_not_keep_a_timeout_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_loop, "LONGEST_STANDSTILL_S", 0.1)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(0.01):
                loop.call_soon_threadsafe(int)

        job = loop.run_in_executor(None, work)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await asyncio.shield(job)
        assert loop.time() == 0.3
        stop.set()
        await job

    run(main())


def test_time_between_two_runs_is_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_loop, "LONGEST_STANDSTILL_S", 0.0)
    loop = testing.new_event_loop()
    release = threading.Event()
    job = loop.run_in_executor(None, release.wait)
    loop.call_later(3600, int)
    threading.Timer(0.02, loop.call_soon_threadsafe, (loop.stop,)).start()
    loop.run_forever()  # Ends in a wait.
    before, real = loop.time(), time.monotonic()
    while time.monotonic() - real < 0.05:
        pass
    release.set()
    loop.run_until_complete(job)
    assert loop.time() - before < 0.05
    loop.close()


def test_a_server_that_hears_nothing_does_not_hide_that_a_program_does_not_end() -> None:
    async def main() -> None:
        server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
        async with server:
            await asyncio.Event().wait()

    with pytest.raises(testing.ScheduleError, match="does not end") as caught:
        testing.explore(main, seeds=0, timeout=5, real_io=0.01)
    assert isinstance(caught.value.__cause__, TimeoutError)


def test_what_is_cancelled_at_the_limit_may_take_time_to_end() -> None:
    ended: list[float] = []

    async def main() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(2)
            ended.append(asyncio.get_running_loop().time())

    with pytest.raises(TimeoutError, match="does not end"):
        testing.replay(main, seed=0, timeout=5)
    assert ended == [2.0]


@pytest.mark.parametrize("start", [math.nan, math.inf, -math.inf])
def test_a_clock_begins_at_a_time(start: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        testing.new_event_loop(start=start)
