"""The command line: `python -m tests.faults --help`."""

from __future__ import annotations

import argparse
import importlib
import math
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.faults import figures, shim
from tests.faults.campaign import Campaign, Child, Finding, Job, scenarios_of
from tests.faults.injections import Reservations
from tests.faults.points import Point
from tests.faults.scenes import NAMES
from tests.tls.certificates import write_files

#: Of the last words of a child.
MOST_WORDS = 1500


def arguments() -> argparse.ArgumentParser:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description="Makes all that a short program needs fail, one thing at a time.",
    )
    parser.add_argument("--loop", default="yamanote", help="a module with new_event_loop()")
    parser.add_argument("--only", action="append", default=[], choices=NAMES, help="a scenario")
    parser.add_argument("--kind", action="append", default=[], choices=Point.KINDS)
    parser.add_argument("--every", type=int, default=1, help="try every so-manieth point only")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no more tries then")
    # Most of a try is waiting: trouble that lasts does so for 0.3 seconds.
    parser.add_argument("--jobs", type=int, default=4 * (os.cpu_count() or 1))
    parser.add_argument("--point", help="repeat the try that was reported with this text")
    parser.add_argument("--figures", type=Path, help="a JSON file for the figures; kept are others")
    parser.add_argument("--page", type=Path, help="a page whose table shows that file")
    return parser


def say(point: str, finding: Finding) -> None:
    """Prints a try that was not clean."""
    print(f"UNCLEAN {point}")
    for what in finding.unclean:
        print(f"    {what}")
    print(f"    repeat: python -m tests.faults --point '{point}'", flush=True)


def repeat(job: Job, point: Point) -> int:
    """Runs one try again, and prints all about it, with the errors that were expected."""
    os.environ["FAULTS_TRACE"] = "1"
    with Child(job, cold=point.what == "cold") as child:
        verdict = child.run(point)
    words = verdict.pop("words", "")
    print(verdict)
    print(words)
    return bool(verdict["unclean"])


def run(job: Job, options: argparse.Namespace) -> int:
    """Runs a campaign."""
    started = time.monotonic()
    campaign = Campaign(job, say)
    scenarios = options.only or scenarios_of(job.loop)
    kinds: list[str] = options.kind or list(Point.KINDS)
    importlib.import_module(job.loop)
    campaign.run(scenarios, kinds, options.jobs)
    seconds = time.monotonic() - started
    print("\n".join(figures.lines(campaign.figures)))
    print(f"{figures.total(campaign.figures)} on {figures.python()} in {seconds:.0f} s")
    if campaign.left_out:
        print(f"left out, as they fail without a fault, too: {', '.join(campaign.left_out)}")
    if campaign.is_over():
        print("that was not all: there was no time")
    are_lost = not options.only and options.every == 1 and _lost_reservations(kinds, campaign)
    if options.figures is not None:
        figures.write(options.figures, job, campaign, seconds)
        if options.page is not None:
            figures.show(options.figures, options.page)
    return bool(campaign.findings) or are_lost


def _lost_reservations(kinds: list[str], campaign: Campaign) -> bool:
    """Says why reservations were not tried; returns whether they should have been."""
    is_tried = any("reserve" in tried for tried in campaign.figures.values())
    if is_tried or "reserve" not in kinds or campaign.is_over():
        return False
    if Reservations.are_possible():
        print("no reservation was found: are there names of functions in this build?")
        return True
    print("reservations are refused only in a build with the feature `faults` (make faults)")
    return False


def main() -> int:
    """Runs the command; the exit code tells whether anything was not clean."""
    options = arguments().parse_args()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        write_files(Path(folder))
        library = shim.compiled(Path(folder))
        if isinstance(library, str):
            print(f"skipped: {library}")
            return 0
        job = Job(options.loop, folder, library, options.every, options.seconds)
        if options.point is not None:
            return repeat(job, Point.parse(options.point))
        return run(job, options)


if __name__ == "__main__":
    sys.exit(main())
