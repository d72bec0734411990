"""TLS handshakes with both ends on one loop: results and exceptions."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import sys
import weakref
from typing import Any

import pytest

import yamanote
from tests.tcp.peers import read_exactly, read_until_gone, tcp_pair, turns
from tests.tcp.recorders import PATIENCE_S, Recorder
from tests.tcp.servers import LOCALHOST, outcome, port_of
from tests.tls.certificates import NAME, client_context, server_context
from tests.tls.peers import everything_ends


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what it receives, then closes."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def ask(port: int, context: ssl.SSLContext, data: bytes, **options: Any) -> bytes:
    """Returns the reply of a TLS server that echoes `data`."""
    reader, writer = await asyncio.open_connection(LOCALHOST, port, ssl=context, **options)
    writer.write(data)
    answer = await reader.readexactly(len(data))
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize("size", [1, 1000, 16384, 16385, 1 << 20])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_bytes_come_back_as_they_were_sent(
    loop: asyncio.AbstractEventLoop, size: int, version: ssl.TLSVersion
) -> None:
    async def main() -> None:
        server_side = server_context()
        server_side.minimum_version = server_side.maximum_version = version
        server = await asyncio.start_server(echo, LOCALHOST, 0, ssl=server_side)
        data = bytes(range(256)) * (size // 256 + 1)
        answer = await ask(port_of(server), client_context(), data[:size], server_hostname=NAME)
        assert answer == data[:size]
        server.close()
        await server.wait_closed()
        await everything_ends()

    loop.run_until_complete(main())


def test_extra_info_tells_of_the_session(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, LOCALHOST, 0, ssl=server_context())
        context = client_context()
        _, writer = await asyncio.open_connection(
            LOCALHOST, port_of(server), ssl=context, server_hostname=NAME
        )
        session = writer.get_extra_info("ssl_object")
        assert isinstance(session, ssl.SSLObject)
        assert writer.get_extra_info("sslcontext") is context
        secure: Any = writer.transport
        assert secure._ssl_protocol._sslcontext is context  # As in aiohttp's tests.
        assert writer.get_extra_info("cipher") == session.cipher()
        assert writer.get_extra_info("peercert") == session.getpeercert()
        assert writer.get_extra_info("compression", "none") is None
        assert writer.get_extra_info("peername") == (LOCALHOST, port_of(server))
        assert writer.get_extra_info("nothing of the kind", "default") == "default"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await everything_ends()

    loop.run_until_complete(main())


def test_a_certificate_of_an_unknown_authority_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, LOCALHOST, 0, ssl=server_context())
        with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
            await ask(
                port_of(server), client_context(trusting=False), b"hello", server_hostname=NAME
            )
        server.close()
        await server.wait_closed()
        await everything_ends()

    loop.run_until_complete(main())


def test_a_certificate_for_another_name_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, LOCALHOST, 0, ssl=server_context())
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await ask(port_of(server), client_context(), b"hello", server_hostname="elsewhere")
        server.close()
        await server.wait_closed()
        await everything_ends()

    loop.run_until_complete(main())


def test_the_host_is_the_name_to_check_unless_another_is_given(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, LOCALHOST, 0, ssl=server_context())
        port, data = port_of(server), b"data"
        with pytest.raises(ssl.SSLCertVerificationError):
            await ask(port, client_context(), data)
        unchecked = client_context()
        unchecked.check_hostname = False
        for options in ({}, {"server_hostname": ""}, {"server_hostname": NAME}):
            assert await ask(port, unchecked, data, **options) == data
        more: dict[str, Any] = {"ssl_handshake_timeout": 60, "ssl_shutdown_timeout": 30.5}
        more |= {"server_hostname": NAME, "local_addr": None, "sock": None}
        assert await ask(port, client_context(), data, **more) == data
        server.close()
        await server.wait_closed()
        await everything_ends()

    loop.run_until_complete(main())


def test_a_client_has_a_socket_and_its_names(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, LOCALHOST, 0, ssl=server_context())
        transport, protocol = await loop.create_connection(
            Recorder, LOCALHOST, port_of(server), ssl=client_context(), server_hostname=NAME
        )
        sock = transport.get_extra_info("socket")
        assert sock.getpeername() == transport.get_extra_info("peername")
        assert sock.getsockname() == transport.get_extra_info("sockname")
        assert (sock.family, sock.type) == (socket.AF_INET, socket.SOCK_STREAM)
        transport.close()
        await protocol.until_lost()
        server.close()
        await everything_ends()

    loop.run_until_complete(main())


def test_a_peer_that_says_nothing_runs_into_the_timeout(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.create_server((LOCALHOST, 0)) as listener:
            error, text = await outcome(
                lambda: loop.create_connection(
                    Recorder,
                    *listener.getsockname(),
                    ssl=client_context(),
                    server_hostname=NAME,
                    ssl_handshake_timeout=0.05,
                )
            )
        assert error is ConnectionAbortedError
        assert text == ("SSL handshake is taking longer than 0.05 seconds: aborting the connection")

    loop.run_until_complete(main())


@pytest.mark.parametrize("timeout", [0, -1])
@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
def test_timeouts_are_positive(loop: asyncio.AbstractEventLoop, name: str, timeout: float) -> None:
    async def main() -> None:
        ours, peer = tcp_pair()
        connect: Any = loop.create_connection
        options = {"ssl": client_context(), "server_hostname": NAME, name: timeout}
        with peer, ours:
            error, text = await outcome(lambda: connect(Recorder, sock=ours, **options))
        assert (error, text) == (ValueError, f"{name} should be a positive number, got {timeout}")

    loop.run_until_complete(main())


def test_cancelling_during_the_handshake_closes_the_connection(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        with socket.create_server((LOCALHOST, 0)) as listener:
            connecting = asyncio.ensure_future(
                loop.create_connection(
                    Recorder, *listener.getsockname(), ssl=client_context(), server_hostname=NAME
                )
            )
            listener.settimeout(PATIENCE_S)
            peer, _ = await loop.run_in_executor(None, listener.accept)
            with peer:
                peer.settimeout(PATIENCE_S)
                hello = await read_exactly(peer, 5)
                assert hello[:2] == b"\x16\x03"
                connecting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await connecting
                assert await read_until_gone(peer)

    loop.run_until_complete(main())


def test_both_sides_can_start_tls_later(loop: asyncio.AbstractEventLoop) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.drain()
        await writer.start_tls(server_context())
        writer.write(b"secret " + await reader.readline())
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, LOCALHOST, 0)
        reader, writer = await asyncio.open_connection(LOCALHOST, port_of(server))
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(client_context(), server_hostname=NAME)
        assert isinstance(writer.get_extra_info("ssl_object"), ssl.SSLObject)
        writer.write(b"hello\n")
        assert await reader.read() == b"secret hello\n"
        writer.close()
        server.close()
        await server.wait_closed()
        await everything_ends()

    loop.run_until_complete(main())


def test_a_client_may_begin_before_the_server_is_ready(
    loop: asyncio.AbstractEventLoop, loop_name: str
) -> None:
    """gh-142352: the ClientHello is in the reader's buffer already."""
    if loop_name == "asyncio" and sys.version_info < (3, 14, 3):
        pytest.skip("gh-142352: asyncio leaves the data there, and waits forever")
    done = loop.create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held: Any = reader
        await held._wait_for_data("serve")
        assert held._buffer
        await writer.start_tls(server_context())
        writer.write(await reader.readline())
        writer.close()
        done.set_result(None)

    async def main() -> None:
        server = await asyncio.start_server(serve, LOCALHOST, 0)
        reader, writer = await asyncio.open_connection(LOCALHOST, port_of(server))
        await writer.start_tls(client_context(), server_hostname=NAME)
        writer.write(b"hello\n")
        assert await reader.read() == b"hello\n"
        writer.close()
        await done
        server.close()
        await server.wait_closed()
        await everything_ends()

    loop.run_until_complete(main())


def test_start_tls_on_a_closed_connection_gives_nothing(loop: asyncio.AbstractEventLoop) -> None:
    """This result is what aiohttp distinguishes from success."""

    async def main() -> None:
        ours, peer = tcp_pair()
        with peer:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            transport.close()
            protocol = asyncio.Protocol()
            secure = await loop.start_tls(
                transport, protocol, client_context(), server_hostname=NAME
            )
            assert secure is None
        await everything_ends()

    loop.run_until_complete(main())


def test_start_tls_refuses_what_is_no_context(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        ours, peer = tcp_pair()
        with peer:
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            nothing: Any = None
            error, text = await outcome(lambda: loop.start_tls(transport, protocol, nothing))
            transport.close()
            await protocol.until_lost()
        assert error is TypeError
        assert text == "sslcontext is expected to be an instance of ssl.SSLContext, got None"

    loop.run_until_complete(main())


def test_a_failed_handshake_is_told_in_debug_mode_only(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    async def knock(port: int) -> None:
        reader, writer = await asyncio.open_connection(LOCALHOST, port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        writer.close()

    async def main() -> None:
        protocol = Recorder()
        server = await loop.create_server(lambda: protocol, LOCALHOST, 0, ssl=server_context())
        await knock(port_of(server))
        assert reported == []
        told: asyncio.Future[dict[str, Any]] = loop.create_future()
        loop.set_exception_handler(lambda _, context: told.set_result(context))
        loop.set_debug(True)
        await knock(port_of(server))
        context = await told
        loop.set_debug(False)
        assert context["message"] == "Error on transport creation for incoming connection"
        assert isinstance(context["exception"], ssl.SSLError)
        assert context["protocol"] is protocol
        assert protocol.calls == []
        server.close()

    loop.run_until_complete(main())


def test_a_failed_handshake_leaves_no_cycle() -> None:
    """Asyncio leaves one on Python 3.11."""

    class Kept:
        pass

    async def attempt(address: tuple[str, int]) -> None:
        kept = Kept()
        references.append(weakref.ref(kept))
        with contextlib.suppress(ssl.SSLError):
            await asyncio.get_running_loop().create_connection(
                asyncio.Protocol, *address, ssl=ssl.create_default_context(), server_hostname=NAME
            )

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: None)
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=server_context())
        gc.collect()
        gc.disable()
        try:
            await asyncio.create_task(attempt(server.sockets[0].getsockname()))
            await turns(5)
            assert references[0]() is None
        finally:
            gc.enable()
        server.close()
        await server.wait_closed()

    references: list[weakref.ref[Kept]] = []
    yamanote.run(main())
