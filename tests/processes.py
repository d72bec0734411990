"""Facts from Linux about a process: whether it sleeps, how often it woke, its CPU time."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path

LINUX = sys.platform == "linux"


@dataclass(frozen=True)
class Activity:
    """What a process has done so far, summed over its threads."""

    #: Voluntary context switches: every wake-up ends in one.
    sleeps: int
    #: CPU time in clock ticks.
    ticks: int
    #: Threads that are not asleep: running, or runnable.
    awake: int


def thread_count(pid: int) -> int:
    """Returns the number of threads of the process, including those unknown to Python."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def thread_names(pid: int) -> list[str]:
    """Returns the names of these threads, as the kernel has them: 15 characters at most."""
    names: list[str] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # It has ended.
            names.append((thread / "comm").read_text().rstrip("\n"))
    return names


def activity(pid: int) -> Activity:
    """Returns what the process has done so far."""
    sleeps = ticks = awake = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for line in (thread / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                sleeps += int(line.split()[1])
        fields = (thread / "stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
        awake += fields[0] in ("R", "D")
    return Activity(sleeps, ticks, awake)


def wait_until_idle(pid: int, *, quiet_s: float = 0.03) -> None:
    """Returns after all threads of the process have slept for `quiet_s` seconds.

    An unchanged CPU time is not enough: on a busy machine, a runnable process may not have run yet.
    Without /proc this is a no-op, and the test is a little less strict.
    """
    if not LINUX:
        return
    before = None
    while before != (now := activity(pid)) or now.awake:
        before = now
        time.sleep(quiet_s)


def children() -> set[str]:
    """Returns the process ids of this process's children, zombies included."""
    found: set[str] = set()
    for thread in Path("/proc/self/task").iterdir():
        # Ignored: the thread has just ended.
        with contextlib.suppress(FileNotFoundError):
            found.update((thread / "children").read_text().split())
    return found
