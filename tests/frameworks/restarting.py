"""Servers that restarts.py starts: `python -m tests.frameworks.restarting KIND LOOP DESCRIPTOR`.

Each serves HTTP on an inherited listening socket, prints "ready", and ends on SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import signal
import socket
import sys
from typing import TYPE_CHECKING

import yamanote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp import web

#: Seconds that a server may take to end.
TIMEOUT_S = 20.0


async def plain(listener: socket.socket) -> None:
    """A server on streams, with `serve_until()`."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                # As HTTP asks a server that is about to close: the client does not send another.
                is_last = b"Connection: close" in head or not server.is_serving()
                last = b"Connection: close\r\n" if is_last else b""
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + last + b"\r\nhello")
                await writer.drain()
                if is_last:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    server = await asyncio.start_server(handle, sock=listener, start_serving=False)
    serving = asyncio.create_task(yamanote.serve_until(signal.SIGTERM, server, TIMEOUT_S))
    while not server.is_serving():  # noqa: ASYNC110 - no event tells.
        await asyncio.sleep(0)
    print("ready", flush=True)
    print("cut off:", await serving, flush=True)


def run_app(
    listener: socket.socket, new_event_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """`aiohttp.web.run_app()`, which ends gracefully by itself."""
    from aiohttp import web

    web.run_app(
        aiohttp_application(),
        sock=listener,
        loop=new_event_loop(),
        shutdown_timeout=TIMEOUT_S,
        access_log=None,
        print=lambda *_: print("ready", flush=True),
    )


def aiohttp_application() -> web.Application:
    """Says hello."""
    from aiohttp import web

    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    application = web.Application()
    application.add_routes([web.get("/", hello)])
    return application


async def settle(servers: Iterable[asyncio.AbstractServer]) -> None:
    """Accept no more, and let those who have just connected send their requests."""
    drains = [it.drain(None, quiet=None) for it in servers if isinstance(it, yamanote.Server)]
    with contextlib.suppress(TimeoutError):
        # Long for a machine that is busy with other tests; the page has a tenth of it.
        await asyncio.wait_for(asyncio.gather(*drains), 1.0)


async def settling_aiohttp(listener: socket.socket) -> None:
    """Aiohttp closes the connections without a request only when those under way have arrived."""
    from aiohttp import web

    loop = asyncio.get_running_loop()
    runner = web.AppRunner(aiohttp_application(), shutdown_timeout=TIMEOUT_S, access_log=None)
    await runner.setup()
    assert runner.server is not None
    server = await loop.create_server(runner.server, sock=listener)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    print("ready", flush=True)
    await stop.wait()
    await settle([server])
    await runner.cleanup()


async def settling_uvicorn(listener: socket.socket) -> None:
    """The same for uvicorn."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print("ready", flush=True)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await settle(self.servers)
            await super().shutdown(sockets)

    config = uvicorn.Config(
        "tests.frameworks.application:application",
        access_log=False,
        timeout_graceful_shutdown=int(TIMEOUT_S),
    )
    await Server(config).serve(sockets=[listener])


def main(kind: str, loop_name: str, descriptor: str) -> None:
    """Serves until SIGTERM."""
    listener = socket.socket(fileno=int(descriptor))
    new_event_loop = importlib.import_module(loop_name).new_event_loop
    if kind == "aiohttp":
        run_app(listener, new_event_loop)
        return
    serve = {
        "plain": plain,
        "settling-aiohttp": settling_aiohttp,
        "settling-uvicorn": settling_uvicorn,
    }[kind]
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve(listener))


if __name__ == "__main__":
    main(*sys.argv[1:])
