"""Does each block of code on the site's pages do what the page says?"""

from __future__ import annotations

import re
import sys
import sysconfig
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import DOCS, ROOT, Block, all_blocks, blocks_of
from tests.programs import run_python

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["pytester"]

pytestmark = pytest.mark.slow

BLOCKS = [block for block in all_blocks() if block.language == "python"]
HAS_GIL = not sysconfig.get_config_var("Py_GIL_DISABLED")


def marked(pattern: str) -> list[object]:
    """Returns the blocks whose mark matches, as the parameters of a test."""
    return [
        pytest.param(block, id=str(block))
        for block in BLOCKS
        if re.fullmatch(pattern, block.mark or "")
    ]


def test_every_block_says_how_it_is_tested() -> None:
    pattern = (
        r"run|run from 3\.\d+|run without a GIL|run by pytest|run by tests/\S+\.py|file: \S+"
        r"|not run: .+"
    )
    assert len(BLOCKS) > 20
    assert [str(it) for it in BLOCKS if not re.fullmatch(pattern, it.mark or "")] == []


def test_no_mark_stands_alone() -> None:
    """A comment that is misspelt, or does not stand directly above its block, marks nothing."""
    for page in DOCS.rglob("*.md"):
        marks = re.findall(r"^<!-- (?:run|not run|file)\b.*", page.read_text(), re.MULTILINE)
        found = [it for it in blocks_of(page.name, page.read_text()) if it.mark is not None]
        assert len(marks) == len(found), page


@pytest.mark.parametrize("block", marked(r"run|run from .*|run without a GIL"))
def test_a_script_prints_what_the_page_says(block: Block, tmp_path: Path) -> None:
    assert block.mark is not None
    if version := re.search(r"3\.(\d+)", block.mark):
        if sys.version_info < (3, int(version[1])):
            pytest.skip(f"for Python {version[0]} and later")
    elif block.mark == "run without a GIL" and HAS_GIL:
        pytest.skip("for free-threaded Python")
    (tmp_path / "app.py").write_text(block.code)
    child = run_python("app.py", cwd=tmp_path)
    assert child.returncode == 0, child.stderr
    # asyncio may report clients that an example leaves in the middle; Python warns of mistakes.
    assert not re.search(r"\w+Warning: |never awaited", child.stderr), child.stderr
    assert child.stdout.rstrip("\n") == block.output


@pytest.mark.parametrize("block", marked("run by pytest"))
def test_a_file_of_tests_passes(block: Block, pytester: pytest.Pytester) -> None:
    pytester.makefile(".ini", pytest="[pytest]\nfilterwarnings = error\n")
    pytester.makepyfile(block.code)
    result = pytester.runpytest_subprocess("-p", "no:anyio", "-p", "no:asyncio")
    result.assert_outcomes(passed=block.code.count("def test_"))


@pytest.mark.parametrize("block", marked(r"run by tests/.*"))
def test_a_block_that_another_file_runs_is_read_there(block: Block) -> None:
    assert block.mark is not None
    text = (ROOT / block.mark.removeprefix("run by ")).read_text()
    assert f'"{block.page.rpartition("/")[2]}"' in text


def test_a_block_is_found_with_its_mark_and_output() -> None:
    text = """\
<!-- run -->
```python
print(1)
```

prints `1`.

```python
print(2)
```

<!-- run from 3.12 -->
```python
print("a\\nb")
```

prints

```text
a
b
```
"""
    first, second, third = blocks_of("it.md", text)
    assert first == Block("it.md", 2, "python", "run", "print(1)\n", "1")
    assert (second.mark, second.output) == (None, "")
    assert (third.mark, third.output) == ("run from 3.12", "a\nb")
