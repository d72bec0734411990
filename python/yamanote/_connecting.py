"""Opening TCP connections without a Python socket, in asyncio's own procedure."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Any

from yamanote._unix import UnixSockets
from yamanote._yamanote import Connection

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable

    from yamanote._parts import AddressInfo, Base
else:
    Base = object


class Connecting(Base):
    """Two steps of asyncio's `create_connection()`: opening the socket, and making the transport.

    Checking arguments and going through the addresses remain asyncio's.
    """

    async def _connect_sock(
        self,
        exceptions: list[list[OSError]],
        addr_info: AddressInfo,
        local_addr_infos: list[AddressInfo] | None = None,
    ) -> socket.socket | Connection:
        """Return a connected `Connection` or socket; on failure, add the errors to `exceptions`."""
        if local_addr_infos is None and self._may_connect_natively():
            try:
                connection = await self._open_connection(addr_info)
            except OSError as error:
                exceptions.append([error])
                del exceptions  # The error's traceback refers to this frame: that would be a cycle.
                raise
            if connection is not None:
                return connection
        return await super()._connect_sock(exceptions, addr_info, local_addr_infos)

    def _may_connect_natively(self) -> bool:
        """Return whether the program replaces nothing that asyncio would call."""
        return (
            not self._debug
            and socket.socket is _SOCKET
            and socket.socket.connect is _CONNECT
            and getattr(self.sock_connect, "__func__", None) is UnixSockets.sock_connect
        )

    async def _open_connection(self, addr_info: AddressInfo) -> Connection | None:
        """Return a connection to a numeric address; `None` if it is not one."""
        family, _, proto, _, address = addr_info
        sys.audit("socket.connect", self, address)
        connection = self._begin_connection(family, proto, address)
        if connection is None:
            return None
        try:
            if connection.is_pending:
                await self._sock_writable(connection)
            if error := connection.error():
                raise OSError(error, f"Connect call failed {address}")
        except BaseException:
            connection.close()
            raise
        return connection

    async def _create_connection_transport(
        self,
        sock: socket.socket | Connection,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        ssl: bool | ssl.SSLContext | None,
        server_hostname: str | None,
        *args: Any,
        **options: Any,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Return a transport over a connected socket, and its protocol."""
        if isinstance(sock, Connection):
            if not ssl:
                return await self._make_connection(sock, protocol_factory)
            sock = sock.socket()
        return await super()._create_connection_transport(
            sock, protocol_factory, ssl, server_hostname, *args, **options
        )

    async def _make_connection(
        self, connection: Connection, protocol_factory: Callable[[], asyncio.BaseProtocol]
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        try:
            protocol = protocol_factory()
            waiter = self.create_future()
            transport = self._make_connection_transport(connection, protocol, waiter)
        except BaseException:
            connection.close()
            raise
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol


_SOCKET = socket.socket
_CONNECT = socket.socket.connect
