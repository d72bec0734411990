"""Instructions per operation, counted by callgrind: `python benches/instructions.py`.

The same on a busy machine as on an idle one, so they can hold a bound of 2 % that no time can. The
kernel's are not among them.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import counting
import counts
import loops
from rows import BY_NAME, ROWS


class Arguments(argparse.Namespace):
    """The command line."""

    rows: str | None
    loops: str | None
    jobs: int
    json: Path | None
    update: bool
    guard: bool
    judge: Path | None
    profile: str | None


def arguments() -> Arguments:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", metavar="A,B", help=f"of {', '.join(BY_NAME)}")
    parser.add_argument("--loops", metavar="A,B", help=f"of {', '.join(loops.NAMES)}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at a time (cores)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was counted")
    parser.add_argument("--update", action="store_true", help=f"write it into {counts.PATH.name}")
    parser.add_argument(
        "--guard",
        action="store_true",
        help="count our guarded rows; exit status 1 if one is worse than in instructions.json",
    )
    parser.add_argument(
        "--judge", type=Path, metavar="FILE", help="as --guard, with what --json wrote"
    )
    parser.add_argument("--profile", metavar="ROW", help="print a row's functions by their cost")
    return parser.parse_args(namespace=Arguments())


def main() -> None:
    """Count, compare or profile."""
    options = arguments()
    if options.profile:
        (row,) = choose(options.profile)
        print(counting.profile(options.loops or loops.OURS, row))
    elif options.judge:
        guard(counts.Figures.read(options.judge))
    elif options.guard and not options.update:
        here = counts.Figures(counts.counted_with())
        if not skipped(here):  # As `guard` would find, but only after a minute.
            guard(count_until_passed(options))
    elif options.guard:
        count([loops.OURS], guarded(), options)
    else:
        figures = count(loops.choose(options.loops), choose(options.rows), options)
        print_table(figures)


def choose(names: str | None) -> list[str]:
    """Check a comma-separated list of rows; `None` means all.

    Raises:
        SystemExit: there is no such row.
    """
    chosen = names.split(",") if names else list(BY_NAME)
    for name in chosen:
        if name not in BY_NAME:
            raise SystemExit(f"{name!r} is not a row ({', '.join(BY_NAME)})")
    return chosen


def guarded() -> list[str]:
    """Return the rows that the guard counts."""
    return [row.name for row in ROWS if row.guarded]


def count(loop_names: list[str], rows: list[str], options: Arguments) -> counts.Figures:
    """Count, and write what was counted where the command line says."""
    figures = counts.Figures(counts.counted_with())
    for loop, counted in counting.count(loop_names, rows, options.jobs).items():
        figures.add(loop, counted.instructions)
        for row, reason in counted.failures.items():
            print(f"{loop} {row}: {reason}", file=sys.stderr, flush=True)
    if options.json:
        figures.write(options.json)
    if options.update:
        old = counts.Figures.read(counts.PATH) if counts.PATH.exists() else figures
        old.update(figures)
        old.write(counts.PATH)
    return figures


def count_until_passed(options: Arguments) -> counts.Figures:
    """Count our guarded rows; those that are worse again, up to twice.

    A turn that finds fewer messages than usual makes a row dearer, and nothing makes one cheaper:
    on a busy machine, one row of thirty was 2.1 % above another run of the same build.
    """
    committed = counts.Figures.read(counts.PATH)
    figures = count([loops.OURS], guarded(), options)
    for _ in range(2):
        worse = [verdict.row for verdict in counts.judge(committed, figures) if not verdict.passes]
        worse = [row for row in worse if row in figures.rows]
        if not worse:
            break
        print(f"counted again: {', '.join(worse)}", flush=True)
        figures.lower(count([loops.OURS], worse, options))
    return figures


def skipped(figures: counts.Figures) -> bool:
    """Say why figures cannot be compared with the committed ones, if they cannot."""
    different = counts.difference(counts.Figures.read(counts.PATH), figures)
    if different:
        print(f"skipped: {different}")
    return bool(different)


def guard(figures: counts.Figures) -> None:
    """Compare with the committed figures.

    Raises:
        SystemExit: a row is worse.
    """
    if skipped(figures):
        return
    verdicts = list(counts.judge(counts.Figures.read(counts.PATH), figures))
    for verdict in verdicts:
        print(verdict)
    worse = [verdict.row for verdict in verdicts if not verdict.passes]
    if worse:
        raise SystemExit(
            f"worse: {', '.join(worse)}. If that is meant, a commit says why and has the new"
            " figures: make guard UPDATE=1"
        )


def print_table(figures: counts.Figures) -> None:
    """Print a line per row and a column per loop."""
    names = list(figures.loops)
    print(f"{'instructions':20}" + "".join(f"{name:>18}" for name in names))
    for row, by_loop in figures.rows.items():
        cells = [f"{by_loop[name]:>18,}" if name in by_loop else f"{'-':>18}" for name in names]
        print(f"{row:20}" + "".join(cells))


if __name__ == "__main__":
    main()
