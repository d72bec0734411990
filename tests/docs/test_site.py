"""Does `make docs` notice what is wrong with a site?"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

from tests.docs.pages import DOCS, ROOT
from tests.programs import run_python

if TYPE_CHECKING:
    from types import ModuleType

PAGE = '<h1 id="top">It</h1><a href="{}">there</a>{}'


def check(folder: Path, link: str, rest: str = "") -> tuple[int, str]:
    """Returns what the check says of a site with this link, and with `rest` on its page."""
    (folder / "sub").mkdir()
    (folder / "sub" / "other.html").write_text('<p id="here">')
    (folder / "index.html").write_text(PAGE.format(link, rest))
    done = run_python(str(DOCS / "_site" / "check.py"), str(folder))
    assert done.stderr == ""
    return done.returncode, done.stdout.replace(f"{folder}/", "")


@pytest.mark.parametrize(
    "link", ["#top", "sub/other.html", "sub/other.html#here", "https://example.com/", "index.html"]
)
def test_a_link_that_leads_somewhere_passes(tmp_path: Path, link: str) -> None:
    assert check(tmp_path, link) == (0, "")


@pytest.mark.parametrize("link", ["#bottom", "sub/none.html", "sub/other.html#there", "/sub/"])
def test_a_link_that_leads_nowhere_fails(tmp_path: Path, link: str) -> None:
    assert check(tmp_path, link) == (1, f"index.html: no {link}\n")


@pytest.mark.parametrize(
    "rest",
    [
        '<script src="https://example.com/it.js"></script>',
        '<link rel="stylesheet" href="//example.com/it.css">',
        '<img src="http://example.com/it.png">',
        "<style>@import 'https://example.com/it.css';</style>",
        '<p style="background: url(https://example.com/it.png)">',
    ],
)
def test_what_is_loaded_from_another_host_fails(tmp_path: Path, rest: str) -> None:
    code, said = check(tmp_path, "#top", rest)
    assert code == 1
    assert re.fullmatch(r"index\.html: loads \S+example\.com\S+\n", said)


def test_a_folder_without_a_site_fails(tmp_path: Path) -> None:
    done = run_python(str(DOCS / "_site" / "check.py"), str(tmp_path))
    assert done.returncode == 1


@pytest.fixture
def hooks() -> ModuleType:
    """The hooks of MkDocs."""
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "_site" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_section_of_another_file_keeps_its_links(hooks: Any) -> None:  # noqa: ANN401 - a script.
    text = hooks.included("README.md", "How fast", PurePosixPath("fast.md"))
    assert text.startswith("CPU time")
    assert "\n## " not in text
    targets = re.findall(r"\]\((\.\./[^)#]+)\)", text)
    assert targets
    assert all((DOCS / target).resolve().is_relative_to(ROOT) for target in targets)
    assert all((DOCS / target).resolve().exists() for target in targets)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[it](looking.md#top)", "[it](looking.md#top)"),
        ("[it](../LICENSE)", "it (`LICENSE`)"),
        ("[LICENSE](../LICENSE)", "`LICENSE`"),
        ("[it](../CONTRIBUTING.md#writing-rust)", "[it](contribute/contributing.md#writing-rust)"),
        ("[it](https://example.com/)", "[it](https://example.com/)"),
    ],
)
def test_a_link_out_of_the_site_becomes_a_path(
    hooks: Any,  # noqa: ANN401 - a script.
    text: str,
    shown: str,
) -> None:
    assert hooks.linked(text, PurePosixPath("docs/fast.md")) == shown


def test_a_link_to_a_file_that_is_not_there_is_warned_of(
    hooks: Any,  # noqa: ANN401 - a script.
    caplog: pytest.LogCaptureFixture,
) -> None:
    hooks.linked("[it](../none.md)", PurePosixPath("docs/fast.md"))
    hooks.included("README.md", "None", PurePosixPath("fast.md"))
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def test_every_page_that_is_a_whole_file_is_known(hooks: Any) -> None:  # noqa: ANN401 - a script.
    whole = {
        found[1]: str(page.relative_to(ROOT))
        for page in DOCS.rglob("*.md")
        for found in re.finditer(r"^<!-- include: (\S+) -->$", page.read_text(), re.MULTILINE)
    }
    assert whole == hooks.PAGES
