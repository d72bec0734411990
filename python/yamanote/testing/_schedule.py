"""The order of a loop's passes, decided by a chooser and written down."""

from __future__ import annotations

import asyncio
import bisect
import hashlib
import math
import weakref
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakSet

from yamanote.testing._choices import DIGITS, MOST, Choice
from yamanote.testing._steps import Names, Place, is_step_without_future, place_of, task_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from yamanote.testing._choices import Chooser


#: A program that takes more steps counts as one that does not end. They take a few seconds.
MOST_STEPS: Final = 1_000_000


class Diverged(RuntimeError):
    """The program did not do what it did when its schedule was recorded.

    Something in it depends on more than the order of its tasks: on real input, on the order of a
    set, on time.
    """


class Step(NamedTuple):
    """A step of a task: what it runs from one `await` to the next.

    Attributes:
        task: what the task is called.
        place: the line at which it went on, a tuple of `file`, `line` and `function`; `None` for a
            coroutine that is not the program's.
        first: whether it began with this step.
    """

    task: str
    place: Place | None
    first: bool


class Cancel(NamedTuple):
    """Where to cancel a task.

    Attributes:
        number: at the suspension of this number, counted over all tasks from 0.
        waking: when what it awaits is done, and the task about to go on, instead of when it begins
            to wait.
    """

    number: int
    waking: bool


class _Waiting:
    """The task steps of a pass that have no place in its order yet."""

    def __init__(
        self,
        origins: Sequence[int | None],
        steps: Sequence[bool],
        barriers: set[int],
        yields: set[int],
    ) -> None:
        """Begin with all `steps`.

        Those of one origin do not move over its barriers, and one of `yields` comes after those
        that its origin scheduled before it.
        """
        self._origins, self._yields = origins, yields
        #: In the order of the queue: those that may come next.
        self.free: list[int] = []
        #: By origin: the steps and barriers that are left; reversed.
        self._held: dict[int | None, list[int]] = {}
        self._free_of: dict[int | None, list[int]] = {}
        self._barriers = barriers
        for index in reversed(range(len(steps))):
            if steps[index] or index in barriers:
                self._held.setdefault(origins[index], []).append(index)
        for origin in self._held:
            self._release(origin)

    def _release(self, origin: int | None) -> None:
        """Free the steps of an origin up to its next barrier, or to a yield behind a free one."""
        held = self._held[origin]
        while held and held[-1] not in self._barriers:
            if held[-1] in self._yields and self._free_of.get(origin):
                break
            index = held.pop()
            bisect.insort(self.free, index)
            self._free_of.setdefault(origin, []).append(index)

    def take(self, index: int) -> None:
        """Take a free step away."""
        origin = self._origins[index]
        for left in (self.free, self._free_of[origin]):
            del left[bisect.bisect_left(left, index)]
        if not self._free_of[origin]:
            self._release(origin)

    def before(self, barrier: int) -> list[int]:
        """Return the steps that come before a barrier, the first of its origin that is left."""
        return self._free_of.get(self._origins[barrier], [])

    def pass_barrier(self, barrier: int) -> None:
        """Free what comes after a barrier."""
        origin = self._origins[barrier]
        self._held[origin].pop()
        self._release(origin)


class Schedule:
    """Arranges the passes of one loop.

    Only what asyncio leaves open changes: the order of the task steps in a pass, and of timers that
    are due at the same time. Callbacks keep their order, and so do a callback and a task step that
    were scheduled one after the other by the same callback. A task that awaits `sleep(0)` goes on
    after those that it has just made or woken, which it lets run.
    """

    def __init__(
        self,
        chooser: Chooser,
        *,
        expected: Sequence[Choice] | None = None,
        cancel: Cancel | None = None,
        records: bool = False,
        most_steps: float = MOST_STEPS,
    ) -> None:
        """Decide by `chooser`.

        Args:
            chooser: makes the choices.
            expected: the choices that must come again.
            cancel: where to cancel a task.
            records: whether to record the place of each step.
            most_steps: a program that takes more counts as one that does not end.
        """
        self._chooser, self._expected = chooser, expected
        self._cancel = cancel
        self._records, self._most_steps = records, most_steps
        self._names = Names(given=True)
        # A program may give another name each time: with a random number, say.
        self._keys = Names(given=False)
        self._digest = hashlib.blake2s(digest_size=4)
        #: Made so far.
        self.choices: list[Choice] = []
        self.steps: list[Step] = []
        #: How many steps tasks have taken.
        self.step_count: int = 0
        #: How many suspensions there were, and how many of them have ended.
        self.waits: int = 0
        self.wakes: int = 0
        self._begun: WeakSet[asyncio.Task[Any]] = WeakSet()
        #: The tasks that ran in the last pass. None is kept alive: a program may look for what is
        #: gone.
        self._ran: list[weakref.ref[asyncio.Task[Any]]] = []
        self._is_on = True

    @property
    def fingerprint(self) -> str:
        """A short text that another order of steps would not have."""
        return self._digest.hexdigest()

    def stop(self) -> None:
        """Leave the order as asyncio has it from now on."""
        self._is_on = False
        self._ran.clear()  # A lost task is told of when nothing refers to it.

    def arrange(self, entries: Sequence[object], origins: Sequence[int | None]) -> list[int]:
        """Return in which order to run the entries of a pass.

        Args:
            entries: a handle, `None` for an event, or `True` for a native call that takes the place
                of a handle.
            origins: by which callback of the last pass each was scheduled; `None` for those that
                came from elsewhere.

        Raises:
            Diverged: the choices are not those that were expected.
        """
        if not self._is_on:
            return list(range(len(entries)))
        tasks = [task_of(entry) for entry in entries]
        if self._records:  # In asyncio's order, which numbers equal names.
            for task in tasks:
                if task is not None:
                    self._names.of(task)
        self.settle({id(task) for task in tasks if task is not None})
        places = self._arranged_timers(entries)
        order: list[int] = []
        for index in self._arranged_steps(entries, origins, tasks):
            task = tasks[index]
            if task is None:
                order.append(places[index])
            else:
                self._note(task)
                order.append(index)
        return order

    def settle(self, ready: set[int] | None = None) -> bool:
        """Note which tasks the last pass has left waiting, and cancel one if it is its turn.

        Args:
            ready: the identities of tasks that go on already.

        Returns:
            Whether a task was cancelled.
        """
        cancelled = False
        ran, self._ran = self._ran, []
        for reference in ran:
            task = reference()
            if task is None or task.done() or (ready and id(task) in ready):
                continue
            if self._is_on and self._cancel == (self.waits, False):
                cancelled = task.cancel()
            self.waits += 1
        return cancelled

    def _arranged_timers(self, entries: Sequence[object]) -> list[int]:
        """Return, for each entry, which one runs in its place: another timer of the same time."""
        places = list(range(len(entries)))
        start = 0
        while start < len(entries):
            when = _time_of(entries[start])
            end = start + 1
            while when is not None and end < len(entries) and _time_of(entries[end]) == when:
                end += 1
            left = list(range(start, end))
            for place in range(start, end):
                names = [f"timer {it - start}" for it in left[:MOST]]
                places[place] = left.pop(self._choose(names))
            start = end
        return places

    def _arranged_steps(
        self,
        entries: Sequence[object],
        origins: Sequence[int | None],
        tasks: Sequence[asyncio.Task[Any] | None],
    ) -> Iterator[int]:
        """Yield each index once. What is no step stays where it is."""
        names = ["" if task is None else self._keys.of(task) for task in tasks]
        # A callback comes after the steps that its origin scheduled before it, and before those
        # that it scheduled later.
        barriers = {
            index
            for index, task in enumerate(tasks)
            if task is None and entries[index] is not None and _time_of(entries[index]) is None
        }
        # A task that awaits `sleep(0)` lets those go first that it has just made or woken.
        yields = {
            index
            for index, task in enumerate(tasks)
            if task is not None
            and origins[index] is not None
            and task in self._begun
            and is_step_without_future(entries[index])
        }
        steps = [task is not None for task in tasks]
        waiting = _Waiting(origins, steps, barriers, yields)

        def take(candidates: list[int]) -> int:
            chosen = candidates[self._choose([names[it] for it in candidates[:MOST]])]
            waiting.take(chosen)
            return chosen

        for slot, task in enumerate(tasks):
            if task is not None:
                if waiting.free:
                    yield take(waiting.free)
                continue
            if slot in barriers:
                while before := waiting.before(slot):
                    yield take(before)
                waiting.pass_barrier(slot)
            yield slot
        while waiting.free:
            yield take(waiting.free)

    def _choose(self, names: Sequence[str]) -> int:
        """Return the index of the candidate that comes next: of `MOST` at most."""
        count = len(names)
        if count < 2:
            return 0
        digest = hashlib.blake2s("\0".join(names).encode(), digest_size=1).digest()[0]
        check = DIGITS[digest % len(DIGITS)]
        index = self._chooser.choose(names)
        choice = Choice(count, index, check)
        if self._expected is not None:
            self._compare(choice, names)
        self.choices.append(choice)
        self._digest.update(bytes((index,)))
        return index

    def _compare(self, choice: Choice, names: Sequence[str]) -> None:
        assert self._expected is not None
        number = len(self.choices)
        # What was left out at the end was asyncio's order.
        if number >= len(self._expected):
            return
        expected = self._expected[number]
        if (choice.count, choice.check) != (expected.count, expected.check):
            raise Diverged(
                f"diverged at step {self.step_count}: {', '.join(names)} can run;"
                f" {expected.count} task(s) could, or others, when the schedule was recorded"
            )

    def _note(self, task: asyncio.Task[Any]) -> None:
        """Write down the step that is about to run."""
        self.step_count += 1
        if self.step_count > self._most_steps:
            raise TimeoutError(f"the program does not end: {self._most_steps} steps of tasks")
        self._digest.update(self._keys.of(task).encode() + b"\0")
        # An eager task has begun when it is first queued.
        first = task not in self._begun and not getattr(task.get_coro(), "cr_suspended", False)
        self._begun.add(task)
        if self._records:
            self.steps.append(Step(self._names.of(task), place_of(task), first))
        if not first:
            if self._cancel == (self.wakes, True):
                task.cancel()
            self.wakes += 1
        self._ran.append(weakref.ref(task))


def real_schedule(chooser: Callable[[int], Chooser], seed: int | None) -> Schedule | None:
    """Return the schedule of a seed for a loop whose time is real; `None` without one.

    There, a program that takes many steps may still end: it may look for a time to come.
    """
    return None if seed is None else Schedule(chooser(seed), most_steps=math.inf)


def _time_of(entry: object) -> float | None:
    """Return when a timer was due; `None` for anything else."""
    return entry.when() if isinstance(entry, asyncio.TimerHandle) else None
