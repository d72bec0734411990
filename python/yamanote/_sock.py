"""`sock_connect`; the other socket calls are native."""

from __future__ import annotations

import socket
from asyncio import base_events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from _typeshed import ReadableBuffer

    from yamanote._parts import Base
else:
    Base = object


class SocketCalls(Base):
    """`sock_connect`, which runs once per connection and looks up names."""

    #: Set by `yamanote.testing.faults`.
    _faults: Any = None

    async def sock_connect(
        self, sock: socket.socket, address: tuple[Any, ...] | str | ReadableBuffer
    ) -> None:
        """Connect a non-blocking socket; host names are looked up.

        Raises:
            TypeError: the socket is an `ssl.SSLSocket`.
            ValueError: in debug mode, the socket blocks.
            RuntimeError: a transport owns the descriptor.
            OSError: `Connect call failed`, with the address.
        """
        base_events._check_ssl_socket(sock)  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            resolved = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = resolved[0][4]
        if self._faults is not None:
            await self._faults._connect(sock, address)
        try:
            sock.connect(address)
        except (BlockingIOError, InterruptedError):
            # The kernel continues to connect, also after EINTR.
            await self._sock_writable(sock)
        else:
            return
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, f"Connect call failed {address}")
