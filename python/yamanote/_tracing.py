"""`trace()`: what the loops of the process did when, in a file for Perfetto or chrome://tracing."""

from __future__ import annotations

import atexit
import gc
import operator
import os
import sys
import threading
import time
from collections import deque

from yamanote._every_loop import call_for_new, every_loop
from yamanote._trace_file import instant, name_of_thread, slice_of, slices, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Final, Self

    from yamanote._loop import Loop
    from yamanote._yamanote import Recording

#: Events that a trace keeps of each loop, unless it is told otherwise.
EVENTS: Final = 1_000_000
#: Garbage collections and stalls that a trace keeps.
_NOTES: Final = 100_000
#: The native core keeps this much of a thread's number; on Linux it is all of it.
_MOST: Final = 0xFFFFFFFF
#: Events that are Python objects at once.
_AT_ONCE: Final = 5_000
#: The variable that traces a whole process, and what stands in it for the number of the process.
_VARIABLE: Final = "YAMANOTE_TRACE"
_NUMBER: Final = "%p"

#: Has an item unless a trace is being taken: of several threads, one gets it.
_free: Final = [True]
_current: Trace | None = None
#: The names of the threads that have run loops, by the kernel's numbers.
_threads: Final[dict[int, str]] = {}
#: As `_VARIABLE` had it, and for the children of the process.
_given: str | None = None
_for_children: str | None = None


class Trace:
    """A trace that is being taken, or was; `trace()` makes them.

    Attributes:
        path: the file that `close()` writes.
    """

    def __init__(self, path: str, events: int, *, is_optional: bool = False) -> None:
        """Begin; an optional one gets a file only if there was a loop."""
        global _current
        self.path: str = path
        self._events = events
        self._is_open = [True]
        self._lock = threading.RLock()
        self._dropped = 0
        #: Of loops that are gone, oldest first; and of those that may be there.
        self._over: deque[Recording] = deque()
        self._recordings: list[Recording] = []
        self._notes: deque[str] = deque(maxlen=_NOTES)
        self._collecting: dict[int, int] = {}
        try:
            _free.pop()
        except IndexError:
            raise RuntimeError("another trace is being taken") from None
        try:
            # Now, so that a file that cannot be written is known now.
            self._file = None if is_optional else self._create()
        except BaseException:
            _free.append(True)
            raise
        _threads.clear()
        _current = self
        gc.callbacks.append(self._collection)
        for loop in every_loop():
            self._add(loop)

    def __enter__(self) -> Self:
        """Return the trace itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    @property
    def dropped(self) -> int:
        """How many events were dropped: the oldest ones of a loop that had more than are kept."""
        recordings = (*self._over, *self._recordings)
        return self._dropped + sum(recording.counts()[1] for recording in recordings)

    def close(self) -> None:
        """End the trace and write its file; do nothing if it has ended.

        Callable from any thread, and inside a callback: what runs then, ends here in the trace.

        Raises:
            OSError: the file could not be written. It is then incomplete.
        """
        try:
            self._is_open.pop()
        except IndexError:
            return
        try:
            self._end()
            if self._file is None and (self._recordings or self._over):
                self._file = self._create()
            if self._file is not None:
                head: dict[str, object] = {"dropped_events": self._dropped}
                write(self._file, head, self._texts())
        finally:
            self._let_go()

    def _create(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)

    def _add(self, loop: Loop) -> None:
        """Record a loop from now on."""
        with self._lock:
            if _current is not self:
                return
            self._retire()
            thread = loop._running_thread()
            if thread is not None:
                name_thread(thread[1])
            self._recordings.append(loop._start_trace(self._events))

    def _retire(self) -> None:
        """Keep of all loops that are gone as many events as of one."""
        recordings, self._recordings = self._recordings, []
        for recording in recordings:
            (self._over if recording.is_over() else self._recordings).append(recording)
        if len(recordings) == len(self._recordings):
            return
        held = sum(recording.counts()[0] for recording in self._over)
        while held > self._events:
            kept, dropped = self._over.popleft().counts()
            held -= kept
            self._dropped += kept + dropped

    def _end(self) -> None:
        """Record no more."""
        global _current
        with self._lock:
            _current = None
            gc.callbacks.remove(self._collection)
            for loop in every_loop():
                loop._stop_trace()
            for recording in (*self._over, *self._recordings):
                self._dropped += recording.end()

    def _let_go(self) -> None:
        """Forget everything, and let another trace begin."""
        file, self._file = self._file, None
        self._over.clear()
        self._recordings.clear()
        self._notes.clear()
        _free.append(True)
        if file is not None:
            os.close(file)

    def _leave_to_parent(self) -> None:
        """In a forked child: end without a file."""
        global _current
        self._is_open.clear()
        gc.callbacks.remove(self._collection)
        _current = None
        _free.clear()
        self._let_go()

    def _texts(self) -> Iterator[str]:
        """Yield the events as JSON."""
        for thread in threading.enumerate():
            if thread.native_id is not None:
                _threads[thread.native_id & _MOST] = thread.name
        for number, name in _threads.items():
            yield name_of_thread(number, name)
        for recording in (*self._over, *self._recordings):
            while events := recording.take(_AT_ONCE):
                yield from slices(events)
        yield from self._notes

    def _note(self, event: str) -> None:
        if len(self._notes) == _NOTES:
            self._dropped += 1
        self._notes.append(event)

    def _collection(self, phase: str, info: dict[str, int]) -> None:
        """Called by the interpreter when a garbage collection begins, and when it ends."""
        thread, now = threading.get_native_id() & _MOST, time.monotonic_ns()
        if phase == "start":
            self._collecting[thread] = now
        elif (began := self._collecting.pop(thread, None)) is not None:
            args: dict[str, object] = {name: info[name] for name in ("generation", "collected")}
            self._note(slice_of(began, now, thread, "gc", args))


def trace(path: str | os.PathLike[str], *, events: int = EVENTS) -> Trace:
    """Record what every loop of the process does until the trace is closed.

    A context manager; or call its `close()`. The file is in Chrome's trace event format, which
    https://ui.perfetto.dev and chrome://tracing show: turns, callbacks, steps of tasks, events of
    transports, waits and garbage collections. One that is open when the program ends is closed.

    Args:
        path: the file, which is created or emptied at once. `close()` writes it.
        events: how many events to keep of each loop, the last ones. A million, which it is unless
            said, take 48 MB, and about 170 MB in the file.

    Raises:
        TypeError: `path` is no path, or `events` is no integer.
        OSError: the file cannot be created.
        RuntimeError: another trace is being taken.
        ValueError: `events` is less than one.
    """
    events = operator.index(events)
    if events < 1:
        raise ValueError(f"events is {events}, not at least 1")
    return Trace(os.fspath(path), events)


def note_stall(thread: int, name: str, args: dict[str, object]) -> None:
    """Mark a stall in the trace that is being taken, if any.

    Args:
        thread: the kernel's number of the thread.
        name: what the mark is called.
        args: more about it; JSON can hold it.
    """
    taken = _current
    if taken is not None:
        taken._note(instant(time.monotonic_ns(), thread, name, args))  # pyright: ignore[reportPrivateUsage]


def name_thread(native_id: int) -> None:
    """Note the name of a thread that runs a loop: it may have ended when the trace is written."""
    for thread in threading.enumerate():
        if thread.native_id == native_id:
            _threads[native_id & _MOST] = thread.name


def switch_on(path: str) -> None:
    """Trace the process, as `YAMANOTE_TRACE` asks for.

    Its children get the variable with `%p` in the name of the file, which stands for the number of
    the process.

    Raises:
        ValueError: the file cannot be created, or a trace is being taken.
    """
    global _given, _for_children
    whole = os.path.abspath(path)
    root, suffix = os.path.splitext(whole)
    pattern = whole if _NUMBER in whole else f"{root}.{_NUMBER}{suffix}"
    try:
        Trace(_numbered(whole), EVENTS, is_optional=_NUMBER in whole)
    except (OSError, RuntimeError) as error:
        raise ValueError(str(error)) from error
    _given, _for_children = path, pattern
    os.environ[_VARIABLE] = pattern


def hand_over() -> None:
    """Undo `switch_on()`: this process is about to become another program."""
    global _given, _for_children
    if _given is not None:
        os.environ[_VARIABLE] = _given
        _given = _for_children = None
        if _current is not None:
            _current._leave_to_parent()  # pyright: ignore[reportPrivateUsage]


def _numbered(path: str) -> str:
    return path.replace(_NUMBER, str(os.getpid()))


def _created(loop: Loop) -> None:
    taken = _current
    if taken is not None:
        taken._add(loop)  # pyright: ignore[reportPrivateUsage]


def _at_exit() -> None:
    taken = _current
    if taken is not None:
        taken.close()


def _in_child() -> None:
    if _current is not None:
        _current._leave_to_parent()  # pyright: ignore[reportPrivateUsage]
    # Another thread may have been closing one.
    _free[:] = [True]
    if _for_children is None:
        return
    Trace(_numbered(_for_children), EVENTS, is_optional=True)
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        # A child of `multiprocessing` ends without `atexit`, and forgets first what is to be done.
        util.register_after_fork(_at_exit, _finalize)


def _finalize(_: object) -> None:
    from multiprocessing.util import Finalize

    Finalize(None, _at_exit, exitpriority=-100)


call_for_new(_created)
atexit.register(_at_exit)
os.register_at_fork(after_in_child=_in_child)
