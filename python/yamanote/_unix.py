"""Unix sockets: what asyncio's Unix event loop adds to its base class."""

from __future__ import annotations

import asyncio
import functools
import socket
import sys
from asyncio import unix_events
from asyncio.log import logger

from yamanote._serving import adopted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from _typeshed import ReadableBuffer

    from yamanote._parts import Base

    _T = TypeVar("_T")
else:
    Base = object


class UnixSockets(Base):
    """asyncio's own methods, which need only a loop's public methods and the hooks below."""

    if not TYPE_CHECKING:
        create_unix_connection = unix_events._UnixSelectorEventLoop.create_unix_connection

        @functools.wraps(unix_events._UnixSelectorEventLoop.create_unix_server)
        async def create_unix_server(self, *args: object, **options: object) -> asyncio.Server:
            create = unix_events._UnixSelectorEventLoop.create_unix_server
            return adopted(await create(self, *args, **options))

    async def sock_connect(
        self, sock: socket.socket, address: tuple[Any, ...] | str | ReadableBuffer
    ) -> None:
        """Connect a non-blocking socket; a Unix socket retries while the listener's queue is full.

        On Linux, connect() then fails with EAGAIN, and the kernel does not signal when there is
        room. asyncio mistakes this for a connection in progress, and returns a transport over an
        unconnected socket. On other systems a full queue is an error.
        """
        if sock.family != socket.AF_UNIX or sys.platform != "linux":
            return await super().sock_connect(sock, address)
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        if self._faults is not None:
            await self._faults._connect(sock, address)
        return await until_there_is_room(functools.partial(sock.connect, address))

    @functools.cached_property
    def _unix_server_sockets(self) -> dict[socket.socket, int]:
        """Inodes of the socket files to remove on close, stored by `create_unix_server`."""
        return {}

    def _stop_serving(self, sock: socket.socket) -> None:
        """Close a listening socket, and remove its file if `cleanup_socket` was set."""
        inode = self._unix_server_sockets.pop(sock, None)
        if inode is None:
            return super()._stop_serving(sock)
        path = sock.getsockname()
        super()._stop_serving(sock)
        try:
            # Native: tools that forbid blocking calls allow stat() and unlink() only from
            # asyncio's own files.
            self._remove_socket_file(path, inode)
        except FileNotFoundError:
            pass
        except OSError as error:
            logger.error("Unable to clean up listening UNIX socket %r: %r", path, error)


async def until_there_is_room(connect: Callable[[], _T]) -> _T:
    """Return the result of `connect()`, repeated while the listener's queue is full."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return connect()
        except BlockingIOError:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


# Delays between attempts to connect to a full queue, which empties as fast as its server accepts.
_FIRST_PAUSE_S = 0.001
_LONGEST_PAUSE_S = 0.032
