"""CPython's own tests, in separate processes: see `python -m tests.conformance --help`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.run import OURS, default_path

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.hang_after(600),
    pytest.mark.skipif(
        importlib.util.find_spec("test.test_asyncio") is None,
        reason="this interpreter came without CPython's test package",
    ),
]


def test_cpythons_own_tests_pass() -> None:
    """`.ci/run` prints the closing lines from the file that the command leaves."""
    failures = ROOT / default_path(OURS)
    command = [sys.executable, "-m", "tests.conformance"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{failures.read_text()}"


def test_a_hanging_and_a_dying_test_are_failures(tmp_path: Path) -> None:
    """Tests the runner itself: neither a hang nor a crash may look like success."""
    script = tmp_path / "broken.py"
    script.write_text(
        "import asyncio, os, threading, unittest\n"
        "from tests.conformance.isolation import Job, run_all\n"
        "class Broken(unittest.TestCase):\n"
        "    def test_hang(self): asyncio.new_event_loop(); threading.Event().wait()\n"
        "    def test_die(self): asyncio.new_event_loop(); os._exit(0)\n"
        "    def test_good(self): asyncio.new_event_loop().close()\n"
        "    def test_no_loop(self): pass\n"
        "names = ('test_hang', 'test_die', 'test_good', 'test_no_loop')\n"
        "jobs = [Job(name, Broken(name), asyncio.SelectorEventLoop) for name in names]\n"
        "for outcome in run_all(jobs, at_once=4, timeout_s=2.0):\n"
        "    print(outcome.job.name, outcome.status, outcome.detail.splitlines()[-1])\n"
    )
    command = [sys.executable, str(script)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert lines["test_hang"] == "failed The process hung."
    assert lines["test_die"] == "failed The process ended with exit code 0."
    assert lines["test_good"].startswith("passed")
    assert lines["test_no_loop"].startswith("unbound")
