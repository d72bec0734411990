"""A grid of bar charts as SVG: a line for each workload, a column for each measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

#: yamanote in the yellow-green of the Yamanote line; muted colours for the other loops.
COLOURS = {"yamanote": "#80c241", "uvloop": "#5b7fa6", "asyncio": "#b4bcc6"}
OTHER_COLOUR = "#d9b38c"

MARGIN = 28
NAME_WIDTH = 118
CELL_WIDTH = 196
BAR_WIDTH = 92
BAR_HEIGHT = 15
BAR_STEP = 20
TITLE_HEIGHT = 112
NAME_HEIGHT = 30
LINE_GAP = 18


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


@dataclass(frozen=True)
class Line:
    """One workload: the bars of each column."""

    name: str
    cells: list[list[Bar]]


def draw(title: str, subtitle: str, columns: list[Column], lines: list[Line]) -> str:
    """Draw the chart; every cell has its own scale, which starts at zero."""
    bars = max(len(cell) for line in lines for cell in line.cells)
    line_height = NAME_HEIGHT + bars * BAR_STEP + LINE_GAP
    width = 2 * MARGIN + NAME_WIDTH + CELL_WIDTH * len(columns)
    height = TITLE_HEIGHT + line_height * len(lines) + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" font-family="system-ui, Helvetica, Arial, sans-serif"'
        ' font-size="12" fill="#24292f">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        text(MARGIN, 38, title, size=21, weight="600"),
        text(MARGIN, 60, subtitle, colour="#57606a"),
    ]
    for index, column in enumerate(columns):
        x = MARGIN + NAME_WIDTH + index * CELL_WIDTH
        parts.append(text(x, 90, column.title, size=13, weight="600"))
        parts.append(text(x, 105, f"{column.better} is better", size=11, colour="#57606a"))
    for index, line in enumerate(lines):
        parts.extend(draw_line(line, TITLE_HEIGHT + index * line_height, width))
    return "\n".join([*parts, "</svg>"]) + "\n"


def draw_line(line: Line, y: int, width: int) -> Iterator[str]:
    """Draw a workload: a rule, its name, the loops' names, and a cell for each column."""
    yield f'<path d="M{MARGIN} {y + 6}H{width - MARGIN}" stroke="#d0d7de"/>'
    yield text(MARGIN, y + 24, line.name, size=13, weight="600")
    top = y + NAME_HEIGHT
    for row, bar in enumerate(line.cells[0]):
        yield text(MARGIN, top + row * BAR_STEP + 12, bar.name)
    for index, cell in enumerate(line.cells):
        yield from draw_cell(cell, MARGIN + NAME_WIDTH + index * CELL_WIDTH, top)


def draw_cell(cell: list[Bar], x: int, y: int) -> Iterator[str]:
    """Draw the bars of one cell; the longest fills its width."""
    longest = max(bar.value for bar in cell) or 1.0
    for row, bar in enumerate(cell):
        top = y + row * BAR_STEP
        length = max(1.0, BAR_WIDTH * bar.value / longest)
        colour = COLOURS.get(bar.name, OTHER_COLOUR)
        yield (
            f'<rect x="{x}" y="{top}" width="{length:.1f}" height="{BAR_HEIGHT}" rx="2"'
            f' fill="{colour}"/>'
        )
        yield text(x + length + 5, top + 12, bar.label)


def text(
    x: float,
    y: float,
    content: str,
    *,
    size: int = 12,
    weight: str = "400",
    colour: str = "#24292f",
) -> str:
    """Write a line of text."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}"'
        f' fill="{colour}">{escape(content)}</text>'
    )
