"""`YAMANOTE_DUMP_SIGNAL`: a signal prints what every loop of the process does."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
import time

from yamanote._every_loop import call_for_new, every_loop
from yamanote._stacks import running_stack
from yamanote._tasks import tree
from yamanote._totals import rows
from yamanote._yamanote import _listen_for_signal, _listen_in_child, _wait_for_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import NoReturn

    from yamanote._loop import Loop

#: Those whose default action would come again and again, or that a program sends itself to end.
_FAULTS = frozenset({"SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP"})
#: To get the GIL takes longer only if a thread keeps it, in C code or because it finalizes.
_LONG_S = 0.1
#: To look at all tasks takes longer only if one of them is locked, or there are very many.
_PATIENCE_S = 1.0
_HAS_GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
#: Held by the thread that looks at tasks, on free-threaded builds.
_looking = _thread.allocate_lock()


class Dumper:
    """Waits for the signal, in a thread of its own, and prints."""

    def __init__(self, number: signal.Signals) -> None:
        """Begin to wait.

        Raises:
            ValueError: the program has a handler for the signal, or it cannot be caught, or there
                can be no thread.
        """
        self._signal = number
        self._process = os.getpid()
        if number.name in _FAULTS:
            raise ValueError(f"{number.name} means that the program has crashed")
        if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN):
            raise ValueError(f"the program has a handler for {number.name}")
        try:
            _listen_for_signal(number)
            self._start()
        except (OSError, RuntimeError) as error:
            raise ValueError(f"{number.name} cannot be caught: {error}") from error
        os.register_at_fork(after_in_child=self._in_child)
        call_for_new(lambda _: self._start_in_child())

    def _start(self) -> None:
        # Not a `threading.Thread`: the program would find it, and its end would wait for it.
        _thread.start_new_thread(self._serve, ())

    def _in_child(self) -> None:
        """A child has no such thread. It gets one with its first loop, which it may have now."""
        if any(not loop.is_closed() for loop in every_loop()):
            self._start_in_child()

    def _start_in_child(self) -> None:
        global _looking
        process = os.getpid()
        if process != self._process:
            self._process = process
            _looking = _thread.allocate_lock()
            # Ignored: the child works, but without dumps.
            with contextlib.suppress(OSError, RuntimeError):
                _listen_in_child()
                self._start()

    def _serve(self) -> NoReturn:
        # The program's signals interrupt its own threads.
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals() - {self._signal})
        while True:
            lines = self._report(_wait_for_signal())
            # Ignored: there is no standard error, or no memory now.
            with contextlib.suppress(OSError, MemoryError):
                _write("\n".join(lines) + "\n")

    def _report(self, delay: float) -> Iterator[str]:
        loops = [loop for loop in every_loop() if not loop.is_closed()]
        # First those that run.
        loops.sort(key=lambda loop: loop._running_thread() is None)  # pyright: ignore[reportPrivateUsage]
        count = f"{len(loops) or 'no'} event loop{'' if len(loops) == 1 else 's'}"
        yield f"yamanote: {self._signal.name}, process {os.getpid()}, {count}"
        if delay > _LONG_S:
            yield f"  the interpreter was kept for {delay:.1f} s by code that did not give it back"
        for number, loop in enumerate(loops, 1):
            yield f"  loop {number}"
            for section in SECTIONS:
                try:
                    lines = list(section(loop))
                except BaseException as error:
                    # The loop runs meanwhile, and the program's own texts are part of it.
                    lines = [f"{section.__name__} cannot be read: {type(error).__name__}"]
                yield from (f"    {line}" for line in lines)


def stack(loop: Loop) -> Iterator[str]:
    """Yield where the loop's thread is."""
    numbers = loop._running_thread()  # pyright: ignore[reportPrivateUsage]
    if numbers is None:
        yield "does not run"
        return
    # Not `threading.enumerate()`, which waits for a lock.
    threads: dict[int, threading.Thread] = getattr(threading, "_active", {})
    thread = threads.get(numbers[0])
    yield f"runs in thread {numbers[1]}" + ("" if thread is None else f", {thread.name}")
    found = running_stack(*numbers)
    if found is None:
        yield "  its stack cannot be read"
        return
    for frame in found:
        yield f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}'
        if frame.line:
            yield f"    {frame.line}"


def metrics(loop: Loop) -> Iterable[str]:
    """Return the lines of a table of the loop's numbers."""
    return rows([loop.metrics()])


def tasks(loop: Loop) -> Iterable[str]:
    """Return the lines of `yamanote.dump(loop)`.

    Without a GIL, a task is locked while it runs Python code: who looks at it waits until it does
    something else. So another thread looks, and this one does not wait for long.
    """
    if _HAS_GIL:
        return tree(loop)
    looking = _looking
    if not looking.acquire(blocking=False):
        return ["tasks cannot be read: one of them computes"]
    found: list[str] = []
    done = _thread.allocate_lock()
    done.acquire()

    def look() -> None:
        try:
            found.extend(tree(loop))
        except BaseException as error:
            found.append(f"tasks cannot be read: {type(error).__name__}")
        finally:
            done.release()
            looking.release()

    _thread.start_new_thread(look, ())
    if done.acquire(timeout=_PATIENCE_S):
        return found
    return ["tasks cannot be read: one of them computes"]


def stalls(loop: Loop) -> Iterator[str]:
    """Yield the last stalls that `watch()` has told, if it watches."""
    watchdog = sys.modules.get("yamanote._watchdog")
    if watchdog is None:
        return
    for ended, told_loop, text in list(watchdog.recent_stalls):
        if told_loop() is loop:
            yield f"{time.monotonic() - ended:.1f} s ago:"
            yield from (f"  {line}" for line in text.splitlines())


#: What is printed of each loop, in this order.
SECTIONS: list[Callable[[Loop], Iterable[str]]] = [stack, stalls, tasks, metrics]


def _write(text: str) -> None:
    """Write to the standard error at once: lines of several processes do not mix.

    Not through Python's file, which a blocked thread may hold.
    """
    data = text.encode("utf-8", "backslashreplace")
    for file in (sys.stderr, sys.__stderr__):
        # The program may have closed it, or put an object of its own in its place.
        with contextlib.suppress(AttributeError, ValueError):
            fd = file.fileno()  # type: ignore[union-attr] # pyright: ignore[reportOptionalMemberAccess]
            while data:
                data = data[os.write(fd, data) :]
            return


def switch_on(value: str) -> None:
    """Print when the signal comes, from now on.

    Args:
        value: the name of a signal, such as "SIGUSR1" or "USR1", or its number.

    Raises:
        ValueError: it cannot be used.
    """
    Dumper(_signal(value))


def _signal(value: str) -> signal.Signals:
    with contextlib.suppress(ValueError):
        return signal.Signals(int(value))
    name = value.upper()
    name = name if name.startswith("SIG") else f"SIG{name}"
    try:
        return signal.Signals[name]
    except KeyError:
        raise ValueError(f"{value!r} is not a signal") from None
