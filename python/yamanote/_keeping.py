"""`keep_tasks`: a loop that holds its pending tasks, so that none is collected half-way."""

from __future__ import annotations

import time
from asyncio.log import logger

from yamanote._origins import origin_of
from yamanote._tasks import coroutine_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine
    from typing import Any

    from yamanote._loop import Loop


class TaskKeeper:
    """Holds the tasks that a loop creates until they are done."""

    def __init__(self, loop: Loop) -> None:
        """Hold every task that `loop.create_task()` creates from now on."""
        self._loop, self._create = loop, loop.create_task
        self._pending: dict[asyncio.Task[Any], float] = {}
        loop._task_keeper = self  # pyright: ignore[reportPrivateUsage]
        # On the instance: asyncio, and every library, calls the loop's method.
        loop.create_task = self._create_task  # type: ignore[method-assign, assignment]

    def _create_task(self, coro: Coroutine[Any, Any, Any], **kwargs: Any) -> asyncio.Task[Any]:
        """Create a task as the loop does, and hold it."""
        task = self._create(coro, **kwargs)
        if not task.done():  # An eager one may be.
            self._pending[task] = time.monotonic()
            task.add_done_callback(self._pending.pop)
        return task

    def created_at(self, task: asyncio.Task[Any]) -> float | None:
        """Return when a pending task was created, on the clock of `time.monotonic()`."""
        return self._pending.get(task)

    def let_go(self) -> None:
        """Let the tasks go, as the loop closes; log those that are pending, in one record."""
        pending = [task for task in self._pending if not task.done()]
        self._pending.clear()
        # A cycle: the loop's attribute refers to this, and this to the loop.
        vars(self._loop).pop("create_task", None)
        if pending:
            lines = sorted(f"{task.get_name()}: {_origin(task)}" for task in pending)
            logger.warning(
                "%d task(s) were pending when the event loop was closed:\n  %s",
                len(pending),
                "\n  ".join(lines),
            )
        task: Any
        for task in pending:
            # asyncio would log each of them again.
            task._log_destroy_pending = False


def _origin(task: asyncio.Task[Any]) -> str:
    """Return what the task runs, and where it was created or, if that is unknown, defined."""
    coroutine: Any = task.get_coro()
    name, origin = coroutine_name(task), origin_of(task)
    if origin is not None:
        return f"{name}, created at {origin}"
    code = getattr(coroutine, "cr_code", None)
    if code is not None:
        return f"{name}, defined at {code.co_filename}:{code.co_firstlineno}"
    return name
