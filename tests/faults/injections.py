"""The faults themselves, in the process in which they strike."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import ctypes
import functools
import os
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults import symbols
from tests.faults.calls import ERRORS, number

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.faults.points import Point
    from tests.faults.stage import Stage


class Injection:
    """Does nothing, and counts callbacks and waits."""

    def __init__(self) -> None:
        """Start without a count."""
        self.armed = False
        #: Callbacks and, of tasks, waits since `arm()`.
        self.steps = 0
        self.waits = 0

    def arm(self) -> None:
        """The scenario begins."""
        self.armed = True

    def disarm(self) -> None:
        """The trouble is over."""
        self.armed = False

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Returns a block in which no allocation fails."""
        return contextlib.nullcontext()

    def struck(self) -> bool:
        """Whether the fault has happened."""
        return False

    def counts(self) -> dict[str, int]:
        """Returns the number of possible points of each kind."""
        return {"step": self.steps, "wait": self.waits}

    def step(self, stage: Stage) -> None:
        """A callback of the scenario begins."""
        if self.armed:
            self.steps += 1

    def waiting(self, task: asyncio.Task[Any] | None) -> None:
        """A task of the scenario begins to wait."""
        if self.armed:
            self.waits += 1


class Calls(Injection):
    """Makes a call of the C library fail, or counts all of them."""

    def __init__(self, point: Point | None) -> None:
        """Store where."""
        super().__init__()
        self._library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        self._library.faults_calls.restype = ctypes.c_long
        self._counts: dict[str, int] = {}
        self._at = 0
        if point is None:
            self._names = list(ERRORS)
            self._text = ",".join(f"{name}=0@0-0" for name in ERRORS)
        else:
            call, error = point.what.split("=")
            self._names = [call]
            self._at = point.at
            last = 0 if point.lasts else point.at
            self._text = f"{call}={number(call, error)}@{point.at}-{last}"

    def spare(self, descriptor: int) -> None:
        """Calls on this descriptor do not fail."""
        self._library.faults_spare(descriptor)

    def arm(self) -> None:
        """Calls are counted from now on."""
        super().arm()
        assert self._library.faults_set(self._text.encode()) == len(self._names)

    def disarm(self) -> None:
        """All calls succeed again."""
        if self.armed:
            for name in self._names:
                self._counts[name] = self._library.faults_calls(name.encode())
            self._library.faults_set(None)
        super().disarm()

    def struck(self) -> bool:
        """Whether the call was made often enough."""
        return bool(self._at) and max(self._counts.values(), default=0) >= self._at

    def counts(self) -> dict[str, int]:
        """Returns the number of calls, too."""
        return super().counts() | {name: count for name, count in self._counts.items() if count}


#: Before 3.14, CPython does not survive a lack of memory: the evaluator gives back references that
#: it has not taken, and after a lasting lack dictionaries refer to freed objects.
IS_FRAGILE = sys.version_info < (3, 14)
#: Nothing fails that these functions and libraries allocate, but for the loop's native code: before
#: 3.14, and without a GIL, where a list that finds no memory for its items frees what was there.
FRAGILE = (("_PyEval_EvalFrameDefault", "_asyncio") if IS_FRAGILE else ()) + (
    ("PyList_New",) if sysconfig.get_config_var("Py_GIL_DISABLED") else ()
)
#: Those of CPython's that lose a descriptor, a child or a lock if they find no memory half-way.
LOSING: tuple[tuple[Any, str], ...] = (
    (subprocess.Popen, "__init__"),
    # `create_subprocess_exec()` makes it when the child runs already.
    (asyncio.subprocess, "Process"),
    (socket.socket, "accept"),
    (concurrent.futures.ThreadPoolExecutor, "submit"),
    *(
        (concurrent.futures.Future, name)
        for name in ("add_done_callback", "cancel", "cancelled", "done", "exception", "result")
    ),
)
#: Scenarios with threads of CPython's executor. A thread that finds no memory is lost to it, and
#: others wait for it for ever: only the loop's own thread is without memory.
POOLED = ("threads", "files")


class Memory(Injection):
    """Makes allocations of Python's fail."""

    def __init__(self, point: Point) -> None:
        """Store where."""
        super().__init__()
        self._library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        self._first, self._last = point.at, 0 if point.lasts else point.at
        self._struck = False
        self._end, self._pause, self._resume = (
            getattr(self._library, f"faults_memory_{name}") for name in ("end", "pause", "resume")
        )
        for function in (self._end, self._pause, self._resume):
            function.restype = None  # An integer would need memory.
        fragile = "".join(f",{name}," for name in FRAGILE).encode()
        assert self._library.faults_memory_prepare(fragile, point.scenario in POOLED)
        for owner, name in LOSING:
            self._spare(owner, name)

    def arm(self) -> None:
        """Allocations are counted from now on."""
        super().arm()
        self._library.faults_memory(ctypes.c_long(self._first), ctypes.c_long(self._last))

    def disarm(self) -> None:
        """There is memory again."""
        self._end()
        if self.armed:
            self._struck = bool(self._library.faults_memory_struck())
        super().disarm()

    def __enter__(self) -> None:
        """Spares what the program itself does."""
        self._pause()

    def __exit__(self, *_: object) -> None:
        """Needs no memory: what the block made would be lost."""
        self._resume()

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Returns a block in which no allocation fails."""
        return self

    def _spare(self, owner: Any, name: str) -> None:  # noqa: ANN401 - a class or module.
        function = getattr(owner, name)

        @functools.wraps(function)
        def spared(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as the function's.
            with self:
                return function(*arguments, **options)

        setattr(owner, name, spared)

    def struck(self) -> bool:
        """Whether an allocation has failed."""
        return self._struck

    def forget_last_resort(self) -> None:
        """Clears the exception that CPython keeps for the end of its memory, with its tracebacks.

        It is raised when a dozen others exist, and refers ever since to the frames that it passed.
        """
        errors: list[MemoryError | None] = [None] * 64
        indices = iter(range(64))  # Before 3.14 this needs memory.
        self._library.faults_memory(ctypes.c_long(1), ctypes.c_long(0))
        try:
            for index in indices:
                try:
                    bytearray(1000)
                except MemoryError as error:
                    errors[index] = error
        finally:
            self._end()
        for kept in errors:
            if kept is not None:
                kept.__traceback__ = kept.__context__ = kept.__cause__ = None


#: What native code refers to.
_kept: list[object] = []


class Reservations(Injection):
    """Refuses what Rust's code reserves, in a build of the loop with the feature `faults`."""

    def __init__(self, point: Point) -> None:
        """Store where."""
        super().__init__()
        self._first, self._last = point.at, sys.maxsize if point.lasts else point.at
        self._library = self._of_the_loop()
        self._count = 0

    @staticmethod
    @functools.cache
    def _of_the_loop() -> ctypes.CDLL | None:
        """Returns the loop's native code, if it is such a build."""
        module = sys.modules.get("yamanote._yamanote")
        path = None if module is None else module.__file__
        library = None if path is None else ctypes.CDLL(path)
        if path is None or library is None or not hasattr(library, "yamanote_faults_arm"):
            return None
        library.yamanote_faults_arm.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        library.yamanote_faults_disarm.restype = ctypes.c_size_t
        functions = symbols.functions(Path(path))
        arm = ctypes.cast(library.yamanote_faults_arm, ctypes.c_void_p).value
        assert arm is not None
        base = arm - functions["yamanote_faults_arm"].start
        # `reserve` is made of the `try_reserve` of a part.
        ends = [
            base + end
            for name, place in functions.items()
            if "try_reserve" in name and "raw_vec" not in name
            for end in (place.start, place.stop)
        ]
        assert ends, "there are no names of functions in this build"
        places = (ctypes.c_size_t * len(ends))(*ends)
        _kept.append(places)
        library.yamanote_faults_places(places, ctypes.c_size_t(len(ends) // 2))
        return library

    @classmethod
    def are_possible(cls) -> bool:
        """Whether the loop's native code, if it is imported, is such a build."""
        return cls._of_the_loop() is not None

    def arm(self) -> None:
        """Reservations are counted from now on."""
        super().arm()
        if self._library is not None:
            self._library.yamanote_faults_arm(self._first, self._last)

    def disarm(self) -> None:
        """There is memory again."""
        if self.armed and self._library is not None:
            self._count = self._library.yamanote_faults_disarm()
        super().disarm()

    def struck(self) -> bool:
        """Whether a reservation was refused."""
        return self._count >= self._first


class Cancel(Injection):
    """Cancels a task that waits."""

    def __init__(self, point: Point) -> None:
        """Store where."""
        super().__init__()
        self._at = point.at
        self._passes = int(point.what)

    def struck(self) -> bool:
        """Whether there were so many waits."""
        return self.waits >= self._at

    def waiting(self, task: asyncio.Task[Any] | None) -> None:
        """Cancels the task if it is its turn, now or after some passes of the loop."""
        super().waiting(task)
        if self.armed and self.waits == self._at and task is not None:
            # Not earlier: the task does not know yet what it waits for.
            loop = task.get_loop()
            loop.call_soon(_after, loop, self._passes, task)


def _after(loop: asyncio.AbstractEventLoop, passes: int, task: asyncio.Task[Any]) -> None:
    if passes:
        loop.call_soon(_after, loop, passes - 1, task)
    else:
        task.cancel()


class End(Injection):
    """Ends something at a callback."""

    def __init__(self, point: Point) -> None:
        """Store where."""
        super().__init__()
        self._at = point.at
        self._what = point.what

    def struck(self) -> bool:
        """Whether there were so many callbacks."""
        return self.steps >= self._at

    def step(self, stage: Stage) -> None:
        """Does it if it is the turn of this callback."""
        super().step(stage)
        if not self.armed or self.steps != self._at:
            return
        if self._what == "interrupt":
            raise KeyboardInterrupt
        if self._what == "stop":
            stage.loop.stop()
        elif self._what == "fork":
            fork(stage)
        else:
            for transport in stage.transports:
                getattr(transport, self._what, transport.close)()


def fork(stage: Stage) -> None:
    """Forks in a callback: the child runs a loop of its own, and this process goes on."""
    child = os.fork()
    if not child:
        code = 1
        try:
            asyncio.events._set_running_loop(None)
            loop = stage.make()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if status:
        stage.wrongs.append(f"a forked child ended with status {status}")


class Waits(Coroutine[Any, Any, Any]):
    """A coroutine that says when it runs and when it waits."""

    def __init__(self, inner: Coroutine[Any, Any, Any], stage: Stage) -> None:
        """Wrap `inner`."""
        self._inner = inner
        self._stage = stage

    def send(self, value: object) -> object:
        """Runs until the next wait."""
        try:
            self._stage.step()
        except BaseException as error:
            return self.throw(error)
        yielded = self._inner.send(value)
        self._stage.injection.waiting(asyncio.current_task())
        return yielded

    def throw(self, *error: Any) -> object:
        """Raises an exception where it waits, then runs until the next wait."""
        yielded = self._inner.throw(*error)
        self._stage.injection.waiting(asyncio.current_task())
        return yielded

    def close(self) -> None:
        """Ends the coroutine."""
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        """Waits for the coroutine itself."""
        return self._inner.__await__()


def of(point: Point | None) -> Injection:
    """Returns the fault at a point, or what counts the possible ones."""
    if point is None:
        return Calls(None)
    return _KINDS[point.kind](point)


_KINDS: dict[str, Callable[[Point], Injection]] = {
    "call": Calls,
    "memory": Memory,
    "reserve": Reservations,
    "cancel": Cancel,
    "end": End,
}
