"""The command: runs each suite on both loops and reports differences."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.ecosystem.environment import Environment, interpreter
from tests.ecosystem.suites import SUITES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.ecosystem.suites import Suite

LOOPS = {"asyncio": "asyncio:new_event_loop", "yamanote": "yamanote:new_event_loop"}
CACHE = Path(".cache", "ecosystem")

#: How often tests that failed only on yamanote are retried, without the others, on both loops.
TRIES = 3


@dataclass(frozen=True)
class Run:
    """The results of one run of pytest.

    Attributes:
        outcomes: `passed`, `failed` or `skipped` by test.
        end: why the process ended early, or empty.
        output: its complete output.
        seconds: its duration.
    """

    outcomes: Mapping[str, str]
    end: str
    output: str
    seconds: float

    def passed(self) -> set[str]:
        """The tests that passed."""
        return {name for name, outcome in self.outcomes.items() if outcome == "passed"}


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

    def examine(suite: Suite) -> Verdict:
        verdict = _examine(environment, suite, options.timeout)
        print(verdict.line(), flush=True)
        return verdict

    with ThreadPoolExecutor(options.jobs) as pool:
        verdicts = list(pool.map(examine, suites))

    failures = CACHE / f"failures-{interpreter()}.txt"
    with failures.open("w", encoding="utf-8") as file:
        for verdict in verdicts:
            if verdict.ours or verdict.flaky or verdict.broken:
                file.writelines(run.output for run in verdict.runs.values())
                file.writelines(verdict.tries)
    print(f"\necosystem on {interpreter()}:")
    for verdict in verdicts:
        print(f"  {verdict.line()}")
        for name in sorted(verdict.ours):
            print(f"    ONLY ON ASYNCIO {name}")
        for name in sorted(verdict.flaky):
            print(f"    flaky {name}")
    wrong = any(verdict.ours or verdict.broken for verdict in verdicts)
    if wrong:
        print(f"  details: {failures}")
    return int(wrong)


def _examine(environment: Environment, suite: Suite, timeout_s: float) -> Verdict:
    """Runs a suite on both loops, and retries what failed only on ours."""
    verdict = Verdict(suite)
    for loop in LOOPS:
        verdict.runs[loop] = _run(environment, suite, loop, suite.tests, timeout_s)
    suspects = verdict.passed("asyncio") - verdict.passed("yamanote")
    options = tuple(option for option in suite.tests if option == "--pyargs")
    for _ in range(TRIES):
        if not suspects:
            break
        again = {
            loop: _run(environment, suite, loop, (*options, *sorted(suspects)), timeout_s)
            for loop in reversed(LOOPS)
        }
        verdict.tries.append(again["yamanote"].output)
        verdict.flaky |= suspects & again["yamanote"].passed()
        verdict.flaky |= suspects - again["asyncio"].passed()
        suspects -= verdict.flaky
    verdict.ours = suspects
    return verdict


def _run(
    environment: Environment, suite: Suite, loop: str, tests: Iterable[str], timeout_s: float
) -> Run:
    command: list[str | Path] = [environment.python]
    command += ["-X", "faulthandler", "-m", "pytest", "-q", "-ra", "--tb=short"]
    # Overrides the project's own settings: many processes, coverage, reports.
    command += ["-o", "addopts=", "-p", "no:cacheprovider", "-p", "pytest_timeout"]
    command += ["--rootdir", environment.source(suite)]
    command += ["--config-file", environment.configuration(suite)]
    command += ["--timeout", "60", "-o", "faulthandler_timeout=90"]
    for plugin in ("loop_of_choice", *suite.plugins):
        command += ["-p", plugin]
    with tempfile.TemporaryDirectory(prefix="ecosystem-") as room:
        outcomes = Path(room, "outcomes")
        outcomes.touch()
        log = Path(room, "log")
        # A loop with another name would be treated as the default loop of users.
        variables = {
            **{name: value for name, value in os.environ.items() if name != "CI"},
            "LOOP": LOOPS[loop],
            "OUTCOMES": str(outcomes),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": str(environment.path),
            "TMPDIR": room,
        }
        started = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, *suite.options, *tests],
                cwd=environment.source(suite),
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                code = process.wait(timeout_s)
                end = "" if code >= 0 else f"ended by signal {-code}"
            except subprocess.TimeoutExpired:
                end = f"not finished after {timeout_s:.0f} s"
            finally:
                # Processes that the tests left running are killed, too.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        results: dict[str, str] = {}
        finished = False
        for line in outcomes.read_text(encoding="utf-8").splitlines():
            name, outcome = json.loads(line)
            if name is None:
                finished = True
            elif results.get(name) != "failed":
                results[name] = outcome
        if not finished and not end:
            end = "ended early"
        text = log.read_text(encoding="utf-8", errors="replace")
    return Run(results, end, f"{suite.name} on {loop}\n{text}", time.monotonic() - started)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.ecosystem", description=__doc__)
    parser.add_argument("suites", nargs="*", help="names (default: all of them)")
    parser.add_argument("--quick", action="store_true", help="only the fast tests")
    parser.add_argument("--jobs", type=int, default=2, help="suites at once (default: 2)")
    parser.add_argument(
        "--timeout", type=float, default=900.0, help="seconds for a suite on a loop (default: 900)"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
