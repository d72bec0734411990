"""An extension that uses only pyo3-async-runtimes works as in that crate's own tests."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.interop.extension import rust

if TYPE_CHECKING:
    from tests.loops import LoopFactory

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


async def value(number: int) -> int:
    """Returns after one turn."""
    await asyncio.sleep(0)
    return number


def test_results_and_errors_come_through(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        assert await rust.bridged_ready(1) == 1
        assert await rust.bridged_yielding(2, 3) == 2
        assert await rust.bridged_sleep(0.001) == 0.001
        with pytest.raises(OSError, match="as asked"):
            await rust.bridged_failing()
        futures = [rust.bridged_yielding(n, n % 3) for n in range(100)]
        assert await asyncio.gather(*futures) == list(range(100))

    loop.run_until_complete(main())


def test_cancelling_drops_the_future(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        before = rust.dropped()
        future = rust.bridged_never()
        await asyncio.sleep(0)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(rust.bridged_never(), 0.01)
        deadline = time.monotonic() + 10
        while rust.dropped() < before + 2:
            assert time.monotonic() < deadline
            await asyncio.sleep(0)

    loop.run_until_complete(main())


def test_contexts_are_kept_through_nested_futures(loop: asyncio.AbstractEventLoop) -> None:
    async def look() -> str:
        await asyncio.sleep(0)
        return VARIABLE.get()

    async def one(name: str) -> str:
        VARIABLE.set(name)
        return str(await rust.bridged_nested(look))

    async def main() -> None:
        names = [f"task {n}" for n in range(10)]
        assert await asyncio.gather(*map(one, names)) == names
        VARIABLE.set("outer")
        nested = rust.bridged_nested(lambda: rust.bridged_nested(look))
        assert await nested == "outer"

    loop.run_until_complete(main())


def test_rust_drives_the_loop_again_and_again(loop_factory: LoopFactory) -> None:
    for number in range(3):
        loop = loop_factory()
        assert rust.bridged_run(loop, lambda number=number: value(number)) == number
        assert rust.bridged_run(loop, lambda: value(7)) == 7
        assert loop.run_until_complete(value(8)) == 8
        loop.close()


def test_a_loop_runs_inside_a_thread_of_anothers(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        def inner() -> int:
            another = asyncio.new_event_loop()
            result: int = rust.bridged_run(another, lambda: value(3))
            another.close()
            return result

        assert await asyncio.get_running_loop().run_in_executor(None, inner) == 3
        await asyncio.get_running_loop().shutdown_default_executor()

    loop.run_until_complete(main())


def test_a_worker_stops_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    rust.bridged_stop(loop)
    loop.run_forever()
    rust.bridged_stop(loop)
    loop.run_forever()


def test_an_interrupted_run_goes_on(loop: asyncio.AbstractEventLoop) -> None:
    assert threading.current_thread() is threading.main_thread()
    gate = rust.Gate()
    started = asyncio.Event()

    async def main() -> int:
        future = asyncio.ensure_future(gate.wait())
        sleeping = rust.bridged_sleep(0.01)
        started.set()
        await sleeping
        result: int = await future
        return result

    async def interrupt() -> None:
        await started.wait()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0)

    task = loop.create_task(main())
    helper = loop.create_task(interrupt())
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    gate.open(5)
    loop.run_until_complete(asyncio.wait({helper}))
    assert loop.run_until_complete(task) == 5
    if not helper.cancelled():
        helper.exception()
