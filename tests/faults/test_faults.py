"""The harness finds planted mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults import shim
from tests.faults.campaign import Child, Job
from tests.faults.planted import MISTAKES
from tests.faults.points import Point
from tests.tls.certificates import write_files

if TYPE_CHECKING:
    from pathlib import Path


def job(folder: Path, loop: str) -> Job:
    """Returns what tries on a loop need."""
    write_files(folder)
    return Job(loop, str(folder), shim.build(folder).library)


@pytest.mark.parametrize("word", MISTAKES)
def test_a_planted_mistake_is_found(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", word)
    if word == "hang":
        monkeypatch.setenv("FAULTS_PATIENCE_S", "3")
    with Child(job(tmp_path, "tests.faults.planted"), cold=True) as child:
        # The second socket is the client's.
        verdict = child.run(Point.parse("tcp call socket=ENOBUFS 2"))
    assert verdict["struck"]
    assert any(what.startswith(word) for what in verdict["unclean"]), verdict


def test_bytes_that_are_lost_or_doubled_are_found(tmp_path: Path) -> None:
    from tests.faults.injections import Injection
    from tests.faults.stage import SENT, Stage, Wrong

    stage = Stage(None, None, tmp_path, Injection())  # type: ignore[arg-type]
    stage.check(SENT)
    stage.check(SENT[:10], whole=False)
    for received in (SENT[1:], SENT + b"x", SENT[:10] + SENT[11:], SENT[:10] + SENT[9:]):
        with pytest.raises(Wrong):
            stage.check(received, whole=False)
    with pytest.raises(Wrong):
        stage.check(SENT[:10])


@pytest.mark.parametrize(
    "text",
    [
        "tcp call recv=ECONNRESET 1",
        "streams call send=FEWER 1-",
        "child cancel 0 2",
        "tls end abort 3",
        "tcp memory warm 12",
        "streams memory cold 12",
    ],
)
def test_a_fault_is_clean_and_repeatable(text: str, tmp_path: Path) -> None:
    point = Point.parse(text)
    with Child(job(tmp_path, "yamanote"), cold=point.what == "cold") as child:
        verdict = child.run(point)
    assert str(point) == text
    assert verdict["struck"]
    assert not verdict["unclean"], verdict
