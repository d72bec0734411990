"""Child processes that run a few lines of Python on the loop under test."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

#: Seconds a child may take before it counts as hung. Generous: the machine may be busy.
PATIENCE_S = 40.0


@dataclass(frozen=True)
class Program:
    """Runs source code with `new_event_loop` and `run` imported from the module under test.

    The source also finds `asyncio` imported. Warnings are errors in the child, as they are here.
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
        return subprocess.run(
            self._command(source, options),
            capture_output=True,
            check=False,
            env={**os.environ, **(env or {})},
            text=True,
            timeout=PATIENCE_S,
        )

    @contextlib.contextmanager
    def start(self, source: str, *options: str) -> Generator[subprocess.Popen[str], None, None]:
        """Starts `source` and yields the child once it has printed the line `ready`."""
        with subprocess.Popen(
            self._command(source, options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            try:
                assert child.stdout is not None
                line = child.stdout.readline()
                if line != "ready\n":
                    child.kill()
                    raise AssertionError(f"expected 'ready', got {line!r}: {child.communicate()}")
                yield child
            finally:
                child.kill()

    def _command(self, source: str, options: tuple[str, ...]) -> list[str]:
        preamble = f"import asyncio\nfrom {self.module} import new_event_loop, run\n"
        return [
            sys.executable,
            "-W",
            "error",
            *options,
            "-c",
            preamble + textwrap.dedent(source),
        ]
