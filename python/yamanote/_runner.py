"""`run()` and `new_event_loop()`: the ways into the loop that most programs take."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from yamanote._loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

# What asyncio.run() accepts.
if sys.version_info >= (3, 14):
    _Main: TypeAlias = Awaitable[_T]
else:
    _Main: TypeAlias = Coroutine[Any, Any, _T]


def new_event_loop() -> Loop:
    """Return a new event loop, for `asyncio.Runner`, `asyncio.run` and their like."""
    return Loop()


def run(
    main: _Main[_T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> _T:
    """Run `main` on a new event loop, close the loop, and return the result of `main`.

    This is the running interpreter's `asyncio.run()` with yamanote's loop: it cancels what is
    left, finalizes asynchronous generators and waits for the default executor in the same order.

    Args:
        main: a coroutine; from Python 3.14 any awaitable.
        debug: the loop's debug mode; `None` leaves it to the environment.
        loop_factory: makes the loop; `None` stands for `new_event_loop`.

    Raises:
        RuntimeError: an event loop is running in this thread.
    """
    if loop_factory is None:
        loop_factory = new_event_loop
    if sys.version_info >= (3, 12):
        return asyncio.run(main, debug=debug, loop_factory=loop_factory)
    # Before 3.12 asyncio.run() has no `loop_factory`.
    if asyncio._get_running_loop() is not None:
        message = "asyncio.run() cannot be called from a running event loop"
        raise RuntimeError(message)
    if sys.version_info >= (3, 11):
        with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
            return runner.run(main)
    return _run_without_runner(main, debug, loop_factory)


def _run_without_runner(
    main: Coroutine[Any, Any, _T],
    debug: bool | None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> _T:
    """Do what Python 3.10's `asyncio.run()` does: it has no `Runner` to leave the work to."""
    if not asyncio.iscoroutine(main):
        message = f"a coroutine was expected, got {main!r}"
        raise ValueError(message)
    loop = loop_factory()
    try:
        asyncio.set_event_loop(loop)
        if debug is not None:
            loop.set_debug(debug)
        return loop.run_until_complete(main)
    finally:
        try:
            _cancel_what_is_left(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def _cancel_what_is_left(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel every task of a stopped loop, wait for the end of each and report what went wrong."""
    tasks = asyncio.all_tasks(loop)
    if not tasks:
        return
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.wait(tasks))
    for task in tasks:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            loop.call_exception_handler(
                {
                    "message": "unhandled exception during asyncio.run() shutdown",
                    "exception": error,
                    "task": task,
                }
            )
