"""The thread that watches loops for `watch()`, and what it reports."""

from __future__ import annotations

import asyncio
import atexit
import dataclasses
import gc
import logging
import os
import sys
import threading
import time
import traceback
import weakref
from collections import deque
from typing import Any, Final

from yamanote._every_loop import call_for_new, every_loop
from yamanote._stacks import running_stack
from yamanote._stall import Stall
from yamanote._tasks import info_of
from yamanote._yamanote import Watcher, _note_collection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from yamanote._loop import Loop
    from yamanote._yamanote import FoundStall

    OnStall: TypeAlias = Callable[[Stall], object]

logger: Final = logging.getLogger("yamanote")

#: The last stalls that ended: when, on the clock of `time.monotonic()`; the loop; the report.
recent_stalls: Final[deque[tuple[float, weakref.ref[Loop], str]]] = deque(maxlen=10)
_DEBUGGERS: Final = ("bdb.py", "pdb.py", "pydevd", "debugpy")
#: `sys.monitoring.DEBUGGER_ID`.
_DEBUGGER_ID: Final = 0
#: Seconds in which the thread ends when the interpreter does.
_ENDING: Final = 5.0


class Order:
    """What to watch, and how to report it: the parameters of `watch()`."""

    def __init__(
        self, loop: Loop | None, threshold: float, repeat: float, on_stall: OnStall | None
    ) -> None:
        self._loop = None if loop is None else weakref.ref(loop)
        self.threshold: float = threshold
        self.repeat: float = repeat
        self.on_stall: OnStall | None = on_stall

    @property
    def is_for_every_loop(self) -> bool:
        return self._loop is None

    def loops(self) -> list[Loop]:
        """Return the loops that there are to watch now."""
        if self._loop is None:
            return every_loop()
        loop = self._loop()
        return [] if loop is None else [loop]

    def tell(self, stall: Stall) -> None:
        """Report a stall, unless this was stopped meanwhile."""
        if self not in _orders:
            return
        if self.on_stall is None:
            logger.warning("%s", stall, extra={"stall": stall})
        else:
            self.on_stall(stall)


class _Watched:
    """One loop of one order."""

    def __init__(self, order: Order, loop: Loop) -> None:
        self.order, self.loop = order, weakref.ref(loop)
        #: The stall that has not ended.
        self.stall: Stall | None = None
        self.is_in_debugger = False


class _Watchdog:
    """The one thread that watches, and the loops that it watches."""

    def __init__(self) -> None:
        self._watcher = Watcher()
        self._watched: dict[int, _Watched] = {}
        self._thread = threading.Thread(target=self._run, name="yamanote-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()
        gc.callbacks.append(_note_collection)

    def end(self) -> None:
        self._watcher.stop()
        self._note_no_collections()

    def leave(self) -> None:
        """In a forked child: its lock may be held by the parent's thread, so touch it no more."""
        self._watched.clear()
        self._note_no_collections()

    @staticmethod
    def _note_no_collections() -> None:
        if _note_collection in gc.callbacks:
            gc.callbacks.remove(_note_collection)

    def join(self, seconds: float) -> None:
        if self._thread is not threading.current_thread():
            self._thread.join(seconds)

    def add(self, order: Order, loop: Loop) -> None:
        watched = _Watched(order, loop)
        may_print = order.on_stall is None
        number = self._watcher.add(loop, order.threshold, order.repeat, may_print)
        self._watched[number] = watched
        watched.loop = weakref.ref(loop, lambda _: self._remove(number))

    def remove(self, order: Order) -> None:
        for number, watched in list(self._watched.items()):
            if watched.order is order:
                self._remove(number)

    def _remove(self, number: int) -> None:
        # Perhaps inside the collector, so without a lock.
        self._watched.pop(number, None)
        self._watcher.remove(number)

    def _run(self) -> None:
        while (found := self._watcher.wait(sys.getswitchinterval())) is not None:
            for stall in found:
                try:
                    self._found(stall)
                except BaseException:
                    # From `on_stall`, or from a handler of the logging.
                    logger.exception("A stall of an event loop could not be reported")

    def _found(self, found: FoundStall) -> None:
        number, kind, duration, seen, cpu, delay, collecting, ended, thread, mark = found
        watched = self._watched.get(number)
        if watched is None:
            return
        last = watched.stall
        loop = watched.loop()
        if not ended:
            # This thread may have waited for the GIL since.
            duration += max(time.monotonic() - seen, 0.0)
        stall = Stall(
            kind, duration, None, None, (), None, cpu, delay, collecting, ended, loop, thread[0]
        )
        if ended:
            if last is not None:
                kept = {name: getattr(last, name) for name in ("task", "awaited_by", "handle")}
                stack = last.stack if _may_be_the_programs(stall) else None
                stall = dataclasses.replace(stall, stack=stack, **kept)
            is_in_debugger = watched.is_in_debugger
            watched.stall, watched.is_in_debugger = None, False
            if not is_in_debugger:
                recent_stalls.append((time.monotonic(), watched.loop, str(stall)))
                _mark_in_trace(stall, thread[1])
                watched.order.tell(stall)
            return
        if loop is not None and _may_be_the_programs(stall):
            stall = _with_culprit(stall, loop, thread)
        if not self._watcher.is_still(number, mark):
            return  # It has ended, and is told as that.
        watched.is_in_debugger |= _is_debugged(stall.stack)
        if not watched.is_in_debugger:
            watched.stall = dataclasses.replace(stall, stack=_without_loop(stall.stack))
            watched.order.tell(watched.stall)


def _mark_in_trace(stall: Stall, native_id: int) -> None:
    """Show the stall in the trace that is being taken, if any."""
    tracing = sys.modules.get("yamanote._tracing")
    if tracing is not None:
        args = {"kind": stall.kind, "duration": stall.duration, "where": str(stall)}
        tracing.note_stall(native_id, f"stall: {stall.kind}", args)


def _may_be_the_programs(stall: Stall) -> bool:
    """Return whether a line of the program may be the cause, or a part of it."""
    if stall.kind in ("blocking", "computing", "unknown"):
        return True
    return stall.cpu is not None and stall.cpu - stall.gc > stall.duration / 4


def _with_culprit(stall: Stall, loop: Loop, thread: tuple[int, int]) -> Stall:
    """Add what runs."""
    whole = running_stack(*thread)
    task = asyncio.current_task(loop)
    stack = _without_loop(whole)
    handle = None
    if stack:
        handle = f"{stack[0].name} at {stack[0].filename}:{stack[0].lineno}"
    info = None if task is None else info_of(task, loop, stack)
    return dataclasses.replace(
        stall,
        stack=whole,
        task=info,
        awaited_by=() if info is None else info.awaited_by,
        handle=handle,
    )


def _without_loop(stack: traceback.StackSummary | None) -> traceback.StackSummary | None:
    """Cut off the frames that ran the loop; `None` if no others are left."""
    folder = os.path.dirname(__file__)
    first = 0
    for number, frame in enumerate(stack or ()):
        if frame.filename.startswith(folder) and frame.filename.endswith("_lifecycle.py"):
            first = number + 1
    rest = list(stack or ())[first:]
    return traceback.StackSummary.from_list(rest) if rest else None


def _is_debugged(stack: traceback.StackSummary | None) -> bool:
    """Return whether the thread waits for a person: a debugger is attached, or on its stack."""
    monitoring: Any = getattr(sys, "monitoring", None)
    if monitoring is not None and monitoring.get_tool(_DEBUGGER_ID) is not None:
        return True
    return any(name in frame.filename for frame in stack or () for name in _DEBUGGERS)


#: What watches now. The lock is for starting and stopping.
_orders: set[Order] = set()
_watchdog: _Watchdog | None = None
_lock = threading.RLock()
_follows_new = False


def start(order: Order) -> None:
    """Begin to watch."""
    global _watchdog, _follows_new
    with _lock:
        if _watchdog is None:
            watchdog = _Watchdog()
            watchdog.start()
            _watchdog = watchdog
        _orders.add(order)
        for loop in order.loops():
            _watchdog.add(order, loop)
        if order.is_for_every_loop and not _follows_new:
            _follows_new = True
            call_for_new(_follow)


def stop(order: Order) -> None:
    """Watch no more."""
    global _watchdog
    with _lock:
        _orders.discard(order)
        if _watchdog is not None:
            _watchdog.remove(order)
            if not _orders:
                _watchdog.end()
                _watchdog = None


def _follow(loop: Loop) -> None:
    """Watch a new loop, if every loop is watched."""
    with _lock:
        for order in _orders:
            if order.is_for_every_loop and _watchdog is not None:
                _watchdog.add(order, loop)


@atexit.register
def _end() -> None:
    """Let the thread end before the interpreter does."""
    watchdog = _watchdog
    if watchdog is not None:
        watchdog.end()
        watchdog.join(_ENDING)


def _in_child() -> None:
    """In a forked child, which does not have its parent's threads: watch on."""
    global _watchdog, _lock
    _lock = threading.RLock()
    if _watchdog is None:
        return
    _watchdog.leave()
    _watchdog = None
    orders = list(_orders)
    _orders.clear()
    try:
        for order in orders:
            start(order)
    except RuntimeError:
        logger.exception("The event loops of a forked process are not watched")


os.register_at_fork(after_in_child=_in_child)
