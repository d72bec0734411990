"""Runs the programs of many seeds in several workers, and looks into what fails."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.fuzz.child import Child, Job, Outcome
from tests.fuzz.generator import Choice, generate
from tests.fuzz.shrink import shrink

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fuzz.compare import Failure
    from tests.fuzz.program import Program

#: Programs that one worker runs: what they leave behind in their process is seen, and what happens
#: at its end, too.
BATCH = 100

#: How often a failure is tried to repeat.
TRIES = 3

#: Kinds of failures that are never excused: they were there, repeated or not.
SERIOUS = ("crash", "hang", "panic", "forbidden")

#: Seconds after which a run counts as hung while it shrinks: most runs take milliseconds.
SHRINK_PATIENCE_S = 5.0


def is_same(failure: Failure, other: Failure) -> bool:
    """Whether two failures are one mistake, as far as can be told."""
    # What a dead process was at is said by a stack, which changes as the program shrinks.
    return failure.kind == other.kind and (
        failure.kind in ("crash", "hang", "panic") or failure.signature == other.signature
    )


@dataclass
class Finding:
    """A failure that was looked into."""

    failure: Failure
    seed: int
    #: The smallest program that fails so; `None` if it does not fail by itself.
    program: Program | None
    #: The first seed of the worker that it was seen in.
    first: int
    count: int = 1
    #: Whether it was seen once more.
    repeats: bool = True


@dataclass
class Totals:
    """What was done."""

    runs: int = 0
    calls: int = 0
    #: Runs that asyncio itself did not survive, by their seeds.
    excused: list[int] = field(default_factory=list[int])
    findings: dict[tuple[str, str], Finding] = field(default_factory=dict[tuple[str, str], Finding])

    def failed(self) -> list[Finding]:
        """The findings that count."""
        return [
            finding
            for finding in self.findings.values()
            if finding.repeats or finding.failure.kind in SERIOUS
        ]


@dataclass(frozen=True)
class Limits:
    """When to stop; what is `None` does not matter."""

    runs: int | None = None
    calls: int | None = None
    seconds: float | None = None
    findings: int = 40
    shrink_seconds: float = 30.0


class Campaign:
    """Runs programs until a limit is reached."""

    def __init__(self, job: Job, limits: Limits, say: Callable[[Finding], None]) -> None:
        """Nothing runs yet.

        Args:
            job: what the workers run programs with.
            limits: when to stop.
            say: is told of each finding.
        """
        self._job = job
        self._limits = limits
        self._say = say
        self._lock = threading.Lock()
        self._deadline = float("inf")
        self._next = 0
        self._end: int | None = None
        #: By what was seen first, which shrinking may change.
        self._seen: dict[tuple[str, str], Finding] = {}
        self.totals = Totals()

    def run(self, seed: int, jobs: int) -> Totals:
        """Runs the programs of `seed` and of those that follow it.

        Args:
            seed: the first one.
            jobs: how many workers at a time.
        """
        self._next = seed
        if self._limits.runs is not None:
            self._end = seed + self._limits.runs
        if self._limits.seconds is not None:
            self._deadline = time.monotonic() + self._limits.seconds
        errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()

        def work() -> None:
            try:
                while (batch := self._take()) is not None:
                    self._run_batch(*batch)
            except BaseException as error:
                errors.put(error)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if not errors.empty():
            raise errors.get()
        return self.totals

    def _is_over(self) -> bool:
        calls = self._limits.calls
        return (
            time.monotonic() > self._deadline
            or (calls is not None and self.totals.calls >= calls)
            or len(self.totals.failed()) >= self._limits.findings
        )

    def _take(self) -> tuple[int, int] | None:
        """The next batch of seeds, unless that was all."""
        with self._lock:
            first = self._next
            if self._is_over() or first == self._end:
                return None
            last = first + BATCH if self._end is None else min(first + BATCH, self._end)
            self._next = last
        return first, last - 1

    def _run_batch(self, first: int, last: int) -> None:
        start = first
        while start <= last and not self._is_over():
            child = Child(self._job)
            died = None
            done = start
            for outcome in child.run_seeds(start, last):
                self._count(outcome)
                if outcome.name.isdigit():
                    done = int(outcome.name)
                if outcome.died_on:
                    died = outcome
                self._note(outcome, start, done)
                if self._is_over():
                    break
            over = self._is_over()
            ending = child.close(at_once=over)
            if died is None and ending is not None and not over:
                self._note(Outcome("the end", 0, [ending], self._job.loop), start, done)
            start = done + 1

    def _count(self, outcome: Outcome) -> None:
        with self._lock:
            self.totals.runs += outcome.name.isdigit()
            self.totals.calls += outcome.calls

    def _note(self, outcome: Outcome, first: int, seed: int) -> None:
        """Takes down what failed; what is new is looked into."""
        if outcome.died_on == "asyncio" and self._dies_by_itself(seed):
            with self._lock:
                self.totals.excused.append(seed)
            return
        for failure in outcome.failures:
            key = failure.kind, failure.signature
            finding = Finding(failure, seed, None, first)
            with self._lock:
                known = self._seen.setdefault(key, finding)
                if known is not finding:
                    known.count += 1
                    continue
            self._look_into(finding)
            with self._lock:
                # Once small, it may prove to be one that is known.
                small = finding.failure.kind, finding.failure.signature
                known = self.totals.findings.setdefault(small, finding)
                self._seen[key] = self._seen[small] = known
                if known is finding:
                    self._say(finding)
                else:
                    known.count += finding.count

    def _dies_by_itself(self, seed: int) -> bool:
        """Whether asyncio does not survive a program in a process without us."""
        program = replace(generate(seed, self._choice()), wild=False)
        with Child(replace(self._job, loop="asyncio")) as child:
            return child.run_program(program).died_on != ""

    def _choice(self) -> Choice:
        return Choice.of(self._job.only, self._job.without)

    def _look_into(self, finding: Finding) -> None:
        """Repeats a failure, and shrinks its program."""
        job = replace(self._job, patience_s=min(self._job.patience_s, SHRINK_PATIENCE_S))
        program = generate(finding.seed, self._choice())
        failing = Failing(job, finding.failure)
        try:
            if self._repeats(failing, program):
                finding.program = shrink(program, failing, self._limits.shrink_seconds)
                finding.failure = failing.seen
            else:
                finding.repeats = self._repeats_in_company(finding)
        finally:
            failing.close()

    def _repeats(self, failing: Failing, program: Program) -> bool:
        """Whether a program fails again: a serious failure once, others every time."""
        tries = (failing(program) for _ in range(TRIES))
        return any(tries) if failing.seen.kind in SERIOUS else all(tries)

    def _repeats_in_company(self, finding: Finding) -> bool:
        """Whether it fails again after the seeds that ran before it in its worker."""
        with Child(self._job) as child:
            return any(
                is_same(failure, finding.failure)
                for outcome in child.run_seeds(finding.first, finding.seed)
                for failure in outcome.failures
            )


class Failing:
    """Runs programs, and tells whether they fail as one did."""

    def __init__(self, job: Job, failure: Failure) -> None:
        """A worker is started when needed.

        Args:
            job: what to run programs with.
            failure: how they shall fail.
        """
        self._job = job
        self._child: Child | None = None
        self.seen = failure

    def __call__(self, program: Program) -> bool:
        """Runs a program."""
        if self._child is None:
            self._child = Child(self._job)
        outcome = self._child.run_program(program)
        if outcome.died_on == "asyncio" != self._job.loop:
            return False
        for failure in outcome.failures:
            if is_same(failure, self.seen):
                self.seen = failure
                return True
        return False

    def close(self) -> None:
        """Ends the worker."""
        if self._child is not None:
            self._child.close()
            self._child = None
