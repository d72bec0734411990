"""Data over TLS: none lost or doubled, in order, with bounded buffers."""

from __future__ import annotations

import asyncio
import random
import ssl
import sys
import threading
from typing import TYPE_CHECKING, cast

import pytest

from tests.forks import in_child
from tests.tcp.peers import MORE_THAN_FITS, turns
from tests.tcp.recorders import BufferedRecorder, Recorder
from tests.tls.certificates import client_context, server_context
from tests.tls.peers import connect, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tcp.recorders import AnyRecorder

FACTORIES: dict[str, Callable[[], AnyRecorder]] = {
    "protocol": Recorder,
    "buffered": lambda: BufferedRecorder(buffer=memoryview(bytearray(65_536))),
    "tiny buffer": lambda: BufferedRecorder(buffer=memoryview(bytearray(7))),
}
RECEIVERS = pytest.mark.parametrize("factory", list(FACTORIES.values()), ids=list(FACTORIES))


@RECEIVERS
def test_records_of_every_size_arrive(
    loop: asyncio.AbstractEventLoop, factory: Callable[[], AnyRecorder]
) -> None:
    sizes = [1, 2, 5, 6, 255, 256, 1023, 1024, 4096, 16383, 16384]
    random.Random(4).shuffle(sizes)

    async def main() -> None:
        transport, protocol, peer = await connect(factory)
        sent = b""
        for size in sizes:
            data = bytes([size % 251]) * size
            sent += data
            await in_thread(peer.send, data)
        await protocol.until_received(len(sent))
        assert protocol.received == sent
        transport.abort()
        await protocol.until_lost()
        peer.sock.close()

    loop.run_until_complete(main())


@RECEIVERS
@pytest.mark.parametrize("cut", [1, 5, 100, 16405, 16406, 16407, 50_000])
def test_records_may_come_in_pieces(
    loop: asyncio.AbstractEventLoop, factory: Callable[[], AnyRecorder], cut: int
) -> None:
    data = random.Random(cut).randbytes(60_000 if cut > 100 else 300)

    async def main() -> None:
        transport, protocol, peer = await connect(factory)
        ciphertext = peer.encrypted(data[:100]) + peer.encrypted(data[100:])
        for start in range(0, len(ciphertext), cut):
            await in_thread(peer.sock.sendall, ciphertext[start : start + cut])
            await asyncio.sleep(0)
        await protocol.until_received(len(data))
        assert protocol.received == data
        transport.abort()
        await protocol.until_lost()
        peer.sock.close()

    loop.run_until_complete(main())


@RECEIVERS
def test_a_record_in_pieces_is_read_at_the_end_as_well(
    loop: asyncio.AbstractEventLoop, loop_name: str, factory: Callable[[], AnyRecorder]
) -> None:
    """The session has the first piece inside, so it makes more of the last than its size."""
    if loop_name == "asyncio" and factory is FACTORIES["tiny buffer"]:
        pytest.skip("asyncio fills the buffer once more, and then no more")
    data = random.Random(5).randbytes(100 + 16_384)

    async def main() -> None:
        transport, protocol, peer = await connect(factory)
        ciphertext = peer.encrypted(data[:100]) + peer.encrypted(data[100:])
        await in_thread(peer.sock.sendall, ciphertext[:10_000])
        await protocol.until_received(100)
        transport.pause_reading()
        rest = ciphertext[10_000:]
        await in_thread(peer.sock.sendall, rest)
        peer.sock.close()
        size: Callable[[], int] = getattr(transport, "get_read_buffer_size")  # noqa: B009
        while size() < len(rest):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)
        await turns(50)  # For the end, which the transport keeps to itself.
        transport.resume_reading()
        await protocol.until_lost()
        assert protocol.received == data

    loop.run_until_complete(main())


def test_a_bytearray_takes_more_than_one_record(
    loop: asyncio.AbstractEventLoop, loop_name: str
) -> None:
    if loop_name == "asyncio":
        pytest.skip("asyncio slices its argument, and slicing a bytearray copies")

    async def main() -> None:
        transport, protocol, peer = await connect(BufferedRecorder)
        await in_thread(peer.sock.sendall, peer.encrypted(b"one") + peer.encrypted(b"two"))
        await protocol.until_received(6)
        assert protocol.received == b"onetwo"
        transport.abort()
        await protocol.until_lost()
        peer.sock.close()

    loop.run_until_complete(main())


def test_writes_of_every_kind_arrive_as_they_were(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        mutable = bytearray(b"b" * 40_000)
        transport.write(b"a")
        transport.write(mutable)
        transport.write(memoryview(mutable)[:10])
        transport.write(memoryview(mutable).cast("I")[1:3])
        mutable[:] = b"x" * 40_000
        transport.write(b"")
        transport.writelines([b"c", bytearray(b"d"), memoryview(b"e" * 20_000)])
        expected = b"a" + b"b" * 40_018 + b"cd" + b"e" * 20_000
        assert await in_thread(peer.read, len(expected)) == expected
        transport.abort()
        await protocol.until_lost()
        peer.sock.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("wrong", ["text", 7, None, [b"list"]])
def test_only_bytes_are_written(loop: asyncio.AbstractEventLoop, wrong: object) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with pytest.raises(TypeError, match=f"bytes-like instance, got {type(wrong).__name__}"):
            transport.write(cast("bytes", wrong))
        transport.abort()
        await protocol.until_lost()
        peer.sock.close()

    loop.run_until_complete(main())


@pytest.mark.slow
def test_a_reader_that_pauses_stops_the_peer(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        transport.pause_reading()
        assert not transport.is_reading()
        ciphertext = peer.encrypted(b"z" * MORE_THAN_FITS)
        sending = asyncio.ensure_future(in_thread(peer.sock.sendall, ciphertext))
        size: Callable[[], int] = getattr(transport, "get_read_buffer_size")  # noqa: B009
        # asyncio's mark is 256 KiB, plus at most one read.
        while size() < 256 * 1024:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)
        await turns(200)
        assert size() <= 512 * 1024
        assert not sending.done()
        assert protocol.received == b""
        transport.resume_reading()
        await protocol.until_received(MORE_THAN_FITS)
        await sending
        assert protocol.received == b"z" * MORE_THAN_FITS
        transport.abort()
        await protocol.until_lost()
        peer.sock.close()

    loop.run_until_complete(main())


@pytest.mark.slow
def test_a_peer_that_does_not_read_pauses_the_writer(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        written = 0
        while "pause_writing" not in protocol.calls:
            transport.write(b"w" * 65_536)
            written += 65_536
            assert written < MORE_THAN_FITS
        low, high = transport.get_write_buffer_limits()
        assert transport.get_write_buffer_size() >= high > low
        assert await in_thread(peer.read, written) == b"w" * written
        await protocol.until_called("resume_writing", 1)
        assert protocol.calls == ["connection_made", "pause_writing", "resume_writing"]
        transport.abort()
        await protocol.until_lost()
        peer.sock.close()

    loop.run_until_complete(main())


def test_closing_waits_for_a_slow_peer_to_take_everything(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        data = random.Random(1).randbytes(4 * 1024 * 1024)
        transport.write(data)
        transport.close()
        assert await in_thread(peer.read, len(data)) == data
        await in_thread(peer.read_to_goodbye)
        peer.sock.close()
        await protocol.until_lost()

    loop.run_until_complete(main())


def test_write_limits_are_checked(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
        transport.set_write_buffer_limits(high=100)
        assert transport.get_write_buffer_limits() == (25, 100)
        transport.set_write_buffer_limits(low=10)
        assert transport.get_write_buffer_limits() == (10, 40)
        with pytest.raises(ValueError, match="high \\(1\\) must be >= low \\(2\\) must be >= 0"):
            transport.set_write_buffer_limits(high=1, low=2)
        transport.abort()
        await protocol.until_lost()
        peer.sock.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_streams_read_lines_and_respect_their_limit(
    loop: asyncio.AbstractEventLoop, version: ssl.TLSVersion
) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader(limit=1000)
        context = client_context()
        context.minimum_version = context.maximum_version = version
        transport, protocol, peer = await connect(
            lambda: asyncio.StreamReaderProtocol(reader), context, server_context()
        )
        del protocol
        line = b"l" * 900 + b"\n"
        sending = asyncio.ensure_future(in_thread(peer.send, line * 2000))
        for _ in range(2000):
            assert await reader.readline() == line
        await sending
        transport.close()
        await in_thread(peer.read_to_goodbye)
        peer.sock.close()
        assert await reader.read() == b""

    loop.run_until_complete(main())


def test_a_change_of_protocol_takes_effect_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, first, peer = await connect(Recorder)
        second = BufferedRecorder()
        await in_thread(peer.send, b"one")
        await first.until_received(3)
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        await in_thread(peer.send, b"two")
        await second.until_received(3)
        transport.abort()
        await second.until_lost()
        assert first.received == b"one"
        assert second.received == b"two"
        peer.sock.close()

    loop.run_until_complete(main())


class Waiting:
    """A thread that runs as soon as it gets the GIL."""

    def __init__(self) -> None:
        """Starts it."""
        self.asked = threading.Event()
        self.ran = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        """Says that it ran, once asked."""
        self.asked.wait()
        self.ran = True


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="without the GIL, threads run anyway",
)
def test_a_long_encryption_lets_other_threads_run(loop: asyncio.AbstractEventLoop) -> None:
    data = bytes(4 << 20)

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        waiting = Waiting()
        interval = sys.getswitchinterval()
        # A thread that does not give the GIL away keeps it.
        sys.setswitchinterval(1000.0)
        try:
            waiting.asked.set()
            for _ in range(100):
                transport.write(data)
                if waiting.ran:
                    break
            assert waiting.ran
        finally:
            sys.setswitchinterval(interval)
            waiting.asked.set()
            await in_thread(waiting.thread.join)
        transport.abort()
        await protocol.until_lost()
        peer.sock.close()

    loop.run_until_complete(main())


def test_long_and_short_writes_arrive_in_order(loop: asyncio.AbstractEventLoop) -> None:
    sizes = [1, (256 << 10) + 1, 16384, 1 << 20, 7, 256 << 10, 300_001]
    pieces = [bytes([65 + number]) * size for number, size in enumerate(sizes)]

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        expected = b"".join(pieces) * 2
        receiving = asyncio.ensure_future(in_thread(peer.read, len(expected)))
        for piece in pieces:
            transport.write(piece)
        transport.writelines(pieces)
        assert await receiving == expected
        transport.abort()
        await protocol.until_lost()
        peer.sock.close()

    loop.run_until_complete(main())


def test_a_child_forked_during_a_long_encryption_can_use_the_transport(
    loop: asyncio.AbstractEventLoop,
) -> None:
    data = bytes(16 << 20)

    def fork(transport: asyncio.Transport) -> None:
        sizes.append(in_child(transport.get_write_buffer_size))
        while not over:
            sizes.append(in_child(transport.get_write_buffer_size))

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        forking = asyncio.ensure_future(in_thread(fork, transport))
        for _ in range(8):
            transport.write(data)
            await asyncio.sleep(0)
        over.append(True)
        await forking
        transport.abort()
        await protocol.until_lost()
        peer.sock.close()

    over: list[bool] = []
    sizes: list[str] = []
    loop.run_until_complete(main())
    assert all(int(size) >= 0 for size in sizes)
