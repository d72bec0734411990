"""If either side stops waiting, the other side is dropped, and nothing is left."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import yamanote
from tests.interop.extension import rust
from yamanote import _yamanote

if TYPE_CHECKING:
    from collections.abc import Callable


async def until(condition: Callable[[], bool]) -> None:
    """Runs turns of the loop until another thread has made `condition` true."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0)


@pytest.mark.parametrize("make", ["never", "spawned_never"])
def test_cancelling_the_task_drops_the_future(loop: asyncio.AbstractEventLoop, make: str) -> None:
    async def main() -> None:
        before = rust.dropped()
        task = asyncio.ensure_future(getattr(rust, make)())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: rust.dropped() == before + 1)

    loop.run_until_complete(main())


def test_the_future_is_dropped_before_the_task_goes_on() -> None:
    async def main() -> None:
        async def wait() -> None:
            try:
                await rust.never()
            except asyncio.CancelledError:
                seen.append(rust.dropped() - before)
                raise

        seen: list[int] = []
        before = rust.dropped()
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel("why")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.args == ("why",)
        assert seen == [1]

    yamanote.run(main())


def test_a_task_cancelled_before_it_starts_drops_its_future() -> None:
    async def main() -> None:
        before = rust.dropped()
        task = asyncio.create_task(rust.yielding(1, 1))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert _yamanote._live_futures() == live
        assert rust.dropped() == before

    live = _yamanote._live_futures()
    yamanote.run(main())


def test_a_timeout_drops_the_future(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        before = rust.dropped()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(rust.never(), 0.01)
        await until(lambda: rust.dropped() == before + 1)

    loop.run_until_complete(main())


def test_a_cancelled_task_may_go_on() -> None:
    async def main() -> None:
        async def stubborn() -> int:
            try:
                await rust.never()
            except asyncio.CancelledError:
                value: int = await rust.yielding(3, 2)
                return value
            return 0

        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        task.cancel()
        assert await task == 3

    yamanote.run(main())


def test_a_wake_and_a_cancellation_in_one_turn_cancel() -> None:
    async def main() -> None:
        gate = rust.Gate()
        task = asyncio.create_task(gate.wait())
        await asyncio.sleep(0)
        gate.open(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        # Cancelled again before it has processed the first cancellation.
        task = asyncio.create_task(rust.never())
        await asyncio.sleep(0)
        assert task.cancel()
        assert task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    yamanote.run(main())


def test_a_shielded_future_goes_on() -> None:
    async def main() -> None:
        gate = rust.Gate()
        inner = asyncio.create_task(gate.wait())
        outer = asyncio.ensure_future(asyncio.shield(inner))
        await asyncio.sleep(0)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        gate.open(4)
        assert await inner == 4

    yamanote.run(main())


@pytest.mark.parametrize("make", ["never", "local_never", "spawned_never"])
def test_an_awaitable_that_is_never_awaited_drops_its_future(make: str) -> None:
    async def main() -> None:
        future = getattr(rust, make)()
        before = _yamanote._live_futures()
        del future
        assert _yamanote._live_futures() == before - 1

        # In a cycle, so that the collector frees it.
        cycle: list[Any] = [getattr(rust, make)()]
        cycle.append(cycle)
        del cycle
        gc.collect()
        assert _yamanote._live_futures() == before - 1

        # Polled by hand, and dropped half-way.
        future = getattr(rust, make)()
        future.send(None)
        future.close()
        future.close()
        assert _yamanote._live_futures() == before - 1
        with pytest.raises(RuntimeError, match="cannot reuse"):
            future.send(None)

    yamanote.run(main())


def test_an_exception_thrown_in_drops_the_future() -> None:
    async def main() -> None:
        future = rust.never()
        future.send(None)
        before = rust.dropped()
        error = ValueError("thrown")
        with pytest.raises(ValueError, match="thrown") as caught:
            future.throw(error)
        assert caught.value is error
        assert rust.dropped() == before + 1
        with pytest.raises(KeyError, match="1"):
            rust.ready(1).throw(KeyError, 1)
        with pytest.raises(GeneratorExit):
            rust.ready(1).throw(GeneratorExit)

    yamanote.run(main())


@pytest.mark.parametrize("make", ["never", "local_never"])
def test_a_foreign_thread_sends_the_future_home(make: str) -> None:
    async def main() -> None:
        before = rust.dropped()
        futures = [getattr(rust, make)()]
        futures[0].send(None)
        thread = threading.Thread(target=futures.clear)
        thread.start()
        thread.join()
        await until(lambda: rust.dropped() == before + 1)

    yamanote.run(main())


@pytest.mark.parametrize("make", ["never", "local_never", "spawned_never"])
def test_closing_the_loop_drops_what_is_left(make: str) -> None:
    loop = yamanote.new_event_loop()
    kept: list[Any] = []
    before = _yamanote._live_futures()

    async def main() -> None:
        kept.append(getattr(rust, make)())  # Never polled.
        kept.append(getattr(rust, make)())
        kept[-1].send(None)  # Polled by hand.
        kept.append(asyncio.ensure_future(getattr(rust, make)()))
        await asyncio.sleep(0)
        assert _yamanote._live_futures() == before + 3

    loop.run_until_complete(main())
    loop.close()
    assert _yamanote._live_futures() == before
    with pytest.raises(RuntimeError, match="cannot reuse"):
        kept[0].send(None)
    # A pending task logs an error when it is destroyed; this one should not.
    kept[2]._log_destroy_pending = False
    kept.clear()


def test_a_late_wake_finds_a_closed_loop() -> None:
    gate = rust.Gate()
    loop = yamanote.new_event_loop()

    async def main() -> Any:  # noqa: ANN401 - whatever the extension gives.
        task = asyncio.ensure_future(gate.wait())
        await asyncio.sleep(0)
        return task

    task = loop.run_until_complete(main())
    loop.close()
    task._log_destroy_pending = False
    gate.open(1, thread=True)
    gate.open(1)


def test_a_stopped_loop_goes_on_where_it_was() -> None:
    gate = rust.Gate()
    loop = yamanote.new_event_loop()

    async def main() -> int:
        value: int = await gate.wait()
        return value

    task = loop.create_task(main())
    loop.call_soon(loop.stop)
    loop.run_forever()
    gate.open(6)
    assert loop.run_until_complete(task) == 6
    loop.close()


def test_cancelling_the_rust_side_cancels_the_python_task(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        for wait in (rust.await_python, rust.await_in_worker):
            events: list[str] = []
            started = asyncio.Event()
            ended = asyncio.Event()

            async def inner(
                events: list[str] = events,
                started: asyncio.Event = started,
                ended: asyncio.Event = ended,
            ) -> None:
                events.append("started")
                started.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    events.append("cancelled")
                    raise
                finally:
                    ended.set()

            task = asyncio.ensure_future(wait(inner()))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await ended.wait()
            assert events == ["started", "cancelled"]

    loop.run_until_complete(main())


def test_python_awaitables_come_back_through_rust(loop: asyncio.AbstractEventLoop) -> None:
    async def value(number: int) -> int:
        await asyncio.sleep(0)
        return number

    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("from Python")

    async def main() -> None:
        for wait in (rust.await_python, rust.await_in_worker, rust.bridged_await_python):
            assert await wait(value(1)) == 1
            with pytest.raises(KeyError, match="from Python"):
                await wait(fail())
            future = asyncio.get_running_loop().create_future()
            future.set_result(2)
            assert await wait(future) == 2

    loop.run_until_complete(main())


def test_a_python_awaitable_is_made_inside_of_a_future() -> None:
    async def value(number: int) -> int:
        await asyncio.sleep(0)
        return number

    async def main() -> None:
        assert await rust.nested(lambda: value(1)) == 1
        assert await rust.nested(lambda: rust.nested(lambda: value(2))) == 2
        with pytest.raises(TypeError):
            await rust.nested(lambda: 3)

    yamanote.run(main())


def test_a_thread_has_calls_made_on_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        called = asyncio.Event()
        threads: list[int] = []

        def call() -> None:
            threads.append(threading.get_ident())
            called.set()

        rust.call_home(call)
        await called.wait()
        assert threads == [threading.get_ident()]

    loop.run_until_complete(main())
