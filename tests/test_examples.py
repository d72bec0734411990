"""Every example runs and prints the expected output."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.programs import PYTHON

if TYPE_CHECKING:
    from collections.abc import Generator

EXAMPLES = Path(__file__).parent.parent / "examples"

pytestmark = pytest.mark.slow

#: The output of the examples that neither log nor serve.
OUTPUTS = {
    "background_tasks": """\
a background task failed: out of luck
the main work is done
the heart stops
""",
    "bounded_concurrency": """\
[0, 1, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121]
at most 3 at once
""",
    "echo_server": """\
['ONE', 'TWO']
['THREE']
""",
    "files": """\
[2, 4, 6]
8 bytes
No such file or directory
""",
    "hello": """\
Hello
from yamanote
""",
    "task_group": """\
['one is done', 'two is done']
three is cancelled
the group failed: no such thing
""",
    "timeouts_and_cancellation": """\
quick starts
quick is here
slow starts
slow cleans up
slow took too long
unwanted starts
unwanted cleans up
unwanted is cancelled
""",
    "worker_queue": "20 jobs done, their sum is 2470\n",
}
OTHERS = {"find_blocking_call", "forgotten_await", "graceful_shutdown", "uvicorn_server"}


def command(name: str) -> list[str]:
    """Returns the command that runs the example `name`."""
    return [*PYTHON, str(EXAMPLES / f"{name}.py")]


def run(name: str) -> tuple[str, str]:
    """Returns the standard output and standard error of an example that exits on its own."""
    child = subprocess.run(command(name), capture_output=True, check=False, text=True, timeout=40)
    assert child.returncode == 0, child.stderr
    return child.stdout, child.stderr


@contextlib.contextmanager
def serving(
    name: str, port_pattern: str
) -> Generator[tuple[subprocess.Popen[str], int], None, None]:
    """Yields a server's process and the port that it has printed."""
    with subprocess.Popen(
        command(name),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as child:
        try:
            assert child.stdout is not None
            seen: list[str] = []
            for line in child.stdout:
                seen.append(line)
                if found := re.search(port_pattern, line):
                    yield child, int(found[1])
                    break
            else:
                pytest.fail(f"no port in {seen}")
        finally:
            child.kill()


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == OUTPUTS.keys() | OTHERS


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_can_be_read_at_a_glance(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60


@pytest.mark.parametrize("name", sorted(OUTPUTS))
def test_an_example_prints_what_it_promises(name: str) -> None:
    assert run(name) == (OUTPUTS[name], "")


def test_the_blocking_call_is_found() -> None:
    output, errors = run("find_blocking_call")
    assert output == "contents\ncontents\n"
    # On a busy machine other steps may be slow, too; this one always is.
    assert re.search(
        r"^WARNING Executing <Task .*name='culprit' .* took \d+\.\d+ seconds$", errors, re.M
    )


def test_the_forgotten_await_is_found() -> None:
    output, errors = run("forgotten_await")
    assert output == "saved the second\n"
    assert "RuntimeWarning: coroutine 'save' was never awaited" in errors
    assert "Coroutine created at (most recent call last)" in errors
    assert 'save("the first")' in errors


def test_the_graceful_shutdown_finishes_its_client() -> None:
    with (
        serving("graceful_shutdown", r"serving on port (\d+)") as (child, port),
        socket.create_connection(("127.0.0.1", port)) as client,
        client.makefile("rb") as answers,
    ):
        client.sendall(b"hello\n")
        assert answers.readline() == b"one moment\n"
        child.send_signal(signal.SIGTERM)
        assert answers.read() == b"you said hello\n"
        assert child.stdout is not None
        assert child.stdout.read() == "finishing 1 client(s)\nbye\n"
        assert child.wait(40) == 0


def test_the_uvicorn_server_answers_and_ends_on_sigterm() -> None:
    pytest.importorskip("uvicorn", reason="the example serves with uvicorn")
    pytest.importorskip("starlette", reason="the example's application is Starlette's")
    with serving("uvicorn_server", r"running on http://127\.0\.0\.1:(\d+)") as (child, port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/hello/you", timeout=40) as answer:
            assert json.loads(answer.read()) == {"hello": "you"}
        child.send_signal(signal.SIGTERM)
        assert child.stdout is not None
        assert "Finished server process" in child.stdout.read()
