"""A short run of the fuzzer on our loop, and on loops with a bug that it must find."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fuzz.child import place_of_death
from tests.fuzz.compare import failures
from tests.fuzz.differences import DIFFERENCES, Difference
from tests.fuzz.generator import Choice, generate
from tests.fuzz.program import Program, Step, parse
from tests.fuzz.run import Record
from tests.fuzz.shrink import shrink
from tests.programs import run_python

if TYPE_CHECKING:
    import subprocess

ROOT = Path(__file__).parent.parent.parent

#: Seconds for all runs of one test.
PATIENCE_S = 300.0


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line."""
    return run_python("-m", "tests.fuzz", *arguments, cwd=ROOT, timeout=PATIENCE_S)


@pytest.mark.slow
@pytest.mark.hang_after(PATIENCE_S)
def test_two_thousand_calls_see_what_asyncio_does() -> None:
    done = fuzz("--seed", "1", "--calls", "2000")
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+) calls, 0 failures", done.stdout)
    assert found
    assert int(found[1]) >= 2000


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="the fuzzer itself is the same on every version"
)
@pytest.mark.slow
@pytest.mark.hang_after(PATIENCE_S)
@pytest.mark.parametrize(
    ("planted", "finding", "culprit", "said"),
    [
        ("WrongError", "mismatch", "call_later", "ours: ValueError"),
        ("Crashing", "crash", "get_task_factory", "in get_task_factory"),
        ("Hanging", "hang", "get_task_factory", "in get_task_factory"),
        ("Forgetful", "hang", "", "in _look_alive"),
        ("Leaking", "leak", "get_task_factory", "left open: pipe"),
    ],
)
def test_a_planted_mistake_is_found_shrunk_and_repeated(
    planted: str, finding: str, culprit: str, said: str, tmp_path: Path
) -> None:
    loop = ("--loop", f"tests.fuzz.planted:{planted}")
    limits = ("--patience", "2", "--only", "scheduling")
    done = fuzz("--seed", "7", "--runs", "20", *loop, *limits, "--findings", "1")
    assert done.returncode == 1, done.stdout + done.stderr
    parts = done.stdout.split("==> ")
    report = next((part for part in parts if part.startswith(finding)), None)
    assert report, done.stdout
    assert said in report
    # The command in the report finds it again.
    command = re.search(r"to repeat it: python (.+)", report)
    assert command
    again = run_python(*command[1].split(), *limits[:2], cwd=ROOT, timeout=PATIENCE_S)
    assert again.returncode == 1
    assert f"==> {finding}" in again.stdout
    # The program contains little but the culprit, and fails alone.
    lines = re.findall(r"^ {8}(.+)", report, re.MULTILINE)
    steps = [line for line in lines if " = " in line]
    assert len(steps) <= 3, report
    assert any(culprit in step for step in steps)
    file = tmp_path / "program"
    file.write_text("\n".join(lines))
    alone = fuzz("--program", str(file), *loop, *limits[:2])
    assert alone.returncode == 1
    assert said in alone.stdout


def test_a_seed_makes_the_same_program_everywhere() -> None:
    choice = Choice.of()
    shown = run_python("-m", "tests.fuzz", "--seed", "5", "--show", cwd=ROOT)
    assert shown.stdout.strip() == str(generate(5, choice))
    assert len({str(generate(seed, choice)) for seed in range(30)}) == 30


def test_a_printed_program_is_read_as_it_was() -> None:
    choice = Choice.of()
    for seed in range(60):
        program = generate(seed, choice)
        assert str(parse(str(program))) == str(program)
    with pytest.raises(ValueError, match="line 2"):
        parse("# wild\nnonsense")


def test_surfaces_and_calls_can_be_left_out() -> None:
    def made(choice: Choice) -> str:
        return "\n".join(str(generate(seed, choice)) for seed in range(40))

    assert "sendto(" in made(Choice.of())
    assert "sendto(" not in made(Choice.of(without=["datagrams", "sock_sendto("]))
    assert "call_soon(" not in made(Choice.of(only=["looks"], without=["spin("]))


def test_shrinking_keeps_what_fails_and_nothing_else() -> None:
    steps = tuple(("main", Step(f"r{number}", f"call({number})")) for number in range(40))
    program = Program((*steps, ("b1", Step("r99", "never()"))))

    def fails(smaller: Program) -> bool:
        return {"r7", "r31"} <= smaller.expressions().keys()

    assert shrink(program, fails, 60).expressions().keys() == {"r7", "r31"}
    # The time is up at once: the unshrunk program fails, too.
    assert fails(shrink(program, fails, 0))


def test_an_allowed_difference_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    program = parse("r1 = loop.time()")
    theirs = Record(outcomes={"r1": ["TypeError"]})
    ours = Record(outcomes={"r1": ["None"]})
    assert [failure.kind for failure in failures(program, theirs, ours)] == ["mismatch"]
    allowed = Difference(r"loop\.time", "TypeError", "None", "a reason")
    monkeypatch.setattr("tests.fuzz.differences.DIFFERENCES", (allowed,))
    assert failures(program, theirs, ours) == []
    assert [failure.kind for failure in failures(program, ours, theirs)] == ["mismatch"]


def test_each_difference_has_its_reason() -> None:
    assert all(len(difference.why) > 20 for difference in DIFFERENCES)


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ('Fatal\n  File "a.py", line 3 in run\n', ' in File "a.py", line 3 in run'),
        ('Fatal\n  File "<step 5>", line 1 in main\n', " in <step 5>"),
        ("Fatal\n  File ???, line 3 in ???\n", " in File ???, line 3 in ???"),
        ("Fatal\n", ""),
    ],
)
def test_a_crash_is_known_by_its_innermost_place(words: str, place: str) -> None:
    assert place_of_death(words) == place
