"""The command: selects tests and a loop, runs them, and reports the results."""

from __future__ import annotations

import argparse
import collections
import fnmatch
import platform
import sys
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conformance import skips
from tests.conformance.binding import ASYNCIO_LOOP, CORE, cases, load_factory
from tests.conformance.isolation import Job, Outcome, run_all

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = "yamanote:new_event_loop"


def main(arguments: list[str]) -> int:
    """Runs the tests; returns 0 if there was no unexpected result."""
    options = _parse(arguments)
    started = time.monotonic()
    report = Report(options.loop, listed=options.loop == OURS)
    jobs = _select(options.loop, options.patterns)
    for outcome in run_all(jobs, at_once=options.jobs, timeout_s=options.timeout):
        report.add(outcome)
    report.check_against_asyncio(at_once=options.jobs, timeout_s=options.timeout)
    path = options.failures or default_path(options.loop)
    closing_lines = report.closing_lines(time.monotonic() - started)
    report.write(path, closing_lines)
    report.print(path, closing_lines)
    return 1 if report.failed else 0


class Report:
    """Sorts outcomes into passed, failed and skipped.

    Args:
        loop: the factory's name, for the heading.
        listed: whether the lists in `skips` apply to it.
    """

    def __init__(self, loop: str, *, listed: bool) -> None:
        """Start without outcomes."""
        self.loop = loop
        self.listed = listed
        self.passed: list[str] = []
        self.failed: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self.unbound: list[str] = []
        self._suspects: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        """Counts a test."""
        name = outcome.job.name
        excuse = skips.white_box(name) if self.listed else None
        if outcome.status == "failed":
            if excuse is not None:
                self.skipped[name] = excuse
            else:
                self._suspects.append(outcome)
        elif outcome.status == "passed":
            if excuse is not None:
                self.failed[name] = f"listed as impossible ({excuse}), and it passed"
            else:
                self.passed.append(name)
        elif outcome.status == "skipped":
            self.skipped[name] = outcome.detail
        else:
            self.unbound.append(name)

    def check_against_asyncio(self, *, at_once: int, timeout_s: float) -> None:
        """Drops failures that asyncio's own loop has here, too."""
        details = {outcome.job.name: outcome.detail for outcome in self._suspects}
        if self.loop.startswith("asyncio:"):
            self.failed.update(details)
            return
        again = [Job(item.job.name, item.job.case, ASYNCIO_LOOP) for item in self._suspects]
        for outcome in run_all(again, at_once=at_once, timeout_s=timeout_s):
            name = outcome.job.name
            if outcome.status == "failed":
                self.skipped[name] = "fails on asyncio's own loop here as well"
            else:
                self.failed[name] = details[name]

    def closing_lines(self, seconds: float) -> str:
        """Returns a summary, and the share of the tests for all loops that were run."""
        lines = (
            f"conformance of {self.loop} on {_interpreter()}: {len(self.passed)} passed, "
            f"{len(self.failed)} failed, {len(self.skipped)} skipped in {seconds:.1f} s "
            f"({len(self.unbound)} others make no loop)"
        )
        core = {
            name: name in self.passed
            for name in (*self.passed, *self.failed, *self.skipped, *self.unbound)
            if any(fnmatch.fnmatch(name, pattern) for pattern in CORE)
        }
        if core:
            lines += f"\n  of the {len(core)} tests that asyncio runs on each of its own loops, "
            lines += f"{sum(core.values())} passed"
        return lines

    def write(self, path: Path, closing_lines: str) -> None:
        """Writes the closing lines, and every failure with its output."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            file.write(f"{closing_lines}\n")
            for name, detail in sorted(self.failed.items()):
                file.write(f"{'=' * 100}\n{name}\n{'-' * 100}\n{detail}\n")

    def print(self, path: Path, closing_lines: str) -> None:
        """Prints the reasons of skips, the failures, and the closing lines."""
        for reason, count in collections.Counter(self.skipped.values()).most_common():
            print(f"  skipped {count:4}  {reason}")
        for name in sorted(self.failed):
            print(f"  FAILED {name}")
        if self.failed:
            print(f"  details: {path}")
        print(closing_lines)


def _select(loop: str, patterns: list[str]) -> Iterator[Job]:
    factory = load_factory(loop)
    for name, case in cases():
        if not patterns or any(fnmatch.fnmatch(name, f"*{pattern}*") for pattern in patterns):
            yield Job(name, case, factory)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("patterns", nargs="*", help="run only tests whose name matches one")
    parser.add_argument("--loop", default=OURS, help="module:factory (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=4, help="processes (default: %(default)s)")
    parser.add_argument(
        "--timeout", type=float, default=30.0, help="seconds for one test (default: %(default)s)"
    )
    parser.add_argument("--failures", type=Path, help="file for the output of failures")
    return parser.parse_args(arguments)


def default_path(loop: str) -> Path:
    """Returns the path of the report, one file for each loop and interpreter."""
    return Path(".cache", "conformance", f"{loop.partition(':')[0]}-{_interpreter()}.txt")


def _interpreter() -> str:
    threads = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    return f"{platform.python_version()}{threads}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
