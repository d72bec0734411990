"""What MkDocs does not do by itself: parts of other files on a page, and links that leave the site.

A line `<!-- include: README.md # How fast -->` becomes that section of a file of the repository
(without the title: the whole file below its own title). A link to a file of the repository that is
no page of the site, and is on none, becomes its path: on the site there is nothing to follow.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
INCLUDE = re.compile(r"^<!-- include: ([\w./-]+)(?: # (.+?))? -->$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[([^\]\[]+)\]\((?!https?://|#)([^()\s#]+)(#[^()\s]*)?\)")
#: The same, and the address of a picture.
ADDRESS = re.compile(LINK.pattern.removeprefix("(?<!!)"))
FENCE = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)

#: Files of the repository that a page includes as a whole.
PAGES = {
    "CHANGELOG.md": "docs/changelog.md",
    "CONTRIBUTING.md": "docs/contribute/contributing.md",
    "benches/README.md": "docs/contribute/measuring.md",
}

#: Strict builds fail on its warnings.
logger = logging.getLogger("mkdocs.hooks.yamanote")


def on_page_markdown(
    markdown: str,
    *,
    page: Any,  # noqa: ANN401 - MkDocs's, which `make check` does not install.
    **_: object,
) -> str:
    """Called by MkDocs for each page, before Markdown is parsed."""
    path = PurePosixPath(page.file.src_uri)
    markdown = INCLUDE.sub(lambda it: included(it[1], it[2], path), markdown)
    return outside_fences(markdown, lambda text: linked(text, PurePosixPath("docs") / path))


def on_post_build(
    *,
    config: Any,  # noqa: ANN401 - as above.
    **_: object,
) -> None:
    """Called by MkDocs at the end: the page for errors cannot know where the site will be."""
    Path(config.site_dir, "404.html").unlink()


def included(name: str, title: str | None, path: PurePosixPath) -> str:
    """Returns a part of a file, with its links as seen from the page at `path`."""
    text = (ROOT / name).read_text()
    if title is None:
        part = text.partition("\n")[2]
    else:
        found = re.search(
            rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL
        )
        if found is None:
            logger.warning("%s: %s has no section %r", path, name, title)
            return ""
        part = found[1]
    here = (PurePosixPath("docs") / path).parent

    def moved(link: re.Match[str]) -> str:
        target = os.path.relpath(PurePosixPath(name).parent / link[2], here)
        return f"[{link[1]}]({target}{link[3] or ''})"

    return outside_fences(part, lambda it: ADDRESS.sub(moved, it)).strip()


def linked(text: str, path: PurePosixPath) -> str:
    """Returns the text of a file at `path` with its links to files outside the site as paths."""

    def plain(link: re.Match[str]) -> str:
        target = os.path.normpath(path.parent / link[2])
        if target in PAGES:
            page = os.path.relpath(PAGES[target], path.parent)
            return f"[{link[1]}]({page}{link[3] or ''})"
        if target.startswith("docs/"):
            return link[0]  # MkDocs checks it.
        if not (ROOT / target).exists():
            logger.warning("%s: there is no %s", path, target)
        shown = f"`{target}`"
        return shown if link[1].strip("`/") in target else f"{link[1]} ({shown})"

    return LINK.sub(plain, text)


def outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    """Returns the text with everything changed but its blocks of code."""
    parts = FENCE.split(markdown)
    return "".join(part if part.startswith("```") else change(part) for part in parts)
