"""The standard `StreamReader` and `StreamWriter` over our transports, however they are fed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.tcp.peers import read_exactly, read_to_end, reset, send, turns
from tests.tcp.recorders import PATIENCE_S
from tests.tcp.servers import LOCALHOST, port_of
from tests.tcp.streams import LIMIT, Streams, streams

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


def test_read_returns_what_is_there(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with streams() as ((reader, _), peer):
            reading = loop.create_task(reader.read(100))
            await turns(2)
            assert not reading.done()
            peer.sendall(b"hello")
            assert await reading == b"hello"
            peer.sendall(b"hello world")
            assert await reader.read(5) == b"hello"
            assert await reader.read(100) == b" world"
            assert await reader.read(0) == b""

    loop.run_until_complete(main())


def test_read_to_the_end(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        message = bytes(range(256)) * 4096
        async with streams() as ((reader, _), peer):
            sending = loop.run_in_executor(None, peer.sendall, message)
            sending.add_done_callback(lambda _: peer.shutdown(socket.SHUT_WR))
            assert not reader.at_eof()
            assert await reader.read() == message
            assert reader.at_eof()
            assert await reader.read() == b""
            assert await reader.read(5) == b""
            await sending

    loop.run_until_complete(main())


def test_readexactly(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with streams() as ((reader, _), peer):
            for part in (b"he", b"ll", b"o world"):
                peer.sendall(part)
                await turns(2)
            assert await reader.readexactly(5) == b"hello"
            assert await reader.readexactly(0) == b""
            assert await reader.readexactly(6) == b" world"
            with pytest.raises(ValueError, match="less than zero"):
                await reader.readexactly(-1)
            peer.sendall(b"short")
            peer.shutdown(socket.SHUT_WR)
            with pytest.raises(asyncio.IncompleteReadError) as caught:
                await reader.readexactly(10)
            assert (caught.value.partial, caught.value.expected) == (b"short", 10)
            assert reader.at_eof()

    loop.run_until_complete(main())


def test_readexactly_of_more_than_the_limit(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        message = bytes(range(250)) * 8000
        async with streams(limit=1000) as ((reader, _), peer):
            sending = loop.run_in_executor(None, peer.sendall, message)
            assert await reader.readexactly(len(message)) == message
            await sending

    loop.run_until_complete(main())


def test_readline(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with streams() as ((reader, _), peer):
            peer.sendall(b"one\ntwo\n\nthr")
            assert await reader.readline() == b"one\n"
            assert await reader.readline() == b"two\n"
            assert await reader.readline() == b"\n"
            reading = loop.create_task(reader.readline())
            await turns(2)
            peer.sendall(b"ee\nrest")
            assert await reading == b"three\n"
            peer.shutdown(socket.SHUT_WR)
            assert await reader.readline() == b"rest"
            assert await reader.readline() == b""

    loop.run_until_complete(main())


def test_lines_can_be_iterated(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        lines = [b"%d\n" % number for number in range(5000)]
        async with streams() as ((reader, _), peer):
            await send(peer, b"".join(lines))
            peer.shutdown(socket.SHUT_WR)
            assert [line async for line in reader] == lines

    loop.run_until_complete(main())


def test_readuntil(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with streams() as ((reader, _), peer):
            peer.sendall(b"key=value\r\nnext\r")
            assert await reader.readuntil(b"=") == b"key="
            assert await reader.readuntil(b"\r\n") == b"value\r\n"
            reading = loop.create_task(reader.readuntil(b"\r\n"))
            await turns(2)
            assert not reading.done()
            peer.sendall(b"\n")
            assert await reading == b"next\r\n"
            peer.sendall(b"partial")
            peer.shutdown(socket.SHUT_WR)
            with pytest.raises(asyncio.IncompleteReadError) as caught:
                await reader.readuntil(b"\n")
            assert (caught.value.partial, caught.value.expected) == (b"partial", None)

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="several separators came with 3.13")
def test_readuntil_one_of_several(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with streams() as ((reader, _), peer):
            peer.sendall(b"one;two,three;")
            separators: Any = (b";", b",")
            found = [await reader.readuntil(separators) for _ in range(3)]
            assert found == [b"one;", b"two,", b"three;"]

    loop.run_until_complete(main())


def test_a_line_over_the_limit_is_an_error(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with streams(limit=10) as ((reader, _), peer):
            peer.sendall(b"0123456789abcdef\nnext\n")
            with pytest.raises(asyncio.LimitOverrunError) as overrun:
                await reader.readuntil(b"\n")
            assert overrun.value.consumed == 16
            with pytest.raises(ValueError, match="Separator is found, but chunk is longer"):
                await reader.readline()
            assert await reader.readline() == b"next\n"
            peer.sendall(b"x" * 30)
            with pytest.raises(ValueError, match="Separator is not found, and chunk exceed"):
                await reader.readline()

    loop.run_until_complete(main())


@pytest.mark.parametrize("limit", [1000, LIMIT])
def test_a_reader_over_its_limit_holds_the_peer_back(
    loop: asyncio.AbstractEventLoop, limit: int
) -> None:
    """Twice the limit pauses the transport; reading resumes it."""

    async def main() -> None:
        async with streams(limit=limit) as ((reader, writer), peer):
            transport: Any = writer.transport
            peer.setblocking(False)
            accepted = 0
            with contextlib.suppress(BlockingIOError):
                while accepted < 1 << 30:
                    accepted += peer.send(bytes(64 * 1024))
                    await turns(1)
            await turns(5)
            assert accepted < 1 << 30
            assert not transport.is_reading()
            buffered = len(await reader.read(accepted))
            # At most one read may exceed the mark: asyncio reads up to 256 KiB at once.
            assert 2 * limit < buffered <= 2 * limit + 256 * 1024
            assert transport.is_reading()
            rest = accepted - buffered
            while rest:
                rest -= len(await reader.read(rest))

    loop.run_until_complete(main())


def test_a_slow_reader_gets_every_byte(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        message = bytes(n % 253 for n in range(1 << 16)) * 16
        async with streams(limit=3000) as ((reader, _), peer):
            sending = loop.run_in_executor(None, peer.sendall, message)
            sending.add_done_callback(lambda _: peer.shutdown(socket.SHUT_WR))
            got = bytearray()
            while data := await reader.read(1777):
                assert len(data) <= 1777
                got += data
                if len(got) % 5 == 0:
                    await turns(1)
            assert got == message
            await sending

    loop.run_until_complete(main())


@contextlib.asynccontextmanager
async def echo_server() -> AsyncGenerator[int, None]:
    """Runs a server that sends back what it reads; its clients are gone at the end."""
    clients: set[asyncio.Task[object]] = set()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        clients.add(task)
        while data := await reader.read(LIMIT):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(echo, LOCALHOST, 0) as server:
        yield port_of(server)
        await asyncio.wait_for(asyncio.gather(*clients), PATIENCE_S)


@pytest.mark.parametrize("size", [1, 1000, 5000, 70_000, 300_000])
def test_echo_of_many_sizes(loop: asyncio.AbstractEventLoop, size: int) -> None:
    async def main() -> None:
        async with echo_server() as port:
            reader, writer = await asyncio.open_connection(LOCALHOST, port)
            for number in range(10):
                message = bytes([number]) * size
                writer.write(message)
                assert await reader.readexactly(size) == message
            writer.close()
            await writer.wait_closed()

    loop.run_until_complete(main())


def test_drain_waits_for_a_slow_peer(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with streams() as ((_, writer), peer):
            total = 16 * 1024 * 1024
            await writer.drain()  # Returns at once.
            writer.write(bytes(total))
            draining = loop.create_task(writer.drain())
            await turns(5)
            assert not draining.done()
            assert len(await read_exactly(peer, total)) == total
            await asyncio.wait_for(draining, PATIENCE_S)

    loop.run_until_complete(main())


def test_several_tasks_may_drain(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with streams() as ((_, writer), peer):
            total = 16 * 1024 * 1024
            writer.write(bytes(total))
            draining = [loop.create_task(writer.drain()) for _ in range(3)]
            await turns(5)
            assert not any(task.done() for task in draining)
            await read_exactly(peer, total)
            await asyncio.wait_for(asyncio.gather(*draining), PATIENCE_S)

    loop.run_until_complete(main())


def test_drain_tells_of_a_lost_connection(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with streams() as ((_, writer), peer):
            writer.write(bytes(16 * 1024 * 1024))
            draining = loop.create_task(writer.drain())
            await turns(5)
            reset(peer)
            with pytest.raises(ConnectionError):
                await draining
            with pytest.raises(ConnectionError):
                await writer.drain()

    loop.run_until_complete(main())


def test_a_reset_reaches_the_reader(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with streams() as ((reader, writer), peer):
            reading = loop.create_task(reader.read(100))
            await turns(2)
            reset(peer)
            with pytest.raises(ConnectionResetError):
                await reading
            assert isinstance(reader.exception(), ConnectionResetError)
            with pytest.raises(ConnectionResetError):
                await reader.readline()
            with pytest.raises(ConnectionResetError):
                await writer.wait_closed()

    loop.run_until_complete(main())


def test_write_eof_and_the_answer(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with streams() as ((reader, writer), peer):
            assert writer.can_write_eof()
            writer.writelines([b"question", b"?"])
            writer.write_eof()
            assert await read_to_end(peer) == b"question?"
            peer.sendall(b"answer")
            peer.shutdown(socket.SHUT_WR)
            assert await reader.read() == b"answer"

    loop.run_until_complete(main())


def test_the_writer_tells_about_itself(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with streams() as ((_, writer), peer):
            assert writer.get_extra_info("peername") == peer.getsockname()
            assert writer.get_extra_info("sockname") == peer.getpeername()
            assert writer.get_extra_info("nothing", "default") == "default"
            assert isinstance(writer.transport, asyncio.Transport)
            assert not writer.is_closing()
            writer.close()
            assert writer.is_closing()
            await writer.wait_closed()
            await writer.wait_closed()

    loop.run_until_complete(main())


def test_wait_closed_waits_for_what_was_written(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with streams() as ((_, writer), peer):
            total = 16 * 1024 * 1024
            writer.write(bytes(total))
            writer.close()
            closing = loop.create_task(writer.wait_closed())
            await turns(5)
            assert not closing.done()
            assert len(await read_to_end(peer)) == total
            await asyncio.wait_for(closing, PATIENCE_S)

    loop.run_until_complete(main())


@pytest.mark.parametrize("method", ["read", "readline", "readexactly", "readuntil"])
def test_a_cancelled_read_loses_nothing(loop: asyncio.AbstractEventLoop, method: str) -> None:
    async def main() -> None:
        async with streams() as ((reader, _), peer):
            arguments = {"read": (100,), "readexactly": (6,)}.get(method, ())
            reading = loop.create_task(getattr(reader, method)(*arguments))
            await turns(2)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            peer.sendall(b"hello\n")
            assert await getattr(reader, method)(*arguments) == b"hello\n"

    loop.run_until_complete(main())


def test_a_read_cancelled_as_data_arrives_loses_nothing(loop: asyncio.AbstractEventLoop) -> None:
    """The waiter may already have its result when the task is cancelled."""

    async def main() -> None:
        async with streams() as ((reader, _), peer):
            for number in range(50):
                reading = loop.create_task(reader.read(100))
                await turns(1 + number % 3)
                peer.sendall(b"%03d" % number)
                await turns(number % 4)
                reading.cancel()
                try:
                    got = await reading
                except asyncio.CancelledError:
                    got = await reader.read(100)
                assert got == b"%03d" % number

    loop.run_until_complete(main())


def test_two_reads_at_once_are_refused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with streams() as ((reader, _), peer):
            reading = loop.create_task(reader.read(100))
            await turns(2)
            with pytest.raises(RuntimeError, match="another coroutine is already waiting"):
                await reader.readline()
            peer.sendall(b"hello")
            assert await reading == b"hello"

    loop.run_until_complete(main())


def test_a_raising_client_handler_is_reported(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    async def handler(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        raise ZeroDivisionError(await reader.readline())

    async def main() -> None:
        async with await asyncio.start_server(handler, LOCALHOST, 0) as server:
            with socket.create_connection((LOCALHOST, port_of(server)), PATIENCE_S) as peer:
                peer.sendall(b"hello\n")
                assert await read_to_end(peer) == b""
        (context,) = reported
        assert context["message"] == "Unhandled exception in client_connected_cb"
        assert isinstance(context["exception"], ZeroDivisionError)
        assert isinstance(context["transport"], asyncio.Transport)
        reported.clear()

    if sys.version_info < (3, 12):
        pytest.skip("before 3.12 asyncio left the connection open and the task to the collector")
    loop.run_until_complete(main())


def test_a_plain_function_may_handle_clients(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        clients: asyncio.Queue[Streams] = asyncio.Queue()
        server = await asyncio.start_server(
            lambda reader, writer: clients.put_nowait((reader, writer)), LOCALHOST, 0
        )
        async with server:
            with socket.create_connection((LOCALHOST, port_of(server)), PATIENCE_S) as peer:
                peer.sendall(b"hello\n")
                reader, writer = await asyncio.wait_for(clients.get(), PATIENCE_S)
                assert await reader.readline() == b"hello\n"
                writer.close()
                await writer.wait_closed()

    loop.run_until_complete(main())


def test_a_hundred_clients_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async def client(port: int, name: int) -> int:
        reader, writer = await asyncio.open_connection(LOCALHOST, port)
        for number in range(20):
            line = b"%d:%d:" % (name, number) + b"x" * (name * 37 % 3000) + b"\n"
            writer.write(line)
            assert await reader.readline() == line
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        return name

    async def main() -> None:
        async with echo_server() as port:
            clients = (client(port, name) for name in range(100))
            assert await asyncio.gather(*clients) == list(range(100))

    loop.run_until_complete(main())
