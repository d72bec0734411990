"""Bugs of asyncio itself, with the releases that have them.

asyncio is the specification, so a test that yamanote passes and a release of asyncio fails needs a
reason. It is given here.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class AsyncioBug:
    """A bug in some releases of CPython's asyncio."""

    issue: str
    effect: str
    first: tuple[int, int, int]
    fixed: tuple[int, int, int]

    def skip_asyncio(self, loop_name: str) -> None:
        """Skips the test on asyncio's own loop if the running release has the bug."""
        if loop_name == "asyncio" and self.first <= sys.version_info[:3] < self.fixed:
            pytest.skip(f"{self.issue}: {self.effect}")


REFUSED_RUN_ENDS_THE_RUNNING_ONE = AsyncioBug(
    issue="gh-130145",
    effect="a refused run_forever() undoes the set-up of the current run",
    first=(3, 13, 0),
    fixed=(3, 13, 3),
)
