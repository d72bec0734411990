"""The table and the chart of "How fast" in the README: `python benches/readme.py`.

Both come from the newest file of `benches/results/` and from the counted instructions. With
`--check`, nothing is written: it fails if the README or the chart is not what it would write.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chart
import loops
from counts import PATH, Figures
from figures import Row

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
CHART = HERE.parent / "docs" / "assets" / "fast.svg"
RESULTS = HERE / "results"

BEGIN = "<!-- made by benches/readme.py -->\n"
END = "<!-- end -->\n"

BASE = "uvloop"
SHOWN = ("zuvloop", "blazio", loops.OURS)


@dataclass(frozen=True)
class Entry:
    """A line of the table.

    Attributes:
        title: what the workloads are, in their order.
        workloads: names of rows of the results.
        counted: names of rows of the counted instructions, and what stands before each.
    """

    title: str
    workloads: tuple[str, ...]
    counted: tuple[tuple[str, str], ...] = ()


ENTRIES = (
    Entry(
        "`call_soon` / a chain of turns",
        ("micro/call_soon_0", "micro/chain"),
        (("", "call_soon_0"), ("", "chain")),
    ),
    Entry(
        "a timer scheduled and cancelled / fired",
        ("micro/timer_cancel", "micro/timers_firing"),
        (("", "timer_cancel"), ("", "timers_firing")),
    ),
    Entry(
        "`sleep(0)` / a future / a task awaited",
        ("micro/sleep_0", "micro/future_wake", "micro/task_awaited"),
        (("", "sleep_0"), ("", "future_wake"), ("", "task_awaited")),
    ),
    Entry(
        "echo 1 KiB, `Protocol`, 10 / 100 connections",
        ("echo/protocol/1KiB/10", "echo/protocol/1KiB/100"),
        (("", "echo_1k"),),
    ),
    Entry(
        "echo 1 KiB, streams, 10 / 100 connections",
        ("echo/streams/1KiB/10", "echo/streams/1KiB/100"),
        (("", "stream_1k"),),
    ),
    Entry(
        "echo 64 KiB, `Protocol` / streams, 10 connections",
        ("echo/protocol/64KiB/10", "echo/streams/64KiB/10"),
        (("streams: ", "stream_64k"),),
    ),
    Entry(
        "echo 1 KiB: `sock_*` / UDP / Unix sockets",
        ("echo/sock/1KiB/10", "echo/udp/1KiB/10", "echo/unix/1KiB/10"),
        (("", "sock_1k"), ("", "udp_1k"), ("", "unix_1k")),
    ),
    Entry(
        "echo 64 KiB over TLS, 10 connections",
        ("echo/tls/64KiB/10",),
        (("1 KiB, streams: ", "tls_stream_1k"),),
    ),
    Entry(
        "connect and close: the server / both ends, streams",
        ("connect/protocol", "pairs/streams"),
        (("both ends: ", "pair_streams"),),
    ),
    Entry("a minimal HTTP server / aiohttp's client", ("http/minimal/10", "clients/aiohttp")),
    Entry(
        "100 bytes through a pipe / a name looked up",
        ("micro/pipe_100_b", "micro/getaddrinfo_localhost"),
        (("", "pipe_100_b"),),
    ),
)

#: Lines of the chart: what it calls them, and the workload.
DRAWN = (
    ("a turn of the loop", "micro/chain"),
    ("a task, awaited", "micro/task_awaited"),
    ("echo, Protocol", "echo/protocol/1KiB/10"),
    ("echo, streams", "echo/streams/1KiB/10"),
    ("TLS, 64 KiB", "echo/tls/64KiB/10"),
    ("100 B by a pipe", "micro/pipe_100_b"),
)


def newest() -> Path:
    """Return the newest file of results; their names begin with their time."""
    return max(RESULTS.glob("*.json"))


def ratio(row: Row, loop: str) -> float | None:
    """Return a loop's CPU time to that of the base."""
    return row.ratio(loop, BASE, row.measures()[0])


def cells(rows: list[Row]) -> list[str]:
    """Return what the loops have in a line; the lowest of each workload is bold."""
    parts: dict[str, list[str]] = {loop: [] for loop in SHOWN}
    for row in rows:
        ratios = {loop: ratio(row, loop) for loop in SHOWN}
        texts = {loop: "-" if it is None else f"{it:.2f}" for loop, it in ratios.items()}
        best = min(text for text in texts.values() if text != "-")
        for loop, text in texts.items():
            parts[loop].append(f"**{text}**" if text == best else text)
    return [" / ".join(found) for found in parts.values()]


def counted(entry: Entry, figures: Figures) -> str:
    """Return the counted instructions of a line: ours and the base's."""
    pairs: list[str] = []
    for before, name in entry.counted:
        ours, theirs = (figures.rows[name][loop] for loop in (loops.OURS, BASE))
        pairs.append(f"{before}{ours:,.0f} / {theirs:,.0f}")
    return "; ".join(pairs)


def table(results: dict[str, Row], figures: Figures) -> str:
    """Return the table as Markdown, each line with its end."""
    lines = [
        ["", *SHOWN, f"instructions: {loops.OURS} / {BASE}"],
        ["---"] * (len(SHOWN) + 2),
    ]
    for entry in ENTRIES:
        rows = [results[name] for name in entry.workloads]
        lines.append([entry.title, *cells(rows), counted(entry, figures)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def about(path: Path, facts: dict[str, Any]) -> str:
    """Say when and on what it was measured."""
    versions = ", ".join(f"{name} {facts['loops'][name]}" for name in (BASE, *SHOWN[:-1]))
    return (
        f"CPython {facts['python']['version']}, {versions}; all samples are in"
        f" [benches/results/](benches/results/{path.name}).\n"
    )


def drawing(results: dict[str, Row], facts: dict[str, Any]) -> str | None:
    """Return the chart; `None` without a row for it."""
    lines: list[chart.Line] = []
    for title, name in DRAWN:
        if (row := results.get(name)) is None:
            continue
        measure = row.measures()[0]
        base = row.summary(BASE, measure)
        bars: list[chart.Bar] = []
        for loop in (loops.OURS, BASE, *SHOWN[:-1]):
            summary = row.summary(loop, measure)
            if summary is None or base is None:
                continue
            low, value, high = (
                it / base.median for it in (summary.low, summary.median, summary.high)
            )
            bars.append(chart.Bar(loop, value, f"{value:.2f}", (low, high)))
        if bars:
            lines.append(chart.Line(title, [bars]))
    if not lines:
        return None
    machine = facts["machine"]
    notes = [
        f"Medians and quartiles of {facts['rounds']} interleaved rounds.",
        f"CPython {facts['python']['version']}, {machine['processor']}, {machine['cores']} cores,"
        f" {machine['system']} {machine['kernel'].split('-')[0]}.",
        ", ".join(
            f"{name} {version or facts['commit']}"
            for name, version in facts["loops"].items()
            if name in (BASE, *SHOWN)
        )
        + f", commit {facts['commit']}, {facts['time'][:10]}.",
    ]
    column = chart.Column("CPU time", "less")
    return chart.draw(
        "The same work, another loop",
        "CPU time, compared with uvloop's: 0.5 is half of it.",
        [column],
        lines,
        notes,
        bar_width=360,
    )


def main() -> None:
    """Write the table and the chart, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if they are out of date")
    path = newest()
    facts = json.loads(path.read_text())
    results = {row["workload"]: Row(row["workload"], row["samples"]) for row in facts["rows"]}
    text = README.read_text()
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise SystemExit(f"{README} has no markers for the table")
    drawn = drawing(results, facts)
    if drawn is None:
        raise SystemExit(f"{path} has no row for the chart")
    made = f"{table(results, Figures.read(PATH))}\n{about(path, facts)}"
    files = {README: f"{before}{BEGIN}{made}{END}{after}", CHART: drawn}
    for file, content in files.items():
        if not parser.parse_args().check:
            file.write_text(content)
        elif not file.exists() or file.read_text() != content:
            raise SystemExit(f"{file.name} is not of {path.name}: run python benches/readme.py")


if __name__ == "__main__":
    main()
