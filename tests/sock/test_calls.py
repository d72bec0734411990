"""The behaviour of each `sock_*` call."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.sock.pairs import drain, fill, tcp, turns, udp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from _typeshed import WriteableBuffer

    from tests.sock.pairs import Pair

PATIENCE_S = 20.0


def test_what_is_there_is_received_at_once(loop: asyncio.AbstractEventLoop, any_pair: Pair) -> None:
    ours, theirs = any_pair

    async def main() -> None:
        await loop.sock_sendall(theirs, b"one")
        assert await loop.sock_recv(ours, 100) == b"one"
        await loop.sock_sendall(theirs, b"two")
        buffer = bytearray(10)
        assert await loop.sock_recv_into(ours, buffer) == 3
        assert buffer[:3] == b"two"

    loop.run_until_complete(main())


def test_what_is_not_there_is_waited_for(loop: asyncio.AbstractEventLoop, any_pair: Pair) -> None:
    ours, theirs = any_pair

    async def main() -> None:
        receiving = asyncio.ensure_future(loop.sock_recv(ours, 100))
        await turns()
        assert not receiving.done()
        await loop.sock_sendall(theirs, b"one")
        assert await asyncio.wait_for(receiving, PATIENCE_S) == b"one"
        buffer = bytearray(10)
        filling = asyncio.ensure_future(loop.sock_recv_into(ours, buffer))
        await turns()
        await loop.sock_sendall(theirs, b"two")
        assert await asyncio.wait_for(filling, PATIENCE_S) == 3
        assert buffer[:3] == b"two"

    loop.run_until_complete(main())


def test_no_more_is_received_than_was_asked_for(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    ours, theirs = pair
    theirs.send(bytes(range(256)))

    async def main() -> None:
        assert await loop.sock_recv(ours, 10) == bytes(range(10))
        assert await loop.sock_recv(ours, 0) == b""
        assert await loop.sock_recv(ours, 100_000) == bytes(range(10, 256))
        assert await loop.sock_recv_into(ours, bytearray()) == 0

    loop.run_until_complete(main())


@pytest.mark.parametrize("size", [1, 4096, 4097, 65536, 262144, 1_000_000])
def test_a_message_of_any_size_comes_through(
    loop: asyncio.AbstractEventLoop, pair: Pair, size: int
) -> None:
    ours, theirs = pair
    message = bytes(number % 251 for number in range(size))

    async def main() -> None:
        sending = asyncio.ensure_future(loop.sock_sendall(theirs, message))
        received = bytearray()
        while len(received) < size:
            received += await loop.sock_recv(ours, size)
        await sending
        assert received == message

    loop.run_until_complete(main())


def test_the_end_of_the_stream_is_empty(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair

    async def main() -> None:
        receiving = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await turns()
        theirs.close()
        assert await receiving == b""
        assert await loop.sock_recv_into(ours, bytearray(10)) == 0

    loop.run_until_complete(main())


def test_a_datagram_comes_with_its_address(loop: asyncio.AbstractEventLoop) -> None:
    async def main(ours: socket.socket, theirs: socket.socket) -> None:
        assert await loop.sock_sendto(theirs, b"first", ours.getsockname()) == 5
        assert await loop.sock_recvfrom(ours, 100) == (b"first", theirs.getsockname())
        receiving = asyncio.ensure_future(loop.sock_recvfrom(ours, 100))
        await turns()
        await loop.sock_sendto(theirs, b"second", ours.getsockname())
        assert await receiving == (b"second", theirs.getsockname())
        assert await loop.sock_sendto(theirs, b"", ours.getsockname()) == 0
        assert await loop.sock_recvfrom(ours, 100) == (b"", theirs.getsockname())

    with udp() as pair:
        loop.run_until_complete(main(*pair))
    if socket.has_ipv6:
        with udp(socket.AF_INET6) as pair:
            loop.run_until_complete(main(*pair))


def test_a_datagram_is_received_into_a_buffer(loop: asyncio.AbstractEventLoop) -> None:
    async def main(ours: socket.socket, theirs: socket.socket) -> None:
        buffer = bytearray(8)
        for limit, received in [(0, 5), (3, 3)]:
            receiving = asyncio.ensure_future(loop.sock_recvfrom_into(ours, buffer, limit))
            await turns()
            await loop.sock_sendto(theirs, b"abcde", ours.getsockname())
            assert await receiving == (received, theirs.getsockname())
        theirs.send(b"ABCDE")
        assert (await loop.sock_recvfrom_into(ours, buffer))[0] == 5
        assert buffer == b"ABCDE\0\0\0"

    with udp() as pair:
        loop.run_until_complete(main(*pair))


def test_a_unix_datagram_comes_with_its_path(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    async def main(ours: socket.socket, theirs: socket.socket) -> None:
        await loop.sock_sendto(theirs, b"anonymous", str(tmp_path / "ours"))
        assert await loop.sock_recvfrom(ours, 100) == (b"anonymous", None)
        theirs.bind(str(tmp_path / "theirs"))
        await loop.sock_sendto(theirs, b"named", str(tmp_path / "ours"))
        assert await loop.sock_recvfrom(ours, 100) == (b"named", str(tmp_path / "theirs"))

    ours, theirs = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        ours.bind(str(tmp_path / "ours"))
        loop.run_until_complete(main(ours, theirs))


@pytest.mark.parametrize(
    "convert", [bytes, bytearray, memoryview], ids=["bytes", "bytearray", "memoryview"]
)
def test_all_is_sent_however_slow_the_peer(
    loop: asyncio.AbstractEventLoop,
    pair: Pair,
    convert: Callable[[bytes], bytes | bytearray | memoryview],
) -> None:
    ours, theirs = pair
    message = bytes(number % 251 for number in range(2_000_000))

    async def main() -> None:
        sending = asyncio.ensure_future(loop.sock_sendall(ours, convert(message)))
        received = bytearray()
        while len(received) < len(message):
            received += await loop.sock_recv(theirs, 50_000)
        await sending
        assert received == message

    loop.run_until_complete(main())


def test_what_is_being_sent_keeps_its_size(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair
    message = bytearray(2_000_000)

    async def main() -> None:
        sending = asyncio.ensure_future(loop.sock_sendall(ours, message))
        await turns()
        with pytest.raises(BufferError):
            message.clear()
        while not sending.done():
            drain(theirs)
            await asyncio.sleep(0)
        await sending

    loop.run_until_complete(main())
    message.clear()


def test_a_datagram_waits_for_room(loop: asyncio.AbstractEventLoop) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        try:
            while True:
                ours.send(b"x")
        except BlockingIOError:
            pass

        async def main() -> None:
            sending = asyncio.ensure_future(loop.sock_sendall(ours, b"last"))
            await turns()
            assert not sending.done()
            received = b""
            while received != b"last":
                received = await asyncio.wait_for(loop.sock_recv(theirs, 10), PATIENCE_S)
            await sending

        loop.run_until_complete(main())


def test_a_connection_is_accepted_when_it_comes(loop: asyncio.AbstractEventLoop) -> None:
    async def main(listener: socket.socket) -> None:
        for waits in (True, False):
            client = socket.socket()
            if not waits:
                client.connect(listener.getsockname())
            accepting = asyncio.ensure_future(loop.sock_accept(listener))
            await turns()
            if waits:
                assert not accepting.done()
                client.connect(listener.getsockname())
            connection, address = await asyncio.wait_for(accepting, PATIENCE_S)
            with client, connection:
                assert address == client.getsockname()
                assert connection.gettimeout() == 0

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        loop.run_until_complete(main(listener))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_connecting_takes_addresses_and_names(loop: asyncio.AbstractEventLoop, host: str) -> None:
    async def main(listener: socket.socket) -> None:
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, (host, listener.getsockname()[1]))
            assert client.getpeername() == listener.getsockname()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        loop.run_until_complete(main(listener))


def test_connecting_to_a_path(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "listener"))
        listener.listen()
        client.setblocking(False)
        loop.run_until_complete(loop.sock_connect(client, str(tmp_path / "listener")))
        assert client.getpeername() == str(tmp_path / "listener")
    with socket.socket(socket.AF_UNIX) as other:
        other.setblocking(False)
        connecting = loop.sock_connect(other, str(tmp_path / "nobody"))
        with pytest.raises(FileNotFoundError):
            loop.run_until_complete(connecting)


def test_a_refused_connection_names_the_address(loop: asyncio.AbstractEventLoop) -> None:
    with socket.socket() as unused, socket.socket() as client:
        unused.bind(("127.0.0.1", 0))
        client.setblocking(False)
        address = unused.getsockname()
        with pytest.raises(ConnectionRefusedError) as caught:
            loop.run_until_complete(loop.sock_connect(client, address))
        assert caught.value.errno == errno.ECONNREFUSED
        assert str(caught.value).endswith(f"Connect call failed {address}")


def test_both_directions_wait_at_the_same_time(loop: asyncio.AbstractEventLoop) -> None:
    async def main(ours: socket.socket, theirs: socket.socket) -> None:
        filled = fill(ours)
        sending = asyncio.ensure_future(loop.sock_sendall(ours, b"last"))
        receiving = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await turns()
        theirs.send(b"answer")
        assert await asyncio.wait_for(receiving, PATIENCE_S) == b"answer"
        assert not sending.done()
        received = bytearray()
        while len(received) < filled + 4:
            received += await asyncio.wait_for(loop.sock_recv(theirs, 1 << 20), PATIENCE_S)
        assert received.endswith(b"last")
        await sending

    with tcp() as pair:
        loop.run_until_complete(main(*pair))


def test_what_comes_between_the_try_and_the_wait_is_noticed(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    """With edge-triggered readiness, this event would be lost."""
    ours, theirs = pair

    async def main() -> None:
        for number in range(50):
            receiving = loop.create_task(loop.sock_recv(ours, 10))
            if number % 2:
                await asyncio.sleep(0)
            theirs.send(b"x")
            assert await asyncio.wait_for(receiving, PATIENCE_S) == b"x"

    loop.run_until_complete(main())


def test_a_loop_waits_asleep(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair

    async def main() -> None:
        loop.call_later(0.02, theirs.send, b"late")
        assert await loop.sock_recv(ours, 10) == b"late"

    loop.run_until_complete(main())


def test_arguments_go_by_name(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair

    async def main() -> None:
        await loop.sock_sendall(sock=theirs, data=b"abc")
        await loop.sock_sendall(theirs, data=b"def")
        recv: Any = loop.sock_recv
        assert (await recv(sock=ours, n=3)) == b"abc"
        assert (await recv(ours, n=0)) == b""

    loop.run_until_complete(main())


@pytest.mark.parametrize("arguments", [(), (1, 2, 3)])
def test_wrong_arguments_are_a_type_error(
    loop: asyncio.AbstractEventLoop, arguments: tuple[Any, ...]
) -> None:
    for name in ("sock_recv", "sock_recv_into", "sock_recvfrom", "sock_sendall"):
        with pytest.raises(TypeError, match=name):
            getattr(loop, name)(*arguments)
    accept: Any = loop.sock_accept
    with pytest.raises(TypeError, match="unexpected keyword"):
        accept(1, surprise=2)


def test_a_socket_of_another_class_is_asked_by_its_methods(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    """Sockets of proxies and tunnels override these methods."""
    calls: list[str] = []

    class Loud(socket.socket):
        """Changes the data to upper case, and records its calls."""

        def recv(self, *arguments: Any) -> bytes:
            calls.append("recv")
            return super().recv(*arguments).upper()

        def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
            calls.append("recv_into")
            return super().recv_into(buffer, nbytes, flags)

        def send(self, *arguments: Any) -> int:
            calls.append("send")
            return super().send(*arguments)

    ours, theirs = pair
    with Loud(fileno=ours.detach()) as loud:
        loud.setblocking(False)

        async def main() -> None:
            receiving = asyncio.ensure_future(loop.sock_recv(loud, 10))
            await turns()
            theirs.send(b"quiet")
            assert await receiving == b"QUIET"
            assert calls == ["recv", "recv"]
            theirs.send(b"x")
            await loop.sock_recv_into(loud, bytearray(1))
            message = bytes(2_000_000)
            sending = asyncio.ensure_future(loop.sock_sendall(loud, message))
            received = 0
            while received < len(message):
                received += len(await loop.sock_recv(theirs, 1 << 20))
            await sending
            assert calls[2] == "recv_into"
            assert calls.count("send") > 1

        loop.run_until_complete(main())
