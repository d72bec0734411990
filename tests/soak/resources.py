"""The resources of a process: descriptors, threads, memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.processes import LINUX, thread_count

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
