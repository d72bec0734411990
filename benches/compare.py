"""All loops side by side: `python benches/compare.py --quick`.

Each round measures all loops, in a different order each time, so that other load on the machine
affects all of them alike. Prints the median, the quartiles and the CPU time of each workload and
the ratio to uvloop; writes every sample to a JSON file.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import bounds
import children
import clients
import loops
import machine
import micro
import pairs
import readme
import streams
from figures import Row, heading, number
from process import ProcessError
from streams import LIMIT
from tools import Tools, tools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HERE = Path(__file__).resolve().parent
CHART = HERE.parent / "bench.svg"

#: A few representative rows, for a run of a few minutes.
QUICK = re.compile(
    r"micro/|echo/(protocol|streams|unix)/1KiB/(10|100)$|echo/(sock|udp)/1KiB/10$|echo/\w+/64KiB/10$"
    r"|echo/(protocol|streams)/1MiB/10$|http/minimal/10$|pairs/|clients/"
    r"|children/spawn|sendfile/1MiB/10$|connect/protocol"
)

#: Seconds; more than any loop needs for all workloads of a script.
SCRIPT_PATIENCE_S = 300.0


@dataclass(frozen=True)
class Plan:
    """What to run, and how often."""

    loops: list[str]
    only: re.Pattern[str]
    quick: bool
    rounds: int
    seconds: float

    def wants(self, name: str) -> bool:
        """Return whether a workload is part of the run."""
        return bool(self.only.search(name)) and (not self.quick or bool(QUICK.search(name)))

    def order(self, round_number: int, extra: Iterable[str] = ()) -> list[str]:
        """Return the loops in the order of a round: rotated, and reversed in every other round."""
        names = [*self.loops, *extra]
        start = round_number // 2 % len(names)
        names = names[start:] + names[:start]
        return names[::-1] if round_number % 2 else names


def main() -> None:
    """Run the benchmarks that the command line selects."""
    options = arguments()
    plan = Plan(
        loops.choose(options.loops),
        re.compile(options.only),
        options.quick,
        options.rounds or (3 if options.quick else 5),
        options.seconds,
    )
    chosen = [workload for workload in streams.workloads() if plan.wants(workload.name)]
    native = tools() if chosen else None  # Before the long run, in case the build fails.
    interference = machine.Interference()
    started = time.monotonic()
    rows: dict[str, Row] = {}
    for script in (micro, pairs, clients, children):
        rows.update((row.name, row) for row in run_script(plan, script.__name__, script.WORKLOADS))
    if native:
        rows.update((row.name, row) for row in run_streams(plan, native, chosen))
    if not rows:
        raise SystemExit("no workload has such a name")
    stolen = interference.stolen()
    for row in rows.values():
        print_row(row)
    print_ratios(rows.values(), plan.loops)
    print(f"\n{plan.rounds} rounds in {time.monotonic() - started:.0f} s.", end=" ")
    if stolen is not None:
        print(f"The hypervisor took {stolen:.1%} of the machine's CPU time.", end="")
    print()
    facts = write_json(options.json or default_path(), plan, rows.values(), stolen)
    if drawn := readme.drawing(rows, facts):
        CHART.write_text(drawn)
        print(f"A chart: {CHART}")
    print("Next: benches/README.md says how to read this, and how to run one row again.")
    print("Your own program: python -m yamanote --metrics app.py (docs/fast.md has more).")
    promised = bounds.read(options.check) if options.check else []
    verdicts = [bound.check(rows) for bound in promised if plan.wants(bound.workload)]
    for verdict in verdicts:
        print(verdict)
    failed = any(loops.OURS in row.failures for row in rows.values())
    if failed or not all(verdict.met for verdict in verdicts):
        raise SystemExit(1)


class Arguments(argparse.Namespace):
    """The command line."""

    quick: bool
    only: str
    rounds: int | None
    seconds: float
    loops: str | None
    json: Path | None
    check: Path | None


def arguments() -> Arguments:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer workloads, 3 rounds")
    parser.add_argument("--only", default="", metavar="REGEX", help="workloads to run")
    parser.add_argument("--rounds", type=int, help="of each workload and loop (5)")
    parser.add_argument("--seconds", type=float, default=0.5, help="of load per sample (0.5)")
    parser.add_argument("--loops", metavar="A,B", help=f"of {', '.join(loops.NAMES)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="instead of benches/results/")
    parser.add_argument(
        "--check", type=Path, metavar="FILE", help="bounds; exit status 1 if one is not met"
    )
    return parser.parse_args(namespace=Arguments())


def run_script(plan: Plan, script: str, workloads: Iterable[str]) -> list[Row]:
    """Run the workloads of a script, in a new process for each loop and round."""
    rows = {name: Row(f"{script}/{name}") for name in workloads if plan.wants(f"{script}/{name}")}
    if not rows:
        return []
    for number_of_round in range(plan.rounds):
        for loop in plan.order(number_of_round):
            progress(number_of_round, plan, f"{len(rows)} {script} workloads", loop)
            try:
                said = samples_of(script, loop, rows)
            except ProcessError as error:
                for row in rows.values():
                    row.fail(loop, str(error))
                continue
            for name, samples in said.items():
                # The median: samples vary between processes, not between repetitions in one.
                if isinstance(samples, str):
                    rows[name].fail(loop, samples)
                else:
                    rows[name].add(loop, sorted(samples, key=lambda it: it["cpu_ns"])[1])
    return list(rows.values())


def samples_of(script: str, loop: str, names: Iterable[str]) -> dict[str, micro.Outcome]:
    """Measure one loop in a new process."""
    only = f"^({'|'.join(names)})$"
    command = [sys.executable, str(HERE / f"{script}.py"), "--loop", loop, "--only", only]
    try:
        answer = subprocess.run(
            [*command, "--repeats", "3"],
            capture_output=True,
            text=True,
            check=True,
            timeout=SCRIPT_PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        raise ProcessError("hangs") from None
    except subprocess.CalledProcessError as error:
        complaint = cast("str", error.stderr).strip() or f"status {error.returncode}"
        raise ProcessError(complaint.splitlines()[-1]) from None
    return cast("dict[str, micro.Outcome]", json.loads(answer.stdout))


def run_streams(plan: Plan, native: Tools, chosen: Iterable[streams.Workload]) -> list[Row]:
    """Run workloads of `streams.py`; all loops in turn, round after round."""
    rows: list[Row] = []
    for workload in chosen:
        row = Row(workload.name)
        rows.append(row)
        # The pure-Rust server has only one mode, which is compared with the loops' fastest.
        extra = [LIMIT] if workload.mode == "protocol" else []
        for number_of_round in range(plan.rounds):
            for loop in plan.order(number_of_round, extra):
                if loop in row.failures:
                    continue  # It would fail again, after a long timeout.
                progress(number_of_round, plan, workload.name, loop)
                sample_streams(row, workload.measure, native, loop, plan.seconds)
    return rows


def sample_streams(
    row: Row,
    measure: Callable[[Tools, str, float], dict[str, float]],
    native: Tools,
    loop: str,
    seconds: float,
) -> None:
    """Take one sample, or store the reason why there is none."""
    try:
        row.add(loop, measure(native, loop, seconds))
    except ProcessError as error:
        row.fail(loop, str(error))


def progress(number_of_round: int, plan: Plan, what: str, loop: str) -> None:
    """Report what is being measured."""
    line = f"[round {number_of_round + 1}/{plan.rounds}] {what}: {loop}"
    print(line, file=sys.stderr, flush=True)


def print_row(row: Row) -> None:
    """Print a workload's table: the median, (quartiles) and ratio of each measure."""
    print(f"\n{row.name}")
    measures = row.measures()
    print("  " + " " * 10 + "".join(f"{heading(measure):>8}{'':24}" for measure in measures))
    for loop in row.samples:
        cells = [cell(row, loop, measure) for measure in measures]
        print(f"  {loop:10}" + "".join(cells))
    for loop, reasons in row.failures.items():
        print(f"  {loop:10} failed: {reasons[0]}")


def cell(row: Row, loop: str, measure: str) -> str:
    """Format one loop's figures of one measure."""
    summary = row.summary(loop, measure)
    if summary is None:
        return " " * 32
    spread = f"({number(summary.low)}..{number(summary.high)})"
    ratio = row.ratio(loop, loops.BASELINE, measure)
    return f"{number(summary.median):>8} {spread:17}" + (
        f"{ratio:5.2f}x" if ratio is not None else " " * 6
    )


def print_ratios(rows: Iterable[Row], names: list[str]) -> None:
    """Print one line per workload: the ratio of each loop's main measure to uvloop's."""
    columns = [*(name for name in names if name != loops.BASELINE), LIMIT]
    print(f"\n{f'ratio to {loops.BASELINE}':32}" + "".join(f"{name:>10}" for name in columns))
    for row in rows:
        line = f"{row.name:32}"
        for name in columns:
            measure = row.measures()[0] if row.samples else ""
            ratio = row.ratio(name, loops.BASELINE, measure)
            failed = "failed" if name in row.failures else "-"
            line += f"{ratio:10.2f}" if ratio is not None else f"{failed:>10}"
        print(line)


def default_path() -> Path:
    """Return a path that is named after the time and the commit."""
    name = f"{time.strftime('%Y-%m-%d-%H%M%S')}-{machine.commit() or 'no-commit'}.json"
    return HERE / "results" / name


def write_json(
    path: Path, plan: Plan, rows: Iterable[Row], stolen: float | None
) -> dict[str, object]:
    """Write everything that was measured, and return it."""
    document = {
        **machine.facts(plan.loops),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "stolen": stolen,
        "rows": [
            {"workload": row.name, "samples": row.samples, "failures": row.failures} for row in rows
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"All samples: {path}")
    return document


if __name__ == "__main__":
    main()
