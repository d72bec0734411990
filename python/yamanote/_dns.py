"""`getaddrinfo` and `getnameinfo` off the loop's thread; literals are answered at once."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from yamanote._look_ups import LookUps

if TYPE_CHECKING:
    from yamanote._parts import Base
else:
    Base = object


class Dns(Base):
    """Look-ups have their own threads: they neither fill the default executor nor wait for it."""

    _look_ups: LookUps | None = None

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """`socket.getaddrinfo`, without blocking the loop."""
        self._check_closed()
        # In debug mode, asyncio's way logs what is looked up and how long it takes.
        function: Any = self._getaddrinfo_debug if self._debug else socket.getaddrinfo
        if _is_literal(host) and _is_number(port):
            return function(host, port, family, type, proto, flags)  # type: ignore[no-any-return]
        return await self._dns().call(self, function, host, port, family, type, proto, flags)

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int = 0
    ) -> tuple[str, str]:
        """`socket.getnameinfo`, without blocking the loop."""
        self._check_closed()
        if flags & _NUMERIC == _NUMERIC:
            return socket.getnameinfo(sockaddr, flags)
        return await self._dns().call(self, socket.getnameinfo, sockaddr, flags)

    def _dns(self) -> LookUps:
        # The threads of a process do not follow into its forked child.
        if self._look_ups is None or self._look_ups.process != os.getpid():
            self._look_ups = LookUps()
        return self._look_ups

    def _close_dns(self) -> None:
        if self._look_ups is not None:
            self._look_ups.close()
            self._look_ups = None


_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


def _is_literal(host: object) -> bool:
    """Whether `host` is an address, so that nothing has to be looked up."""
    if host is None:
        return True
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if not isinstance(host, str):
        return False
    address, _, _zone = host.partition("%")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        socket.inet_pton(family, address)
    except (OSError, ValueError, UnicodeEncodeError):
        return False
    return True


def _is_number(port: object) -> bool:
    """Whether `port` is no name of a service, which would be looked up in a file."""
    if isinstance(port, (str, bytes)):
        return port.isascii() and port.isdigit()
    return port is None or isinstance(port, int)
