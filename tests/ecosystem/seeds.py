"""`--seeds`: each suite on yamanote in other orders of its tasks than asyncio's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.ecosystem import swaps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ecosystem.execution import Run, Runner
    from tests.ecosystem.suites import Suite

#: How often tests that failed with a seed are retried, without the others: without a seed, and with
#: the same one unless it is known which steps they want in order.
TRIES = 3


@dataclass
class SeedsVerdict:
    """The results of a suite in many orders.

    Attributes:
        plain: the run in asyncio's order.
        runs: by seed.
        failed: by seed, the tests that fail with it, and always pass without one.
        flaky: tests that failed with a seed, but also without one, or passed with it in a retry.
        tries: the output of the retries.
        swaps: which two steps only need to change places, by test.
    """

    suite: Suite
    plain: Run
    runs: dict[int, Run] = field(default_factory=dict[int, "Run"])
    failed: dict[int, set[str]] = field(default_factory=dict[int, set[str]])
    flaky: set[str] = field(default_factory=set[str])
    tries: list[str] = field(default_factory=list[str])
    swaps: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def broken(self) -> str:
        """What is wrong with the runs themselves, or empty."""
        if not self.plain.passed():
            return "nothing passed without a seed"
        ends = [f"seed {seed} {run.end}" for seed, run in self.runs.items() if run.end]
        return ", ".join([*filter(None, [self.plain.end]), *ends])

    @property
    def dependent(self) -> set[str]:
        """The tests that fail in some order."""
        return {name for names in self.failed.values() for name in names}

    @property
    def ours(self) -> set[str]:
        """Those of them that have no known reason."""
        return self.dependent - self.suite.about_order.keys()

    def excuse(self, flaky: set[str], seed: int | None = None) -> None:
        """Takes these tests for flaky that failed with a seed, or with any."""
        for it, failed in self.failed.items():
            if seed in (None, it):
                self.flaky |= failed & flaky
                failed -= flaky

    def line(self) -> str:
        """Returns the summary."""
        ran = [len(run.outcomes) for run in self.runs.values()]
        known = self.dependent - self.ours
        return (
            f"{self.suite.name}: {len(self.plain.passed())} passed without a seed, "
            f"{max(ran, default=0)} to {min(ran, default=0)} ran with each of {len(ran)} seeds, "
            f"{len(self.ours)} failed with one"
            + (f", {len(known)} depend on asyncio's order" if known else "")
            + (f", {len(self.flaky)} flaky" if self.flaky else "")
            + (f", {self.broken}" if self.broken else "")
            + f" ({sum(run.seconds for run in (self.plain, *self.runs.values())):.0f} s)"
        )

    def details(self) -> Iterator[str]:
        """Yields a line for each seed, and for each test that failed."""
        for seed, run in self.runs.items():
            failed = self.failed[seed]
            yield (
                f"seed {seed}: {len(run.outcomes)} ran, {len(run.passed())} passed,"
                f" {len(failed)} failed, {sum(run.choices.values())} choices ({run.seconds:.0f} s)"
            )
        for name in sorted(self.dependent):
            seeds = ", ".join(str(seed) for seed, names in self.failed.items() if name in names)
            yield f"{'FAILED' if name in self.ours else 'known'} {name} with seed {seeds}"
            yield f"  {self.swaps.get(name, 'no single swap makes it fail')}"
        for name in sorted(self.flaky):
            yield f"flaky {name}"

    def output(self) -> Iterator[str]:
        """Yields what the runs with failures have printed."""
        for run in (self.plain, *self.runs.values()):
            if run.end or "failed" in run.outcomes.values():
                yield run.output
        yield from self.tries


def examine(runner: Runner, suite: Suite, seeds: int) -> SeedsVerdict:
    """Runs the tests that pass in asyncio's order in so many others.

    With the first seed all of them run. A test in which it had nothing to choose has one order
    only: it does not run with the others.
    """
    verdict = SeedsVerdict(suite, runner.run(suite, "yamanote"))
    tests = verdict.plain.passed()
    for seed in range(1, seeds + 1):
        run = verdict.runs[seed] = runner.run(suite, "yamanote", tests, {"SEED": seed})
        verdict.failed[seed] = {it for it, outcome in run.outcomes.items() if outcome == "failed"}
        passed = len(run.passed())
        print(f"{suite.name}, seed {seed}: {passed} passed ({run.seconds:.0f} s)", flush=True)
        if seed == 1:
            tests = {name for name in tests if run.choices.get(name)}
    _judge(runner, verdict)
    return verdict


def _judge(runner: Runner, verdict: SeedsVerdict) -> None:
    """Finds out which tests fail because of the order, and which now and then without one."""
    suite = verdict.suite
    for _ in range(TRIES):
        if verdict.dependent:
            plain = runner.run(suite, "yamanote", verdict.dependent)
            verdict.excuse(verdict.dependent - plain.passed())
    verdict.swaps = swaps.find(runner, suite, verdict.dependent)
    for seed, failed in verdict.failed.items():
        for name in failed - verdict.swaps.keys():
            for _ in range(TRIES):
                again = runner.run(suite, "yamanote", {name}, {"SEED": seed})
                verdict.tries.append(again.output)
                if name in again.passed():
                    verdict.excuse({name}, seed)
                    break
