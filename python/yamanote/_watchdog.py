"""The thread that watches loops for `watch()`, and what it reports."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
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
from importlib import import_module
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
#: Folders and files of debuggers that are no part of Python.
_DEBUGGERS: Final = frozenset({"debugpy", "pydevd", "pydevd.py", "_pydevd_bundle"})
#: `sys.monitoring.DEBUGGER_ID`.
_DEBUGGER_ID: Final = 0
#: Seconds in which the thread ends when the interpreter does.
_ENDING: Final = 5.0


class Order:
    """What to watch, and how to report it: the parameters of `watch()`."""

    def __init__(
        self,
        loop: Loop | None,
        threshold: float,
        repeat: float,
        on_stall: OnStall | None,
        dumper: tuple[int, int] | None = None,
    ) -> None:
        self._loop = None if loop is None else weakref.ref(loop)
        self.threshold: float = threshold
        self.repeat: float = repeat
        self.on_stall: OnStall | None = on_stall
        #: For stacks of C code: a signal, and the file that its handler appends to.
        self.dumper: tuple[int, int] | None = dumper

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
        #: What a signal handler has read of it.
        self.dumped: traceback.StackSummary | None = None
        self.is_in_debugger = False


class _Watchdog:
    """The one thread that watches, and the loops that it watches."""

    def __init__(self) -> None:
        self._watcher = Watcher()
        self._watched: dict[int, _Watched] = {}
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="yamanote-watch", daemon=True)

    def start(self) -> None:
        # One that goes on may be of a parent of this process, or its end may not have been noted.
        _note_collection("forget", None)
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
        number = self._watcher.add(loop, order.threshold, order.repeat, may_print, order.dumper)
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
        while (found := self._watcher.wait(_switch_interval())) is not None:
            for stall in found:
                try:
                    self._found(stall)
                except BaseException as error:
                    _could_not_tell(error)
                if os.getpid() != self._process:
                    return  # `on_stall` has forked, and this is the child.

    def _found(self, found: FoundStall) -> None:
        number, kind, duration, seen, cpu, delay, collecting, ended, thread, mark = found
        watched = self._watched.get(number)
        if watched is None:
            return
        last = watched.stall
        loop = watched.loop()
        if (
            watched.order.dumper is not None
            and (text := self._watcher.take_dumped(number)) is not None
        ):
            watched.dumped = _without_loop(_read_dumped(text))
        if not ended:
            # This thread may have waited for the GIL since.
            duration += max(time.monotonic() - seen, 0.0)
        stall = Stall(
            kind, duration, None, None, (), None, cpu, delay, collecting, ended, loop, thread[0]
        )
        if ended:
            stack = watched.dumped
            if last is not None:
                kept = {name: getattr(last, name) for name in ("task", "awaited_by", "handle")}
                stall = dataclasses.replace(stall, **kept)
                stack = last.stack or stack
            if _may_be_the_programs(stall):
                stall = dataclasses.replace(stall, stack=stack)
            is_in_debugger = watched.is_in_debugger
            watched.stall, watched.dumped, watched.is_in_debugger = None, None, False
            if not is_in_debugger:
                recent_stalls.append((time.monotonic(), watched.loop, str(stall)))
                _mark_in_trace(stall, thread[1])
                watched.order.tell(stall)
            return
        if loop is not None and _may_be_the_programs(stall):
            try:
                stall = _with_culprit(stall, loop, thread)
            except Exception as error:  # Told without it.
                _could_not_tell(error)
        if not self._watcher.is_still(number, mark):
            return  # It has ended, and is told as that.
        watched.is_in_debugger |= _is_debugged(stall.stack)
        if not watched.is_in_debugger:
            watched.stall = dataclasses.replace(stall, stack=_without_loop(stall.stack))
            watched.order.tell(watched.stall)


def _read_dumped(text: str) -> traceback.StackSummary | None:
    stack: traceback.StackSummary | None = import_module("yamanote._c_stacks").read(text)
    return stack


def _switch_interval() -> float:
    """Return the seconds after which a thread asks for the GIL again; 0 if there is none."""
    has_gil = getattr(sys, "_is_gil_enabled", None)
    return sys.getswitchinterval() if has_gil is None or has_gil() else 0.0


def _could_not_tell(error: BaseException) -> None:
    """Report an error of `on_stall`, or of a handler of the logging, perhaps of the same one."""
    try:
        logger.error("A stall of an event loop could not be reported", exc_info=error)
    except BaseException as another:
        with contextlib.suppress(BaseException):
            traceback.print_exception(another)


def _mark_in_trace(stall: Stall, native_id: int) -> None:
    """Show the stall in the trace that is being taken, if any."""
    tracing = sys.modules.get("yamanote._tracing")
    if tracing is not None:
        args = {"kind": stall.kind, "duration": stall.duration, "where": str(stall)}
        tracing.note_stall(native_id, f"stall: {stall.kind}", args)


def _may_be_the_programs(stall: Stall) -> bool:
    """Return whether a line of the program may be the cause, or a part of it."""
    if stall.cpu is None:
        return True  # The system does not tell.
    if stall.kind in ("blocking", "computing"):
        return True
    return stall.cpu - stall.gc > stall.duration / 4


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
    files = {getattr(sys.modules.get(name), "__file__", None) for name in ("bdb", "pdb")}
    return any(
        frame.filename in files or _DEBUGGERS.intersection(frame.filename.split(os.sep))
        for frame in stack or ()
    )


#: What watches now. The lock is for starting and stopping.
_orders: set[Order] = set()
_watchdog: _Watchdog | None = None
#: Orders of the parent of this process, for which nothing watches yet.
_inherited: set[Order] = set()
_forks_with_loop = False
_lock = threading.RLock()
_follows_new = False


def start(order: Order) -> None:
    """Begin to watch."""
    global _follows_new
    with _lock:
        # First: the collector may run a `__del__` anywhere below, which stops the last other one.
        _orders.add(order)
        try:
            watchdog = _started()
        except BaseException:
            _orders.discard(order)
            raise
        for loop in order.loops():
            watchdog.add(order, loop)
        if order.is_for_every_loop and not _follows_new:
            _follows_new = True
            call_for_new(_follow)


def _started() -> _Watchdog:
    """Return the one that watches; start it if there is none, for the orders of before a fork."""
    global _watchdog
    if _watchdog is not None:
        return _watchdog
    watchdog = _watchdog = _Watchdog()
    try:
        watchdog.start()
    except BaseException:  # Ctrl-C, too, perhaps once the thread runs.
        watchdog.end()
        _watchdog = None
        raise
    for order in _inherited.copy():
        _inherited.discard(order)
        for loop in order.loops() if order in _orders else ():
            watchdog.add(order, loop)
    return watchdog


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
        # A copy: the collector may run a `__del__` that stops one.
        for order in _orders.copy():
            if order.is_for_every_loop and order in _orders:
                is_inherited = order in _inherited
                watchdog = _started()
                if not is_inherited:  # Otherwise it has every loop.
                    watchdog.add(order, loop)


@atexit.register
def _end() -> None:
    """Let the thread end before the interpreter does."""
    watchdog = _watchdog
    if watchdog is not None:
        watchdog.end()
        watchdog.join(_ENDING)


def _before_fork() -> None:
    """Note whether the child has something to watch at once.

    The child of another thread ends when that returns, unless it has one more thread.
    """
    global _forks_with_loop
    is_main = threading.current_thread() is threading.main_thread()
    _forks_with_loop = is_main or asyncio._get_running_loop() is not None


def _in_child() -> None:
    """In a forked child, which does not have its parent's threads: watch on."""
    global _watchdog, _lock
    _lock = threading.RLock()
    if _watchdog is None:
        return
    _watchdog.leave()
    _watchdog = None
    _inherited.update(_orders)
    if _forks_with_loop:
        try:
            _started()
        except RuntimeError:
            logger.exception("The event loops of a forked process are not watched")


os.register_at_fork(before=_before_fork, after_in_child=_in_child)
