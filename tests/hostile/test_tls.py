"""TLS where asyncio waits forever or fails, and programs that use the session object directly."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from typing import Any, TypeAlias

import pytest

import yamanote
from tests.sock.pairs import turns, unix_stream
from tests.tcp.peers import tcp_pair
from tests.tcp.recorders import PATIENCE_S, Recorder
from tests.tcp.servers import LOCALHOST, port_of
from tests.tls.certificates import (
    NAME,
    Files,
    client_context,
    server_context,
    write_files,
)
from tests.tls.openssl import OPENSSL, openssl
from tests.tls.peers import Peer, connect, everything_ends, in_thread
from tests.tls.test_direct import is_linked
from tests.tls.test_handshake import echo

Anything: TypeAlias = Any  # Loops, transports and arguments of every kind.

needs_openssl = pytest.mark.skipif(not is_linked(), reason="records go through _ssl alone")


def paused() -> Recorder:
    """A protocol that reads nothing."""
    return Recorder({"connection_made": lambda protocol: protocol.transport.pause_reading()})


def test_closing_while_reading_is_paused_drops_what_came() -> None:
    """On asyncio the session fails with "application data after close notify"."""

    async def main() -> None:
        transport, protocol, peer = await connect(paused)
        await in_thread(peer.send, b"trailing data")
        # What the peer sent has arrived when close() is called.
        await in_thread(peer.send, b"more of it" * 1000)
        transport.close()
        assert await in_thread(peer.read_to_goodbye) == b""
        await in_thread(peer.sock.sendall, peer.goodbye())
        await protocol.until_lost()
        assert protocol.lost_with is None
        assert protocol.received == b""
        assert await in_thread(peer.sock.recv, 1) == b""
        peer.sock.close()

    yamanote.run(main())


def test_a_peer_that_was_held_back_does_not_keep_a_paused_connection_open() -> None:
    """Asyncio fails, as above; the peer sends more than the transport buffers."""

    async def main() -> None:
        transport, protocol, peer = await connect(paused)
        count = 4 << 20
        sending = asyncio.ensure_future(in_thread(peer.send, bytes(count)))
        limit = transport.get_read_buffer_limits()[1]  # type: ignore[attr-defined]
        while transport.get_read_buffer_size() < limit:  # type: ignore[attr-defined]
            await turns(1)
        transport.close()
        await sending
        assert await in_thread(peer.read_to_goodbye) == b""
        await in_thread(peer.sock.sendall, peer.goodbye())
        await protocol.until_lost()
        assert protocol.lost_with is None
        peer.sock.close()

    yamanote.run(main())


@pytest.mark.parametrize("again", [False, True])
def test_closing_a_paused_connection_whose_peer_has_gone_ends_it(again: bool) -> None:
    """Asyncio waits forever: it has begun the shutdown, without a timer."""

    async def main() -> None:
        transport, protocol, peer = await connect(paused)
        await in_thread(peer.send, b"trailing data")
        peer.sock.shutdown(socket.SHUT_WR)
        # The transport notices it when there is no protocol to call.
        while "read=polling" in repr(transport):
            await turns(1)
        transport.close()
        if again:
            transport.close()
        await protocol.until_lost()
        assert protocol.lost_with is None
        assert protocol.received == b""
        peer.sock.close()

    yamanote.run(main())


@pytest.mark.parametrize("shut", [False, True])
def test_what_came_while_paused_is_delivered_when_reading_goes_on(
    loop: asyncio.AbstractEventLoop, shut: bool
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        transport.pause_reading()
        await in_thread(peer.send, b"extra bytes")
        if shut:
            peer.sock.shutdown(socket.SHUT_WR)
        await turns(20)
        transport.resume_reading()
        await protocol.until_received(11)
        if shut:
            await protocol.until_lost()
        transport.close()
        if not shut:
            await in_thread(peer.read_to_goodbye)
            await in_thread(peer.sock.sendall, peer.goodbye())
        await protocol.until_lost()
        assert protocol.received == b"extra bytes"
        assert protocol.lost_with is None
        peer.sock.close()

    loop.run_until_complete(main())


class Upgrading(asyncio.Protocol):
    """Starts TLS at once, and replies on the transport that it knows."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Runs `start_tls` by hand: only its result refers to the new transport."""
        self.transport: Any = transport
        loop: Any = asyncio.get_running_loop()
        self.lost = loop.create_future()
        upgrade = loop.start_tls(transport, self, server_context(), server_side=True)

        def started(_: object) -> None:
            with contextlib.suppress(StopIteration):
                try:
                    upgrade.send(None)
                except StopIteration as end:
                    self.transport = end.value

        upgrade.send(None).add_done_callback(started)

    def data_received(self, data: bytes) -> None:
        """Sends the data back."""
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Notifies the test."""
        self.lost.set_result(None)


def test_the_first_bytes_after_start_tls_find_the_new_transport() -> None:
    """Asyncio delivers them before `start_tls()` returns: the reply is then plain text."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = tcp_pair()
        _, protocol = await loop.create_connection(Upgrading, sock=ours)
        peer = Peer(theirs, server_side=False)

        def talk() -> bytes:
            incoming, outgoing = peer.incoming, peer.outgoing
            while True:
                try:
                    peer.session.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    theirs.sendall(outgoing.read())
                    incoming.write(theirs.recv(1 << 16))
            # The last bytes of the handshake and the first of the application, together.
            peer.session.write(b"hello")
            theirs.sendall(outgoing.read())
            return peer.read(5)

        assert await in_thread(talk) == b"hello"
        theirs.close()
        await asyncio.wait_for(protocol.lost, PATIENCE_S)

    yamanote.run(main())


@needs_openssl
def test_a_session_made_inside_the_making_of_another_takes_nothing_from_it() -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        inner: list[Any] = []

        def make(sock: socket.socket, *arguments: Anything) -> Anything:
            return loop._make_ssl_transport(
                sock, Recorder(), client_context(), *arguments, server_hostname=NAME
            )

        def profile(_frame: object, event: str, what: Anything) -> None:
            if event == "c_return" and what.__name__ == "_wrap_bio":
                one, other = socket.socketpair()
                inner.extend((make(one), other))

        ours, theirs = socket.socketpair()
        waiter = loop.create_future()
        sys.setprofile(profile)
        try:
            outer = make(ours, waiter)
        finally:
            sys.setprofile(None)
        inside, other = inner
        assert inside._is_direct
        assert outer._is_direct
        peer = Peer(theirs, server_side=True)
        await in_thread(peer.shake_hands)
        await waiter
        outer.write(b"hello")
        assert await in_thread(peer.read, 5) == b"hello"
        for transport, sock in ((inside, other), (outer, theirs)):
            transport.abort()
            sock.close()
        await turns()

    yamanote.run(main())


@pytest.mark.slow
@pytest.mark.skipif(OPENSSL is None, reason="the openssl command is not installed")
def test_a_callback_of_a_new_handshake_may_receive_with_the_loop(
    loop: asyncio.AbstractEventLoop, tmp_path: Anything
) -> None:
    """TLS 1.2 may renegotiate during a read, which calls the context's callbacks."""
    files: Files = write_files(tmp_path)

    async def main() -> None:
        received: list[bytes] = []
        with unix_stream() as (ours, theirs):
            theirs.send(bytes(10_000))

            def on_name(*_: object) -> None:
                # A call that succeeds at once, and uses the loop's read buffers.
                call: Any = loop.sock_recv(ours, 5000)
                try:
                    call.send(None)
                except StopIteration as end:
                    received.append(end.value)

            context = server_context()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.options |= ALLOW_CLIENT_RENEGOTIATION
            context.sni_callback = on_name
            server = await asyncio.start_server(echo, LOCALHOST, 0, ssl=context)
            where = f"{LOCALHOST}:{port_of(server)}"
            options = ("-CAfile", files.authority, "-servername", NAME, "-tls1_2")
            async with openssl("s_client", "-connect", where, *options) as client:
                await client.say(b"hello\n")
                await client.until(b"\nhello\n")
                await client.say(b"R\n")
                await client.until(b"RENEGOTIATING")
                await client.say(b"again\n")
                await client.until(b"\nagain\n")
            server.close()
            await server.wait_closed()
            await everything_ends()
        assert received == [bytes(5000), bytes(5000)]

    loop.run_until_complete(main())


#: `SSL_OP_ALLOW_CLIENT_RENEGOTIATION` (`ssl.h`); `ssl` has no name for it.
ALLOW_CLIENT_RENEGOTIATION = 1 << 8


@needs_openssl
def test_only_the_loops_thread_reads_and_writes_a_session() -> None:
    """On asyncio, two threads in one session corrupt it or the process."""

    async def main() -> None:
        server = await asyncio.start_server(echo, LOCALHOST, 0, ssl=server_context())
        reader, writer = await asyncio.open_connection(
            LOCALHOST, port_of(server), ssl=client_context(), server_hostname=NAME
        )
        session: ssl.SSLObject = writer.get_extra_info("ssl_object")
        for call in (
            lambda: session.read(1),
            lambda: session.write(b"x"),
            session.do_handshake,
            session.unwrap,
        ):
            with pytest.raises(RuntimeError, match="Non-thread-safe operation"):
                await in_thread(call)
        # Reading properties is allowed, and so is the loop's own work.
        assert await in_thread(session.getpeercert) == session.getpeercert()
        assert await in_thread(session.version) == "TLSv1.3"
        assert session.context is writer.get_extra_info("sslcontext")
        with pytest.raises(ssl.SSLWantReadError):
            session.read(1)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await everything_ends()

    yamanote.run(main())


@pytest.mark.slow
def test_threads_that_use_a_session_do_not_corrupt_it() -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, LOCALHOST, 0, ssl=server_context())
        reader, writer = await asyncio.open_connection(
            LOCALHOST, port_of(server), ssl=client_context(), server_hostname=NAME
        )
        session: ssl.SSLObject = writer.get_extra_info("ssl_object")
        over = False

        def disturb() -> int:
            refused = 0
            while not over:
                session.cipher()
                session.getpeercert(True)
                with contextlib.suppress(ssl.SSLError):
                    try:
                        session.read(100)
                    except RuntimeError:
                        refused += 1
            return refused

        threads = [asyncio.ensure_future(in_thread(disturb)) for _ in range(2)]
        data = bytes(range(256)) * 16
        for _ in range(50):
            writer.write(data)
            assert await reader.readexactly(len(data)) == data
        over = True
        assert all([await thread for thread in threads])
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await everything_ends()

    if is_linked():
        yamanote.run(main())


class Raising(ssl.SSLContext):
    """A context that cannot create sessions."""

    def wrap_bio(self, *_: object, **__: object) -> Anything:
        """Raises."""
        raise ZeroDivisionError


class Session(ssl.SSLObject):
    """A session class of the program."""


class OfItsOwn(ssl.SSLContext):
    """A context that creates sessions of another class."""

    sslobject_class = Session


class Counting(ssl.SSLContext):
    """A context that counts its sessions."""

    made = 0

    def wrap_bio(self, *arguments: Any, **keywords: Any) -> ssl.SSLObject:
        """Counts and creates a session."""
        self.made += 1
        return super().wrap_bio(*arguments, **keywords)


def trusting(kind: type[ssl.SSLContext]) -> Anything:
    """Returns a client's context of a class of the program."""
    context = kind(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_a_context_that_cannot_wrap_fails_the_connection_and_closes_its_socket() -> None:
    """Asyncio leaves the socket to the collector."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server((LOCALHOST, 0)) as server:
            with pytest.raises(ZeroDivisionError):
                await loop.create_connection(
                    asyncio.Protocol,
                    *server.getsockname(),
                    ssl=trusting(Raising),
                    server_hostname=NAME,
                )
            peer, _ = server.accept()
            with peer:
                peer.settimeout(PATIENCE_S)
                assert await in_thread(peer.recv, 1) == b""

    yamanote.run(main())


@pytest.mark.parametrize(("kind", "session"), [(OfItsOwn, Session), (Counting, ssl.SSLObject)])
def test_a_context_of_another_class_makes_one_session(
    loop: asyncio.AbstractEventLoop, kind: type[ssl.SSLContext], session: type[ssl.SSLObject]
) -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, LOCALHOST, 0, ssl=server_context())
        context = trusting(kind)
        reader, writer = await asyncio.open_connection(
            LOCALHOST, port_of(server), ssl=context, server_hostname=NAME
        )
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert type(writer.get_extra_info("ssl_object")) is session
        assert getattr(context, "made", 1) == 1
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await everything_ends()

    loop.run_until_complete(main())


@pytest.mark.parametrize("what", ["close", "abort"])
def test_a_handshakes_own_callback_may_end_the_connection(
    loop: asyncio.AbstractEventLoop, what: str
) -> None:
    async def main() -> None:
        made: list[Any] = []
        whole: Any = loop
        make = whole._make_ssl_transport

        def keep(*arguments: Anything, **options: Anything) -> Anything:
            transport = make(*arguments, **options)
            if options.get("server_side"):
                made.append(transport)
            return transport

        def end(*_: object) -> None:
            getattr(made[0], what)()

        whole._make_ssl_transport = keep
        context = server_context()
        context.sni_callback = end
        server = await asyncio.start_server(echo, LOCALHOST, 0, ssl=context)
        with pytest.raises(ConnectionResetError):
            await asyncio.open_connection(
                LOCALHOST, port_of(server), ssl=client_context(), server_hostname=NAME
            )
        server.close()
        await server.wait_closed()
        await everything_ends()
        del whole._make_ssl_transport

    loop.run_until_complete(main())
