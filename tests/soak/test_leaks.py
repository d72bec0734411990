"""Does `make refleaks` find a leak, and accuse no test without one?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import LINUX

pytestmark = [
    pytest.mark.skipif(not LINUX, reason="looks into /proc"),
    pytest.mark.slow,
    pytest.mark.hang_after(120),
]

ROOT = Path(__file__).parents[2]
TEST = """
import asyncio

KEPT = []

def test_it():
    loop = asyncio.new_event_loop()
    KEPT.append(loop.create_future())
    loop.close()
    {last}
"""


@pytest.mark.parametrize(("last", "code"), [("pass", 1), ("KEPT.clear()", 0)])
def test_what_grows_in_each_round_is_found(tmp_path: Path, last: str, code: int) -> None:
    path = tmp_path / "test_kept.py"
    path.write_text(TEST.format(last=last))
    command = [sys.executable, "-m", "tests.soak.leaks", "--rootdir", str(tmp_path), str(path)]
    run = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == code, run.stdout + run.stderr
    assert ("grows: _asyncio.Future" in run.stdout) == bool(code)
