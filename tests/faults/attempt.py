"""One try: a scenario plays with a fault, and everything that is left is judged."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import time
import traceback
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults import injections
from tests.faults.bystander import Bystander
from tests.faults.scenes import OUTSIDE, SCENES
from tests.faults.scenes.scheduling import stop_often
from tests.faults.stage import Stage
from tests.processes import children, thread_names

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.faults.points import Point
    from tests.faults.stage import OutsideScene

#: Seconds after which trouble that lasts is over.
RELIEF_S = 0.3
#: Seconds that a scenario has from then on: a thousand times what it needs.
PATIENCE_S = 4.0
#: Calls of `epoll_wait` in a few idle milliseconds above which a loop spins.
MOST_TURNS = 50

#: libuv's threads (uvloop) belong to the process, and stay for its next loop.
POOL_THREAD = "libuv-worker"

#: What a program expects from a system in trouble. All else that is raised counts as wrong.
EXPECTED = (
    OSError,
    EOFError,
    MemoryError,
    ImportError,
    asyncio.CancelledError,
    KeyboardInterrupt,
)


@dataclass
class Verdict:
    """What a try showed."""

    #: `passed`, `raised`, `told` (it did not end, and said why) or what was not clean first.
    outcome: str = "passed"
    #: What was not clean.
    unclean: list[str] = field(default_factory=list[str])
    #: Whether the fault has happened.
    struck: bool = False
    #: What the loop said without being asked: names of exceptions, or messages.
    told: list[str] = field(default_factory=list[str])
    #: The numbers of possible points.
    counts: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True)
class Left:
    """What a process owns."""

    descriptors: frozenset[str]
    children: int
    threads: int

    @classmethod
    def now(cls) -> Left:
        """Returns what it owns now."""
        found: set[str] = set()
        for entry in Path("/proc/self/fd").iterdir():
            try:
                found.add(f"{entry.name} -> {entry.readlink()}")
            except FileNotFoundError:
                continue  # The listing's own.
        threads = [name for name in thread_names(os.getpid()) if name != POOL_THREAD]
        return cls(frozenset(found), len(children()), len(threads))

    def more_than(self, before: Left) -> list[str]:
        """Returns what it owned not yet before."""
        more = [f"leaked {one}" for one in sorted(self.descriptors - before.descriptors)]
        if self.children > before.children:
            more.append("leaked a child")
        if self.threads > before.threads:
            more.append("leaked a thread")
        return more


def _factory(stage: Stage) -> Any:  # noqa: ANN401 - typeshed's type differs between versions.
    """Returns a task factory whose tasks tell when they run and wait."""

    def make(
        loop: asyncio.AbstractEventLoop,
        coroutine: Any,  # noqa: ANN401
        **options: Any,
    ) -> asyncio.Task[Any]:
        return asyncio.Task(injections.Waits(coroutine, stage), loop=loop, **options)

    return make


#: Beginnings of what else is raised then, by the kind of fault or the scenario.
TEXTS: dict[str, tuple[str, ...]] = {
    # As asyncio has it, `add_signal_handler()` raises a RuntimeError with the text of an OSError.
    # Before 3.12 a server whose sockets could not be made is one without sockets.
    "": ("can't start new thread", "[Errno", "tuple index out of range"),
    # Asyncio's returns no transport if the connection was closed. A reader whose
    # `connection_made()` found no memory, which is told, has none to replace.
    "start_tls": ("'NoneType' object has no attribute", "Transport not set"),
    "memory": (
        # A task whose step could not be scheduled never goes on; its coroutine is collected after
        # the loop was closed.
        "no running event loop",
        "Event loop is closed",
        "coroutine ignored GeneratorExit",
        # `StreamWriter.__del__()`, of one that could not be made.
        "'StreamWriter' object has no attribute",
        # The stream of a child's pipe that was told of no connection.
        "'NoneType' object has no attribute 'write'",
        # `os.fspath()` takes a path for something else, as `ssl` does then.
        "expected str, bytes or os.PathLike object",
        "certfile should be a valid filesystem path",
        # CPython's own: a file's lock, and those that `logging` and `threading` hold over a fork.
        "can't allocate read lock",
        "can't allocate lock",
        "cannot release un-acquired lock",
        "release unlocked lock",
        # `getpeercert()` of CPython's `_ssl` forgets that it has failed.
        "<class 'ssl.SSLError'> returned a result with an exception set",
    ),
}


def is_expected(error: BaseException, point: Point) -> bool:
    """Returns whether a system in trouble explains the error."""
    texts = TEXTS[""] + TEXTS.get(point.kind, ()) + TEXTS.get(point.scenario, ())
    return isinstance(error, EXPECTED) or str(error).startswith(texts)


class Said(logging.Handler):
    """Hears what asyncio and its executors log."""

    def __init__(self, note: Callable[[BaseException | None], None]) -> None:
        """Call `note` with each logged exception."""
        super().__init__()
        self._note = note

    def handle(self, record: logging.LogRecord) -> bool:
        """Notes the exception, without a lock."""
        self._note(record.exc_info[1] if record.exc_info else None)
        return True


class Attempt:
    """Plays a scenario with one fault."""

    def __init__(
        self,
        point: Point,
        make: Callable[[], asyncio.AbstractEventLoop],
        files: Path,
        *,
        probe: bool,
    ) -> None:
        """Store what is played.

        Args:
            point: the scenario and its fault.
            make: makes the loop under test.
            files: an existing folder with certificates.
            probe: whether only to count possible points, without a fault.
        """
        self._point = point
        self._make = make
        self._files = files
        self._is_memory = point.kind in ("memory", "reserve")
        self._injection = injections.of(None if probe else point)
        self._verdict = Verdict()
        #: What the loop said without being asked.
        self._told: list[str] = []
        self._stalled = False
        #: Those that were there before.
        self._children = 0
        self._wrongs: list[str] = []

    def run(self) -> Verdict:
        """Returns what the try showed."""
        before = Left.now()
        self._children = before.children
        for name in ("asyncio", "concurrent.futures"):
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [Said(self._note)], False
        sys.unraisablehook = lambda unraisable: self._note(unraisable.exc_value)
        if self._point.scenario in OUTSIDE:
            self._outside(OUTSIDE[self._point.scenario])
        elif self._point.kind == "reserve":
            self._outside(self._alone)
        else:
            loop = weakref.ref(self._on_a_loop())
            if not self._stalled:
                if isinstance(self._injection, injections.Memory):
                    self._injection.forget_last_resort()
                gc.collect()
                gc.collect()
                if loop() is not None:
                    self._bad("leaked the loop")
        gc.enable()
        gc.collect()
        if not self._stalled:
            self._judge_rest(before)
        verdict = self._verdict
        verdict.struck = self._injection.struck()
        verdict.told = self._told
        verdict.counts = self._injection.counts()
        if verdict.unclean:
            verdict.outcome = verdict.unclean[0].split(":")[0]
        return verdict

    def _bad(self, what: str) -> None:
        self._verdict.unclean.append(what)

    def _note(self, error: BaseException | None) -> None:
        self._told.append(type(error).__name__)
        if error is not None and not is_expected(error, self._point) and not self._stalled:
            traceback.print_exception(error)
            self._bad(f"odd error told: {error!r}"[:300])

    def _stage(self, loop: asyncio.AbstractEventLoop) -> Stage:
        stage = Stage(loop, self._make, self._files, self._injection)
        stage.wrongs = self._wrongs
        stage.told = self._told
        return stage

    # A scenario that makes loops itself.

    def _outside(self, scene: OutsideScene) -> None:
        stage = self._stage(None)  # type: ignore[arg-type]
        gc.disable()
        try:
            self._injection.arm()
            scene(stage)
            self._injection.disarm()
        except BaseException as error:
            self._injection.disarm()
            self._raised(error)
        scene(stage)

    def _alone(self, stage: Stage) -> None:
        """Plays a scenario on a loop of its own, which has reserved nothing before."""
        stage.loop = loop = self._make()
        try:
            self._listen(loop)
            stop_often(loop, RELIEF_S + PATIENCE_S)
            loop.run_until_complete(SCENES[self._point.scenario](stage))
        finally:
            self._injection.disarm()
            loop.run_until_complete(_end_tasks(loop, None))
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    # A scenario on a loop.

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.set_exception_handler(
            lambda _, context: (
                self._note(context.get("exception"))
                if context.get("exception") or "never retrieved" in context["message"]
                else self._told.append(context["message"])
            )
        )

    def _on_a_loop(self) -> asyncio.AbstractEventLoop:
        loop = self._make()
        self._listen(loop)
        injection = self._injection
        stage = self._stage(loop)
        bystander = loop.run_until_complete(Bystander.start(injection))
        scene = SCENES[self._point.scenario]
        if self._point.what == "warm":
            loop.run_until_complete(scene(stage))
        loop.set_task_factory(_factory(stage))
        gc.collect()
        gc.disable()
        bystander.send(b"during")
        self._play(loop, scene(stage))  # type: ignore[arg-type]
        loop.set_task_factory(None)
        if not self._stalled:
            self._afterwards(loop, bystander, scene(stage))  # type: ignore[arg-type]
        return loop

    def _play(self, loop: asyncio.AbstractEventLoop, scene: Coroutine[Any, Any, None]) -> None:
        relief = loop.call_later(RELIEF_S, self._injection.disarm)
        early = loop.call_later(2 * RELIEF_S, self._stall_if_told, loop)
        stop = loop.call_later(RELIEF_S + PATIENCE_S, self._stall, loop)
        task: asyncio.Task[None] = loop.create_task(scene)
        try:
            self._injection.arm()
            loop.run_until_complete(task)
            self._injection.disarm()
        except BaseException as error:
            self._injection.disarm()
            if not self._stalled:
                self._raised(error)
        self._go_on(loop, task)
        for timer in (relief, early, stop):
            timer.cancel()
        if self._stalled:
            self._verdict.outcome = "told"
            if not self._excuses() and self._point.what != "interrupt":
                self._bad(f"stall: {_where(loop)}")
            self._stalled = bool(self._verdict.unclean)

    def _go_on(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
        """Lets the scenario end after `stop()` or an interruption."""
        while not task.done() and not self._stalled:
            if self._point.what == "interrupt" and self._verdict.outcome == "raised":
                task.cancel()
            try:
                loop.run_until_complete(task)
                self._verdict.outcome = "passed"
            except BaseException as error:
                if not self._stalled:
                    self._raised(error)

    def _excuses(self) -> bool:
        """Whether a program knows, or cannot be told without memory, that something did not run."""
        return bool(self._told) or (self._is_memory and self._point.lasts)

    def _stall_if_told(self, loop: asyncio.AbstractEventLoop) -> None:
        """Does not wait for what is known not to run."""
        if self._excuses():
            self._stall(loop)

    def _stall(self, loop: asyncio.AbstractEventLoop) -> None:
        self._stalled = True
        loop.stop()

    def _raised(self, error: BaseException) -> None:
        self._verdict.outcome = "raised"
        if "FAULTS_TRACE" in os.environ:
            traceback.print_exception(error)
        stopped = "stopped before Future" in str(error)
        if stopped and (self._point.scenario in OUTSIDE or self._point.kind == "reserve"):
            self._verdict.outcome = "told"
            if not self._excuses():
                self._bad("stall: the loop was stopped")
        elif not is_expected(error, self._point) and not (stopped and self._point.what == "stop"):
            traceback.print_exception(error)
            self._bad(f"odd error: {error!r}"[:300])

    def _afterwards(
        self,
        loop: asyncio.AbstractEventLoop,
        bystander: Bystander,
        scene: Coroutine[Any, Any, None],
    ) -> None:
        """The loop must work as before, and be closed."""
        stop = loop.call_later(PATIENCE_S, self._stall, loop)
        doing = "tasks"
        try:
            if self._is_memory or self._point.what in ("stop", "interrupt"):
                _end_stop(loop)
            # A task whose step could not be scheduled for want of memory never ends, as on asyncio.
            patience = 0.1 if self._is_memory and self._excuses() else None
            loop.run_until_complete(_end_tasks(loop, patience))
            doing = "bystander"
            if self._is_memory and not bystander.goes_on():
                # Its own message may have been the one without memory.
                if not self._excuses() and self._verdict.outcome != "raised":
                    self._bad("bystander: lost its message")
                bystander.close()
                bystander = loop.run_until_complete(Bystander.start(self._injection))
            if not bystander.is_lost:
                loop.run_until_complete(bystander.exchange(b"after"))
            if not bystander.goes_on():
                self._bad("bystander: lost its connection")
            doing = "scenario"
            loop.run_until_complete(scene)
            doing = "closing"
            self._judge_idleness(loop)
            if not self._loses_things():
                loop.run_until_complete(_reaped(self._children))
            bystander.close()
            loop.run_until_complete(asyncio.sleep(0))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        except BaseException as error:
            why = f"stall: {_where(loop)}" if self._stalled else repr(error)
            self._bad(f"afterwards: {doing}: {why}"[:600])
        scene.close()
        stop.cancel()
        loop.close()
        if self._is_memory:
            # Without memory the interpreter cannot take them back, from asyncio's loop either.
            sys.set_asyncgen_hooks(None, None)

    def _judge_idleness(self, loop: asyncio.AbstractEventLoop) -> None:
        counting = injections.Calls(None)
        counting.arm()
        loop.run_until_complete(asyncio.sleep(0.005))
        counting.disarm()
        if counting.counts().get("epoll_wait", 0) > MOST_TURNS:
            self._bad("spin: the idle loop does not sleep")

    def _loses_things(self) -> bool:
        """Whether Python code that closes things could not run: a scenario's, `subprocess`."""
        scenario = self._point.scenario
        if not self._is_memory:
            return False
        if self._point.lasts:
            return scenario in (*OUTSIDE, "child", "forks")
        # The task whose end would have reaped it never went on.
        return scenario == "child" and self._verdict.outcome == "told"

    def _judge_rest(self, before: Left) -> None:
        deadline = time.monotonic() + PATIENCE_S
        # Threads that were told to end, and what they own.
        while (more := Left.now().more_than(before)) and time.monotonic() < deadline:
            time.sleep(0.002)
        for one in more if not self._loses_things() else ():
            self._bad(one)
        for wrong in self._wrongs:
            self._bad(f"bytes: {wrong}")


def _end_stop(loop: asyncio.AbstractEventLoop) -> None:
    """Lets the rest of an interrupted pass run: a `stop()` in it ends the next run, too."""
    for _ in range(2):
        loop.call_soon(loop.stop)
        loop.run_forever()


async def _end_tasks(loop: asyncio.AbstractEventLoop, patience: float | None) -> None:
    """Waits for the ends of connections, then cancels what a scenario has left."""
    for _ in range(20):
        await asyncio.sleep(0)
    tasks = asyncio.all_tasks(loop) - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=patience)


async def _reaped(count: int) -> None:
    """Waits until there are no more children than so many: a closed loop does not reap any."""
    deadline = time.monotonic() + PATIENCE_S / 2
    while len(children()) > count and time.monotonic() < deadline:
        # What `subprocess` does before it starts the next one, with those whose start has failed.
        subprocess._cleanup()  # type: ignore[attr-defined] # Typeshed hides it.
        await asyncio.sleep(0.001)


def _where(loop: asyncio.AbstractEventLoop) -> str:
    return "; ".join(repr(task) for task in asyncio.all_tasks(loop))[:600]
