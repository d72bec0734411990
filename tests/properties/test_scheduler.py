"""Random programs of scheduling calls: the same observable order on both loops.

A program is a list of actions. Some run before the loop, the others inside callbacks; each callback
is recorded with the turn in which it ran. The clock stands still between turns unless a program
advances it, so results do not depend on the speed of the machine.
"""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.clocks import FAKE_CLOCK_LOOPS

if TYPE_CHECKING:
    from tests.clocks import FakeClockLoop

#: Deadlines are whole ticks plus a part that is unique to each timer: asyncio leaves the order of
#: equal deadlines undefined, so a comparison must not depend on it.
TICK_S = 0.25
APART_S = 2.0**-20

MAXIMUM_CALLBACKS = 200
MAXIMUM_TURNS = 30

variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=-1)


@dataclass(frozen=True)
class Action:
    """One call that a program makes."""

    kind: str
    #: Ticks from now, the index of a handle, or how far to advance the clock.
    number: int = 0
    #: The actions of the callback.
    then: tuple[Action, ...] = ()


@dataclass
class Run:
    """A program's run on one loop."""

    loop: FakeClockLoop
    #: How far the clock advances between turns, in ticks; four after the end of the list.
    ticks: list[int]
    trace: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    handles: list[asyncio.Handle] = field(default_factory=list[asyncio.Handle])
    tasks: list[asyncio.Task[None]] = field(default_factory=list["asyncio.Task[None]"])
    turn: int = 0

    def act(self, actions: tuple[Action, ...]) -> None:
        """Performs `actions` in order."""
        for action in actions:
            getattr(self, f"_{action.kind}")(action)

    @property
    def _name(self) -> int:
        """Returns the name of the next callback or task."""
        return len(self.handles) + len(self.tasks)

    def _schedule(self, action: Action, schedule: Any, *before: float) -> None:  # noqa: ANN401
        if self._name < MAXIMUM_CALLBACKS:
            self.handles.append(schedule(*before, self._callback, self._name, action.then))

    def _soon(self, action: Action) -> None:
        self._schedule(action, self.loop.call_soon)

    def _threadsafe(self, action: Action) -> None:
        self._schedule(action, self.loop.call_soon_threadsafe)

    def _burst(self, action: Action) -> None:
        for _ in range(40):
            self._schedule(action, self.loop.call_soon)

    def _later(self, action: Action) -> None:
        apart = self._name * APART_S
        self._schedule(action, self.loop.call_later, action.number * TICK_S + apart)

    def _at(self, action: Action) -> None:
        apart = self._name * APART_S
        deadline = self.loop.now + action.number * TICK_S + apart
        self._schedule(action, self.loop.call_at, deadline)

    def _task(self, action: Action) -> None:
        async def task(name: int) -> None:
            self._callback(name, action.then)
            for _ in range(action.number % 3):
                await asyncio.sleep(0)
                self.trace.append(("step", self.turn, name))

        if self._name < MAXIMUM_CALLBACKS:
            self.tasks.append(self.loop.create_task(task(self._name)))

    def _cancel(self, action: Action) -> None:
        if self.handles:
            self.handles[action.number % len(self.handles)].cancel()

    def _cancel_task(self, action: Action) -> None:
        if self.tasks:
            self.tasks[action.number % len(self.tasks)].cancel()

    def _stop(self, _: Action) -> None:
        self.loop.stop()

    def _advance(self, action: Action) -> None:
        self.loop.now += action.number * TICK_S

    def _fail(self, _: Action) -> None:
        raise ZeroDivisionError

    def _leave(self, _: Action) -> None:
        raise KeyboardInterrupt

    def _callback(self, name: int, then: tuple[Action, ...]) -> None:
        # Contexts are inherited: a callback sees the name of the callback that scheduled it.
        self.trace.append(("ran", self.turn, name, variable.get()))
        variable.set(name)
        self.act(then)

    def report(self, _: object, context: dict[str, Any]) -> None:
        """The loop's exception handler."""
        self.trace.append(
            ("reported", self.turn, sorted(context), type(context.get("exception")).__name__)
        )

    def next_turn(self) -> None:
        """Counts the turn and advances the clock."""
        self.loop.now += TICK_S * (self.ticks[self.turn] if self.turn < len(self.ticks) else 4)
        self.turn += 1

    def run(self) -> None:
        """Runs the loop until something stops it."""
        try:
            self.loop.run_forever()
        except KeyboardInterrupt:
            self.trace.append(("left", self.turn))
        self.trace.append(("stopped", self.turn, self.loop.is_running()))

    def run_turn_by_turn(self) -> None:
        """Stops the loop after each turn."""
        while self.turn < MAXIMUM_TURNS:
            self.next_turn()
            self.loop.stop()
            self.run()

    def run_on(self) -> None:
        """Runs the loop without stopping it between turns; a chain of callbacks counts them."""

        def chain() -> None:
            self.next_turn()
            if self.turn < MAXIMUM_TURNS:
                self.loop.call_soon(chain, context=counting)
            else:
                self.loop.stop()

        counting = contextvars.Context()
        self.loop.call_soon(chain, context=counting)
        while self.turn < MAXIMUM_TURNS:
            self.run()


def trace_of(
    loop_name: str, program: tuple[Action, ...], ticks: list[int], *, turn_by_turn: bool
) -> list[tuple[Any, ...]]:
    """Returns the observable effects of `program` on one of the loops."""
    loop = FAKE_CLOCK_LOOPS[loop_name]()
    run = Run(loop, ticks)
    loop.set_exception_handler(run.report)
    try:
        try:
            run.act(program)
        except (ZeroDivisionError, KeyboardInterrupt) as error:
            run.trace.append(("raised", type(error).__name__))
        if turn_by_turn:
            run.run_turn_by_turn()
        else:
            run.run_on()
        run.trace.append(("cancelled", [handle.cancelled() for handle in run.handles]))
        trace = list(run.trace)
    finally:
        # Pending tasks would warn; how they end is not part of the comparison.
        loop.set_exception_handler(lambda _loop, _context: None)
        for task in run.tasks:
            task.cancel()
        for _ in range(2):
            loop.stop()
            run.run()
        loop.close()
    return trace


kinds = st.sampled_from(
    # Mostly actions that create callbacks, and a few that disturb them.
    ["soon"] * 4
    + ["threadsafe"] * 2
    + ["later"] * 4
    + ["at"] * 2
    + ["task"] * 2
    + ["cancel"] * 4
    + ["burst", "cancel_task", "stop", "advance", "fail", "leave"]
)
leaves = st.builds(Action, kinds, st.integers(-2, 6))
actions = st.recursive(
    leaves,
    lambda inner: st.builds(
        Action, kinds, st.integers(-2, 6), st.lists(inner, max_size=4).map(tuple)
    ),
    max_leaves=25,
)
programs = st.lists(actions, min_size=1, max_size=10).map(tuple)


@pytest.mark.slow
@settings(
    deadline=None,
    max_examples=300,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(programs, st.lists(st.integers(0, 3), max_size=10), st.booleans())
def test_random_programs_run_alike(
    program: tuple[Action, ...], ticks: list[int], turn_by_turn: bool
) -> None:
    ours, theirs = (
        trace_of(name, program, ticks, turn_by_turn=turn_by_turn)
        for name in ("yamanote", "asyncio")
    )
    assert ours == theirs
