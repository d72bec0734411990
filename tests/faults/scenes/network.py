"""Connections and datagrams."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from typing import TYPE_CHECKING, Any

from tests.faults.scenes.parts import BufferedWhole, Echo, Whole
from tests.faults.stage import SENT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.faults.stage import Stage

    Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]

FEW = SENT[:20_000]


async def _protocols(stage: Stage, **tls: ssl.SSLContext) -> None:
    loop = stage.loop
    theirs: dict[str, Any] = {"ssl": tls["server"]} if tls else {}
    ours: dict[str, Any] = {"ssl": tls["client"], "server_hostname": "localhost"} if tls else {}
    server = await loop.create_server(lambda: Echo(stage), "127.0.0.1", 0, **theirs)
    try:
        address = server.sockets[0].getsockname()
        transport, client = await loop.create_connection(lambda: Whole(stage), *address, **ours)
        try:
            await client.over
        finally:
            transport.close()
    finally:
        server.close()
    await server.wait_closed()


async def tcp(stage: Stage) -> None:
    """A server and a client with protocols."""
    await _protocols(stage)


async def buffered(stage: Stage) -> None:
    """A client with a buffer of its own."""
    loop = stage.loop
    server = await loop.create_server(lambda: Echo(stage), "127.0.0.1", 0)
    try:
        transport, client = await loop.create_connection(
            lambda: BufferedWhole(stage), *server.sockets[0].getsockname()
        )
        try:
            await client.whole.over
        finally:
            transport.close()
    finally:
        server.close()


def _contexts(stage: Stage) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(stage.files / "chain.pem", stage.files / "key.pem")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(stage.files / "authority.pem")
    return server, client


async def tls(stage: Stage) -> None:
    """The same over TLS: handshake, records, closing."""
    server, client = _contexts(stage)
    await _protocols(stage, server=server, client=client)


async def _streams(stage: Stage, server: asyncio.Server, connect: Connect, sent: bytes) -> None:
    try:
        reader, writer = await connect()
        stage.opened(writer.transport)
        try:
            writer.write(sent)
            await writer.drain()
            received = b""
            while len(received) < len(sent):
                part = await reader.read(7000)
                if not part:
                    raise ConnectionError("closed early")
                received += part
                stage.check(received, sent, whole=False)
        finally:
            writer.close()
        await writer.wait_closed()
    finally:
        server.close()


async def streams(stage: Stage) -> None:
    """The same with streams."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stage.opened(writer.transport)
        try:
            writer.write(await reader.readexactly(len(FEW)))
            await writer.drain()
        except (OSError, EOFError):
            pass  # The client says so, too.
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    await _streams(stage, server, lambda: asyncio.open_connection(*address), FEW)


async def start_tls(stage: Stage) -> None:
    """A connection of streams that begins without TLS."""
    contexts = _contexts(stage)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stage.opened(writer.transport)
        try:
            await reader.readexactly(1)
            await writer.start_tls(contexts[0])
            writer.write(await reader.readexactly(len(FEW)))
            await writer.drain()
        except (OSError, EOFError):
            pass  # The client says so, too.
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(b"!")
            await writer.start_tls(contexts[1], server_hostname="localhost")
        except BaseException:
            writer.close()
            raise
        return reader, writer

    await _streams(stage, server, connect, FEW)


async def unix(stage: Stage) -> None:
    """A server and a client at a path."""
    path = str(stage.files / f"socket-{os.getpid()}")
    server = await stage.loop.create_unix_server(lambda: Echo(stage), path)
    try:
        transport, client = await stage.loop.create_unix_connection(lambda: Whole(stage), path)
        try:
            await client.over
        finally:
            transport.close()
    finally:
        server.close()
        with contextlib.suppress(OSError):
            os.unlink(path)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.transport: Any = None
        self.client: _Questions | None = None

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - of any kind.
        self.transport = transport
        self.stage.opened(transport)
        self.stage.step()

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ANN401 - as asyncio's.
        self.stage.step()
        self.transport.sendto(data, addr)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.client is not None:
            self.client.connection_lost(exc)


class _Questions(_Datagrams):
    #: One datagram may be lost with an error of the call: it is sent again, often enough.
    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.missing = {b"%d" % number for number in range(5)}
        self.over: asyncio.Future[None] = stage.loop.create_future()

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - of any kind.
        super().connection_made(transport)
        self.ask()

    def ask(self) -> None:
        if self.transport.is_closing():
            return
        for question in sorted(self.missing):
            self.transport.sendto(question)
        if self.missing:
            self.stage.loop.call_later(0.02, self.ask)

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ANN401 - as asyncio's.
        self.stage.step()
        self.missing.discard(data)
        if not self.missing and not self.over.done():
            self.over.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_exception(exc or ConnectionError("closed early"))
            self.over.exception()


async def udp(stage: Stage) -> None:
    """Two datagram endpoints."""
    loop = stage.loop
    server, answers = await loop.create_datagram_endpoint(
        lambda: _Datagrams(stage), local_addr=("127.0.0.1", 0)
    )
    try:
        address = server.get_extra_info("sockname")
        if address is None:
            raise ConnectionError("the system does not know the address")
        transport, client = await loop.create_datagram_endpoint(
            lambda: _Questions(stage), remote_addr=address
        )
        answers.client = client
        try:
            if server.is_closing():
                raise ConnectionError("there will be no answers")
            await client.over
        finally:
            transport.close()
    finally:
        server.close()


async def sendfile(stage: Stage) -> None:
    """A file goes to a connection."""
    loop = stage.loop
    path = stage.files / f"sent-{os.getpid()}"
    path.write_bytes(SENT)
    server = await loop.create_server(lambda: Whole(stage, b""), "127.0.0.1", 0)
    try:
        transport, _ = await loop.create_connection(
            asyncio.Protocol, *server.sockets[0].getsockname()
        )
        stage.opened(transport)
        try:
            with path.open("rb") as file:
                if await loop.sendfile(transport, file) != len(SENT):
                    raise ConnectionError("sent a part")
        finally:
            transport.close()
    finally:
        server.close()
        path.unlink()
