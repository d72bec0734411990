"""Subclassed and patched readers and stream protocols: every override must still be called."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.tcp.peers import turns
from tests.tcp.recorders import PATIENCE_S
from tests.tcp.servers import LOCALHOST
from tests.tcp.streams import peek, streams

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class NotingReader(asyncio.StreamReader):
    """A subclass, as in libraries: its overrides must get every call."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop) -> None:
        """Start without data."""
        super().__init__(loop=loop)
        self.fed: list[bytes] = []
        self.ended = False

    def feed_data(self, data: Any) -> None:  # noqa: ANN401 - typeshed has two opinions
        """Records the data."""
        self.fed.append(bytes(data))
        super().feed_data(data)

    def feed_eof(self) -> None:
        """Records the end."""
        self.ended = True
        super().feed_eof()


class NotingProtocol(asyncio.StreamReaderProtocol):
    """A subclass of the protocol: its override must get every call, too."""

    def __init__(self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        """Start without data."""
        super().__init__(reader, loop=loop)
        self.seen: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        """Records the data."""
        self.seen.append(data)
        super().data_received(data)


@contextlib.asynccontextmanager
async def over(
    protocol: asyncio.StreamReaderProtocol,
) -> AsyncGenerator[tuple[asyncio.BaseTransport, socket.socket], None]:
    """Opens a connection for `protocol`, and returns the peer's socket."""
    loop = asyncio.get_running_loop()
    with socket.create_server((LOCALHOST, 0)) as listener:
        transport, _ = await loop.create_connection(lambda: protocol, *listener.getsockname())
        peer, _ = listener.accept()
    with peer:
        yield transport, peer
    transport.close()
    await turns(3)


def test_feeding_by_hand_mixes_with_the_connection(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with streams() as ((reader, _), peer):
            reader.feed_data(b"by hand, ")
            peer.sendall(b"by wire, ")
            while len(await peek(reader)) < 18:
                await turns(1)
            reader.feed_data(b"by hand")
            assert await reader.readexactly(25) == b"by hand, by wire, by hand"

    loop.run_until_complete(main())


def test_an_exported_buffer_does_not_lose_data(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    """An exported bytearray cannot grow: asyncio's error, without crash or data loss."""

    async def main() -> None:
        async with streams() as ((reader, _), peer):
            peer.sendall(b"first")
            while not await peek(reader):
                await turns(1)
            with memoryview(vars(reader)["_buffer"]):
                peer.sendall(b"second")
                reading = loop.create_task(reader.readexactly(100))
                with pytest.raises(BufferError):
                    await asyncio.wait_for(reading, PATIENCE_S)
            (context,) = reported
            assert context["message"] == "Fatal error: protocol.data_received() call failed."
            assert isinstance(context["exception"], BufferError)
            reported.clear()

    loop.run_until_complete(main())


def test_a_subclassed_reader_sees_its_data(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        reader = NotingReader(loop=loop)
        async with over(asyncio.StreamReaderProtocol(reader, loop=loop)) as (_, peer):
            peer.sendall(b"hello\n")
            assert await reader.readline() == b"hello\n"
            peer.shutdown(socket.SHUT_WR)
            assert await reader.read() == b""
            assert reader.fed == [b"hello\n"]
            assert reader.ended

    loop.run_until_complete(main())


def test_a_subclassed_protocol_sees_its_data(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader(loop=loop)
        protocol = NotingProtocol(reader, loop)
        async with over(protocol) as (_, peer):
            peer.sendall(b"hello\n")
            assert await reader.readline() == b"hello\n"
            assert protocol.seen == [b"hello\n"]

    loop.run_until_complete(main())


def test_a_method_set_on_the_reader_is_called(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with streams() as ((reader, _), peer):
            peer.sendall(b"before\n")
            assert await reader.readline() == b"before\n"
            seen: list[bytes] = []
            original = reader.feed_data

            def feed_data(data: bytes) -> None:
                seen.append(bytes(data))
                original(data)

            vars(reader)["feed_data"] = feed_data
            peer.sendall(b"during\n")
            assert await reader.readline() == b"during\n"
            assert seen == [b"during\n"]
            del vars(reader)["feed_data"]
            peer.sendall(b"after\n")
            assert await reader.readline() == b"after\n"
            assert seen == [b"during\n"]

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    ("owner", "method"),
    [
        (asyncio.StreamReader, "feed_data"),
        (asyncio.StreamReaderProtocol, "data_received"),
    ],
)
def test_a_method_set_on_the_class_is_called(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, owner: type, method: str
) -> None:
    """Tracers and test suites patch the classes, even if connections already exist."""

    async def main() -> None:
        async with streams() as ((reader, _), peer):
            peer.sendall(b"before\n")
            assert await reader.readline() == b"before\n"
            seen: list[bytes] = []
            original = getattr(owner, method)

            def patched(self: object, data: bytes) -> None:
                seen.append(bytes(data))
                original(self, data)

            monkeypatch.setattr(owner, method, patched)
            async with streams() as ((other, _), other_peer):
                other_peer.sendall(b"new\n")
                assert await other.readline() == b"new\n"
            assert seen == [b"new\n"]
            if method == "feed_data":
                peer.sendall(b"old\n")
                assert await reader.readline() == b"old\n"
                assert seen == [b"new\n", b"old\n"]

    loop.run_until_complete(main())


def test_a_subclass_without_overrides_is_read_as_ever(loop: asyncio.AbstractEventLoop) -> None:
    class Plain(asyncio.StreamReader):
        """A subclass without overrides."""

    async def main() -> None:
        reader = Plain(loop=loop)
        async with over(asyncio.StreamReaderProtocol(reader, loop=loop)) as (_, peer):
            for number in range(20):
                peer.sendall(b"%d\n" % number)
                assert await reader.readline() == b"%d\n" % number

    loop.run_until_complete(main())


def test_the_protocol_can_be_replaced_under_a_reader(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with streams() as ((reader, writer), peer):
            peer.sendall(b"old\n")
            assert await reader.readline() == b"old\n"
            fresh = asyncio.StreamReader(loop=loop)
            protocol = asyncio.StreamReaderProtocol(fresh, loop=loop)
            transport: Any = writer.transport
            original = transport.get_protocol()
            transport.set_protocol(protocol)
            fresh.set_transport(transport)
            peer.sendall(b"new\n")
            assert await fresh.readline() == b"new\n"
            transport.set_protocol(original)
            peer.sendall(b"old again\n")
            assert await reader.readline() == b"old again\n"

    loop.run_until_complete(main())
