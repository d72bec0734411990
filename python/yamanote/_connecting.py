"""Opening TCP and Unix connections without a Python socket, in asyncio's own procedure."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import os
import socket

from yamanote._tls import Tls
from yamanote._unix import UnixSockets, until_there_is_room
from yamanote._yamanote import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import Any

    from yamanote._parts import AddressInfo, Base
else:
    Base = object


_CREATE_TRANSPORT: Any = vars(asyncio.BaseEventLoop)["_create_connection_transport"]
_HAS_CONTEXT = "context" in inspect.signature(_CREATE_TRANSPORT).parameters


class Connecting(Base):
    """`create_connection()`: natively to a numeric address, else in two steps of asyncio's own.

    Names, options and several addresses remain asyncio's. `create_unix_connection()` goes
    natively to a path, without TLS.
    """

    if not TYPE_CHECKING:  # asyncio's overloads are its type.

        @functools.wraps(asyncio.BaseEventLoop.create_connection)
        async def create_connection(
            self,
            protocol_factory: Callable[[], asyncio.BaseProtocol],
            host: str | None = None,
            port: int | None = None,
            **options: object,
        ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
            if (
                type(host) is str
                and type(port) is int
                and (not options or _are_native(options))
                and self._may_connect_natively()
            ):
                connection = await self._open_connection((host, port), socket.IPPROTO_TCP)
                if connection is not None:
                    if not (ssl := options.get("ssl")):
                        return await self._make_connection(connection, protocol_factory)
                    name = options.get("server_hostname")
                    return await self._create_connection_transport(
                        connection,
                        protocol_factory,
                        ssl,
                        host if name is None else name,
                        ssl_handshake_timeout=options.get("ssl_handshake_timeout"),
                        ssl_shutdown_timeout=options.get("ssl_shutdown_timeout"),
                    )
            return await super().create_connection(protocol_factory, host, port, **options)

        @functools.wraps(UnixSockets.create_unix_connection)
        async def create_unix_connection(
            self,
            protocol_factory: Callable[[], asyncio.BaseProtocol],
            path: str | bytes | os.PathLike[str] | None = None,
            **options: object,
        ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
            if (
                path is not None
                and (not options or _are_defaults(options, _UNIX_OPTIONAL))
                and self._may_connect_natively()
            ):
                path = os.fspath(path)
                connection = await self._open_unix_connection(path)
                if connection is not None:
                    return await self._make_connection(connection, protocol_factory)
            return await super().create_unix_connection(protocol_factory, path, **options)

    async def _connect_sock(
        self,
        exceptions: list[list[OSError]],
        addr_info: AddressInfo,
        local_addr_infos: list[AddressInfo] | None = None,
    ) -> socket.socket | Connection:
        """Return a connected `Connection` or socket; on failure, add the errors to `exceptions`."""
        if local_addr_infos is None and self._may_connect_natively():
            try:
                _, _, proto, _, address = addr_info
                connection = await self._open_connection(address, proto)
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
            and self._faults is None
            and socket.socket is _SOCKET
            and socket.socket.connect is _CONNECT
            and getattr(self.sock_connect, "__func__", None) is UnixSockets.sock_connect
        )

    async def _open_connection(self, address: tuple[object, ...], proto: int) -> Connection | None:
        """Return a connection to a numeric address; `None` if it is not one."""
        connection = self._begin_connection(address, proto)
        if connection is None:
            return None
        try:
            if connection.is_pending:
                await self._sock_writable(connection)
            if error := connection.error():
                if len(address) == 2 and ":" in str(address[0]):
                    address = (*address, 0, 0)  # As `getaddrinfo()` returns it.
                raise OSError(error, f"Connect call failed {address}")
        except BaseException:
            connection.close()
            raise
        return connection

    async def _open_unix_connection(self, path: str | bytes) -> Connection | None:
        """Return a connection to a listener's file; `None` if `path` is left to `socket`."""
        try:
            return self._connect_unix(path)
        except BlockingIOError:
            return await until_there_is_room(functools.partial(self._connect_unix, path))

    if not TYPE_CHECKING:  # Python 3.15 gave it another parameter.

        @functools.wraps(_CREATE_TRANSPORT)
        async def _create_connection_transport(
            self,
            sock: socket.socket | Connection,
            protocol_factory: Callable[[], asyncio.BaseProtocol],
            ssl: bool | ssl.SSLContext | None,
            *args: Any,
            **options: Any,
        ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
            """Return a transport over a connected socket, and its protocol."""
            if isinstance(sock, Connection):
                if not ssl:
                    return await self._make_connection(sock, protocol_factory)
                if (
                    len(args) == 1
                    and _TIMEOUTS.issuperset(options)
                    and all(map(_is_timeout, options.values()))
                    and getattr(self._make_ssl_transport, "__func__", None) is _MAKE_TLS
                ):
                    context = None if isinstance(ssl, bool) else ssl
                    return await self._make_tls_connection(
                        sock, protocol_factory, context, args[0], **options
                    )
                sock = sock.socket()
            return await super()._create_connection_transport(
                sock, protocol_factory, ssl, *args, **options
            )

    async def _make_connection(
        self, connection: Connection, protocol_factory: Callable[[], asyncio.BaseProtocol]
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        # From Python 3.15 on, all methods of a client's protocol run in one context.
        context = contextvars.copy_context() if _HAS_CONTEXT else None
        try:
            protocol = protocol_factory()
            waiter = self.create_future()
            transport = self._make_connection_transport(connection, protocol, waiter, context)
        except BaseException:
            connection.close()
            raise
        try:
            await waiter
        except BaseException:
            transport.close()
            del waiter  # Its error's traceback refers to this frame: that would be a cycle.
            raise
        return transport, protocol

    async def _make_tls_connection(
        self,
        connection: Connection,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sslcontext: ssl.SSLContext | None,
        server_hostname: str | None,
        *,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        context = contextvars.copy_context() if _HAS_CONTEXT else None
        try:
            protocol = protocol_factory()
            waiter = self.create_future()
            below, transport, _ = self._tls(
                protocol,
                sslcontext,
                waiter,
                False,
                server_hostname,
                ssl_handshake_timeout=ssl_handshake_timeout,
                ssl_shutdown_timeout=ssl_shutdown_timeout,
            )
            self._make_connection_transport(connection, below, None, context)
        except BaseException:
            connection.close()
            raise
        try:
            await waiter
        except BaseException:
            transport.close()
            del waiter  # Its error's traceback refers to this frame: that would be a cycle.
            raise
        return transport, protocol


def _are_native(options: dict[str, object]) -> bool:
    """Return whether these keyword arguments are for TLS, or have their defaults."""
    return _OPTIONAL.issuperset(options) and (
        not any(value is not None for value in options.values())
        or (
            bool(options.get("ssl"))
            and not any(options.get(name) is not None for name in _NOT_OF_TLS)
        )
    )


def _is_timeout(value: object) -> bool:
    """Return whether asyncio accepts it."""
    return value is None or (isinstance(value, (int, float)) and value > 0)


def _are_defaults(options: dict[str, object], optional: frozenset[str]) -> bool:
    """Return whether leaving these keyword arguments out changes nothing."""
    return optional.issuperset(options) and not any(value is not None for value in options.values())


#: The options of either kind of connection whose default is `None`.
_UNIX_OPTIONAL = frozenset(
    ("server_hostname", "sock", "ssl", "ssl_handshake_timeout", "ssl_shutdown_timeout")
)
_NOT_OF_TLS = frozenset(("happy_eyeballs_delay", "interleave", "local_addr", "sock"))
_OPTIONAL = _UNIX_OPTIONAL | _NOT_OF_TLS
_TIMEOUTS = frozenset(("ssl_handshake_timeout", "ssl_shutdown_timeout"))
_MAKE_TLS: Any = vars(Tls)["_make_ssl_transport"]
_SOCKET = socket.socket
_CONNECT = socket.socket.connect
