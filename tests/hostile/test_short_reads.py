"""The kernel ends a read early although there is more data: the rest is read nevertheless."""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import pty
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, cast

import pytest

from tests.tls.peers import connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    #: Returns received data, at most that many bytes.
    Read = Callable[[int], Awaitable[bytes]]
    #: Reads from a socket with one of asyncio's interfaces; with a function to end it.
    Open = Callable[[socket.socket], Awaitable[tuple[Read, Callable[[], None]]]]
    #: A connected pair, and a function that sends `EXPECTED` through it, in pieces.
    Source = Callable[[], tuple[socket.socket, socket.socket, Callable[[], None]]]

#: Seconds after which missing data counts as forgotten.
PATIENCE_S = 20.0
EXPECTED = b"onetwothree"
WORDS = (b"one", b"two", b"three")

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="other kernels end reads at other positions"
)


class Collector(asyncio.Protocol):
    """Stores received data until it is read."""

    def __init__(self) -> None:
        """Start without data."""
        self.came = bytearray()
        self.news = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Stores `data`."""
        self.came += data
        self.news.set()

    async def read(self, _most: int) -> bytes:
        """Waits for data, and returns all of it."""
        await self.news.wait()
        self.news.clear()
        came, self.came = bytes(self.came), bytearray()
        return came


class BufferedCollector(asyncio.BufferedProtocol):
    """The same, with its own buffer."""

    def __init__(self) -> None:
        """Start without data."""
        self.collector = Collector()
        self.buffer = bytearray(65536)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Returns the same buffer each time."""
        assert sizehint
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Stores the received bytes."""
        self.collector.data_received(bytes(self.buffer[:nbytes]))


async def with_protocol(sock: socket.socket) -> tuple[Read, Callable[[], None]]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_accepted_socket(Collector, sock)
    return protocol.read, transport.close


async def with_buffered_protocol(sock: socket.socket) -> tuple[Read, Callable[[], None]]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_accepted_socket(BufferedCollector, sock)
    return protocol.collector.read, transport.close


async def with_streams(sock: socket.socket) -> tuple[Read, Callable[[], None]]:
    reader, writer = await asyncio.open_connection(sock=sock)
    return reader.read, writer.close


async def with_calls(sock: socket.socket) -> tuple[Read, Callable[[], None]]:
    loop = asyncio.get_running_loop()
    return (lambda most: loop.sock_recv(sock, most)), sock.close


async def with_read_pipe(sock: socket.socket) -> tuple[Read, Callable[[], None]]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_read_pipe(Collector, sock)
    return protocol.read, transport.close


READERS = (with_protocol, with_buffered_protocol, with_streams, with_calls, with_read_pipe)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


def tcp_urgent() -> tuple[socket.socket, socket.socket, Callable[[], None]]:
    ours, theirs = tcp_pair()

    def send() -> None:
        theirs.sendall(b"one")
        theirs.send(b"!", socket.MSG_OOB)
        theirs.sendall(b"twothree")

    return ours, theirs, send


def tcp_urgent_inline() -> tuple[socket.socket, socket.socket, Callable[[], None]]:
    ours, theirs = tcp_pair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)

    def send() -> None:
        theirs.sendall(b"one")
        theirs.send(b"t", socket.MSG_OOB)
        theirs.sendall(b"wothree")

    return ours, theirs, send


def unix_descriptors() -> tuple[socket.socket, socket.socket, Callable[[], None]]:
    ours, theirs = socket.socketpair()

    def send() -> None:
        along = array.array("i", [theirs.fileno()])
        for word in WORDS:
            theirs.sendmsg([word], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, along)])

    return ours, theirs, send


def unix_descriptors_in_the_middle() -> tuple[socket.socket, socket.socket, Callable[[], None]]:
    ours, theirs = socket.socketpair()

    def send() -> None:
        along = array.array("i", [theirs.fileno()])
        theirs.send(b"one")
        theirs.sendmsg([b"two"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, along)])
        theirs.send(b"three")

    return ours, theirs, send


def unix_credentials() -> tuple[socket.socket, socket.socket, Callable[[], None]]:
    """Sends each word from a different process."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def send() -> None:
        for word in WORDS:
            subprocess.run(["printf", word.decode()], stdout=theirs.fileno(), check=True)

    return ours, theirs, send


def unix_credentials_from_now_on() -> tuple[socket.socket, socket.socket, Callable[[], None]]:
    """The same, but credentials are enabled after a loop has begun to read."""
    ours, theirs = socket.socketpair()
    twin = ours.dup()

    def send() -> None:
        with twin:
            twin.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        for word in WORDS:
            subprocess.run(["printf", word.decode()], stdout=theirs.fileno(), check=True)

    return ours, theirs, send


def unix_urgent() -> tuple[socket.socket, socket.socket, Callable[[], None]]:
    ours, theirs = socket.socketpair()

    def send() -> None:
        theirs.sendall(b"one")
        try:
            theirs.send(b"!", socket.MSG_OOB)
        except OSError:
            pytest.skip("this kernel has no urgent data on Unix sockets")
        theirs.sendall(b"twothree")

    return ours, theirs, send


SOURCES = (
    tcp_urgent,
    tcp_urgent_inline,
    unix_descriptors,
    unix_descriptors_in_the_middle,
    unix_credentials,
    unix_credentials_from_now_on,
    unix_urgent,
)


async def received(read: Read, count: int) -> bytes:
    """Returns received data: `count` bytes, or less at EOF or after the timeout."""
    got = bytearray()

    async def all_of_it() -> None:
        while len(got) < count and (came := await read(65536)):
            got.extend(came)

    try:
        await asyncio.wait_for(all_of_it(), PATIENCE_S)
    except TimeoutError:
        pytest.fail(f"stalled after {bytes(got)!r}")
    return bytes(got)


@pytest.mark.parametrize("is_late", [False, True], ids=["at first", "while it reads"])
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("source", SOURCES)
def test_what_lies_behind_a_short_read_is_read_too(
    loop: asyncio.AbstractEventLoop, source: Source, reader: Open, is_late: bool
) -> None:
    async def main() -> None:
        ours, theirs, send = source()
        ours.setblocking(False)
        with theirs:
            if not is_late:
                send()
            read, close = await reader(ours)
            try:
                if is_late:
                    theirs.sendall(b"first")
                    assert await received(read, 5) == b"first"
                    send()
                assert await received(read, len(EXPECTED)) == EXPECTED
                # The loop listens as before.
                theirs.sendall(b"more")
                assert await received(read, 4) == b"more"
            finally:
                close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("reader", READERS)
def test_each_urgent_byte_is_passed(loop: asyncio.AbstractEventLoop, reader: Open) -> None:
    async def main() -> None:
        ours, theirs = tcp_pair()
        ours.setblocking(False)
        with theirs:
            read, close = await reader(ours)
            for number in range(5):
                text = b"before%d|after" % number
                before, after = text.split(b"|")
                theirs.sendall(before)
                theirs.send(b"!", socket.MSG_OOB)
                theirs.sendall(after)
                came = await received(read, len(text) - 1)
                # After the urgent mark has moved on, the byte counts as an ordinary one.
                assert came.replace(b"!", b"") == before + after
            close()

    loop.run_until_complete(main())


def test_what_lies_behind_an_urgent_byte_is_read_after_a_pause(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        class Pausing(Collector):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                transport.pause_reading()

        ours, theirs = tcp_pair()
        ours.setblocking(False)
        with theirs:
            theirs.sendall(b"one")
            theirs.send(b"!", socket.MSG_OOB)
            theirs.sendall(b"twothree")
            made = asyncio.get_running_loop().connect_accepted_socket(Pausing, ours)
            transport, protocol = await made
            assert await received(protocol.read, 3) == b"one"
            for _ in range(5):
                await asyncio.sleep(0)
            assert protocol.came == b""
            transport.resume_reading()
            assert await received(protocol.read, 8) == b"twothree"
            transport.close()

    loop.run_until_complete(main())


def test_a_request_in_pieces_is_answered(loop: asyncio.AbstractEventLoop) -> None:
    """Both ends send only after they have received."""

    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.Transport", transport)
            self.request = bytearray()

        def data_received(self, data: bytes) -> None:
            self.request += data
            if bytes(self.request) == EXPECTED:
                self.transport.write(b"answer")
                self.request.clear()

    async def main() -> None:
        ours, theirs, send = unix_descriptors()
        ours.setblocking(False)
        theirs.setblocking(False)
        running = asyncio.get_running_loop()
        transport, _ = await running.connect_accepted_socket(Server, ours)
        with theirs:
            for _ in range(3):
                send()
                answer = running.sock_recv(theirs, 100)
                assert await asyncio.wait_for(answer, PATIENCE_S) == b"answer"
            transport.close()

    loop.run_until_complete(main())


def test_a_record_of_tls_with_an_urgent_byte_in_it_is_read(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Collector)
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with peer.sock:
            for _ in range(2):
                records = peer.encrypted(EXPECTED)
                peer.sock.sendall(records[:10])
                peer.sock.send(b"!", socket.MSG_OOB)
                peer.sock.sendall(records[10:])
                assert await received(protocol.read, len(EXPECTED)) == EXPECTED
            transport.abort()
            await asyncio.sleep(0)

    loop.run_until_complete(main())


def test_a_terminal_is_read_line_after_line(loop: asyncio.AbstractEventLoop) -> None:
    master, slave = pty.openpty()
    with open(master, "wb", 0) as file, open(slave, "rb", 0) as lines:

        async def main() -> None:
            running = asyncio.get_running_loop()
            transport, protocol = await running.connect_read_pipe(Collector, lines)
            for _ in range(2):
                file.write(b"a\nb\nc\n")
                assert await received(protocol.read, 6) == b"a\nb\nc\n"
            transport.close()
            await asyncio.sleep(0)

        loop.run_until_complete(main())


@pytest.mark.parametrize("cls", [Collector, None], ids=["protocol", "reader"])
@pytest.mark.parametrize("before", [0, 10_000], ids=["only packets", "packets behind bytes"])
def test_a_pipe_is_read_packet_after_packet(
    loop: asyncio.AbstractEventLoop, before: int, cls: type[Collector] | None
) -> None:
    """The writer may switch to packet mode at any time."""
    reading, writing = os.pipe()
    with open(writing, "wb", 0) as stream, open(reading, "rb", 0) as file:
        stream.write(b"." * before)
        fcntl.fcntl(stream, fcntl.F_SETFL, os.O_DIRECT)
        for data in (b"a", b"bb", b"c" * 5000, b"d"):
            stream.write(data)

        async def main() -> None:
            running = asyncio.get_running_loop()
            if cls is None:
                reader = asyncio.StreamReader(limit=1 << 20)
                transport, _ = await running.connect_read_pipe(
                    lambda: asyncio.StreamReaderProtocol(reader), file
                )
                came = await received(reader.read, before + 5004)
            else:
                transport, protocol = await running.connect_read_pipe(cls, file)
                came = await received(protocol.read, before + 5004)
            assert came == b"." * before + b"abb" + b"c" * 5000 + b"d"
            transport.close()
            await asyncio.sleep(0)

        loop.run_until_complete(main())


def test_a_socket_with_messages_is_read_message_after_message(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            for word in WORDS:
                theirs.send(word)
            read, close = await with_read_pipe(ours)
            assert await received(read, len(EXPECTED)) == EXPECTED
            close()
            await asyncio.sleep(0)

    loop.run_until_complete(main())
