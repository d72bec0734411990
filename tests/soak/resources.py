"""The resources of a process: descriptors, threads, memory."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.processes import LINUX, thread_count

if TYPE_CHECKING:
    from collections.abc import Callable

#: A leak grows in every round. An allocator that adds an arena, or takes over the pages of a thread
#: that ended, does so in some: three in a row were seen without the GIL, late in the whole suite.
ROUNDS = 10
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if LINUX else 4096


@dataclass(frozen=True)
class Resources:
    """A snapshot of this process. Linux only."""

    descriptors: frozenset[str]
    threads: int
    resident_bytes: int

    @classmethod
    def now(cls) -> Resources:
        """Returns the current resources of this process."""
        descriptors: set[str] = set()
        for entry in Path("/proc/self/fd").iterdir():
            try:
                descriptors.add(f"{entry.name} -> {entry.readlink()}")
            except FileNotFoundError:
                # Without the descriptor used by the listing itself.
                continue
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(frozenset(descriptors), thread_count(os.getpid()), pages * PAGE_BYTES)


def smallest_growth(play: Callable[[], None], enough_bytes: int) -> int:
    """Plays rounds until one makes the process grow by less than the given bytes.

    Returns the smallest growth of a round in bytes. Raises AssertionError when a round leaves
    descriptors or threads behind.
    """
    gc.collect()
    before = first = Resources.now()
    growths: list[int] = []
    for _ in range(ROUNDS):
        play()
        gc.collect()
        after = Resources.now()
        assert after.descriptors == first.descriptors
        assert after.threads == first.threads
        growths.append(after.resident_bytes - before.resident_bytes)
        if growths[-1] < enough_bytes:
            break
        before = after
    return min(growths)
