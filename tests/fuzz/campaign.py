"""Runs the programs of many seeds in several workers, and investigates failures."""

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

#: Programs per worker: the effects that they leave in their process, and those at its end, are
#: detected, too.
BATCH = 100

#: How often a failure is retried.
TRIES = 3

#: Kinds of failures that always count, even if they cannot be reproduced.
SERIOUS = ("crash", "hang", "panic", "forbidden")

#: Seconds after which a run counts as hung during shrinking; most runs take milliseconds.
SHRINK_PATIENCE_S = 5.0


def is_same(failure: Failure, other: Failure) -> bool:
    """Returns whether two failures are most likely the same bug."""
    # The place where a process died comes from a stack, which changes as the program shrinks.
    return failure.kind == other.kind and (
        failure.kind in ("crash", "hang", "panic") or failure.signature == other.signature
    )


@dataclass
class Finding:
    """A failure that was investigated."""

    failure: Failure
    seed: int
    #: The smallest program with this failure; `None` if it does not fail alone.
    program: Program | None
    #: The first seed of the worker in which it occurred.
    first: int
    count: int = 1
    #: Whether it was reproduced.
    repeats: bool = True


@dataclass
class Totals:
    """The totals of a campaign."""

    runs: int = 0
    calls: int = 0
    #: The seeds of runs in which asyncio itself crashed.
    excused: list[int] = field(default_factory=list[int])
    findings: dict[tuple[str, str], Finding] = field(default_factory=dict[tuple[str, str], Finding])

    def failed(self) -> list[Finding]:
        """The findings that count as failures."""
        return [
            finding
            for finding in self.findings.values()
            if finding.repeats or finding.failure.kind in SERIOUS
        ]


@dataclass(frozen=True)
class Limits:
    """The limits of a campaign; `None` means no limit."""

    runs: int | None = None
    calls: int | None = None
    seconds: float | None = None
    findings: int = 40
    shrink_seconds: float = 30.0


class Campaign:
    """Runs programs until a limit is reached."""

    def __init__(self, job: Job, limits: Limits, say: Callable[[Finding], None]) -> None:
        """Create a campaign that is not running.

        Args:
            job: the configuration of the workers.
            limits: when to stop.
            say: called with each finding.
        """
        self._job = job
        self._limits = limits
        self._say = say
        self._lock = threading.Lock()
        self._deadline = float("inf")
        self._next = 0
        self._end: int | None = None
        #: Keyed by the failure as first seen, which may change in shrinking.
        self._seen: dict[tuple[str, str], Finding] = {}
        self.totals = Totals()

    def run(self, seed: int, jobs: int) -> Totals:
        """Runs the programs of `seed` and the following seeds.

        Args:
            seed: the first one.
            jobs: the number of concurrent workers.
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
        """Returns the next batch of seeds, or `None` at the limit."""
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
        """Records failures, and investigates new ones."""
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
                # After shrinking, it may turn out to be a known failure.
                small = finding.failure.kind, finding.failure.signature
                known = self.totals.findings.setdefault(small, finding)
                self._seen[key] = self._seen[small] = known
                if known is finding:
                    self._say(finding)
                else:
                    known.count += finding.count

    def _dies_by_itself(self, seed: int) -> bool:
        """Returns whether a program crashes asyncio in a process without yamanote."""
        program = replace(generate(seed, self._choice()), wild=False)
        with Child(replace(self._job, loop="asyncio")) as child:
            return child.run_program(program).died_on != ""

    def _choice(self) -> Choice:
        return Choice.of(self._job.only, self._job.without)

    def _look_into(self, finding: Finding) -> None:
        """Reproduces a failure, and shrinks its program."""
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
        """Returns whether a program fails again: once if it is serious, otherwise every time."""
        tries = (failing(program) for _ in range(TRIES))
        return any(tries) if failing.seen.kind in SERIOUS else all(tries)

    def _repeats_in_company(self, finding: Finding) -> bool:
        """Returns whether it fails again after the seeds that preceded it in its worker."""
        with Child(self._job) as child:
            return any(
                is_same(failure, finding.failure)
                for outcome in child.run_seeds(finding.first, finding.seed)
                for failure in outcome.failures
            )


class Failing:
    """Runs programs, and tells whether they fail in the same way as a given failure."""

    def __init__(self, job: Job, failure: Failure) -> None:
        """Start without a worker, which is started on demand.

        Args:
            job: the configuration of the worker.
            failure: the failure to compare with.
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
