"""`Limits`: what each does to a client that deserves it, and not to others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from typing import TYPE_CHECKING, Any, cast

import pytest

import yamanote
from tests.forks import in_child
from tests.tls.certificates import client_context, server_context

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

#: Seconds: short, and long enough for a busy machine to be on time with what is not late.
SHORT = 0.3


class Recorder(asyncio.Protocol):
    """Echoes, and records what it is called with."""

    transport: Any

    def __init__(self, made: list[Recorder]) -> None:
        """Add itself to `made`, for the test."""
        made.append(self)
        loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[Exception | None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Echo."""
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Store the reason."""
        self.lost.set_result(exc)


@contextlib.asynccontextmanager
async def serving(
    factory: Callable[[], asyncio.BaseProtocol], **options: Any
) -> AsyncGenerator[tuple[yamanote.Server, tuple[str, int]]]:
    """Serve on a free port; close all connections at the end."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, "127.0.0.1", 0, **options)
    assert isinstance(server, yamanote.Server)
    try:
        yield server, server.sockets[0].getsockname()
    finally:
        server.close()
        for transport in list(cast("Any", server)._clients or ()):
            transport.abort()


async def until_closed(client: socket.socket) -> bytes:
    """Return what comes until the end of the stream."""
    loop = asyncio.get_running_loop()
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := await loop.sock_recv(client, 1 << 16):
            received += data
    return received


async def connected(address: tuple[str, int], **options: int) -> socket.socket:
    """Return a connection that knows nothing of protocols."""
    client = socket.socket()
    client.setblocking(False)
    for name, value in options.items():
        client.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    await asyncio.get_running_loop().sock_connect(client, address)
    return client


async def stuck(address: tuple[str, int], made: list[Recorder]) -> tuple[socket.socket, Recorder]:
    """Return a client for which more waits than it and the kernel take, and the protocol."""
    loop = asyncio.get_running_loop()
    client = await connected(address, SO_RCVBUF=4096)
    await loop.sock_sendall(client, b"x")
    await loop.sock_recv(client, 1)
    made[-1].transport.write(bytes(8 << 20))
    assert made[-1].transport.get_write_buffer_size() > 0
    return client, made[-1]


def test_a_silent_client_is_closed_and_one_that_spoke_is_not() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Recorder] = []
        async with serving(lambda: Recorder(made)) as (_, address):
            speaks = await connected(address)
            await loop.sock_sendall(speaks, b"x")
            assert await loop.sock_recv(speaks, 1) == b"x"
            begin = loop.time()
            silent = await connected(address)
            assert await until_closed(silent) == b""
            assert loop.time() - begin >= SHORT
            assert await made[1].lost is None
            await loop.sock_sendall(speaks, b"y")
            assert await loop.sock_recv(speaks, 1) == b"y"
            metrics = yamanote_loop().metrics()
            assert metrics.first_byte_timeouts == 1
            silent.close()
            speaks.close()

    yamanote.run(main(), limits=yamanote.Limits(first_byte=SHORT))


def yamanote_loop() -> yamanote.Loop:
    """Return the running loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, yamanote.Loop)
    return loop


def test_an_idle_client_is_closed_unless_its_transport_may_be_idle() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Recorder] = []
        async with serving(lambda: Recorder(made)) as (_, address):
            clients = [await connected(address) for _ in range(2)]
            for client in clients:
                await loop.sock_sendall(client, b"x")
                assert await loop.sock_recv(client, 1) == b"x"
            made[1].transport.set_limits(idle=None)
            assert await until_closed(clients[0]) == b""
            assert await made[0].lost is None
            # The other one goes on, also after several times the limit.
            await asyncio.sleep(3 * SHORT)
            await loop.sock_sendall(clients[1], b"y")
            assert await loop.sock_recv(clients[1], 1) == b"y"
            assert yamanote_loop().metrics().idle_timeouts == 1
            for client in clients:
                client.close()

    yamanote.run(main(), limits=yamanote.Limits(idle=SHORT))


def test_a_client_that_takes_nothing_is_closed_and_a_slow_one_is_not() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Recorder] = []
        async with serving(lambda: Recorder(made)) as (_, address):
            slow, goes_on = await stuck(address, made)
            stands, ends = await stuck(address, made)
            reading = loop.create_task(trickle(slow))
            assert await ends.lost is None
            assert not goes_on.lost.done()
            assert yamanote_loop().metrics().write_stalls == 1
            reading.cancel()
            stands.close()
            slow.close()

    yamanote.run(main(), limits=yamanote.Limits(write_stall=4 * SHORT))


async def trickle(client: socket.socket) -> None:
    """Read, slowly and for ever."""
    while True:
        await asyncio.get_running_loop().sock_recv(client, 1 << 16)
        await asyncio.sleep(SHORT / 20)


def test_a_transport_that_closes_does_not_wait_for_ever_for_its_peer() -> None:
    async def main() -> None:
        made: list[Recorder] = []
        async with serving(lambda: Recorder(made)) as (_, address):
            client, protocol = await stuck(address, made)
            protocol.transport.close()
            assert await protocol.lost is None
            client.close()

    yamanote.run(main(), limits=yamanote.Limits(write_stall=SHORT))


def test_a_handshake_that_trickles_is_cut_off() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Recorder] = []
        async with serving(lambda: Recorder(made), ssl=server_context()) as (_, address):
            reader, writer = await asyncio.open_connection(
                *address, ssl=client_context(), server_hostname="localhost"
            )
            trickles = await connected(address)
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
            hello = outgoing.read()
            ended = loop.create_task(until_closed(trickles))
            for index in range(len(hello)):
                if ended.done():
                    break
                await loop.sock_sendall(trickles, hello[index : index + 1])
                await asyncio.sleep(SHORT / 10)
            assert await ended == b""
            assert yamanote_loop().metrics().handshake_timeouts == 1
            writer.write(b"still here")
            assert await reader.readexactly(10) == b"still here"
            writer.close()
            trickles.close()

    yamanote.run(main(), limits=yamanote.Limits(handshake=SHORT))


def test_a_full_server_accepts_when_one_has_left() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Recorder] = []
        async with serving(lambda: Recorder(made)) as (server, address):
            server.set_limits(max_connections=3)
            clients = [await connected(address) for _ in range(8)]
            for client in clients:
                await loop.sock_sendall(client, b"x")
            for served, client in enumerate(clients):
                # In the order in which the kernel has them.
                assert await loop.sock_recv(client, 1) == b"x"
                assert len(made) <= served + 3
                client.close()
            assert len(made) == 8
            assert yamanote_loop().metrics().accept_pauses > 0

    yamanote.run(main())


@pytest.mark.parametrize("tls", [False, True])
def test_the_limit_of_a_loop_holds_for_all_its_servers(tls: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Recorder] = []
        options: dict[str, Any] = {"ssl": server_context()} if tls else {}
        async with (
            serving(lambda: Recorder(made), **options) as (_, first),
            serving(lambda: Recorder(made), **options) as (_, second),
        ):
            counts: list[int] = []

            async def ask(address: tuple[str, int]) -> None:
                ssl_options: dict[str, Any] = {}
                if tls:
                    ssl_options = {"ssl": client_context(), "server_hostname": "localhost"}
                reader, writer = await asyncio.open_connection(*address, **ssl_options)
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
                counts.append(sum(not it.lost.done() for it in made))
                writer.close()
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    await writer.wait_closed()

            asks = [loop.create_task(ask(address)) for address in (first, second) * 10]
            await asyncio.gather(*asks)
            assert len(made) == 20
            assert max(counts) <= 2

    yamanote.run(main(), limits=yamanote.Limits(max_connections=2))


def test_a_rate_spreads_connections_over_time() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Recorder] = []
        async with serving(lambda: Recorder(made)) as (_, address):
            begin = loop.time()
            clients = [await connected(address) for _ in range(20)]
            for client in clients:
                await loop.sock_sendall(client, b"x")
                assert await loop.sock_recv(client, 1) == b"x"
                client.close()
            # 40 a second, of which a twentieth of a second's may come ahead.
            assert loop.time() - begin >= (20 - 1) / 40 - 0.05

    yamanote.run(main(), limits=yamanote.Limits(accept_rate=40))


def test_what_limits_end_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serving(lambda: Recorder([])) as (_, address):
            for _ in range(2):
                clients = [await connected(address) for _ in range(3)]
                for client in clients:
                    await until_closed(client)
                    client.close()

    with caplog.at_level(logging.WARNING, "yamanote"):
        yamanote.run(main(), limits=yamanote.Limits(first_byte=0.05))
    messages = [it.getMessage() for it in caplog.records if it.name == "yamanote"]
    assert len(messages) == 1
    assert "first_byte" in messages[0]


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each line with a KiB, and the line "endless" with bytes that never end."""
    try:
        while line := await reader.readline():
            if line == b"endless\n":
                while True:
                    writer.write(CHUNK)
                    await writer.drain()
            writer.write(CHUNK[:1024])
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


CHUNK = bytes(1 << 16)


class OwnClockLoop(yamanote.Loop):
    """A loop that does not leave its looks to the kernel's clock."""

    def time(self) -> float:
        """Return the time."""
        return super().time()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (yamanote.Loop, "_shed"),
        (yamanote.Loop, "_look"),
        (yamanote.Loop, "metrics"),
        (OwnClockLoop, "_shed"),
        (OwnClockLoop, "metrics"),
    ],
)
def test_a_look_that_fails_is_not_the_last(
    kind: type[yamanote.Loop], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle, before it, or because there was no memory even for its call."""
    monkeypatch.setattr("yamanote._limiting.RETRY_INTERVAL", 0.01)
    reported: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, it: reported.append(it))
        loop: Any = asyncio.get_running_loop()

        def fail() -> None:
            delattr(loop, name)
            raise MemoryError

        setattr(loop, name, fail)
        made: list[Recorder] = []
        async with serving(lambda: Recorder(made)) as (_, address):
            with await connected(address) as silent:
                assert await until_closed(silent) == b""
                assert await made[0].lost is None

    with contextlib.closing(kind()) as loop:
        loop.set_limits(first_byte=0.05)
        loop.run_until_complete(main())
    assert [type(context["exception"]) for context in reported] == [MemoryError]


def test_a_forked_child_looks_too() -> None:
    made: list[Recorder] = []

    async def accept(client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Recorder(made), "127.0.0.1", 0)
        await loop.sock_connect(client, server.sockets[0].getsockname())
        while not made:  # noqa: ASYNC110 - no event tells.
            await asyncio.sleep(0)
        server.close()

    loop = yamanote.new_event_loop(limits=yamanote.Limits(first_byte=SHORT))
    with contextlib.closing(loop), socket.socket() as client:
        client.setblocking(False)
        loop.run_until_complete(accept(client))
        assert in_child(lambda: loop.run_until_complete(made[0].lost)) == "None"
        assert loop.run_until_complete(made[0].lost) is None


@pytest.mark.parametrize("tls", [False, True])
def test_slow_readers_do_not_exhaust_memory_and_others_are_served(tls: bool) -> None:
    bound = 1 << 20
    options: dict[str, Any] = {}
    if tls:
        options = {"ssl": client_context(), "server_hostname": "localhost"}

    async def main() -> None:
        loop = yamanote_loop()
        server = await asyncio.start_server(
            endless, "127.0.0.1", 0, ssl=server_context() if tls else None
        )
        address = server.sockets[0].getsockname()
        slow: list[asyncio.StreamWriter] = []
        async with server:
            for _ in range(40):
                client = socket.socket()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.setblocking(False)
                await loop.sock_connect(client, address)
                # Small, so that the rest waits in the server.
                reader, writer = await asyncio.open_connection(sock=client, limit=1024, **options)
                writer.write(b"endless\n")
                slow.append(writer)
            reader, writer = await asyncio.open_connection(*address, **options)
            most = asked = 0
            while asked < 200 or most < bound // 4:  # Until the kernel is full of answers.
                writer.write(b"x\n")
                assert len(await reader.readexactly(1024)) == 1024
                most = max(most, loop.metrics().buffered_bytes)
                asked += 1
            assert most <= bound
            for each in slow:
                each.transport.abort()
            writer.write(b"x\n")
            assert len(await reader.readexactly(1024)) == 1024
            writer.close()

    yamanote.run(main(), limits=yamanote.Limits(buffered=bound))
