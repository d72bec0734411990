"""The cost of awaiting a Rust future, with pyo3-async-runtimes and with yamanote's interface.

Run `make bench-futures`, or `python benches/futures.py` if `tests/rust_extension` is installed.
Prints the CPU time of the whole process (the runtime's threads are part of the cost) and the wall
time, in microseconds per `await`: medians over rounds, each of which measures all rows.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import loops

#: The event loop and the interface for each column.
RIVALS = (
    ("asyncio", "bridged"),
    ("uvloop", "bridged"),
    ("yamanote", "bridged"),
    ("yamanote", "own"),
    ("yamanote", "spawned"),
)

Make: TypeAlias = Callable[[], Awaitable[object]]


async def bare() -> int:
    """Return at once: the cost of a coroutine in Python."""
    return 1


def futures(way: str, port: int) -> dict[str, Make]:
    """Return the functions that create the awaitables, by row name."""
    rust: Any = importlib.import_module("yamanote_testing")
    if way == "spawned":
        return {"ready": lambda: rust.spawned(1, 0), "yielding": lambda: rust.spawned(1, 1)}
    ready, yielding, sleep, socket = (
        getattr(rust, ("bridged_" if way == "bridged" else "") + name)
        for name in ("ready", "yielding", "sleep", "socket")
    )
    return {
        "bare": bare,
        "ready": lambda: ready(1),
        "yielding": lambda: yielding(1, 1),
        "timer": lambda: sleep(0.001),
        "socket": lambda: socket(port),
    }


#: Number of concurrent awaits, and number of awaits in total.
SIZES = ((1, 5_000), (100, 10_000), (10_000, 20_000))
#: Rows that wait or connect: fewer awaits suffice, and 10,000 connections are too many.
SLOW = {"timer": 200, "socket": 200}


async def one_by_one(make: Make, count: int) -> None:
    """Await one after the other."""
    for _ in range(count):
        await make()


async def gathered(make: Make, count: int, width: int) -> None:
    """Await `width` at a time."""
    for _ in range(count // width):
        await asyncio.gather(*(make() for _ in range(width)))


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve the socket future's connection."""
    writer.write(await reader.read(1))
    writer.close()


async def sample(way: str) -> dict[str, tuple[float, float]]:
    """Measure all rows; return CPU and wall microseconds by row."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=1000)
    port = server.sockets[0].getsockname()[1]
    rows: dict[str, tuple[float, float]] = {}
    for name, make in futures(way, port).items():
        await one_by_one(make, 20)
        for width, most in SIZES:
            count = max(min(most, SLOW.get(name, most)), width)
            if name == "socket" and width > 100:
                continue
            cpu, wall = time.process_time(), time.perf_counter()
            if width == 1:
                await one_by_one(make, count)
            else:
                await gathered(make, count, width)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            rows[f"{name} x {width}"] = cpu / count * 1e6, wall / count * 1e6
    server.close()
    return rows


def measure(loop_name: str, way: str) -> dict[str, tuple[float, float]]:
    """Take a sample in a new process."""
    command = [sys.executable, __file__, "--sample", loop_name, way]
    child = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=300)
    rows: dict[str, tuple[float, float]] = json.loads(child.stdout)
    return rows


def main() -> None:
    """Measure all columns round by round, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sample", nargs=2, metavar=("LOOP", "WAY"))
    options = parser.parse_args()
    if options.sample:
        loop_name, way = options.sample
        loop = loops.new(loop_name)
        print(json.dumps(loop.run_until_complete(sample(way))))
        loop.close()
        return
    here = loops.available()
    rivals = [rival for rival in RIVALS if rival[0] in here]
    samples: dict[tuple[str, str], list[dict[str, tuple[float, float]]]] = {}
    for number in range(options.rounds):
        for rival in rivals if number % 2 == 0 else reversed(rivals):
            samples.setdefault(rival, []).append(measure(*rival))
    heads = ["/".join(rival) for rival in rivals]
    print(f"{'us: CPU (wall)':20}" + "".join(f"{head:>22}" for head in heads))
    for row in samples[rivals[-2]][0]:
        cells: list[str] = []
        for rival in rivals:
            taken = [each[row] for each in samples[rival] if row in each]
            cell = ""
            if taken:
                cpu, wall = (statistics.median(column) for column in zip(*taken, strict=True))
                cell = f"{cpu:.2f} ({wall:.2f})"
            cells.append(f"{cell:>22}")
        print(f"{row:20}" + "".join(cells))


if __name__ == "__main__":
    main()
