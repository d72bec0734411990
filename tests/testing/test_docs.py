"""Is the report on docs/testing.md what its example prints? tests/docs runs the examples."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parent.parent.parent / "docs" / "testing.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_report_of_the_race_is_what_it_prints(pytester: pytest.Pytester) -> None:
    code = next(it for it in EXAMPLES if "two_deposits" in it)
    report = re.search(r"```text\n(fails with seed .*?)```", PAGE, re.DOTALL)
    assert report is not None
    # By another name than a test's, so that pytest does not change its assertions.
    pytester.makepyfile(bank=code)
    show = (
        "import bank\ntry: bank.explore(bank.two_deposits)\nexcept AssertionError as it: print(it)"
    )
    result = pytester.run(sys.executable, "-c", show)
    said = result.stdout.str().replace(f"{pytester.path}/", "")
    assert said.strip() == report[1].strip()
