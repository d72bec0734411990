"""Libraries' own time-outs and retries take no time on a virtual clock."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import redis.asyncio
import redis.exceptions
from aiohttp import web
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from yamanote import testing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

HOST = "127.0.0.1"


def run(main: Coroutine[Any, Any, Any]) -> None:
    with asyncio.Runner(loop_factory=testing.new_event_loop) as runner:
        runner.run(main)


def closed_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


def now() -> float:
    return asyncio.get_running_loop().time()


def test_redis_backs_off_between_its_tries() -> None:
    async def main() -> None:
        retry = Retry(ExponentialBackoff(cap=600, base=1), retries=8)
        async with redis.asyncio.Redis(
            host=HOST, port=closed_port(), retry=retry, socket_connect_timeout=5
        ) as client:
            with pytest.raises(redis.exceptions.ConnectionError):
                await client.get("key")
        # 2 + 4 + ... + 256, or half of it: the versions count differently.
        assert 200 < now() < 1200

    run(main())


def test_redis_gives_up_a_server_that_does_not_answer() -> None:
    async def main() -> None:
        done = asyncio.Event()

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await done.wait()
            writer.close()

        server = await asyncio.start_server(serve, HOST, 0)
        port = server.sockets[0].getsockname()[1]
        retry = Retry(ExponentialBackoff(cap=60, base=1), retries=1)
        async with redis.asyncio.Redis(
            host=HOST, port=port, retry=retry, socket_timeout=300, socket_connect_timeout=5
        ) as client:
            with pytest.raises(redis.exceptions.TimeoutError):
                await client.get("key")
        assert 600 <= now() < 660
        done.set()
        server.close()

    run(main())


async def answers_late(request: web.Request) -> web.Response:
    await asyncio.sleep(float(request.query["after"]))
    return web.Response(text="late")


@pytest.fixture
def app() -> web.Application:
    app = web.Application()
    app.router.add_get("/", answers_late)
    return app


async def served(app: web.Application) -> AsyncIterator[tuple[str, int]]:
    """Yields the server's address."""
    runner = web.AppRunner(app, keepalive_timeout=75, shutdown_timeout=60)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    yield runner.addresses[0]
    await runner.cleanup()


def test_aiohttp_waits_for_a_late_answer_and_gives_up_later_ones(app: web.Application) -> None:
    async def main() -> None:
        async for host, port in served(app):
            url = f"http://{host}:{port}/"
            timeout = aiohttp.ClientTimeout(total=300)
            async with aiohttp.ClientSession(timeout=timeout) as session:
                async with session.get(url, params={"after": "200"}) as response:
                    assert await response.text() == "late"
                assert 200 <= now() < 201
                with pytest.raises(TimeoutError):
                    await session.get(url, params={"after": "3600"})
                assert 500 <= now() < 502

    run(main())


def test_aiohttp_closes_a_connection_that_is_idle(app: web.Application) -> None:
    async def main() -> None:
        async for host, port in served(app):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /?after=0 HTTP/1.1\r\nHost: here\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            await reader.read()  # Until it is closed.
            assert 75 <= now() < 80
            writer.close()

    run(main())
