"""One run of a program on one loop, and the record of its observable effects."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import yamanote.fs as fs
from tests.fuzz import protocols, values
from tests.fuzz.program import MAIN, Program, Step
from tests.fuzz.scenes import AbsentError, Scenes, factory

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path
    from types import CodeType

try:
    rust: Any = importlib.import_module("yamanote_testing")
except ImportError:
    rust = None  # Not built: no program has it then.

#: Passes of the loop after which every step without outside events has ended: a TLS connection, the
#: longest, takes about a dozen.
PASSES = 40
FEW_PASSES = 6

#: Seconds that a step which waits for another thread or process may take, and a whole run.
#: Results until then are compared; what is not done then counts as waiting forever.
WAIT_S = 0.3
WAITS_S = 1.0

#: Seconds between two checks whether it is done.
LOOK_S = 0.002

#: Number and interval of the checks for open descriptors before they count as leaked.
LEAK_LOOKS = 10
LEAK_PAUSE_S = 0.03

#: The part of a run's timeout that a loop may take for what every loop does at once.
ALIVE = 0.25

#: The maximum number of steps per run, however often callbacks call each other.
MOST_STEPS = 400

#: The maximum number of runs of one block.
MOST_TIMES = 3

#: Exceptions that a program must never see.
FORBIDDEN = ("SystemError", "pyo3_runtime.PanicException")

#: Signals that programs handle; their handlers are restored afterwards.
SIGNALS = (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)

ABSENT = "absent"
PENDING = "pending"


@dataclass
class Record:
    """The record of a run."""

    #: By the name of a step: how each of its runs ended.
    outcomes: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    #: For each of these, a checksum of the events that the program had recorded before.
    told: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    #: How often each block ran.
    ran: Counter[str] = field(default_factory=Counter[str])
    #: The exceptions that the loop reported.
    reports: Counter[str] = field(default_factory=Counter[str])
    #: The calls of protocols.
    events: Counter[str] = field(default_factory=Counter[str])
    #: Exceptions that a program must never see, with their places.
    forbidden: list[str] = field(default_factory=list[str])
    #: Exceptions that left `run_forever()`, and failures of a loop that was still running.
    dead: list[str] = field(default_factory=list[str])
    #: Descriptors that were left open.
    leaked: list[str] = field(default_factory=list[str])
    calls: int = 0

    def sum(self) -> int:
        """Returns a checksum of the recorded events, independent of how data was split."""
        return hash((_sum(self.events), _sum(self.ran), _sum(self.reports)))


def _sum(counts: Counter[str]) -> int:
    while True:
        # Another thread, or code called by the collector, may add events meanwhile.
        with contextlib.suppress(RuntimeError):
            return sum(hash(name) * count for name, count in list(counts.items()))


class Names(dict[str, Any]):
    """The names of a program; using a missing result ends the step."""

    def __missing__(self, name: str) -> object:
        """Raise `AbsentError` for a result, otherwise `KeyError`."""
        if re.fullmatch(r"r\d+", name):
            raise AbsentError(name)
        raise KeyError(name)


class Block:
    """A callback that runs a block of the program."""

    def __init__(self, run: Run, name: str) -> None:
        """Store the name of the block."""
        self._run = run
        self._name = name

    def __call__(self, *_: object, **__: object) -> None:
        """Runs the block, unless it has run too often or the run is over."""
        self._run.call(self._name)


def load(loop: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Returns the loop factory: `new_event_loop` of a module, or `module:function`."""
    module, _, function = loop.partition(":")
    made: Callable[[], asyncio.AbstractEventLoop] = getattr(
        importlib.import_module(module), function or "new_event_loop"
    )
    return made


def type_name(error: BaseException) -> str:
    """Returns the name of an exception's class, with its module unless that is `builtins`."""
    kind = type(error)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def describe(value: object) -> str:
    """Describes a result as far as loops must agree on it."""
    if value is None or isinstance(value, bool):
        return str(value)
    return "a value"


def descriptors() -> dict[int, str]:
    """Returns the open descriptors, with descriptions."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # The listing's own is closed already.
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


@functools.lru_cache(maxsize=4096)
def compiled(name: str, expression: str) -> CodeType:
    """Returns the code of a step, with a file name that identifies it in crash dumps."""
    return compile(expression, f"<{name}: {expression}>", "eval")


class Run:
    """Runs a program on a new loop."""

    def __init__(self, program: Program, loop: str, files: Path, patience_s: float) -> None:
        """Create a run; `execute()` performs it.

        Args:
            program: the program.
            loop: the loop, in the format of `load()`.
            files: the directory with certificates.
            patience_s: seconds after which the run counts as hung.
        """
        self.make_loop = load(loop)
        self.loop = self.make_loop()
        self.record = Record()
        self.events = self.record.events
        self.resources: list[Any] = []
        self.transports: list[Any] = []
        self.threads: list[threading.Thread] = []
        self._blocks = program.blocks()
        self._tasks: list[asyncio.Task[None]] = []
        self._numbers: Counter[str] = Counter()
        #: By thread: the run that it stops.
        self._chains: dict[int, object] = {}
        self._waits_s = WAITS_S
        self._alive_s = patience_s * ALIVE
        self._failure: BaseException | None = None
        self._over = False
        self._names = Names(self._namespace(loop, files))

    def _namespace(self, loop: str, files: Path) -> dict[str, Any]:
        scenes = Scenes(self, files)
        names = values.namespace()
        for name in dir(scenes):
            if not name.startswith("_"):
                names[name] = getattr(scenes, name)
        for kind in (
            protocols.Plain,
            protocols.Buffered,
            protocols.Datagrams,
            protocols.Child,
            protocols.Duck,
        ):
            names[kind.__name__] = functools.partial(kind, self)
        names.update(
            asyncio=asyncio,
            collect=gc.collect,
            fail=self.fail,
            fs=fs,
            keep=self.keep,
            lacking=functools.partial(protocols.lacking, self),
            loop=self.loop,
            make=factory,
            module=SimpleNamespace(new_event_loop=self.make_loop, run=self._runner(loop)),
            on=functools.partial(Block, self),
            rust=rust,
            socket=socket,
            spin=self.spin,
            threading=threading,
            thresholds=gc.set_threshold,
            wait=self.wait,
            warnings=warnings,
            within=self.within,
        )
        return names

    def _runner(self, loop: str) -> object:
        """Returns the `run()` of the loop's module, or asyncio's with the loop factory."""
        module, _, function = loop.partition(":")
        if not function:
            return importlib.import_module(module).run

        def run(main: Any) -> object:  # noqa: ANN401 - a coroutine, or a hostile value.
            with asyncio.Runner(loop_factory=self.make_loop) as runner:
                return runner.run(main)

        return run

    # Called by expressions.

    def fail(self, error: BaseException) -> None:
        """Makes the block raise `error`; in the main block it has no effect."""
        self._failure = error

    def keep(self, resource: object) -> object:
        """Closes `resource` at the end of the run."""
        self.resources.append(resource)
        return resource

    async def wait(self, awaitable: Any) -> object:  # noqa: ANN401 - whatever is awaited.
        """Awaits an awaitable that is not a coroutine, in a coroutine."""
        return await awaitable

    def within(self, passes: int) -> asyncio.AbstractEventLoop:
        """Returns the loop, which stops after that many passes."""
        self._stop_after(passes, lambda: False)
        return self.loop

    def spin(self, passes: int = PASSES) -> None:
        """Runs the loop for that many passes."""
        self._stop_after(passes, lambda: False)
        self._run_loop()

    def _stop_after(
        self, passes: int, is_done: Callable[[], bool], *, pause_s: float | None = None
    ) -> None:
        """Stops the loop after that many passes, or when something is done.

        Args:
            passes: the maximum number of passes.
            is_done: called in each of them.
            pause_s: how long each pass sleeps, without a timer: a program can break those of
                asyncio.
        """
        # Another thread must neither prevent the end of this one's run nor sleep forever itself.
        thread = threading.get_ident()
        call_soon = self.loop.call_soon
        if thread != threading.main_thread().ident:
            call_soon = self.loop.call_soon_threadsafe
        before = self._chains.get(thread)
        self._chains[thread] = chain = object()
        left = passes

        def link() -> None:
            nonlocal left
            if self._chains.get(thread) is not chain:
                return
            left -= 1
            if left <= 0 or is_done():
                self.loop.stop()
                return
            if pause_s is not None:
                time.sleep(pause_s)
            self.loop.call_soon(link)

        try:
            call_soon(link)
        except BaseException:
            self._chains[thread] = before
            raise

    def _run_loop(self) -> None:
        try:
            self.loop.run_forever()
        except (KeyboardInterrupt, SystemExit):
            raise
        except RuntimeError as error:
            if "running" not in str(error) and "closed" not in str(error):
                self.record.dead.append(f"{type_name(error)} left run_forever(): {error}")
            raise
        except BaseException as error:
            self.record.dead.append(f"{type_name(error)} left run_forever(): {error}")
            raise

    def next_name(self, kind: str) -> str:
        """Returns a new name with a prefix."""
        self._numbers[kind] += 1
        return f"{kind}{self._numbers[kind]}"

    # Steps.

    def call(self, block: str) -> None:
        """Runs a block as a callback."""
        if not self._over and self.record.ran[block] < MOST_TIMES:
            self.record.ran[block] += 1
            self._run_block(block)

    def _run_block(self, name: str) -> None:
        for step in self._blocks.get(name, ()):
            if self._over or self.record.calls >= MOST_STEPS:
                return
            self._run_step(step)
            failure, self._failure = self._failure, None
            if failure is not None and name != MAIN:
                raise failure

    def _run_step(self, step: Step) -> None:
        self.record.calls += 1
        try:
            value = eval(compiled(step.name, step.expression), {}, self._names)
        except BaseException as error:
            self._end(step, error)
        else:
            # Rust futures may be coroutines; the program awaits them explicitly.
            if asyncio.iscoroutine(value) and not step.expression.startswith("rust."):
                self._await(step, value)
            else:
                self._names[step.name] = value
                self._note(step, describe(value))

    def _note(self, step: Step, outcome: str) -> None:
        self.record.outcomes.setdefault(step.name, []).append(outcome)
        self.record.told.setdefault(step.name, []).append(self.record.sum())

    def _end(self, step: Step, error: BaseException) -> None:
        if isinstance(error, AbsentError):
            self._note(step, ABSENT)
            return
        name = type_name(error)
        self.look_at(error, f"{step.name} raised")
        self._note(step, PENDING if self._over else name)

    def look_at(self, error: BaseException | None, where: str) -> None:
        """Records an exception that a program must never see."""
        if error is not None and type_name(error) in FORBIDDEN:
            self.record.forbidden.append(f"{where} {type_name(error)}: {error}")

    def _await(self, step: Step, coroutine: Any) -> None:  # noqa: ANN401 - coroutines of any kind.
        async def drive() -> None:
            try:
                value: object = await coroutine
            except BaseException as error:
                self._end(step, error)
            else:
                self._names[step.name] = value
                self._note(step, describe(value))

        driver = drive()
        try:
            # Without the task factory, which may be a hostile one.
            task = asyncio.Task(driver, loop=self.loop)
        except BaseException as error:
            driver.close()
            coroutine.close()
            self._end(step, error)
            return
        self._tasks.append(task)
        if asyncio._get_running_loop() is None:
            with contextlib.suppress(BaseException):
                self._stop_after(PASSES, task.done)
                self._run_loop()
                # On each loop, other events that arrived meanwhile precede the next step.
                self._stop_after(FEW_PASSES, lambda: False)
                self._run_loop()
            if step.waits and not task.done():
                start = time.monotonic()
                self._wait_for(task.done, min(WAIT_S, self._waits_s))
                self._waits_s -= time.monotonic() - start

    def _wait_for(self, is_done: Callable[[], bool], most_s: float) -> None:
        """Runs the loop until something is done, or for a limited time."""
        deadline = time.monotonic() + most_s
        # The program may end the run early, so it is restarted.
        while not (is_done() or self._is_lost()) and time.monotonic() < deadline:
            with contextlib.suppress(BaseException):
                self._stop_after(10, is_done, pause_s=LOOK_S)
                self._run_loop()

    def _is_lost(self) -> bool:
        """Returns whether the loop does not run any more."""
        return self.loop.is_closed() or bool(self.record.dead)

    # The run.

    def execute(self) -> Record:
        """Runs the program, and checks what it leaves behind."""
        with surroundings(self):
            self.loop.set_exception_handler(self.report)
            self._run_block(MAIN)
            self._finish()
        self._names.clear()
        self._blocks.clear()
        return self.record

    def report(self, _: object, context: dict[str, Any]) -> None:
        """The loop's exception handler."""
        self.note_report(context.get("exception"))

    def note_report(self, error: BaseException | None) -> None:
        """Counts what the loop reported, through its handler or the log."""
        self.look_at(error, "reported was")
        if not self._over:
            self.record.reports[type_name(error) if error else "nothing raised"] += 1

    def _finish(self) -> None:
        gc.set_threshold(*THRESHOLDS)
        warnings.simplefilter("ignore")
        for thread in self.threads:
            thread.join(self._alive_s)
        if self.loop.is_closed():
            self._over = True
        else:
            with contextlib.suppress(BaseException):
                self.spin()
            self._over = True
            self._quieten()
            if not self._is_lost():
                self._look_alive()
            self._close()
        for resource in reversed(self.resources):
            with contextlib.suppress(BaseException):
                resource.close()

    def _quieten(self) -> None:
        """Ends what the program has left running."""
        self.loop.set_debug(False)
        self.loop.set_task_factory(None)
        self.loop.set_exception_handler(self.report)
        for task in self._tasks:
            task.cancel()
        for transport in self.transports:
            with contextlib.suppress(BaseException):
                getattr(transport, "abort", transport.close)()
        self._try(self.spin)

    def _look_alive(self) -> None:
        """Checks that the loop still works, and wakes up for other threads."""
        done: list[str] = []
        later = threading.Event()
        over = threading.Event()

        def note(what: str) -> None:
            done.append(what)
            if what == "later":
                later.set()
            if len(done) == 3:
                self.loop.stop()

        def wake() -> None:
            # The loop waits for nothing else by now.
            later.wait(self._alive_s)
            over.wait(LOOK_S)
            self._try(lambda: self.loop.call_soon_threadsafe(note, "from a thread"))
            if not over.wait(self._alive_s):
                self._try(lambda: self.loop.call_soon_threadsafe(self.loop.stop))

        self._try(lambda: self.loop.call_soon(note, "soon"))
        self._try(lambda: self.loop.call_later(LOOK_S / 2, note, "later"))
        waker = threading.Thread(target=wake, daemon=True)
        waker.start()
        self._try(self._run_loop)
        over.set()
        waker.join()
        missing = sorted({"soon", "later", "from a thread"} - set(done))
        if missing:
            self.record.dead.append(f"callbacks did not run: {', '.join(missing)}")

    def _close(self) -> None:
        for coroutine in (
            self.loop.shutdown_asyncgens,
            self.loop.shutdown_default_executor,
        ):
            if not self._is_lost():
                self._try(functools.partial(self._complete, coroutine))
        self._try(self.loop.close)

    def _complete(self, function: Callable[[], Any]) -> None:
        task = self.loop.create_task(function())
        self._wait_for(task.done, self._alive_s)
        if not task.done():
            self.record.dead.append(f"{function.__name__}() did not end")

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except BaseException as error:
            self.look_at(error, "the end raised")
            self.record.dead.append(f"{type_name(error)} at the end: {error}")


THRESHOLDS = gc.get_threshold()


class _Log(logging.Handler):
    """Counts what asyncio logs as reports."""

    def __init__(self, run: Run) -> None:
        super().__init__(logging.ERROR)
        self._run = run

    def emit(self, record: logging.LogRecord) -> None:
        self._run.note_report(record.exc_info[1] if record.exc_info else None)


@contextlib.contextmanager
def surroundings(run: Run) -> Generator[None, None, None]:
    """Restores the process state that a program may change."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    hooks = sys.unraisablehook, threading.excepthook
    interval = sys.getswitchinterval()
    log = logging.getLogger("asyncio")
    handler = _Log(run)

    def unraisable(arguments: sys.UnraisableHookArgs) -> None:
        run.look_at(arguments.exc_value, "unraisable was")

    def lost(arguments: threading.ExceptHookArgs) -> None:
        run.look_at(arguments.exc_value, "a thread raised")

    sys.unraisablehook = unraisable
    threading.excepthook = lost
    log.addHandler(handler)
    asyncio.set_event_loop(run.loop)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
            gc.collect()
    finally:
        asyncio.set_event_loop(None)
        log.removeHandler(handler)
        sys.unraisablehook, threading.excepthook = hooks
        for number, previous in handlers.items():
            signal.signal(number, previous)
        signal.set_wakeup_fd(-1)
        sys.setswitchinterval(interval)
        log.disabled = False
        gc.set_threshold(*THRESHOLDS)


def execute(program: Program, loop: str, files: Path, patience_s: float) -> Record:
    """Runs a program, and records the descriptors that it leaves open."""
    before = descriptors()
    record = Run(program, loop, files, patience_s).execute()
    for _ in range(LEAK_LOOKS):
        gc.collect()
        after = descriptors()
        record.leaked = [what for number, what in after.items() if number not in before]
        if not record.leaked:
            break
        time.sleep(LEAK_PAUSE_S)  # A thread that is ending keeps its last objects alive.
    return record
