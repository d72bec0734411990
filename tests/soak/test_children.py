"""Hundreds of children start and end in every way, and leave no trace in the process."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING

import pytest

from tests.processes import LINUX, children
from tests.soak.resources import smallest_growth

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Way = Callable[[], Awaitable[asyncio.SubprocessTransport | None]]

pytestmark = [
    pytest.mark.skipif(not LINUX, reason="looks into /proc"),
    pytest.mark.slow,
    pytest.mark.hang_after(120),
]

CHILDREN = 60
#: The smallest growth of a round was 0 on either loop; a leaked transport alone has 3 KiB.
GROWTH_BYTES_PER_CHILD = 1024

PIPE = subprocess.PIPE


class Protocol(asyncio.SubprocessProtocol):
    """Notifies when everything is over."""

    def __init__(self) -> None:
        """Start without a result."""
        self.over = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        """Everything is over."""
        self.over.set()


async def well_used() -> asyncio.SubprocessTransport:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(Protocol, "cat")
    pipe = transport.get_pipe_transport(0)
    assert isinstance(pipe, asyncio.WriteTransport)
    pipe.write(bytes(1000))
    pipe.write_eof()
    await protocol.over.wait()
    transport.close()
    return transport


async def communicated() -> None:
    child = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, stderr=PIPE)
    assert await child.communicate(b"data") == (b"data", b"")


async def killed() -> asyncio.SubprocessTransport:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(Protocol, "cat")
    transport.kill()
    await protocol.over.wait()
    transport.close()
    return transport


async def closed() -> asyncio.SubprocessTransport:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(Protocol, "cat")
    transport.close()
    await protocol.over.wait()
    return transport


async def not_found() -> None:
    with pytest.raises(FileNotFoundError):
        await asyncio.create_subprocess_exec("/no/such/program", stdin=PIPE, stdout=PIPE)


async def cancelled() -> None:
    task = asyncio.ensure_future(asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE))
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


WAYS: list[Way] = [well_used, communicated, killed, closed, not_found, cancelled]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_children_that_have_come_and_gone_leave_nothing_behind(
    loop: asyncio.AbstractEventLoop, loop_name: str, way: Way
) -> None:
    if loop_name == "asyncio" and sys.version_info < (3, 12):
        pytest.skip("a thread waits for each child, and ends at an unknown time")
    watched: list[weakref.ref[asyncio.SubprocessTransport]] = []

    async def some() -> None:
        for _ in range(CHILDREN):
            transport = await way()
            if transport is not None:
                watched.append(weakref.ref(transport))
        # The last `connection_lost` is called in a later turn.
        for _ in range(5):
            await asyncio.sleep(0)

    loop.run_until_complete(some())
    processes = children()
    bound = CHILDREN * GROWTH_BYTES_PER_CHILD
    assert smallest_growth(lambda: loop.run_until_complete(some()), bound) < bound
    assert children() == processes
    assert [transport() for transport in watched] == [None] * len(watched)
