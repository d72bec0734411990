"""Do the examples of docs/testing.md work?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parent.parent.parent / "docs" / "testing.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_there_are_five_examples() -> None:
    assert len(EXAMPLES) == 5


@pytest.mark.parametrize("code", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_passes(pytester: pytest.Pytester, code: str) -> None:
    pytester.makefile(".ini", pytest="[pytest]\nfilterwarnings = error\n")
    pytester.makepyfile(code)
    result = pytester.runpytest_subprocess("-p", "no:anyio", "-p", "no:asyncio")
    result.assert_outcomes(passed=code.count("def test_"))
