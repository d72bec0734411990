"""`Deadlock`: what is raised where a loop would wait for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yamanote._tasks import TaskInfo, tasks, tree

if TYPE_CHECKING:
    import asyncio


class Deadlock(RuntimeError):
    """Nothing can wake the loop any more.

    No callback is ready and none is scheduled, no descriptor is open, and no thread, child process
    or Rust future works for the loop.

    Attributes:
        tasks: the pending tasks, with the stack of each and what it waits for.
    """

    tasks: list[TaskInfo]

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Describe the tasks of a loop as they are now."""
        self.tasks = tasks(loop)
        lines = tree(loop) if self.tasks else ["no task is pending"]
        super().__init__("\n".join(["nothing can wake the event loop any more:", *lines]))
