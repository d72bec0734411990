"""`python -m yamanote bench`: a short comparison of the event loops that can be imported here.

Each sample has a process of its own, and each round runs every loop, so that other work on the
machine affects all of them alike. `benches/` in the sources has the long one.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Modules with `new_event_loop()`.
LOOPS = ("asyncio", "uvloop", "zuvloop", "rsloop", "rloop", "yamanote")
ROUNDS = 3
#: CPU seconds that a sample takes, or somewhat more.
SAMPLE_S = 0.2
#: Operations between two readings of the clock.
BATCH = 200


async def call_soon() -> None:
    """Schedule callbacks, a hundred in a turn."""
    loop = asyncio.get_running_loop()
    for _ in range(BATCH // 100):
        for _ in range(100):
            loop.call_soon(_nothing)
        await asyncio.sleep(0)


async def timer() -> None:
    """Schedule timers and cancel them."""
    loop = asyncio.get_running_loop()
    for _ in range(BATCH):
        loop.call_later(60, _nothing).cancel()
    await asyncio.sleep(0)


async def sleep_0() -> None:
    """Let other tasks run."""
    for _ in range(BATCH):
        await asyncio.sleep(0)


async def task() -> None:
    """Create a task and await it."""
    for _ in range(BATCH):
        await asyncio.create_task(_nothing_async())


async def echo_protocol() -> None:
    """Send 1 KiB over TCP to an echo server of the same loop, with protocols at both ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    transport, client = await loop.create_connection(_Client, *address)
    await client.done
    transport.close()
    server.close()
    await server.wait_closed()


async def echo_streams() -> None:
    """Do the same with streams."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    message = bytes(1024)
    for _ in range(BATCH):
        writer.write(message)
        await reader.readexactly(len(message))
    writer.close()
    server.close()
    await server.wait_closed()


async def connect() -> None:
    """Open connections to a server of the same loop, and close them."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    for _ in range(BATCH):
        reader, writer = await asyncio.open_connection(*address)
        await reader.read()
        writer.close()
        await writer.wait_closed()
    server.close()
    await server.wait_closed()


WORKLOADS: tuple[Callable[[], Awaitable[None]], ...] = (
    call_soon,
    timer,
    sleep_0,
    task,
    echo_protocol,
    echo_streams,
    connect,
)


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


class _Client(_Echo):
    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = BATCH * 1024

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._transport.write(bytes(1024))

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left <= 0:
            self.done.set_result(None)
        elif self._left % 1024 == 0:
            self._transport.write(bytes(1024))


def _nothing() -> None:
    """Do nothing."""


async def _nothing_async() -> None:
    """Do nothing."""


def sample(loop_name: str) -> list[float]:
    """Return the CPU time of an operation of each workload in nanoseconds, on one loop."""
    factory = importlib.import_module(loop_name).new_event_loop

    async def measure(workload: Callable[[], Awaitable[None]]) -> float:
        await workload()
        operations, start = 0, time.process_time()
        while (spent := time.process_time() - start) < SAMPLE_S:
            await workload()
            operations += BATCH
        return spent / operations * 1e9

    results: list[float] = []
    for workload in WORKLOADS:
        loop = factory()
        results.append(loop.run_until_complete(measure(workload)))
        loop.close()
    return results


def _in_child(loop_name: str) -> list[float] | None:
    """Return a sample of a new interpreter; `None` if that loop fails."""
    command = [sys.executable, "-m", __name__, loop_name]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if child.returncode != 0:
        return None
    return [float(word) for word in child.stdout.split()]


def main() -> None:
    """Print a table: nanoseconds of CPU time for an operation, and the ratio to yamanote's."""
    names = [name for name in LOOPS if find_spec(name) is not None]
    samples: dict[str, list[list[float]]] = {name: [] for name in names}
    for number in range(ROUNDS):
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
        for name in names:
            one = _in_child(name)
            if one is not None:
                samples[name].append(one)
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in samples.items()
        if rows
    }
    for name in names:
        if name not in medians:
            print(f"{name} failed", file=sys.stderr)
    print(f"CPU ns per operation, {os.cpu_count()} processors, Python {sys.version.split()[0]}")
    print(f"{'':<14}" + "".join(f"{name:>16}" for name in medians))
    for row, workload in enumerate(WORKLOADS):
        cells = [
            f"{column[row]:,.0f} ({column[row] / medians['yamanote'][row]:.2f})"
            for column in medians.values()
        ]
        print(f"{workload.__name__:<14}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    print(*sample(sys.argv[1]))
