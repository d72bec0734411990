"""Do the examples of docs/servers.md about limits print what the page says?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.programs import run_python

PAGE = (Path(__file__).parents[2] / "docs" / "servers.md").read_text()
LIMITS = PAGE.split("## Drain")[0]
EXAMPLES = re.findall(r"```python\n((?:(?!```).)*)```\n\nprints `([^`]*)`", LIMITS, re.DOTALL)
SECTIONS = re.findall(r"^### `(\w+)`", LIMITS, re.MULTILINE)


def test_each_limit_has_a_section_with_an_example() -> None:
    from yamanote import Limits

    assert sorted(SECTIONS) == sorted(vars(Limits()))
    assert len(EXAMPLES) == len(SECTIONS)


@pytest.mark.parametrize(("code", "output"), EXAMPLES, ids=SECTIONS)
def test_an_example_prints_what_the_page_says(code: str, output: str) -> None:
    child = run_python("-c", code)
    assert child.returncode == 0, child.stderr
    assert child.stdout.strip() == output
