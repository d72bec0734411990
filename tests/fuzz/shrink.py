"""Shrinks a failing program: removes steps as long as it still fails."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.fuzz.program import Program

if TYPE_CHECKING:
    from collections.abc import Callable


def shrink(
    program: Program,
    fails: Callable[[Program], bool],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> Program:
    """Returns the smallest program found that still fails.

    Args:
        program: a failing program.
        fails: runs a program and returns whether it fails in the same way.
        seconds: the maximum duration.
        clock: returns the time.
    """
    deadline = clock() + seconds
    size = max(1, len(program.steps) // 2)
    while True:
        start = 0
        progress = False
        while start < len(program.steps):
            if clock() > deadline:
                return program
            steps = program.steps[:start] + program.steps[start + size :]
            smaller = Program(steps, program.wild).reachable()
            if steps and fails(smaller):
                program = smaller
                progress = True
            else:
                start += size
        if size > 1:
            size //= 2
        elif not progress:
            return program
