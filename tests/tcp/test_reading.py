"""How data reaches a protocol, and how a reader applies back-pressure."""

from __future__ import annotations

import array
import asyncio
import contextlib
import mmap
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.asyncio_bugs import AsyncioBug
from tests.tcp.peers import connect, read_exactly, read_to_end, read_until_gone, send, turns
from tests.tcp.recorders import AnyRecorder, BufferedRecorder, Recorder

PAUSE_IN_CONNECTION_MADE_IGNORED = AsyncioBug(
    issue="gh-103607",
    effect="pause_reading() in connection_made() is ignored",
    first=(3, 11, 0),
    fixed=(3, 12, 0),
)

KINDS = pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
Kind = Callable[..., AnyRecorder]


@KINDS
def test_data_and_end_arrive_in_order(loop: asyncio.AbstractEventLoop, kind: Kind) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(kind)
        peer.sendall(b"hello")
        await protocol.until_received(5)
        peer.sendall(b" again")
        await protocol.until_received(11)
        peer.close()
        await protocol.until_lost()
        assert transport.is_closing()
        received = "data_received" if kind is Recorder else "buffer_updated"
        assert protocol.calls == ["connection_made", received, "eof_received", "connection_lost"]
        assert protocol.received == b"hello again"
        assert protocol.lost_with is None

    loop.run_until_complete(main())


@KINDS
@pytest.mark.parametrize("size", [1, 4096, 64 * 1024 + 1, 5 * 1024 * 1024])
def test_data_that_comes_with_the_end_is_delivered(
    loop: asyncio.AbstractEventLoop, kind: Kind, size: int
) -> None:
    """A FIN that is already known must not cut off unread data."""

    async def main() -> None:
        transport, protocol, peer = await connect(kind)
        transport.pause_reading()
        message = bytes(n % 251 for n in range(1024)) * (size // 1024 + 1)
        sending = loop.run_in_executor(None, peer.sendall, message[:size])
        sending.add_done_callback(lambda _: peer.close())
        if size <= 64 * 1024:
            await sending
        await turns(3)
        assert protocol.calls == ["connection_made"]
        transport.resume_reading()
        await protocol.until_lost()
        await sending
        assert protocol.received == message[:size]
        assert protocol.lost_with is None
        assert protocol.calls[-2:] == ["eof_received", "connection_lost"]

    loop.run_until_complete(main())


@KINDS
def test_what_a_receiver_schedules_runs_before_the_end_is_told(
    loop: asyncio.AbstractEventLoop, kind: Kind
) -> None:
    """Data and end are delivered in two turns, so that a callback between them may take effect."""
    received = "data_received" if kind is Recorder else "buffer_updated"

    async def main() -> None:
        transport, protocol, peer = await connect(kind)
        heir = Recorder()
        protocol.on[received] = lambda _: loop.call_soon(transport.set_protocol, heir)
        transport.pause_reading()
        with peer:
            peer.sendall(b"hello")
            peer.shutdown(socket.SHUT_WR)
            transport.resume_reading()
            await heir.until_lost()
        assert protocol.calls == ["connection_made", received]
        assert heir.calls == ["eof_received", "connection_lost"]

    loop.run_until_complete(main())


@KINDS
def test_a_large_message_arrives_whole(loop: asyncio.AbstractEventLoop, kind: Kind) -> None:
    async def main() -> None:
        _, protocol, peer = await connect(kind)
        message = bytes(range(256)) * (32 * 1024)
        with peer:
            await send(peer, message)
            await protocol.until_received(len(message))
        await protocol.until_lost()
        assert protocol.received == message

    loop.run_until_complete(main())


@KINDS
def test_keeping_half_open_allows_an_answer(loop: asyncio.AbstractEventLoop, kind: Kind) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(kind)
        protocol.on["eof_received"] = lambda _: True
        with peer:
            peer.sendall(b"question")
            peer.shutdown(socket.SHUT_WR)
            await protocol.until(lambda: "eof_received" in protocol.calls)
            await turns(5)
            assert not transport.is_closing()
            assert protocol.calls.count("eof_received") == 1
            transport.write(b"answer")
            transport.close()
            assert await read_to_end(peer) == b"answer"
            await protocol.until_lost()
        assert protocol.calls[-2:] == ["eof_received", "connection_lost"]
        assert protocol.lost_with is None

    loop.run_until_complete(main())


@KINDS
def test_pausing_holds_data_back(loop: asyncio.AbstractEventLoop, kind: Kind) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(kind)
        with peer:
            assert transport.is_reading()
            transport.pause_reading()
            transport.pause_reading()  # A second call has no effect.
            assert not transport.is_reading()
            peer.sendall(b"held back")
            await turns(5)
            assert protocol.calls == ["connection_made"]
            transport.resume_reading()
            transport.resume_reading()
            assert transport.is_reading()
            assert protocol.calls == ["connection_made"]
            await protocol.until_received(9)
            transport.close()
            assert not transport.is_reading()
            transport.pause_reading()
            transport.resume_reading()
            assert not transport.is_reading()
            await protocol.until_lost()
            transport.pause_reading()
            transport.resume_reading()
            await turns(2)

    loop.run_until_complete(main())


@KINDS
def test_pausing_in_connection_made_reads_nothing(
    loop: asyncio.AbstractEventLoop, loop_name: str, kind: Kind
) -> None:
    PAUSE_IN_CONNECTION_MADE_IGNORED.skip_asyncio(loop_name)

    async def main() -> None:
        on: dict[str, Callable[[Any], object]] = {
            "connection_made": lambda made: made.transport.pause_reading()
        }
        transport, protocol, peer = await connect(lambda: kind(on))
        with peer:
            peer.sendall(b"held back")
            await turns(5)
            assert protocol.calls == ["connection_made"]
            assert not transport.is_reading()
            transport.resume_reading()
            await protocol.until_received(9)
        await protocol.until_lost()

    loop.run_until_complete(main())


@KINDS
def test_pausing_while_called_stops_at_that_chunk(
    loop: asyncio.AbstractEventLoop, kind: Kind
) -> None:
    """After pausing, a protocol receives nothing beyond the current read."""

    async def main() -> None:
        transport, protocol, peer = await connect(kind)
        received = "data_received" if kind is Recorder else "buffer_updated"
        sizes: list[int] = []

        def pause(_: object) -> None:
            sizes.append(len(protocol.received))
            transport.pause_reading()

        protocol.on[received] = pause
        message = bytes(4 * 1024 * 1024)
        with peer:
            sending = loop.run_in_executor(None, peer.sendall, message)
            while len(protocol.received) < len(message):
                before = len(sizes)
                transport.resume_reading()
                await protocol.until_received((sizes[-1] if sizes else 0) + 1)
                await turns(3)
                assert len(sizes) == before + 1
                assert len(protocol.received) == sizes[-1]
            await sending
            transport.close()
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_resuming_and_pausing_in_one_turn_delivers_nothing(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            transport.pause_reading()
            peer.sendall(b"held back")
            await turns(3)
            for _ in range(3):
                transport.resume_reading()
                transport.pause_reading()
                await turns(2)
            assert protocol.calls == ["connection_made"]
            transport.resume_reading()
            await protocol.until_received(9)
            transport.close()
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_a_paused_reader_does_not_see_the_end(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        transport.pause_reading()
        peer.close()
        await turns(5)
        assert protocol.calls == ["connection_made"]
        transport.resume_reading()
        await protocol.until_lost()
        assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]

    loop.run_until_complete(main())


@KINDS
def test_a_paused_reader_holds_the_peer_back(loop: asyncio.AbstractEventLoop, kind: Kind) -> None:
    """It has received little, and the kernel's buffers are bounded: the peer's send blocks."""

    async def main() -> None:
        transport, protocol, peer = await connect(kind)
        with peer:
            transport.pause_reading()
            peer.setblocking(False)
            accepted = 0
            with contextlib.suppress(BlockingIOError):
                while accepted < 1 << 30:
                    accepted += peer.send(bytes(64 * 1024))
                    await turns(1)
            assert accepted < 1 << 30
            assert protocol.received == b""
            transport.resume_reading()
            await protocol.until_received(accepted)
            assert len(protocol.received) == accepted
        await protocol.until_lost()

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    "make",
    [
        lambda: bytearray(3),
        lambda: memoryview(bytearray(3)),
        lambda: memoryview(bytearray(8))[2:5],
        lambda: array.array("b", bytes(3)),
        lambda: mmap.mmap(-1, 4096),
    ],
    ids=["bytearray", "memoryview", "slice", "array", "mmap"],
)
def test_any_writable_buffer_will_do(
    loop: asyncio.AbstractEventLoop,
    make: Callable[[], bytearray | memoryview | array.array[int] | mmap.mmap],
) -> None:
    async def main() -> None:
        _, protocol, peer = await connect(lambda: BufferedRecorder(buffer=make()))
        with peer:
            peer.sendall(b"hello world")
            await protocol.until_received(11)
            assert protocol.received == b"hello world"
        await protocol.until_lost()
        if isinstance(protocol.buffer, mmap.mmap):
            protocol.buffer.close()  # There is no export of the buffer any more.

    loop.run_until_complete(main())


def test_get_buffer_may_give_another_buffer_each_time(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        def next_buffer(recorder: BufferedRecorder) -> bytearray:
            recorder.buffer = bytearray(len(recorder.buffer) % 7 + 1)
            return recorder.buffer

        _, protocol, peer = await connect(lambda: BufferedRecorder({"get_buffer": next_buffer}))
        message = bytes(range(100))
        with peer:
            peer.sendall(message)
            await protocol.until_received(len(message))
            assert protocol.received == message
        await protocol.until_lost()

    loop.run_until_complete(main())


def test_the_buffer_is_free_while_buffer_updated_runs(loop: asyncio.AbstractEventLoop) -> None:
    """The loop exports the buffer only during the read: the protocol may resize it freely."""

    async def main() -> None:
        buffer = bytearray(4)

        def grow(_: object) -> None:
            buffer.clear()
            buffer.extend(bytes(10))

        _, protocol, peer = await connect(
            lambda: BufferedRecorder({"buffer_updated": grow}, buffer)
        )
        with peer:
            peer.sendall(b"hello world")
            await protocol.until_received(11)
        await protocol.until_lost()
        assert protocol.received == b"hello world"

    loop.run_until_complete(main())


BAD_BUFFERS: dict[str, Any] = {
    "empty": bytearray(),
    "read-only": b"read only",
    "no buffer": 12,
    "None": None,
}


@pytest.mark.parametrize("buffer", BAD_BUFFERS.values(), ids=BAD_BUFFERS)
def test_an_unusable_buffer_ends_the_connection(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]], buffer: object
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(
            lambda: BufferedRecorder({"get_buffer": lambda _: buffer})
        )
        with peer:
            peer.sendall(b"hello")
            await protocol.until_lost()
            assert await read_until_gone(peer) == b""
        (context,) = reported
        assert context["exception"] is protocol.lost_with
        assert context["transport"] is transport
        assert context["protocol"] is protocol
        # A read-only buffer is detected at the read.
        if isinstance(buffer, bytes):
            assert context["message"] == "Fatal read error on socket transport"
        else:
            assert context["message"] == "Fatal error: protocol.get_buffer() call failed."
        if isinstance(buffer, bytearray):
            assert str(protocol.lost_with) == "get_buffer() returned an empty buffer"
        expected = RuntimeError if isinstance(buffer, bytearray) else TypeError
        assert isinstance(protocol.lost_with, expected)
        assert protocol.calls == ["connection_made", "connection_lost"]
        reported.clear()

    loop.run_until_complete(main())


def test_a_protocol_without_eof_received_is_closed(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    """A BaseProtocol has neither data_received nor eof_received: the first event closes it."""

    class Minimal(asyncio.BaseProtocol):
        def __init__(self) -> None:
            self.lost: asyncio.Future[BaseException | None] = loop.create_future()

        def connection_lost(self, exc: BaseException | None) -> None:
            self.lost.set_result(exc)

    async def main() -> None:
        _, protocol, peer = await connect(Minimal)
        peer.sendall(b"hello")
        assert isinstance(await protocol.lost, AttributeError)
        peer.close()
        (context,) = reported
        assert context["message"] == "Fatal error: protocol.data_received() call failed."
        reported.clear()

    loop.run_until_complete(main())


def test_attributes_set_on_a_protocol_are_seen(loop: asyncio.AbstractEventLoop) -> None:
    """Bound methods may be cached, but only from set_protocol on."""

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        seen: list[bytes] = []
        protocol.__dict__["data_received"] = seen.append
        transport.set_protocol(protocol)
        with peer:
            peer.sendall(b"hello")
            peer.shutdown(socket.SHUT_WR)
            await protocol.until_lost()
            assert seen == [b"hello"]
            del protocol.__dict__["data_received"]

    loop.run_until_complete(main())


def test_what_a_protocol_keeps_stays_as_it_was(loop: asyncio.AbstractEventLoop) -> None:
    """Memory of a message that is not kept may be reused; that of a kept one must not change."""

    class Keeper(asyncio.Protocol):
        """Keeps some messages in various ways, sends some back, and does all of it with some."""

        def __init__(self) -> None:
            self.kept: list[tuple[bytes, bytes | memoryview | dict[bytes, int]]] = []
            self.count = 0
            self.arrived = asyncio.Event()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            assert isinstance(self.transport, asyncio.Transport)
            copy = bytes(bytearray(data))
            kind = self.count % 6
            if kind == 0:
                self.kept.append((copy, data))
            elif kind == 1:
                self.kept.append((copy, memoryview(data)))
            elif kind == 2:
                self.kept.append((copy, {data: hash(data)}))
            if kind in (1, 3):
                self.transport.write(data)
            if kind == 4:
                assert hash(data) == hash(copy)
            self.count += 1
            self.arrived.set()

    async def main() -> None:
        transport, protocol, peer = await connect(Keeper)
        for number in range(120):
            protocol.arrived.clear()
            message = bytes([number]) * (500 + 97 * number % 3500)
            peer.sendall(message)
            await protocol.arrived.wait()
            if number % 6 in (1, 3):
                assert await read_exactly(peer, len(message)) == message
        for copy, kept in protocol.kept:
            if isinstance(kept, dict):
                assert kept == {copy: hash(copy)}
            else:
                assert bytes(kept) == copy
        transport.abort()
        peer.close()

    loop.run_until_complete(main())
