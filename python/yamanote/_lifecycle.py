"""Running and closing a loop."""

from __future__ import annotations

import asyncio
import sys
from asyncio import tasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator
    from typing import Any, TypeAlias, TypeVar

    from yamanote._keeping import TaskKeeper
    from yamanote._parts import Base

    _T = TypeVar("_T")

    # As in asyncio: before Python 3.12, generator-based coroutines are accepted, too.
    if sys.version_info >= (3, 12):
        _Awaited: TypeAlias = Awaitable[_T]
    else:
        _Awaited: TypeAlias = Generator[Any, None, _T] | Awaitable[_T]
else:
    Base = object


class Lifecycle(Base):
    """`run_forever()`, `run_until_complete()` and `close()`, around the native `_run()`."""

    #: Set by `keep_tasks`.
    _task_keeper: TaskKeeper | None = None

    def run_forever(self) -> None:
        """Run until `stop()` is called.

        Raises:
            RuntimeError: the loop is closed or running, or this thread is running another loop.
        """
        self._check_closed()
        if _is_nesting():
            self._run_within(None)
            return
        self._check_running()
        hooks = sys.get_asyncgen_hooks()
        try:
            self._set_coroutine_origin_tracking(self._debug)
            sys.set_asyncgen_hooks(
                firstiter=self._asyncgen_firstiter_hook,
                finalizer=self._asyncgen_finalizer_hook,
            )
            asyncio._set_running_loop(self)
            with self._signals_attached():
                self._run()
        finally:
            asyncio._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*hooks)

    def run_until_complete(self, future: _Awaited[_T]) -> _T:
        """Run until `future` is done, and return its result.

        Raises:
            RuntimeError: the loop is closed or running, this thread is running another loop, or
                `stop()` was called before `future` was done.
        """
        if not _is_nesting():
            return super().run_until_complete(future)
        self._check_closed()
        is_new = not asyncio.isfuture(future)
        # In typeshed `ensure_future()` takes no generator; before Python 3.12 it does.
        awaited: Any = future
        task: Any = asyncio.ensure_future(awaited, loop=self)
        if is_new:
            # As in asyncio: the caller gets the error, so the task need not log anything.
            task._log_destroy_pending = False
        try:
            self._run_within(task)
        except BaseException:
            if is_new and task.done() and not task.cancelled():
                task.exception()
            raise
        if not task.done():
            raise RuntimeError("Event loop stopped before Future completed.")
        result: _T = task.result()
        return result

    def _give_way(self) -> None:
        """Do nothing: CPython hands over the GIL, if another thread waits, on function entry."""

    def _run_within(self, until: object) -> None:
        """Run until `until` is done or `stop()` is called, perhaps inside a callback of a loop.

        A task that is running is suspended as the current task during the inner run.
        """
        outer = asyncio._get_running_loop()
        task = None if outer is None else _swap_current_task(outer, None)
        hooks = sys.get_asyncgen_hooks()
        tracked: Any = self._coroutine_origin_tracking_enabled
        try:
            self._set_coroutine_origin_tracking(self._debug)
            sys.set_asyncgen_hooks(
                firstiter=self._asyncgen_firstiter_hook,
                finalizer=self._asyncgen_finalizer_hook,
            )
            asyncio._set_running_loop(self)
            with self._signals_attached():
                self._run_nested(until)
        finally:
            asyncio._set_running_loop(outer)
            self._set_coroutine_origin_tracking(tracked)
            sys.set_asyncgen_hooks(*hooks)
            if outer is not None and task is not None:
                _swap_current_task(outer, task)

    @property
    def _nest_patched(self) -> bool:
        """True once `nest_asyncio` has patched asyncio, so that it does not patch this loop.

        Raises:
            AttributeError: `nest_asyncio` has not been applied.
        """
        if not _is_nesting():
            raise AttributeError("_nest_patched")
        return True

    def close(self) -> None:
        """Discard scheduled callbacks, close the reactor and shut down the default executor.

        Raises:
            RuntimeError: the loop is running.
        """
        if self.is_closed():
            return
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self._task_keeper is not None:
            self._task_keeper.let_go()
        self._close_signals()
        self._close_children()
        self._close_dns()
        self._close_files()
        super().close()
        self._close()

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute; the scheduler uses a replaced `time()`, as fake clocks require."""
        super().__setattr__(name, value)
        if name == "time":
            self._use_own_clock()

    def set_debug(self, enabled: object) -> None:
        """Switch debug mode: log slow callbacks, and check threads and callbacks."""
        super().set_debug(bool(enabled))


def _is_nesting() -> bool:
    """Return whether `nest_asyncio.apply()` was called, which allows loops to run re-entrantly."""
    return hasattr(asyncio, "_nest_patched")


def _swap_current_task(
    loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None
) -> asyncio.Task[Any] | None:
    """Make `task` the current task of `loop`; return the previous one."""
    if task is None and tasks.current_task(loop) is None:
        return None  # Python 3.12 raises if there is no current task to remove.
    swap: Any = getattr(tasks, "_swap_current_task", None)
    if swap is not None:
        before: asyncio.Task[Any] | None = swap(loop, task)
        return before
    # Before Python 3.12.
    before = asyncio.current_task(loop)
    if before is not None:
        tasks._leave_task(loop, before)
    if task is not None:
        tasks._enter_task(loop, task)
    return before
