"""A loop that is busy, and other threads that want to run."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


@pytest.mark.parametrize("native", [int, [].clear, "text".upper])
def test_other_threads_run_while_callbacks_are_no_functions_of_pythons(
    loop: asyncio.AbstractEventLoop, native: Callable[[], object]
) -> None:
    with contextlib.ExitStack() as opened:
        ready, _ = (opened.enter_context(end) for end in socket.socketpair())
        ready.setblocking(False)
        loop.add_writer(ready, native)
        # By then the loop waits for nothing, and calls nothing else.
        waker = threading.Timer(0.01, loop.call_soon_threadsafe, (loop.stop,))
        waker.start()
        loop.run_forever()
        waker.join()
        loop.remove_writer(ready)
