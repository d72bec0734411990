"""The cost of the loop itself: workloads without connections, in time per operation.

`python benches/micro.py --loop yamanote` measures one loop in this process and prints JSON.
`compare.py` starts a new process for each loop and round.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import io
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import TypeAlias

import loops

#: Runs all operations of a workload on the loop that it was created for.
Timed: TypeAlias = Callable[[], object]

#: The samples of a workload, or why there are none.
Outcome: TypeAlias = "list[dict[str, float]] | str"

#: Callbacks per turn, as on a busy server; a longer queue would measure CPU caches.
BATCH = 100


@dataclass(frozen=True)
class Workload:
    """One workload, and its number of operations."""

    name: str
    operations: int
    prepare: Callable[[asyncio.AbstractEventLoop, int], Timed]


WORKLOADS: dict[str, Workload] = {}


def workload(
    operations: int,
) -> Callable[[Callable[[asyncio.AbstractEventLoop, int], Timed]], None]:
    """Register a workload of that many operations under its function's name."""

    def register(prepare: Callable[[asyncio.AbstractEventLoop, int], Timed]) -> None:
        name = prepare.__name__
        WORKLOADS[name] = Workload(name, operations, prepare)

    return register


def nothing() -> None:
    """Do nothing."""


def nothing_with_three(_a: object, _b: object, _c: object) -> None:
    """Do nothing with three arguments."""


def in_batches(
    loop: asyncio.AbstractEventLoop, operations: int, batch: Callable[[], object]
) -> Timed:
    """Call `batch`, which runs `BATCH` operations, once per turn until all are done."""

    def timed() -> None:
        left = operations // BATCH

        def pump() -> None:
            nonlocal left
            if left == 0:
                loop.stop()
                return
            left -= 1
            batch()
            loop.call_soon(pump)

        loop.call_soon(pump)
        loop.run_forever()

    return timed


@workload(operations=300_000)
def call_soon_0(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Schedule and run a callback without arguments."""

    def batch() -> None:
        call_soon = loop.call_soon
        for _ in repeat(None, BATCH):
            call_soon(nothing)

    return in_batches(loop, operations, batch)


@workload(operations=300_000)
def call_soon_3(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Schedule and run a callback with three arguments."""

    def batch() -> None:
        call_soon = loop.call_soon
        for _ in repeat(None, BATCH):
            call_soon(nothing_with_three, 1, 2, 3)

    return in_batches(loop, operations, batch)


@workload(operations=200_000)
def chain(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Make one turn: each callback schedules the next."""

    def timed() -> None:
        left = operations

        def link() -> None:
            nonlocal left
            left -= 1
            if left:
                loop.call_soon(link)
            else:
                loop.stop()

        loop.call_soon(link)
        loop.run_forever()

    return timed


@workload(operations=15_000)
def threadsafe_round_trip(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Wake an idle loop from another thread, and let it wake that thread."""

    def timed() -> None:
        answered = threading.Lock()
        answered.acquire()

        def foreign() -> None:
            for _ in repeat(None, operations):
                loop.call_soon_threadsafe(answered.release)
                answered.acquire()
            loop.call_soon_threadsafe(loop.stop)

        thread = threading.Thread(target=foreign)
        thread.start()
        loop.run_forever()
        thread.join()

    return timed


@workload(operations=100_000)
def threadsafe_burst(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Schedule from another thread without waiting for the callback."""

    def timed() -> None:
        def foreign() -> None:
            call_soon_threadsafe = loop.call_soon_threadsafe
            for _ in repeat(None, operations):
                call_soon_threadsafe(nothing)
            call_soon_threadsafe(loop.stop)

        thread = threading.Thread(target=foreign)
        thread.start()
        loop.run_forever()
        thread.join()

    return timed


@workload(operations=8_000)
def executor(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Call a function in the default executor and await its result."""

    async def main() -> None:
        for _ in repeat(None, operations):
            await loop.run_in_executor(None, nothing)

    return lambda: loop.run_until_complete(main())


@workload(operations=200_000)
def timer_cancel(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Schedule a timer and cancel it, like a timeout that does not expire."""

    def batch() -> None:
        call_later = loop.call_later
        for _ in repeat(None, BATCH):
            call_later(60, nothing).cancel()

    return in_batches(loop, operations, batch)


@workload(operations=100_000)
def timers_firing(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Schedule a timer, due in any order within five milliseconds, and run it."""

    def timed() -> None:
        left = operations

        def fire() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                loop.stop()

        for number in range(operations):
            loop.call_later(number * 7919 % 5000 * 1e-6, fire)
        loop.run_forever()

    return timed


@workload(operations=100_000)
def sleep_0(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Await `asyncio.sleep(0)`."""

    async def main() -> None:
        for _ in repeat(None, operations):
            await asyncio.sleep(0)

    return lambda: loop.run_until_complete(main())


@workload(operations=50_000)
def task(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Create a task for a trivial coroutine and run it."""

    async def trivial() -> None:
        pass

    async def main() -> None:
        for _ in repeat(None, operations // BATCH):
            tasks = [loop.create_task(trivial()) for _ in repeat(None, BATCH)]
            await tasks[-1]  # Tasks run in the order of their creation.

    return lambda: loop.run_until_complete(main())


@workload(operations=50_000)
def task_awaited(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Create a task for a trivial coroutine and await it at once."""

    async def trivial() -> None:
        pass

    async def main() -> None:
        for _ in repeat(None, operations):
            await loop.create_task(trivial())

    return lambda: loop.run_until_complete(main())


@workload(operations=20_000)
def gather_50(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Run a task that yields once, 50 of them gathered."""

    async def main() -> None:
        for _ in repeat(None, operations // 50):
            await asyncio.gather(*[loop.create_task(asyncio.sleep(0)) for _ in repeat(None, 50)])

    return lambda: loop.run_until_complete(main())


@workload(operations=20_000)
def wait_for(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Await a coroutine that yields once, with a timeout that does not expire."""

    async def main() -> None:
        for _ in repeat(None, operations):
            await asyncio.wait_for(asyncio.sleep(0), 60)

    return lambda: loop.run_until_complete(main())


@workload(operations=60_000)
def future_wake(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Await a future that a callback completes."""

    async def main() -> None:
        for _ in repeat(None, operations):
            future: asyncio.Future[None] = loop.create_future()
            loop.call_soon(future.set_result, None)
            await future

    return lambda: loop.run_until_complete(main())


@workload(operations=20_000)
def queue_ping_pong(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Send an item to another task through a queue and get it back through a second one."""

    async def main() -> None:
        there: asyncio.Queue[int] = asyncio.Queue(1)
        back: asyncio.Queue[int] = asyncio.Queue(1)

        async def pong() -> None:
            for _ in repeat(None, operations):
                await back.put(await there.get())

        partner = loop.create_task(pong())
        for number in range(operations):
            await there.put(number)
            await back.get()
        await partner

    return lambda: loop.run_until_complete(main())


class PipeReader(asyncio.Protocol):
    """Requests the next message when the last one has arrived."""

    def __init__(self, size: int, ask: Callable[[], object]) -> None:
        """Expect messages of that many bytes."""
        self.size = self.missing = size
        self.ask = ask

    def data_received(self, data: bytes) -> None:
        """Count the bytes."""
        self.missing -= len(data)
        if not self.missing:
            self.missing = self.size
            self.ask()


def through_a_pipe(loop: asyncio.AbstractEventLoop, messages: int, size: int) -> Timed:
    """Write one message after the other to a pipe whose other end is read by the same loop."""

    async def main() -> None:
        read_fd, write_fd = os.pipe()
        message, left = bytes(size), messages
        done: asyncio.Future[None] = loop.create_future()

        def write() -> None:
            nonlocal left
            if left:
                left -= 1
                writer.write(message)
            else:
                done.set_result(None)

        writer, _ = await loop.connect_write_pipe(asyncio.Protocol, io.FileIO(write_fd, "w"))
        reader, _ = await loop.connect_read_pipe(
            lambda: PipeReader(size, write), io.FileIO(read_fd, "r")
        )
        write()
        await done
        writer.close()
        reader.close()
        await asyncio.sleep(0.01)  # Not all peers close a pipe in the next turn.

    return lambda: loop.run_until_complete(main())


@workload(operations=20_000)
def pipe_100_b(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Pass 100 bytes through a pipe."""
    return through_a_pipe(loop, operations, 100)


@workload(operations=5_000)
def pipe_64_kib(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Pass 64 KiB, the capacity of a pipe, through a pipe."""
    return through_a_pipe(loop, operations, 64 * 1024)


@workload(operations=1_000)
def pipe_1_mib(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Pass 1 MiB through a pipe, which is full most of the time."""
    return through_a_pipe(loop, operations, 1024 * 1024)


@workload(operations=20_000)
def reader_ping_pong(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Send a byte through a socket to a reader, which sends it back to another reader."""

    def timed() -> None:
        ours, theirs = socket.socketpair()
        left = operations

        def back() -> None:
            theirs.send(theirs.recv(16))

        def there() -> None:
            nonlocal left
            ours.recv(16)
            left -= 1
            if left:
                ours.send(b"x")
            else:
                loop.stop()

        with ours, theirs:
            for sock, reader in ((ours, there), (theirs, back)):
                sock.setblocking(False)
                loop.add_reader(sock.fileno(), reader)
            ours.send(b"x")
            loop.run_forever()
            for sock in (ours, theirs):
                loop.remove_reader(sock.fileno())

    return timed


@workload(operations=20_000)
def reader_changes(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Add a reader and remove it in the same callback, as a driver that waits for its socket."""
    ours, theirs = socket.socketpair()

    def batch() -> None:
        descriptor = ours.fileno()
        for _ in repeat(None, BATCH):
            loop.add_reader(descriptor, nothing)
            loop.remove_reader(descriptor)

    timed = in_batches(loop, operations, batch)

    def closing() -> None:
        with ours, theirs:
            timed()

    return closing


class Sink(asyncio.DatagramProtocol):
    """Counts datagrams, and completes a future when a batch is complete."""

    def __init__(self) -> None:
        """Expect nothing yet."""
        self.missing = 0
        self.all_there: asyncio.Future[None] | None = None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Count it."""
        self.missing -= 1
        if self.missing == 0 and self.all_there is not None:
            self.all_there.set_result(None)


@workload(operations=64_000)
def udp_blast(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Send a datagram of 1 KiB, 32 per turn, and receive it on the same loop."""
    data, burst = bytes(1024), 32

    async def main() -> None:
        receiver, sink = await loop.create_datagram_endpoint(Sink, ("127.0.0.1", 0))
        address = receiver.get_extra_info("sockname")
        sender, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=address
        )
        for _ in repeat(None, operations // burst):
            sink.missing = burst
            sink.all_there = loop.create_future()
            for _ in repeat(None, burst):
                sender.sendto(data)
            await sink.all_there
        sender.close()
        receiver.close()
        await asyncio.sleep(0)

    return lambda: loop.run_until_complete(main())


@workload(operations=20_000)
def getaddrinfo_literal(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Resolve an address literal."""

    async def main() -> None:
        for _ in repeat(None, operations):
            await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)

    return lambda: loop.run_until_complete(main())


@workload(operations=2_000)
def getaddrinfo_localhost(loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
    """Resolve a name that is in the hosts file."""

    async def main() -> None:
        for _ in repeat(None, operations):
            await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)

    return lambda: loop.run_until_complete(main())


def measure(loop_name: str, question: Workload, repeats: int) -> list[dict[str, float]]:
    """Time a workload on a new loop, after a short run in which the interpreter specializes it."""
    loop = loops.new(loop_name)
    samples: list[dict[str, float]] = []
    try:
        question.prepare(loop, question.operations // 10)()
        for _ in range(repeats):
            timed = question.prepare(loop, question.operations)
            gc.collect()
            cpu = time.process_time_ns()
            wall = time.perf_counter_ns()
            timed()
            wall = time.perf_counter_ns() - wall
            cpu = time.process_time_ns() - cpu
            samples.append(
                {"cpu_ns": cpu / question.operations, "wall_ns": wall / question.operations}
            )
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
    return samples


def outcome(loop_name: str, question: Workload, repeats: int) -> Outcome:
    """Time a workload, or say why that failed: not all peers can do everything."""
    try:
        return measure(loop_name, question, repeats)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def main(workloads: Mapping[str, Workload] = WORKLOADS) -> None:
    """Measure one loop and print `{workload: [{"cpu_ns": …, "wall_ns": …}, …]}`.

    A string in the place of a list says why there are no samples.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", required=True, choices=loops.available())
    parser.add_argument("--only", default="", metavar="REGEX", help="workloads to run")
    parser.add_argument("--repeats", type=int, default=3, help="of each workload (3)")
    options = parser.parse_args()
    chosen = [item for item in workloads.values() if re.search(options.only, item.name)]
    print(json.dumps({item.name: outcome(options.loop, item, options.repeats) for item in chosen}))


if __name__ == "__main__":
    main()
