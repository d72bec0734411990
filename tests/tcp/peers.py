"""The other end of a connection: a plain blocking socket that does exactly what it is told."""

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

#: More than any two kernel buffers on the way take.
MORE_THAN_FITS = 16 * 1024 * 1024


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets: as `socket.socketpair()`, but of the family under test."""
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
        factory: makes the protocol.
        kernel_buffer: bytes for both kernel buffers between our writes and the peer's reads, to
            fill them soon. The kernel rounds it up.
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
    """Reads `count` bytes while the loop goes on."""

    def read() -> bytes:
        got = bytearray()
        while len(got) < count and (data := peer.recv(min(1 << 20, count - len(got)))):
            got += data
        return bytes(got)

    return await asyncio.get_running_loop().run_in_executor(None, read)


async def read_to_end(peer: socket.socket) -> bytes:
    """Reads until the loop's side has ended, while the loop goes on."""

    def read() -> bytes:
        got = bytearray()
        while data := peer.recv(1 << 20):
            got += data
        return bytes(got)

    return await asyncio.get_running_loop().run_in_executor(None, read)


async def read_until_gone(peer: socket.socket) -> bytes:
    """Reads until the loop's side has ended or reset, while the loop goes on.

    A socket that is closed with data left unread resets its connection.
    """

    def read() -> bytes:
        got = bytearray()
        with contextlib.suppress(ConnectionResetError):
            while data := peer.recv(1 << 20):
                got += data
        return bytes(got)

    return await asyncio.get_running_loop().run_in_executor(None, read)


async def send(peer: socket.socket, data: bytes) -> None:
    """Sends all of `data` while the loop goes on."""
    await asyncio.get_running_loop().run_in_executor(None, peer.sendall, data)


def reset(peer: socket.socket) -> None:
    """Closes so that the other side sees "connection reset by peer"."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


async def turns(count: int) -> None:
    """Lets the loop turn `count` times."""
    for _ in range(count):
        await asyncio.sleep(0)
