"""Checks the built site as a browser without a network would meet it: `check.py FOLDER`.

Every link to a page, a heading, a picture, a script or a style leads to something in the folder,
and nothing is loaded from another host. MkDocs checks only the links that are written in Markdown.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: What a browser fetches without being asked to, by element; other links are followed by readers.
LOADED = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "img": "src",
    "link": "href",
    "object": "data",
    "script": "src",
    "source": "src",
    "video": "src",
}
#: Relations of a `link` that load nothing.
ONLY_NAMES = {"canonical", "next", "prev"}


class Page(HTMLParser):
    """What a page refers to, and what can be referred to on it."""

    def __init__(self, path: Path) -> None:
        """Read the page at `path`."""
        super().__init__()
        self.ids = {""}
        self.links: list[str] = []
        self.loads: list[str] = []
        self.is_style = False
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        self.is_style = tag == "style"
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADED and LOADED[tag] in given and given.get("rel") not in ONLY_NAMES:
            self.loads.append(given[LOADED[tag]])
        self.loads += urls_of(given.get("style", ""))

    def handle_data(self, data: str) -> None:
        """Note what a style sheet inside the page loads."""
        if self.is_style:
            self.loads += urls_of(data)


def urls_of(style: str) -> list[str]:
    """Returns what a style sheet loads."""
    style = re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL)
    found = re.findall(r"url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)", style)
    return [first or second for first, second in found]


def wrong_links(root: Path) -> list[str]:
    """Returns a line for each link that leads nowhere, and for each load from another host."""
    pages = {path: Page(path) for path in sorted(root.rglob("*.html"))}
    wrong: list[str] = []
    for path, page in pages.items():
        wrong += [f"{path}: loads {it}" for it in page.loads if is_elsewhere(it)]
        here = (*page.links, *page.loads)
        wrong += [f"{path}: no {it}" for it in here if not leads(path, it, pages)]
    for path in root.rglob("*.css"):
        for url in urls_of(path.read_text()):
            if is_elsewhere(url) or not leads(path, url, pages):
                wrong.append(f"{path}: {url}")
    return wrong


def is_elsewhere(url: str) -> bool:
    """Whether a browser would ask a host for it."""
    return urlsplit(url).scheme not in ("", "data") or url.startswith("//")


def leads(path: Path, url: str, pages: dict[Path, Page]) -> bool:
    """Whether a link on the page at `path` leads to something in the folder, or outside of it."""
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return True
    target = Path(path, "..", unquote(parts.path)).resolve() if parts.path else path
    if target not in pages:
        return target.is_file() and not parts.fragment
    return unquote(parts.fragment) in pages[target].ids


def main() -> int:
    """Prints what is wrong."""
    root = Path(sys.argv[1]).resolve()
    if not (root / "index.html").is_file():
        print(f"{root}: no site")
        return 1
    wrong = wrong_links(root)
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
