"""Bugs of asyncio itself, in the releases that have them.

asyncio is the specification, so a test that our loop passes and one old release of asyncio fails
needs a reason. This is where it is given.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class AsyncioBug:
    """A fault in some releases of CPython's asyncio."""

    issue: str
    effect: str
    first: tuple[int, int, int]
    fixed: tuple[int, int, int]

    def skip_asyncio(self, loop_name: str) -> None:
        """Skips the test on asyncio's own loop where the running release has the fault."""
        if loop_name == "asyncio" and self.first <= sys.version_info[:3] < self.fixed:
            pytest.skip(f"{self.issue}: {self.effect}")


REFUSED_RUN_ENDS_THE_RUNNING_ONE = AsyncioBug(
    issue="gh-130145",
    effect="a refused run_forever() undoes the set-up of the run that is going on",
    first=(3, 13, 0),
    fixed=(3, 13, 3),
)
