"""Servers to connect to, and helpers for them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.tcp.peers import read_to_end
from tests.tcp.recorders import PATIENCE_S, Recorder

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

LOCALHOST = "127.0.0.1"


class Greeter(Recorder):
    """Sends a greeting, then closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the greeting."""
        super().connection_made(transport)
        self.transport.write(b"hello")
        self.transport.close()


def port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


async def greeting_from(host: str, port: int) -> bytes:
    peer = socket.create_connection((host, port), PATIENCE_S)
    with peer:
        return await read_to_end(peer)


def ipv6_works() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not ipv6_works(), reason="this machine has no IPv6 loopback")


async def served_connection(
    loop: asyncio.AbstractEventLoop,
) -> tuple[asyncio.Server, Recorder, socket.socket]:
    """A server with one connection: the transport and the peer's socket."""
    made: asyncio.Future[Recorder] = loop.create_future()
    server = await loop.create_server(
        lambda: Recorder({"connection_made": made.set_result}), LOCALHOST, 0
    )
    peer = socket.create_connection((LOCALHOST, port_of(server)), PATIENCE_S)
    return server, await made, peer


async def outcome(make: Callable[[], Any]) -> tuple[type[BaseException], str]:
    """Returns the type and text of the exception that awaiting `make()` raises."""
    try:
        result = await make()
    except Exception as error:
        return type(error), str(error)
    raise AssertionError(f"nothing was raised: {result!r}")
