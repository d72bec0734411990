"""Reports: each finding with its seed, the command that repeats it, and the program."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuzz.campaign import Finding, Totals
    from tests.fuzz.child import Job


def command(job: Job, finding: Finding) -> str:
    """Returns the command that repeats a finding."""
    words = ["python -m tests.fuzz"]
    if finding.program is None:
        words.append(f"--seed {finding.first} --runs {finding.seed - finding.first + 1}")
    else:
        words.append(f"--seed {finding.seed} --runs 1")
    if job.loop != "yamanote":
        words.append(f"--loop {job.loop}")
    words += [f"--only {name}" for name in job.only]
    words += [f"--without {name!r}" for name in job.without]
    return " ".join(words)


def lines(job: Job, finding: Finding) -> Iterator[str]:
    """Returns the lines of a finding."""
    failure = finding.failure
    yield f"==> {failure.kind}: {failure.signature} (seed {finding.seed})"
    yield f"    to repeat it: {command(job, finding)}"
    if not finding.repeats:
        yield "    it was seen once, and not when the same seeds ran again"
    elif finding.program is None:
        yield "    it takes the programs of all these seeds in one process"
    else:
        count = len(finding.program.steps)
        yield f"    the smallest program found ({count} steps; --program FILE):"
        yield textwrap.indent(str(finding.program), "        ")
    yield textwrap.indent(failure.detail.rstrip(), "    | ")


def summary(totals: Totals) -> Iterator[str]:
    """Returns a summary of the campaign."""
    failed = totals.failed()
    for finding in totals.findings.values():
        times = "once" if finding.count == 1 else f"{finding.count} times"
        note = "" if finding in failed else ", did not repeat: not counted"
        yield f"{finding.failure.kind}: {finding.failure.signature} ({times}{note})"
    if totals.excused:
        seeds = ", ".join(map(str, totals.excused))
        yield f"asyncio itself did not survive the seeds {seeds}"
    yield f"{totals.runs} runs, {totals.calls} calls, {len(failed)} failures"
