"""Every way to write an echo server, for clients that wait for the whole echo of each message."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, TypeAlias, cast

import server

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Awaitable, Callable

    #: Serves a socket, with TLS if there is a context, and returns what must stay alive.
    Serve: TypeAlias = Callable[
        [asyncio.AbstractEventLoop, socket.socket, ssl.SSLContext | None], Awaitable[object]
    ]
    Handler: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

#: The limit of the streams, and the size of a buffer: more than the largest message.
LIMIT = 256 * 1024

#: Seconds; a timeout that does not expire.
LONG_S = 60


class BufferedEcho(asyncio.BufferedProtocol):
    """Writes back a view of its buffer, which no client refills before it has the echo."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        """Create the buffer."""
        self.view = memoryview(bytearray(LIMIT))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.transport = cast("asyncio.Transport", transport)  # Not a base class on all loops.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the whole buffer."""
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        """Send it back."""
        self.transport.write(self.view[:nbytes])


async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echo what `read` returns."""
    while data := await reader.read(LIMIT):
        writer.write(data)
        await writer.drain()


async def read_in_time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echo, with a timeout around each read."""
    while True:
        async with asyncio.timeout(LONG_S):
            data = await reader.read(LIMIT)
        if not data:
            return
        writer.write(data)
        await writer.drain()


async def readline(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echo lines."""
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()


async def readexactly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echo messages that begin with the length of the rest, in four bytes."""
    while True:
        head = await reader.readexactly(4)
        body = await reader.readexactly(*struct.unpack("!I", head))
        writer.write(head + body)
        await writer.drain()


def protocols(factory: type[asyncio.BaseProtocol]) -> Serve:
    """Serve with a protocol for each connection."""

    async def serve(
        loop: asyncio.AbstractEventLoop, listener: socket.socket, tls: ssl.SSLContext | None
    ) -> object:
        return await loop.create_server(factory, sock=listener, ssl=tls)

    return serve


def streams(handler: Handler) -> Serve:
    """Serve with streams."""

    async def serve(
        _loop: asyncio.AbstractEventLoop, listener: socket.socket, tls: ssl.SSLContext | None
    ) -> object:
        return await asyncio.start_server(handler, sock=listener, limit=LIMIT, ssl=tls)

    return serve


async def unix(
    loop: asyncio.AbstractEventLoop, listener: socket.socket, _tls: ssl.SSLContext | None
) -> object:
    """Serve with a `Protocol` over Unix sockets."""
    return await loop.create_unix_server(server.EchoProtocol, sock=listener)


async def sock(
    loop: asyncio.AbstractEventLoop, listener: socket.socket, _tls: ssl.SSLContext | None
) -> object:
    """Serve with `sock_recv` and `sock_sendall`, a task for each connection."""

    async def accept() -> None:
        while True:
            connection, _ = await loop.sock_accept(listener)
            serving.append(loop.create_task(server.echo_sock(loop, connection)))

    serving = [loop.create_task(accept())]
    return serving


async def datagrams(
    loop: asyncio.AbstractEventLoop, listener: socket.socket, _tls: ssl.SSLContext | None
) -> object:
    """Serve with a `DatagramProtocol`."""
    return await loop.create_datagram_endpoint(server.DatagramEchoProtocol, sock=listener)
