"""`getaddrinfo` and `getnameinfo` off the loop's thread; address literals need no thread."""

from __future__ import annotations

import _socket
import asyncio
import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Any

    from _typeshed import ReadableBuffer

    from yamanote._dns_threads import LookUps
    from yamanote._parts import Base
else:
    Base = object


class Dns(Base):
    """Look-ups run on their own threads, so that they neither fill nor wait for the executor."""

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
        if not self._debug:
            if answer := _numeric(host, port, family, type, proto, flags):
                return [answer]
            found = self._plain(host, port, family, type, proto, flags)
            if found is not None and (answers := await found) is not None:
                return answers
        # In debug mode, asyncio's method logs each look-up and its duration.
        function: Any = self._getaddrinfo_debug if self._debug else socket.getaddrinfo
        if _is_literal(host) and _is_number(port):
            return function(host, port, family, type, proto, flags)  # type: ignore[no-any-return]
        return await self._dns().call(self, function, host, port, family, type, proto, flags)

    async def _ensure_resolved(
        self,
        address: tuple[Any, ...] | str | ReadableBuffer,
        *,
        family: int = 0,
        type: int = socket.SOCK_STREAM,
        proto: int = 0,
        flags: int = 0,
        loop: asyncio.AbstractEventLoop,
    ) -> list[Any]:
        """Return the addresses of a name or an address, as `create_connection()` asks for them."""
        if isinstance(address, tuple) and len(address) == 2:
            host, port = address
            # asyncio first tries whether a name is an address: two exceptions say that it is not.
            if _is_name(host, family):
                if getattr(loop.getaddrinfo, "__func__", None) is _GETADDRINFO:
                    found = self._plain(host, port, family, type, proto, flags)
                    if found is not None and (answers := await found) is not None:
                        return answers
                return await loop.getaddrinfo(
                    host, port, family=family, type=type, proto=proto, flags=flags
                )
        return await super()._ensure_resolved(
            address, family=family, type=type, proto=proto, flags=flags, loop=loop
        )

    def _plain(
        self, host: object, port: object, family: object, kind: object, proto: object, flags: object
    ) -> Awaitable[list[Any] | None] | None:
        """Return the look-up of a name without Python on its thread; `None` if it needs Python."""
        if (
            self._debug
            or not _is_name(host)
            or not _is_genuine()
            or asyncio._get_running_loop() is not self
        ):
            return None
        return self._dns().resolver.look_up(host, port, family, kind, proto, flags)

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int = 0
    ) -> tuple[str, str]:
        """`socket.getnameinfo`, without blocking the loop."""
        self._check_closed()
        # Flags that are an integer only by `__index__` are left to the function.
        if type(flags) is int and flags & _NUMERIC == _NUMERIC:
            return socket.getnameinfo(sockaddr, flags)
        return await self._dns().call(self, socket.getnameinfo, sockaddr, flags)

    def _dns(self) -> LookUps:
        # A forked child does not have its parent's threads.
        if self._look_ups is None or self._look_ups.process != os.getpid():
            # Imported when first used, so that importing yamanote is quick.
            from yamanote._dns_threads import LookUps

            self._look_ups = LookUps()
        return self._look_ups

    def _close_dns(self) -> None:
        if self._look_ups is not None:
            self._look_ups.close()
            self._look_ups = None


_GETADDRINFO: Any = vars(Dns)["getaddrinfo"]
_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


def _numeric(
    host: object, port: object, family: int, kind: int, proto: int, flags: int
) -> tuple[object, ...] | None:
    """Return what `socket.getaddrinfo` returns for an address literal in the most common case.

    Return `None` where it must be called: for names, for anything but a single socket type without
    flags, and if `socket.getaddrinfo` has been replaced.
    """
    if type(host) is not str or type(port) is not int or not 0 <= port <= 65535:
        return None
    try:
        # The `|` raises `TypeError` unless all four are integers.
        found = _kinds().get(kind) if family | kind | proto | flags and not flags else None
        if found is None or socket.getaddrinfo is not _GENUINE:
            return None
        kind, protocol = found
        if proto and proto != protocol:
            return None
        if ":" in host:
            number = socket.AF_INET6
            # Normalizes the text; an address with a zone raises `OSError`.
            text = socket.inet_ntop(number, socket.inet_pton(number, host))
            address: tuple[object, ...] = (text, port, 0, 0)
        else:
            number = socket.AF_INET
            socket.inet_pton(number, host)
            address = (host, port)
    except (OSError, TypeError, ValueError):
        return None
    if family and family != number:
        return None
    return (number, kind, protocol, "", address)


def _is_name(host: object, family: object = 0) -> bool:
    """Return whether this is surely a name, by its first character: not all names are."""
    return (
        isinstance(family, int)
        and type(host) is str
        and host > ":"
        and host.isascii()
        and ":" not in host
        and "\0" not in host
    )


def _is_genuine() -> bool:
    """Return whether `socket.getaddrinfo` only calls the C library."""
    return _WAS_GENUINE and socket.getaddrinfo is _GENUINE and _socket.getaddrinfo is _NATIVE


_GENUINE = socket.getaddrinfo
_NATIVE = _socket.getaddrinfo
#: Whether no other library had replaced them when this module was imported.
_WAS_GENUINE = (
    getattr(_GENUINE, "__globals__", None) is vars(socket)
    and getattr(_NATIVE, "__self__", None) is _socket
)
#: What `_kinds` returns, once it is known.
_known_kinds: dict[int, tuple[socket.SocketKind, int]] | None = None


def _kinds() -> dict[int, tuple[socket.SocketKind, int]]:
    """Return socket type and protocol of the result, by requested type."""
    global _known_kinds
    if _known_kinds is None:
        _known_kinds = {
            int(kind): (kind, int(protocol))
            for kind, protocol in (
                (socket.SOCK_STREAM, socket.IPPROTO_TCP),
                (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
            )
            # Not every C library returns an empty canonical name for an address literal.
            if _GENUINE("127.0.0.1", 1, type=kind)
            == [(socket.AF_INET, kind, protocol, "", ("127.0.0.1", 1))]
        }
    return _known_kinds


def _is_literal(host: object) -> bool:
    """Return whether `host` is an address or `None`, so that no name has to be looked up."""
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
    """Return whether `port` is a number: a service name would be looked up in a file."""
    if isinstance(port, (str, bytes)):
        return port.isascii() and port.isdigit()
    return port is None or isinstance(port, int)
