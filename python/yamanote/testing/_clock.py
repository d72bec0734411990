"""The virtual clock of a loop."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from yamanote.testing._loop import VirtualLoop

    _Callback = TypeVar("_Callback", bound=Callable[[float], object])


@dataclass(frozen=True)
class Jumps:
    """How often a virtual clock has jumped, and how far in all.

    Attributes:
        count: how often.
        seconds: how far in all.
    """

    count: int
    seconds: float


class Clock:
    """A clock that stands still while anything happens, and else jumps to the next deadline.

    It is the `clock` of a loop from `yamanote.testing.new_event_loop()`, and what that loop's
    `time()` tells.
    """

    def __init__(self, loop: VirtualLoop, start: float) -> None:
        """Show `start`, in seconds."""
        self._loop, self._now = loop, start
        self._count, self._seconds = 0, 0.0
        self._callbacks: list[Callable[[float], object]] = []
        # Holds come from any thread.
        self._lock = threading.RLock()
        self._holds = 0

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._now

    @property
    def jumps(self) -> Jumps:
        """How often the clock has jumped, and how far in all."""
        return Jumps(self._count, self._seconds)

    def on_jump(self, callback: _Callback) -> _Callback:
        """Call `callback(seconds)` after each jump, before anything that is due then runs.

        It is for other clocks, which it moves by so many seconds. May be used as a decorator.
        """
        self._callbacks.append(callback)
        return callback

    @contextlib.contextmanager
    def hold(self) -> Generator[None]:
        """Let time pass really meanwhile: for work that the loop does not know of.

        The loop knows of executors, look-ups, child processes and Rust futures, but not of a thread
        that the program has started itself. From any thread.
        """
        with self._lock:
            self._holds += 1
        try:
            yield
        finally:
            with self._lock:
                self._holds -= 1
                # The loop may be waiting for this. With the lock: who sees that the hold is over
                # sees the call, too, and so looks at the kernel again before time jumps.
                with contextlib.suppress(RuntimeError):  # It is closed.
                    self._loop.call_soon_threadsafe(_nothing)

    @property
    def is_held(self) -> bool:
        """Whether anything holds the clock."""
        with self._lock:
            return self._holds > 0

    def _jump(self, to: float) -> None:
        """Show the time `to`, if it is not past."""
        seconds = to - self._now
        if seconds <= 0:
            return
        self._now = to
        self._count += 1
        self._seconds += seconds
        for callback in tuple(self._callbacks):
            try:
                callback(seconds)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                context: dict[str, Any] = {
                    "message": "Exception in a callback of the clock's on_jump()",
                    "exception": error,
                }
                self._loop.call_exception_handler(context)


def _nothing() -> None:
    """End a wait of the loop."""
