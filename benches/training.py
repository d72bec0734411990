"""What a profile-guided build learns from: `python benches/training.py`.

Runs the counted rows and bulk data on our loop, each in a process of its own, which ends as a
program does: that is when an instrumented library writes what it counted.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import certificates
import loops
import pairs
import server
from lockstep import Lockstep
from rows import ROWS

if TYPE_CHECKING:
    from collections.abc import Callable

    from micro import Timed

#: Not learned from: they show what a program gains that the build does not know.
EXAMS = ("hypercorn", "redis_get")


def workloads() -> dict[str, tuple[Callable[[asyncio.AbstractEventLoop, int], Timed], int]]:
    """Return what to run by name, with its operations: each about 20 million instructions."""
    chosen = {row.name: (row.prepare, row.operations) for row in ROWS if row.name not in EXAMS}
    chosen["bulk"] = (pairs.bulk, 10)
    return chosen


def main() -> None:
    """Run one workload in this process, or all in others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=workloads())
    parser.add_argument("--key", help="PEM file of a private key")
    parser.add_argument("--chain", help="PEM file of its certificates")
    options = parser.parse_args()
    if options.only is None:
        keys = certificates.files()
        for name in workloads():
            command = [sys.executable, __file__, f"--only={name}"]
            subprocess.run(
                [*command, f"--key={keys.key}", f"--chain={keys.chain}"], check=True, timeout=300
            )
    else:
        Lockstep.keys = server.Keys(options.key, options.chain)
        loop = loops.new(loops.OURS)
        asyncio.set_event_loop(loop)
        prepare, operations = workloads()[options.only]
        prepare(loop, operations)()


if __name__ == "__main__":
    main()
