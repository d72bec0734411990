"""Does `make soak` run, for some seconds, and find nothing?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import LINUX
from tests.soak.lines import draw
from tests.soak.recorder import Recorder, Sample

pytestmark = [
    pytest.mark.skipif(not LINUX, reason="looks into /proc"),
    pytest.mark.slow,
    pytest.mark.hang_after(300),
]

ROOT = Path(__file__).parents[2]


def test_some_seconds_of_everything_leave_nothing_and_lose_nothing(tmp_path: Path) -> None:
    pytest.importorskip("yamanote_testing", reason="tests/rust_extension is not built")
    command = ["-m", "tests.soak", "--hours", "0.004", "--samples", "4", "--out", str(tmp_path)]
    run = subprocess.run(
        [sys.executable, "-W", "ignore", *command],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    errors = (tmp_path / "errors.txt").read_text() if run.returncode == 1 else ""
    assert run.returncode == 0, run.stdout + run.stderr[-2000:] + errors
    assert len((tmp_path / "soak.csv").read_text().splitlines()) == 1 + 4
    assert (tmp_path / "soak.svg").read_text().startswith("<svg")


def test_a_leak_is_a_slope() -> None:
    recorder = Recorder()
    recorder.samples = [Sample(n * 36.0, 100 + n / 10, 9, 1, 0.0, n, 0, 0) for n in range(100)]
    assert recorder.slope_mib_per_hour() == pytest.approx(10.0)
    assert "polyline" in draw("a leak", recorder.samples)


def test_an_error_is_counted_and_told() -> None:
    recorder = Recorder()
    recorder.failed("echo", ValueError("lost a byte"))
    assert recorder.sample().errors == 1
    assert "lost a byte" in recorder.texts[0]
