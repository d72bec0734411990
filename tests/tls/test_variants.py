"""TLS over and under other layers: Unix sockets, TLS, `sendfile`, other kinds of contexts."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from asyncio import sslproto
from typing import TYPE_CHECKING, Any

import pytest

from tests.tcp.adopted import adopts, is_adopted
from tests.tcp.servers import LOCALHOST, port_of
from tests.tls.certificates import NAME, client_context, server_context
from tests.tls.peers import everything_ends
from tests.tls.test_handshake import echo

if TYPE_CHECKING:
    from pathlib import Path

DATA = bytes(range(256)) * 1000


async def echoed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends data, compares the echo, and closes."""
    writer.write(DATA)
    assert await reader.readexactly(len(DATA)) == DATA
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def test_over_unix_sockets(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "socket"
        server = await asyncio.start_unix_server(echo, path, ssl=server_context())
        reader, writer = await asyncio.open_unix_connection(
            path, ssl=client_context(), server_hostname=NAME
        )
        await echoed(reader, writer)
        server.close()
        await server.wait_closed()
        await everything_ends()

    loop.run_until_complete(main())


class OwnObject(ssl.SSLObject):
    """A subclass of the standard object, as in a library."""

    reads = 0

    def read(self, len: int = 1024, buffer: bytearray | None = None) -> bytes:  # type: ignore[override]
        """Counts the calls."""
        OwnObject.reads += 1
        if buffer is None:
            return super().read(len)
        return super().read(len, buffer)


def test_a_context_that_makes_its_own_objects(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        OwnObject.reads = 0
        context = client_context()
        context.sslobject_class = OwnObject
        server = await asyncio.start_server(echo, LOCALHOST, 0, ssl=server_context())
        reader, writer = await asyncio.open_connection(
            LOCALHOST, port_of(server), ssl=context, server_hostname=NAME
        )
        assert type(writer.get_extra_info("ssl_object")) is OwnObject
        await echoed(reader, writer)
        assert OwnObject.reads > 0
        server.close()
        await server.wait_closed()
        await everything_ends()

    loop.run_until_complete(main())


class Inner(asyncio.Protocol):
    """Echoes over a second TLS layer, which the server begins inside the first."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins the inner handshake."""
        assert isinstance(transport, asyncio.Transport)
        # The next data belongs to the second handshake; `start_tls` resumes reading.
        transport.pause_reading()
        self.outer = transport
        self.inner: asyncio.Transport | None = None
        self.early = b""
        self.starting = asyncio.ensure_future(self._start())

    async def _start(self) -> None:
        self.inner = await asyncio.get_running_loop().start_tls(
            self.outer, self, server_context(), server_side=True
        )
        assert self.inner is not None
        self.inner.write(self.early)

    def data_received(self, data: bytes) -> None:
        """Sends the data back."""
        if self.inner is None:
            self.early += data
        else:
            self.inner.write(data)


def test_tls_in_tls(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await loop.create_server(Inner, LOCALHOST, 0, ssl=server_context())
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        outer, _ = await loop.create_connection(
            lambda: protocol,
            LOCALHOST,
            port_of(server),
            ssl=client_context(),
            server_hostname=NAME,
        )
        inner = await loop.start_tls(outer, protocol, client_context(), server_hostname=NAME)
        assert inner is not None
        inner.write(DATA)
        assert await reader.readexactly(len(DATA)) == DATA
        assert inner.get_extra_info("ssl_object") is not outer.get_extra_info("ssl_object")
        inner.abort()
        server.close()
        await everything_ends()

    loop.run_until_complete(main())


def test_sendfile_falls_back(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "file").write_bytes(DATA)
        server = await asyncio.start_server(echo, LOCALHOST, 0, ssl=server_context())
        reader, writer = await asyncio.open_connection(
            LOCALHOST, port_of(server), ssl=client_context(), server_hostname=NAME
        )
        with (tmp_path / "file").open("rb") as file:
            assert await loop.sendfile(writer.transport, file) == len(DATA)
            with pytest.raises(RuntimeError, match="fallback"):
                await loop.sendfile(writer.transport, file, fallback=False)
        assert await reader.readexactly(len(DATA)) == DATA
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await everything_ends()

    loop.run_until_complete(main())


def test_what_a_program_replaces_in_asyncios_protocol_takes_effect(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some programs patch it to fix bugs, and some tests to inspect it."""
    made: list[asyncio.BaseTransport] = []
    stock = sslproto.SSLProtocol.connection_made

    def connection_made(protocol: sslproto.SSLProtocol, transport: asyncio.BaseTransport) -> None:
        made.append(transport)
        stock(protocol, transport)

    async def main() -> None:
        server = await asyncio.start_server(echo, LOCALHOST, 0, ssl=server_context())
        for _ in range(2):
            reader, writer = await asyncio.open_connection(
                LOCALHOST, port_of(server), ssl=client_context(), server_hostname=NAME
            )
            await echoed(reader, writer)
            await everything_ends()
            monkeypatch.undo()
        server.close()
        await server.wait_closed()

    monkeypatch.setattr(sslproto.SSLProtocol, "connection_made", connection_made)
    loop.run_until_complete(main())
    # Both ends of the first connection, and neither of the second.
    assert len(made) == 2


def test_used_streams_have_native_methods(loop: asyncio.AbstractEventLoop) -> None:
    """All of them, over TLS as over plain sockets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
            writer.writelines([await reader.readexactly(3), await reader.read(100)])
            await writer.drain()
        assert is_adopted(reader) == is_adopted(writer) == adopts(loop)
        writer.close()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(5):
            writer.write(b"%d\n" % number)
            await writer.drain()
            assert await reader.readuntil(b"\n") == b"%d\n" % number
            writer.write(b"onetwo")
            assert await reader.readexactly(6) == b"onetwo"
        assert is_adopted(reader) == is_adopted(writer) == adopts(loop)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        with pytest.raises(ConnectionResetError, match="Connection lost"):
            await writer.drain()

    async def main() -> None:
        server = await asyncio.start_server(serve, LOCALHOST, 0, ssl=server_context())
        await talk(
            *await asyncio.open_connection(
                LOCALHOST, port_of(server), ssl=client_context(), server_hostname=NAME
            )
        )
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


@pytest.mark.parametrize("in_class", [True, False])
def test_a_used_writer_calls_what_a_program_makes_of_its_transport(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, in_class: bool
) -> None:
    seen: list[object] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def exchange(data: bytes) -> None:
            writer.write(data)
            await writer.drain()
            assert await reader.readexactly(len(data)) == data

        await exchange(b"a")
        await exchange(b"b")
        transport = writer.transport
        write, is_closing = transport.write, transport.is_closing

        def replaced_write(*arguments: Any) -> None:
            seen.append(arguments[-1])
            write(arguments[-1])

        def replaced_is_closing(*_: object) -> bool:
            seen.append(None)
            return is_closing()

        with monkeypatch.context() as patch:
            changed = type(transport) if in_class else transport
            patch.setattr(changed, "write", replaced_write)
            patch.setattr(changed, "is_closing", replaced_is_closing)
            writer.write(b"c")
            await writer.drain()
            assert seen == [b"c", None]
        assert await reader.readexactly(1) == b"c"
        await exchange(b"d")
        assert seen == [b"c", None]
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(10):
            writer.write(data)
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, LOCALHOST, 0, ssl=server_context())
        await talk(
            *await asyncio.open_connection(
                LOCALHOST, port_of(server), ssl=client_context(), server_hostname=NAME
            )
        )
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_streams_used_once_keep_their_classes(loop: asyncio.AbstractEventLoop) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        assert await reader.read() == b""
        found.append((is_adopted(reader), is_adopted(writer)))
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, LOCALHOST, 0, ssl=server_context())
        reader, writer = await asyncio.open_connection(
            LOCALHOST, port_of(server), ssl=client_context(), server_hostname=NAME
        )
        writer.write(b"once\n")
        await writer.drain()
        assert await reader.readline() == b"once\n"
        found.append((is_adopted(reader), is_adopted(writer)))
        writer.close()
        await everything_ends()
        server.close()

    found: list[tuple[bool, bool]] = []
    loop.run_until_complete(main())
    assert found == [(False, False)] * 2


def test_used_streams_change_to_tls(loop: asyncio.AbstractEventLoop) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            writer.write(await reader.readline())
            await writer.drain()
        await writer.start_tls(server_context())
        await echo(reader, writer)

    async def main() -> None:
        server = await asyncio.start_server(serve, LOCALHOST, 0)
        reader, writer = await asyncio.open_connection(LOCALHOST, port_of(server))
        for _ in range(3):
            writer.write(b"plain\n")
            await writer.drain()
            assert await reader.readline() == b"plain\n"
        assert is_adopted(reader) == is_adopted(writer) == adopts(loop)
        await writer.start_tls(client_context(), server_hostname=NAME)
        await echoed(reader, writer)
        server.close()
        await everything_ends()

    loop.run_until_complete(main())


@pytest.mark.parametrize("by_the_writer", [True, False])
def test_a_reader_pauses_the_transport_that_it_knows(
    loop: asyncio.AbstractEventLoop, by_the_writer: bool
) -> None:
    """Before Python 3.14 that is the one from before the upgrade, and that one is resumed."""
    size = 1_000_000

    async def upgrade(writer: asyncio.StreamWriter) -> None:
        if by_the_writer:
            await writer.start_tls(server_context())
            return
        it: Any = writer
        it._transport = await loop.start_tls(
            writer.transport, it._protocol, server_context(), server_side=True
        )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.drain()
        await upgrade(writer)
        assert await reader.readline() == b"hello\n"
        it: Any = reader
        while not it._paused:  # noqa: ASYNC110 - no event tells.
            await asyncio.sleep(0)
        assert len(await reader.readexactly(size)) == size
        writer.write(b"all of it")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, LOCALHOST, 0)
        reader, writer = await asyncio.open_connection(LOCALHOST, port_of(server))
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(client_context(), server_hostname=NAME)
        writer.write(b"hello\n" + bytes(size))
        assert await reader.read() == b"all of it"
        writer.close()
        server.close()
        await everything_ends()

    loop.run_until_complete(main())
