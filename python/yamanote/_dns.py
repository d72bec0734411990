"""`getaddrinfo` and `getnameinfo` off the loop's thread; literals are answered at once."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yamanote._parts import Base
else:
    Base = object


class Dns(Base):
    """Look-ups have their own threads: they neither fill the default executor nor wait for it."""

    _dns_threads: ThreadPoolExecutor | None = None

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
        arguments = (host, port, family, type, proto, flags)
        if self._debug:
            # asyncio's way logs what is looked up and how long it takes.
            return await super().getaddrinfo(
                host, port, family=family, type=type, proto=proto, flags=flags
            )
        if _is_literal(host) and _is_number(port):
            return socket.getaddrinfo(*arguments)
        return await self.run_in_executor(self._dns(), socket.getaddrinfo, *arguments)

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int = 0
    ) -> tuple[str, str]:
        """`socket.getnameinfo`, without blocking the loop."""
        if flags & _NUMERIC == _NUMERIC:
            return socket.getnameinfo(sockaddr, flags)
        return await self.run_in_executor(self._dns(), socket.getnameinfo, sockaddr, flags)

    def _dns(self) -> ThreadPoolExecutor:
        if self._dns_threads is None:
            self._dns_threads = ThreadPoolExecutor(_MAX_LOOK_UPS, "yamanote-dns")
        return self._dns_threads

    def _close_dns(self) -> None:
        if self._dns_threads is not None:
            threads, self._dns_threads = self._dns_threads, None
            threads.shutdown(wait=False, cancel_futures=True)


# A look-up holds its thread for as long as the resolver waits, 5 seconds and more: enough for a
# burst of slow ones; threads are started one by one, as they are needed.
_MAX_LOOK_UPS = 64

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
        return port.isdigit()
    return port is None or isinstance(port, int)
