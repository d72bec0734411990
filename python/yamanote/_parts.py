"""The interface between the parts of `Loop`, for type checkers only."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    import socket
    import ssl
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractContextManager
    from contextvars import Context
    from typing import Any

    from _typeshed import ReadableBuffer

    from yamanote._metrics import LoopMetrics
    from yamanote._yamanote import Admitted, Connection, Core

    #: As `socket.getaddrinfo` returns it.
    AddressInfo = tuple[int, int, int, str, tuple[object, ...]]

    class Base(Core, asyncio.BaseEventLoop):  # pyright: ignore[reportIncompatibleMethodOverride]
        """The core, asyncio's base class, and the hooks between the parts."""

        _default_executor: Any
        _faults: Any
        _file_threads: Any
        _unix_server_sockets: Any

        def _check_running(self) -> None: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...
        def _asyncgen_firstiter_hook(self, agen: AsyncGenerator[Any, Any]) -> None: ...
        def _asyncgen_finalizer_hook(self, agen: AsyncGenerator[Any, Any]) -> None: ...
        def _signals_attached(self) -> AbstractContextManager[None]: ...

        _coroutine_origin_tracking_enabled: bool

        def _attach_signals(self) -> int | None: ...
        def _forget_signals(self) -> None: ...
        def _close_signals(self) -> None: ...
        def _close_children(self) -> None: ...
        def _leave_children(self) -> None: ...
        def _close_dns(self) -> None: ...
        def _stop_serving(self, sock: socket.socket) -> None: ...
        def _accept_rested(self) -> None: ...
        def _getaddrinfo_debug(
            self, host: object, port: object, family: int, type: int, proto: int, flags: int
        ) -> list[Any]: ...
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
        ) -> tuple[asyncio.BaseProtocol, asyncio.Transport, Callable[[Any], object]]: ...
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
        ) -> None: ...
        async def _connect_sock(
            self,
            exceptions: list[list[OSError]],
            addr_info: AddressInfo,
            local_addr_infos: list[AddressInfo] | None = None,
        ) -> socket.socket | Connection: ...
        async def _create_connection_transport(
            self,
            sock: socket.socket | Connection,
            protocol_factory: Callable[[], asyncio.BaseProtocol],
            ssl: bool | ssl.SSLContext | None,
            *args: Any,
            **options: Any,
        ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]: ...
        def _close_files(self) -> None: ...
        def metrics(self) -> LoopMetrics: ...
        async def _ensure_resolved(
            self,
            address: tuple[Any, ...] | str | ReadableBuffer,
            *,
            family: int = 0,
            type: int = 0,
            proto: int = 0,
            flags: int = 0,
            loop: asyncio.AbstractEventLoop,
        ) -> list[Any]: ...
