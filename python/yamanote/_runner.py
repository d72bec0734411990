"""`run()` and `new_event_loop()`: the usual entry points."""

from __future__ import annotations

import asyncio
import functools
import sys

from yamanote._loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any, TypeAlias, TypeVar

    from yamanote._limits import Limits

    _T = TypeVar("_T")

    # What asyncio.run() accepts.
    if sys.version_info >= (3, 14):
        _Main: TypeAlias = Awaitable[_T]
    else:
        _Main: TypeAlias = Coroutine[Any, Any, _T]


def new_event_loop(
    *, keep_tasks: bool = False, origins: int = 0, limits: Limits | None = None
) -> Loop:
    """Return a new event loop, for use as a `loop_factory` of `asyncio.Runner` or `asyncio.run`.

    Args:
        keep_tasks: hold every task until it is done. asyncio holds pending tasks only weakly, so a
            task that nothing else refers to may be collected half-way. Tasks that are still
            pending when the loop is closed are logged, in one record.
        origins: how many lines of the program to remember for each task and handle: those that
            created it, innermost last. Reports of lost exceptions, slow callbacks and lost tasks,
            `tasks()` and `dump()` name them. 0, the default, is none; in debug mode, asyncio
            remembers the whole stack.
        limits: what the servers of the loop put up with, as `Loop.set_limits()` sets it.

    Raises:
        TypeError: `origins` is not an integer, or `limits` are no `Limits`.
        ValueError: `origins` is negative.
    """
    if origins:
        from yamanote._origins import checked, remember

        lines = checked(origins)
        loop = Loop()
        remember(loop, lines)
    else:
        loop = Loop()
    if keep_tasks:
        from yamanote._keeping import TaskKeeper

        TaskKeeper(loop)
    if limits is not None:
        loop.set_limits(limits)
    return loop


def run(
    main: _Main[_T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    keep_tasks: bool = False,
    origins: int = 0,
    limits: Limits | None = None,
) -> _T:
    """Run `main` on a new event loop, close the loop, and return the result of `main`.

    This is the interpreter's `asyncio.run()` with yamanote's loop: it cancels the remaining tasks,
    finalizes asynchronous generators and waits for the default executor in the same order.

    Args:
        main: a coroutine; from Python 3.14 any awaitable.
        debug: the loop's debug mode; `None` takes it from the environment, as asyncio does.
        loop_factory: returns the loop to use; `None` means `new_event_loop`.
        keep_tasks: as for `new_event_loop`.
        origins: as for `new_event_loop`.
        limits: as for `new_event_loop`.

    Raises:
        TypeError: `origins` is not an integer, or `limits` are no `Limits`; from Python 3.14 on,
            also if `main` is no awaitable.
        ValueError: `origins` is negative; or there is a `loop_factory`, which decides about
            `keep_tasks`, `origins` and `limits`; before Python 3.14, also if `main` is no
            coroutine.
        RuntimeError: an event loop is already running in this thread.
    """
    if loop_factory is None:
        loop_factory = functools.partial(
            new_event_loop, keep_tasks=keep_tasks, origins=origins, limits=limits
        )
    elif keep_tasks or origins or limits is not None:
        name = "keep_tasks" if keep_tasks else "origins" if origins else "limits"
        raise ValueError(f"{name} is for the loop_factory to decide")
    if sys.version_info >= (3, 12):
        # Not `asyncio.run`, which `nest_asyncio` replaces with one that takes no factory.
        return asyncio.runners.run(main, debug=debug, loop_factory=loop_factory)
    # Before 3.12 asyncio.run() has no `loop_factory`.
    if asyncio._get_running_loop() is not None:
        message = "asyncio.run() cannot be called from a running event loop"
        raise RuntimeError(message)
    with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)
