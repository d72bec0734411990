"""Servers restart under load, and no request fails; inherited sockets of all kinds are served."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import yamanote
from tests.frameworks.http import PATIENCE_S, Client
from tests.frameworks.inherited import activated
from tests.frameworks.restarts import restarts
from tests.programs import PYTHON

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = [pytest.mark.slow, pytest.mark.hang_after(300)]

ROOT = Path(__file__).parents[2]


def needs(kind: str) -> None:
    """Skips if there is no such server."""
    for name in ("aiohttp", "uvicorn"):
        if kind.endswith(name):
            pytest.importorskip(name, reason="no wheel of it for this interpreter")


@pytest.mark.parametrize("kind", ["plain", "settling-uvicorn", "settling-aiohttp"])
def test_no_request_fails_while_servers_are_restarted(kind: str) -> None:
    needs(kind)
    counts = yamanote.run(restarts(kind, "yamanote", 4, 2000))
    assert counts.new
    assert counts.kept
    assert not counts.failures
    if kind == "plain":
        # It says `Connection: close` before it closes.
        assert not counts.repeated


@pytest.mark.parametrize("kind", ["uvicorn", "aiohttp"])
@pytest.mark.parametrize("loop_name", ["asyncio", "yamanote"])
def test_servers_that_close_young_connections_end_in_order_at_least(
    kind: str, loop_name: str
) -> None:
    """Both close connections on which no request has arrived yet, and some do fail, on any loop.

    A request that has begun is answered, and each process ends in order.
    """
    needs(kind)
    counts = yamanote.run(restarts(kind, loop_name, 3, 1500))
    assert counts.new
    assert counts.kept
    assert all(": Silent: " in failure for failure in counts.failures), counts.failures


SYSTEMD = """
import asyncio, os, signal, socket, yamanote

async def handle(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello")
    await writer.drain()
    writer.close()

async def main():
    assert int(os.environ["LISTEN_PID"]) == os.getpid()
    numbers = range(3, 3 + int(os.environ["LISTEN_FDS"]))
    servers = []
    for number in numbers:
        sock = socket.socket(fileno=number)
        start = asyncio.start_server if sock.family != socket.AF_UNIX else asyncio.start_unix_server
        servers.append(await start(handle, sock=sock))
    await yamanote.serve_until(signal.SIGTERM, servers, 10)

yamanote.run(main())
"""


def test_sockets_of_systemd_are_served(tmp_path: Path) -> None:
    """LISTEN_FDS: descriptors from 3 on, which the service manager has bound and listens on."""
    path = tmp_path / "socket"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        unix.bind(str(path))
        unix.listen()
        process = activated([tcp, unix], "-c", SYSTEMD)
        try:
            for address, family in (
                (tcp.getsockname(), socket.AF_INET),
                (str(path), socket.AF_UNIX),
            ):
                with socket.socket(family) as peer:
                    peer.settimeout(PATIENCE_S)
                    peer.connect(address)
                    peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    assert b"hello" in b"".join(iter(lambda: peer.recv(1000), b""))
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def started(*command: str) -> Generator[subprocess.Popen[str], None, None]:
    """Runs a server in a process group of its own until it answers; ends it with SIGTERM."""
    process = subprocess.Popen(
        [*PYTHON, *command], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=2 * PATIENCE_S)
        assert "Traceback" not in said, said
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def ask(port: int, times: int) -> None:
    """Sends requests on new connections; the first waits for the server."""
    for _ in range(times):
        with Client(port) as client:
            assert client.get("/").body == b"hello"


def until_it_says(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    said = ""
    while text not in said:
        line = process.stderr.readline()
        assert line, said
        said += line


def test_workers_of_uvicorn_share_a_socket() -> None:
    needs("uvicorn")
    port = free_port()
    with started(
        *("-m", "uvicorn", "tests.frameworks.application:application", "--workers", "2"),
        *("--loop", "yamanote:new_event_loop", "--port", str(port), "--no-access-log"),
    ) as process:
        for _ in range(2):
            until_it_says(process, "Application startup complete")
        ask(port, 50)


def test_workers_of_gunicorn_share_a_socket(tmp_path: Path) -> None:
    """Gunicorn's master listens, and its workers inherit the socket."""
    for name in ("gunicorn", "uvicorn_worker"):
        pytest.importorskip(name, reason="not in the requirements of every interpreter")
    (tmp_path / "worker.py").write_text(
        "from uvicorn_worker import UvicornWorker\n"
        "class Worker(UvicornWorker):\n"
        "    CONFIG_KWARGS = {'loop': 'yamanote:new_event_loop', 'http': 'h11'}\n"
    )
    port = free_port()
    with started(
        *("-m", "gunicorn", "tests.frameworks.application:application", "--workers", "2"),
        *("--worker-class", "worker.Worker", "--pythonpath", str(tmp_path)),
        *("--bind", f"127.0.0.1:{port}"),
    ) as process:
        for _ in range(2):
            until_it_says(process, "Application startup complete")
        ask(port, 50)


def free_port() -> int:
    """Returns a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_program_can_stop_one_loop_and_serve_the_same_socket_on_the_next() -> None:
    """`create_server(sock=)` closes its socket; a duplicate keeps listening, and its backlog."""

    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"hello\n")
        writer.close()

    async def serve(listener: socket.socket, peer: socket.socket) -> None:
        server = await asyncio.start_server(hello, sock=listener.dup())
        assert isinstance(server, yamanote.Server)
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, peer.recv, 100) == b"hello\n"
        assert await server.drain(PATIENCE_S) == 0

    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(3):
            with socket.create_connection(listener.getsockname(), PATIENCE_S) as peer:
                peer.sendall(b"question\n")
                yamanote.run(serve(listener, peer))
