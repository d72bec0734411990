"""`_settled()`: whether a connection may be closed without cutting off an answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import yamanote
from tests.tls.certificates import client_context, server_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable
    from pathlib import Path


class Quiet(asyncio.Protocol):
    """Answers when it is told to."""

    transport: Any

    def __init__(self, made: asyncio.Future[Quiet]) -> None:
        """Tell `made` once there is a connection."""
        self.made = made
        self.received = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.transport = transport
        self.made.set_result(self)

    def data_received(self, data: bytes) -> None:
        """Note that there is a question."""
        assert data
        self.received.set()


async def check(
    serve: Callable[..., Awaitable[asyncio.Server]],
    connect: Callable[..., Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]],
) -> None:
    """A connection is settled before its first request and after each answer."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[Quiet] = loop.create_future()

    server = await serve(lambda: Quiet(made))
    async with server:
        reader, writer = await connect(server.sockets[0].getsockname())
        try:
            await talk(await made, reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()


async def talk(protocol: Quiet, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    transport = protocol.transport
    assert transport._settled()
    writer.write(b"question")
    await protocol.received.wait()
    assert not transport._settled()
    transport.write(b"answer")
    assert transport._settled()
    assert await reader.readexactly(6) == b"answer"
    # More than the kernel takes.
    left = 16 * 1024 * 1024
    transport.write(bytes(left))
    assert not transport._settled()
    while left:
        left -= len(await reader.read(1 << 20))
    assert transport._settled()


@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
def test_a_connection_is_settled_between_its_requests(kind: str, tmp_path: Path) -> None:
    server_tls: ssl.SSLContext | None = None
    options: dict[str, Any] = {}
    if kind == "tls":
        server_tls = server_context()
        options = {"ssl": client_context(), "server_hostname": "localhost"}
    path = str(tmp_path / "socket")

    async def serve(factory: Callable[[], asyncio.BaseProtocol]) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        if kind == "unix":
            return await loop.create_unix_server(factory, path)
        return await loop.create_server(factory, "127.0.0.1", 0, ssl=server_tls)

    async def connect(name: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:  # noqa: ANN401
        if kind == "unix":
            return await asyncio.open_unix_connection(path)
        return await asyncio.open_connection(*name, **options)

    async def main() -> None:
        await check(serve, connect)

    yamanote.run(main())
