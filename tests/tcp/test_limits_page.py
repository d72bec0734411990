"""Has docs/servers.md an example for each limit? tests/docs runs them."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "servers.md").read_text()
LIMITS = PAGE.split("## Drain")[0]
EXAMPLES = re.findall(r"```python\n((?:(?!```).)*)```\n\nprints `([^`]*)`", LIMITS, re.DOTALL)
SECTIONS = re.findall(r"^### `(\w+)`", LIMITS, re.MULTILINE)


def test_each_limit_has_a_section_with_an_example() -> None:
    from yamanote import Limits

    assert sorted(SECTIONS) == sorted(vars(Limits()))
    assert len(EXAMPLES) == len(SECTIONS)
