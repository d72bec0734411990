"""Are the texts on the page of troubleshooting those that the package says?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import yamanote
from tests.docs.pages import DOCS, ROOT

PAGE = (DOCS / "troubleshooting.md").read_text().partition("## By text")[2]
TEXTS = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
FILES = [*Path(yamanote.__file__).parent.rglob("*.py"), *(ROOT / "src").rglob("*.rs")]
#: With the pieces of a literal joined.
SOURCES = [re.sub(r'"\s*\n\s*f?"', "", path.read_text()) for path in FILES]


def test_there_are_texts() -> None:
    assert len(TEXTS) > 10


@pytest.mark.parametrize("text", TEXTS)
def test_the_package_says_what_the_page_explains(text: str) -> None:
    assert any(text in source for source in SOURCES)
