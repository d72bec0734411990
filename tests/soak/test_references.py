"""Does `make refleaks` find a lost reference, where CPython counts them?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.hang_after(120)]

ROOT = Path(__file__).parents[2]
TEST = """
import ctypes

def test_it():
    print("Words that pytest keeps.")
    lost = object()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(lost))

def test_another():
    print("Words that pytest keeps.")
"""


def test_a_lost_reference_is_found(tmp_path: Path) -> None:
    path = tmp_path / "test_lost.py"
    path.write_text(TEST)
    command = [sys.executable, "-m", "tests.soak.references", "--rootdir", str(tmp_path), str(path)]
    run = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    if hasattr(sys, "gettotalrefcount"):
        assert run.returncode == 1, run.stdout + run.stderr
        assert "grows: test_lost.py::test_it: [1, 1, 1]" in run.stdout
        assert run.stdout.endswith("references of 1 of 2 tests grow in each run\n")
    else:
        assert run.returncode == 0, run.stdout + run.stderr
        assert run.stdout.startswith("skipped: ")
