"""Several waits, replaced waits, and descriptors that are closed or reused meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import yamanote
from tests.processes import LINUX
from tests.sock.pairs import cancelled, turns, unix_stream

if TYPE_CHECKING:
    from tests.loops import LoopFactory
    from tests.sock.pairs import Pair

PATIENCE_S = 20.0


def test_a_thousand_calls_wait_together(loop: asyncio.AbstractEventLoop) -> None:
    async def echo(sock: socket.socket) -> None:
        while data := await loop.sock_recv(sock, 1000):
            await loop.sock_sendall(sock, data)

    async def ask(sock: socket.socket, number: int) -> None:
        for turn in range(3):
            question = b"%d/%d" % (number, turn)
            receiving = asyncio.ensure_future(loop.sock_recv(sock, 1000))
            await turns(1)
            await loop.sock_sendall(sock, question)
            assert await receiving == question
        sock.close()

    async def main() -> None:
        with contextlib.ExitStack() as stack:
            pairs = [stack.enter_context(unix_stream()) for _ in range(400)]
            await asyncio.gather(
                *(echo(theirs) for _, theirs in pairs),
                *(ask(ours, number) for number, (ours, _) in enumerate(pairs)),
            )

    loop.run_until_complete(asyncio.wait_for(main(), PATIENCE_S))


def test_several_calls_of_one_socket_are_all_served(pair: Pair) -> None:
    """On asyncio, the last call replaces the others, which never complete."""
    ours, theirs = pair
    loop = yamanote.new_event_loop()

    async def main() -> None:
        tasks = [loop.create_task(loop.sock_recv(ours, 1)) for _ in range(20)]
        await turns()
        await cancelled(tasks.pop(7))
        theirs.send(bytes(range(19)))
        received = await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_S)
        assert sorted(received) == [bytes([number]) for number in range(19)]
        assert not loop.remove_reader(ours)

    loop.run_until_complete(main())
    loop.close()


def test_a_reader_takes_the_place_of_a_call(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair

    async def main() -> None:
        task = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await turns()
        called = asyncio.Event()
        loop.add_reader(ours, called.set)
        theirs.send(b"x")
        await asyncio.wait_for(called.wait(), PATIENCE_S)
        assert not task.done()
        # Its end does not remove the reader.
        await cancelled(task)
        await turns()
        called.clear()
        await asyncio.wait_for(called.wait(), PATIENCE_S)
        assert loop.remove_reader(ours)

    loop.run_until_complete(main())


def test_a_call_takes_the_place_of_a_reader(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair

    async def main() -> None:
        calls: list[int] = []
        loop.add_reader(ours, calls.append, 1)
        task = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await turns()
        theirs.send(b"x")
        assert await asyncio.wait_for(task, PATIENCE_S) == b"x"
        await turns()
        assert calls == []
        assert not loop.remove_reader(ours)

    loop.run_until_complete(main())


def test_a_writer_and_a_receive_are_independent(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    ours, theirs = pair

    async def main() -> None:
        writable = asyncio.Event()

        async def is_called() -> None:
            for _ in range(2):
                writable.clear()
                await asyncio.wait_for(writable.wait(), PATIENCE_S)

        receiving = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await turns()
        loop.add_writer(ours, writable.set)
        await is_called()
        theirs.send(b"x")
        assert await asyncio.wait_for(receiving, PATIENCE_S) == b"x"
        await is_called()
        receiving = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await is_called()
        assert loop.remove_writer(ours)
        writable.clear()
        theirs.send(b"y")
        assert await asyncio.wait_for(receiving, PATIENCE_S) == b"y"
        assert not writable.is_set()

    loop.run_until_complete(main())


def test_removing_the_reader_puts_a_call_off(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair

    async def main() -> None:
        task = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await turns()
        assert loop.remove_reader(ours)
        theirs.send(b"x")
        await turns()
        assert not task.done()
        await cancelled(task)
        assert await loop.sock_recv(ours, 10) == b"x"

    loop.run_until_complete(main())


def test_a_number_that_is_used_again_gets_its_own_events(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        for _ in range(20):
            with unix_stream() as (ours, theirs):
                task = asyncio.ensure_future(loop.sock_recv(ours, 10))
                await turns(1)
                theirs.send(b"x")
                assert await asyncio.wait_for(task, PATIENCE_S) == b"x"

    loop.run_until_complete(main())


def test_a_socket_closed_under_a_call_does_not_disturb_its_successor(pair: Pair) -> None:
    """On asyncio the successor's wait fails: the selector still has the number registered."""
    loop = yamanote.new_event_loop()

    async def main() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        number = ours.fileno()
        orphan = loop.create_task(loop.sock_recv(ours, 10))
        await turns()
        ours.close()
        os.dup2(pair[0].fileno(), number)
        with theirs, socket.socket(fileno=number) as successor:
            task = loop.create_task(loop.sock_recv(successor, 10))
            await turns()
            pair[1].send(b"x")
            assert await asyncio.wait_for(task, PATIENCE_S) == b"x"
            # The orphaned call was woken, too, and has found its socket closed.
            with pytest.raises(OSError, match="Bad file descriptor"):
                await asyncio.wait_for(orphan, PATIENCE_S)

    loop.run_until_complete(main())
    loop.close()


def test_a_number_that_became_another_file_is_watched_anew(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Even without the socket object knowing, by `dup2`."""

    async def main() -> None:
        with unix_stream() as (ours, theirs), unix_stream() as (other, its_peer):
            for _ in range(2):
                task = asyncio.ensure_future(loop.sock_recv(ours, 10))
                await turns(1)
                theirs.send(b"x")
                assert await asyncio.wait_for(task, PATIENCE_S) == b"x"
            os.dup2(other.fileno(), ours.fileno())
            task = asyncio.ensure_future(loop.sock_recv(ours, 10))
            await turns(1)
            its_peer.send(b"y")
            assert await asyncio.wait_for(task, PATIENCE_S) == b"y"

    loop.run_until_complete(main())


def test_a_file_that_lives_on_under_another_number_wakes_no_call(pair: Pair) -> None:
    """Closed with a call waiting, but kept open by a duplicate that becomes ready."""
    loop = yamanote.new_event_loop()

    async def main() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        number = ours.fileno()
        orphan = loop.create_task(loop.sock_recv(ours, 10))
        await turns()
        duplicate = ours.dup()
        ours.close()
        os.dup2(pair[0].fileno(), number)
        with theirs, duplicate, socket.socket(fileno=number) as successor:
            task = loop.create_task(loop.sock_recv(successor, 10))
            await turns()
            theirs.send(b"stray")
            await turns(10)
            assert not task.done()
            pair[1].send(b"x")
            assert await asyncio.wait_for(task, PATIENCE_S) == b"x"
            orphan.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await orphan

    loop.run_until_complete(main())
    loop.close()


def test_two_loops_wait_for_one_file(loop_factory: LoopFactory) -> None:
    with unix_stream() as (ours, theirs):
        received: list[bytes] = []
        waiting = threading.Barrier(3)

        def work() -> None:
            loop = loop_factory()

            async def main() -> None:
                with ours.dup() as mine:
                    mine.setblocking(False)
                    task = asyncio.ensure_future(loop.sock_recv(mine, 1))
                    await turns()
                    await loop.run_in_executor(None, waiting.wait)
                    received.append(await asyncio.wait_for(task, PATIENCE_S))

            loop.run_until_complete(main())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        waiting.wait()
        theirs.send(b"ab")
        for thread in threads:
            thread.join()
        assert sorted(received) == [b"a", b"b"]


@pytest.mark.skipif(not LINUX, reason="looks into /proc")
def test_the_kernel_watches_nothing_for_a_cancelled_call(pair: Pair) -> None:
    def watched() -> int:
        total = 0
        for entry in Path("/proc/self/fdinfo").iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += entry.read_text().count("tfd:")
        return total

    loop = yamanote.new_event_loop()

    async def main() -> None:
        before = watched()
        task = loop.create_task(loop.sock_recv(pair[0], 10))
        await turns()
        assert watched() == before + 1
        await cancelled(task)
        assert watched() == before
        with unix_stream() as (ours, theirs):
            task = loop.create_task(loop.sock_recv(ours, 10))
            await turns()
            theirs.send(b"x")
            assert await task == b"x"
        assert watched() == before

    loop.run_until_complete(main())
    loop.close()
