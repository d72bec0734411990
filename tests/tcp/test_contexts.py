"""The context in which a protocol's methods run: one per connection from Python 3.15 on."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

import yamanote
from tests.tcp.peers import connect, read_exactly, read_until_gone, tcp_pair, turns
from tests.tcp.recorders import BufferedRecorder, Recorder
from tests.tcp.servers import LOCALHOST, port_of
from tests.tls import peers as tls_peers
from tests.tls.certificates import NAME, client_context, server_context

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.tcp.recorders import AnyRecorder

    Seen = list[tuple[str, str]]

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

one_context = pytest.mark.skipif(
    sys.version_info < (3, 15),
    reason="before Python 3.15 each method runs in the context of the code that scheduled it",
)
#: Whether the connection uses TLS.
LAYERS = pytest.mark.parametrize("is_tls", [False, True], ids=["tcp", "tls"])
KINDS = pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])


def watching(kind: Callable[..., AnyRecorder], seen: Seen) -> AnyRecorder:
    """A protocol whose methods record the value of the variable, and set it to their names."""

    def note(name: str) -> Callable[[Any], object]:
        def called(_: object) -> None:
            seen.append((name, variable.get()))
            variable.set(name)

        return called

    names = ("connection_made", "data_received", "buffer_updated", "eof_received")
    return kind({name: note(name) for name in (*names, "connection_lost")})


def expected(kind: Callable[..., AnyRecorder], before: str) -> Seen:
    """What it records if all of its methods run in one context."""
    received = "data_received" if kind is Recorder else "buffer_updated"
    names = ["connection_made", received, "eof_received", "connection_lost"]
    return list(zip(names, [before, *names], strict=False))


@one_context
@KINDS
@LAYERS
def test_all_methods_of_a_client_run_in_one_context(
    loop: asyncio.AbstractEventLoop, kind: Callable[..., AnyRecorder], is_tls: bool
) -> None:
    """It is a copy of the caller's context, which does not change."""
    seen: Seen = []

    async def main() -> None:
        variable.set("client")
        if is_tls:
            transport, protocol, peer = await tls_peers.connect(lambda: watching(kind, seen))
            await tls_peers.in_thread(peer.send, b"hello")
            await protocol.until_received(5)
            await tls_peers.in_thread(peer.sock.sendall, peer.goodbye())
            await tls_peers.in_thread(peer.read_to_goodbye)
            peer.sock.close()
        else:
            transport, protocol, sock = await connect(lambda: watching(kind, seen))
            sock.sendall(b"hello")
            await protocol.until_received(5)
            sock.close()
        variable.set("later")
        await protocol.until_lost()
        assert variable.get() == "later"
        assert transport.is_closing()

    loop.run_until_complete(main())
    assert seen == expected(kind, "client")


@one_context
@KINDS
@LAYERS
def test_each_connection_of_a_server_has_a_copy_of_its_context(
    loop: asyncio.AbstractEventLoop, kind: Callable[..., AnyRecorder], is_tls: bool
) -> None:
    """A copy of the context in which `create_server()` was called, whenever it starts to serve."""
    connections: list[Seen] = []
    protocols: asyncio.Queue[AnyRecorder] = asyncio.Queue()

    def factory() -> AnyRecorder:
        seen: Seen = [("factory", variable.get())]
        connections.append(seen)
        variable.set("factory")
        protocol = watching(kind, seen)
        protocols.put_nowait(protocol)
        return protocol

    async def client(port: int) -> None:
        options: dict[str, Any] = (
            {"ssl": client_context(), "server_hostname": NAME} if is_tls else {}
        )
        _, writer = await asyncio.open_connection(LOCALHOST, port, **options)
        writer.write(b"hello")
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        variable.set("server")
        context = server_context() if is_tls else None
        server = await loop.create_server(factory, LOCALHOST, 0, ssl=context, start_serving=False)
        variable.set("later")
        await server.start_serving()
        for _ in range(2):
            await client(port_of(server))
            await (await protocols.get()).until_lost()
        server.close()
        await server.wait_closed()
        assert variable.get() == "later"

    loop.run_until_complete(main())
    assert len(connections) == 2
    for seen in connections:
        assert seen == [("factory", "server"), *expected(kind, "factory")]


@one_context
def test_a_unix_server_and_its_clients_do_the_same(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    served: Seen = []
    protocols: asyncio.Queue[AnyRecorder] = asyncio.Queue()

    def factory() -> AnyRecorder:
        protocol = watching(Recorder, served)
        protocols.put_nowait(protocol)
        return protocol

    async def main() -> None:
        path = str(tmp_path / "socket")
        variable.set("server")
        server = await loop.create_unix_server(factory, path)
        variable.set("client")
        seen: Seen = []
        transport, protocol = await loop.create_unix_connection(
            lambda: watching(Recorder, seen), path
        )
        transport.write(b"hello")
        served_protocol = await protocols.get()
        await served_protocol.until_received(5)
        variable.set("later")
        transport.close()
        await protocol.until_lost()
        await served_protocol.until_lost()
        assert seen == [("connection_made", "client"), ("connection_lost", "connection_made")]
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())
    assert served == expected(Recorder, "server")


@one_context
@LAYERS
def test_who_ends_a_connection_lends_it_no_context(
    loop: asyncio.AbstractEventLoop, is_tls: bool
) -> None:
    """Pausing and resuming reading does not change the context, either (gh-140947)."""

    async def main() -> None:
        variable.set("opened")
        seen: list[str] = []
        noting: dict[str, Callable[[Any], object]] = {
            name: lambda _: seen.append(variable.get())
            for name in ("data_received", "connection_lost")
        }
        if is_tls:
            transport, protocol, peer = await tls_peers.connect(lambda: Recorder(noting))
            sock, message = peer.sock, peer.encrypted(b"hello")
        else:
            transport, protocol, sock = await connect(lambda: Recorder(noting))
            message = b"hello"
        transport.pause_reading()
        variable.set("resumed")
        sock.sendall(message)
        await turns(2)
        transport.resume_reading()
        await protocol.until_received(5)
        variable.set("ended")
        transport.abort()
        await protocol.until_lost()
        sock.close()
        # Over TLS, data read before is delivered in the resuming code's context, as in asyncio.
        assert seen[0] == "opened" or is_tls
        assert seen[-1] == "opened"

    loop.run_until_complete(main())


@one_context
def test_writing_is_resumed_in_the_connections_context(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        variable.set("opened")
        seen: Seen = []
        noting: dict[str, Callable[[Any], object]] = {
            "pause_writing": lambda _: seen.append(("pause_writing", variable.get())),
            "resume_writing": lambda _: seen.append(("resume_writing", variable.get())),
        }
        transport, protocol, peer = await connect(lambda: Recorder(noting))
        variable.set("wrote")
        transport.write(bytes(16 * 1024 * 1024))
        await protocol.until_called("pause_writing", 1)
        await read_exactly(peer, 16 * 1024 * 1024)
        await protocol.until_called("resume_writing", 1)
        assert seen == [("pause_writing", "wrote"), ("resume_writing", "opened")]
        transport.abort()
        await protocol.until_lost()
        peer.close()

    loop.run_until_complete(main())


@one_context
def test_an_accepted_socket_is_in_a_copy_of_the_callers_context(
    loop: asyncio.AbstractEventLoop,
) -> None:
    seen: Seen = []

    async def main() -> None:
        variable.set("accepted")
        ours, peer = tcp_pair()
        _, protocol = await loop.connect_accepted_socket(lambda: watching(Recorder, seen), ours)
        peer.sendall(b"hello")
        await protocol.until_received(5)
        peer.close()
        await protocol.until_lost()
        assert variable.get() == "accepted"

    loop.run_until_complete(main())
    assert seen == expected(Recorder, "accepted")


@one_context
def test_a_connection_keeps_its_context_when_tls_is_started(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        variable.set("opened")
        noted: list[str] = []
        on: dict[str, Callable[[Any], object]] = {
            "data_received": lambda _: noted.append(variable.get())
        }
        transport, protocol, sock = await connect(lambda: Recorder(on))
        variable.set("upgraded")
        peer = tls_peers.Peer(sock, server_side=True)
        shaking = asyncio.ensure_future(tls_peers.in_thread(peer.shake_hands))
        secure = await loop.start_tls(transport, protocol, client_context(), server_hostname=NAME)
        assert secure is not None
        await shaking
        await tls_peers.in_thread(peer.send, b"hello")
        await protocol.until_received(5)
        assert noted == ["opened"]
        secure.abort()
        await read_until_gone(sock)
        sock.close()
        await turns(5)

    loop.run_until_complete(main())


@one_context
def test_a_handed_over_context_is_entered_and_not_copied(loop: asyncio.AbstractEventLoop) -> None:
    """Asyncio itself passes on the context; without one, it behaves as before Python 3.15."""
    make: Any = getattr(loop, "_make_socket_transport")  # noqa: B009 - of asyncio's loops

    async def main() -> None:
        given = contextvars.copy_context()
        given.run(variable.set, "given")
        variable.set("current")
        for context, name in ((given, "given"), (None, "current")):
            seen: Seen = []
            ours, peer = socket.socketpair()
            ours.setblocking(False)
            waiter = loop.create_future()
            protocol = watching(Recorder, seen)
            transport = make(ours, protocol, waiter, context=context)
            await waiter
            variable.set("closed")
            transport.close()
            await protocol.until_lost()
            peer.close()
            lost = "connection_made" if context else "closed"
            assert seen == [("connection_made", name), ("connection_lost", lost)]
            variable.set("current")
        assert given[variable] == "connection_lost"

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
@LAYERS
def test_a_server_serves_where_tasks_start_eagerly(
    loop: asyncio.AbstractEventLoop, is_tls: bool
) -> None:
    """An eager task enters its context at once."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(variable.get().encode() + await reader.readexactly(5))
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        variable.set("server ")
        context = server_context() if is_tls else None
        server = await asyncio.start_server(serve, LOCALHOST, 0, ssl=context)
        options: dict[str, Any] = (
            {"ssl": client_context(), "server_hostname": NAME} if is_tls else {}
        )
        reader, writer = await asyncio.open_connection(LOCALHOST, port_of(server), **options)
        writer.write(b"hello")
        assert await reader.read() == b"server hello"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await tls_peers.everything_ends()

    factory: Any = vars(asyncio)["eager_task_factory"]
    loop.set_task_factory(factory)
    loop.run_until_complete(main())


def test_what_is_no_context_is_refused() -> None:
    """Asyncio raises when it first calls the protocol."""
    with contextlib.closing(yamanote.new_event_loop()) as loop:
        ours, peer = socket.socketpair()
        context: Any = "none"
        with ours, peer:
            ours.setblocking(False)
            with pytest.raises(TypeError, match=r"a contextvars\.Context was expected, got str"):
                loop._make_socket_transport(ours, asyncio.Protocol(), context=context)
            assert peer.fileno() >= 0
        with socket.create_server((LOCALHOST, 0)) as listener:
            listener.setblocking(False)
            with pytest.raises(TypeError, match=r"a contextvars\.Context was expected, got str"):
                loop._start_serving(  # pyright: ignore[reportPrivateUsage]
                    asyncio.Protocol, listener, context=context
                )
