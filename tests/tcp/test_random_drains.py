"""Random servers, clients and drains: what a drain does not count has lost no byte.

`DRAINS=1000` runs so many; `SEED=` begins with another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import yamanote
from tests.tcp.recorders import PATIENCE_S
from tests.tls.certificates import client_context, server_context

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

RUNS = int(os.environ.get("DRAINS", "200"))
SEED = int(os.environ.get("SEED", "1"))
BATCH = 50

#: Contexts take longer to make than a run takes.
SERVER_TLS = server_context()
CLIENT_TLS = client_context()


@dataclass
class Connection:
    """What a server wrote to one client, and what arrived."""

    name: bytes
    written: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)


class Run:
    """One server, its clients and a drain.

    A client sends lines: its name, the size of the answer, and in how many pieces it comes.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        """Choose everything that is chosen beforehand."""
        self.choice = random.Random(seed)
        self.kind = self.choice.choice(["tcp", "unix", "tls"])
        self.style = self.choice.choice(["streams", "protocol"])
        self.path = folder / f"{seed}"
        self.connections: dict[bytes, Connection] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    async def main(self) -> None:
        """Serve, connect, drain, and compare."""
        choice = self.choice
        server = await self.serve()
        clients = [
            asyncio.create_task(self.client(b"%d" % number))
            for number in range(choice.randint(1, 8))
        ]
        for _ in range(choice.choice([0, 1, 3, 10, 30])):
            await asyncio.sleep(0)
        if choice.random() < 0.5:
            await asyncio.sleep(choice.uniform(0, 0.03))
        timeout = choice.choice([None, 0, 0.01, 0.03, 0.1])
        quiet = choice.choice([0, 0.02, 0.1] if timeout is None else [None, 0, 0.02, 0.1])
        cut = await server.drain(timeout, quiet=quiet)
        await server.wait_closed()
        assert not vars(server)["_clients"].copy()
        await asyncio.gather(*clients)
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        short = 0
        for it in self.connections.values():
            assert it.written.startswith(it.received), it.name
            short += it.written != it.received
        assert short <= cut, (self.kind, self.style, timeout, quiet)
        if timeout is None:
            assert not cut

    async def serve(self) -> yamanote.Server:
        """Start the server."""
        loop = asyncio.get_running_loop()
        factory: Callable[[], asyncio.Protocol] = lambda: Answering(self)  # noqa: E731
        if self.style == "streams":

            def factory() -> asyncio.Protocol:
                reader = asyncio.StreamReader()
                return asyncio.StreamReaderProtocol(reader, self.handle)

        if self.kind == "unix":
            server = await loop.create_unix_server(factory, self.path)
        else:
            secret = SERVER_TLS if self.kind == "tls" else None
            server = await loop.create_server(factory, "127.0.0.1", 0, ssl=secret)
        assert isinstance(server, yamanote.Server)
        self.name: Any = server.sockets[0].getsockname()
        return server

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection with streams."""
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                for piece in self.pieces(line):
                    if writer.transport.is_closing():
                        break
                    writer.write(piece)
                    self.note(line, piece)
                    await self.pause()
                    await writer.drain()
        writer.close()

    def pieces(self, line: bytes) -> list[bytes]:
        """Return what to answer."""
        _, size, count = map(int, line.split())
        return [bytes(self.choice.randbytes(1) * (size // count + 1)) for _ in range(count)]

    def note(self, line: bytes, piece: bytes) -> None:
        """Note what was written."""
        self.connections[line.split()[0]].written += piece

    async def pause(self) -> None:
        """Let others run, or let time pass."""
        if self.choice.random() < 0.5:
            await asyncio.sleep(self.choice.choice([0, 0, 0.001, 0.005]))

    async def client(self, name: bytes) -> None:
        """Ask, take the answers at some pace, and stay until the server closes, or leave."""
        it = self.connections[name] = Connection(name)
        try:
            reader, writer = await self.connect()
        except OSError:
            return  # The server had closed.
        leaves = self.choice.random() < 0.3
        with contextlib.suppress(OSError):
            for _ in range(self.choice.randint(0, 5)):
                size = self.choice.choice([1, 100, 10_000, 300_000, 3_000_000])
                count = self.choice.randint(1, 4)
                due = len(it.received) + (size // count + 1) * count
                writer.write(b"%s %d %d\n" % (name, size, count))
                while len(it.received) < due and await self.take(it, reader):
                    pass
            while not leaves and await self.take(it, reader):
                pass
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def take(self, it: Connection, reader: asyncio.StreamReader) -> bool:
        """Read a piece; return whether there was one."""
        data = await reader.read(self.choice.choice([1000, 65536, 1_000_000]))
        it.received += data
        await self.pause()
        return bool(data)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection, with small buffers in the kernel now and then."""
        if self.kind == "unix":
            return await asyncio.open_unix_connection(str(self.path))
        sock = socket.socket()
        if self.choice.random() < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, self.name)
            if self.kind == "tls":
                return await asyncio.open_connection(
                    sock=sock, ssl=CLIENT_TLS, server_hostname="localhost"
                )
            return await asyncio.open_connection(sock=sock)
        except BaseException:
            sock.close()
            raise


class Answering(asyncio.Protocol):
    """Answers lines, at once or in a task."""

    transport: asyncio.Transport

    def __init__(self, run: Run) -> None:
        """Answer for a run."""
        self.run = run
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as asyncio calls it.
        """Store the transport."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each line."""
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            if self.run.choice.random() < 0.5:
                for piece in self.run.pieces(line):
                    self.write(line, piece)
            else:
                task = asyncio.create_task(self.answer(line))
                self.run.tasks.add(task)
                task.add_done_callback(self.run.tasks.discard)

    async def answer(self, line: bytes) -> None:
        """Answer with pauses."""
        for piece in self.run.pieces(line):
            await self.run.pause()
            self.write(line, piece)

    def write(self, line: bytes, piece: bytes) -> None:
        """Write a piece, unless the connection is closing."""
        if not self.transport.is_closing():
            self.transport.write(piece)
            self.run.note(line, piece)


@pytest.mark.hang_after(600)
@pytest.mark.parametrize("first", range(SEED, SEED + RUNS, BATCH))
def test_what_was_written_before_the_deadline_arrives_or_is_counted(first: int) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(first, min(first + BATCH, SEED + RUNS)):
                try:
                    await asyncio.wait_for(Run(seed, Path(folder)).main(), PATIENCE_S)
                except BaseException as error:
                    error.add_note(f"SEED={seed} DRAINS=1")
                    raise

    yamanote.run(main())
