"""Thousands of connections come and go, and leave no trace in the process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.processes import LINUX
from tests.soak.resources import smallest_growth

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.loops import LoopFactory

pytestmark = [
    pytest.mark.skipif(not LINUX, reason="looks into /proc"),
    pytest.mark.slow,
    pytest.mark.hang_after(120),
]

BATCH = 100
#: Measured on either loop: the smallest growth in four rounds was zero or less.
GROWTH_BYTES_PER_CONNECTION = 100
#: Seconds for a batch, and for a peer that waits for the loop on the same thread.
PATIENCE_S = 30.0


class Ledger:
    """Counts connections, and keeps weak references to everything that belongs to them."""

    def __init__(self) -> None:
        """Start without connections."""
        self.alive: weakref.WeakSet[object] = weakref.WeakSet()
        self.made = 0
        self.lost = 0
        self._changed = asyncio.Event()

    def note_made(self, *watched: object) -> None:
        """Counts a connection that was made."""
        self.alive.update(watched)
        self.made += 1
        self._changed.set()

    def note_lost(self) -> None:
        """Counts a connection that was lost."""
        self.lost += 1
        self._changed.set()

    async def until_made(self, count: int) -> None:
        """Returns when that many connections were made."""
        while self.made < count:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), PATIENCE_S)

    async def until(self, *, made: int, lost: int) -> None:
        """Returns when that many connections were made, and that many lost."""
        while (self.made, self.lost) != (made, lost):
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), PATIENCE_S)


class Served(asyncio.Protocol):
    """Replies, and ends the connection in one of several ways, including errors."""

    def __init__(self, ledger: Ledger) -> None:
        """Start without a transport."""
        self._ledger = ledger
        self._number = ledger.made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Stores the transport: a cycle, which `connection_lost` breaks."""
        assert isinstance(transport, asyncio.Transport)
        self._ledger.note_made(self, transport)
        self._transport = transport
        if self._number % 10 == 9:
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Does something different for each of ten connections."""
        match self._number % 10:
            case 0:
                self._transport.abort()
            case 1:
                raise ZeroDivisionError
            case 2:
                self._transport.write(bytes(1024 * 1024))  # More than the peer reads.
            case 3:
                self._transport.write(data)
                self._transport.write_eof()
            case 4:
                self._transport.set_protocol(Heir(self._ledger))
            case 5:
                self._transport.pause_reading()
                asyncio.get_running_loop().call_soon(self._transport.close)
            case _:
                self._transport.write(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Counts the end."""
        self._ledger.note_lost()


class Heir(asyncio.BufferedProtocol):
    """Takes over a connection and reads it to the end."""

    def __init__(self, ledger: Ledger) -> None:
        """Creates its buffer."""
        self._ledger = ledger
        self._buffer = bytearray(4096)
        ledger.alive.add(self)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Returns the same buffer each time."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Ignores the data."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """Counts the end."""
        self._ledger.note_lost()


async def protocols(count: int) -> Ledger:
    """Makes `count` connections to a server, in batches; the peers are plain sockets."""
    ledger = Ledger()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Served(ledger), "127.0.0.1", 0, backlog=BATCH)
    address = server.sockets[0].getsockname()
    async with server:
        for first in range(0, count, BATCH):
            peers = [socket.create_connection(address, PATIENCE_S) for _ in range(BATCH)]
            await ledger.until_made(first + BATCH)  # Some end at once, while others are accepted.
            for number, peer in enumerate(peers):
                with contextlib.suppress(ConnectionError):
                    peer.sendall(b"hello")
                    if number % 4 == 0:
                        peer.sendall(b" again")
                        peer.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0)
            for number, peer in enumerate(peers):
                if number % 3 == 0:
                    linger = struct.pack("ii", 1, 0)
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                peer.close()
            await ledger.until(made=first + BATCH, lost=first + BATCH)
    return ledger


async def streams(count: int) -> Ledger:
    """Makes `count` connections from this loop to a server of streams."""
    ledger = Ledger()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ledger.note_made(reader, writer, writer.transport)
        async for line in reader:
            writer.write(line)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        ledger.note_lost()

    async def client(number: int, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        ledger.alive.update((reader, writer, writer.transport))
        writer.write(b"%d\n" % number)
        assert await reader.readline() == b"%d\n" % number
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for first in range(0, count, BATCH):
            await asyncio.gather(*(client(number, port) for number in range(first, first + BATCH)))
            await ledger.until(made=first + BATCH, lost=first + BATCH)
    return ledger


@dataclass(frozen=True)
class Scene:
    """A kind of connections, and their number.

    Attributes:
        play: makes that many connections.
        warm_up: connections before the first measurement, after which caches, arenas and free lists
            have their final size.
        count: connections in a round.
    """

    play: Callable[[int], Coroutine[object, object, Ledger]]
    warm_up: int
    count: int


SCENES = [Scene(protocols, 2_000, 5_000), Scene(streams, 500, 1_000)]


@pytest.mark.parametrize("scene", SCENES, ids=["protocols", "streams"])
def test_connections_leave_nothing_behind(loop_factory: LoopFactory, scene: Scene) -> None:
    with contextlib.closing(loop_factory()) as loop:
        loop.set_exception_handler(lambda _, context: None)
        check(loop, scene)


def check(loop: asyncio.AbstractEventLoop, scene: Scene) -> None:
    """Plays the scene in rounds and measures the process after each."""

    def play() -> None:
        ledger = loop.run_until_complete(scene.play(scene.count))
        gc.collect()
        assert list(ledger.alive) == []
        assert ledger.lost == scene.count

    loop.run_until_complete(scene.play(scene.warm_up))
    bound = scene.count * GROWTH_BYTES_PER_CONNECTION
    assert smallest_growth(play, bound) < bound
