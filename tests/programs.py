"""Child processes that run Python: a few lines on the loop under test, or any other code.

A child that crashes fails its test, whatever the test checks, and its output has the stacks of its
threads.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

#: Seconds after which a child counts as hung. Generous, because the machine may be busy.
PATIENCE_S = 40.0

#: Options with which a child reports where it crashed.
PYTHON = (sys.executable, "-X", "faulthandler")

#: Signals that mean a crash, unless the test has sent them.
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)


def must_not_crash(code: int | None, said: str | None) -> None:
    """Fails if a child has crashed.

    Args:
        code: its exit code; `None` if it is still running.
        said: its output, with its stacks.
    """
    if code is not None and -code in CRASHES:
        raise AssertionError(f"the child ended by {signal.Signals(-code).name}\n{said or ''}")


def run_python(
    *arguments: str,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    timeout: float = PATIENCE_S,
) -> subprocess.CompletedProcess[str]:
    """Runs this process's interpreter in a child until it exits.

    Args:
        arguments: the command line of the child.
        cwd: its working directory, if not that of this process.
        env: its whole environment, if not that of this process.
        timeout: seconds after which it counts as hung.
    """
    done = subprocess.run(
        [*PYTHON, *arguments],
        capture_output=True,
        check=False,
        cwd=cwd,
        env=env,
        text=True,
        timeout=timeout,
    )
    must_not_crash(done.returncode, done.stderr)
    return done


class Child(subprocess.Popen[str]):
    """A child whose output and exit code are checked for a crash."""

    def communicate(
        self, input: str | None = None, timeout: float | None = None
    ) -> tuple[str, str]:
        """Returns its output until it exits, and checks that it has not crashed."""
        output, errors = super().communicate(input, timeout)
        must_not_crash(self.returncode, errors)
        return output, errors

    def look(self) -> None:
        """Fails if it has crashed."""
        if self.poll() is not None and self.stderr is not None and not self.stderr.closed:
            must_not_crash(self.returncode, self.stderr.read())


@dataclass(frozen=True)
class Program:
    """Runs source code with `new_event_loop` and `run` imported from the module under test.

    `asyncio` is imported, too. Warnings are errors in the child, as they are here.
    """

    module: str

    def run(
        self, source: str, *options: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs `source` to its end and returns its exit code and output.

        Args:
            source: the program; it is dedented.
            options: interpreter options, such as `-X` and `dev`.
            env: variables to add to this process's environment.
        """
        return run_python(*self._arguments(source, options), env={**os.environ, **(env or {})})

    @contextlib.contextmanager
    def start(
        self,
        source: str,
        *options: str,
        env: dict[str, str] | None = None,
        stdin: int | None = None,
        stderr: int = subprocess.PIPE,
    ) -> Generator[Child, None, None]:
        """Starts `source` and yields the child once it has printed the line `ready`.

        Args:
            source: the program; it is dedented.
            options: interpreter options, such as `-X` and `dev`.
            env: variables to add to this process's environment.
            stdin: as for `subprocess.Popen`.
            stderr: as for `subprocess.Popen`.
        """
        with Child(
            [*PYTHON, *self._arguments(source, options)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **(env or {})},
            text=True,
        ) as child:
            try:
                assert child.stdout is not None
                line = child.stdout.readline()
                if line != "ready\n":
                    child.kill()
                    raise AssertionError(f"expected 'ready', got {line!r}: {child.communicate()}")
                yield child
                child.look()
            finally:
                child.kill()

    def _arguments(self, source: str, options: tuple[str, ...]) -> tuple[str, ...]:
        preamble = f"import asyncio\nfrom {self.module} import new_event_loop, run\n"
        return "-W", "error", *options, "-c", preamble + textwrap.dedent(source)
