"""uvicorn and Starlette."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
import uvicorn

from tests.frameworks import application
from tests.frameworks.http import PATIENCE_S, Client
from tests.programs import PYTHON, must_not_crash

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from starlette.applications import Starlette

    from tests.tls.certificates import Files

T = TypeVar("T")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PARSERS = pytest.mark.parametrize("http", ["h11", "httptools"])
MIB = 1024 * 1024
UPLOAD = 50 * MIB


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Runs a blocking client while the loop serves it."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


@contextlib.asynccontextmanager
async def serving(
    app: Starlette, http: str = "h11", files: Files | None = None
) -> AsyncGenerator[int, None]:
    """Serves `app` on the running loop, with `files` over TLS, and yields the port."""
    if http == "httptools":
        pytest.importorskip("httptools", reason="no wheel of it for this interpreter")
    config = uvicorn.Config(
        app,
        http=http,
        ws="websockets-sansio",
        lifespan="off",
        log_level="warning",
        port=0,
        ssl_keyfile=files.key if files else None,
        ssl_certfile=files.chain if files else None,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
        # The socket is listening already: early clients wait in the backlog.
        try:
            yield listener.getsockname()[1]
        except BaseException:
            server.force_exit = True  # Whatever it is still doing, the test has failed.
            raise
        finally:
            server.should_exit = True
            await started


@PARSERS
def test_requests_share_a_connection(loop: asyncio.AbstractEventLoop, http: str) -> None:
    def client(port: int) -> None:
        with Client(port) as connection:
            for _ in range(20):
                response = connection.get("/")
                assert (response.status, response.body) == (200, b"hello")

    async def main() -> None:
        async with serving(application.make(), http) as port:
            await in_thread(client, port)

    loop.run_until_complete(main())


@PARSERS
def test_requests_can_be_pipelined(loop: asyncio.AbstractEventLoop, http: str) -> None:
    def client(port: int) -> None:
        with Client(port) as connection:
            for number in range(20):
                connection.send("GET", f"/number/{number}")
            assert [connection.receive().body for _ in range(20)] == [
                b"%d" % number for number in range(20)
            ]

    async def main() -> None:
        async with serving(application.make(), http) as port:
            await in_thread(client, port)

    loop.run_until_complete(main())


@PARSERS
def test_bodies_are_chunked_both_ways(loop: asyncio.AbstractEventLoop, http: str) -> None:
    def client(port: int) -> None:
        chunks = [bytes([number]) * (number * 1000 + 1) for number in range(40)]
        with Client(port) as connection:
            connection.send_chunks("POST", "/echo", chunks)
            response = connection.receive()
            assert response.headers["transfer-encoding"] == "chunked"
            assert response.body == b"".join(chunks)

    async def main() -> None:
        async with serving(application.make(), http) as port:
            await in_thread(client, port)

    loop.run_until_complete(main())


@PARSERS
def test_a_client_that_disappears_ends_its_response(
    loop: asyncio.AbstractEventLoop, http: str
) -> None:
    def leave(port: int) -> None:
        with Client(port) as connection:
            connection.send("GET", "/endless")
            assert len(connection.sock.recv(100_000)) > 0

    async def main() -> None:
        app = application.make()
        async with serving(app, http) as port:
            await in_thread(leave, port)
            await asyncio.wait_for(app.state.doors.streams_ended.wait(), PATIENCE_S)

            def stay(port: int) -> None:
                with Client(port) as connection:
                    assert connection.get("/").body == b"hello"

            await in_thread(stay, port)

    loop.run_until_complete(main())


def allow_descriptors(count: int) -> None:
    """Raises the soft limit of descriptors if that is necessary and permitted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard < count and hard != resource.RLIM_INFINITY:
            pytest.skip(f"needs {count} descriptors, and {hard} are allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def test_a_thousand_connections_at_once(loop: asyncio.AbstractEventLoop) -> None:
    connections = 1000
    allow_descriptors(2 * connections + 100)
    everybody = asyncio.Event()
    connected = 0

    async def client(port: int) -> int:
        nonlocal connected
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        connected += 1
        if connected == connections:
            everybody.set()
        await everybody.wait()
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(5) == b"hello"
        writer.close()
        await writer.wait_closed()
        return 1

    async def main() -> None:
        async with serving(application.make(), "auto") as port:
            clients = (client(port) for _ in range(connections))
            assert sum(await asyncio.gather(*clients)) == connections

    loop.run_until_complete(main())


def test_websockets_echo(loop: asyncio.AbstractEventLoop) -> None:
    aiohttp = pytest.importorskip("aiohttp", reason="the client is aiohttp's")

    async def main() -> None:
        async with (
            serving(application.make()) as port,
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://127.0.0.1:{port}/chat", max_msg_size=0) as websocket,
        ):
            for size in (0, 1, 125, 126, 70_000, MIB):
                message = bytes(number % 251 for number in range(size))
                await websocket.send_bytes(message)
                assert await websocket.receive_bytes() == message

    loop.run_until_complete(main())


class Server:
    """A uvicorn in a separate process, started as users start it."""

    def __init__(self, loop_name: str, *more: str) -> None:
        """Starts it with `more` options, and waits until it serves."""
        command = [*PYTHON, "-m", "uvicorn", "tests.frameworks.application:application"]
        options = ["--loop", f"{loop_name}:new_event_loop", "--port", "0", "--no-access-log"]
        self.process = subprocess.Popen(
            [*command, *options, *more], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        self.log: list[str] = []
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"running on https?://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                return
        raise AssertionError("".join(self.log))

    def wait(self) -> int:
        """Waits until it exits and returns the exit code."""
        assert self.process.stderr is not None
        self.log += self.process.stderr.readlines()
        code = self.process.wait(PATIENCE_S)
        must_not_crash(code, "".join(self.log))
        return code

    def peak_bytes(self) -> int:
        """Returns its peak memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024


@pytest.fixture
def server(loop_name: str) -> Iterator[Server]:
    """A server of the kind under test."""
    started = Server(loop_name)
    yield started
    if started.process.poll() is None:
        started.process.kill()
    assert started.process.stderr is not None
    started.process.stderr.close()
    started.process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_upload_that_is_not_read_yet_is_held_back(server: Server) -> None:
    """50 MiB for a handler that waits: most of it must stay with the client."""
    with Client(server.port) as uploader, Client(server.port) as other:
        assert other.get("/").body == b"hello"
        before = server.peak_bytes()
        uploader.head("POST", "/length", f"Content-Length: {UPLOAD}")
        uploader.sock.setblocking(False)
        sent = 0
        block = bytes(256 * 1024)
        held_back = 0
        # The upload is blocked when a round trip through the server's loop frees no buffer space.
        while held_back < 20:
            try:
                sent += uploader.sock.send(block[: UPLOAD - sent])
                held_back = 0
            except BlockingIOError:
                held_back += 1
                other.get("/")
        assert sent < UPLOAD // 2
        other.get("/open")
        uploader.sock.settimeout(PATIENCE_S)
        while sent < UPLOAD:
            sent += uploader.sock.send(block[: UPLOAD - sent])
        assert uploader.receive().body == str(UPLOAD).encode()
        assert server.peak_bytes() - before < 16 * MIB


def test_sigterm_lets_requests_finish(server: Server) -> None:
    """The listener is closed at once; running requests are completed."""
    with Client(server.port) as connection:
        connection.head("POST", "/echo", "Transfer-Encoding: chunked")
        connection.send_chunk(b"before, ")
        status, _ = connection.receive_head()
        chunks = connection.receive_chunks()
        assert (status, next(chunks)) == (200, b"before, ")
        os.kill(server.process.pid, signal.SIGTERM)
        with contextlib.suppress(ConnectionError):
            while True:
                Client(server.port).close()
        connection.send_chunk(b"after")
        connection.send_chunk(b"")
        assert b"".join(chunks) == b"after"
    # After the shutdown, uvicorn kills itself with the signal that it received.
    assert server.wait() == -signal.SIGTERM
    log = "".join(server.log)
    assert "Application shutdown complete" in log
    assert "Traceback" not in log


def test_sigint_ends_an_idle_server(server: Server) -> None:
    with Client(server.port) as connection:
        assert connection.get("/").body == b"hello"
    os.kill(server.process.pid, signal.SIGINT)
    assert server.wait() in (0, -signal.SIGINT, 128 + signal.SIGINT)
    assert "Application shutdown complete" in "".join(server.log)
