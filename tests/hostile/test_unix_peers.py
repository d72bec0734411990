"""Unnamed Unix sockets, and peers that hang up while the transport only waits to write."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

import yamanote
from tests.sock.pairs import turns
from tests.tcp.recorders import PATIENCE_S, Recorder


class Datagrams(asyncio.DatagramProtocol):
    """Records its calls."""

    def __init__(self) -> None:
        """Start without calls."""
        self.received: list[tuple[bytes, object]] = []
        self.errors: list[Exception] = []
        self.changed = asyncio.Event()

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Stores data and sender."""
        self.received.append((data, addr))
        self.changed.set()

    def error_received(self, exc: Exception) -> None:
        """Stores the error."""
        self.errors.append(exc)
        self.changed.set()

    async def until(self, count: int) -> None:
        """Returns when that many calls were made."""
        while len(self.received) + len(self.errors) < count:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), PATIENCE_S)


def test_a_datagram_endpoint_over_a_socketpair_sends_and_receives() -> None:
    """Asyncio takes the peer's empty name for no peer: `sendto()` ends the endpoint."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        ends: list[tuple[asyncio.DatagramTransport, Datagrams]] = []
        for sock in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM):
            ends.append(await loop.create_datagram_endpoint(Datagrams, sock=sock))
        (ours, one), (theirs, other) = ends
        ours.sendto(b"first")
        ours.sendto(b"second", None)
        ours.sendto(bytearray(b"third"))
        ours.sendto(b"large" * 2000)
        await other.until(4)
        # The sender, as `recvfrom` returns it.
        expected = [b"first", b"second", b"third", b"large" * 2000]
        assert other.received == [(data, None) for data in expected]
        for number in range(300):
            theirs.sendto(b"%d" % number)
        await one.until(300)
        assert one.received == [(b"%d" % number, None) for number in range(300)]
        theirs.close()
        await turns()
        ours.sendto(b"too late")
        await one.until(301)
        assert isinstance(one.errors[0], ConnectionRefusedError)
        assert not ours.is_closing()
        ours.close()
        await turns()

    yamanote.run(main())


def test_an_address_goes_to_the_socket_as_on_asyncio(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with theirs:
            whole: Any = loop
            endpoint, protocol = await whole.create_datagram_endpoint(Datagrams, sock=ours)
            endpoint.sendto(b"x", "/nowhere at all")
            await protocol.until(1)
            assert isinstance(protocol.errors[0], FileNotFoundError)
            endpoint.close()
            await turns()

    loop.run_until_complete(main())


@pytest.mark.parametrize("unread", [False, True])
@pytest.mark.parametrize("half", [False, True])
def test_a_hang_up_ends_a_connection_that_only_waits_to_write(
    loop: asyncio.AbstractEventLoop, unread: bool, half: bool
) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        transport, protocol = await loop.create_connection(Recorder, sock=ours)
        transport.pause_reading()
        transport.write(bytes(8 << 20))
        await turns()
        if unread:
            theirs.send(b"unread")
        if half:
            theirs.shutdown(socket.SHUT_WR)
            await turns()
        theirs.close()
        await protocol.until_lost()
        assert isinstance(protocol.lost_with, (BrokenPipeError, ConnectionResetError))
        assert transport.get_write_buffer_size() == 0

    loop.run_until_complete(main())


def test_a_hang_up_after_the_end_of_reading_ends_a_connection_that_writes(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        transport, protocol = await loop.create_connection(
            lambda: Recorder({"eof_received": lambda _: True}), sock=ours
        )
        transport.write(bytes(8 << 20))
        theirs.shutdown(socket.SHUT_WR)
        await protocol.until_called("eof_received", 1)
        await turns()
        assert not transport.is_closing()
        theirs.close()
        await protocol.until_lost()
        assert isinstance(protocol.lost_with, (BrokenPipeError, ConnectionResetError))

    loop.run_until_complete(main())


@pytest.mark.parametrize("pending", [0, 8 << 20])
def test_a_write_pipe_notices_that_its_socket_was_hung_up(
    loop: asyncio.AbstractEventLoop, pending: int
) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        whole: Any = loop
        transport, protocol = await whole.connect_write_pipe(Ended, ours)
        if pending:
            transport.write(bytes(pending))
        await turns()
        theirs.close()
        await asyncio.wait_for(protocol.ended, PATIENCE_S)

    loop.run_until_complete(main())


class Ended(asyncio.BaseProtocol):
    """Records when the connection is over."""

    def __init__(self) -> None:
        """Start as open."""
        self.ended = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self.ended.set_result(None)
