"""Callbacks, tasks, threads, loops."""

from __future__ import annotations

import asyncio
import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.faults.stage import Stage


#: Seconds after which a scenario that makes a loop stops it.
PATIENCE_S = 2.0


async def callbacks(stage: Stage) -> None:
    """Callbacks and timers, also from a thread."""
    loop = stage.loop
    ran: list[int] = []
    over = loop.create_future()

    def last() -> None:
        stage.step()
        if not over.done():
            over.set_result(None)

    for number in range(6):
        loop.call_soon(ran.append, number)
    cancelled = loop.call_later(5, print)
    repr(cancelled)
    cancelled.cancel()
    loop.call_at(loop.time(), abs, 1)
    loop.call_soon_threadsafe(loop.call_later, 0.001, last)
    await over
    if ran != sorted(set(ran)):
        stage.check(bytes(ran), bytes(range(6)))
    if len(ran) < 6:
        stage.incomplete(f"only callbacks {ran} ran")


async def tasks(stage: Stage) -> None:
    """Tasks wait for each other."""

    async def one(number: int) -> int:
        await asyncio.sleep(0)
        return number

    results = await asyncio.gather(*(one(number) for number in range(5)))
    stage.check(bytes(results), bytes(range(5)))
    await asyncio.wait_for(one(1), 5)
    event = asyncio.Event()
    waiting = stage.loop.create_task(event.wait())
    stage.loop.call_soon(event.set)
    await waiting
    queue: asyncio.Queue[int] = asyncio.Queue()
    stage.loop.call_soon(queue.put_nowait, 1)
    await queue.get()


async def threads(stage: Stage) -> None:
    """The default executor."""
    stage.check(bytes([await stage.loop.run_in_executor(None, sum, (1, 2))]), b"\3")


async def futures(stage: Stage) -> None:
    """Futures of a Rust extension: two that end, and one that is cancelled."""
    yamanote_testing: Any = importlib.import_module("yamanote_testing")

    stage.check(await yamanote_testing.yielding(b"value", 3), b"value")
    stage.check(bytes([await yamanote_testing.local(3)]), b"\3")

    async def wait() -> None:
        await yamanote_testing.never()

    never = stage.loop.create_task(wait())
    try:
        await asyncio.sleep(0)
    finally:
        never.cancel()
        await asyncio.wait([never])


async def forks(stage: Stage) -> None:
    """A child of the process runs a loop of its own."""
    # Hooks of CPython's take locks before a fork, and give them back afterwards if there is memory.
    with stage.paused():
        pid = os.fork()
    if not pid:
        code = 1
        try:
            asyncio.events._set_running_loop(None)
            loop = stage.make()
            with stage.paused():
                stop_often(loop)
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            code = 0
        except (OSError, MemoryError, RuntimeError):
            code = 2  # It said why not.
        finally:
            os._exit(code)
    try:
        _, status = os.waitpid(pid, 0)  # noqa: ASYNC222 - the child waits for nothing.
    except OSError:
        os.waitpid(pid, 0)  # noqa: ASYNC222
        raise
    if status not in (0, 2 << 8):
        stage.wrongs.append(f"a forked child ended with status {status}")
    await asyncio.sleep(0.001)


def stop_often(loop: asyncio.AbstractEventLoop, delay: float = PATIENCE_S) -> None:
    """Lets no run wait for ever for what found no memory."""

    def stop() -> None:
        loop.stop()
        loop.call_later(delay, stop)

    loop.call_later(delay, stop)


def loops(stage: Stage) -> None:
    """A loop is made, runs and is closed."""
    loop = stage.make()
    try:
        with stage.paused():
            stop_often(loop)
        loop.run_until_complete(asyncio.sleep(0.001))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def runner(stage: Stage) -> None:
    """`asyncio.Runner` makes, runs and closes a loop."""

    async def main() -> None:
        await asyncio.sleep(0.001)

    with asyncio.Runner(loop_factory=stage.make) as runner:
        with stage.paused():
            stop_often(runner.get_loop())
        runner.run(main())
