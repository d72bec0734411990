"""I/O that is ready before the loop learns of it is reported in the next turn, as on asyncio."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.tcp.recorders import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

LOCALHOST = "127.0.0.1"


class Noting(asyncio.Protocol, asyncio.DatagramProtocol):
    """Appends a note when data has arrived."""

    def __init__(self, order: list[str]) -> None:
        """Start without notes."""
        self.order = order
        self.lost = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Data arrived on a stream."""
        self.order.append("ready")

    def datagram_received(self, data: bytes, addr: object) -> None:
        """A datagram arrived."""
        self.order.append("ready")

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is closed."""
        self.lost.set_result(None)


async def stream(order: list[str]) -> None:
    """A connection that has data."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.send(b"x")
        transport, protocol = await loop.create_connection(lambda: Noting(order), sock=ours)
        await afterwards(order)
        transport.close()
        await protocol.lost


async def read_pipe(order: list[str]) -> None:
    """A pipe that has data."""
    loop = asyncio.get_running_loop()
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb", 0) as writer:
        writer.write(b"x")
        transport, protocol = await loop.connect_read_pipe(
            lambda: Noting(order), os.fdopen(read_end, "rb", 0)
        )
        await afterwards(order)
        transport.close()
        await protocol.lost


async def socket_as_a_pipe(order: list[str]) -> None:
    """A socket that has data, behind a file."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.send(b"x")
        transport, protocol = await loop.connect_read_pipe(
            lambda: Noting(order), os.fdopen(ours.detach(), "rb", 0)
        )
        await afterwards(order)
        transport.close()
        await protocol.lost


async def datagrams(order: list[str]) -> None:
    """A datagram that is already received."""
    loop = asyncio.get_running_loop()
    ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ours.bind((LOCALHOST, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs:
        theirs.sendto(b"x", ours.getsockname())
        transport, protocol = await loop.create_datagram_endpoint(lambda: Noting(order), sock=ours)
        await afterwards(order)
        transport.close()
        await protocol.lost


async def reader(order: list[str]) -> None:
    """A descriptor that is readable."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")

        def readable() -> None:
            order.append("ready")
            loop.remove_reader(ours)

        loop.add_reader(ours, readable)
        await asyncio.sleep(0)
        await afterwards(order)


async def writer(order: list[str]) -> None:
    """A descriptor that is writable."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def writable() -> None:
            order.append("ready")
            loop.remove_writer(ours)

        loop.add_writer(ours, writable)
        await asyncio.sleep(0)
        await afterwards(order)


async def afterwards(order: list[str]) -> None:
    """Schedules a callback that appends to `order`, and returns when the I/O has, too."""
    loop = asyncio.get_running_loop()
    loop.call_soon(order.append, "later")
    deadline = loop.time() + PATIENCE_S
    while len(order) < 2 and loop.time() < deadline:  # noqa: ASYNC110 - it is turns that count
        await asyncio.sleep(0)


@pytest.mark.parametrize("case", [stream, read_pipe, socket_as_a_pipe, datagrams, reader, writer])
def test_what_is_ready_already_is_told_of_in_the_next_turn(
    loop: asyncio.AbstractEventLoop, case: Callable[[list[str]], Coroutine[Any, Any, None]]
) -> None:
    """In asyncssh: it connects a pipe, closes the previous one, and needs the data first."""
    order: list[str] = []
    loop.run_until_complete(case(order))
    assert order == ["ready", "later"]
