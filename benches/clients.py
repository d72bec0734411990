"""The cost of being a client: CPU time of this process, whose server is in another one.

`python benches/clients.py --loop yamanote` measures one loop in this process and prints JSON.
`compare.py` starts a new process for each loop and round. Every loop has the same server, on
asyncio.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import sys
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

import micro
import pairs
import server
from process import Process

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SERVER = Path(__file__).with_name("server.py")

#: Connections that a crawl has at once, and in all.
AT_ONCE, CRAWL = 100, 1000

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
RESPONSE = server.HTTP_HEAD + server.HTTP_BODY


@functools.cache
def port_of(mode: str) -> int:
    """Return the port of a server in that mode, which ends with this process."""
    process = Process([Path(sys.executable), SERVER, "--loop", "asyncio", "--mode", mode])
    atexit.register(process.__exit__, None, None, None)
    return int(process.read_line())


def repeated(
    loop: asyncio.AbstractEventLoop, operations: int, once: Callable[[], Awaitable[object]]
) -> micro.Timed:
    """Await `once`, time after time."""

    async def main() -> None:
        for _ in repeat(None, operations):
            await once()

    return lambda: loop.run_until_complete(main())


def connect_protocol(loop: asyncio.AbstractEventLoop, operations: int) -> micro.Timed:
    """Connect with `create_connection`, send a byte, get it back and close."""
    port = port_of("protocol")

    async def once() -> None:
        closed: asyncio.Future[None] = loop.create_future()
        await loop.create_connection(lambda: pairs.Asks(closed), server.HOST, port)
        await closed

    return repeated(loop, operations, once)


def connect_streams(loop: asyncio.AbstractEventLoop, operations: int) -> micro.Timed:
    """Do the same with `open_connection`."""
    port = port_of("protocol")
    return repeated(loop, operations, lambda: pairs.ask(port))


def crawler(loop: asyncio.AbstractEventLoop, operations: int) -> micro.Timed:
    """Fetch a page over a connection of its own, a hundred of a thousand at a time."""
    port = port_of("http")

    async def fetch(turn: asyncio.Semaphore) -> None:
        async with turn:
            reader, writer = await asyncio.open_connection(server.HOST, port)
            writer.write(REQUEST)
            assert await reader.read() == RESPONSE
            writer.close()
            await writer.wait_closed()

    async def crawl(pages: int) -> None:
        turn = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*[fetch(turn) for _ in repeat(None, pages)])

    async def main() -> None:
        for done in range(0, operations, CRAWL):
            await crawl(min(CRAWL, operations - done))

    return lambda: loop.run_until_complete(main())


def httpx(loop: asyncio.AbstractEventLoop, operations: int) -> micro.Timed:
    """Request with httpx, without keep-alive."""
    import httpx

    url = f"http://{server.HOST}:{port_of('http')}/"

    async def main() -> None:
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(limits=limits, trust_env=False) as client:
            for _ in repeat(None, operations):
                response = await client.get(url)
                assert response.content == server.HTTP_BODY

    return lambda: loop.run_until_complete(main())


def aiohttp(loop: asyncio.AbstractEventLoop, operations: int) -> micro.Timed:
    """Request with aiohttp, without keep-alive."""
    import aiohttp

    url = f"http://{server.HOST}:{port_of('http')}/"

    async def main() -> None:
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            for _ in repeat(None, operations):
                async with session.get(url) as response:
                    assert await response.read() == server.HTTP_BODY

    return lambda: loop.run_until_complete(main())


WORKLOADS = {
    workload.__name__: micro.Workload(workload.__name__, operations, workload)
    for workload, operations in (
        (connect_protocol, 2_000),
        (connect_streams, 2_000),
        (crawler, 2_000),
        (httpx, 400),
        (aiohttp, 1_000),
    )
}


if __name__ == "__main__":
    micro.main(WORKLOADS)
