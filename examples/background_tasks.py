"""Background tasks: keep a reference, report their errors, and cancel them at the end."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import yamanote


class Background:
    """Keeps references to tasks that are not awaited: the loop itself holds only weak ones."""

    def __init__(self) -> None:
        """Starts without tasks."""
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs `coroutine` as a background task."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Cancels the tasks that are still running, and waits for them to end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            print("a background task failed:", error)


async def heartbeat() -> None:
    """Prints at regular intervals until it is cancelled."""
    try:
        while await asyncio.sleep(0.003, "alive"):
            pass
    finally:
        print("the heart stops")


async def fail() -> None:
    """Raises an exception, which should be reported."""
    raise ValueError("out of luck")


async def main() -> None:
    """Runs with two tasks in the background."""
    background = Background()
    background.start(heartbeat())
    background.start(fail())
    await asyncio.sleep(0.02)
    print("the main work is done")
    await background.stop()


if __name__ == "__main__":
    yamanote.run(main())
