"""A grid of bar charts as SVG: a line for each workload, a column for each measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

#: yamanote in the yellow-green of the Yamanote line; muted colours for the other loops. All are
#: readable on a light page and on a dark one.
COLOURS = {"yamanote": "#80c241", "uvloop": "#6f93bb", "asyncio": "#a3acb8"}
OTHER_COLOURS = ("#d9b38c", "#b48ead", "#8fbcbb")

#: What a browser makes of it where the reader prefers a dark page.
STYLE = """<style>
.page { fill: #ffffff } .ink { fill: #24292f } .soft { fill: #57606a }
.rule { stroke: #d0d7de } .spread { stroke: #24292f; stroke-width: 1.2 }
@media (prefers-color-scheme: dark) {
.page { fill: #161b22 } .ink { fill: #e6edf3 } .soft { fill: #9da7b1 }
.rule { stroke: #3d444d } .spread { stroke: #e6edf3 }
}
</style>"""

MARGIN = 28
NAME_WIDTH = 118
BAR_WIDTH = 92
LABEL_WIDTH = 104
BAR_HEIGHT = 15
BAR_STEP = 20
TITLE_HEIGHT = 112
NAME_HEIGHT = 30
LINE_GAP = 18
NOTE_STEP = 16


@dataclass(frozen=True)
class Column:
    """A measure: its title, and whether "more" or "less" of it is better."""

    title: str
    better: str


@dataclass(frozen=True)
class Bar:
    """One loop's figure."""

    name: str
    value: float
    label: str
    spread: tuple[float, float] | None = None
    """First and third quartile."""


@dataclass(frozen=True)
class Line:
    """One workload: the bars of each column."""

    name: str
    cells: list[list[Bar]]


def draw(
    title: str,
    subtitle: str,
    columns: list[Column],
    lines: list[Line],
    notes: list[str] | None = None,
    *,
    bar_width: int = BAR_WIDTH,
) -> str:
    """Draw the chart, with notes below; every cell has its own scale, which starts at zero."""
    bars = max(len(cell) for line in lines for cell in line.cells)
    line_height = NAME_HEIGHT + bars * BAR_STEP + LINE_GAP
    notes = notes or []
    cell_width = bar_width + LABEL_WIDTH
    width = 2 * MARGIN + NAME_WIDTH + cell_width * len(columns)
    end = TITLE_HEIGHT + line_height * len(lines) + NOTE_STEP
    height = end + NOTE_STEP * len(notes) + (MARGIN if notes else MARGIN - NOTE_STEP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" font-family="system-ui, Helvetica, Arial, sans-serif"'
        ' font-size="12">',
        f"<title>{escape(title)}</title>",
        STYLE,
        '<rect class="page" width="100%" height="100%"/>',
        text(MARGIN, 38, title, size=21, weight="600"),
        text(MARGIN, 60, subtitle, soft=True),
    ]
    for index, column in enumerate(columns):
        x = MARGIN + NAME_WIDTH + index * cell_width
        parts.append(text(x, 90, column.title, size=13, weight="600"))
        parts.append(text(x, 105, f"{column.better} is better", size=11, soft=True))
    for index, line in enumerate(lines):
        parts.extend(draw_line(line, TITLE_HEIGHT + index * line_height, width, bar_width))
    for index, note in enumerate(notes):
        parts.append(text(MARGIN, end + index * NOTE_STEP, note, size=11, soft=True))
    return "\n".join([*parts, "</svg>"]) + "\n"


def draw_line(line: Line, y: int, width: int, bar_width: int) -> Iterator[str]:
    """Draw a workload: a rule, its name, the loops' names, and a cell for each column."""
    yield f'<path class="rule" d="M{MARGIN} {y + 6}H{width - MARGIN}"/>'
    yield text(MARGIN, y + 24, line.name, size=13, weight="600")
    top = y + NAME_HEIGHT
    for row, bar in enumerate(line.cells[0]):
        yield text(MARGIN, top + row * BAR_STEP + 12, bar.name)
    for index, cell in enumerate(line.cells):
        x = MARGIN + NAME_WIDTH + index * (bar_width + LABEL_WIDTH)
        yield from draw_cell(cell, x, top, bar_width)


def draw_cell(cell: list[Bar], x: int, y: int, bar_width: int) -> Iterator[str]:
    """Draw the bars of one cell, each with its spread; the longest fills its width."""
    longest = max(bar.spread[1] if bar.spread else bar.value for bar in cell) or 1.0
    others = [bar.name for bar in cell if bar.name not in COLOURS]
    for row, bar in enumerate(cell):
        top = y + row * BAR_STEP
        length = max(1.0, bar_width * bar.value / longest)
        colour = COLOURS.get(bar.name) or OTHER_COLOURS[others.index(bar.name) % len(OTHER_COLOURS)]
        yield (
            f'<rect x="{x}" y="{top}" width="{length:.1f}" height="{BAR_HEIGHT}" rx="2"'
            f' fill="{colour}"/>'
        )
        if bar.spread is not None:
            low, high = (x + bar_width * value / longest for value in bar.spread)
            middle = top + BAR_HEIGHT / 2
            ends = "".join(f"M{it:.1f} {top + 4}V{top + BAR_HEIGHT - 4}" for it in (low, high))
            yield f'<path class="spread" d="M{low:.1f} {middle}H{high:.1f}{ends}"/>'
            length = max(length, high - x)
        yield text(x + length + 5, top + 12, bar.label)


def text(
    x: float,
    y: float,
    content: str,
    *,
    size: int = 12,
    weight: str = "400",
    soft: bool = False,
) -> str:
    """Write a line of text."""
    return (
        f'<text class="{"soft" if soft else "ink"}" x="{x:.1f}" y="{y:.1f}" font-size="{size}"'
        f' font-weight="{weight}">{escape(content)}</text>'
    )
