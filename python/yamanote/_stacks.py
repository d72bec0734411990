"""The stack of a thread that runs, read by another thread."""

from __future__ import annotations

import os
import sys
import threading
from importlib import import_module
from traceback import FrameSummary, StackSummary
from typing import Any, Final

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType
    from typing import Protocol, TypeAlias

    #: File, line (`None` if code gives none), function.
    _Frame: TypeAlias = tuple[str, int | None, str]

    class _Unwinder(Protocol):
        def get_stack_trace(self) -> list[Any]: ...


#: So often a stack is read at most until two readings agree on all of it. One takes about 50 us.
_READINGS: Final = 12


def running_stack(ident: int, native_id: int) -> StackSummary | None:
    """Return where a thread of this process is, innermost frame last.

    Callable from any thread. Lines of source are read when the result is first formatted.

    Args:
        ident: the thread's `threading.get_ident()`.
        native_id: its `threading.get_native_id()`.

    Returns:
        `None` if the thread has ended, runs no Python code, or cannot be read: free-threaded
        builds before 3.14, and systems that do not let a process read its own memory.
    """
    if getattr(sys, "_is_gil_enabled", lambda: True)() or ident == threading.get_ident():
        return _current(ident)
    return _agreed(native_id)


def _current(ident: int) -> StackSummary | None:
    """Read the stack by Python's own means: of this thread, or of any other if there is a GIL."""
    # In one go, before the GIL changes hands. No frame is kept: what its locals refer to would
    # otherwise be dropped by this thread.
    is_here = ident == threading.get_ident()
    frame: FrameType | None = sys._getframe(2) if is_here else sys._current_frames().get(ident)  # pyright: ignore[reportPrivateUsage]
    found: list[tuple[CodeType, int | None]] = []
    while frame is not None:
        found.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    if not found:
        return None
    return _summary([(code.co_filename, line, code.co_name) for code, line in reversed(found)])


def _agreed(native_id: int) -> StackSummary | None:
    """Read the stack from memory, which the thread changes meanwhile.

    A reading may mix two moments. What is returned is the most that two readings have in common,
    outermost frames first: frames that the thread was in at both times.
    """
    best: list[_Frame] = []
    try:
        readings: list[list[_Frame]] = []
        unwinder = _unwinder()
        for _ in range(_READINGS):
            # A thread in the middle of a change may be unreadable for a moment.
            reading = _reading(unwinder, native_id)
            if not reading:
                continue
            for other in readings:
                common = _common(reading, other)
                best = max(best, common, key=len)
                if len(common) == len(reading) == len(other):
                    return _summary(reading)
            readings.append(reading)
    except Exception:
        # Ignored: it is private, and Python may be built without it, or the system may refuse.
        return None
    return _summary(best) if best else None


def _unwinder() -> _Unwinder:
    module: Any = import_module("_remote_debugging")
    # Only `get_stack_trace()`: `get_async_stack_trace()` of one's own process may not end.
    unwinder: _Unwinder = module.RemoteUnwinder(os.getpid(), all_threads=True)
    return unwinder


def _reading(unwinder: _Unwinder, native_id: int) -> list[_Frame] | None:
    """Read the thread's stack once, outermost frame first; `None` if that fails."""
    try:
        threads = unwinder.get_stack_trace()
        # From 3.15 on, the threads are in their interpreters, and the lines in a `location`.
        if threads and hasattr(threads[0], "threads"):
            threads = [thread for interpreter in threads for thread in interpreter.threads]
        for thread in threads:
            if thread.thread_id == native_id:
                stack: list[_Frame] = [
                    (info.filename, _line(info), info.funcname.rpartition(".")[2])
                    for info in reversed(thread.frame_info)
                ]
                # The thread is entering this function, and has not yet said where it is.
                if stack and stack[-1][1] is None:
                    stack.pop()
                return stack
    except (OSError, RuntimeError, UnicodeError, ValueError, MemoryError):
        # Ignored: another reading may succeed.
        return None
    return None


def _line(info: Any) -> int | None:  # noqa: ANN401 - Its class depends on the version.
    line: int = info.location.lineno if hasattr(info, "location") else info.lineno
    return line if line > 0 else None


def _common(one: list[_Frame], other: list[_Frame]) -> list[_Frame]:
    """Return the outermost frames that two stacks have in common."""
    length = 0
    for mine, theirs in zip(one, other):  # noqa: B905 - They may have different lengths.
        if mine != theirs:
            break
        length += 1
    return one[:length]


def _summary(frames: list[_Frame]) -> StackSummary:
    return StackSummary.from_list(
        [FrameSummary(file, line, name, lookup_line=False) for file, line, name in frames]
    )
