"""Tests the example's clients with servers on the same loop, on yamanote and on asyncio.

With REDIS_URL the Redis tests use a real server; without it, the small one in this file.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from rust_extension import Client, Redis

import yamanote

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    Run = Callable[[Coroutine[Any, Any, None]], None]
    Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "yamanote": yamanote.new_event_loop,
}


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on a new loop of each kind."""

    def run(main: Coroutine[Any, Any, None]) -> None:
        yamanote.run(main, loop_factory=LOOPS[request.param])

    return run


@asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[int]:
    """Runs a server on a free port; the connections that clients keep open are cut at the end."""
    writers: set[asyncio.StreamWriter] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            await handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in list(writers):
            writer.transport.abort()
        await server.wait_closed()


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Replies to each request with its method, path and body."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split(" ", 2)
        length = 0
        for line in head.split("\r\n"):
            if line.lower().startswith("content-length:"):
                length = int(line.split(":")[1])
        body = f"{method} {path} ".encode() + await reader.readexactly(length)
        status = "404 Not Found" if path == "/missing" else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Reads until the client disconnects."""
    while await reader.read(1024):
        pass


async def redis(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Implements the part of the Redis protocol that the example uses."""
    values: dict[bytes, bytes] = {}
    while True:
        count = int((await reader.readline())[1:] or b"0")
        if count == 0:
            return
        words: list[bytes] = []
        for _ in range(count):
            size = int((await reader.readline())[1:])
            words.append((await reader.readexactly(size + 2))[:-2])
        match [words[0].upper(), *words[1:]]:
            case [b"SET", key, value]:
                values[key] = value
                answer = b"+OK\r\n"
            case [b"GET", key]:
                found = values.get(key)
                answer = b"$-1\r\n" if found is None else b"$%d\r\n%s\r\n" % (len(found), found)
            case [b"INCR", key]:
                try:
                    values[key] = b"%d" % (int(values.get(key, b"0")) + 1)
                    answer = b":%s\r\n" % values[key]
                except ValueError:
                    answer = b"-ERR value is not an integer or out of range\r\n"
            case _:
                answer = b"+OK\r\n"
        writer.write(answer)
        await writer.drain()


@asynccontextmanager
async def redis_server() -> AsyncGenerator[str]:
    """The URL of a server."""
    if url := os.environ.get("REDIS_URL"):
        yield url
        return
    async with serving(redis) as port:
        yield f"redis://127.0.0.1:{port}"


def test_requests_are_answered(run: Run) -> None:
    async def main() -> None:
        async with serving(http) as port:
            client = Client()
            response = await client.get(f"http://127.0.0.1:{port}/path")
            assert (response.status, response.body) == (200, b"GET /path ")
            response = await client.post(f"http://127.0.0.1:{port}/up", bytes(100_000))
            assert response.body == b"POST /up " + bytes(100_000)
            assert (await client.get(f"http://127.0.0.1:{port}/missing")).status == 404

    run(main())


def test_many_requests_at_once(run: Run) -> None:
    async def main() -> None:
        async with serving(http) as port:
            client = Client()
            urls = [f"http://127.0.0.1:{port}/{number}" for number in range(200)]
            responses = await asyncio.gather(*(client.get(url) for url in urls))
            assert [each.body for each in responses] == [
                f"GET /{number} ".encode() for number in range(200)
            ]

    run(main())


def test_a_refused_connection_is_an_error(run: Run) -> None:
    async def main() -> None:
        async with serving(http) as port:
            pass
        with pytest.raises(ConnectionError):
            await Client().get(f"http://127.0.0.1:{port}/")
        with pytest.raises(ConnectionError):
            await Redis.connect(f"redis://127.0.0.1:{port}")

    run(main())


def test_a_timeout_cancels_the_request(run: Run) -> None:
    async def main() -> None:
        async with serving(silence) as port:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(Client().get(f"http://127.0.0.1:{port}/"), 0.05)

    run(main())


def test_redis_keeps_what_it_is_told(run: Run) -> None:
    async def main() -> None:
        async with redis_server() as url:
            store = await Redis.connect(url)
            await store.set("yamanote:key", b"value")
            assert await store.get("yamanote:key") == b"value"
            assert await store.get("yamanote:none") is None
            await store.set("yamanote:number", b"0")
            sums = await asyncio.gather(*(store.incr("yamanote:number") for _ in range(100)))
            assert sorted(sums) == list(range(1, 101))
            with pytest.raises(ConnectionError, match="not an integer"):
                await store.incr("yamanote:key")

    run(main())
