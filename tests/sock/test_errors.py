"""Arguments that the `sock_*` calls refuse, and errors that they pass on."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from tests.sock.pairs import tcp, turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.loops import LoopFactory
    from tests.sock.pairs import Pair

    Call = Callable[[asyncio.AbstractEventLoop, socket.socket], Awaitable[Any]]

CALLS: dict[str, Call] = {
    "recv": lambda loop, sock: loop.sock_recv(sock, 10),
    "recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(10)),
    "recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 10),
    "recvfrom_into": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(10)),
    "sendall": lambda loop, sock: loop.sock_sendall(sock, b"x"),
    "sendto": lambda loop, sock: loop.sock_sendto(sock, b"x", ("127.0.0.1", 1)),
    "accept": lambda loop, sock: loop.sock_accept(sock),
    "connect": lambda loop, sock: loop.sock_connect(sock, ("127.0.0.1", 1)),
}


@pytest.fixture(params=list(CALLS))
def call(request: pytest.FixtureRequest) -> Call:
    """Makes each of the calls."""
    return CALLS[request.param]


def run(loop: asyncio.AbstractEventLoop, call: Call, sock: socket.socket) -> object:
    async def main() -> object:
        return await call(loop, sock)

    return loop.run_until_complete(main())


def test_a_blocking_socket_is_refused_in_debug_mode(
    loop: asyncio.AbstractEventLoop, call: Call
) -> None:
    loop.set_debug(True)
    with socket.socket() as sock, pytest.raises(ValueError, match="must be non-blocking"):
        run(loop, call, sock)
    with socket.socket() as sock:
        sock.settimeout(1)
        with pytest.raises(ValueError, match="must be non-blocking"):
            run(loop, call, sock)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_tls_socket_is_refused(loop: asyncio.AbstractEventLoop, call: Call) -> None:
    with socket.socket() as plain:
        plain.setblocking(False)
        context = ssl.create_default_context()
        with (
            context.wrap_socket(plain, server_hostname="x", do_handshake_on_connect=False) as sock,
            pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"),
        ):
            run(loop, call, sock)


def test_a_closed_socket_is_a_bad_descriptor(loop: asyncio.AbstractEventLoop, call: Call) -> None:
    sock = socket.socket()
    sock.setblocking(False)
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        run(loop, call, sock)
    assert caught.value.errno == errno.EBADF


def test_the_descriptor_of_a_transport_is_not_waited_for(loop: asyncio.AbstractEventLoop) -> None:
    async def main(ours: socket.socket, theirs: socket.socket) -> None:
        protocol = asyncio.Protocol()
        transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.sock_recv(ours, 10)
        # The call does not have to wait, as in asyncio.
        await loop.sock_sendall(ours, b"x")
        assert await loop.sock_recv(theirs, 10) == b"x"
        transport.abort()
        await turns()

    with tcp() as pair:
        loop.run_until_complete(main(*pair))


def test_a_reset_connection_says_so(loop: asyncio.AbstractEventLoop) -> None:
    async def main(ours: socket.socket, theirs: socket.socket) -> None:
        receiving = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await turns()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()
        with pytest.raises(ConnectionResetError) as caught:
            await receiving
        assert caught.value.args == (errno.ECONNRESET, "Connection reset by peer")
        with pytest.raises(BrokenPipeError):
            await loop.sock_sendall(ours, b"x")

    with tcp() as pair:
        loop.run_until_complete(main(*pair))


def test_a_waiting_sender_hears_of_the_peers_end(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    ours, theirs = pair

    async def main() -> None:
        sending = asyncio.ensure_future(loop.sock_sendall(ours, bytes(4_000_000)))
        await turns()
        theirs.close()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await sending

    loop.run_until_complete(main())


def test_values_are_refused_in_the_sockets_own_words(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    wrong: list[tuple[Callable[..., Awaitable[Any]], Callable[..., Any], tuple[Any, ...]]] = [
        (loop.sock_recv, ours.recv, (-1,)),
        (loop.sock_recv, ours.recv, ("10",)),
        (loop.sock_recv, ours.recv, (1 << 70,)),
        (loop.sock_recv_into, ours.recv_into, (b"constant",)),
        (loop.sock_recv_into, ours.recv_into, (None,)),
        (loop.sock_sendall, ours.send, ("text",)),
        (loop.sock_sendall, ours.send, (None,)),
        (loop.sock_sendall, ours.send, (memoryview(b"abcd")[::2],)),
        (loop.sock_sendto, ours.sendto, (b"x", 1)),
    ]

    async def main() -> None:
        for awaitable, method, arguments in wrong:
            with pytest.raises(Exception) as expected:  # noqa: PT011 - whatever it is.
                method(*arguments)
            with pytest.raises(type(expected.value)) as caught:
                await awaitable(ours, *arguments)
            assert str(caught.value) == str(expected.value)

    loop.run_until_complete(main())


def test_a_closed_loop_cannot_be_waited_on(loop_factory: LoopFactory, pair: Pair) -> None:
    ours, theirs = pair
    closed = loop_factory()
    closed.close()
    other = loop_factory()

    async def main() -> None:
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            await closed.sock_recv(ours, 10)
        # The call does not have to wait.
        theirs.send(b"x")
        assert await closed.sock_recv(ours, 10) == b"x"

    other.run_until_complete(main())
    other.close()


def test_connecting_to_a_bad_address_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    with socket.socket() as sock:
        sock.setblocking(False)
        with pytest.raises(socket.gaierror):
            loop.run_until_complete(loop.sock_connect(sock, ("no such host.invalid", 80)))
        with pytest.raises(OverflowError, match="port must be"):
            loop.run_until_complete(loop.sock_connect(sock, ("127.0.0.1", -1)))
