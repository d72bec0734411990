"""The blocks of code on the site's pages, and what the comments above them ask for.

A comment of one line above a block of Python says how it is tested:

    <!-- run -->                        in a process of its own, as a script
    <!-- run from 3.12 -->              the same, on that Python and later
    <!-- run without a GIL -->          the same, on free-threaded Python
    <!-- run by pytest -->              as a file of tests
    <!-- run by tests/test_x.py -->     that file does it
    <!-- file: app.py -->               a file that a later block, or another test, runs
    <!-- not run: why -->

What a script prints is on the page, too, below the block: "prints `this`", or "prints" and a block
of text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>(?:run|not run|file)\b.*?) -->\n\n?)?"
    r"^```(?P<language>\w*)\n(?P<code>.*?)^```$"
    r"(?:\n\nprints (?P<ticks>`+)(?P<line>.+?)(?P=ticks)"
    r"|\n\nprints:?\n\n```text\n(?P<text>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        page: the path of its page, below `docs`.
        line: the line of the page on which it begins.
        language: as the page says; may be empty.
        mark: what the comment above it says; `None` without one.
        output: what the page says that it prints, without the last line end.
    """

    page: str
    line: int
    language: str
    mark: str | None
    code: str
    output: str

    def __str__(self) -> str:
        """Where it is."""
        return f"{self.page}:{self.line}"


def blocks_of(page: str, text: str) -> Iterator[Block]:
    """Yields the blocks of a page."""
    for found in BLOCK.finditer(text):
        yield Block(
            page,
            text.count("\n", 0, found.start("code")),
            found["language"],
            found["mark"],
            found["code"],
            found["line"] or (found["text"] or "").rstrip("\n"),
        )


def all_blocks() -> list[Block]:
    """Returns the blocks of all pages but those on decisions, which show parts of the sources."""
    pages = sorted(path.relative_to(DOCS) for path in DOCS.rglob("*.md"))
    return [
        block
        for page in pages
        if page.parts[0] != "design"
        for block in blocks_of(str(page), (DOCS / page).read_text())
    ]
