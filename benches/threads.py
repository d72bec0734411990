"""One loop per thread compared with one per process: the cost of sharing an interpreter.

`python benches/threads.py` runs each workload on one loop, then on as many loops as there are
cores (`--loops`), in threads and in processes, round by round. It prints the time per
operation of a loop, as the median of the rounds. With perfect scaling, all columns show the same
figure. With a GIL, the column for threads is that of one loop times the number of threads.

Most rows are wall times. Of those that serve, it is the CPU time of the thread that serves, while
all of its clients are connected. What a loop can serve is the inverse, and what several can is
their sum; where one loop waits for a lock, or shares a cache line, its CPU time grows. (A lock
that sleeps would show in no CPU time: count the futex calls with `strace -fc -e futex`.) The
clients of a loop are a process on the loop's own core, with one loop as with many: a loop whose
clients run beside it is woken for each message, and does more for it than one that finds several.

The last rows need aiohttp and uvicorn (with h11), and are left out without them.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import multiprocessing
import os
import queue
import socket
import statistics
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import loops

if TYPE_CHECKING:
    from typing import Self

#: Returns its seconds, if they are not those on the wall.
Workload: TypeAlias = Callable[[asyncio.AbstractEventLoop, int], "float | None"]

CALLBACKS = 200_000
MESSAGES = 10_000
MESSAGE = bytes(1024)
CLIENTS = 20

#: Seconds; more than any round takes. If one worker fails, the others stop waiting after it.
PATIENCE_S = 120.0


class Barrier(Protocol):
    """A barrier for threads or processes."""

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the others."""
        ...


class Results(Protocol):
    """A queue for threads or processes."""

    def put(self, item: float, /) -> None:
        """Adds seconds."""
        ...


def chain(loop: asyncio.AbstractEventLoop, operations: int) -> None:
    """Each callback schedules the next."""
    left = operations

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            loop.stop()

    loop.call_soon(step)
    loop.run_forever()


class Echo(asyncio.Protocol):
    """Sends back what it receives."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)


class Ping(Echo):
    """Sends the next message when the last has come back completely."""

    def __init__(self, messages: int) -> None:
        """Start without sending."""
        self.done = asyncio.get_running_loop().create_future()
        self.messages = messages
        self.missing = 0

    def begin(self) -> Self:
        """Send the first message."""
        self.missing = len(MESSAGE)
        self.transport.write(MESSAGE)
        return self

    def data_received(self, data: bytes) -> None:
        """Count the bytes; send the next message when all have arrived."""
        self.missing -= len(data)
        if not self.missing:
            self.messages -= 1
            if self.messages:
                self.begin()
            else:
                self.done.set_result(None)


def echo(loop: asyncio.AbstractEventLoop, operations: int) -> None:
    """Round trips of 1 KiB over TCP on ten connections, server and client on the same loop."""

    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        async with server:
            address = server.sockets[0].getsockname()
            pairs = [
                await loop.create_connection(lambda: Ping(operations // 10), *address)
                for _ in range(10)
            ]
            await asyncio.gather(*(ping.begin().done for _, ping in pairs))
            for transport, _ in pairs:
                transport.close()

    loop.run_until_complete(main())


class Meter:
    """Measures the CPU time of this thread while all clients are connected."""

    connected = 0
    started = 0.0
    ended: float | None = None

    def connect(self) -> None:
        """Begin to measure with the last client."""
        self.connected += 1
        if self.connected == CLIENTS:
            self.started = time.thread_time()

    def disconnect(self) -> None:
        """Stop measuring with the first that goes."""
        if self.ended is None:
            self.ended = time.thread_time()

    def seconds(self) -> float:
        """Return what was measured."""
        if self.ended is None:
            raise SystemExit("not measured to the end")
        return self.ended - self.started


class Served(Echo):
    """Tells a meter of its connection."""

    def __init__(self, meter: Meter) -> None:
        """Keep the meter."""
        self.meter = meter

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Tell of the beginning."""
        super().connection_made(transport)
        self.meter.connect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell of the end."""
        self.meter.disconnect()


def served(loop: asyncio.AbstractEventLoop, operations: int) -> float:
    """Round trips of 1 KiB over TCP with a process that has 20 connections."""
    meter = Meter()
    server = loop.create_server(lambda: Served(meter), "127.0.0.1", 0)
    return loop.run_until_complete(meet(server, meter, operations))


def served_by_streams(loop: asyncio.AbstractEventLoop, operations: int) -> float:
    """The same with streams: a task for each connection, and a future for each message."""
    meter = Meter()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        meter.connect()
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        meter.disconnect()
        writer.close()

    server = asyncio.start_server(answer, "127.0.0.1", 0)
    return loop.run_until_complete(meet(server, meter, operations))


async def meet(
    starting: Coroutine[object, object, asyncio.Server], meter: Meter, operations: int
) -> float:
    """Return the seconds that the meter has measured when a client has done its operations."""
    server = await starting
    async with server:
        await call(server.sockets[0].getsockname()[1], operations)
    return meter.seconds()


async def call(port: int, operations: int, *, http: bool = False) -> None:
    """Wait for a client on this core that does its operations."""
    core = min(os.sched_getaffinity(0))
    numbers = {"--client": port, "--operations": operations, "--core": core, "--http": int(http)}
    arguments = [f"{name}={number}" for name, number in numbers.items()]
    client = await asyncio.create_subprocess_exec(sys.executable, __file__, *arguments)
    if await client.wait():
        raise SystemExit("the client has failed")


class RequestMeter(Meter):
    """Measures by requests: a framework does not tell of connections."""

    def __init__(self, operations: int) -> None:
        """Measure all requests but the first and the last of each client."""
        self.requests = 0
        self.last = operations - CLIENTS

    def request(self) -> None:
        """Count a request."""
        self.requests += 1
        if self.requests == CLIENTS:
            self.started = time.thread_time()
        elif self.requests == self.last:
            self.ended = time.thread_time()


def served_by_aiohttp(loop: asyncio.AbstractEventLoop, operations: int) -> float:
    """Requests to aiohttp's server, whose answer is 1 KiB."""
    from aiohttp import web

    meter = RequestMeter(operations)

    async def answer(_: web.Request) -> web.Response:
        meter.request()
        return web.Response(body=MESSAGE)

    async def main() -> None:
        application = web.Application()
        application.router.add_get("/", answer)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        await call(runner.addresses[0][1], operations, http=True)
        await runner.cleanup()

    loop.run_until_complete(main())
    return meter.seconds()


def served_by_uvicorn(loop: asyncio.AbstractEventLoop, operations: int) -> float:
    """Requests to uvicorn, whose application answers with 1 KiB."""
    import uvicorn

    meter = RequestMeter(operations)
    headers = [(b"content-length", b"%d" % len(MESSAGE))]

    async def answer(
        _: object, __: object, send: Callable[[dict[str, object]], Coroutine[object, object, None]]
    ) -> None:
        meter.request()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": MESSAGE})

    async def main() -> None:
        application: Any = answer
        config = uvicorn.Config(
            application, http="h11", lifespan="off", log_level="warning", access_log=False
        )
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.ensure_future(server.serve([listener]))
            await call(listener.getsockname()[1], operations, http=True)
            server.should_exit = True
            await serving

    loop.run_until_complete(main())
    return meter.seconds()


REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def ask(port: int, operations: int, core: int, *, http: bool) -> None:
    """Send a message on each connection, and receive all, time after time."""
    os.sched_setaffinity(0, {core})
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(CLIENTS)
        ]
        message = REQUEST if http else MESSAGE
        for _ in range(operations // CLIENTS):
            for client in clients:
                client.sendall(message)
            for client in clients:
                if http:
                    receive_response(client)
                elif client.recv(len(MESSAGE), socket.MSG_WAITALL) != MESSAGE:
                    raise SystemExit("a wrong echo")


def receive_response(client: socket.socket) -> None:
    """Receive one response, whose head may come before its body."""
    received = b""
    while not received.endswith(b"\r\n\r\n" + MESSAGE):
        data = client.recv(1 << 16)
        if not data:
            raise SystemExit("the server has closed the connection")
        received += data


WORKLOADS: dict[str, tuple[Workload, int]] = {
    "call_soon chain": (chain, CALLBACKS),
    "TCP echo 1 KiB x 10": (echo, MESSAGES),
    "served echo 1 KiB x 20": (served, 5 * MESSAGES),
    "served streams 1 KiB x 20": (served_by_streams, 5 * MESSAGES),
    "aiohttp x 20": (served_by_aiohttp, MESSAGES),
    "uvicorn x 20": (served_by_uvicorn, MESSAGES),
}


def work(index: int, loop_name: str, workload: str, together: Barrier, results: Results) -> None:
    """Create a loop on a core, start together with the other workers, and report the seconds."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[index % len(cores)]})  # Of this thread.
    run, operations = WORKLOADS[workload]
    loop = loops.new(loop_name)
    try:
        run(loop, operations // 20)  # Warms up caches and the specializing interpreter.
        together.wait(PATIENCE_S)
        started = time.perf_counter()
        seconds = run(loop, operations)
        results.put(time.perf_counter() - started if seconds is None else seconds)
    finally:
        loop.close()


def measure(loop_name: str, workload: str, count: int, *, in_threads: bool) -> float:
    """Return the seconds that the slowest of `count` loops took for all of its operations."""
    if in_threads:
        together: Barrier = threading.Barrier(count)
        results: Any = queue.SimpleQueue[float]()
        make: Any = threading.Thread
    else:
        context = multiprocessing.get_context("spawn")
        together = context.Barrier(count)
        results = context.SimpleQueue()
        make = context.Process
    workers = [
        make(target=work, args=(index, loop_name, workload, together, results))
        for index in range(count)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds: list[float] = []
    while not results.empty():
        seconds.append(results.get())
    if len(seconds) != count:
        raise SystemExit(f"{count - len(seconds)} of {count} loops failed")
    return max(seconds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", default=loops.OURS, choices=loops.available())
    parser.add_argument("--loops", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="workloads whose names contain this")
    parser.add_argument("--client", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--operations", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--http", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client is not None:
        ask(options.client, options.operations, options.core, http=bool(options.http))
        return
    gil = "free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else "with a GIL"
    many = options.loops
    ways = {
        "1 loop": (1, True),
        f"{many} threads": (many, True),
        f"{many} processes": (many, False),
    }
    print(f"{options.loop}, {gil}: ns for each operation of a loop")
    print(
        f"{'':26}"
        + "".join(f"{way:>14}" for way in ways)
        + f"{'threads/processes':>20}{'threads serve':>15}"
    )
    for workload, (_, operations) in WORKLOADS.items():
        library = workload.split()[0]
        is_missing = library in {"aiohttp", "uvicorn"} and importlib.util.find_spec(library) is None
        if options.only not in workload or is_missing:
            continue
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way, (count, in_threads) in ways.items():
                seconds[way].append(measure(options.loop, workload, count, in_threads=in_threads))
        figures = [statistics.median(times) / operations * 1e9 for times in seconds.values()]
        print(
            f"{workload:26}"
            + "".join(f"{figure:14,.0f}" for figure in figures)
            + f"{figures[1] / figures[2]:20.2f}{many * figures[0] / figures[1]:15.2f}"
        )


if __name__ == "__main__":
    main()
