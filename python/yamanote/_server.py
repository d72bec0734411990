"""Creating servers, and the hooks that they call."""

from __future__ import annotations

import asyncio
import functools
from asyncio import constants

from yamanote._limiting import gate_of
from yamanote._serving import adopted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable
    from contextvars import Context
    from typing import Any

    from yamanote._parts import Base
    from yamanote._yamanote import Admitted
else:
    Base = object


class Serving(Base):
    """Listening sockets; accepting is native."""

    if not TYPE_CHECKING:  # asyncio's overloads are its type.

        @functools.wraps(asyncio.BaseEventLoop.create_server)
        async def create_server(self, *args: object, **options: object) -> asyncio.Server:
            return adopted(await super().create_server(*args, **options))

    # Listening sockets that do not accept for a while, and what ends that.
    _resting: dict[socket.socket, asyncio.TimerHandle] | None = None

    def _start_serving(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        sslcontext: ssl.SSLContext | None = None,
        server: object = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout: float | None = constants.SSL_SHUTDOWN_TIMEOUT,
        context: Context | None = None,
    ) -> None:
        if sslcontext is None:
            self._listen(sock, protocol_factory, server, backlog, context, gate_of(server))
            return
        self._keep_clients(server)

        def accepted(
            conn: socket.socket,
            address: tuple[Any, ...] | None,
            context: Context | None,
            admitted: Admitted,
        ) -> None:
            serving = self._serve_tls(
                protocol_factory,
                conn,
                {} if address is None else {"peername": address},
                sslcontext,
                server,
                admitted,
                ssl_handshake_timeout=ssl_handshake_timeout,
                ssl_shutdown_timeout=ssl_shutdown_timeout,
                context=context,
            )
            self.create_task(serving, context=context)

        self._listen_and_call(sock, accepted, backlog, context, gate_of(server))

    def _stop_serving(self, sock: socket.socket) -> None:
        self._stop_listening(sock.fileno())
        sock.close()

    def _accept_later(self, sock: socket.socket, delay: float | None = None) -> None:
        """Accept again later, as accept() failed, a rate is reached, or others come first."""
        if self._resting is None:
            self._resting = {}
        if sock not in self._resting:
            seconds = constants.ACCEPT_RETRY_DELAY if delay is None else delay
            self._resting[sock] = self.call_later(seconds, self._accept_again, sock)

    def _accept_rested(self) -> None:
        """Accept again at once wherever that was to be later: a rate may have changed."""
        for sock in list(self._resting or ()):
            self._accept_again(sock)

    def _accept_again(self, sock: socket.socket) -> None:
        if self._resting is not None and (timer := self._resting.pop(sock, None)) is not None:
            timer.cancel()
        if (number := sock.fileno()) >= 0:
            self._resume_listening(number)
