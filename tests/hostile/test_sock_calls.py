"""Sockets that are closed while a call of the loop's waits for them.

On asyncio such calls wait forever, because its selector is not notified. So these tests are for our
loop only.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

import yamanote
from tests.sock.pairs import turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

Anything: TypeAlias = Any  # Loops, transports and arguments of every kind.

PATIENCE_S = 20.0

Call = tuple[socket.socket, "Callable[[], Awaitable[object]]"]


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    """Closes what a test has opened."""
    with contextlib.ExitStack() as opened:
        yield opened


def pair(stack: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    """Two connected non-blocking sockets."""
    one, other = (stack.enter_context(sock) for sock in socket.socketpair())
    one.setblocking(False)
    other.setblocking(False)
    return one, other


def receiving(name: str, *arguments: Any) -> Callable[[Any, contextlib.ExitStack], Call]:
    """A call that waits for data."""

    def make(loop: Anything, stack: contextlib.ExitStack) -> Call:
        sock, _ = pair(stack)
        return sock, lambda: getattr(loop, name)(sock, *arguments)

    return make


def accepting(loop: Anything, stack: contextlib.ExitStack) -> Call:
    """A call that waits for a connection."""
    sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    sock.setblocking(False)
    return sock, lambda: loop.sock_accept(sock)


def sending(loop: Anything, stack: contextlib.ExitStack) -> Call:
    """A call that waits for writability."""
    sock, _ = pair(stack)
    return sock, lambda: loop.sock_sendall(sock, bytes(16 << 20))


def connecting(loop: Anything, stack: contextlib.ExitStack) -> Call:
    """A call that waits for a server with a full backlog."""
    server = stack.enter_context(socket.socket())
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    for _ in range(4):
        client = stack.enter_context(socket.socket())
        client.setblocking(False)
        client.connect_ex(server.getsockname())
    sock = stack.enter_context(socket.socket())
    sock.setblocking(False)
    return sock, lambda: loop.sock_connect(sock, server.getsockname())


CALLS = {
    "recv": receiving("sock_recv", 10),
    "recv_into": receiving("sock_recv_into", bytearray(10)),
    "recvfrom": receiving("sock_recvfrom", 10),
    "recvfrom_into": receiving("sock_recvfrom_into", bytearray(10)),
    "accept": accepting,
    "sendall": sending,
    "connect": connecting,
}


def close(sock: socket.socket, _: contextlib.ExitStack) -> None:
    """Closes the socket object."""
    sock.close()


def close_detached(sock: socket.socket, _: contextlib.ExitStack) -> None:
    """Closes the number after the object was detached."""
    os.close(sock.detach())


def close_and_reuse(sock: socket.socket, stack: contextlib.ExitStack) -> None:
    """Closes it, and reuses the number for another file."""
    number = sock.fileno()
    sock.close()
    one, other = pair(stack)
    assert number in (one.fileno(), other.fileno())


def close_and_keep_open(sock: socket.socket, stack: contextlib.ExitStack) -> None:
    """Closes it, but the file stays open under another number."""
    stack.enter_context(sock.dup())
    sock.close()


WAYS = [close, close_detached, close_and_reuse, close_and_keep_open]


async def outcome(task: asyncio.Task[Any]) -> BaseException | None:
    """Returns how a call ended; fails if it has not."""
    done, _ = await asyncio.wait([task], timeout=PATIENCE_S)
    assert done, "the call waits for ever"
    return task.exception()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", list(CALLS))
def test_closing_the_socket_ends_the_call(
    name: str,
    way: Callable[[socket.socket, contextlib.ExitStack], None],
    stack: contextlib.ExitStack,
) -> None:
    loop = yamanote.new_event_loop()

    async def main() -> None:
        sock, call = CALLS[name](loop, stack)

        async def waits() -> None:
            await call()

        task = asyncio.ensure_future(waits())
        await turns()
        assert not task.done()
        way(sock, stack)
        error = await outcome(task)
        assert isinstance(error, OSError), error
        assert error.errno == errno.EBADF

    loop.run_until_complete(main())
    loop.close()


def test_closing_ends_all_that_wait_on_both_sides(stack: contextlib.ExitStack) -> None:
    loop = yamanote.new_event_loop()

    async def main() -> None:
        sock, _ = pair(stack)
        tasks: list[asyncio.Task[Any]] = [
            loop.create_task(loop.sock_recv(sock, 1)) for _ in range(3)
        ]
        tasks.append(loop.create_task(loop.sock_sendall(sock, bytes(16 << 20))))
        await turns()
        sock.close()
        for task in tasks:
            assert isinstance(await outcome(task), OSError)

    loop.run_until_complete(main())
    loop.close()


def test_a_call_on_the_number_of_a_closed_socket_ends_those_of_the_old(
    stack: contextlib.ExitStack,
) -> None:
    loop = yamanote.new_event_loop()

    async def main() -> None:
        old, _ = pair(stack)
        number = old.fileno()
        orphan = loop.create_task(loop.sock_recv(old, 1))
        await turns()
        old.close()
        one, other = pair(stack)
        new, peer = (one, other) if one.fileno() == number else (other, one)
        assert new.fileno() == number
        task = loop.create_task(loop.sock_recv(new, 1))
        assert isinstance(await outcome(orphan), OSError)
        assert not task.done()
        peer.send(b"x")
        assert await asyncio.wait_for(task, PATIENCE_S) == b"x"

    loop.run_until_complete(main())
    loop.close()


def test_a_loop_that_was_stopped_meanwhile_notices_when_it_runs_again(
    stack: contextlib.ExitStack,
) -> None:
    loop = yamanote.new_event_loop()
    sock, _ = pair(stack)
    task = loop.create_task(loop.sock_recv(sock, 1))
    loop.run_until_complete(asyncio.sleep(0))
    sock.close()
    assert isinstance(loop.run_until_complete(outcome(task)), OSError)
    loop.close()


def test_a_reader_on_the_same_socket_is_left_alone(stack: contextlib.ExitStack) -> None:
    """Asyncio calls no reader of a closed descriptor, and does not remove it."""
    loop = yamanote.new_event_loop()

    async def main() -> None:
        sock, _ = pair(stack)
        number = sock.fileno()
        called: list[int] = []
        loop.add_reader(number, called.append, 1)
        task = loop.create_task(loop.sock_sendall(sock, bytes(16 << 20)))
        await turns()
        sock.close()
        assert isinstance(await outcome(task), OSError)
        assert called == []
        assert loop.remove_reader(number)

    loop.run_until_complete(main())
    loop.close()


def test_shutting_down_ends_calls_as_the_kernel_says(
    loop: asyncio.AbstractEventLoop, stack: contextlib.ExitStack
) -> None:
    async def main() -> None:
        sock, _ = pair(stack)
        reading = asyncio.ensure_future(loop.sock_recv(sock, 1))
        writing = asyncio.ensure_future(loop.sock_sendall(sock, bytes(16 << 20)))
        await turns()
        sock.shutdown(socket.SHUT_RDWR)
        assert await asyncio.wait_for(reading, PATIENCE_S) == b""
        with pytest.raises(BrokenPipeError):
            await asyncio.wait_for(writing, PATIENCE_S)

    loop.run_until_complete(main())
