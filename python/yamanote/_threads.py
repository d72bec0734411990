"""`run_threads()`: a loop for each core, on builds of Python without a GIL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sys
import threading
import time
import traceback

from yamanote._runner import new_event_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from typing import Any, TypeVar

    _T = TypeVar("_T")

#: Seconds in which loops tell what their tasks wait for; those that are blocked do not.
_ANSWERS_WITHIN_S = 2.0


def run_threads(
    main: Callable[[int], Coroutine[Any, Any, _T]], n: int | None = None, *, grace: float = 10.0
) -> list[_T]:
    """Run `main(0)` to `main(n - 1)` on as many loops, each in a thread; return their results.

    Each loop is run as by `yamanote.run()`: when its `main` is over, it cancels the remaining
    tasks, finalizes asynchronous generators and waits for the default executor. The calling thread
    only waits; if it is the main thread, signals are handled there.

    The first `main` that raises, and an exception in the waiting thread, such as
    `KeyboardInterrupt`, cancel the others. That exception is raised when all have ended; it gets
    a note with the traceback of each further one, but for the `CancelledError` of those that were
    cancelled.

    Args:
        main: a coroutine function, which is called with the index of its loop, in its thread.
        n: how many loops; `None` for as many as the process may use cores.
        grace: seconds to wait, after a failure, for those that were cancelled.

    Returns:
        The results of the coroutines, by index.

    Raises:
        TypeError: `main` is not callable, or `n` or `grace` is not a number.
        ValueError: `n` is less than 1, or `grace` is negative.
        RuntimeError: this Python runs with a GIL, under which threads take turns; or an event loop
            is running in this thread.
        TimeoutError: after `grace`, some had not ended; the message says which, and where they are.
            Its `__cause__` is the exception that has cancelled them. Their threads do not keep
            the process from exiting.
    """
    count = _checked(main, n, grace)
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        raise RuntimeError(_WITH_GIL)
    if asyncio._get_running_loop() is not None:
        message = "run_threads() cannot be called from a running event loop"
        raise RuntimeError(message)
    return _Threads(main, count).run(min(grace, threading.TIMEOUT_MAX))


_WITH_GIL = (
    "run_threads() needs a free-threaded Python that runs without a GIL (python3.14t, not "
    "PYTHON_GIL=1): with one, threads take turns. Use processes: workers of the server "
    "(uvicorn --workers, gunicorn), or os.fork() after a listening socket was made, and "
    "yamanote.run() in each"
)


def _checked(main: Callable[..., object], n: object, grace: object) -> int:
    """Return how many loops there are to be."""
    if not callable(main):
        message = f"main must be a coroutine function, not {type(main).__name__}"
        raise TypeError(message)
    if not isinstance(grace, (int, float)):
        message = f"grace must be a number of seconds, not {type(grace).__name__}"
        raise TypeError(message)
    if not grace >= 0:
        message = f"grace must not be negative: {grace}"
        raise ValueError(message)
    if n is None:
        return getattr(os, "process_cpu_count", os.cpu_count)() or 1
    if not isinstance(n, int) or isinstance(n, bool):
        message = f"n must be an integer, not {type(n).__name__}"
        raise TypeError(message)
    if n < 1:
        message = f"n must be at least 1: {n}"
        raise ValueError(message)
    return n


class _One:
    """A loop, its thread, and what became of its `main`."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.thread: threading.Thread | None = None
        self.task: asyncio.Task[Any] | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self._lock = threading.Lock()
        self._is_cancelled = False

    def run(self, main: Callable[[int], Coroutine[Any, Any, Any]]) -> None:
        """Run `main` on a loop of this thread."""
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(self._enter(main))
        except BaseException as error:
            self.error = error

    async def _enter(self, main: Callable[[int], Coroutine[Any, Any, Any]]) -> None:
        with self._lock:
            self.task = asyncio.current_task()
            if self._is_cancelled:
                raise asyncio.CancelledError
        self.result = await main(self.index)

    def cancel(self) -> None:
        """Cancel `main` from another thread; one that has not begun never does."""
        with self._lock:
            self._is_cancelled = True
            task = self.task
        if task is not None:
            with contextlib.suppress(RuntimeError):  # Its loop is closed, so it has ended.
                task.get_loop().call_soon_threadsafe(task.cancel)

    def has_failed(self) -> bool:
        """Whether `main` has raised anything but what `cancel()` is to make it raise."""
        is_expected = self._is_cancelled and isinstance(self.error, asyncio.CancelledError)
        return self.error is not None and not is_expected

    def ask(self) -> queue.SimpleQueue[list[str]]:
        """Have the loop tell what its tasks wait for; one that is blocked does not."""
        from yamanote._tasks import tree

        answer: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        if self.task is not None:
            loop = self.task.get_loop()
            with contextlib.suppress(RuntimeError):  # It is closed.
                loop.call_soon_threadsafe(lambda: answer.put(list(tree(loop))))
        return answer

    def where(self, answer: queue.SimpleQueue[list[str]], timeout: float) -> Iterator[str]:
        """Yield lines that tell what keeps it from ending."""
        yield f"main({self.index}):"
        try:
            for line in answer.get(timeout=timeout):
                yield f"  {line}"
        except queue.Empty:
            yield from self._stack()

    def _stack(self) -> list[str]:
        from yamanote._stacks import running_stack

        thread = self.thread
        if thread is None or thread.ident is None or thread.native_id is None:
            return ["  its thread has not started"]
        stack = running_stack(thread.ident, thread.native_id)
        if not stack:
            return ["  its thread is not in Python, or has just ended"]
        return [line.rstrip("\n") for line in stack.format()]


class _Threads:
    """The loops of one `run_threads()`."""

    def __init__(self, main: Callable[[int], Coroutine[Any, Any, Any]], count: int) -> None:
        self._main = main
        self._all = [_One(index) for index in range(count)]
        self._ended: queue.SimpleQueue[_One] = queue.SimpleQueue()
        self._running = {one.index: one for one in self._all}

    def run(self, grace: float) -> list[Any]:
        """Run all to their ends."""
        try:
            for one in self._all:
                self._start(one)
            while self._running:
                if (error := self._wait(None)) is not None:
                    raise error
        except BaseException as error:
            # A failure of one, or an exception in this thread.
            self._cancel(grace, error)
            raise
        return [one.result for one in self._all]

    def _start(self, one: _One) -> None:
        def work() -> None:
            try:
                one.run(self._main)
            finally:
                self._ended.put(one)

        name = f"yamanote-{one.index}"
        # A daemon, so that one that does not end does not keep the process from exiting.
        one.thread = threading.Thread(target=work, name=name, daemon=True)
        try:
            one.thread.start()
        except BaseException:
            if one.thread.ident is None:
                del self._running[one.index]
            raise

    def _wait(self, timeout: float | None) -> BaseException | None:
        """Wait until one has ended; return how it has failed."""
        one = self._ended.get(timeout=timeout)
        del self._running[one.index]
        if one.thread is not None:
            one.thread.join()
        return one.error if one.has_failed() else None

    def _cancel(self, grace: float, cause: BaseException) -> None:
        """Cancel those that run, and wait for them."""
        for one in self._all:
            one.cancel()
        deadline = time.monotonic() + grace
        while self._running:
            try:
                error = self._wait(max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(self._left(grace)) from cause
            if error is not None:
                text = "".join(traceback.format_exception(error)).rstrip()
                cause.add_note(f"Another one has failed:\n{text}")

    def _left(self, grace: float) -> str:
        """Say which have not ended."""
        left = list(self._running.values())
        names = ", ".join(f"main({one.index})" for one in left)
        lines = [f"{names} did not end within {grace:g} s after the cancellation"]
        answers = [one.ask() for one in left]
        deadline = time.monotonic() + _ANSWERS_WITHIN_S
        for one, answer in zip(left, answers, strict=True):
            lines.extend(one.where(answer, max(0.0, deadline - time.monotonic())))
        return "\n".join(lines)
