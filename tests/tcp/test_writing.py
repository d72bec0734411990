"""Which data may be written, when it is sent, and how a writer is paused."""

from __future__ import annotations

import array
import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.asyncio_bugs import AsyncioBug
from tests.tcp.peers import MORE_THAN_FITS, connect, read_exactly, read_to_end, reset, turns
from tests.tcp.recorders import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


KEEPS_A_REFERENCE = AsyncioBug(
    issue="gh-91166",
    effect="the transport's buffer holds the caller's object, not a copy",
    first=(3, 12, 0),
    fixed=(3, 99, 0),
)
COUNTS_ITEMS = AsyncioBug(
    issue="gh-135862",
    effect="data in the transport's buffer is counted and sliced by items, not by bytes",
    first=(3, 11, 0),
    fixed=(3, 99, 0),
)
WRITELINES_AFTER_THE_END = AsyncioBug(
    issue="gh-136234",
    effect="writelines() on a lost connection fails inside asyncio",
    first=(3, 12, 0),
    fixed=(3, 13, 6),
)
KEEPS_WHAT_IS_EMPTY = AsyncioBug(
    issue="gh-155888",
    effect="an empty item of writelines() stays in the buffer forever",
    first=(3, 12, 0),
    fixed=(3, 14, 10),
)


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        bytearray(b"hello"),
        memoryview(b"hello"),
        memoryview(b"say hello")[4:],
        memoryview(array.array("i", [1, 2, 3])),
        memoryview(array.array("d", [0.5, 0.25])),
        memoryview(bytearray(range(12))).cast("B", (3, 4)),
    ],
    ids=["bytes", "bytearray", "memoryview", "slice", "ints", "doubles", "two dimensions"],
)
def test_bytes_like_objects_are_sent_as_their_bytes(
    loop: asyncio.AbstractEventLoop, data: bytes | bytearray | memoryview
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            transport.write(data)
            transport.close()
            assert await read_to_end(peer) == bytes(data)
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_items_larger_than_a_byte_survive_a_full_buffer(
    loop: asyncio.AbstractEventLoop, loop_name: str
) -> None:
    COUNTS_ITEMS.skip_asyncio(loop_name)

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        numbers = array.array("q", range(MORE_THAN_FITS // 8))
        with peer:
            transport.write(memoryview(numbers))
            waiting = transport.get_write_buffer_size()
            assert 0 < waiting < MORE_THAN_FITS
            transport.write(memoryview(numbers))
            assert transport.get_write_buffer_size() == waiting + MORE_THAN_FITS
            transport.close()
            assert await read_to_end(peer) == numbers.tobytes() * 2
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_strides_cannot_be_sent(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    """The socket raises an error, which ends the connection."""

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            transport.write(memoryview(b"abcdef")[::2])
            await protocol.until_lost()
        assert isinstance(protocol.lost_with, BufferError)
        (context,) = reported
        assert context["message"] == "Fatal write error on socket transport"
        assert context["exception"] is protocol.lost_with
        assert context["transport"] is transport
        assert context["protocol"] is protocol
        reported.clear()

    loop.run_until_complete(main())


WRONG_TYPES: tuple[Any, ...] = ("text", 5, None, [b"list"], array.array("b", b"array"), object())


@pytest.mark.parametrize("data", WRONG_TYPES, ids=[type(data).__name__ for data in WRONG_TYPES])
def test_other_types_are_refused_in_asyncios_words(
    loop: asyncio.AbstractEventLoop,
    data: Any,  # noqa: ANN401 - of any wrong type
) -> None:
    async def text() -> str:
        transport, protocol, peer = await connect(Recorder)
        with peer, pytest.raises(TypeError) as caught:
            transport.write(data)
        transport.close()
        await protocol.until_lost()
        return str(caught.value)

    reference = asyncio.new_event_loop()
    try:
        expected = reference.run_until_complete(text())
    finally:
        reference.close()
    assert loop.run_until_complete(text()) == expected


def test_nothing_is_nothing(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            for nothing in (b"", bytearray(), memoryview(b"")):
                transport.write(nothing)
            transport.writelines([])
            transport.writelines([b"", b""])
            assert transport.get_write_buffer_size() == 0
            transport.write(b"something")
            transport.close()
            assert await read_to_end(peer) == b"something"
            await protocol.until_lost()

    loop.run_until_complete(main())


@pytest.mark.parametrize("size", [5, MORE_THAN_FITS])
def test_what_was_written_is_a_snapshot(
    loop: asyncio.AbstractEventLoop, loop_name: str, size: int
) -> None:
    if size > 5:
        KEEPS_A_REFERENCE.skip_asyncio(loop_name)

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            data = bytearray(b"a") * size
            transport.write(data)
            data[:] = b"b" * size
            transport.write(memoryview(data))
            data[:] = b"c" * size
            data.clear()  # It is not kept, either.
            transport.close()
            assert await read_to_end(peer) == b"a" * size + b"b" * size
            await protocol.until_lost()

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (lambda: [b"a", bytearray(b"b"), memoryview(b"c")], b"abc"),
        (lambda: (b"a", b"", b"c"), b"ac"),
        (lambda: (b"%d" % n for n in range(5)), b"01234"),
        (lambda: [b"%04d" % n for n in range(3000)], b"".join(b"%04d" % n for n in range(3000))),
    ],
    ids=["list", "tuple", "generator", "more than an iovec"],
)
def test_writelines_writes_them_all_in_order(
    loop: asyncio.AbstractEventLoop,
    lines: Callable[[], Iterable[bytes]],
    expected: bytes,
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            transport.write(b"<")
            transport.writelines(lines())
            transport.write(b">")
            transport.close()
            assert await read_to_end(peer) == b"<" + expected + b">"
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_small_writes_arrive_in_order_however_they_are_made(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """From a task, a callback, a timer and the protocol itself."""

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        protocol.on["data_received"] = lambda _: transport.writelines([b"4", b"5"])
        with peer:
            transport.write(b"0")
            loop.call_soon(transport.write, b"1")
            loop.call_later(0, transport.write, b"2")
            await turns(4)
            transport.write(b"3")
            assert await read_exactly(peer, 4) == b"0123"
            peer.sendall(b"go")
            assert await read_exactly(peer, 2) == b"45"
            transport.close()
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_write_eof_half_closes(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            assert transport.can_write_eof()
            transport.write(b"question")
            transport.write_eof()
            transport.write_eof()  # A second call has no effect.
            assert await read_to_end(peer) == b"question"
            assert not transport.is_closing()
            peer.sendall(b"answer")
            await protocol.until_received(6)
        await protocol.until_lost()
        assert protocol.lost_with is None

    loop.run_until_complete(main())


def test_write_eof_waits_for_what_was_written(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            transport.write(bytes(MORE_THAN_FITS))
            transport.write_eof()
            assert transport.get_write_buffer_size() > 0
            assert len(await read_to_end(peer)) == MORE_THAN_FITS
            peer.sendall(b"still open")
            await protocol.until_received(10)
        await protocol.until_lost()

    loop.run_until_complete(main())


def test_writing_after_write_eof_is_an_error(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            transport.write_eof()
            with pytest.raises(RuntimeError, match=r"^Cannot call write\(\) after write_eof\(\)$"):
                transport.write(b"too late")
            with pytest.raises(RuntimeError, match=r"^Cannot call write(lines)?\(\) after write_e"):
                transport.writelines([b"too", b"late"])
            transport.close()
            transport.write_eof()
            await protocol.until_lost()
            transport.write_eof()

    loop.run_until_complete(main())


def test_writing_after_close_is_silent_five_times(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            transport.close()
            await protocol.until_lost()
            with caplog.at_level(logging.WARNING, "asyncio"):
                for _ in range(4):
                    transport.write(b"gone")
                assert caplog.messages == []
                for _ in range(3):
                    transport.write(b"gone")
                assert caplog.messages == ["socket.send() raised exception."] * 3
            assert transport.get_write_buffer_size() == 0

    loop.run_until_complete(main())


def test_writelines_after_the_end_counts_as_a_write(
    loop: asyncio.AbstractEventLoop, loop_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    WRITELINES_AFTER_THE_END.skip_asyncio(loop_name)

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            transport.close()
            await protocol.until_lost()
            with caplog.at_level(logging.WARNING, "asyncio"):
                for _ in range(5):
                    transport.writelines([b"gone", b"too"])
                assert caplog.messages == ["socket.send() raised exception."]

    loop.run_until_complete(main())


def test_what_is_written_while_closing_is_sent_if_something_waits(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """After `close()`, data is still accepted while older data is in the buffer."""

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            transport.write(bytes(MORE_THAN_FITS))
            transport.close()
            transport.write(b"one more thing")
            data = await read_to_end(peer)
            assert data[MORE_THAN_FITS:] == b"one more thing"
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_writing_to_a_peer_that_is_gone_loses_the_connection(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        transport.pause_reading()
        reset(peer)
        while not protocol.lost:
            transport.write(b"anyone there?")
            await turns(1)
        assert isinstance(protocol.lost_with, (ConnectionResetError, BrokenPipeError))
        assert protocol.calls == ["connection_made", "connection_lost"]

    loop.run_until_complete(main())


def test_close_sends_what_waits_first(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        with peer:
            transport.write(bytes(MORE_THAN_FITS))
            transport.close()
            await turns(5)
            assert not protocol.lost
            assert len(await read_to_end(peer)) == MORE_THAN_FITS
            await protocol.until_lost()
            assert protocol.lost_with is None

    loop.run_until_complete(main())


def test_abort_throws_away_what_waits(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        with peer:
            transport.write(bytes(MORE_THAN_FITS))
            transport.abort()
            assert transport.is_closing()
            assert not protocol.lost
            await protocol.until_lost()
            assert protocol.lost_with is None
            assert len(await read_to_end(peer)) < MORE_THAN_FITS

    loop.run_until_complete(main())


def test_a_peer_that_reads_slowly_gets_everything(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        message = bytes(range(251)) * 4000
        with peer:
            transport.write(message)
            transport.write_eof()

            def read() -> bytes:
                got = bytearray()
                while data := peer.recv(3001):
                    got += data
                return bytes(got)

            assert await loop.run_in_executor(None, read) == message
        await protocol.until_lost()

    loop.run_until_complete(main())


def test_nothing_waits_once_the_loop_has_turned(loop: asyncio.AbstractEventLoop) -> None:
    """Small writes may be combined, but not beyond the turn in which they were made."""

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        peer.settimeout(0)
        with peer:
            for number in range(10):
                transport.write(b"%d" % number)
                await turns(2)
                assert peer.recv(100, socket.MSG_PEEK).endswith(b"%d" % number)
            transport.close()
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_empty_items_do_not_keep_a_connection_open(
    loop: asyncio.AbstractEventLoop, loop_name: str
) -> None:
    KEEPS_WHAT_IS_EMPTY.skip_asyncio(loop_name)

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            transport.writelines([b"", bytearray(), memoryview(b"")])
            transport.writelines([])
            assert transport.get_write_buffer_size() == 0
            transport.writelines([b"", b"hello", b""])
            transport.close()
            assert await read_to_end(peer) == b"hello"
        await protocol.until_lost()
        assert protocol.lost_with is None

    loop.run_until_complete(main())
