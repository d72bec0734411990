"""Threads that wait for the resolver, so that nobody else has to."""

from __future__ import annotations

import contextlib
import os
import threading
from queue import Empty, SimpleQueue
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
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        # Guards what follows. Each queued job has a thread that will take it, or is in the backlog.
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0
        self._backlog = 0
        self._closed = False

    async def call(
        self, loop: asyncio.AbstractEventLoop, function: Callable[..., _T], *arguments: Any
    ) -> _T:
        """Call `function(*arguments)` in a thread and wait; cancelling ends the wait at once.

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
            del answer  # Its error refers to this frame.

    def close(self) -> None:
        """Let the threads end as soon as they can, without waiting for them."""
        with self._lock:
            self._closed = True
            for _ in range(self._threads):
                self._jobs.put(None)

    def _start_thread(self) -> bool:
        thread = threading.Thread(target=self._work, name="yamanote-dns", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # The system has no more, but those that there are will come to it.
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
            # Only now: whoever asks again because of the answer needs no other thread.
            job.settle()
            del job  # What it holds must not live until the next one comes.

    def _take(self) -> _Job | None:
        """Wait for a job; `None` when the thread is to end."""
        while not self._closed:
            try:
                job = self._jobs.get(timeout=IDLE_S)
            except Empty:
                with self._lock:
                    if not self._idle:
                        continue  # A job for this thread has come just now.
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
            del self  # The error refers to this frame, and this must not refer to the error.

    def settle(self) -> None:
        with contextlib.suppress(RuntimeError):  # The loop was closed meanwhile: nobody waits.
            self._loop.call_soon_threadsafe(_settle, self.answer, self._result, self._error)


def _settle(answer: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
