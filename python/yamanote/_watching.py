"""`watch()`: reports loops that stall, while they do."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Self

from yamanote._watchdog import Order, start, stop
from yamanote._yamanote import Core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from yamanote._watchdog import OnStall


class Watch:
    """Watches one loop, or every loop of the process, until `stop()`. Created by `watch()`."""

    def __init__(self, order: Order) -> None:
        """Begin to watch."""
        self._order = order
        start(order)

    def stop(self) -> None:
        """Watch no more, nor tell the end of a stall. Callable from any thread, more than once."""
        stop(self._order)

    def __enter__(self) -> Self:
        """Return the object itself: it watches already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()


def watch(
    loop: asyncio.AbstractEventLoop | None = None,
    *,
    threshold: float = 0.1,
    repeat: float = 1.0,
    on_stall: OnStall | None = None,
    c_stacks: bool = False,
) -> Watch:
    """Report a loop that stalls, while it does: what runs, where, for which task, and why.

    A loop stalls while one callback or one step of a task runs for long, or while the loop has
    something to do and waits for the GIL. One thread watches all loops; it never waits for them.

    Args:
        loop: the loop to watch. `None`: the running loop; if none runs in this thread, every
            loop of the process, also those that are created later.
        threshold: seconds after which a stall is reported, while it lasts.
        repeat: seconds between two reports of one stall. One more is made when it has ended.
        on_stall: called with a `Stall`, on the watching thread, so it must not touch the loop but
            through `call_soon_threadsafe()`. `None`: log a warning on the logger "yamanote",
            whose record has the `Stall` as its attribute `stall`. If that cannot be done while
            the loop stalls, as one thread does not give the GIL up, a line on the standard error
            says how long it stalls and why.
        c_stacks: read the stack also where C code does not give the GIL up, as a regular expression
            that backtracks. `faulthandler` writes it, in a handler of the last real-time signal
            that is free. The signal interrupts what the thread does in the kernel, which then goes
            on where the system can restart it; so this is off unless asked for. Linux only.

    Returns:
        What watches, already at work: a context manager, with a method `stop()`.

    Raises:
        TypeError: `loop` is not a loop of yamanote, `on_stall` is not callable, or `threshold` or
            `repeat` is no number.
        ValueError: `threshold` is less than a millisecond, or `repeat` is not more than 0, or one
            of them is not finite.
        RuntimeError: `c_stacks` cannot be had here.
        OSError: there is no file for `c_stacks`.
    """
    running = asyncio._get_running_loop() if loop is None else loop
    if running is not None and not isinstance(running, Core):
        message = f"a loop of yamanote is needed, not {type(running).__name__}"
        raise TypeError(message)
    if on_stall is not None and not callable(on_stall):
        raise TypeError("on_stall must be callable")
    threshold = _checked(threshold)
    if not (0 < repeat < math.inf):
        message = f"repeat must be more than 0 seconds, not {repeat!r}"
        raise ValueError(message)
    watched: Any = running
    dumper = None
    if c_stacks:
        from yamanote._c_stacks import dumper as c_dumper

        dumper = c_dumper()
    return Watch(Order(watched, threshold, float(repeat), on_stall, dumper))


def switch_on(value: str) -> None:
    """Watch every loop of the process: `YAMANOTE_WATCH` is the threshold, in seconds."""
    start(Order(None, _checked(float(value)), 1.0, None))


def _checked(threshold: float) -> float:
    """Return a threshold that is neither too short nor not finite."""
    if not (0.001 <= threshold < math.inf):
        message = f"threshold must be at least 0.001 seconds, not {threshold!r}"
        raise ValueError(message)
    return float(threshold)
