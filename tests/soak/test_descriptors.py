"""Ten thousand descriptors, watched and closed in every order, leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.processes import LINUX
from tests.soak.resources import smallest_growth

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = [
    pytest.mark.skipif(not LINUX, reason="looks into /proc"),
    pytest.mark.slow,
]

DESCRIPTORS = 10_000
#: Watched at once; each number is reused a hundred times.
TOGETHER = 100
#: Ten thousand leaks of a hundred bytes would be 1 MiB; measured: at most 0.1 MiB.
GROWTH_BYTES = 1024 * 1024


def watched() -> int:
    """Returns the number of descriptors watched by the epoll sets of this process."""
    total = 0
    for entry in Path("/proc/self/fdinfo").iterdir():
        # The descriptor used by the listing itself is gone.
        with contextlib.suppress(FileNotFoundError):
            total += entry.read_text().count("tfd:")
    return total


async def batch(loop: asyncio.AbstractEventLoop, close_first: bool) -> None:
    """Watches `TOGETHER` descriptors with readers, then removes them."""
    pairs = [socket.socketpair() for _ in range(TOGETHER // 2)]
    called = asyncio.Semaphore(0)

    def read(sock: socket.socket) -> None:
        sock.recv(1)
        called.release()

    for pair in pairs:
        for sock, other in (pair, pair[::-1]):
            sock.setblocking(False)
            loop.add_reader(sock, read, sock)
            other.send(b"x")
    for _ in range(TOGETHER):
        await called.acquire()
    for pair in pairs:
        for sock in pair:
            number = sock.fileno()
            if close_first:
                sock.close()
            assert loop.remove_reader(number)
            sock.close()


async def calls(loop: asyncio.AbstractEventLoop, close_first: bool) -> None:
    """Makes calls that wait on `TOGETHER` descriptors; half of them are cancelled."""
    pairs = [socket.socketpair() for _ in range(TOGETHER // 2)]
    tasks: list[asyncio.Task[bytes]] = []
    for pair in pairs:
        for sock in pair:
            sock.setblocking(False)
            tasks.append(loop.create_task(loop.sock_recv(sock, 1)))
    await asyncio.sleep(0)
    for pair in pairs:
        pair[1].send(b"x")
        if close_first:
            pair[1].close()
    for task in tasks[1::2]:
        task.cancel()
    assert await asyncio.gather(*tasks[::2]) == [b"x"] * len(pairs)
    await asyncio.gather(*tasks, return_exceptions=True)
    for pair in pairs:
        for sock in pair:
            sock.close()


@pytest.mark.parametrize("close_first", [False, True], ids=["remove-first", "close-first"])
@pytest.mark.parametrize("use", [batch, calls], ids=["readers", "calls"])
@pytest.mark.hang_after(120)
def test_descriptors_come_and_go_without_a_trace(
    loop: asyncio.AbstractEventLoop,
    use: Callable[[asyncio.AbstractEventLoop, bool], Awaitable[None]],
    close_first: bool,
) -> None:
    async def some(batches: int) -> None:
        for _ in range(batches):
            await use(loop, close_first)

    loop.run_until_complete(some(5))
    before = watched()
    grown = smallest_growth(
        lambda: loop.run_until_complete(some(DESCRIPTORS // TOGETHER)), GROWTH_BYTES
    )
    assert grown < GROWTH_BYTES
    assert watched() == before
