"""Rolling restarts under load: two processes on one listening socket, and clients that count.

    python -m tests.frameworks.restarts uvicorn --loop yamanote --restarts 50 --requests 100000

A new server starts, and once it says that it is ready, the old one gets SIGTERM. Meanwhile clients
send requests: most on a new connection each, some on connections that they keep, as HTTP describes
it: after `Connection: close` they open another. A server may close a connection between two
requests at any time, also when the second is already on its way (RFC 9112, 9.6). So the client
sends a request once more if a connection that it kept ended without a byte of the answer; these
are counted as repeated, and no failure.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import re
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yamanote
from tests.frameworks.http import PATIENCE_S
from tests.programs import PYTHON

if TYPE_CHECKING:
    from asyncio.subprocess import Process

ROOT = Path(__file__).parents[2]

#: Servers, each with the line that says it is ready.
KINDS = {
    "plain": "ready",
    "aiohttp": "ready",
    "uvicorn": "Application startup complete",
    "settling-aiohttp": "ready",
    "settling-uvicorn": "ready",
}


@dataclass
class Counts:
    """What the clients have seen."""

    new: int = 0
    kept: int = 0
    repeated: int = 0
    failures: collections.Counter[str] = field(default_factory=collections.Counter[str])

    @property
    def requests(self) -> int:
        """All requests that were answered, or failed."""
        return self.new + self.kept


class Silent(ConnectionError):
    """A connection ended without a byte of an answer."""


class Load:
    """Clients that send requests to a port until they are told to stop."""

    def __init__(self, port: int, *, new: int = 6, kept: int = 2) -> None:
        """Start the clients; `new` and `kept` say how many of each kind."""
        self.port = port
        self.counts = Counts()
        self.stopping = False
        clients = [self._on_new_connections() for _ in range(new)]
        clients += [self._on_kept_connections() for _ in range(kept)]
        self.tasks = [asyncio.create_task(client) for client in clients]

    async def stop(self) -> Counts:
        """Let the clients finish; return what they have seen."""
        self.stopping = True
        await asyncio.gather(*self.tasks)
        return self.counts

    async def until(self, requests: int) -> None:
        """Wait until so many requests were sent."""
        while self.counts.requests < requests:  # noqa: ASYNC110 - clients come and go.
            await asyncio.sleep(0.01)

    async def _on_new_connections(self) -> None:
        while not self.stopping:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    await self._request(reader, writer, "close")
                finally:
                    await end(writer)
            except (OSError, EOFError, AssertionError) as error:
                self.counts.failures[f"new: {type(error).__name__}: {error}"] += 1
            self.counts.new += 1

    async def _on_kept_connections(self) -> None:
        streams = None
        while not self.stopping:
            is_fresh = streams is None
            try:
                if streams is None:
                    streams = await asyncio.open_connection("127.0.0.1", self.port)
                if await self._request(*streams, "keep-alive"):
                    await end(streams[1])
                    streams = None
            except (OSError, EOFError, AssertionError) as error:
                if streams is not None:
                    await end(streams[1])
                    streams = None
                if isinstance(error, Silent) and not is_fresh:
                    self.counts.repeated += 1
                    continue
                self.counts.failures[f"kept: {type(error).__name__}: {error}"] += 1
            self.counts.kept += 1
            # Others have their turn, and a connection may be between two requests.
            await asyncio.sleep(0.002)
        if streams is not None:
            await end(streams[1])

    async def _request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: str
    ) -> bool:
        """Send a request and check the answer; return whether it was the connection's last."""
        try:
            writer.write(
                f"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n".encode()
            )
            first = await asyncio.wait_for(reader.read(1), PATIENCE_S)
        except ConnectionError as error:
            raise Silent(repr(error)) from None
        if not first:
            raise Silent("closed")
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert head.startswith("http/1.1 200"), head
        length = re.search(r"content-length: (\d+)", head)
        assert length, head
        assert await reader.readexactly(int(length[1])) == b"hello"
        return "connection: close" in head


async def end(writer: asyncio.StreamWriter) -> None:
    """Close a connection, which may have broken."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


class Server:
    """A server in a process of its own, on the given listening socket."""

    process: Process

    def __init__(self, kind: str, loop_name: str, listener: socket.socket) -> None:
        """Choose the server; `start()` starts it."""
        self.kind = kind
        self.loop_name = loop_name
        self.descriptor = listener.fileno()
        self.command = [*PYTHON, "-m", "tests.frameworks.restarting", kind, loop_name]
        self.command.append(str(self.descriptor))
        if kind == "uvicorn":
            self.command = [*PYTHON, "-m", "uvicorn", "tests.frameworks.application:application"]
            self.command += ["--loop", f"{loop_name}:new_event_loop", "--no-access-log"]
            self.command += ["--fd", str(self.descriptor), "--timeout-graceful-shutdown", "20"]
        self.said = ""

    async def start(self) -> None:
        """Start it; return once it is ready."""
        self.process = await asyncio.create_subprocess_exec(
            *self.command,
            cwd=ROOT,
            pass_fds=[self.descriptor],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        await asyncio.wait_for(self._until_it_says(KINDS[self.kind]), PATIENCE_S)

    async def _until_it_says(self, text: str) -> None:
        assert self.process.stdout is not None
        while text not in self.said:
            line = await self.process.stdout.readline()
            assert line, self.said
            self.said += line.decode()

    async def stop(self) -> None:
        """Send SIGTERM, and return when it has ended in order."""
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGTERM)
        rest = await asyncio.wait_for(self.process.stdout.read(), 2 * PATIENCE_S)
        self.said += rest.decode()
        code = await self.process.wait()
        # uvicorn ends itself with the signal that it received.
        by_signal = -signal.SIGTERM if self.kind.endswith("uvicorn") else 0
        assert code in (0, by_signal), (code, self.said)
        # asyncio's server trips over connections that it accepts in its last moment.
        assert self.loop_name == "asyncio" or "Traceback" not in self.said, self.said
        if self.kind == "plain":
            assert "cut off: 0" in self.said, self.said

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


async def restarts(kind: str, loop_name: str, times: int, requests: int) -> Counts:
    """Restart a server `times` times, while clients send at least so many requests."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        server = Server(kind, loop_name, listener)
        stopping: list[asyncio.Task[None]] = []
        servers = [server]
        try:
            await server.start()
            load = Load(listener.getsockname()[1])
            for number in range(times):
                await load.until(requests * number // times)
                successor = Server(kind, loop_name, listener)
                servers.append(successor)
                await successor.start()
                stopping.append(asyncio.create_task(server.stop()))
                server = successor
            await load.until(requests)
            counts = await load.stop()
            await asyncio.gather(*stopping, server.stop())
        finally:
            for each in servers:
                each.kill()
    return counts


def main() -> None:
    """Prints the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--loop", default="yamanote", help="asyncio or yamanote")
    parser.add_argument("--restarts", type=int, default=50)
    parser.add_argument("--requests", type=int, default=100_000)
    given = parser.parse_args()
    start = time.perf_counter()
    counts = yamanote.run(restarts(given.kind, given.loop, given.restarts, given.requests))
    seconds = time.perf_counter() - start
    print(
        f"{given.kind} on {given.loop}: {given.restarts} restarts, {counts.requests} requests in"
        f" {seconds:.0f} s: {counts.new} on new connections, {counts.kept} on kept ones,"
        f" {counts.repeated} of which were repeated; {sum(counts.failures.values())} failed"
    )
    for text, count in counts.failures.most_common():
        print(f"{count:6} {text}")
    sys.exit(bool(counts.failures))


if __name__ == "__main__":
    main()
