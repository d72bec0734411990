"""Threads that wait for the resolver, so that nobody else has to."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_T = TypeVar("_T")

#: A look-up holds its thread for as long as the resolver waits, 5 seconds and more: enough for a
#: burst of slow ones. Threads are started one by one, as they are needed.
MOST_THREADS = 64

#: A thread that has nothing to do for so long ends.
IDLE_S = 10.0


class LookUps:
    """Blocking calls in threads of their own.

    Not `ThreadPoolExecutor`, whose threads the interpreter joins before it exits: a resolver that
    does not answer would hold the exit up for as long as it waits. These are daemons.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self.process = os.getpid()
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._threads = 0
        self._idle = 0
        self._closed = False

    async def call(
        self, loop: asyncio.AbstractEventLoop, function: Callable[..., _T], *arguments: Any
    ) -> _T:
        """Call `function(*arguments)` in a thread and wait; cancelling ends the wait at once.

        Raises:
            RuntimeError: no thread can be started.
        """
        job = _Job(loop, function, arguments)
        with self._changed:
            self._jobs.append(job)
            # The idle ones are as good as taken by the jobs that came before.
            if len(self._jobs) <= self._idle:
                self._changed.notify()
            elif self._threads < MOST_THREADS:
                self._start_thread(job)
        return cast("_T", await job.answer)

    def close(self) -> None:
        """Let the threads end as soon as they can, without waiting for them."""
        with self._changed:
            self._closed = True
            self._jobs.clear()
            self._changed.notify_all()

    def _start_thread(self, job: _Job) -> None:
        thread = threading.Thread(target=self._work, name="yamanote-dns", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if self._threads == 0:
                self._jobs.remove(job)
                raise
        else:
            self._threads += 1

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job.run()
            del job  # What it holds must not live until the next one comes.

    def _next(self) -> _Job | None:
        """Wait for a job; `None` when the thread is to end, and is no longer counted."""
        with self._changed:
            while not self._jobs:
                self._idle += 1
                notified = not self._closed and self._changed.wait(IDLE_S)
                self._idle -= 1
                if not notified and not self._jobs:
                    self._threads -= 1
                    return None
            return self._jobs.popleft()


class _Job:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
    ) -> None:
        self.answer: asyncio.Future[Any] = loop.create_future()
        self._loop = loop
        self._function = function
        self._arguments = arguments

    def run(self) -> None:
        if self.answer.cancelled():
            return
        result, error = None, None
        try:
            result = self._function(*self._arguments)
        except BaseException as raised:
            error = raised
        try:
            self._loop.call_soon_threadsafe(_settle, self.answer, result, error)
        except RuntimeError:
            pass  # The loop was closed meanwhile: nobody waits.
        finally:
            del self, error  # The error refers to this frame, and this to the error.


def _settle(answer: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
