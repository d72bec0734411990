"""aiohttp, server and client, on the same loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from tests.frameworks.http import PATIENCE_S, Client
from tests.frameworks.test_uvicorn import MIB, UPLOAD, allow_descriptors, in_thread

aiohttp = pytest.importorskip("aiohttp", reason="no wheel of it for this interpreter")

from aiohttp import web  # noqa: E402 - once it is known to be there

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.slow


async def hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


async def echo(request: web.Request) -> web.StreamResponse:
    """Sends the body back as it arrives, in chunks."""
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    async for chunk in request.content.iter_any():
        await response.write(chunk)
    await response.write_eof()
    return response


async def peer(request: web.Request) -> web.Response:
    """Returns the port of the client's end of the connection."""
    assert request.transport is not None
    return web.Response(text=str(request.transport.get_extra_info("peername")[1]))


async def chat(request: web.Request) -> web.WebSocketResponse:
    websocket = web.WebSocketResponse(max_msg_size=0)
    await websocket.prepare(request)
    async for message in websocket:
        await websocket.send_bytes(message.data)
    return websocket


@contextlib.asynccontextmanager
async def serving(*more: web.RouteDef) -> AsyncGenerator[int, None]:
    """Serves the handlers above, and `more`, on the running loop; yields the port."""
    application = web.Application(client_max_size=0)
    application.add_routes(
        [
            web.get("/", hello),
            web.get("/peer", peer),
            web.post("/echo", echo),
            web.get("/chat", chat),
            *more,
        ]
    )
    runner = web.AppRunner(application, shutdown_timeout=PATIENCE_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        port: int = runner.addresses[0][1]
        yield port
    finally:
        await runner.cleanup()


def test_requests_share_a_connection(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving() as port, aiohttp.ClientSession() as session:
            ports: set[str] = set()
            for _ in range(20):
                async with session.get(f"http://127.0.0.1:{port}/peer") as response:
                    ports.add(await response.text())
            assert len(ports) == 1

    loop.run_until_complete(main())


def test_requests_can_be_pipelined(loop: asyncio.AbstractEventLoop) -> None:
    def client(port: int) -> None:
        with Client(port) as connection:
            for number in range(20):
                connection.send("POST", "/echo", b"%d" % number)
            assert [connection.receive().body for _ in range(20)] == [
                b"%d" % number for number in range(20)
            ]

    async def main() -> None:
        async with serving() as port:
            await in_thread(client, port)

    loop.run_until_complete(main())


def test_bodies_are_chunked_both_ways(loop: asyncio.AbstractEventLoop) -> None:
    parts = [bytes([number]) * (number * 1000 + 1) for number in range(40)]

    async def body() -> AsyncGenerator[bytes, None]:
        for part in parts:
            yield part
            await asyncio.sleep(0)

    async def main() -> None:
        async with (
            serving() as port,
            aiohttp.ClientSession() as session,
            session.post(f"http://127.0.0.1:{port}/echo", data=body()) as response,
        ):
            assert response.headers["Transfer-Encoding"] == "chunked"
            assert await response.read() == b"".join(parts)

    loop.run_until_complete(main())


def test_an_upload_that_is_not_read_yet_is_held_back(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        opened = asyncio.Event()
        sent = 0

        async def length(request: web.Request) -> web.Response:
            await opened.wait()
            total = 0
            async for chunk in request.content.iter_any():
                total += len(chunk)
            return web.Response(text=str(total))

        async def body() -> AsyncGenerator[bytes, None]:
            nonlocal sent
            while sent < UPLOAD:
                sent += MIB
                yield bytes(MIB)

        async with serving(web.post("/length", length)) as port, aiohttp.ClientSession() as session:
            address = f"http://127.0.0.1:{port}"
            uploading = loop.create_task(session.post(f"{address}/length", data=body()))
            # The upload is blocked when round trips through the loop free no more buffer space.
            before = -1
            while sent != before:
                before = sent
                for _ in range(20):
                    async with session.get(address) as response:
                        assert await response.text() == "hello"
            assert 0 < sent < UPLOAD // 2
            opened.set()
            async with await uploading as response:
                assert await response.text() == str(UPLOAD)

    loop.run_until_complete(main())


@pytest.mark.parametrize("manner", ["close", "reset"])
def test_a_client_that_disappears_ends_its_response(
    loop: asyncio.AbstractEventLoop, manner: str
) -> None:
    def leave(port: int) -> None:
        with Client(port) as connection:
            connection.send("GET", "/endless")
            assert len(connection.sock.recv(100_000)) > 0
            if manner == "reset":
                linger = struct.pack("ii", 1, 0)
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async def main() -> None:
        ended = asyncio.Event()

        async def endless(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            try:
                while True:
                    await response.write(bytes(64 * 1024))
            finally:
                ended.set()

        async with serving(web.get("/endless", endless)) as port:
            await in_thread(leave, port)
            await asyncio.wait_for(ended.wait(), PATIENCE_S)
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{port}/") as response,
            ):
                assert await response.text() == "hello"

    loop.run_until_complete(main())


def test_a_server_that_disappears_is_an_error(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async def vanish(request: web.Request) -> web.Response:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        async with serving(web.get("/vanish", vanish)) as port, aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await session.get(f"http://127.0.0.1:{port}/vanish")

    loop.run_until_complete(main())


def test_cleanup_lets_requests_finish(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        entered, leave = asyncio.Event(), asyncio.Event()

        async def slow(_: web.Request) -> web.Response:
            entered.set()
            await leave.wait()
            return web.Response(text="finished")

        async with contextlib.AsyncExitStack() as stack:
            session = await stack.enter_async_context(aiohttp.ClientSession())
            async with serving(web.get("/slow", slow)) as port:
                asking = loop.create_task(session.get(f"http://127.0.0.1:{port}/slow"))
                await entered.wait()
                loop.call_later(0.05, leave.set)
            # The server is gone by now, and the response is not lost.
            async with await asking as response:
                assert await response.text() == "finished"

    loop.run_until_complete(main())


def test_a_thousand_connections_at_once(loop: asyncio.AbstractEventLoop) -> None:
    connections = 1000
    allow_descriptors(2 * connections + 100)

    async def main() -> None:
        everybody = asyncio.Event()
        waiting = 0

        async def together(_: web.Request) -> web.Response:
            nonlocal waiting
            waiting += 1
            if waiting == connections:
                everybody.set()
            await everybody.wait()
            return web.Response(text="together")

        async with (
            serving(web.get("/together", together)) as port,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ):

            async def ask() -> str:
                async with session.get(f"http://127.0.0.1:{port}/together") as response:
                    text: str = await response.text()
                    return text

            answers = await asyncio.gather(*(ask() for _ in range(connections)))
            assert answers == ["together"] * connections

    loop.run_until_complete(main())


def test_websockets_echo(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with (
            serving() as port,
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://127.0.0.1:{port}/chat", max_msg_size=0) as websocket,
        ):
            for size in (0, 1, 125, 126, 70_000, MIB):
                message = bytes(number % 251 for number in range(size))
                await websocket.send_bytes(message)
                assert await websocket.receive_bytes() == message

    loop.run_until_complete(main())
