"""The cost of a child process: starting it, and reading from it or writing to it.

`python benches/children.py --loop yamanote` measures one loop in this process and prints JSON.
`compare.py` starts a new process for each loop and round.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from itertools import repeat

import micro

#: A program that does nothing, and exists on every Unix.
TRUE = "/bin/true"

MIB = 1 << 20


def spawn(loop: asyncio.AbstractEventLoop, operations: int) -> micro.Timed:
    """Start a child that exits at once, and wait for it."""

    async def main() -> None:
        for _ in repeat(None, operations):
            child = await asyncio.create_subprocess_exec(TRUE)
            assert await child.wait() == 0

    return lambda: loop.run_until_complete(main())


def pipe_read(loop: asyncio.AbstractEventLoop, operations: int) -> micro.Timed:
    """Read a MiB of what a child writes, in pieces of up to 64 KiB, through the stream reader."""
    source = f"import os\nblock = bytes({MIB})\nfor _ in range({operations}):\n"
    source += "    sent = 0\n    while sent < len(block): sent += os.write(1, block[sent:])\n"

    async def main() -> None:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-S", "-c", source, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        received = 0
        while block := await child.stdout.read(65536):
            received += len(block)
        assert received == operations * MIB
        assert await child.wait() == 0

    return lambda: loop.run_until_complete(main())


def pipe_write(loop: asyncio.AbstractEventLoop, operations: int) -> micro.Timed:
    """Write a MiB to a child that reads it, in pieces of 64 KiB with a `drain()` after each."""
    source = "import os\nwhile os.read(0, 1 << 20): pass"
    block = bytes(65536)

    async def main() -> None:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-S", "-c", source, stdin=subprocess.PIPE
        )
        assert child.stdin is not None
        for _ in repeat(None, operations * MIB // len(block)):
            child.stdin.write(block)
            await child.stdin.drain()
        child.stdin.close()
        assert await child.wait() == 0

    return lambda: loop.run_until_complete(main())


WORKLOADS = {
    "spawn": micro.Workload("spawn", 100, spawn),
    "pipe_read": micro.Workload("pipe_read", 100, pipe_read),
    "pipe_write": micro.Workload("pipe_write", 100, pipe_write),
}


if __name__ == "__main__":
    micro.main(WORKLOADS)
