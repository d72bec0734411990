"""Real applications on each loop: `make demo`.

Serves a Starlette application with uvicorn, an aiohttp application and a plain echo protocol, each
in a process of its own, on one loop after the other, round after round; drives them with the native
load client; prints one table and draws the same as `demo.svg`. An answer that is wrong in status
or size ends the demo.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import chart
import loops
import machine
from figures import Row, number
from payload import OBJECT, TEXT, dumps
from process import ProcessError
from streams import drive, server
from tools import Tools, tools

ROOT = Path(__file__).resolve().parent.parent

#: The loops that users choose from; `--loops` selects others.
LOOPS = ("asyncio", "uvloop", "yamanote")

#: Connections: as many as a busy service behind a proxy has at once.
CONNECTIONS = 32

POST_BYTES = 4096
ECHO_BYTES = 1024

#: Uncounted load before each sample: imports on first use, specialised bytecode, full buffers.
WARMUP_S = 0.3


@dataclass(frozen=True)
class Measure:
    """A column of the table."""

    key: str
    title: str
    more_is_better: bool


MEASURES = (
    Measure("rps", "requests/s", more_is_better=True),
    Measure("cpu_us", "CPU µs/request", more_is_better=False),
    Measure("p50_us", "p50 µs", more_is_better=False),
    Measure("p99_us", "p99 µs", more_is_better=False),
    Measure("peak_mib", "peak MiB", more_is_better=False),
)


@dataclass(frozen=True)
class Case:
    """A row of the table: the request that the client sends to a server."""

    name: str
    mode: str
    arguments: tuple[str, ...]


def http(path: str, expected: int, *more: str) -> tuple[str, ...]:
    """Return the client's options to request a path and to expect a body of that many bytes."""
    return (f"--path={path}", f"--expect-body={expected}", *more)


#: By the server's mode; the cases of one server follow each other in one process.
SERVERS = {
    "asgi": (
        Case("uvicorn + Starlette, JSON", "http", http("/json", len(dumps(OBJECT).encode()))),
        Case("uvicorn + Starlette, plain text", "http", http("/text", len(TEXT.encode()))),
        Case(
            f"uvicorn + Starlette, POST {POST_BYTES // 1024} KiB",
            "http",
            http("/echo", POST_BYTES, f"--body={POST_BYTES}"),
        ),
    ),
    "aiohttp": (Case("aiohttp, JSON", "http", http("/json", len(dumps(OBJECT).encode()))),),
    "protocol": (Case("echo 1 KiB, Protocol", "echo", (f"--size={ECHO_BYTES}",)),),
}


class Arguments(argparse.Namespace):
    """The command line."""

    rounds: int
    seconds: float
    loops: str | None
    tls: bool


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of everything (3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of load per sample (1)")
    parser.add_argument("--loops", metavar="A,B", help=f"instead of {','.join(LOOPS)}")
    parser.add_argument("--tls", action="store_true", help="everything over TLS")
    options = parser.parse_args(namespace=Arguments())
    here = loops.available()
    names = loops.choose(options.loops or ",".join(name for name in LOOPS if name in here))
    native = tools()
    interference = machine.Interference()
    started = time.monotonic()
    rows = {case.name: Row(case.name) for cases in SERVERS.values() for case in cases}
    try:
        for number_of_round in range(options.rounds):
            shift = number_of_round % len(names)
            for loop in names[shift:] + names[:shift]:
                step = f"round {number_of_round + 1}/{options.rounds}, {loop}"
                print(step, file=sys.stderr, flush=True)
                sample(native, loop, rows, options)
    except ProcessError as error:
        raise SystemExit(f"the demo failed: {error}") from None
    connections = f"{CONNECTIONS} connections{' over TLS' if options.tls else ''}"
    took = f"{options.rounds} rounds of {options.seconds:g} s, {connections}"
    print_table(rows, names)
    stolen = interference.stolen()
    print(f"\nMedians of {took}; {time.monotonic() - started:.0f} s in all.", end=" ")
    print("" if stolen is None else f"The hypervisor took {stolen:.1%} of the CPU time.")
    write(rows, names, took, stolen)


def sample(native: Tools, loop: str, rows: dict[str, Row], options: Arguments) -> None:
    """Serve everything on one loop and take one sample of each row."""
    for mode, cases in SERVERS.items():
        with server(native, loop, mode, tls=options.tls) as process:
            for case in cases:
                arguments = [f"--connections={CONNECTIONS}", *case.arguments]
                said = drive(native, process, case.mode, arguments, options.seconds, WARMUP_S)
                said["peak_mib"] = process.peak_rss_bytes() / 1024**2
                rows[case.name].add(loop, said)
                line = f"  {case.name:32} {said['rps']:10,.0f} requests/s"
                print(line, file=sys.stderr, flush=True)


def print_table(rows: dict[str, Row], names: list[str]) -> None:
    """Print each median and its ratio to the baseline's."""
    baseline = baseline_of(names)
    heads = "".join(f"{measure.title:>20}" for measure in MEASURES)
    print(f"\n{f'(in brackets: ratio to {baseline})':34}{heads}")
    for row in rows.values():
        print(row.name)
        for loop in names:
            cells = "".join(cell(row, loop, baseline, measure.key) for measure in MEASURES)
            print(f"  {loop:32}{cells}")


def baseline_of(names: list[str]) -> str:
    """Return the baseline of the ratios: uvloop, or the first loop if it is not installed."""
    return loops.BASELINE if loops.BASELINE in names else names[0]


def cell(row: Row, loop: str, baseline: str, measure: str) -> str:
    """Format a median and its ratio; to be called after all loops were measured."""
    summary, ratio = row.summary(loop, measure), row.ratio(loop, baseline, measure)
    assert summary is not None
    assert ratio is not None
    return f"{number(summary.median):>12} ({ratio:4.2f}) "


def write(rows: dict[str, Row], names: list[str], took: str, stolen: float | None) -> None:
    """Write all samples to `demo.json` and the chart to `demo.svg`."""
    facts = machine.facts(names)
    document = {
        **facts,
        "run": took,
        "stolen": stolen,
        "rows": [{"workload": row.name, "samples": row.samples} for row in rows.values()],
    }
    (ROOT / "demo.json").write_text(json.dumps(document, indent=1) + "\n")
    versions = ", ".join(f"{name} {machine.version(name)}" for name in names)
    columns = [
        chart.Column(measure.title, "more" if measure.more_is_better else "less")
        for measure in MEASURES
    ]
    lines = [
        chart.Line(row.name, [bars(row, names, measure.key) for measure in MEASURES])
        for row in rows.values()
    ]
    subtitle = f"{versions}. Medians of {took}. The bracket is the ratio to {baseline_of(names)}."
    (ROOT / "demo.svg").write_text(
        chart.draw("The same servers, another loop", subtitle, columns, lines)
    )
    print("Every sample is in demo.json, the chart in demo.svg.")
    print("Next, your own program, unchanged: python -m yamanote app.py (docs/start.md has more).")


def bars(row: Row, names: list[str], measure: str) -> list[chart.Bar]:
    """Return the bars for one cell of the table."""
    baseline = baseline_of(names)
    drawn: list[chart.Bar] = []
    for loop in names:
        summary, ratio = row.summary(loop, measure), row.ratio(loop, baseline, measure)
        assert summary is not None
        label = f"{number(summary.median)} ({ratio:.2f})"
        drawn.append(chart.Bar(loop, summary.median, label, (summary.low, summary.high)))
    return drawn


if __name__ == "__main__":
    main()
