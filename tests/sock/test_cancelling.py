"""Cancelled at any point, a `sock_*` call leaves nothing behind and loses no data."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import yamanote
from tests.sock.pairs import cancelled, drain, fill, tcp, turns

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.sock.pairs import Pair

PATIENCE_S = 20.0

RECEIVING: dict[str, Callable[[Any, socket.socket], Coroutine[Any, Any, object]]] = {
    "recv": lambda loop, sock: loop.sock_recv(sock, 10),
    "recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(10)),
    "recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 10),
    "recvfrom_into": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(10)),
}


@pytest.mark.parametrize("name", list(RECEIVING))
@pytest.mark.parametrize("waited", [0, 1, 3])
def test_a_cancelled_receive_leaves_no_watch_and_no_hole(
    loop: asyncio.AbstractEventLoop, any_pair: Pair, name: str, waited: int
) -> None:
    ours, theirs = any_pair

    async def main() -> None:
        task = asyncio.ensure_future(RECEIVING[name](loop, ours))
        await turns(waited)
        await cancelled(task)
        await turns(1)  # asyncio stops watching one turn later.
        assert not loop.remove_reader(ours)
        theirs.send(b"whole")
        assert await loop.sock_recv(ours, 10) == b"whole"

    loop.run_until_complete(main())


def test_cancelling_with_the_data_on_its_way_loses_none(pair: Pair) -> None:
    """Asyncio's loop receives in a callback, and discards the data of a cancelled task."""
    ours, theirs = pair
    loop = yamanote.new_event_loop()

    async def main() -> None:
        for count in range(6):
            task = loop.create_task(loop.sock_recv(ours, 10))
            await turns(2)
            theirs.send(b"x")
            await turns(count)
            task.cancel()
            try:
                assert await task == b"x"
            except asyncio.CancelledError:
                assert await asyncio.wait_for(loop.sock_recv(ours, 10), PATIENCE_S) == b"x"

    loop.run_until_complete(main())
    loop.close()


def test_a_cancelled_send_leaves_no_watch(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair

    async def main() -> None:
        for data in (bytes(4_000_000), b"x"):
            task = asyncio.ensure_future(loop.sock_sendall(ours, data))
            await turns()
            await cancelled(task)
            await turns(1)
            assert not loop.remove_writer(ours)
        drain(theirs)
        await loop.sock_sendall(ours, b"after")
        assert drain(theirs).endswith(b"after")

    loop.run_until_complete(main())


def test_a_cancelled_accept_leaves_the_connection(loop: asyncio.AbstractEventLoop) -> None:
    async def main(listener: socket.socket) -> None:
        task = asyncio.ensure_future(loop.sock_accept(listener))
        await turns()
        await cancelled(task)
        await turns(1)
        assert not loop.remove_reader(listener)
        with socket.create_connection(listener.getsockname()):
            connection, _ = await loop.sock_accept(listener)
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        loop.run_until_complete(main(listener))


def test_a_cancelled_connect_leaves_no_watch(loop: asyncio.AbstractEventLoop) -> None:
    async def main(address: tuple[str, int]) -> None:
        with socket.socket() as client:
            client.setblocking(False)
            task = asyncio.ensure_future(loop.sock_connect(client, address))
            await turns()
            assert not task.done()
            await cancelled(task)
            await turns(1)
            assert not loop.remove_writer(client)

    # A full backlog: the kernel does not respond any more.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(address)
        loop.run_until_complete(main(address))
        for sock in waiting:
            sock.close()


def test_a_timeout_ends_a_wait(loop: asyncio.AbstractEventLoop, any_pair: Pair) -> None:
    ours, theirs = any_pair

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(loop.sock_recv(ours, 10), 0.001)
        await turns(1)
        assert not loop.remove_reader(ours)
        theirs.send(b"after")
        assert await asyncio.wait_for(loop.sock_recv(ours, 10), PATIENCE_S) == b"after"

    loop.run_until_complete(main())


def test_a_new_call_takes_over_from_a_cancelled_one(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    ours, theirs = pair

    async def main() -> None:
        first = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await turns()
        first.cancel()
        second = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await turns()
        theirs.send(b"x")
        assert await asyncio.wait_for(second, PATIENCE_S) == b"x"
        assert first.cancelled()

    loop.run_until_complete(main())


def test_one_direction_is_cancelled_alone(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair

    async def main() -> None:
        fill(ours)
        sending = asyncio.ensure_future(loop.sock_sendall(ours, b"x"))
        receiving = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await turns()
        await cancelled(sending)
        theirs.send(b"answer")
        assert await asyncio.wait_for(receiving, PATIENCE_S) == b"answer"

    loop.run_until_complete(main())


def test_a_cancelled_call_lets_go_of_the_socket(loop: asyncio.AbstractEventLoop) -> None:
    async def main(ours: socket.socket) -> weakref.ref[socket.socket]:
        task = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await turns()
        await cancelled(task)
        return weakref.ref(ours)

    watches: list[weakref.ref[socket.socket]] = []
    with tcp() as pair:
        watches.append(loop.run_until_complete(main(pair[0])))
        del pair
    loop.run_until_complete(turns())
    gc.collect()
    assert [watch() for watch in watches] == [None]


def test_a_call_that_is_dropped_while_it_waits_leaves_nothing(pair: Pair) -> None:
    """Asyncio's call is still watched; ours ends with its coroutine."""
    ours, _ = pair
    loop = yamanote.new_event_loop()
    call = loop.sock_recv(ours, 10)
    call.send(None)
    del call
    gc.collect()
    assert not loop.remove_reader(ours)
    loop.close()


def test_a_loop_that_is_closed_lets_go_of_what_waits(
    pair: Pair, recwarn: pytest.WarningsRecorder
) -> None:
    ours, _ = pair
    loop = yamanote.new_event_loop()
    # asyncio logs "Task was destroyed but it is pending!"
    reported: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    task = loop.create_task(loop.sock_recv(ours, 10))
    loop.run_until_complete(turns())
    watch = weakref.ref(task)
    loop.close()
    del task
    gc.collect()
    reported.clear()
    # Objects resurrected by the report: Python 3.15 clears weak references only after finalizers.
    gc.collect()
    assert watch() is None
    assert not recwarn.list
