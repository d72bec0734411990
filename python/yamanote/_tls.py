"""TLS with the interpreter's `ssl` module, driven natively: what runs once per connection."""

from __future__ import annotations

import functools
from asyncio import constants, sslproto, streams

from yamanote._yamanote import SocketTransport

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    import socket
    import ssl
    from collections.abc import Callable
    from contextvars import Context
    from typing import Any

    from yamanote._parts import Base
    from yamanote._yamanote import Admitted
else:
    Base = object
    try:
        import ssl
    except ImportError:  # An interpreter without OpenSSL: asyncio raises when TLS is requested.
        ssl = None


class Tls(Base):
    """The hooks behind the `ssl` arguments; the keywords are those of this Python's asyncio."""

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext | None,
        waiter: asyncio.Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: object = None,
        ssl_handshake_timeout: float | None = constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout: float | None = constants.SSL_SHUTDOWN_TIMEOUT,
        context: Context | None = None,
    ) -> asyncio.Transport:
        """Begin a handshake and return its transport; `waiter` is completed when it ends."""
        self._ensure_fd_no_transport(rawsock.fileno())
        # Checked first: for an invalid timeout the socket is left to the caller.
        _positive("ssl_handshake_timeout", ssl_handshake_timeout)
        _positive("ssl_shutdown_timeout", ssl_shutdown_timeout)
        try:
            below, transport, _ = self._tls(
                protocol,
                sslcontext,
                waiter,
                server_side,
                server_hostname,
                ssl_handshake_timeout=ssl_handshake_timeout,
                ssl_shutdown_timeout=ssl_shutdown_timeout,
            )
        except BaseException:
            # As in asyncio, whose transport exists by now and is closed by the error.
            rawsock.close()
            raise
        try:
            self._make_socket_transport(rawsock, below, extra=extra, server=server, context=context)
        except BaseException:
            transport.abort()  # It never begins; without this its end would be a ResourceWarning.
            raise
        return transport

    async def start_tls(
        self,
        transport: asyncio.BaseTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport | None:
        """Upgrade a connection to TLS; arguments and exceptions are asyncio's.

        Returns:
            The transport to use from now on, or `None` if the connection was closed meanwhile.
        """
        context: Any = sslcontext
        if not (
            _is_native
            and isinstance(transport, SocketTransport)
            and isinstance(context, ssl.SSLContext)
        ):
            # TLS in TLS, and arguments that asyncio refuses.
            return await super().start_tls(
                transport,
                protocol,
                sslcontext,
                server_side=server_side,
                server_hostname=server_hostname,
                ssl_handshake_timeout=ssl_handshake_timeout,
                ssl_shutdown_timeout=ssl_shutdown_timeout,
            )
        waiter: asyncio.Future[bool] = self.create_future()
        below, secure, feed = self._tls(
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            call_connection_made=False,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        # Nothing must be received before the handshake has begun.
        transport.pause_reading()
        if server_side:
            _move_buffered(protocol, feed)
        transport.set_protocol(below)
        steps = (
            self.call_soon(below.connection_made, transport),
            self.call_soon(transport.resume_reading),
        )
        try:
            is_connected = await waiter
        except BaseException:
            transport.close()
            for step in steps:
                step.cancel()
            raise
        finally:
            # Break the cycle: its exception refers to this frame.
            del waiter
        return secure if is_connected else None

    def _tls(
        self,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext | None,
        waiter: asyncio.Future[Any] | None,
        server_side: bool,
        server_hostname: str | None,
        *,
        call_connection_made: bool = True,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None,
    ) -> tuple[asyncio.BaseProtocol, asyncio.Transport, Callable[[Any], object]]:
        """Return a protocol for the stream, a transport for `protocol`, and its feed function."""
        if _is_native and _is_stock():
            seconds = (
                _positive("ssl_handshake_timeout", ssl_handshake_timeout),
                _positive("ssl_shutdown_timeout", ssl_shutdown_timeout),
            )
            if not sslcontext:
                make_context: Any = getattr(sslproto, "_create_transport_context")  # noqa: B009
                made: ssl.SSLContext = make_context(server_side, server_hostname)
                sslcontext = made
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            wrap = functools.partial(
                sslcontext.wrap_bio,
                incoming,
                outgoing,
                server_side=server_side,
                server_hostname=(server_hostname or None) if not server_side else None,
            )
            native = self._make_tls_transport(
                protocol,
                (sslcontext, wrap, (incoming, outgoing), functools.partial(_Guarded, self)),
                seconds,
                {"sslcontext": sslcontext},
                waiter,
                call_connection_made,
            )
            if native is not None:
                as_protocol: Any = native
                return as_protocol, native, native._feed
        make: Any = sslproto.SSLProtocol
        ssl_protocol = make(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            call_connection_made,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        return ssl_protocol, ssl_protocol._app_transport, ssl_protocol._incoming.write

    async def _serve_tls(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        conn: socket.socket,
        extra: dict[str, Any] | None,
        sslcontext: ssl.SSLContext,
        server: object,
        admitted: Admitted,
        *,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None,
        context: Context | None,
    ) -> None:
        """Complete the handshake of an accepted connection; a failure affects only its peer."""
        told: dict[str, Any] = {
            "message": "Error on transport creation for incoming connection",
        }
        try:
            protocol = told["protocol"] = protocol_factory()
            waiter = self.create_future()
            self._admit(admitted)
            try:
                transport = told["transport"] = self._make_ssl_transport(
                    conn,
                    protocol,
                    sslcontext,
                    waiter,
                    server_side=True,
                    extra=extra,
                    server=server,
                    ssl_handshake_timeout=ssl_handshake_timeout,
                    ssl_shutdown_timeout=ssl_shutdown_timeout,
                    context=context,
                )
            finally:
                self._admit(None)  # If nothing has taken it.
            try:
                await waiter
            except BaseException:
                transport.close()
                raise
            finally:
                # Break the cycle: its exception refers to this frame.
                del waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            # As in asyncio: a failure or cancellation is reported only in debug mode.
            if "transport" not in told:
                conn.close()
            if self._debug:
                self.call_exception_handler({**told, "exception": error})


class _Guarded:
    """Restricts the native half of an `ssl.SSLObject` to the loop's thread.

    `_ssl` releases the GIL while OpenSSL reads, writes or shakes hands, and the loop calls OpenSSL
    without `_ssl`. Two threads that use a session at once would corrupt it.
    """

    __slots__ = ("_check", "_native")

    _check: Callable[[], None]
    _native: ssl.SSLObject

    def __init__(self, loop: Base, native: ssl.SSLObject) -> None:
        """Allow calls on the loop's thread, and from any thread while the loop is not running."""
        object.__setattr__(self, "_check", loop._check_thread)
        object.__setattr__(self, "_native", native)

    def __getattr__(self, name: str) -> object:
        """Return an attribute of the native half."""
        value: object = getattr(self._native, name)
        if name in _AT_WORK:
            self._check()
        return value

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute of the native half: `context`, `session` or `owner`."""
        setattr(self._native, name, value)


#: The methods of `_ssl._SSLSocket` in which OpenSSL reads or writes.
_AT_WORK = frozenset({"do_handshake", "read", "write", "shutdown", "verify_client_post_handshake"})

#: Without OpenSSL, asyncio's methods run and raise its errors.
_is_native = ssl is not None


#: asyncio's TLS protocol as of the import of this module.
_PROTOCOL = sslproto.SSLProtocol
_MEMBERS = dict(vars(_PROTOCOL))


def _is_stock() -> bool:
    """Return whether asyncio's TLS protocol is unpatched: a program's patches must take effect."""
    # Identical members are equal without a call, so all of them are compared in C.
    members: Any = vars(_PROTOCOL)
    return sslproto.SSLProtocol is _PROTOCOL and members == _MEMBERS


def _move_buffered(protocol: asyncio.BaseProtocol, feed: Callable[[Any], object]) -> None:
    """Move data that a stream reader has already received, such as a ClientHello, to the session.

    As in asyncio from Python 3.14 on; before, such a handshake timed out.
    """
    reader: Any = getattr(protocol, "_stream_reader", None)
    if isinstance(reader, streams.StreamReader):
        buffer: Any = getattr(reader, "_buffer")  # noqa: B009
        feed(buffer)
        buffer.clear()


def _positive(name: str, seconds: float | None) -> float:
    """Return a checked timeout; asyncio's default for `None`."""
    if seconds is None:
        default: float = getattr(constants, name.upper())
        return default
    if seconds <= 0:
        raise ValueError(f"{name} should be a positive number, got {seconds}")
    return seconds
