"""Common servers and clients, over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.frameworks import application
from tests.frameworks.http import PATIENCE_S
from tests.frameworks.test_uvicorn import Server, in_thread, serving
from tests.tls.certificates import Files, client_context, server_context, write_files

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.slow

CURL = shutil.which("curl")
needs_curl = pytest.mark.skipif(CURL is None, reason="curl is not installed")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """The server's certificate, in files."""
    return write_files(tmp_path)


def curl(port: int, path: str, files: Files, *options: str) -> str:
    """Returns the output of `curl` for a path of a server on this machine."""
    assert CURL is not None
    command = [CURL, "--silent", "--show-error", "--cacert", str(files.authority), *options]
    return subprocess.run(
        [*command, f"https://localhost:{port}{path}"],
        check=True,
        timeout=PATIENCE_S,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


@needs_curl
@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_curl_and_uvicorn(loop: asyncio.AbstractEventLoop, files: Files, http: str) -> None:
    async def main() -> None:
        async with serving(application.make(), http, files) as port:
            assert await in_thread(curl, port, "/", files, "--http1.1") == "hello"
            body = "x" * 100_000
            assert await in_thread(curl, port, "/echo", files, "--data-binary", body) == body

    loop.run_until_complete(main())


def test_aiohttp_and_uvicorn(loop: asyncio.AbstractEventLoop, files: Files) -> None:
    aiohttp = pytest.importorskip("aiohttp", reason="no wheel of it for this interpreter")

    async def main() -> None:
        context = client_context()
        async with (
            serving(application.make(), files=files) as port,
            aiohttp.ClientSession() as session,
        ):
            for _ in range(3):
                async with session.get(f"https://localhost:{port}/", ssl=context) as response:
                    assert await response.text() == "hello"
            data = bytes(range(256)) * 2000
            url = f"https://localhost:{port}/echo"
            async with session.post(url, data=data, ssl=context) as response:
                assert await response.read() == data
            where = f"wss://localhost:{port}/chat"
            async with session.ws_connect(where, ssl=context, max_msg_size=0) as websocket:
                await websocket.send_bytes(data)
                assert await websocket.receive_bytes() == data

    loop.run_until_complete(main())


def test_aiohttp_with_itself(loop: asyncio.AbstractEventLoop) -> None:
    pytest.importorskip("aiohttp", reason="no wheel of it for this interpreter")
    from aiohttp import ClientConnectorCertificateError, ClientSession, web

    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=request.scheme)

    async def main() -> None:
        server = web.Application()
        server.add_routes([web.get("/", hello)])
        runner = web.AppRunner(server)
        await runner.setup()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            site = web.SockSite(runner, listener, ssl_context=server_context())
            await site.start()
            url = f"https://localhost:{listener.getsockname()[1]}/"
            async with ClientSession() as session:
                async with session.get(url, ssl=client_context()) as response:
                    assert await response.text() == "https"
                with pytest.raises(ClientConnectorCertificateError):
                    await session.get(url, ssl=client_context(trusting=False))
            await runner.cleanup()

    loop.run_until_complete(main())


def test_httpx_and_uvicorn(loop: asyncio.AbstractEventLoop, files: Files) -> None:
    httpx = pytest.importorskip("httpx")

    async def main() -> None:
        async with (
            serving(application.make(), files=files) as port,
            httpx.AsyncClient(verify=client_context()) as client,
        ):
            responses = await asyncio.gather(
                *(client.get(f"https://localhost:{port}/number/{number}") for number in range(20))
            )
            assert [response.text for response in responses] == [str(n) for n in range(20)]

    loop.run_until_complete(main())


@contextlib.asynccontextmanager
async def hypercorn(files: Files) -> AsyncGenerator[int, None]:
    """Serves the application with Hypercorn, which supports HTTP/2, and yields the port."""
    serve = pytest.importorskip("hypercorn.asyncio").serve
    from hypercorn.config import Config

    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = Config()
        config.bind = [f"fd://{listener.fileno()}"]
        config.certfile, config.keyfile = str(files.chain), str(files.key)
        config.accesslog = config.errorlog = None
        over = asyncio.Event()
        port = listener.getsockname()[1]
        running = asyncio.ensure_future(
            serve(application.make(), config, shutdown_trigger=over.wait)
        )
        # Hypercorn owns the descriptor now.
        listener.detach()
        try:
            yield port
        finally:
            over.set()
            await running


@needs_curl
@pytest.mark.parametrize(("option", "version"), [("--http1.1", "1.1"), ("--http2", "2")])
def test_curl_and_hypercorn(
    loop: asyncio.AbstractEventLoop, files: Files, option: str, version: str
) -> None:
    async def main() -> None:
        async with hypercorn(files) as port:
            tell = ("--write-out", " %{http_version}")
            assert await in_thread(curl, port, "/", files, option, *tell) == f"hello {version}"

    loop.run_until_complete(main())


def test_uvicorn_as_its_users_start_it(loop_name: str, files: Files) -> None:
    server = Server(loop_name, "--ssl-keyfile", str(files.key), "--ssl-certfile", str(files.chain))
    try:
        context = client_context()
        with urllib.request.urlopen(
            f"https://localhost:{server.port}/", timeout=PATIENCE_S, context=context
        ) as response:
            assert response.read() == b"hello"
        server.process.terminate()
        assert server.wait() in (0, -15)
    finally:
        server.process.kill()
        assert server.process.stderr is not None
        server.process.stderr.close()
        server.process.wait()
