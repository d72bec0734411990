"""Protocols without a base class, whose methods show how they receive data."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any, TypeAlias

import pytest

import yamanote
from tests.sock.pairs import turns
from tests.tcp.recorders import PATIENCE_S
from tests.tcp.servers import LOCALHOST, port_of
from tests.tls.certificates import NAME, client_context, server_context
from tests.tls.peers import everything_ends

Anything: TypeAlias = Any  # Loops, transports and arguments of every kind.


class Buffered:
    """`get_buffer` and `buffer_updated`, without a base class of asyncio's."""

    def __init__(self) -> None:
        """Start without data."""
        self.transport: Any = None
        self.received = bytearray()
        self.changed = asyncio.Event()
        self.lost = asyncio.get_running_loop().create_future()
        self._buffer = bytearray(5)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Stores the transport."""
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        """Returns a buffer for a few bytes."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Stores the bytes."""
        self.received += self._buffer[:nbytes]
        self.changed.set()

    def pause_writing(self) -> None:
        """Keeps writing."""

    def resume_writing(self) -> None:
        """Keeps writing."""

    def eof_received(self) -> None:
        """Lets the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Notifies the test."""
        self.lost.set_result(exc)

    async def until(self, expected: bytes) -> None:
        """Returns when exactly the expected data has arrived."""
        while len(self.received) < len(expected):
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), PATIENCE_S)
        assert self.received == expected


class Both(Buffered):
    """Also has `data_received`, which asyncio calls unless it is a `BufferedProtocol`."""

    def data_received(self, data: bytes) -> None:
        """Stores the data, and records the method."""
        self.received += b"as bytes: " + data
        self.changed.set()


class Base(Buffered, asyncio.BaseProtocol):
    """A subclass of `BaseProtocol`."""


async def over_a_socket(factory: Anything) -> tuple[Anything, socket.socket]:
    """Connects a protocol over a socket; returns it with its peer."""
    loop: Any = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    _, protocol = await loop.create_connection(factory, sock=ours)
    return protocol, theirs


@pytest.mark.parametrize("factory", [Buffered, Base])
def test_one_without_data_received_is_a_buffered_protocol(factory: type[Buffered]) -> None:
    """On asyncio the missing `data_received` ends the connection."""

    async def main() -> None:
        protocol, peer = await over_a_socket(factory)
        with peer:
            peer.sendall(b"more than there is room for")
            await protocol.until(b"more than there is room for")
        assert await asyncio.wait_for(protocol.lost, PATIENCE_S) is None

    yamanote.run(main())


def test_one_with_data_received_is_called_as_asyncio_calls_it(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        protocol, peer = await over_a_socket(Both)
        with peer:
            peer.sendall(b"hello")
            await protocol.until(b"as bytes: hello")
        assert await asyncio.wait_for(protocol.lost, PATIENCE_S) is None

    loop.run_until_complete(main())


def test_it_may_come_later() -> None:
    async def main() -> None:
        protocol, peer = await over_a_socket(Both)
        later = Buffered()
        with peer:
            protocol.transport.set_protocol(later)
            peer.sendall(b"for the second")
            await later.until(b"for the second")
        assert await asyncio.wait_for(later.lost, PATIENCE_S) is None

    yamanote.run(main())


def test_a_property_that_raises_is_there(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    class Raising(Buffered):
        @property
        def data_received(self) -> Anything:
            """Raises when it is looked up."""
            raise ZeroDivisionError

    async def main() -> None:
        protocol, peer = await over_a_socket(Raising)
        with peer:
            peer.sendall(b"x")
            error = await asyncio.wait_for(protocol.lost, PATIENCE_S)
        assert isinstance(error, ZeroDivisionError)

    loop.run_until_complete(main())
    (report,) = reported
    assert report["message"] == "Fatal error: protocol.data_received() call failed."
    reported.clear()


class Subclass(Buffered, asyncio.BufferedProtocol):
    """A subclass of asyncio's `BufferedProtocol`."""


@pytest.mark.parametrize("factory", [Buffered, Base, Subclass])
def test_a_read_pipe_fills_the_buffer(factory: type[Buffered]) -> None:
    """On asyncio no buffered protocol can read from a pipe."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        reading, writing = os.pipe()
        _, protocol = await loop.connect_read_pipe(factory, os.fdopen(reading, "rb", 0))
        os.write(writing, b"more than there is room for")
        await protocol.until(b"more than there is room for")
        os.close(writing)
        assert await asyncio.wait_for(protocol.lost, PATIENCE_S) is None

    yamanote.run(main())


@pytest.mark.parametrize("size", [0, 1])
def test_a_read_pipe_reports_a_buffer_that_is_none(size: int) -> None:
    class Refusing(Buffered):
        def get_buffer(self, sizehint: int) -> Anything:
            """Returns no buffer."""
            return bytes(size)

    reported: list[dict[str, Any]] = []

    def note(_: object, context: dict[str, Any]) -> None:
        reported.append(context)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        loop.set_exception_handler(note)
        reading, writing = os.pipe()
        _, protocol = await loop.connect_read_pipe(Refusing, os.fdopen(reading, "rb", 0))
        os.write(writing, b"x")
        error = await asyncio.wait_for(protocol.lost, PATIENCE_S)
        os.close(writing)
        assert isinstance(error, (RuntimeError, BufferError, TypeError))
        assert error is reported[0]["exception"]

    yamanote.run(main())
    assert len(reported) == 1


def test_over_tls_both_ways() -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        made: list[Buffered] = []

        def factory() -> Buffered:
            made.append(Buffered())
            return made[-1]

        server = await loop.create_server(factory, LOCALHOST, 0, ssl=server_context())
        transport, protocol = await loop.create_connection(
            Buffered, LOCALHOST, port_of(server), ssl=client_context(), server_hostname=NAME
        )
        transport.write(b"to the server")
        await asyncio.wait_for(_until(lambda: bool(made and made[0].received)), PATIENCE_S)
        await made[0].until(b"to the server")
        made[0].transport.write(b"to the client")
        await protocol.until(b"to the client")
        transport.close()
        assert await asyncio.wait_for(protocol.lost, PATIENCE_S) is None
        await asyncio.wait_for(made[0].lost, PATIENCE_S)
        server.close()
        await server.wait_closed()
        await everything_ends()

    yamanote.run(main())


async def _until(condition: Anything) -> None:
    while not condition():
        await turns(1)


class Plain(asyncio.Protocol):
    """The server's end: sends that it is ready, then switches to TLS."""

    def __init__(self) -> None:
        """Start without data."""
        self.received = bytearray()
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Stores the transport."""
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """Upgrades after the first bytes, and replies to the next ones."""
        self.received += data
        if bytes(self.received) == b"STARTTLS":
            self.transport.write(b"OK")
            self.upgrading = asyncio.ensure_future(self._upgrade())
        else:
            self.transport.write(data.upper())

    async def _upgrade(self) -> None:
        loop = asyncio.get_running_loop()
        self.transport = await loop.start_tls(
            self.transport, self, server_context(), server_side=True
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Notifies the test."""
        self.ended.set_result(None)


async def upgrade_a_client(factory: type[Buffered]) -> None:
    """Sends plain text, then uses TLS, with the same protocol."""
    loop: Any = asyncio.get_running_loop()
    made: list[Plain] = []

    def serve() -> Plain:
        made.append(Plain())
        return made[-1]

    server = await loop.create_server(serve, LOCALHOST, 0)
    transport, protocol = await loop.create_connection(factory, LOCALHOST, port_of(server))
    transport.write(b"STARTTLS")
    await protocol.until(b"OK")
    secure = await loop.start_tls(transport, protocol, client_context(), server_hostname=NAME)
    # Until then, asyncio's server has no transport to reply with.
    await made[0].upgrading
    secure.write(b"a secret that is long")
    await protocol.until(b"OKA SECRET THAT IS LONG")
    secure.close()
    assert await asyncio.wait_for(protocol.lost, PATIENCE_S) is None
    await asyncio.wait_for(made[0].ended, PATIENCE_S)
    server.close()
    await server.wait_closed()
    await everything_ends()


def test_start_tls_keeps_a_buffered_client(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_until_complete(upgrade_a_client(Subclass))


@pytest.mark.parametrize("factory", [Buffered, Base])
def test_start_tls_keeps_a_buffered_client_of_no_class(factory: type[Buffered]) -> None:
    """On asyncio, `data_received` is missing."""
    yamanote.run(upgrade_a_client(factory))
