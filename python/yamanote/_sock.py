"""Calls on sockets of the caller's."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    from _typeshed import ReadableBuffer

    from yamanote._parts import Base
else:
    Base = object


class SocketCalls(Base):
    """`sock_connect`, which `create_connection` is built on."""

    async def sock_connect(
        self, sock: socket.socket, address: tuple[Any, ...] | str | ReadableBuffer
    ) -> None:
        """Connect a non-blocking socket; host names are looked up.

        Raises:
            ValueError: in debug mode, the socket blocks.
            OSError: `Connect call failed`, with the address.
        """
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            resolved = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = resolved[0][4]
        try:
            sock.connect(address)
        except (BlockingIOError, InterruptedError):
            # The connection goes on in the kernel, also after a signal.
            await self._connected(sock, address)

    async def _connected(self, sock: socket.socket, address: object) -> None:
        fd = sock.fileno()
        self._ensure_fd_no_transport(fd)
        writable = self.create_future()
        self._add_writer(fd, self._make_handle(_finish, writable))
        try:
            await writable
        finally:
            self._remove_writer(fd)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, f"Connect call failed {address}")


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
