"""`explore()` and `replay()`: a program under many orders of its tasks, and one of them again."""

from __future__ import annotations

import asyncio
import random
import sys
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from unittest import SkipTest

from yamanote.testing._choices import Given, chooser_of
from yamanote.testing._failure import Found, ScheduleError, replayed
from yamanote.testing._loop import VirtualLoop, longest_wait, monotonic
from yamanote.testing._schedule import Cancel, Diverged, Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence

    from yamanote.testing._choices import Choice, Chooser, Strategy
    from yamanote.testing._loop import RealIo

    _T = TypeVar("_T")

#: Virtual seconds after which a program counts as one that does not end.
LONGEST_RUN_S: Final = 3600.0
#: How often a failing program runs again, and for how many seconds, to find a shorter order.
MOST_RUNS_TO_SHORTEN: Final = 200
LONGEST_SHORTENING_S: Final = 5.0


class _NoCoroutineError(TypeError):
    """What should run is not asynchronous."""


@dataclass(frozen=True)
class Exploration:
    """What `explore()` has run without a failure.

    Attributes:
        runs: how often the program ran.
        orders: in how many different orders its tasks took their steps.
        steps: how many steps they took, at most.
    """

    runs: int
    orders: int
    steps: int


@dataclass
class _Run:
    """One run of a program."""

    schedule: Schedule
    error: BaseException | None = None
    #: What was reported to the loop's exception handler.
    reported: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    result: Any = None

    @property
    def failure(self) -> BaseException | None:
        """Why the run has failed, if it has."""
        if self.error is not None:
            return self.error
        errors = (context.get("exception") for context in self.reported)
        return next((error for error in errors if error is not None), None)


@dataclass(frozen=True)
class Program:
    """What runs, and on what loop: see `explore()`."""

    main: Callable[[], Coroutine[Any, Any, Any]]
    start: float
    real_io: RealIo
    timeout: float | None
    #: Makes the loops.
    loop_class: Callable[..., VirtualLoop] = VirtualLoop
    #: Returns, for a schedule, what a person does to repeat a run.
    how: Callable[[str], str] = replayed

    def __post_init__(self) -> None:
        """Check what a loop would refuse only after it was made."""
        longest_wait(self.real_io)
        if not callable(self.main):
            raise TypeError(f"main must be a function, not {self.main!r}")
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("explore() and replay() cannot be called from a running event loop")

    def run(
        self,
        chooser: Chooser,
        *,
        seed: int = 0,
        expected: Sequence[Choice] | None = None,
        cancel: Cancel | None = None,
        records: bool = False,
    ) -> _Run:
        """Run the program once. `random` begins with `seed`."""
        schedule = Schedule(chooser, expected=expected, cancel=cancel, records=records)
        run = _Run(schedule)
        state = random.getstate()
        random.seed(seed)
        try:
            with asyncio.Runner(loop_factory=partial(self._loop, run)) as runner:
                try:
                    run.result = runner.run(self._coroutine())
                except asyncio.CancelledError as error:
                    # What the program does when a task of it is cancelled from outside.
                    run.error = None if cancel is not None else error
                except BaseException as error:
                    if _ends_test(error):
                        raise
                    run.error = error
                finally:
                    schedule.stop()
        except Exception as error:
            if _ends_test(error):
                raise
            run.error = run.error or error  # The tasks that were left do not end.
        finally:
            random.setstate(state)
        return run

    def _coroutine(self) -> Coroutine[Any, Any, Any]:
        coroutine: object = self.main()
        if not asyncio.iscoroutine(coroutine):
            raise _NoCoroutineError(f"main must return a coroutine, not {coroutine!r}")
        return coroutine

    def _loop(self, run: _Run) -> VirtualLoop:
        until = None if self.timeout is None else self.start + self.timeout
        schedule = run.schedule
        loop = self.loop_class(
            start=self.start, real_io=self.real_io, schedule=schedule, until=until
        )
        loop.set_exception_handler(lambda _, context: run.reported.append(context))
        return loop


def _ends_test(error: BaseException) -> bool:
    """Return whether an error is about the whole test, not about one order of its tasks."""
    pytest: Any = sys.modules.get("_pytest.outcomes")
    skips = () if pytest is None else (pytest.Skipped, pytest.XFailed, pytest.Exit)
    ends = (KeyboardInterrupt, SystemExit, SkipTest, _NoCoroutineError, *skips)
    return isinstance(error, ends)


def explore(
    main: Callable[[], Coroutine[Any, Any, object]],
    *,
    seeds: int | Iterable[int] = 200,
    strategy: Strategy = "pct",
    cancel_points: bool = False,
    start: float = 0.0,
    real_io: RealIo = "wait",
    timeout: float | None = LONGEST_RUN_S,
) -> Exploration:
    """Run a program under many orders of its tasks, until it fails.

    The program first runs in asyncio's own order, then once for each seed. What changes is only
    what asyncio leaves open: in which order the tasks go on that are ready at the same time, and
    timers that are due at the same time. Time is virtual, and `random` begins anew in each run.

    A run fails when `main` raises, when nothing can wake the loop any more, when it takes longer
    than `timeout`, or when an exception of a callback or of a lost task is reported to the loop.

    Args:
        main: called for each run, without arguments; its coroutine runs as the main task.
        seeds: how many seeds, from 0; or these.
        strategy: "pct" gives each task a priority, which changes rarely; "uniform" chooses each
            time anew.
        cancel_points: also cancel one task at one `await`: in asyncio's order at each of them in
            turn, while it waits and when it is about to go on; with each seed at one of them.
            `CancelledError` from `main` is then no failure.
        start: what the clock shows first, in seconds.
        real_io: as for `new_event_loop()`.
        timeout: of a run, in virtual seconds, an hour unless said; `None` for no limit.

    Returns:
        How much was run.

    Raises:
        ScheduleError: a run has failed. The message has the exception, the order of the tasks, as
            short as it could be made, and how to repeat it.
        ValueError: `strategy` or `real_io` is unknown, or `seeds` is negative.
        TypeError: `main` is no function that returns a coroutine, or a seed no integer.
        RuntimeError: called while an event loop runs in this thread.
    """
    return search(Program(main, start, real_io, timeout), seeds, strategy, cancel_points)


def search(
    program: Program, seeds: int | Iterable[int], strategy: Strategy, cancel_points: bool
) -> Exploration:
    """Run a program as `explore()` does."""
    __tracebackhide__ = True
    runs, orders, steps = 0, set[str](), 0
    for seed, cancel, chooser in _plans(program, seeds, chooser_of(strategy), cancel_points):
        run = program.run(chooser, seed=seed or 0, cancel=cancel)
        if run.failure is not None:
            raise _shortened(program, Found(seed, cancel), run) from run.failure
        runs += 1
        orders.add(run.schedule.fingerprint)
        steps = max(steps, run.schedule.step_count)
    return Exploration(runs, len(orders), steps)


def replay(
    main: Callable[[], Coroutine[Any, Any, _T]],
    *,
    seed: int | None = None,
    schedule: str | None = None,
    strategy: Strategy = "pct",
    start: float = 0.0,
    real_io: RealIo = "wait",
    timeout: float | None = LONGEST_RUN_S,
) -> _T:
    """Run a program in the order of a seed or of a schedule again, and raise what it raises.

    Args:
        main: as for `explore()`.
        seed: of `explore()`; with a `schedule`, what `random` begins with.
        schedule: of a `ScheduleError`.
        strategy: as for `explore()`.
        start: what the clock shows first, in seconds.
        real_io: as for `new_event_loop()`.
        timeout: of the run, in virtual seconds, an hour unless said; `None` for no limit.

    Returns:
        What `main` returns.

    Raises:
        Diverged: the program did something else than when the schedule was recorded.
        ValueError: the schedule is not a text of `ScheduleError`, or neither is given.
        TypeError: `main` is no function that returns a coroutine, the seed no integer, or the
            schedule no text.
        RuntimeError: called while an event loop runs in this thread.
    """
    program = Program(main, start, real_io, timeout)
    if schedule is None:
        if seed is None:
            raise ValueError("a seed or a schedule is needed")
        run = program.run(chooser_of(strategy)(seed), seed=seed)
    else:
        run = _rerun(program, schedule, seed)
    if run.failure is not None:
        raise run.failure
    result: _T = run.result
    return result


def repeat(program: Program, schedule: str) -> None:
    """Run a program as `replay()` does."""
    __tracebackhide__ = True
    failure = _rerun(program, schedule, None).failure
    if failure is not None:
        raise failure


def _rerun(program: Program, schedule: str, seed: int | None) -> _Run:
    """Run a program in the order of a schedule."""
    found, choices, fingerprint = Found.read(schedule)
    seed = found.seed if seed is None else seed
    given = Given([choice.index for choice in choices])
    run = program.run(given, seed=seed or 0, expected=choices, cancel=found.cancel)
    if not isinstance(run.failure, Diverged) and run.schedule.fingerprint != fingerprint:
        raise Diverged(
            f"diverged by step {run.schedule.step_count}: the choices came as recorded, but other"
            " steps"
        ) from run.failure
    return run


def _plans(
    program: Program,
    seeds: int | Iterable[int],
    chooser: Callable[[int], Chooser],
    cancel_points: bool,
) -> Iterator[tuple[int | None, Cancel | None, Chooser]]:
    """Yield what to run: the seed, where to cancel, and who chooses."""
    if isinstance(seeds, int):
        if seeds < 0:
            raise ValueError("seeds must not be negative")
        seeds = range(seeds)
    yield None, None, Given(())
    points: list[Cancel] = []
    if cancel_points:
        # How many there are, in asyncio's order; it has not failed.
        schedule = program.run(Given(())).schedule
        points = [Cancel(number, False) for number in range(schedule.waits)]
        points += [Cancel(number, True) for number in range(schedule.wakes)]
        for point in points:
            yield None, point, Given(())
    for seed in seeds:
        yield seed, None, chooser(seed)
        if points:
            yield seed, random.Random(seed).choice(points), chooser(seed)


def _shortened(program: Program, found: Found, failed: _Run) -> ScheduleError:
    """Return the error for a failed run, with as few unusual choices as still lead to it."""
    choices = failed.schedule.choices
    until = monotonic() + LONGEST_SHORTENING_S
    runs = 0
    size = len(choices)
    while size and runs < MOST_RUNS_TO_SHORTEN and monotonic() < until:
        start = 0
        while start < len(choices) and runs < MOST_RUNS_TO_SHORTEN and monotonic() < until:
            part = choices[start : start + size]
            if any(choice.index for choice in part):
                indices = [choice.index for choice in choices]
                indices[start : start + size] = [0] * len(part)
                run = program.run(Given(indices), seed=found.seed or 0, cancel=found.cancel)
                runs += 1
                if type(run.failure) is type(failed.failure):
                    choices = run.schedule.choices
            start += size
        size //= 2
    while choices and not choices[-1].index:
        choices = choices[:-1]
    again = Given([choice.index for choice in choices])
    run = program.run(again, seed=found.seed or 0, cancel=found.cancel, records=True)
    assert failed.failure is not None
    if type(run.failure) is type(failed.failure):
        return ScheduleError(
            found, choices, run.schedule, failed.failure, came_again=True, how=program.how
        )
    choices, schedule = failed.schedule.choices, failed.schedule
    return ScheduleError(found, choices, schedule, failed.failure, came_again=False)
