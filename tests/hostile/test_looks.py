"""The loop polls the kernel before each pass, so that data is seen after few turns."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.tcp.peers import tcp_pair, turns
from tests.tcp.recorders import BufferedRecorder, Recorder
from tests.tls.certificates import NAME, client_context, server_context

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

PAIRS = {"tcp": tcp_pair, "unix": socket.socketpair}

Ends = tuple[tuple[asyncio.Transport, Recorder], tuple[asyncio.Transport, Recorder]]


@pytest.fixture(params=list(PAIRS))
def pair(request: pytest.FixtureRequest) -> tuple[socket.socket, socket.socket]:
    """Two connected sockets."""
    one, other = PAIRS[request.param]()
    return one, other


@contextlib.asynccontextmanager
async def connected(
    pair: tuple[socket.socket, socket.socket], factory: Callable[[], Recorder] = Recorder
) -> AsyncGenerator[Ends, None]:
    """Connects a transport at each end; closes them at the end."""
    loop = asyncio.get_running_loop()
    one = await loop.create_connection(Recorder, sock=pair[0])
    other = await loop.create_connection(factory, sock=pair[1])
    yield one, other
    for transport, protocol in (one, other):
        transport.close()
        await protocol.until_lost()


@pytest.mark.parametrize("busy", [False, True], ids=["alone", "beside ready callbacks"])
def test_bytes_are_received_after_two_turns(
    loop: asyncio.AbstractEventLoop, pair: tuple[socket.socket, socket.socket], busy: bool
) -> None:
    async def main() -> None:
        stop = False

        def again() -> None:
            if not stop:
                loop.call_soon(again)

        if busy:
            again()
        async with connected(pair) as ((one, back), (other, protocol)):
            for number in range(3):
                one.write(b"%d" % number)
                await turns(2)
                assert bytes(protocol.received) == b"012"[: number + 1]
            # And back again, sent by the receiving callback.
            protocol.on["data_received"] = lambda _: other.write(b"pong")
            one.write(b"ping")
            await turns(3)
            assert bytes(back.received) == b"pong"
        stop = True

    loop.run_until_complete(main())


def test_the_end_of_the_stream_is_seen_after_two_turns(
    loop: asyncio.AbstractEventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    async def main() -> None:
        async with connected(pair) as ((one, _), (_, protocol)):
            protocol.on["eof_received"] = lambda _: True
            one.write(b"last")
            one.write_eof()
            await turns(3)
            assert protocol.calls[-2:] == ["data_received", "eof_received"]

    loop.run_until_complete(main())


def test_a_close_is_seen_after_three_turns(
    loop: asyncio.AbstractEventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    """One of the turns is needed to close the socket."""

    async def main() -> None:
        async with connected(pair) as ((one, _), (_, protocol)):
            one.close()
            await turns(3)
            assert "eof_received" in protocol.calls

    loop.run_until_complete(main())


def test_a_broadcast_reaches_everyone_after_two_turns(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        pairs = [socket.socketpair() for _ in range(20)]
        ends = [
            (
                await loop.create_connection(Recorder, sock=one),
                await loop.create_connection(BufferedRecorder, sock=other),
            )
            for one, other in pairs
        ]
        for (one, _), _ in ends:
            one.write(b"news")
        await turns(2)
        for _, (_, protocol) in ends:
            assert bytes(protocol.received) == b"news"
        for (one, own), (other, protocol) in ends:
            one.close()
            other.close()
            await own.until_lost()
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_a_stream_reader_has_the_bytes_after_two_turns(
    loop: asyncio.AbstractEventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    async def main() -> None:
        _, writer = await asyncio.open_connection(sock=pair[0])
        reader, other = await asyncio.open_connection(sock=pair[1])
        reading = asyncio.ensure_future(reader.readexactly(4))
        await turns(2)
        writer.write(b"ping")
        await turns(3)
        assert reading.done()
        assert reading.result() == b"ping"
        for each in (writer, other):
            each.close()
            await each.wait_closed()

    loop.run_until_complete(main())


def test_tls_has_the_bytes_after_two_turns(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one, other = tcp_pair()
        server, client = Recorder(), Recorder()
        (accepted, _), (transport, _) = await asyncio.gather(
            loop.connect_accepted_socket(lambda: server, one, ssl=server_context()),
            loop.create_connection(
                lambda: client, sock=other, ssl=client_context(), server_hostname=NAME
            ),
        )
        await turns(5)
        transport.write(b"ping")
        await turns(2)
        assert bytes(server.received) == b"ping"
        for each in (transport, accepted):
            each.abort()
        await client.until_lost()
        await server.until_lost()

    loop.run_until_complete(main())


def test_a_pipe_has_the_bytes_after_two_turns(loop: asyncio.AbstractEventLoop) -> None:
    class Receiver(asyncio.Protocol):
        data = b""
        ended = False

        def data_received(self, data: bytes) -> None:
            self.data += data

        def eof_received(self) -> None:
            self.ended = True

    async def main() -> None:
        read, write = os.pipe()
        reading, protocol = await loop.connect_read_pipe(Receiver, os.fdopen(read, "rb", 0))
        writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(write, "wb", 0))
        writing.write(b"ping")
        await turns(2)
        assert protocol.data == b"ping"
        writing.close()
        await turns(4)
        assert protocol.ended
        reading.close()
        await turns(3)

    loop.run_until_complete(main())


def test_a_callers_socket_is_ready_after_two_turns(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one, other = socket.socketpair()
        with one, other:
            one.setblocking(False)
            other.setblocking(False)
            found: list[bytes] = []
            loop.add_reader(other, lambda: found.append(other.recv(100)))
            one.send(b"ping")
            await turns(2)
            assert found == [b"ping"]
            loop.remove_reader(other)
            receiving = asyncio.ensure_future(loop.sock_recv(other, 100))
            await turns(2)
            await loop.sock_sendall(one, b"pong")
            await turns(3)
            assert receiving.done()
            assert await receiving == b"pong"

    loop.run_until_complete(main())


def test_a_raw_socket_beside_a_transport_is_heard_after_two_turns(
    loop: asyncio.AbstractEventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    async def main() -> None:
        ours, peer = pair
        peer.setblocking(False)
        transport, protocol = await loop.create_connection(Recorder, sock=ours)
        with peer:
            peer.send(b"ping")
            await turns(2)
            assert bytes(protocol.received) == b"ping"
            peer.shutdown(socket.SHUT_WR)
            await turns(2)
            assert "eof_received" in protocol.calls
        transport.close()
        await protocol.until_lost()

    loop.run_until_complete(main())


def test_a_datagram_is_received_after_two_turns(loop: asyncio.AbstractEventLoop) -> None:
    class Receiver(asyncio.DatagramProtocol):
        data: bytes | None = None

        def datagram_received(self, data: bytes, addr: object) -> None:
            self.data = data

    async def main() -> None:
        receiver, protocol = await loop.create_datagram_endpoint(
            Receiver, local_addr=("127.0.0.1", 0)
        )
        sender, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=receiver.get_extra_info("sockname")
        )
        sender.sendto(b"ping")
        await turns(2)
        assert protocol.data == b"ping"
        sender.close()
        receiver.close()
        await turns(3)

    loop.run_until_complete(main())
