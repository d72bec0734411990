"""Threads for blocking resolver calls."""

from __future__ import annotations

import contextlib
import os
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast

from yamanote._yamanote import Resolver

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_T = TypeVar("_T")

#: Enough for a burst of slow look-ups, each of which blocks its thread until the resolver times
#: out, after 5 seconds or more. Threads are started on demand.
MOST_THREADS = 64

#: A thread that is idle for so many seconds ends.
IDLE_S = 10.0


class LookUps:
    """A pool of daemon threads for blocking calls.

    The interpreter joins the threads of a `ThreadPoolExecutor` before it exits, so a resolver that
    does not answer would delay the exit until it times out. Daemon threads do not.
    """

    def __init__(self) -> None:
        """Create the pool; threads are started by `call()`."""
        self.process = os.getpid()
        #: Has threads of its own, without Python, for names that need only the C library.
        self.resolver = Resolver()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        # Guards the fields below. Each queued job is reserved a thread, or counts in `_backlog`.
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0
        self._backlog = 0
        self._closed = False

    async def call(
        self, loop: asyncio.AbstractEventLoop, function: Callable[..., _T], *arguments: Any
    ) -> _T:
        """Return `function(*arguments)`, called on a thread; cancelling ends only the wait.

        Raises:
            RuntimeError: no thread can be started.
        """
        job = _Job(loop, function, arguments)
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._threads >= MOST_THREADS or not self._start_thread():
                self._backlog += 1
            self._jobs.put(job)
        answer = job.answer
        del job
        try:
            return cast("_T", await answer)
        finally:
            del answer  # Breaks a cycle: its exception refers to this frame.

    def close(self) -> None:
        """Tell the threads to end after their current calls, without waiting for them."""
        with self._lock:
            self._closed = True
            self.resolver.close()
            for _ in range(self._threads):
                self._jobs.put(None)

    def _start_thread(self) -> bool:
        thread = threading.Thread(target=self._work, name="yamanote-dns", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # No thread can be started; an existing one will take the job.
            if self._threads == 0:
                raise
            return False
        self._threads += 1
        return True

    def _work(self) -> None:
        while (job := self._take()) is not None:
            job.run()
            with self._lock:
                if self._backlog:
                    self._backlog -= 1
                else:
                    self._idle += 1
            # After the thread counts as idle: a call made in response can use this thread.
            job.settle()
            del job  # Release its arguments and result before waiting for the next job.

    def _take(self) -> _Job | None:
        """Wait for a job and return it; `None` tells the thread to end."""
        while not self._closed:
            try:
                job = self._jobs.get(timeout=IDLE_S)
            except Empty:
                with self._lock:
                    if not self._idle:
                        continue  # A job was queued for this thread in the meantime.
                    self._idle -= 1
                    self._threads -= 1
                    return None
            return None if self._closed else job
        return None


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
        self._result: object = None
        self._error: BaseException | None = None

    def run(self) -> None:
        if self.answer.cancelled():
            return
        try:
            self._result = self._function(*self._arguments)
        except BaseException as error:
            self._error = error
            del self  # Breaks a cycle: the error refers to this frame, and the job to the error.

    def settle(self) -> None:
        with contextlib.suppress(RuntimeError):  # The loop was closed: there is no waiter.
            self._loop.call_soon_threadsafe(_settle, self.answer, self._result, self._error)


def _settle(answer: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
