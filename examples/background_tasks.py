"""A task beside the main one: keep a reference to it, look at its errors, end it."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import yamanote


class Background:
    """Holds tasks that nobody awaits: the loop itself only refers to them weakly."""

    def __init__(self) -> None:
        """Starts with no task."""
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs `coroutine` beside everything else."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Cancels what still runs and waits until it has cleaned up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            print("a background task failed:", error)


async def heartbeat() -> None:
    """Beats for ever."""
    try:
        while await asyncio.sleep(0.003, "alive"):
            pass
    finally:
        print("the heart stops")


async def fail() -> None:
    """Fails, and somebody should know."""
    raise ValueError("out of luck")


async def main() -> None:
    """Does its own work with two tasks in the background."""
    background = Background()
    background.start(heartbeat())
    background.start(fail())
    await asyncio.sleep(0.02)
    print("the main work is done")
    await background.stop()


if __name__ == "__main__":
    yamanote.run(main())
