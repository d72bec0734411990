"""Much data, many clients, few descriptors."""

from __future__ import annotations

import asyncio
import itertools
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.asyncio_bugs import AsyncioBug
from tests.tcp.recorders import PATIENCE_S, Recorder
from tests.tcp.servers import LOCALHOST, port_of

if TYPE_CHECKING:
    from tests.programs import Program

REPORTS_ONE_SHORTAGE_OFTEN = AsyncioBug(
    issue="base_events",
    effect="lack of descriptors is reported once per connection in the backlog",
    first=(3, 11, 0),
    fixed=(3, 99, 0),
)

BOTH_WAYS = """
    import hashlib, resource, socket, threading

    SIZE = 64 * 1024 * 1024
    CHUNK = bytes(range(256)) * 256

    class Pump(asyncio.Protocol):
        '''Sends as fast as it may, and counts what comes.'''

        def connection_made(self, transport):
            self.transport, self.left, self.paused, self.ended = transport, SIZE, False, False
            self.received, self.digest = 0, hashlib.sha256()
            self.lost = asyncio.get_running_loop().create_future()
            self.pump()

        def pump(self):
            while self.left and not self.paused:
                self.transport.write(CHUNK)
                self.left -= len(CHUNK)
            if self.ended and not self.left:
                # Not in resume_writing(), where asyncio would close twice (gh-156512).
                asyncio.get_running_loop().call_soon(self.transport.close)

        def eof_received(self):
            self.ended = True
            self.pump()
            return True

        def pause_writing(self):
            self.paused = True

        def resume_writing(self):
            self.paused = False
            self.pump()

        def data_received(self, data):
            self.received += len(data)
            self.digest.update(data)

        def connection_lost(self, error):
            self.lost.set_result(error)

    expected = hashlib.sha256()
    for _ in range(SIZE // len(CHUNK)):
        expected.update(CHUNK)

    def send(peer):
        for _ in range(SIZE // len(CHUNK)):
            peer.sendall(CHUNK)
        peer.shutdown(socket.SHUT_WR)

    def receive(peer, digest):
        left = SIZE
        while left:  # In small pieces, so that the writer is paused repeatedly.
            data = peer.recv(40_000)
            digest.update(data)
            left -= len(data)

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            _, pump = await loop.create_connection(Pump, *listener.getsockname())
            peer, _ = listener.accept()
        digest = hashlib.sha256()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        reading = loop.run_in_executor(None, receive, peer, digest)
        sending = loop.run_in_executor(None, send, peer)
        await reading
        await sending
        assert await pump.lost is None
        assert pump.left == 0
        assert pump.received == SIZE
        assert pump.digest.digest() == expected.digest()
        assert digest.digest() == expected.digest()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        peer.close()
        print("grown", grown // 1024, "MiB")

    loop = new_event_loop()
    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
def test_64_mib_each_way_take_little_memory(program: Program) -> None:
    done = program.run(BOTH_WAYS)
    assert (done.returncode, done.stderr) == (0, "")
    word, grown, unit = done.stdout.split()
    assert (word, unit) == ("grown", "MiB")
    assert int(grown) < 16


FEW_DESCRIPTORS = """
    import os, resource, signal, time

    started = time.monotonic()
    loop = new_event_loop()
    reports = []

    def report(loop, context):
        if not reports:
            print("short", flush=True)
        reports.append((time.monotonic() - started, context["message"], repr(context["exception"])))

    loop.set_exception_handler(report)

    class Answer(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    async def main():
        server = await loop.create_server(Answer, "127.0.0.1", 0)
        wanted = len(os.listdir("/proc/self/fd")) - 1 + 40
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
        print("ready", flush=True)
        print(server.sockets[0].getsockname()[1], flush=True)
        ended = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())
    loop.close()
    for line in reports:
        print(*line, sep="|")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
def test_all_are_served_although_descriptors_run_out(program: Program, loop_name: str) -> None:
    """Eighty clients at once, forty descriptors: the others wait in the backlog."""
    clients, spare = 80, 40
    with program.start(FEW_DESCRIPTORS) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        peers = [socket.create_connection((LOCALHOST, port), PATIENCE_S) for _ in range(clients)]
        for number, peer in enumerate(peers):
            peer.sendall(b"%d." % number)
        started = time.monotonic()
        for number, peer in enumerate(peers[: spare - 5]):
            assert peer.recv(100) == b"%d." % number
        # The first clients disconnect only after all descriptors are in use.
        assert child.stdout.readline() == "short\n"
        for peer in peers[: spare - 5]:
            peer.close()
        for number, peer in enumerate(peers[spare - 5 :], spare - 5):
            assert peer.recv(100) == b"%d." % number
            peer.close()
        seconds = time.monotonic() - started
        child.terminate()
        output, errors = child.communicate()
    assert errors == ""
    reports = [line.split("|") for line in output.splitlines()]
    assert reports
    assert {message for _, message, _ in reports} == {"socket.accept() out of system resource"}
    assert all("Too many open files" in error for _, _, error in reports)
    REPORTS_ONE_SHORTAGE_OFTEN.skip_asyncio(loop_name)
    assert len(reports) <= seconds + 2
    times = [float(when) for when, _, _ in reports]
    assert all(later - earlier >= 0.5 for earlier, later in itertools.pairwise(times))


class Flood:
    """A thread that sends to a port and discards the replies until it is stopped."""

    def __init__(self, port: int) -> None:
        """Connects and starts."""
        self._sock = socket.create_connection((LOCALHOST, port), PATIENCE_S)
        self._threads = [threading.Thread(target=work) for work in (self._send, self._receive)]
        self._stopping = False
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the flood. Does not wait, because the loop has to read what is in flight."""
        self._stopping = True

    @property
    def over(self) -> bool:
        """Returns whether everything in flight has arrived."""
        return not any(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Joins the threads."""
        for thread in self._threads:
            thread.join()
        self._sock.close()

    def _send(self) -> None:
        block = bytes(64 * 1024)
        while not self._stopping:
            self._sock.sendall(block)
        self._sock.shutdown(socket.SHUT_WR)

    def _receive(self) -> None:
        while self._sock.recv(1 << 20):
            pass


class Echo(Recorder):
    """Sends back what it receives, reading no faster than it can write."""

    def data_received(self, data: bytes) -> None:
        """Sends the data back."""
        self.calls.append("data_received")
        self.transport.write(data)

    def pause_writing(self) -> None:
        """Pauses reading."""
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Resumes reading."""
        self.transport.resume_reading()


@pytest.mark.slow
def test_a_busy_connection_starves_no_other(loop: asyncio.AbstractEventLoop) -> None:
    """While two connections are flooded, new ones are accepted and small messages are echoed."""

    async def main() -> None:
        async with await loop.create_server(Echo, LOCALHOST, 0) as server:
            port = port_of(server)
            floods = [Flood(port) for _ in range(2)]
            try:
                reader, writer = await asyncio.open_connection(LOCALHOST, port)
                for number in range(30):
                    writer.write(b"%d." % number)
                    assert await reader.readuntil(b".") == b"%d." % number
                    fresh_reader, fresh_writer = await asyncio.open_connection(LOCALHOST, port)
                    fresh_writer.write(b"hello")
                    assert await fresh_reader.readexactly(5) == b"hello"
                    fresh_writer.close()
                    await fresh_writer.wait_closed()
                assert not any(flood.over for flood in floods)
                writer.close()
                await writer.wait_closed()
            finally:
                for flood in floods:
                    flood.stop()
                for flood in floods:
                    await loop.run_in_executor(None, flood.close)

    loop.run_until_complete(main())


@pytest.mark.slow
def test_a_storm_of_connections_starves_no_other(loop: asyncio.AbstractEventLoop) -> None:
    """While other clients connect and disconnect at full speed, a connection is served."""

    async def main() -> None:
        async with await loop.create_server(Echo, LOCALHOST, 0) as server:
            port = port_of(server)
            stopping = threading.Event()
            stormed = 0

            def storm() -> None:
                nonlocal stormed
                while not stopping.is_set():
                    with socket.create_connection((LOCALHOST, port), PATIENCE_S) as peer:
                        peer.sendall(b"hello")
                        assert peer.recv(5) == b"hello"
                    stormed += 1

            storms = [loop.run_in_executor(None, storm) for _ in range(3)]
            reader, writer = await asyncio.open_connection(LOCALHOST, port)
            number = 0
            while number < 200 or stormed < 200:
                number += 1
                writer.write(b"%d." % number)
                assert await reader.readuntil(b".") == b"%d." % number
            writer.close()
            await writer.wait_closed()
            stopping.set()
            await asyncio.gather(*storms)

    loop.run_until_complete(main())
