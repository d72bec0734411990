"""`create_server` and the `Server` it returns."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import socket
import struct
import sys
import warnings
from asyncio.trsock import TransportSocket
from typing import TYPE_CHECKING, Any

import pytest

from tests.tcp.peers import read_to_end, turns
from tests.tcp.recorders import PATIENCE_S, Recorder
from tests.tcp.servers import (
    LOCALHOST,
    Greeter,
    greeting_from,
    needs_ipv6,
    outcome,
    port_of,
    served_connection,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.loops import LoopFactory

    Host = str | Sequence[str] | None

SERVER_LISTENS_TO_ITS_CLIENTS = pytest.mark.skipif(
    sys.version_info < (3, 13), reason="close_clients() and abort_clients() came with 3.13"
)


@pytest.mark.parametrize("host", [LOCALHOST, "localhost", None, "", [LOCALHOST], (LOCALHOST,)])
def test_a_server_listens_where_it_is_told(loop: asyncio.AbstractEventLoop, host: Host) -> None:
    async def main() -> None:
        server = await loop.create_server(Greeter, host, 0, family=socket.AF_INET)
        async with server:
            assert server.is_serving()
            assert len(server.sockets) == 1
            expected = "0.0.0.0" if not host else LOCALHOST
            assert server.sockets[0].getsockname()[0] == expected
            assert await greeting_from(LOCALHOST, port_of(server)) == b"hello"

    loop.run_until_complete(main())


@needs_ipv6
@pytest.mark.parametrize("host", [None, [LOCALHOST, "::1"], ["::1", LOCALHOST, LOCALHOST]])
def test_a_server_listens_on_every_family(loop: asyncio.AbstractEventLoop, host: Host) -> None:
    async def main() -> None:
        with socket.socket() as probe:  # A port that is free for both families.
            probe.bind((LOCALHOST, 0))
            port: int = probe.getsockname()[1]
        async with await loop.create_server(Greeter, host, port) as server:
            families = [sock.family for sock in server.sockets]
            assert sorted(families) == [socket.AF_INET, socket.AF_INET6]
            assert await greeting_from(LOCALHOST, port) == b"hello"
            assert await greeting_from("::1", port) == b"hello"
            for sock in server.sockets:
                if sock.family == socket.AF_INET6:
                    assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1

    loop.run_until_complete(main())


def test_sockets_is_a_tuple_of_transport_sockets(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await loop.create_server(Greeter, LOCALHOST, 0)
        assert isinstance(server, asyncio.AbstractServer)
        assert isinstance(server.sockets, tuple)
        kinds: list[type] = [type(sock) for sock in server.sockets]
        assert kinds == [TransportSocket]
        assert server.get_loop() is loop
        assert repr(server).startswith("<Server sockets=(")
        server.close()
        assert server.sockets == ()
        assert not server.is_serving()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_a_given_socket_is_used_as_it_is(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        sock = socket.socket()
        sock.bind((LOCALHOST, 0))
        address = sock.getsockname()
        async with await loop.create_server(Greeter, sock=sock) as server:
            assert server.sockets[0].fileno() == sock.fileno()
            assert not sock.getblocking()
            assert await greeting_from(*address) == b"hello"
        assert sock.fileno() == -1

    loop.run_until_complete(main())


def test_reuse_address_is_the_default(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        for given, expected in ((None, True), (True, True), (False, False)):
            server = await loop.create_server(Greeter, LOCALHOST, 0, reuse_address=given)
            async with server:
                sock = server.sockets[0]
                assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)) is expected

    loop.run_until_complete(main())


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="no SO_REUSEPORT on this platform")
def test_two_servers_share_a_port_with_reuse_port(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await loop.create_server(Greeter, LOCALHOST, 0, reuse_port=True)
        port = port_of(one)
        two = await loop.create_server(Greeter, LOCALHOST, port, reuse_port=True)
        assert port_of(two) == port
        for _ in range(8):
            assert await greeting_from(LOCALHOST, port) == b"hello"
        one.close()
        assert await greeting_from(LOCALHOST, port) == b"hello"
        two.close()
        await one.wait_closed()
        await two.wait_closed()

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="keep_alive came with 3.13")
def test_keep_alive_is_set_on_the_listener(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        for given, expected in ((None, False), (True, True), (False, False)):
            arguments: dict[str, Any] = {"keep_alive": given}
            async with await loop.create_server(Greeter, LOCALHOST, 0, **arguments) as server:
                sock = server.sockets[0]
                assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is expected

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO tells the backlog only on Linux")
def test_the_backlog_reaches_the_kernel(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with await loop.create_server(Greeter, LOCALHOST, 0, backlog=7) as server:
            information = server.sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
            assert isinstance(information, bytes)
            # For a listener, `tcpi_sacked` is the limit of its queue (linux/tcp.h, tcp_diag.c).
            assert struct.unpack_from("I", information, 28) == (7,)

    loop.run_until_complete(main())


BAD_SERVERS: dict[str, dict[str, Any]] = {
    "neither address nor socket": {},
    "host and socket": {"host": LOCALHOST, "port": 0, "sock": "stream"},
    "port and socket": {"port": 0, "sock": "stream"},
    "datagram socket": {"sock": "datagram"},
    "ssl is a bool": {"host": LOCALHOST, "port": 0, "ssl": False},
    "handshake timeout without ssl": {"host": LOCALHOST, "port": 0, "ssl_handshake_timeout": 1},
    "address that is not ours": {"host": "192.0.2.1", "port": 0},
}


@pytest.mark.parametrize("arguments", BAD_SERVERS.values(), ids=BAD_SERVERS)
def test_wrong_arguments_are_refused_as_asyncio_does(
    loop: asyncio.AbstractEventLoop, arguments: dict[str, Any]
) -> None:
    kinds = {"stream": socket.SOCK_STREAM, "datagram": socket.SOCK_DGRAM}
    with contextlib.ExitStack() as stack:
        given = dict(arguments)
        if "sock" in given:
            given["sock"] = stack.enter_context(socket.socket(type=kinds[given["sock"]]))
        reference = asyncio.new_event_loop()
        stack.callback(reference.close)
        expected = reference.run_until_complete(
            outcome(lambda: reference.create_server(Greeter, **given))
        )
        found = loop.run_until_complete(outcome(lambda: loop.create_server(Greeter, **given)))
        assert found == expected


def test_an_address_in_use_is_named(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.create_server((LOCALHOST, 0)) as taken:
            address = taken.getsockname()
            with pytest.raises(OSError, match="address already in use") as caught:
                await loop.create_server(Greeter, *address)
        assert caught.value.errno == errno.EADDRINUSE
        assert f"error while attempting to bind on address {address!r}" in str(caught.value)

    loop.run_until_complete(main())


def test_a_server_can_be_started_later(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await loop.create_server(Greeter, LOCALHOST, 0, start_serving=False)
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await greeting_from(LOCALHOST, port_of(server))
        await server.start_serving()
        await server.start_serving()  # A second call has no effect.
        assert server.is_serving()
        assert await greeting_from(LOCALHOST, port_of(server)) == b"hello"
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_cancelling_serve_forever_closes_the_server(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await loop.create_server(Greeter, LOCALHOST, 0, start_serving=False)
        serving = loop.create_task(server.serve_forever())
        await turns(2)
        assert server.is_serving()
        with pytest.raises(RuntimeError, match="is already being awaited on serve_forever"):
            await server.serve_forever()
        assert await greeting_from(LOCALHOST, port_of(server)) == b"hello"
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert not server.is_serving()
        assert server.sockets == ()
        with pytest.raises(RuntimeError, match="is closed"):
            await server.serve_forever()

    loop.run_until_complete(main())


def test_closing_the_server_ends_serve_forever(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await loop.create_server(Greeter, LOCALHOST, 0)
        serving = loop.create_task(server.serve_forever())
        await turns(2)
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await serving

    loop.run_until_complete(main())


def test_async_with_closes_the_server(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with await loop.create_server(Greeter, LOCALHOST, 0) as server:
            port = port_of(server)
            assert server.is_serving()
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await greeting_from(LOCALHOST, port)

    loop.run_until_complete(main())


def test_close_leaves_connections_alone(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server, protocol, peer = await served_connection(loop)
        with peer:
            server.close()
            server.close()  # A second call has no effect.
            await turns(3)
            peer.sendall(b"still here")
            await protocol.until_received(10)
            assert protocol.calls == ["connection_made", "data_received"]
            protocol.transport.write(b"so am I")
            await turns(2)
            assert peer.recv(100) == b"so am I"
        await protocol.until_lost()

    loop.run_until_complete(main())


def test_wait_closed_on_a_closed_idle_server_returns(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await loop.create_server(Greeter, LOCALHOST, 0)
        server.close()
        await asyncio.wait_for(server.wait_closed(), PATIENCE_S)

    loop.run_until_complete(main())


@pytest.mark.skipif(
    sys.version_info < (3, 12, 1), reason="wait_closed() waits for connections since 3.12.1"
)
def test_wait_closed_waits_for_connections(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server, protocol, peer = await served_connection(loop)
        waiting = loop.create_task(server.wait_closed())
        await turns(3)
        assert not waiting.done()
        server.close()
        await turns(3)
        assert not waiting.done()
        peer.close()
        await asyncio.wait_for(waiting, PATIENCE_S)
        assert protocol.lost

    loop.run_until_complete(main())


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="wait_closed() waits for connections since 3.12"
)
def test_wait_closed_returned_at_once_before_python_3_12(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server, protocol, peer = await served_connection(loop)
        server.close()
        await asyncio.wait_for(server.wait_closed(), PATIENCE_S)
        assert not protocol.lost
        peer.close()
        await protocol.until_lost()

    loop.run_until_complete(main())


@SERVER_LISTENS_TO_ITS_CLIENTS
def test_close_clients_sends_what_was_written(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server, protocol, peer = await served_connection(loop)
        with peer:
            protocol.transport.write(b"last words")
            closing: Any = server
            closing.close_clients()
            assert protocol.transport.is_closing()
            await protocol.until_lost()
            assert protocol.lost_with is None
            assert await read_to_end(peer) == b"last words"
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


@SERVER_LISTENS_TO_ITS_CLIENTS
def test_abort_clients_throws_away_what_was_not_sent(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server, protocol, peer = await served_connection(loop)
        with peer:
            total = 64 * 1024 * 1024
            protocol.transport.write(bytes(total))
            assert protocol.transport.get_write_buffer_size() > 0
            closing: Any = server
            closing.abort_clients()
            await protocol.until_lost()
            assert protocol.lost_with is None
            with contextlib.suppress(ConnectionResetError):
                assert len(await read_to_end(peer)) < total
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


@SERVER_LISTENS_TO_ITS_CLIENTS
def test_clients_that_are_gone_are_forgotten(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server, protocol, peer = await served_connection(loop)
        peer.close()
        await protocol.until_lost()
        calls = list(protocol.calls)
        closing: Any = server
        closing.close_clients()
        closing.abort_clients()
        await turns(3)
        assert protocol.calls == calls
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


@SERVER_LISTENS_TO_ITS_CLIENTS
def test_a_server_knows_its_clients_and_keeps_none_alive(loop: asyncio.AbstractEventLoop) -> None:
    """Monitoring tools use this private attribute; dropped connections do not count."""

    async def main() -> None:
        arrived = asyncio.Event()

        class Arriving(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                arrived.set()

        server = await loop.create_server(Arriving, LOCALHOST, 0)
        clients: Any = vars(server)["_clients"]
        with socket.create_connection((LOCALHOST, port_of(server)), PATIENCE_S):
            await asyncio.wait_for(arrived.wait(), PATIENCE_S)
            (transport,) = list(clients)
            assert len(clients) == 1
            assert transport in clients
            assert server not in clients
            await turns(2)
            transport.pause_reading()
            await turns(2)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", ResourceWarning)
                del transport
                gc.collect()
            assert any("unclosed transport" in str(warning.message) for warning in caught)
            caught.clear()
            assert len(clients) == 0
            assert list(clients) == []
            server.close()
            await asyncio.wait_for(server.wait_closed(), PATIENCE_S)

    loop.run_until_complete(main())


@pytest.mark.parametrize("debug", [False, True])
def test_a_raising_factory_leaves_the_server_alive(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]], *, debug: bool
) -> None:
    """It is reported in debug mode only."""
    loop.set_debug(debug)
    failed = asyncio.Event()

    def factory() -> Greeter:
        if not failed.is_set():
            failed.set()
            raise ZeroDivisionError("no protocol today")
        return Greeter()

    async def main() -> None:
        async with await loop.create_server(factory, LOCALHOST, 0) as server:
            address = (LOCALHOST, port_of(server))
            with socket.create_connection(address, PATIENCE_S):
                await asyncio.wait_for(failed.wait(), PATIENCE_S)
                assert await greeting_from(*address) == b"hello"

    with warnings.catch_warnings():
        # asyncio leaves the accepted socket to the collector, which warns about it.
        warnings.simplefilter("ignore", ResourceWarning)
        loop.run_until_complete(main())
        if debug:
            (context,) = reported
            assert context["message"] == "Error on transport creation for incoming connection"
            assert isinstance(context["exception"], ZeroDivisionError)
            assert set(context) == {"message", "exception"}
            del context
            reported.clear()
        gc.collect()


def test_factories_run_once_per_connection(loop: asyncio.AbstractEventLoop) -> None:
    made: list[Greeter] = []

    def factory() -> Greeter:
        made.append(Greeter())
        return made[-1]

    async def main() -> None:
        async with await loop.create_server(factory, LOCALHOST, 0) as server:
            assert made == []
            for count in range(1, 4):
                await greeting_from(LOCALHOST, port_of(server))
                assert len(made) == count

    loop.run_until_complete(main())


def test_a_server_accepts_everyone_in_the_backlog(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        made: asyncio.Queue[Recorder] = asyncio.Queue()
        server = await loop.create_server(
            lambda: Recorder({"connection_made": made.put_nowait}), LOCALHOST, 0, backlog=64
        )
        async with server:
            address = (LOCALHOST, port_of(server))
            peers = [socket.create_connection(address, PATIENCE_S) for _ in range(50)]
            assert made.empty()
            for number, peer in enumerate(peers):
                peer.sendall(b"%d." % number)
            for number, peer in enumerate(peers):  # In the order of arrival.
                protocol = await asyncio.wait_for(made.get(), PATIENCE_S)
                await protocol.until_received(len(b"%d." % number))
                assert protocol.received == b"%d." % number
                peer.close()
                await protocol.until_lost()

    loop.run_until_complete(main())


def test_a_closed_loop_does_not_serve(loop_factory: LoopFactory) -> None:
    loop = loop_factory()
    server = loop.run_until_complete(loop.create_server(Greeter, LOCALHOST, 0))
    server.close()
    loop.run_until_complete(server.wait_closed())
    loop.close()
    coroutine = loop.create_server(Greeter, LOCALHOST, 0)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_until_complete(coroutine)
    coroutine.close()
