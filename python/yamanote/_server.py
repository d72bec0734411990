"""The hooks that asyncio's own `Server` calls."""

from __future__ import annotations

from asyncio import constants
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

    from yamanote._parts import Base
else:
    Base = object


class Serving(Base):
    """Listening sockets; accepting is native."""

    def _start_serving(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        sslcontext: object = None,
        server: object = None,
        backlog: int = 100,
        *_tls_timeouts: Any,
        **_more: Any,
    ) -> None:
        self._listen(sock, protocol_factory, server, backlog)

    def _stop_serving(self, sock: socket.socket) -> None:
        self._stop_listening(sock.fileno())
        sock.close()

    def _accept_later(self, sock: socket.socket) -> None:
        """Accepting failed for want of descriptors: the connections wait in the backlog."""
        self.call_later(constants.ACCEPT_RETRY_DELAY, self._accept_again, sock)

    def _accept_again(self, sock: socket.socket) -> None:
        if (number := sock.fileno()) >= 0:
            self._resume_listening(number)
