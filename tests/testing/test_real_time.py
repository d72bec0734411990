"""Random programs that wait: on virtual time everything happens as on asyncio's loop, and when."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamanote import testing

if TYPE_CHECKING:
    from collections.abc import Callable

#: Deadlines are whole seconds and a part that no other has: asyncio leaves the order of equal ones
#: open.
APART_S = 2.0**-20

#: Something to wait for, and what else to do.
Action = tuple[str, int, "tuple[Action, ...]"]


class _Selector(selectors.DefaultSelector):
    """Waits in no time at all: the clock is set to the deadline instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout is not None:
            self.now += timeout
        return found


class _SteppedLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, whose clock goes on only by its own waits."""

    def __init__(self) -> None:
        self.clock = _Selector()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


class Program:
    """A run of random actions."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run on `loop`."""
        self.loop = loop
        self.trace: list[tuple[Any, ...]] = []
        self.event = asyncio.Event()
        self.lock = asyncio.Lock()
        self.tasks: list[asyncio.Task[None]] = []
        self.waits = 0

    def note(self, *what: object) -> None:
        """Add to the trace."""
        self.trace.append((round(self.loop.time(), 5), *what))

    def seconds(self, number: int) -> float:
        """Return how long to wait so that no other wait ends at the same time."""
        self.waits += 1
        return number + self.waits * APART_S

    async def run(self, name: str, actions: tuple[Action, ...]) -> None:
        """Take all actions in turn."""
        for place, (kind, number, inner) in enumerate(actions):
            label = f"{name}.{place}"
            try:
                await getattr(self, f"_{kind}")(label, number, inner)
            except (TimeoutError, asyncio.CancelledError) as error:
                self.note(label, kind, type(error).__name__)
                if isinstance(error, asyncio.CancelledError):
                    raise
            else:
                self.note(label, kind)

    async def _sleep(self, _: str, number: int, __: tuple[Action, ...]) -> None:
        await asyncio.sleep(self.seconds(number))

    async def _pass(self, _: str, number: int, __: tuple[Action, ...]) -> None:
        for _number in range(number):
            await asyncio.sleep(0)

    async def _timeout(self, label: str, number: int, inner: tuple[Action, ...]) -> None:
        async with asyncio.timeout(self.seconds(number)):
            await self.run(label, inner)

    async def _wait_for(self, label: str, number: int, inner: tuple[Action, ...]) -> None:
        await asyncio.wait_for(self.run(label, inner), self.seconds(number))

    async def _spawn(self, label: str, number: int, inner: tuple[Action, ...]) -> None:
        self.tasks.append(self.loop.create_task(self.run(label, inner)))
        await self._pass(label, number % 2, ())

    async def _cancel(self, _: str, number: int, __: tuple[Action, ...]) -> None:
        if self.tasks:
            self.tasks[number % len(self.tasks)].cancel()

    async def _lock(self, label: str, _: int, inner: tuple[Action, ...]) -> None:
        # Not by the same task twice, which would wait for itself.
        if "L" in label:
            return
        async with self.lock:
            await self.run(label + "L", inner)

    async def _event(self, label: str, number: int, _: tuple[Action, ...]) -> None:
        if number % 2:
            self.event.set()
            self.event.clear()
        else:
            async with asyncio.timeout(self.seconds(number)):
                await self.event.wait()
        self.note(label, "event")

    async def _call(self, label: str, number: int, _: tuple[Action, ...]) -> None:
        when = self.loop.time() + self.seconds(number)
        self.loop.call_at(when, self.note, label, "called")


KINDS = (
    ["sleep"] * 3
    + ["pass", "timeout", "wait_for", "spawn", "spawn", "cancel", "lock"]
    + [
        "event",
        "call",
    ]
)
actions: st.SearchStrategy[Any] = st.recursive(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 6), st.just(())),
    lambda inner: st.tuples(
        st.sampled_from(KINDS), st.integers(0, 6), st.lists(inner, max_size=4).map(tuple)
    ),
    max_leaves=20,
)


def trace_of(
    factory: Callable[[], asyncio.AbstractEventLoop], program: tuple[tuple[Action, ...], ...]
) -> list[tuple[Any, ...]]:
    """Return what a program of some tasks does on a loop."""

    async def main() -> list[tuple[Any, ...]]:
        run = Program(asyncio.get_running_loop())
        run.tasks += [
            asyncio.create_task(run.run(f"{number}", actions))
            for number, actions in enumerate(program)
        ]
        while pending := [task for task in run.tasks if not task.done()]:
            await asyncio.wait(pending)
        run.note("end")
        return run.trace

    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


@pytest.mark.slow
@settings(deadline=None, max_examples=400)
@given(st.lists(st.lists(actions, max_size=5).map(tuple), min_size=1, max_size=4).map(tuple))
def test_random_programs_do_the_same_at_the_same_time(program: Any) -> None:  # noqa: ANN401
    assert trace_of(testing.new_event_loop, program) == trace_of(_SteppedLoop, program)


def test_a_program_on_the_real_clock_does_the_same() -> None:
    """Scaled: a second there is a hundredth here, and what happens is a tenth or more apart."""

    def main(second: float) -> list[str]:
        trace: list[str] = []

        async def periodic() -> None:
            for number in range(4):
                await asyncio.sleep(10 * second)
                trace.append(f"beat {number}")

        async def slow() -> None:
            try:
                async with asyncio.timeout(15 * second):
                    await asyncio.sleep(100 * second)
            except TimeoutError:
                trace.append("too slow")

        async def both() -> None:
            await asyncio.gather(periodic(), slow())

        factory = testing.new_event_loop if second == 1 else asyncio.SelectorEventLoop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(both())
        return trace

    assert main(1) == main(0.01) == ["beat 0", "too slow", "beat 1", "beat 2", "beat 3"]
