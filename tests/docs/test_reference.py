"""Is every public name in the reference, with an example and the version that brought it?"""

from __future__ import annotations

import re

import pytest

import yamanote
import yamanote.testing
from tests.docs.pages import DOCS, blocks_of
from yamanote import fs

NAMES = [
    *(f"yamanote.{name}" for name in yamanote.__all__ if name != "__version__"),
    *(f"yamanote.testing.{name}" for name in yamanote.testing.__all__),
    *(f"yamanote.fs.{name}" for name in fs.__all__),
]

#: Entries in a row, with their options, and the text until the next one.
GROUP = re.compile(
    r"((?:^::: [^\n]*\n(?: [^\n]*\n)*\n)+)(.*?)(?=^::: |\Z)", re.MULTILINE | re.DOTALL
)


def groups() -> dict[str, str]:
    """Returns, for each name that has an entry, the text that follows its group of entries."""
    found: dict[str, str] = {}
    for path in sorted((DOCS / "api").glob("*.md")):
        text = path.read_text()
        for group in GROUP.finditer(text):
            for name in re.findall(r"^::: (\S+)$", group[1], re.MULTILINE):
                assert name not in found, f"{name} has two entries"
                found[name] = group[2]
    return found


GROUPS = groups()


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_has_an_entry_with_an_example(name: str) -> None:
    text = GROUPS.get(name)
    # The methods of the loop have entries of their own, below which its example stands.
    if name == "yamanote.Loop":
        text = f"{text}{GROUPS['yamanote._limiting.Limiting.set_limits']}"
    assert text is not None, "no entry"
    assert "Since 0." in text
    code = "".join(it.code for it in blocks_of(name, text) if it.mark is not None)
    assert re.search(rf"\b{name.rpartition('.')[2]}\b", code), "no example"


def test_the_index_has_every_name_of_the_package() -> None:
    index = (DOCS / "api" / "index.md").read_text()
    assert [name for name in yamanote.__all__ if f"[`{name}`]" not in index] == []


def test_every_variable_and_option_is_on_the_page_of_the_command() -> None:
    from yamanote.__main__ import USAGE
    from yamanote._environment import VARIABLES

    page = (DOCS / "api" / "command.md").read_text()
    options = re.findall(r"^  (--[a-z-]+)", USAGE, re.MULTILINE)
    assert len(options) > 5
    assert [it for it in (*options, *VARIABLES) if f"`{it}" not in page] == []
