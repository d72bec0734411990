"""The table of counted instructions for `benches/README.md`: `python benches/table.py`.

Replaces what is between the two markers in the file with the figures of `instructions.json`.
"""

from __future__ import annotations

from pathlib import Path

import loops
from counts import PATH, Figures
from rows import BY_NAME

README = Path(__file__).with_name("README.md")

BEGIN = "<!-- made by benches/table.py -->\n"
END = "<!-- end -->\n"


def main() -> None:
    """Rewrite the table."""
    text = README.read_text()
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise SystemExit(f"{README} has no markers for the table")
    README.write_text(f"{before}{BEGIN}{table(Figures.read(PATH))}{END}{after}")


def table(figures: Figures) -> str:
    """Return the table as Markdown, each line with its end."""
    names = [name for name in loops.NAMES if name in figures.loops and name != loops.OURS]
    heads = ["row", "an operation", loops.OURS, *names, "to the best peer"]
    lines = [heads, ["---", "---", *["---:"] * (len(heads) - 2)]]
    for row, by_loop in figures.rows.items():
        cells = [cell(by_loop, name) for name in (loops.OURS, *names)]
        lines.append([f"`{row}`", BY_NAME[row].what, *cells, against_the_best(by_loop)])
    versions = ", ".join(f"{name} {version}" for name, version in figures.loops.items())
    python = figures.counted_with["python"].split()[0]
    return (
        "".join(f"| {' | '.join(line)} |\n" for line in lines)
        + f"\nCPython {python}; {versions}. The lowest figure is bold.\n"
    )


def cell(by_loop: dict[str, int], name: str) -> str:
    """Return one figure, bold if no loop has a lower one."""
    if name not in by_loop:
        return "-"
    figure = f"{by_loop[name]:,}"
    return f"**{figure}**" if by_loop[name] == min(by_loop.values()) else figure


def against_the_best(by_loop: dict[str, int]) -> str:
    """Return the ratio of our figure to the best peer, which is named if it is ahead."""
    peers = {name: count for name, count in by_loop.items() if name != loops.OURS}
    if not peers or loops.OURS not in by_loop:
        return "-"
    best = min(peers, key=lambda name: peers[name])
    ratio = by_loop[loops.OURS] / peers[best]
    return f"{ratio:.2f}" if ratio <= 1 else f"{ratio:.2f}: **lost to {best}**"


if __name__ == "__main__":
    main()
