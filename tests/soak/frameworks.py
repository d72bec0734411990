"""Servers of frameworks in the soak's own loop, and their clients."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import aiohttp
import uvicorn
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Receive, Scope, Send

    from tests.soak.workloads import Workload

LOCALHOST = "127.0.0.1"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends the body of a request back; an ASGI application."""
    if scope["type"] != "http":
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def uvicorn_port() -> AsyncGenerator[int]:
    """Serves the application under uvicorn, and yields its port."""
    config = uvicorn.Config(application, port=0, log_level="warning", lifespan="off", loop="none")
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve())
    while not server.started:  # noqa: ASYNC110 -- it has no event for this
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


async def body(request: web.Request) -> web.Response:
    """Sends the body of a request back."""
    return web.Response(body=await request.read())


async def messages(request: web.Request) -> web.WebSocketResponse:
    """Sends each message of a WebSocket back."""
    response = web.WebSocketResponse()
    await response.prepare(request)
    async for message in response:
        await response.send_bytes(message.data)
    return response


@contextlib.asynccontextmanager
async def aiohttp_port() -> AsyncGenerator[int]:
    """Serves the same under aiohttp, and WebSockets; yields its port."""
    served = web.Application()
    served.router.add_post("/", body)
    served.router.add_get("/messages", messages)
    runner = web.AppRunner(served)
    await runner.setup()
    site = web.TCPSite(runner, LOCALHOST, 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def requests(port: int) -> Workload:
    """Returns a workload of several requests at once, each with a body."""

    async def one(session: aiohttp.ClientSession, size: int) -> None:
        data = bytes(size)
        async with session.post(f"http://{LOCALHOST}:{port}/", data=data) as response:
            assert response.status == 200
            assert await response.read() == data

    async def work() -> None:
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            for size in (0, 100, 10_000, 300_000):
                group.create_task(one(session, size))

    return work


def websockets(port: int) -> Workload:
    """Returns a workload of messages on a WebSocket."""

    async def work() -> None:
        url = f"http://{LOCALHOST}:{port}/messages"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as connection:
            for size in (0, 100, 70_000):
                await connection.send_bytes(bytes(size))
                assert await connection.receive_bytes() == bytes(size)

    return work
