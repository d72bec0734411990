"""Peers that violate the protocol, in each state: asyncio's exceptions, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from tests.processes import LINUX
from tests.tcp.peers import reset, turns
from tests.tcp.recorders import PATIENCE_S, Recorder
from tests.tcp.servers import LOCALHOST, outcome, port_of
from tests.tls.certificates import NAME, client_context, server_context
from tests.tls.peers import Peer, connect, everything_ends, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterator

#: What a peer may send instead of its first message.
NONSENSE = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "zeros": bytes(64),
    "ones": b"\xff" * 64,
    "sslv2": b"\x80\x2e\x01\x00\x02" + bytes(43),
    "no such type": b"\x63\x03\x03\x00\x05hello",
    "no such version": b"\x16\x09\x09\x00\x05hello",
    "too long a record": b"\x16\x03\x01\xff\xff" + bytes(200),
    "an empty handshake": b"\x16\x03\x01\x00\x00",
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "a hello of nonsense": b"\x16\x03\x01\x00\x10\x01\x00\x00\x0c" + b"\xaa" * 12,
}
NONSENSES = pytest.mark.parametrize("nonsense", list(NONSENSE.values()), ids=list(NONSENSE))


@pytest.fixture(autouse=True)
def no_descriptor_is_left(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Counts descriptors; those of the loop exist before and after."""

    def count() -> int:
        return len(os.listdir("/proc/self/fd")) if LINUX else 0

    # First, the executor's threads are started and lazy imports are done.
    loop.run_until_complete(in_thread(int))
    before = count()
    yield
    assert count() == before


async def failed(connecting: asyncio.Future[Any]) -> BaseException:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait([connecting])
    error = connecting.exception()
    assert error is not None
    return error


@NONSENSES
def test_a_server_that_talks_nonsense(loop: asyncio.AbstractEventLoop, nonsense: bytes) -> None:
    async def main() -> None:
        with socket.create_server((LOCALHOST, 0)) as listener:
            listener.settimeout(PATIENCE_S)
            host, port = listener.getsockname()
            connecting = asyncio.ensure_future(
                loop.create_connection(
                    Recorder, host, port, ssl=client_context(), server_hostname=NAME
                )
            )
            peer, _ = await in_thread(listener.accept)
            with peer:
                await in_thread(peer.sendall, nonsense)
                peer.shutdown(socket.SHUT_WR)
                error = await failed(connecting)
        assert isinstance(error, (ssl.SSLError, ConnectionResetError))

    loop.run_until_complete(main())


@NONSENSES
def test_a_client_that_talks_nonsense(loop: asyncio.AbstractEventLoop, nonsense: bytes) -> None:
    async def main() -> None:
        protocol = Recorder()
        server = await loop.create_server(lambda: protocol, LOCALHOST, 0, ssl=server_context())
        with socket.create_connection((LOCALHOST, port_of(server)), PATIENCE_S) as peer:
            peer.sendall(nonsense)
            peer.shutdown(socket.SHUT_WR)
            await in_thread(_until_gone, peer)
        # The server still works.
        peer = socket.create_connection((LOCALHOST, port_of(server)), PATIENCE_S)
        client = await in_thread(Peer(peer, server_side=False).shake_hands)
        await protocol.until_called("connection_made", 1)
        assert protocol.calls == ["connection_made"]
        client.sock.close()
        await protocol.until_lost()
        server.close()
        await server.wait_closed()
        await everything_ends()

    loop.run_until_complete(main())


def _until_gone(peer: socket.socket) -> None:
    with contextlib.suppress(ConnectionResetError):
        while peer.recv(1 << 16):
            pass


@pytest.mark.parametrize("after", [b"", b"fine so far"])
@NONSENSES
def test_nonsense_after_the_handshake(
    loop: asyncio.AbstractEventLoop, after: bytes, nonsense: bytes
) -> None:
    async def main() -> None:
        _, protocol, peer = await connect(Recorder)
        await in_thread(peer.sock.sendall, (peer.encrypted(after) if after else b"") + nonsense)
        with contextlib.suppress(OSError):
            peer.sock.shutdown(socket.SHUT_WR)
        await protocol.until_lost()
        assert protocol.lost_with is None or isinstance(protocol.lost_with, ssl.SSLError)
        peer.sock.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("where", [0, 4, 5, 40, -1])
def test_a_record_with_a_wrong_bit(loop: asyncio.AbstractEventLoop, where: int) -> None:
    async def main() -> None:
        _, protocol, peer = await connect(Recorder)
        record = bytearray(peer.encrypted(b"x" * 100))
        record[where] ^= 0x40
        await in_thread(peer.sock.sendall, bytes(record))
        with contextlib.suppress(OSError):
            peer.sock.shutdown(socket.SHUT_WR)
        await protocol.until_lost()
        assert protocol.received == b""
        peer.sock.close()

    loop.run_until_complete(main())


def test_half_a_record_and_then_silence(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        record = peer.encrypted(b"x" * 1000)
        await in_thread(peer.sock.sendall, record[:500])
        # Our own data is sent nevertheless.
        transport.write(b"hello")
        assert await in_thread(peer.read, 5) == b"hello"
        assert protocol.received == b""
        await in_thread(peer.sock.sendall, record[500:])
        await protocol.until_received(1000)
        transport.abort()
        await protocol.until_lost()
        peer.sock.close()

    loop.run_until_complete(main())


def test_half_a_hello_and_then_silence(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.create_server((LOCALHOST, 0)) as listener:
            listener.settimeout(PATIENCE_S)
            host, port = listener.getsockname()

            def half() -> socket.socket:
                sock, _ = listener.accept()
                sock.sendall(b"\x16\x03\x03\x00\x7a\x02")
                return sock

            answering = asyncio.ensure_future(in_thread(half))
            error, text = await outcome(
                lambda: loop.create_connection(
                    Recorder,
                    host,
                    port,
                    ssl=client_context(),
                    server_hostname=NAME,
                    ssl_handshake_timeout=0.05,
                )
            )
            (await answering).close()
        assert error is ConnectionAbortedError
        assert text.startswith("SSL handshake is taking longer than 0.05 seconds")

    loop.run_until_complete(main())


def _at_once(sock: socket.socket) -> None:
    del sock


def _after_the_hello(sock: socket.socket) -> None:
    sock.recv(1 << 16)


@pytest.mark.parametrize("then", [_at_once, _after_the_hello])
@pytest.mark.parametrize("end", [reset, socket.socket.close])
def test_a_server_that_goes_away_during_the_handshake(
    loop: asyncio.AbstractEventLoop,
    then: Callable[[socket.socket], None],
    end: Callable[[socket.socket], None],
) -> None:
    async def main() -> None:
        with socket.create_server((LOCALHOST, 0)) as listener:
            listener.settimeout(PATIENCE_S)
            host, port = listener.getsockname()
            connecting = asyncio.ensure_future(
                loop.create_connection(
                    Recorder, host, port, ssl=client_context(), server_hostname=NAME
                )
            )
            peer, _ = await in_thread(listener.accept)
            await in_thread(then, peer)
            end(peer)
            error = await failed(connecting)
        assert isinstance(error, OSError)

    loop.run_until_complete(main())


@pytest.mark.parametrize("said", [0, 3, 5, 100])
@pytest.mark.parametrize("end", [reset, socket.socket.close])
def test_a_client_that_goes_away_during_the_handshake(
    loop: asyncio.AbstractEventLoop, said: int, end: Callable[[socket.socket], None]
) -> None:
    async def main() -> None:
        protocol = Recorder()
        server = await loop.create_server(lambda: protocol, LOCALHOST, 0, ssl=server_context())
        for _ in range(5):
            peer = socket.create_connection((LOCALHOST, port_of(server)), PATIENCE_S)
            client = ssl.MemoryBIO()
            session = client_context().wrap_bio(ssl.MemoryBIO(), client, server_hostname=NAME)
            with contextlib.suppress(ssl.SSLWantReadError):
                session.do_handshake()
            peer.sendall(client.read()[:said])
            await asyncio.sleep(0)
            end(peer)
        last = socket.create_connection((LOCALHOST, port_of(server)), PATIENCE_S)
        await in_thread(Peer(last, server_side=False).shake_hands)
        await protocol.until_called("connection_made", 1)
        last.close()
        await protocol.until_lost()
        server.close()
        await server.wait_closed()
        await everything_ends()

    loop.run_until_complete(main())


def test_a_client_without_the_certificate_that_is_asked_for(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        protocol = Recorder()
        context = server_context(client_certificate=True)
        server = await loop.create_server(lambda: protocol, LOCALHOST, 0, ssl=context)
        peer = socket.create_connection((LOCALHOST, port_of(server)), PATIENCE_S)
        client = Peer(peer, server_side=False)
        # In TLS 1.3, the client is done before the server has verified it; asyncio sends no alert.
        await in_thread(client.shake_hands)
        with pytest.raises((EOFError, OSError)):
            await in_thread(client.read, 1)
        peer.close()
        assert protocol.calls == []
        server.close()
        await server.wait_closed()
        await everything_ends()

    loop.run_until_complete(main())


def test_the_loop_ends_while_handshakes_go_on(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> list[socket.socket]:
        server = await loop.create_server(Recorder, LOCALHOST, 0, ssl=server_context())
        peers = [
            socket.create_connection((LOCALHOST, port_of(server)), PATIENCE_S) for _ in range(3)
        ]
        while len(asyncio.all_tasks()) < 4:  # noqa: ASYNC110 - no event tells.
            await asyncio.sleep(0)
        await turns(50)
        assert len(asyncio.all_tasks()) == 4
        server.close()
        return peers

    # As at the end of `asyncio.run`: remaining tasks are cancelled.
    peers = loop.run_until_complete(main())
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    for peer in peers:
        _until_gone(peer)
        peer.close()


def test_a_server_that_closes_before_a_handshake_begins(
    loop: asyncio.AbstractEventLoop, loop_name: str
) -> None:
    """The connection is accepted; the task that shakes hands has not taken its first step."""
    if loop_name == "asyncio":
        pytest.skip("asyncio leaves the connection to the garbage collector, which warns")

    async def main() -> None:
        server = await loop.create_server(Recorder, LOCALHOST, 0, ssl=server_context())

        def make(
            loop: asyncio.AbstractEventLoop,
            work: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
            **options: Any,
        ) -> asyncio.Task[Any]:
            server.close()
            as_task: type[Any] = asyncio.Task
            task: asyncio.Task[Any] = as_task(work, loop=loop, **options)
            return task

        loop.set_task_factory(make)
        with socket.create_connection((LOCALHOST, port_of(server)), PATIENCE_S) as peer:
            await turns(5)
            loop.set_task_factory(None)
            assert not server.is_serving()
            await everything_ends()
            await in_thread(_until_gone, peer)
        await server.wait_closed()

    loop.run_until_complete(main())
