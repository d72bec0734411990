"""What a soak does over and over: each workload is a coroutine that checks what it gets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import signal
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

import yamanote
from tests.soak.episodes import EPISODE, is_refusal

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from tests.soak.recorder import Recorder

    Workload = Callable[[], Awaitable[None]]

LOCALHOST = "127.0.0.1"
#: Seconds in which a round must end: many times what it takes beside busy processes.
PATIENCE_S = 60.0
CONNECTIONS = 10
#: The exit code of a child that was forked in an episode.
REFUSED = 75
#: Ten seconds before 2^32 milliseconds, which are 49.7 days.
WRAP_S = 2**32 / 1000 - 10


async def serve_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends everything back. A peer that resets is no error."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def converse(port: int, context: ssl.SSLContext | None) -> None:
    """Sends random sizes on one connection, and compares what comes back."""
    name = "localhost" if context else None
    reader, writer = await asyncio.open_connection(
        LOCALHOST, port, ssl=context, server_hostname=name
    )
    try:
        for _ in range(5):
            data = os.urandom(random.choice((1, 1000, 16384, 100_000)))
            writer.write(data)
            assert await reader.readexactly(len(data)) == data
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def echo(port: int, context: ssl.SSLContext | None = None) -> Workload:
    """Returns a workload of several clients of an echo server at once."""

    async def work() -> None:
        # `gather` would leave the others alone when one fails, held by weak references only.
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(converse(port, context))

    return work


def resets(port: int) -> Workload:
    """Returns a workload whose clients reset their connections with data under way."""

    async def work() -> None:
        for _ in range(CONNECTIONS):
            _, writer = await asyncio.open_connection(LOCALHOST, port)
            writer.write(bytes(200_000))
            connection: socket.socket = writer.get_extra_info("socket")
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

    return work


def slow_readers(port: int) -> Workload:
    """Returns a workload whose client lets the server wait."""

    async def work() -> None:
        reader, writer = await asyncio.open_connection(LOCALHOST, port, limit=4096)
        data = os.urandom(1_000_000)

        async def send() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        sending = asyncio.ensure_future(send())
        received = bytearray()
        try:
            while piece := await reader.read(50_000):
                received += piece
                await asyncio.sleep(0.005)
            await sending
        finally:
            sending.cancel()
            writer.close()
        assert received == data

    return work


class Datagrams(asyncio.DatagramProtocol):
    """Echoes datagrams, or keeps what it received."""

    def __init__(self, *, echoes: bool) -> None:
        """Start without a transport."""
        self.echoes = echoes
        self.received: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        assert isinstance(transport, asyncio.DatagramTransport)
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Sends it back, or keeps it."""
        if self.echoes:
            self.transport.sendto(data, addr)
        else:
            self.received.put_nowait(data)


async def udp() -> None:
    """One datagram at a time there and back, so that none is lost for want of room."""
    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(
        lambda: Datagrams(echoes=True), local_addr=(LOCALHOST, 0)
    )
    try:
        address = server.get_extra_info("sockname")
        client, protocol = await loop.create_datagram_endpoint(
            lambda: Datagrams(echoes=False), remote_addr=address
        )
        try:
            for _ in range(20):
                data = os.urandom(500)
                client.sendto(data)
                assert await protocol.received.get() == data
        finally:
            client.close()
    finally:
        server.close()


async def subprocess() -> None:
    """A child that sends back what it gets, and one that is killed."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec("cat", stdin=pipe, stdout=pipe)
    data = os.urandom(200_000)
    output, _ = await child.communicate(data)
    assert (output, child.returncode) == (data, 0)
    child = await asyncio.create_subprocess_exec("sleep", "1000")
    child.kill()
    assert await child.wait() == -signal.SIGKILL


async def rust_futures() -> None:
    """Futures of an extension: done, cancelled, dropped."""
    from tests.interop.extension import rust  # Built by `make dev`.

    assert await asyncio.gather(*(wrapped(rust.yielding(n, 3)) for n in range(50))) == [*range(50)]
    task = asyncio.ensure_future(wrapped(rust.never()))
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def wrapped(awaitable: Awaitable[object]) -> object:
    """Awaits what is not a coroutine."""
    return await awaitable


async def forks() -> None:
    """A forked child runs a loop of its own while its parent's goes on."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            asyncio._set_running_loop(None)
            own = yamanote.new_event_loop()
            own.run_until_complete(asyncio.sleep(0.01))
            status = 0
        except OSError as error:
            status = REFUSED if is_refusal(error) else 1
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(await asyncio.to_thread(wait_for_child, child))
    if status == REFUSED:
        raise OSError(errno.EMFILE, "the child had no descriptor")
    assert status == 0


def wait_for_child(child: int) -> int:
    """Waits, and returns its status."""
    return os.waitpid(child, 0)[1]


async def signals() -> None:
    """Signals to this process arrive."""
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, came.set)
    try:
        for _ in range(10):
            came.clear()
            os.kill(os.getpid(), signal.SIGUSR1)
            await came.wait()
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)


class LateLoop(yamanote.Loop):
    """Whose clock is about to pass 49.7 days."""

    offset = 0.0

    def time(self) -> float:
        """Returns the time, far in the future."""
        return super().time() + self.offset


async def far_future() -> None:
    """A loop in a thread, whose own clock passes 2^32 ms: timers, limits and connections work."""
    await asyncio.to_thread(run_late)


def run_late() -> None:
    """Runs connections beside timers on such a loop, before and after its clock passes."""
    loop = LateLoop()
    reported: list[dict[str, Any]] = []
    loop.set_exception_handler(EPISODE.handler(lambda _, context: reported.append(context)))
    try:
        loop.offset = WRAP_S + random.uniform(9.8, 10.1) - loop.time()
        loop.set_limits(yamanote.Limits(first_byte=5, write_stall=5, idle=5))
        loop.run_until_complete(asyncio.wait_for(late_connections(), PATIENCE_S))
    finally:
        loop.close()
    assert reported == []


async def late_connections() -> None:
    """Converses until the clock has passed."""
    loop = asyncio.get_running_loop()
    end = max(loop.time(), WRAP_S + 10) + 0.1
    server = await asyncio.start_server(serve_echo, LOCALHOST, 0)
    async with server:
        if not server.sockets:  # What older Pythons return in place of an error.
            raise OSError(errno.EMFILE, "the server had no descriptor")
        port = server.sockets[0].getsockname()[1]
        while loop.time() < end:
            before = loop.time()
            await converse(port, None)
            await asyncio.sleep(0.02)
            assert loop.time() - before >= 0.02


async def repeat(name: str, work: Workload, recorder: Recorder, pause: float) -> None:
    """Does the work until all is over, one round after the other.

    It is not cancelled: before Python 3.12, a `wait_for()` that is just done loses that.
    """
    while not recorder.is_over:
        begun = EPISODE.begin()
        try:
            await asyncio.wait_for(work(), PATIENCE_S)
        except Exception as error:
            if EPISODE.explains(error, since=begun):
                recorder.refused += 1
            else:
                recorder.failed(name, error)
        else:
            recorder.rounds[name] += 1
        await asyncio.sleep(pause)


def on_own_loop(port: int, tls_port: int, context: ssl.SSLContext) -> dict[str, Workload]:
    """Returns the workloads that need no framework."""
    chosen: dict[str, Workload] = {
        "echo": echo(port),
        "tls": echo(tls_port, context),
        "resets": resets(port),
        "slow readers": slow_readers(port),
        "udp": udp,
        "subprocess": subprocess,
        "rust futures": rust_futures,
        "signals": signals,
        "far future": far_future,
    }
    # A child that is forked beside threads of this process may find a lock of theirs taken.
    if sys.version_info < (3, 15):
        chosen["forks"] = forks
    return chosen
