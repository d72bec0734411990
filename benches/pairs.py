"""The cost of both ends of a connection, on one loop.

`python benches/pairs.py --loop yamanote` measures one loop in this process and prints JSON.
`compare.py` starts a new process for each loop and round.
"""

from __future__ import annotations

import asyncio
from itertools import repeat
from typing import TYPE_CHECKING, cast

import micro
import server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MIB = 1 << 20

#: Bytes of a piece of bulk data.
PIECE = 64 * 1024


class Asks(asyncio.Protocol):
    """Sends a byte, and closes when it is back."""

    def __init__(self, closed: asyncio.Future[None]) -> None:
        """Complete the future when the connection is closed."""
        self.closed = closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the byte."""
        self.transport = cast("asyncio.Transport", transport)  # Not a base class on all loops.
        self.transport.write(b"x")

    def data_received(self, data: bytes) -> None:
        """Close."""
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end."""
        self.closed.set_result(None)


class Answers(server.EchoProtocol):
    """Echoes."""

    def __init__(self, ended: asyncio.Event) -> None:
        """Set the event when the connection is closed."""
        self.ended = ended

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end."""
        self.ended.set()


def port_of(listening: asyncio.AbstractServer) -> int:
    """Return the port of a server."""
    port: int = cast("asyncio.Server", listening).sockets[0].getsockname()[1]
    return port


def serving(
    loop: asyncio.AbstractEventLoop,
    operations: int,
    listening: Awaitable[asyncio.AbstractServer],
    once: Callable[[int], Awaitable[object]],
) -> micro.Timed:
    """Start a server; the rest connects to its port, time after time."""
    port = port_of(loop.run_until_complete(listening))

    async def main() -> None:
        for _ in repeat(None, operations):
            await once(port)

    return lambda: loop.run_until_complete(main())


async def ask(port: int) -> None:
    """Connect with `open_connection`, send a byte, get it back and close."""
    reader, writer = await asyncio.open_connection(server.HOST, port)
    writer.write(b"x")
    await writer.drain()
    assert await reader.read(1) == b"x"
    writer.close()
    await writer.wait_closed()


def protocol(loop: asyncio.AbstractEventLoop, operations: int) -> micro.Timed:
    """Connect with `create_connection` and protocols, until both ends are closed."""
    ended = asyncio.Event()

    async def once(port: int) -> None:
        closed: asyncio.Future[None] = loop.create_future()
        ended.clear()
        await loop.create_connection(lambda: Asks(closed), server.HOST, port)
        await closed
        await ended.wait()

    listening = loop.create_server(lambda: Answers(ended), server.HOST, 0)
    return serving(loop, operations, listening, once)


def streams(loop: asyncio.AbstractEventLoop, operations: int) -> micro.Timed:
    """Connect with `open_connection` to a stream server, until both ends are closed."""
    ended = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(server.READ_BYTES):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        ended.set()

    async def once(port: int) -> None:
        ended.clear()
        await ask(port)
        await ended.wait()

    listening = asyncio.start_server(answer, server.HOST, 0)
    return serving(loop, operations, listening, once)


def bulk(loop: asyncio.AbstractEventLoop, operations: int) -> micro.Timed:
    """Send a MiB in pieces of 64 KiB with a `drain()` after each, over one connection."""
    piece = bytes(PIECE)
    received: asyncio.Queue[int] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        total = 0
        while data := await reader.read(PIECE):
            total += len(data)
        writer.close()
        received.put_nowait(total)

    port = port_of(loop.run_until_complete(asyncio.start_server(take, server.HOST, 0)))

    async def main() -> None:
        _, writer = await asyncio.open_connection(server.HOST, port)
        for _ in repeat(None, operations * MIB // PIECE):
            writer.write(piece)
            await writer.drain()
        writer.close()
        assert await received.get() == operations * MIB

    return lambda: loop.run_until_complete(main())


def websockets(loop: asyncio.AbstractEventLoop, operations: int) -> micro.Timed:
    """Echo a text of 1 KiB over a WebSocket; both ends are the `websockets` library."""
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import ServerConnection, serve

    text = "x" * 1024

    async def answer(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async def main() -> None:
        async with serve(answer, server.HOST, 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            async with connect(f"ws://{server.HOST}:{port}", proxy=None) as client:
                for _ in repeat(None, operations):
                    await client.send(text)
                    assert await client.recv() == text

    return lambda: loop.run_until_complete(main())


WORKLOADS = {
    "protocol": micro.Workload("protocol", 2_000, protocol),
    "streams": micro.Workload("streams", 2_000, streams),
    "bulk": micro.Workload("bulk", 200, bulk),
    "websockets": micro.Workload("websockets", 3_000, websockets),
}


if __name__ == "__main__":
    micro.main(WORKLOADS)
