"""Bad weather: bytes survive it, programs meet it, and it is over when it is over."""

from __future__ import annotations

import asyncio
import errno
import itertools
import random
import socket
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

import yamanote
from tests import forks
from tests.tls import certificates
from yamanote import testing
from yamanote.testing import FaultCounts, Faults, ScheduleError, explore, faults

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from pathlib import Path

    _T = TypeVar("_T")
    _P = TypeVar("_P", bound=asyncio.BaseProtocol)

#: Reads and writes as usual.
CALM: dict[str, float] = {"pieces": 0, "late": 0, "resets": 0, "connects": 0, "accepts": 0}
#: What only wrong programs mind.
MILD: dict[str, float] = {"resets": 0, "connects": 0, "accepts": 0}
#: Longer than any test takes.
LONG_S = 1000.0


def run(main: Coroutine[Any, Any, _T], *, virtual_time: bool = True) -> _T:
    """Runs `main` on a new loop with virtual time.

    What it sends to itself has arrived when a send returns, so there is not much to wait for.
    """
    with asyncio.Runner(loop_factory=partial(new_event_loop, virtual_time)) as runner:
        return runner.run(main)


def new_event_loop(virtual_time: bool) -> yamanote.Loop:
    return testing.new_event_loop(real_io=0.01, virtual_time=virtual_time)


def running_loop() -> yamanote.Loop:
    """Returns the loop that is running."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, yamanote.Loop)
    return loop


def ignore(_: asyncio.AbstractEventLoop, __: dict[str, Any]) -> None:
    """Handles no exception."""


async def until(is_true: Callable[[], object]) -> None:
    """Waits for what has no event."""
    while not is_true():  # noqa: ASYNC110
        await asyncio.sleep(0)


def weather(seed: int, **options: float) -> Faults:
    """Faults for the loop that is running."""
    return faults(asyncio.get_running_loop(), seed=seed, **options)


class _Plain(asyncio.Protocol):
    """Notes what it reads."""

    def __init__(self) -> None:
        self.reads: list[bytes] = []
        self.size = 0
        self.paused = False
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.grown = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.reads.append(bytes(data))
        self.size += len(data)
        self.grown.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    async def until(self, size: int) -> bytes:
        """Returns what it has read, once that is `size` bytes or more."""
        while self.size < size:
            self.grown.clear()
            await self.grown.wait()
        return b"".join(self.reads)


class _Buffered(_Plain, asyncio.BufferedProtocol):
    """Reads into a buffer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = bytearray(1000)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self.buffer[:nbytes]))


class _Net:
    """Servers and clients of one kind of connection."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.path = str(folder / "socket")
        self.server_options: dict[str, Any] = {}
        self.client_options: dict[str, Any] = {}
        if kind == "tls":
            self.server_options = {"ssl": certificates.server_context()}
            self.client_options = {
                "ssl": certificates.client_context(),
                "server_hostname": certificates.NAME,
            }

    async def serve(self, factory: Callable[[], asyncio.BaseProtocol]) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        if self.kind == "unix":
            return await loop.create_unix_server(factory, self.path)
        self.server = await loop.create_server(factory, "127.0.0.1", 0, **self.server_options)
        return self.server

    async def connect(self, factory: Callable[[], _P]) -> _P:
        """Returns a connected client's protocol."""
        return (await self._connect(factory))[1]

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Returns the streams of a client."""
        loop = running_loop()
        reader = asyncio.StreamReader()
        transport, protocol = await self._connect(lambda: asyncio.StreamReaderProtocol(reader))
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _connect(self, factory: Callable[[], _P]) -> tuple[asyncio.Transport, _P]:
        loop = running_loop()
        if self.kind == "unix":
            return await loop.create_unix_connection(factory, self.path)
        address = self.server.sockets[0].getsockname()
        return await loop.create_connection(factory, *address, **self.client_options)

    async def pair(self, kind: type[_Plain]) -> tuple[asyncio.Server, _Plain, _Plain]:
        """Returns a server and the two ends of a connection to it."""
        accepted: asyncio.Queue[_Plain] = asyncio.Queue()

        class Server(kind):  # type: ignore[valid-type, misc]
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                accepted.put_nowait(self)

        server = await self.serve(Server)
        client = await self.connect(kind)
        return server, client, await accepted.get()


@pytest.fixture(params=["tcp", "unix", "tls"])
def net(request: pytest.FixtureRequest, tmp_path: Path) -> _Net:
    return _Net(request.param, tmp_path)


@pytest.fixture
def tcp(tmp_path: Path) -> _Net:
    return _Net("tcp", tmp_path)


def messages(seed: int, most: int = 20_000) -> list[bytes]:
    """Returns messages of random sizes, small ones more often."""
    source = random.Random(seed)
    return [source.randbytes(int(most ** source.random())) for _ in range(20)]


async def send(end: _Plain, parts: Iterable[bytes], seed: int) -> None:
    """Sends in any way there is."""
    source = random.Random(seed)
    for part in parts:
        way = source.randrange(4)
        if way == 0:
            end.transport.writelines([part[:3], part[3:]])
        elif way == 1:
            end.transport.write(bytearray(part))
        else:
            end.transport.write(part)
        if way == 3:
            await asyncio.sleep(source.choice((0, 0.003)))
        if way == 2 and source.random() < 0.3:
            end.transport.pause_reading()
            await asyncio.sleep(0.001)
            end.transport.resume_reading()


@pytest.mark.parametrize("kind", [_Plain, _Buffered])
@pytest.mark.parametrize("virtual_time", [True, False])
def test_bytes_survive_pieces_and_delays(
    net: _Net, kind: type[_Plain], *, virtual_time: bool
) -> None:
    async def main(seed: int) -> FaultCounts:
        there, back = messages(seed), messages(-seed)
        with weather(seed, **MILD, delay=0.003) as it:
            server, client, peer = await net.pair(kind)
            await asyncio.gather(send(client, there, seed), send(peer, back, seed + 1))
            assert await peer.until(len(b"".join(there))) == b"".join(there)
            assert await client.until(len(b"".join(back))) == b"".join(back)
            client.transport.close()
            assert await client.lost is None
            assert await peer.lost is None
            server.close()
        return it.counts

    met = [run(main(seed), virtual_time=virtual_time) for seed in range(10)]
    assert all(it.pieces and it.late for it in met)


def test_streams_survive_pieces_and_delays(net: _Net) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
            writer.write(await reader.readexactly(int(line)))
            await writer.drain()
        writer.close()

    def server_protocol() -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), serve)

    async def main(seed: int) -> None:
        with weather(seed, **MILD, delay=0.003):
            server = await net.serve(server_protocol)
            reader, writer = await net.open()
            for part in messages(seed):
                writer.write(b"%d\n" % len(part))
                writer.write(part)
                await writer.drain()
                assert await reader.readline() == b"%d\n" % len(part)
                assert await reader.readexactly(len(part)) == part
            writer.close()
            await writer.wait_closed()
            server.close()

    for seed in range(10):
        run(main(seed))


def test_the_end_of_a_stream_comes_after_what_was_written_before(tcp: _Net) -> None:
    class Answering(_Plain):
        def eof_received(self) -> bool:
            self.transport.write(b"".join(self.reads))
            self.transport.write_eof()
            return False

    async def main(seed: int) -> int:
        data = b"".join(messages(seed))
        with weather(seed, **MILD) as it:
            server = await tcp.serve(Answering)
            client = await tcp.connect(_Plain)
            client.transport.write(data)
            client.transport.write_eof()
            assert await client.lost is None
            assert b"".join(client.reads) == data
            server.close()
        return it.counts.pieces

    assert sum(run(main(seed)) for seed in range(10)) > 10


def test_a_file_is_sent_after_what_is_late(tcp: _Net, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"f" * 300_000)

    async def main(seed: int) -> None:
        with weather(seed, **MILD):
            server, client, peer = await tcp.pair(_Plain)
            client.transport.write(b"head")
            with path.open("rb") as file:
                await asyncio.get_running_loop().sendfile(client.transport, file)
            client.transport.write(b"tail")
            assert await peer.until(300_008) == b"head" + path.read_bytes() + b"tail"
            client.transport.close()
            await peer.lost
            server.close()

    for seed in range(5):
        run(main(seed))


async def raw_pair(family: int = socket.AF_INET) -> tuple[_Plain, socket.socket]:
    """Returns a client's protocol and a non-blocking socket that it is connected to."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        address = listening.getsockname()
        (_, client), (peer, _) = await asyncio.gather(
            loop.create_connection(_Plain, *address), loop.sock_accept(listening)
        )
    peer.setblocking(False)
    return client, peer


def test_each_cut_of_a_read_is_counted() -> None:
    async def main() -> None:
        with weather(1, **CALM | {"pieces": 1}) as it:
            client, peer = await raw_pair()
            peer.send(bytes(100_000))
            await client.until(100_000)
            assert it.counts == FaultCounts(pieces=len(client.reads) - 1)
            assert it.counts.pieces > 2
            client.transport.close()
            await client.lost
            peer.close()

    run(main())


def test_each_cut_of_a_write_is_counted() -> None:
    async def main() -> None:
        with weather(1, **CALM | {"pieces": 1}) as it:
            client, peer = await raw_pair()
            client.transport.write(bytes(10_000))
            sizes = [client.transport.get_write_buffer_size()]
            while sizes[-1]:
                await asyncio.sleep(0)
                sizes.append(client.transport.get_write_buffer_size())
            assert it.counts.pieces == len(set(sizes)) - 1
            assert it.counts.pieces > 2
            assert len(peer.recv(20_000)) == 10_000
            client.transport.close()
            await client.lost
            peer.close()

    run(main())


def test_each_delay_is_counted_and_as_long_as_said() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with weather(1, **CALM | {"late": 1}, delay=20) as it:
            client, peer = await raw_pair()
            assert it.counts == FaultCounts(late=1)  # The connection.
            passed: list[float] = []
            for number in range(2, 12):
                before = loop.time()
                peer.send(b"x")
                await client.until(number - 1)
                assert it.counts == FaultCounts(late=number)
                passed.append(loop.time() - before)
            assert all(0.001 <= it <= 20 for it in passed)
            assert min(passed) < 1 < max(passed)
            client.transport.close()
            await client.lost
            peer.close()

    run(main())


@pytest.mark.parametrize("kind", ["tcp", "unix"])  # Signatures of TLS differ in length.
def test_the_same_seed_leads_to_the_same_faults(kind: str, tmp_path: Path) -> None:
    net = _Net(kind, tmp_path)

    async def main(seed: int) -> tuple[list[str], list[int], float]:
        loop = asyncio.get_running_loop()
        with weather(seed, late=0.2, resets=0.3, connects=0.3, accepts=0.3) as it:
            loop.set_exception_handler(ignore)
            server = await net.serve(_Plain)
            clients: list[_Plain] = []
            for number in range(5):
                try:
                    client = await net.connect(_Plain)
                except OSError:
                    continue
                clients.append(client)
                await send(client, messages(number), number)
            await asyncio.wait([it.lost for it in clients], timeout=20)
            for client in clients:
                client.transport.abort()
            server.close()
        return it.log, [client.transport.is_closing() for client in clients], loop.time()

    logs: list[list[str]] = []
    for seed in range(4):
        first, second = (run(main(seed)) for _ in range(2))
        assert first == second
        logs.append(first[0])
    assert all(a != b for a, b in itertools.combinations(logs, 2))


@pytest.mark.parametrize("seed", range(8))
def test_a_reset_reaches_both_ends_as_the_kernels(seed: int) -> None:
    async def main() -> Faults:
        loop = asyncio.get_running_loop()
        with weather(seed, **CALM | {"resets": 1}) as it:
            client, peer = await raw_pair()

            async def talk() -> None:
                while True:
                    await loop.sock_sendall(peer, b"x")
                    client.transport.write(b"y")
                    await loop.sock_recv(peer, 1)

            with pytest.raises(ConnectionResetError):
                await talk()
            error = await client.lost
            assert isinstance(error, ConnectionResetError)
            assert error.errno == errno.ECONNRESET
            peer.close()
        assert it.counts == FaultCounts(resets=1)
        assert it.log[-1] == "connection 1: reset"
        return it

    run(main())


def test_a_reset_ends_the_waits_of_streams(net: _Net) -> None:
    async def main(seed: int) -> bool:
        with weather(seed, **CALM | {"resets": 0.5}):
            server = await net.serve(_Plain)
            try:
                _, writer = await net.open()
            except OSError:  # A handshake of TLS has failed.
                server.close()
                return True
            try:
                for _ in range(20):
                    writer.write(b"x" * 100)
                    await writer.drain()
                    await asyncio.sleep(0.001)
                return False
            except ConnectionError:
                return True
            finally:
                writer.transport.abort()
                server.close()

    assert {run(main(seed)) for seed in range(10)} == {True, False}


@pytest.mark.parametrize("path", ["native", "debug", "sock_connect"])
def test_a_connection_is_refused_or_times_out(tcp: _Net, path: str) -> None:
    async def connect() -> None:
        loop = asyncio.get_running_loop()
        if path != "sock_connect":
            await tcp.connect(_Plain)
            return
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, tcp.server.sockets[0].getsockname())

    async def main(seed: int) -> tuple[str, int | None]:
        loop = asyncio.get_running_loop()
        loop.set_debug(path == "debug")
        with weather(seed, **CALM | {"connects": 1}) as it:
            server = await tcp.serve(_Plain)
            began = loop.time()
            with pytest.raises(OSError, match="Connect call failed") as caught:
                await connect()
            passed = loop.time() - began
            kind = it.log[-1].removeprefix("connect 1: ")
            assert it.counts == FaultCounts(connects=1)
            assert passed == 127 if kind == "not answered" else 0.001 <= passed <= 0.05
            assert isinstance(
                caught.value, ConnectionRefusedError if kind == "refused" else TimeoutError
            )
            server.close()
        return kind, caught.value.errno

    assert {run(main(seed)) for seed in range(12)} == {
        ("refused", errno.ECONNREFUSED),
        ("timed out", errno.ETIMEDOUT),
        ("not answered", errno.ETIMEDOUT),
    }


async def connect_in_the_end(net: _Net) -> _Plain:
    """Returns a client's protocol, after as many tries as it takes."""
    tries = 0
    while True:
        try:
            async with asyncio.timeout(10):
                return await net.connect(_Plain)
        except OSError:
            await asyncio.sleep(2**tries)
            tries += 1


def test_a_client_tries_again_until_it_is_connected(net: _Net) -> None:
    async def main(seed: int) -> int:
        with weather(seed, **CALM | {"connects": 0.7}) as it:
            server = await net.serve(_Plain)
            client = await connect_in_the_end(net)
            client.transport.abort()
            server.close()
        return it.counts.connects

    assert len({run(main(seed)) for seed in range(10)}) > 3


def test_a_connection_to_a_path_does_not_time_out(tmp_path: Path) -> None:
    net = _Net("unix", tmp_path)

    async def main(seed: int) -> str:
        with weather(seed, **CALM | {"connects": 1}) as it:
            server = await net.serve(_Plain)
            try:
                client = await net.connect(_Plain)
            except ConnectionRefusedError:
                assert running_loop().time() <= 0.05
            else:
                assert running_loop().time() == 127
                client.transport.abort()
            server.close()
        return it.log[-1]

    said = {run(main(seed)) for seed in range(12)}
    assert said == {"connect 1: refused", "connect 1: not answered"}


def test_accept_meets_emfile_and_the_loop_tries_again(net: _Net) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: told.append(context))
        with weather(1, **CALM | {"accepts": 1}) as it:
            server, client, peer = await net.pair(_Plain)
            assert 1 <= loop.time() < 2
            [context] = told
            assert context["message"] == "socket.accept() out of system resource"
            assert context["exception"].errno == errno.EMFILE
            assert it.counts == FaultCounts(accepts=1)
            client.transport.write(b"served")
            assert await peer.until(6) == b"served"
            client.transport.close()
            await peer.lost
            server.close()

    run(main())


def test_what_is_in_flight_is_delivered_when_faults_are_over(net: _Net) -> None:
    async def main() -> None:
        loop = running_loop()
        server, client, peer = await net.pair(_Plain)
        with weather(1, **CALM | {"late": 1}, delay=LONG_S) as it:
            client.transport.write(b"there")
            peer.transport.write(b"back")
            for _ in range(10):
                await asyncio.sleep(0)
            assert it.counts.late >= 2  # TLS also sends by itself.
            assert loop._pending_timers()
        assert not loop._pending_timers()
        assert await peer.until(5) == b"there"
        assert await client.until(4) == b"back"
        assert loop.time() == 0
        client.transport.close()
        await peer.lost
        server.close()

    run(main())


def test_what_was_read_late_is_delivered_when_faults_are_over() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        client, peer = await raw_pair()
        with weather(1, **CALM | {"late": 1}, delay=LONG_S) as it:
            peer.send(b"late")
            await until(lambda: it.counts.late)
        assert await client.until(4) == b"late"
        assert loop.time() == 0
        client.transport.close()
        await client.lost
        peer.close()

    run(main())


@pytest.mark.parametrize("late", [0, 1])
def test_what_is_in_flight_has_left_even_if_the_loop_never_runs_again(late: float) -> None:
    loop = yamanote.new_event_loop()
    client, peer = loop.run_until_complete(raw_pair())

    async def main() -> None:
        client.transport.write(bytes(10_000))

    with faults(loop, seed=1, **CALM | {"late": late, "pieces": 1}, delay=LONG_S):
        loop.run_until_complete(main())
        if late:
            with pytest.raises(BlockingIOError):
                peer.recv(20_000)
    assert len(peer.recv(20_000)) == 10_000
    peer.close()
    client.transport.abort()
    loop.run_until_complete(client.lost)
    loop.close()


def test_a_connection_that_hangs_is_made_when_faults_are_over(net: _Net) -> None:
    async def main(seed: int) -> str:
        loop = running_loop()
        server = await net.serve(_Plain)
        with weather(seed, **CALM | {"connects": 1}) as it:
            connecting = loop.create_task(net.connect(_Plain))
            await until(lambda: it.log)
        client = await connecting
        assert loop.time() == 0
        client.transport.abort()
        server.close()
        return it.log[-1]

    assert len({run(main(seed)) for seed in range(12)}) >= 2


def test_a_connection_that_is_cancelled_leaves_no_timer(tcp: _Net) -> None:
    async def main() -> None:
        loop = running_loop()
        server = await tcp.serve(_Plain)
        with weather(1, **CALM | {"connects": 1}) as it:
            connecting = loop.create_task(tcp.connect(_Plain))
            await until(lambda: it.log)
            assert loop._pending_timers()
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            assert not loop._pending_timers()
        server.close()

    run(main())


def test_a_client_that_waits_for_accept_is_served_when_faults_are_over(net: _Net) -> None:
    async def main() -> None:
        loop = running_loop()
        told = asyncio.Event()
        loop.set_exception_handler(lambda _, __: told.set())
        with weather(1, **CALM | {"accepts": 1}):
            pairing = loop.create_task(net.pair(_Plain))
            await told.wait()
        assert not (net.kind != "tls" and loop._pending_timers())  # A handshake has a time limit.
        server, client, peer = await pairing
        assert loop.time() < 1
        client.transport.close()
        await peer.lost
        server.close()

    run(main())


def test_the_loop_is_as_before_when_faults_are_over(tcp: _Net) -> None:
    async def main() -> None:
        loop = running_loop()
        with weather(1, pieces=1, late=1, resets=0, connects=1, accepts=1):
            pass
        server, client, peer = await tcp.pair(_Plain)
        assert loop._may_connect_natively()  # pyright: ignore[reportPrivateUsage]
        for number in range(100):
            client.transport.write(bytes(100))
            assert client.transport.get_write_buffer_size() == 0
            await peer.until(100 * (number + 1))
        assert {len(read) for read in peer.reads} == {100}
        client.transport.close()
        await peer.lost
        server.close()
        assert loop.time() == 0

    run(main())


def test_another_loop_has_no_faults() -> None:
    other = yamanote.new_event_loop()

    async def main() -> None:
        client, peer = await raw_pair()
        peer.send(bytes(1000))
        assert await client.until(1000) == bytes(1000)
        assert len(client.reads) == 1
        client.transport.close()
        await client.lost
        peer.close()

    loop = yamanote.new_event_loop()
    with faults(loop, seed=1, pieces=1):
        other.run_until_complete(main())
    other.close()
    loop.close()


async def serve_squares(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.readline():
            writer.write(b"%d\n" % int(line) ** 2)
    finally:
        writer.close()


async def ask_squares(read: Callable[[asyncio.StreamReader], Any], seed: int) -> None:
    """Asks a server for squares, and takes what `read` returns for an answer."""
    with weather(seed, **MILD, delay=0.002):
        server = await asyncio.start_server(serve_squares, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            for number in range(1000, 1010):
                writer.write(b"%d\n" % number)
                assert await read(reader) == b"%d\n" % number**2
        finally:
            writer.close()
            await writer.wait_closed()
            server.close()


def found_by(read: Callable[[asyncio.StreamReader], Any], seeds: Iterable[int]) -> list[int]:
    """Returns the seeds by which a client fails."""
    found: list[int] = []
    for seed in seeds:
        try:
            run(ask_squares(read, seed))
        except AssertionError:
            found.append(seed)
    return found


def test_a_client_that_takes_a_read_for_a_message_is_found() -> None:
    assert len(found_by(lambda reader: reader.read(100), range(5))) >= 3


def test_a_client_that_reads_lines_is_never_accused() -> None:
    assert not found_by(lambda reader: reader.readline(), range(100))


def test_faults_and_orders_are_explored_together() -> None:
    seeds = itertools.count()

    async def main() -> None:
        await ask_squares(lambda reader: reader.readline(), next(seeds))

    explore(main, seeds=20)

    async def wrong() -> None:
        await ask_squares(lambda reader: reader.read(100), 3)

    with pytest.raises(ScheduleError):
        explore(wrong, seeds=5)


def test_a_ctrl_c_while_python_chooses_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = yamanote.new_event_loop()
    client, peer = loop.run_until_complete(raw_pair())
    choose = Faults._transfer  # pyright: ignore[reportPrivateUsage]
    interrupts = iter([True, False, True, False])

    def interrupted(self: Faults, *arguments: Any) -> int:
        if next(interrupts, False):
            raise KeyboardInterrupt
        return choose(self, *arguments)

    monkeypatch.setattr(Faults, "_transfer", interrupted)

    async def write() -> None:
        client.transport.write(b"there")
        client.transport.write(b", too")

    async def both() -> None:
        assert await loop.sock_recv(peer, 100) == b"there"
        await client.until(4)

    with faults(loop, seed=1, **CALM):
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(write())
        peer.send(b"back")
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(both())
        loop.run_until_complete(client.until(4))
    peer.close()
    client.transport.abort()
    loop.run_until_complete(client.lost)
    loop.close()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_child_sends_nothing_of_its_parent() -> None:
    async def main() -> None:
        client, peer = await raw_pair()
        it = weather(1, **CALM | {"late": 1}, delay=LONG_S)
        with it:
            client.transport.write(b"once")

            def child() -> str:
                it.__exit__(None, None, None)
                return "over"

            assert forks.in_child(child) == "'over'"
            with pytest.raises(BlockingIOError):
                peer.recv(10)
        assert peer.recv(10) == b"once"
        client.transport.close()
        await client.lost
        peer.close()

    run(main())


def test_a_forked_child_has_faults_on_a_loop_of_its_own() -> None:
    def child() -> int:
        async def main() -> int:
            with weather(1, **CALM | {"pieces": 1}) as it:
                client, peer = await raw_pair()
                peer.send(bytes(1000))
                await client.until(1000)
                client.transport.abort()
                await client.lost
                peer.close()
            return it.counts.pieces

        asyncio._set_running_loop(None)
        return yamanote.run(main())

    async def main() -> None:
        with weather(1):
            assert int(forks.in_child(child)) > 2

    run(main())


def test_a_loop_of_another_kind_is_refused() -> None:
    loop = asyncio.SelectorEventLoop()
    with pytest.raises(TypeError, match="a loop of yamanote is required, not _UnixSelector"):
        faults(loop, seed=1)
    loop.close()


def test_a_closed_loop_is_refused() -> None:
    loop = yamanote.new_event_loop()
    it = faults(loop, seed=1)
    loop.close()
    with pytest.raises(RuntimeError, match="closed"), it:
        pass


def test_a_loop_may_be_closed_within() -> None:
    loop = yamanote.new_event_loop()
    client, peer = loop.run_until_complete(raw_pair())
    with faults(loop, seed=1, **CALM | {"late": 1}, delay=LONG_S):
        client.transport.write(b"late")
        client.transport.abort()
        loop.run_until_complete(client.lost)
        loop.close()
    peer.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_second_faults_are_refused_and_the_first_go_on(seed: int) -> None:
    loop = yamanote.new_event_loop()
    with faults(loop, seed=1, **CALM | {"pieces": 1}) as it:
        with pytest.raises(RuntimeError, match="has faults already"), faults(loop, seed=seed):
            pass

        async def main() -> None:
            client, peer = await raw_pair()
            peer.send(bytes(1000))
            await client.until(1000)
            client.transport.abort()
            await client.lost
            peer.close()

        loop.run_until_complete(main())
        assert it.counts.pieces
    with pytest.raises(RuntimeError, match="called again"), it:
        pass
    loop.close()


def test_another_thread_is_refused() -> None:
    loop = yamanote.new_event_loop()
    running = threading.Event()
    loop.call_soon(running.set)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    running.wait()
    with pytest.raises(RuntimeError, match="Non-thread-safe"), faults(loop, seed=1):
        pass
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    with faults(loop, seed=1):
        pass
    loop.close()


@pytest.mark.parametrize("name", ["pieces", "late", "resets", "connects", "accepts"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_probability_is_between_0_and_1(name: str, value: float) -> None:
    loop = yamanote.new_event_loop()
    with pytest.raises(ValueError, match=f"{name} must be a probability from 0 to 1"):
        faults(loop, seed=1, **{name: value})
    loop.close()


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_a_delay_is_a_number_of_seconds(value: float) -> None:
    loop = yamanote.new_event_loop()
    with pytest.raises(ValueError, match="delay must be a positive number of seconds"):
        faults(loop, seed=1, delay=value)
    loop.close()


def test_a_seed_is_an_integer() -> None:
    loop = yamanote.new_event_loop()
    wrong: Any = "1"
    with pytest.raises(TypeError):
        faults(loop, seed=wrong)
    loop.close()


def test_it_says_what_it_did() -> None:
    loop = yamanote.new_event_loop()
    it = faults(loop, seed=7)
    assert repr(it) == (
        "<Faults seed=7 FaultCounts(pieces=0, late=0, resets=0, connects=0, accepts=0)>"
    )
    loop.close()


def test_a_reader_that_pauses_between_two_pieces_gets_the_rest() -> None:
    async def main() -> None:
        with weather(1, **CALM | {"pieces": 1}):
            client, peer = await raw_pair()
            peer.send(bytes(1000))
            await client.until(1)
            while client.size < 1000:
                client.transport.pause_reading()
                for _ in range(3):
                    await asyncio.sleep(0)
                client.transport.resume_reading()
                await client.until(client.size + 1)
            client.transport.pause_reading()
        peer.send(b"more")
        client.transport.resume_reading()
        await client.until(1004)
        client.transport.close()
        await client.lost
        peer.close()

    run(main())
