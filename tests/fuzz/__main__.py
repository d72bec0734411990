"""The command line: `python -m tests.fuzz --help`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz import report
from tests.fuzz.calls import SURFACES
from tests.fuzz.campaign import Campaign, Finding, Limits
from tests.fuzz.child import Child, Job
from tests.fuzz.generator import Choice, generate
from tests.fuzz.program import parse
from tests.tls.certificates import write_files


def arguments() -> argparse.ArgumentParser:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description="Runs random programs on a loop and compares their results with asyncio's.",
    )
    parser.add_argument("--seed", type=int, help="the first seed (default: the time)")
    parser.add_argument("--runs", type=int, help="stop after this many programs")
    parser.add_argument("--calls", type=int, help="stop after this many calls")
    parser.add_argument("--seconds", type=float, help="stop after this many seconds")
    parser.add_argument(
        "--findings", type=int, default=40, help="stop after this many distinct failures"
    )
    parser.add_argument("--jobs", type=int, default=1, help="number of concurrent processes")
    parser.add_argument("--loop", default="yamanote", help="MODULE or MODULE:FUNCTION")
    parser.add_argument(
        "--only", action="append", default=[], choices=sorted(SURFACES), help="a surface"
    )
    parser.add_argument(
        "--without", action="append", default=[], help="a surface, or a part of a call's pattern"
    )
    parser.add_argument("--patience", type=float, default=20.0, help="seconds for one program")
    parser.add_argument("--shrink-seconds", type=float, default=30.0, help="for each failure")
    parser.add_argument("--program", type=Path, help="run the program in this file, once")
    parser.add_argument("--show", action="store_true", help="print the program of --seed")
    return parser


def run_file(job: Job, path: Path) -> int:
    """Runs a program in the format of the reports."""
    with Child(job) as child:
        outcome = child.run_program(parse(path.read_text()))
    for failure in outcome.failures:
        print(f"{failure.kind}: {failure.signature}\n{failure.detail}")
    return bool(outcome.failures)


def run_seeds(job: Job, limits: Limits, seed: int, jobs: int) -> int:
    """Runs the programs of the given seeds."""
    started = time.monotonic()

    def say(finding: Finding) -> None:
        print(*report.lines(job, finding), sep="\n", end="\n\n", flush=True)

    totals = Campaign(job, limits, say).run(seed, jobs)
    print(*report.summary(totals), sep="\n", end="")
    print(f", {time.monotonic() - started:.0f} s, from seed {seed} on")
    return bool(totals.failed())


def main() -> int:
    """Runs the command; the exit code tells whether anything failed."""
    options = arguments().parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    if options.show:
        print(generate(seed, Choice.of(options.only, options.without)))
        return 0
    if options.runs is options.calls is options.seconds is None:
        options.runs = 100
    limits = Limits(
        options.runs,
        options.calls,
        options.seconds,
        options.findings,
        options.shrink_seconds,
    )
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        write_files(Path(folder))
        job = Job(
            options.loop,
            folder,
            options.patience,
            tuple(options.only),
            tuple(options.without),
        )
        if options.program is not None:
            return run_file(job, options.program)
        return run_seeds(job, limits, seed, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
