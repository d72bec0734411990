"""The guards of this suite fail the tests that they are meant to fail."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.programs import Program, run_python

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


def run_pytest(directory: Path, source: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs a file of tests under this suite's conftest, in another process."""
    path = directory / "test_inner.py"
    path.write_text(source)
    options = ("-p", "tests.conftest", "-p", "no:cacheprovider", *options)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-c", "/dev/null", "--rootdir", directory, *options, path],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        text=True,
        timeout=60,
    )


def test_a_hang_ends_the_run_with_the_stack_of_the_culprit(tmp_path: Path) -> None:
    source = """
import threading

def test_hangs():
    threading.Event().wait()
"""
    child = run_pytest(tmp_path, source, "--hang-after", "0.5")
    assert child.returncode == 1
    assert "Timeout (0:00:00.500000)!" in child.stderr
    assert "in test_hangs" in child.stderr


def test_a_test_may_ask_for_more_time(tmp_path: Path) -> None:
    source = """
import time
import pytest

@pytest.mark.hang_after(30)
def test_is_slow():
    time.sleep(0.6)
"""
    child = run_pytest(tmp_path, source, "--hang-after", "0.3")
    assert child.returncode == 0, child.stdout


#: The signal, and the function that the stack must show.
CRASHED = r"(?s)the child ended by SIG.* in crash"


@pytest.mark.parametrize("end", ["abort", "SIGSEGV", "SIGBUS", "SIGILL"])
def test_a_child_that_crashes_fails_its_test_with_the_stack(end: str) -> None:
    source = f"""
    import os, signal

    def crash():
        {"os.abort()" if end == "abort" else f"os.kill(os.getpid(), signal.{end})"}

    print("ready", flush=True)
    os.read(0, 1)
    crash()
    """
    program = Program("yamanote")
    with pytest.raises(AssertionError, match=CRASHED):
        run_python("-c", textwrap.dedent(source))
    with (
        pytest.raises(AssertionError, match=CRASHED),
        program.start(source) as child,
    ):
        child.communicate()
    with (
        pytest.raises(AssertionError, match=CRASHED),
        program.start(source) as child,
    ):
        child.wait()


def test_a_child_may_be_killed_and_may_fail() -> None:
    assert run_python("-c", "raise SystemExit(3)").returncode == 3
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert run_python("-c", kill).returncode == -signal.SIGKILL


def test_python_below_a_child_can_say_where_it_crashed() -> None:
    assert os.environ["PYTHONFAULTHANDLER"]
    assert faulthandler.is_enabled()


def test_what_a_loop_reports_fails_the_test(tmp_path: Path) -> None:
    source = """
def test_reports(loop):
    loop.call_exception_handler({"message": "unexpected"})

def test_reports_and_expects_it(loop, reported):
    loop.call_exception_handler({"message": "expected"})
    assert [context["message"] for context in reported] == ["expected"]
    reported.clear()

def test_leaves_an_exception_behind(loop):
    loop.create_future().set_exception(ZeroDivisionError())
"""
    child = run_pytest(tmp_path, source)
    assert child.returncode == 1
    assert "6 passed, 4 errors in " in child.stdout
