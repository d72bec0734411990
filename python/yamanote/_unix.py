"""Unix sockets: what asyncio's loop for Unix has above its base class."""

from __future__ import annotations

import asyncio
import socket
import sys
from asyncio import unix_events
from asyncio.log import logger
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from yamanote._parts import Base
else:
    Base = object


class UnixSockets(Base):
    """The interpreter's own methods: they call only a loop's public ones and the hooks below."""

    if not TYPE_CHECKING:
        create_unix_connection = unix_events._UnixSelectorEventLoop.create_unix_connection
        create_unix_server = unix_events._UnixSelectorEventLoop.create_unix_server

    async def sock_connect(
        self, sock: socket.socket, address: tuple[Any, ...] | str | ReadableBuffer
    ) -> None:
        """Connect a non-blocking socket; a Unix socket waits while its listener's queue is full.

        The kernel does not tell when there is room again. asyncio takes the refusal for a
        connection under way, and makes a transport over a socket that is not connected. So it is
        on Linux; elsewhere a full queue is an error.
        """
        if sock.family != socket.AF_UNIX or sys.platform != "linux":
            return await super().sock_connect(sock, address)
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return sock.connect(address)
            except BlockingIOError:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    @cached_property
    def _unix_server_sockets(self) -> dict[socket.socket, int]:
        """Inodes of the files to remove with their servers, noted by `create_unix_server`."""
        return {}

    def _stop_serving(self, sock: socket.socket) -> None:
        """Close a listening socket, and remove its file where that was asked for."""
        inode = self._unix_server_sockets.pop(sock, None)
        if inode is None:
            return super()._stop_serving(sock)
        path = sock.getsockname()
        super()._stop_serving(sock)
        try:
            # Natively: tools that refuse blocking calls let asyncio's own file make these two only.
            self._remove_socket_file(path, inode)
        except FileNotFoundError:
            pass
        except OSError as error:
            logger.error("Unable to clean up listening UNIX socket %r: %r", path, error)


# Between two looks at a full queue: it empties as fast as its server accepts.
_FIRST_PAUSE_S = 0.001
_LONGEST_PAUSE_S = 0.032
