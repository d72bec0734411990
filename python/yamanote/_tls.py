"""TLS: not there yet, and said so before anything is connected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    from yamanote._parts import Base
else:
    Base = object


class Tls(Base):
    """The methods that take `ssl` arguments."""

    async def create_connection(self, *args: Any, **kwargs: Any) -> tuple[asyncio.Transport, Any]:
        """Connect and make a transport; arguments as asyncio's.

        Raises:
            NotImplementedError: `ssl` was given.
        """
        if kwargs.get("ssl"):
            host = args[1] if len(args) > 1 else kwargs.get("host")
            if not host and kwargs.get("server_hostname") is None:
                raise ValueError("You must set server_hostname when using ssl without a host")
            _refuse_tls(True)
        return await super().create_connection(*args, **kwargs)

    async def create_server(self, *args: Any, **kwargs: Any) -> asyncio.Server:
        """Listen and serve; arguments as asyncio's.

        Raises:
            NotImplementedError: `ssl` was given.
        """
        _refuse_tls(kwargs.get("ssl"))
        return await super().create_server(*args, **kwargs)

    async def connect_accepted_socket(
        self, *args: Any, **kwargs: Any
    ) -> tuple[asyncio.Transport, Any]:
        """Make a transport for a connection accepted elsewhere; arguments as asyncio's.

        Raises:
            NotImplementedError: `ssl` was given.
        """
        _refuse_tls(kwargs.get("ssl"))
        return await super().connect_accepted_socket(*args, **kwargs)

    async def create_unix_connection(
        self, *args: Any, **kwargs: Any
    ) -> tuple[asyncio.Transport, Any]:
        """Connect to a Unix socket; arguments as asyncio's.

        Raises:
            NotImplementedError: `ssl` was given.
        """
        if kwargs.get("server_hostname") is not None:
            _refuse_tls(kwargs.get("ssl"))
        return await super().create_unix_connection(*args, **kwargs)

    async def create_unix_server(self, *args: Any, **kwargs: Any) -> asyncio.Server:
        """Listen on a Unix socket and serve; arguments as asyncio's.

        Raises:
            NotImplementedError: `ssl` was given.
        """
        if kwargs.get("ssl") is not True:
            _refuse_tls(kwargs.get("ssl"))
        return await super().create_unix_server(*args, **kwargs)

    async def start_tls(self, *args: Any, **kwargs: Any) -> None:
        """Not there yet.

        Raises:
            NotImplementedError: always.
        """
        _refuse_tls(True)


def _refuse_tls(ssl: object) -> None:
    if ssl:
        raise NotImplementedError("yamanote does not support TLS yet")
