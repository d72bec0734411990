"""The command: runs each suite on both loops and reports differences."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.ecosystem import seeds
from tests.ecosystem.environment import Environment, interpreter
from tests.ecosystem.execution import LOOPS, Run, Runner
from tests.ecosystem.suites import SUITES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ecosystem.seeds import SeedsVerdict
    from tests.ecosystem.suites import Suite

CACHE = Path(".cache", "ecosystem")

#: How often tests that failed only on yamanote are retried, without the others, on both loops.
TRIES = 3


@dataclass
class Verdict:
    """The results of a suite on both loops.

    Attributes:
        runs: by loop.
        ours: tests that always pass on asyncio, and never on yamanote.
        flaky: tests that failed on yamanote, but also on asyncio, or passed in a retry.
        tries: the output of the retries.
    """

    suite: Suite
    runs: dict[str, Run] = field(default_factory=dict[str, Run])
    ours: set[str] = field(default_factory=set[str])
    flaky: set[str] = field(default_factory=set[str])
    tries: list[str] = field(default_factory=list[str])

    @property
    def broken(self) -> str:
        """What is wrong with the runs themselves, or empty."""
        if not self.passed("asyncio"):
            return "nothing passed on asyncio"
        if stale := self.runs["yamanote"].passed() & self.suite.about_asyncio.keys():
            return f"passes though listed: {', '.join(sorted(stale))}"
        return self.runs["yamanote"].end

    def passed(self, loop: str) -> set[str]:
        """Returns the tests that passed on a loop, except those about asyncio's own loop."""
        return self.runs[loop].passed() - self.suite.about_asyncio.keys()

    def line(self) -> str:
        """Returns the summary."""
        listed = self.runs["asyncio"].outcomes.keys() & self.suite.about_asyncio.keys()
        counts = {loop: len(self.passed(loop)) for loop in self.runs}
        seconds = {loop: f"{run.seconds:.0f}" for loop, run in self.runs.items()}
        return (
            f"{self.suite.name}: asyncio {counts['asyncio']} passed, "
            f"yamanote {counts['yamanote']} passed, {len(self.ours)} only on asyncio"
            + (f", {len(listed)} about asyncio's own loop" if listed else "")
            + (f", {len(self.flaky)} flaky" if self.flaky else "")
            + (f", {self.broken}" if self.broken else "")
            + f" ({seconds['asyncio']} s, {seconds['yamanote']} s)"
        )

    def details(self) -> Iterator[str]:
        """Yields a line for each test that failed."""
        for name in sorted(self.ours):
            yield f"ONLY ON ASYNCIO {name}"
        for name in sorted(self.flaky):
            yield f"flaky {name}"

    def output(self) -> Iterator[str]:
        """Yields what the runs have printed."""
        yield from (run.output for run in self.runs.values())
        yield from self.tries


def main(arguments: list[str]) -> int:
    """Runs the suites; returns 0 if yamanote passes what asyncio passes."""
    options = _parse(arguments)
    environment = Environment(CACHE.resolve() / interpreter())
    environment.prepare()
    suites = [
        dataclasses.replace(suite, tests=suite.quick)
        if options.quick and suite.quick is not None
        else suite
        for suite in SUITES
        if not options.suites or suite.name in options.suites
    ]
    suites = [suite for suite in suites if suite.tests]
    for suite in suites:
        environment.source(suite)

    runner = Runner(environment, options.timeout)

    def examine(suite: Suite) -> Verdict | SeedsVerdict:
        verdict = (
            seeds.examine(runner, suite, options.seeds)
            if options.seeds
            else _examine(runner, suite)
        )
        print(verdict.line(), flush=True)
        return verdict

    with ThreadPoolExecutor(options.jobs) as pool:
        return _report(list(pool.map(examine, suites)))


def _report(verdicts: list[Verdict | SeedsVerdict]) -> int:
    """Prints all results; returns the exit status."""
    failures = CACHE / f"failures-{interpreter()}.txt"
    with failures.open("w", encoding="utf-8") as file:
        for verdict in verdicts:
            if verdict.ours or verdict.flaky or verdict.broken:
                file.writelines(verdict.output())
    print(f"\necosystem on {interpreter()}:")
    for verdict in verdicts:
        print(f"  {verdict.line()}")
        for line in verdict.details():
            print(f"    {line}")
    wrong = any(verdict.ours or verdict.broken for verdict in verdicts)
    if wrong:
        print(f"  details: {failures}")
    return int(wrong)


def _examine(runner: Runner, suite: Suite) -> Verdict:
    """Runs a suite on both loops, and retries what failed only on ours."""
    verdict = Verdict(suite)
    for loop in LOOPS:
        verdict.runs[loop] = runner.run(suite, loop)
    suspects = verdict.passed("asyncio") - verdict.passed("yamanote")
    for _ in range(TRIES):
        if not suspects:
            break
        again = {loop: runner.run(suite, loop, suspects) for loop in reversed(LOOPS)}
        verdict.tries.append(again["yamanote"].output)
        verdict.flaky |= suspects & again["yamanote"].passed()
        verdict.flaky |= suspects - again["asyncio"].passed()
        suspects -= verdict.flaky
    verdict.ours = suspects
    return verdict


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.ecosystem", description=__doc__)
    parser.add_argument("suites", nargs="*", help="names (default: all of them)")
    parser.add_argument("--quick", action="store_true", help="only the fast tests")
    parser.add_argument("--jobs", type=int, default=2, help="suites at once (default: 2)")
    parser.add_argument(
        "--seeds",
        type=int,
        default=0,
        help="instead run what passes on yamanote in so many other orders of tasks",
    )
    parser.add_argument(
        "--timeout", type=float, default=900.0, help="seconds for a suite on a loop (default: 900)"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
