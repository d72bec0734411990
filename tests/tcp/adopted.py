"""Streams that have been used twice: our loop has given their reader and writer native methods."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import sysconfig
import termios
from typing import TYPE_CHECKING

import yamanote
from tests.tcp.peers import turns
from tests.tcp.recorders import PATIENCE_S
from tests.tcp.streams import LIMIT, Streams

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


def is_adopted(stream: asyncio.StreamReader | asyncio.StreamWriter) -> bool:
    """Whether the object's methods are native."""
    return type(stream) not in (asyncio.StreamReader, asyncio.StreamWriter)


def adopts(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop gives stream objects native methods."""
    has_gil = not sysconfig.get_config_var("Py_GIL_DISABLED")
    return isinstance(loop, yamanote.Loop) and has_gil and not loop.get_debug()


@contextlib.asynccontextmanager
async def adopted(limit: int = LIMIT) -> AsyncGenerator[tuple[Streams, socket.socket], None]:
    """A reader and a writer that have been used, with the peer's socket."""
    mine, peer = socket.socketpair()
    peer.settimeout(PATIENCE_S)
    with peer:
        reader, writer = await asyncio.open_connection(sock=mine, limit=limit)
        try:
            for _ in range(2):
                writer.write(b"up")
                await writer.drain()
                peer.sendall(b"dn")
                assert await reader.readexactly(2) == b"dn"
            assert peer.recv(4) == b"upup"
            loop = asyncio.get_running_loop()
            assert is_adopted(reader) == is_adopted(writer) == adopts(loop)
            yield (reader, writer), peer
        finally:
            writer.close()
            with contextlib.suppress(BufferError, ConnectionError):
                await writer.wait_closed()


async def arrive(writer: asyncio.StreamWriter, peer: socket.socket, data: bytes) -> None:
    """Sends to the stream, and waits until its transport has received everything or is paused.

    What is sent over a Unix socket can be received at once.
    """
    peer.sendall(data)
    while writer.transport.is_reading() and unread(writer):  # type: ignore[attr-defined]
        await turns(1)


def unread(writer: asyncio.StreamWriter) -> int:
    """The bytes that the transport has not taken from its socket."""
    sock: socket.socket = writer.get_extra_info("socket")
    answer = fcntl.ioctl(sock.fileno(), termios.FIONREAD, struct.pack("i", 0))
    count: int = struct.unpack("i", answer)[0]
    return count
