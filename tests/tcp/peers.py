"""The other end of a connection: a plain blocking socket, controlled by the test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, TypeVar

from tests.tcp.recorders import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable

P = TypeVar("P", bound=asyncio.BaseProtocol)

#: More than the capacity of two kernel buffers.
MORE_THAN_FITS = 16 * 1024 * 1024


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Returns two connected TCP sockets: like `socket.socketpair()`, but with TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname(), PATIENCE_S)
        other, _ = listener.accept()
    other.settimeout(PATIENCE_S)
    return one, other


async def connect(
    factory: Callable[[], P], *, kernel_buffer: int | None = None
) -> tuple[asyncio.Transport, P, socket.socket]:
    """Opens a connection of the running loop and returns the peer's socket with it.

    Args:
        factory: creates the protocol.
        kernel_buffer: the size in bytes of both kernel buffers between our writes and the peer's
            reads, to fill them soon. The kernel rounds it up.
    """
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if kernel_buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, kernel_buffer)
        transport, protocol = await loop.create_connection(factory, *listener.getsockname())
        peer, _ = listener.accept()
    if kernel_buffer is not None:
        ours: socket.socket = transport.get_extra_info("socket")
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, kernel_buffer)
    peer.settimeout(PATIENCE_S)
    assert isinstance(transport, asyncio.Transport)
    return transport, protocol, peer


async def read_exactly(peer: socket.socket, count: int) -> bytes:
    """Reads `count` bytes while the loop runs."""

    def read() -> bytes:
        got = bytearray()
        while len(got) < count and (data := peer.recv(min(1 << 20, count - len(got)))):
            got += data
        return bytes(got)

    return await asyncio.get_running_loop().run_in_executor(None, read)


async def read_to_end(peer: socket.socket) -> bytes:
    """Reads to the end of the stream while the loop runs."""

    def read() -> bytes:
        got = bytearray()
        while data := peer.recv(1 << 20):
            got += data
        return bytes(got)

    return await asyncio.get_running_loop().run_in_executor(None, read)


async def read_until_gone(peer: socket.socket) -> bytes:
    """Reads to the end of the stream or a reset while the loop runs.

    A socket that is closed with unread data resets its connection.
    """

    def read() -> bytes:
        got = bytearray()
        with contextlib.suppress(ConnectionResetError):
            while data := peer.recv(1 << 20):
                got += data
        return bytes(got)

    return await asyncio.get_running_loop().run_in_executor(None, read)


async def send(peer: socket.socket, data: bytes) -> None:
    """Sends all of `data` while the loop runs."""
    await asyncio.get_running_loop().run_in_executor(None, peer.sendall, data)


def reset(peer: socket.socket) -> None:
    """Closes so that the other side gets "connection reset by peer"."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


async def turns(count: int) -> None:
    """Runs `count` turns of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)
