"""Does the guard on instructions fail when a row of ours is worse, and only then?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TypedDict, cast

import pytest

pytestmark = pytest.mark.slow

BENCHES = Path(__file__).parent.parent / "benches"

#: A guarded row; one that has its own, wider bound; one that is not guarded.
ROW, WIDE_ROW, FREE_ROW = "call_soon_0", "sock_1k", "chain"


class Figures(TypedDict):
    """The file's content."""

    counted_with: dict[str, str]
    rows: dict[str, dict[str, int]]


def committed() -> Figures:
    return cast("Figures", json.loads((BENCHES / "instructions.json").read_text()))


def scaled(factor: float, row: str) -> Figures:
    """Returns the committed figures with one of ours changed."""
    figures = committed()
    figures["rows"][row]["yamanote"] = round(figures["rows"][row]["yamanote"] * factor)
    return figures


def judge(folder: Path, figures: Figures) -> tuple[int, str]:
    """Has the guard compare figures with the committed ones; returns its exit status and output."""
    counted = folder / "counted.json"
    counted.write_text(json.dumps(figures))
    command = [sys.executable, str(BENCHES / "instructions.py"), "--judge", str(counted)]
    answer = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return answer.returncode, answer.stdout


@pytest.mark.parametrize(
    ("factor", "row"),
    [(1, ROW), (1.01, ROW), (0.5, ROW), (1.05, WIDE_ROW), (2, FREE_ROW)],
)
def test_a_figure_within_its_bound_passes(tmp_path: Path, factor: float, row: str) -> None:
    status, output = judge(tmp_path, scaled(factor, row))
    assert status == 0, output
    assert output.count(" ok\n") == len(output.splitlines()) > 10


@pytest.mark.parametrize(("factor", "row"), [(1.03, ROW), (1.1, WIDE_ROW)])
def test_a_worse_figure_fails_and_its_row_is_named(tmp_path: Path, factor: float, row: str) -> None:
    status, output = judge(tmp_path, scaled(factor, row))
    assert status == 1
    assert f"worse: {row}." in output


def test_the_figures_of_peers_are_not_judged(tmp_path: Path) -> None:
    figures = committed()
    figures["rows"][ROW]["asyncio"] = 1_000_000
    status, output = judge(tmp_path, figures)
    assert status == 0, output


def test_a_row_that_was_not_counted_fails(tmp_path: Path) -> None:
    figures = committed()
    del figures["rows"][ROW]["yamanote"]
    status, output = judge(tmp_path, figures)
    assert status == 1
    assert f"{ROW:20} FAILED: was not counted" in output


@pytest.mark.parametrize("fact", ["python", "libc", "rustc", "valgrind", "processor"])
def test_figures_that_were_counted_with_something_else_are_not_compared(
    tmp_path: Path, fact: str
) -> None:
    figures = scaled(1.03, ROW)
    figures["counted_with"][fact] = "another"
    status, output = judge(tmp_path, figures)
    assert status == 0
    assert output.startswith(f"skipped: the committed figures were counted with {fact} ")
