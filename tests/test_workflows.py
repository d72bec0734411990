"""Do the public workflows keep to what the first lines of ci.yml say?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

WORKFLOWS = sorted((Path(__file__).parents[1] / ".github" / "workflows").glob("*.yml"))

pytestmark = pytest.mark.skipif(not WORKFLOWS, reason="not beside an installed package")

#: A workflow of ours, or a commit and the version that it is.
PINNED = re.compile(r"\./\.github/workflows/\w+\.yml|[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def test_an_action_is_a_commit() -> None:
    used = [it for path in WORKFLOWS for it in re.findall(r"\buses: (.+)", path.read_text())]
    assert len(used) > 10
    assert [it for it in used if not PINNED.fullmatch(it)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read_unless_a_job_says_so(path: Path) -> None:
    assert re.findall(r"^permissions:\n((?:  .+\n)+)", path.read_text(), re.MULTILINE) == [
        "  contents: read\n"
    ]
