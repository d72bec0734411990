"""What is checked while a test runs, and when it is over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from yamanote._loop import Loop
from yamanote._tasks import tree
from yamanote._watching import watch
from yamanote.testing._leaks import Leaks
from yamanote.testing._loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from yamanote._stall import Stall
    from yamanote.testing._options import Options

#: Kinds of stalls that the program is to blame for.
CULPABLE = frozenset({"blocking", "computing"})


class LeakError(AssertionError):
    """A test has left something behind."""


class StallError(AssertionError):
    """A test has blocked its loop for too long."""


async def checked(main: Callable[[], Coroutine[Any, Any, object]], options: Options) -> None:
    """Run a test on the running loop, and check what its options ask for.

    Raises:
        TimeoutError: it took too long.
        LeakError: it has left something behind.
        StallError: it has blocked the loop.
    """
    __tracebackhide__ = True  # Of pytest: a person wants to see the test.
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    leaks = Leaks(loop) if options.leaks == "error" else None
    stalls: list[Stall] = []
    if options.watch is None:
        await _limited(main, options.timeout, loop)
    else:
        # `repeat` is for those who watch while it lasts.
        with watch(loop, threshold=options.watch, on_stall=stalls.append):
            await _limited(main, options.timeout, loop)
    culpable = [stall for stall in stalls if stall.kind in CULPABLE]
    if culpable:
        raise StallError(_described(culpable[-1], options.watch))
    if leaks is not None and (left := await leaks.find()):
        raise LeakError("\n  ".join([f"the test leaves {len(left)} behind:", *left]))


async def _limited(
    main: Callable[[], Coroutine[Any, Any, object]], seconds: float | None, loop: Loop
) -> None:
    __tracebackhide__ = True
    # A virtual loop ends its run itself: a timer would hide what waits for ever.
    if seconds is None or isinstance(loop, VirtualLoop):
        await main()
        return
    lines: list[str] = []
    timer = loop.call_later(seconds, lambda: lines.extend(tree(loop)))
    try:
        async with asyncio.timeout(seconds):
            await main()
    except TimeoutError as error:
        if lines:
            raise TimeoutError("\n".join([f"longer than {seconds} s:", *lines])) from error
        raise
    finally:
        timer.cancel()


def _described(stall: Stall, threshold: float | None) -> str:
    text = f"{stall.kind} for {stall.duration:.3f} s, more than {threshold} s"
    if stall.task is not None:
        text += f", in task {stall.task.name}"
    if stall.stack:
        text += ":\n" + "".join(stall.stack.format())
    return text
