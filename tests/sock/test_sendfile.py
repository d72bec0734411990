"""`loop.sendfile()` and `loop.sock_sendfile()`: the data, and the file position afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket
import threading
from typing import IO, TYPE_CHECKING, Any

import pytest

import yamanote
from tests.sock.pairs import KINDS, cancelled, tcp, turns, udp
from tests.tcp.peers import connect, read_exactly, read_to_end, send
from tests.tcp.recorders import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.sock.pairs import Pair

PATIENCE_S = 20.0

CONTENT = bytes(number % 251 for number in range(3_000_000))

#: Offset and count.
PARTS = [(0, None), (1000, None), (0, 10), (123_456, 1_500_000), (2_999_999, None), (10, 1 << 40)]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[IO[bytes]]:
    """A file larger than any kernel buffer."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    with path.open("rb") as opened:
        yield opened


@pytest.fixture(params=["tcp", "unix"])
def stream_pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two connected stream sockets, of each kind."""
    with KINDS[request.param]() as pair:
        yield pair


def part(offset: int, count: int | None) -> bytes:
    return CONTENT[offset:] if count is None else CONTENT[offset : offset + count]


def forget(file: IO[bytes]) -> None:
    """Drops a file from the page cache, if the system supports that."""
    os.fsync(file.fileno())
    with contextlib.suppress(AttributeError):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


async def receive(loop: asyncio.AbstractEventLoop, sock: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        received += await asyncio.wait_for(loop.sock_recv(sock, 1 << 18), PATIENCE_S)
    return bytes(received)


@pytest.mark.parametrize(("offset", "count"), PARTS)
def test_a_part_of_a_file_is_sent_to_a_socket(
    loop: asyncio.AbstractEventLoop,
    stream_pair: Pair,
    file: IO[bytes],
    offset: int,
    count: int | None,
) -> None:
    ours, theirs = stream_pair
    expected = part(offset, count)

    async def main() -> None:
        sending = asyncio.ensure_future(loop.sock_sendfile(ours, file, offset, count))
        assert await receive(loop, theirs, len(expected)) == expected
        assert await sending == len(expected)
        assert file.tell() == offset + len(expected)

    loop.run_until_complete(main())


@pytest.mark.parametrize(("offset", "count"), PARTS)
def test_a_part_of_a_file_is_sent_through_a_transport(
    loop: asyncio.AbstractEventLoop, file: IO[bytes], offset: int, count: int | None
) -> None:
    expected = part(offset, count)

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            reading = asyncio.ensure_future(read_to_end(peer))
            transport.write(b"before")
            assert await loop.sendfile(transport, file, offset, count) == len(expected)
            assert file.tell() == offset + len(expected)
            transport.write(b"after")
            transport.close()
            assert await reading == b"before" + expected + b"after"
        await protocol.until_lost()

    loop.run_until_complete(main())


def test_what_is_buffered_goes_first(loop: asyncio.AbstractEventLoop, file: IO[bytes]) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        with peer:
            transport.write(bytes(1_000_000))
            assert transport.get_write_buffer_size() > 0
            sending = asyncio.ensure_future(loop.sendfile(transport, file, 5, 10))
            await turns()
            assert not sending.done()
            with pytest.raises(RuntimeError, match="unable to write; sendfile is in progress"):
                transport.write(b"x")
            assert await read_exactly(peer, 1_000_010) == bytes(1_000_000) + CONTENT[5:15]
            assert await sending == 10
            transport.close()
        await protocol.until_lost()

    loop.run_until_complete(main())


def test_nothing_is_read_while_a_file_is_sent(
    loop: asyncio.AbstractEventLoop, file: IO[bytes]
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        with peer:
            sending = asyncio.ensure_future(loop.sendfile(transport, file))
            await turns()
            await send(peer, b"question")
            assert not transport.is_reading()
            assert protocol.received == b""
            assert await read_exactly(peer, len(CONTENT)) == CONTENT
            await sending
            await protocol.until_received(8)
            assert protocol.received == b"question"
            # A transport that was paused before stays paused.
            transport.pause_reading()
            await loop.sendfile(transport, file, 0, 10)
            assert not transport.is_reading()
            transport.close()
        await protocol.until_lost()

    loop.run_until_complete(main())


def test_an_empty_file_sends_nothing(
    loop: asyncio.AbstractEventLoop, pair: Pair, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open("rb") as empty:
        assert loop.run_until_complete(loop.sock_sendfile(pair[0], empty)) == 0


def test_beyond_the_end_there_is_nothing(
    loop: asyncio.AbstractEventLoop, pair: Pair, file: IO[bytes]
) -> None:
    assert loop.run_until_complete(loop.sock_sendfile(pair[0], file, 5_000_000)) == 0
    assert loop.run_until_complete(loop.sock_sendfile(pair[0], file, 5_000_000, 10)) == 0


def test_a_file_is_sent_again_and_again(
    loop: asyncio.AbstractEventLoop, pair: Pair, file: IO[bytes]
) -> None:
    async def main() -> None:
        for number in range(100):
            assert await loop.sock_sendfile(pair[0], file, number, 100) == 100
            assert await receive(loop, pair[1], 100) == CONTENT[number : number + 100]

    loop.run_until_complete(main())


def test_what_is_no_file_is_read_and_sent(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            memory = io.BytesIO(CONTENT)
            reading = asyncio.ensure_future(read_exactly(peer, len(CONTENT)))
            assert await loop.sendfile(transport, memory, 10) == len(CONTENT) - 10
            assert memory.tell() == len(CONTENT)
            memory.seek(0)
            assert await loop.sendfile(transport, memory, 0, 10) == 10
            assert await reading == CONTENT[10:] + CONTENT[:10]
            assert transport.is_reading()
            with pytest.raises(asyncio.SendfileNotAvailableError, match="not a regular file"):
                await loop.sendfile(transport, memory, fallback=False)
            transport.close()
        await protocol.until_lost()

    loop.run_until_complete(main())


def test_a_socket_takes_what_is_no_file(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair

    async def main() -> None:
        sending = asyncio.ensure_future(loop.sock_sendfile(ours, io.BytesIO(CONTENT), 0, 500_000))
        assert await receive(loop, theirs, 500_000) == CONTENT[:500_000]
        assert await sending == 500_000
        with pytest.raises(asyncio.SendfileNotAvailableError, match="not a regular file"):
            await loop.sock_sendfile(ours, io.BytesIO(CONTENT), fallback=False)

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, "10"), TypeError, "count must be a positive integer"),
        ((0, 0), ValueError, "count must be a positive integer"),
        ((0, -1), ValueError, "count must be a positive integer"),
        (("0", None), TypeError, "offset must be a non-negative integer"),
        ((-1, None), ValueError, "offset must be a non-negative integer"),
    ],
)
def test_offset_and_count_are_checked(
    loop: asyncio.AbstractEventLoop,
    pair: Pair,
    file: IO[bytes],
    arguments: tuple[Any, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        loop.run_until_complete(loop.sock_sendfile(pair[0], file, *arguments))


def test_file_and_socket_are_checked(
    loop: asyncio.AbstractEventLoop, pair: Pair, file: IO[bytes]
) -> None:
    text: Any
    with (
        open(file.name, encoding="latin-1") as text,
        pytest.raises(ValueError, match="binary mode"),
    ):
        loop.run_until_complete(loop.sock_sendfile(pair[0], text))
    with udp() as (ours, _), pytest.raises(ValueError, match="only SOCK_STREAM"):
        loop.run_until_complete(loop.sock_sendfile(ours, file))
    loop.set_debug(True)
    with socket.socket() as blocking, pytest.raises(ValueError, match="must be non-blocking"):
        loop.run_until_complete(loop.sock_sendfile(blocking, file))


def test_a_socket_without_a_peer_is_refused(
    loop: asyncio.AbstractEventLoop, file: IO[bytes]
) -> None:
    with socket.socket() as sock:
        sock.setblocking(False)
        with pytest.raises(asyncio.SendfileNotAvailableError, match=r"os\.sendfile call failed"):
            loop.run_until_complete(loop.sock_sendfile(sock, file, fallback=False))


def test_a_closing_transport_is_refused(loop: asyncio.AbstractEventLoop, file: IO[bytes]) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            transport.close()
            with pytest.raises(RuntimeError, match="Transport is closing"):
                await loop.sendfile(transport, file)
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_a_peer_that_goes_away_is_an_error(
    loop: asyncio.AbstractEventLoop, file: IO[bytes]
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        sending = asyncio.ensure_future(loop.sendfile(transport, file))
        await read_exactly(peer, 100_000)
        peer.close()
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(sending, PATIENCE_S)
        assert 100_000 <= file.tell() < len(CONTENT)
        await protocol.until_lost()

    loop.run_until_complete(main())


def test_a_cancelled_sendfile_leaves_the_transport_usable(
    loop: asyncio.AbstractEventLoop, file: IO[bytes]
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        with peer:
            reading = asyncio.ensure_future(read_to_end(peer))
            await read_some_then_cancel(transport)
            # The transport owns the descriptor again, and there is no waiter.
            with pytest.raises(RuntimeError, match="is used by transport"):
                loop.remove_writer(transport.get_extra_info("socket"))
            assert transport.is_reading()
            transport.write(b"after")
            transport.close()
            received = await reading
            assert received.endswith(b"after")
            assert CONTENT.startswith(received[:-5])
        await protocol.until_lost()

    async def read_some_then_cancel(transport: asyncio.Transport) -> None:
        await cancelled(asyncio.ensure_future(loop.sendfile(transport, file)))
        sending = asyncio.ensure_future(loop.sendfile(transport, file))
        await turns()
        await cancelled(sending)
        await turns()

    loop.run_until_complete(main())


def test_a_sendfile_cancelled_before_its_turn_sends_nothing(file: IO[bytes]) -> None:
    """Asyncio's call completes although it is cancelled, and later writing is refused."""
    loop = yamanote.new_event_loop()

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        with peer:
            transport.write(bytes(1_000_000))
            sending = loop.create_task(loop.sendfile(transport, file))
            await turns()
            await cancelled(sending)
            transport.write(b"after")
            transport.close()
            assert await read_to_end(peer) == bytes(1_000_000) + b"after"
        await protocol.until_lost()
        assert file.tell() == 0

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@pytest.mark.parametrize("waits", ["for its turn", "for room"])
def test_an_aborted_transport_ends_a_sendfile(file: IO[bytes], waits: str) -> None:
    """Asyncio's call would wait forever for writability."""
    loop = yamanote.new_event_loop()

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        with peer:
            if waits == "for its turn":
                transport.write(bytes(1_000_000))
            sending = asyncio.ensure_future(loop.sendfile(transport, file))
            await turns(10)
            transport.abort()
            with pytest.raises(OSError):  # noqa: PT011 - by which way it ends is open.
                await asyncio.wait_for(sending, PATIENCE_S)
            await protocol.until_lost()

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_two_files_at_once_are_refused(loop: asyncio.AbstractEventLoop, file: IO[bytes]) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        with peer:
            first = asyncio.ensure_future(loop.sendfile(transport, file))
            await turns()
            # asyncio raises a `KeyError`.
            with pytest.raises((RuntimeError, KeyError)):
                await loop.sendfile(transport, file)
            assert await read_exactly(peer, len(CONTENT)) == CONTENT
            assert await first == len(CONTENT)
            transport.close()
        await protocol.until_lost()

    loop.run_until_complete(main())


def test_a_file_that_is_not_in_memory_is_sent_too(
    loop: asyncio.AbstractEventLoop, pair: Pair, file: IO[bytes]
) -> None:
    forget(file)

    async def main() -> None:
        sending = asyncio.ensure_future(loop.sock_sendfile(pair[0], file))
        assert await receive(loop, pair[1], len(CONTENT)) == CONTENT
        assert await sending == len(CONTENT)

    loop.run_until_complete(main())


def test_without_an_executor_a_file_is_sent_all_the_same(
    loop: asyncio.AbstractEventLoop, pair: Pair, file: IO[bytes]
) -> None:
    loop.run_until_complete(loop.shutdown_default_executor())
    forget(file)

    async def main() -> None:
        sending = asyncio.ensure_future(loop.sock_sendfile(pair[0], file))
        assert await receive(loop, pair[1], len(CONTENT)) == CONTENT
        assert await sending == len(CONTENT)

    loop.run_until_complete(main())


def test_a_thread_that_cannot_start_closes_no_descriptor_later(
    loop: asyncio.AbstractEventLoop,
    pair: Pair,
    file: IO[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The executor takes the work before it starts the thread, and does it with the next one."""

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    forget(file)

    async def main() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", fail)
            sending = asyncio.ensure_future(loop.sock_sendfile(pair[0], file))
            assert await receive(loop, pair[1], len(CONTENT)) == CONTENT
            assert await sending == len(CONTENT)
        others = [os.dup(file.fileno()) for _ in range(8)]
        await asyncio.to_thread(int)
        for other in others:
            os.close(other)

    loop.run_until_complete(main())


def test_others_have_their_turn_while_a_file_is_sent(
    loop: asyncio.AbstractEventLoop, file: IO[bytes]
) -> None:
    async def main(ours: socket.socket, theirs: socket.socket) -> None:
        receiver = threading.Thread(target=drain_all, args=(theirs,))
        receiver.start()
        sending = asyncio.ensure_future(loop.sock_sendfile(ours, file))
        passes = 0
        while not sending.done():
            await asyncio.sleep(0)
            passes += 1
        assert passes > 2
        ours.close()
        receiver.join()

    def drain_all(sock: socket.socket) -> None:
        sock.setblocking(True)
        while sock.recv(1 << 18):
            pass

    with tcp() as pair:
        loop.run_until_complete(main(*pair))
