"""What Linux tells about a process: whether it sleeps, how often it woke, what it costs."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path

LINUX = sys.platform == "linux"


@dataclass(frozen=True)
class Activity:
    """What a process has done so far, all its threads together."""

    #: Times that a thread went to sleep of its own accord: every wake-up ends in one.
    sleeps: int
    #: Processor time in clock ticks.
    ticks: int
    #: Threads that are not asleep: they run, or would if another process let them.
    awake: int


def thread_count(pid: int) -> int:
    """Threads of the process, those that Python does not know of included."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def activity(pid: int) -> Activity:
    """What the process has done so far."""
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
    """Returns once all threads of the process have slept for `quiet_s` seconds.

    That nothing was done is not enough: on a busy machine, a process may be about to do it.
    A no-op where there is no /proc; what follows is then only a little less strict.
    """
    if not LINUX:
        return
    before = None
    while before != (now := activity(pid)) or now.awake:
        before = now
        time.sleep(quiet_s)


def children() -> set[str]:
    """The process ids of this process's children, zombies included."""
    found: set[str] = set()
    for thread in Path("/proc/self/task").iterdir():
        # Ignored: a thread that has just ended.
        with contextlib.suppress(FileNotFoundError):
            found.update((thread / "children").read_text().split())
    return found
