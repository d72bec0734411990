"""A hostile afternoon: random misuse of transports must look the same on asyncio and yamanote.

`YAMANOTE_HOSTILE=100000 pytest tests/tcp/test_hostile.py` plays that many sequences.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys

import pytest

from tests.loops import LOOPS
from tests.tcp.afternoon import Afternoon
from tests.tcp.script import Script, scripts

#: Sequences per batch. A loop lives for one batch, after which leaks are detected.
BATCH = 500
COUNT = int(os.environ.get("YAMANOTE_HOSTILE", "3000"))
#: The maximum number of differences to print.
SHOWN = 3


def play(name: str, batch: list[Script]) -> list[list[str]]:
    """Returns the records of `batch` on the named loop, and checks that nothing is left behind."""
    before = set(os.listdir("/dev/fd"))
    with (
        contextlib.closing(LOOPS[name]()) as loop,
        contextlib.closing(Afternoon(loop)) as afternoon,
    ):
        records = [afternoon.play(script) for script in batch]
        gc.collect()
        alive = [found for ref in afternoon.born if (found := ref()) is not None]
        assert alive == []
    assert set(os.listdir("/dev/fd")) == before
    return records


def beside(script: Script, expected: list[str], found: list[str]) -> str:
    """Returns both records, line by line, with the differences marked."""
    lines = [str(script)]
    for number in range(max(len(expected), len(found))):
        left, right = (side[number] if number < len(side) else "" for side in (expected, found))
        lines.append(f"{' ' if left == right else '>'} {left:55} {right}")
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.hang_after(300)
@pytest.mark.skipif(sys.platform != "linux", reason="uses Linux-specific system calls")
@pytest.mark.parametrize("first", range(0, COUNT, BATCH))
def test_hostile_sequences_are_seen_alike(first: int) -> None:
    batch = list(scripts(first, min(BATCH, COUNT - first)))
    expected, found = (play(name, batch) for name in LOOPS)
    differences = [
        beside(script, one, other)
        for script, one, other in zip(batch, expected, found, strict=True)
        if one != other
    ]
    shown = "\n\n".join(differences[:SHOWN])
    assert not differences, f"{len(differences)} of {len(batch)} differ from asyncio:\n{shown}"
    # Check that the sequences reach all cases that they are meant to reach.
    seen = {line.split(" ")[1] for record in expected for line in record if " " in line}
    assert {"connection_lost", "pause_writing", "resume_writing", "eof_received"} <= seen
