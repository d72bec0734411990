"""A busy loop, and other threads that want to run."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds after which a waiting thread counts as starved.
TIMES = 10


@pytest.mark.parametrize("native", [int, [].clear, "text".upper])
def test_other_threads_run_while_callbacks_are_no_functions_of_pythons(
    loop: asyncio.AbstractEventLoop, native: Callable[[], object]
) -> None:
    with contextlib.ExitStack() as opened:
        ready, _ = (opened.enter_context(end) for end in socket.socketpair())
        ready.setblocking(False)
        loop.add_writer(ready, native)
        for _ in range(TIMES):
            # By then the loop waits for nothing, and runs no other callbacks.
            waker = threading.Timer(0.01, loop.call_soon_threadsafe, (loop.stop,))
            waker.start()
            loop.run_forever()
            waker.join()
        loop.remove_writer(ready)


def test_other_threads_run_while_tasks_only_yield(loop: asyncio.AbstractEventLoop) -> None:
    async def until(event: threading.Event) -> None:
        while not event.is_set():  # noqa: ASYNC110 - it is what keeps the loop busy.
            await asyncio.sleep(0)

    for _ in range(TIMES):
        event = threading.Event()
        waker = threading.Timer(0.001, event.set)
        waker.start()
        loop.run_until_complete(until(event))
        waker.join()
