"""OpenSSL's own client and server as the other end of the connection."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.tcp.servers import LOCALHOST, port_of
from tests.tls.certificates import (
    NAME,
    Files,
    certificate,
    client_context,
    server_context,
    write_files,
)
from tests.tls.openssl import OPENSSL, free_port, openssl
from tests.tls.peers import everything_ends

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

from tests.tls.openssl import Command

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(OPENSSL is None, reason="the openssl command is not installed"),
]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """The certificates as files for OpenSSL."""
    return write_files(tmp_path)


async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Replies to each line in upper case."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def client_of(
    context: ssl.SSLContext, files: Files, *arguments: str | Path
) -> AsyncGenerator[Command, None]:
    """Runs `s_client`, connected to a server of the running loop."""
    server = await asyncio.start_server(upper, LOCALHOST, 0, ssl=context)
    where = f"{LOCALHOST}:{port_of(server)}"
    options = ("-CAfile", files.authority, "-verify_return_error", "-servername", NAME)
    async with openssl("s_client", "-connect", where, *options, *arguments) as client:
        yield client
    server.close()
    await server.wait_closed()
    await everything_ends()


@pytest.mark.parametrize(
    ("option", "name"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")], ids=["1.2", "1.3"]
)
def test_a_client_of_each_version(
    loop: asyncio.AbstractEventLoop, files: Files, option: str, name: str
) -> None:
    async def main() -> None:
        async with client_of(server_context(), files, option) as client:
            await client.say(b"hello\n")
            await client.until(b"HELLO\n")
            assert name.encode() in await client.end()

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    "cipher", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"]
)
def test_a_client_chooses_the_cipher(
    loop: asyncio.AbstractEventLoop, files: Files, cipher: str
) -> None:
    async def main() -> None:
        async with client_of(server_context(), files, "-tls1_2", "-cipher", cipher) as client:
            await client.say(b"hello\n")
            await client.until(b"HELLO\n")
            assert cipher.encode() in await client.end()

    loop.run_until_complete(main())


def test_a_client_that_changes_its_keys(loop: asyncio.AbstractEventLoop, files: Files) -> None:
    async def main() -> None:
        async with client_of(server_context(), files, "-tls1_3") as client:
            for number, command in enumerate((b"k\n", b"K\n", b"K\n")):
                await client.say(command)
                await client.until(b"KEYUPDATE")
                await client.say(b"after %d\n" % number)
                await client.until(b"AFTER %d\n" % number)
            await client.end()

    loop.run_until_complete(main())


def test_a_client_that_negotiates_anew(loop: asyncio.AbstractEventLoop, files: Files) -> None:
    async def main() -> None:
        context = server_context()
        context.options &= ~ssl.OP_NO_RENEGOTIATION
        # OpenSSL lets clients renegotiate only with SSL_OP_ALLOW_CLIENT_RENEGOTIATION.
        context.options |= 1 << 8
        async with client_of(context, files, "-tls1_2") as client:
            await client.say(b"before\n")
            await client.until(b"BEFORE\n")
            await client.say(b"R\n")
            await client.until(b"RENEGOTIATING")
            await client.say(b"after\n")
            await client.until(b"AFTER\n")
            await client.end()

    loop.run_until_complete(main())


@pytest.mark.parametrize("offered", ["h2,http/1.1", "http/1.1", "spdy/1"])
def test_a_client_offers_protocols(
    loop: asyncio.AbstractEventLoop, files: Files, offered: str
) -> None:
    async def main() -> None:
        context = server_context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        async with client_of(context, files, "-alpn", offered) as client:
            await client.say(b"hello\n")
            await client.until(b"HELLO\n")
            said = await client.end()
        chosen = offered.split(",")[0].encode()
        if offered == "spdy/1":
            assert b"No ALPN negotiated" in said
        else:
            assert b"ALPN protocol: " + chosen in said

    loop.run_until_complete(main())


def test_a_server_chooses_its_certificate_by_name(
    loop: asyncio.AbstractEventLoop, files: Files
) -> None:
    async def main() -> None:
        asked: list[str | None] = []
        other = server_context("other.example")
        context = server_context()

        def choose(
            session: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext
        ) -> None:
            asked.append(name)
            session.context = other

        context.sni_callback = choose
        more = ("-verify_hostname", "other.example", "-servername", "other.example")
        async with client_of(context, files, *more) as client:
            await client.say(b"hello\n")
            await client.until(b"HELLO\n")
            await client.end()
        assert asked == ["other.example"]

    loop.run_until_complete(main())


def test_a_client_shows_its_certificate(loop: asyncio.AbstractEventLoop, files: Files) -> None:
    async def main() -> None:
        seen: list[object] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(writer.get_extra_info("peercert")["subjectAltName"])
            await upper(reader, writer)

        context = server_context(client_certificate=True)
        server = await asyncio.start_server(serve, LOCALHOST, 0, ssl=context)
        where = f"{LOCALHOST}:{port_of(server)}"
        options = ("-cert", files.chain, "-key", files.key, "-CAfile", files.authority)
        async with openssl("s_client", "-connect", where, *options) as client:
            await client.say(b"hello\n")
            await client.until(b"HELLO\n")
            await client.end()
        server.close()
        await server.wait_closed()
        await everything_ends()
        assert seen == [(("DNS", NAME),)]

    loop.run_until_complete(main())


@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_a_client_resumes_its_session(
    loop: asyncio.AbstractEventLoop, files: Files, tmp_path: Path, option: str
) -> None:
    async def main() -> None:
        context, session = server_context(), tmp_path / "session.pem"
        async with client_of(context, files, option, "-sess_out", session) as client:
            await client.say(b"hello\n")
            await client.until(b"HELLO\n")
            assert b"New, TLSv1" in await client.end()
        async with client_of(context, files, option, "-sess_in", session) as client:
            await client.say(b"again\n")
            await client.until(b"AGAIN\n")
            assert b"Reused, TLSv1" in await client.end()

    loop.run_until_complete(main())


@contextlib.asynccontextmanager
async def server_for(files: Files, *arguments: str | Path) -> AsyncGenerator[tuple[Command, int]]:
    """Runs a listening `s_server`."""
    port = free_port()
    options = ("-accept", str(port), "-cert", files.chain, "-key", files.key, "-naccept", "1")
    async with openssl("s_server", *options, *arguments) as server:
        await server.until(b"ACCEPT")
        yield server, port


@pytest.mark.parametrize(
    ("option", "name"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")], ids=["1.2", "1.3"]
)
def test_a_server_of_each_version(
    loop: asyncio.AbstractEventLoop, files: Files, option: str, name: str
) -> None:
    async def main() -> None:
        async with server_for(files, option, "-rev") as (_, port):
            context = client_context()
            reader, writer = await asyncio.open_connection(
                LOCALHOST, port, ssl=context, server_hostname=NAME
            )
            assert writer.get_extra_info("ssl_object").version() == name
            writer.write(b"hello\n")
            assert await reader.readline() == b"olleh\n"
            writer.close()
            await writer.wait_closed()

    loop.run_until_complete(main())


def test_a_server_that_changes_its_keys(loop: asyncio.AbstractEventLoop, files: Files) -> None:
    async def main() -> None:
        async with server_for(files, "-tls1_3") as (server, port):
            reader, writer = await asyncio.open_connection(
                LOCALHOST, port, ssl=client_context(), server_hostname=NAME
            )
            for command in (b"k\n", b"K\n"):
                await server.say(command)
                writer.write(b"to the server " + command)
                await server.until(b"to the server " + command)
                await server.say(b"from the server\n")
                assert await reader.readline() == b"from the server\n"
            writer.close()
            await writer.wait_closed()

    loop.run_until_complete(main())


def test_a_server_that_negotiates_anew(loop: asyncio.AbstractEventLoop, files: Files) -> None:
    async def main() -> None:
        context = client_context()
        context.options &= ~ssl.OP_NO_RENEGOTIATION
        async with server_for(files, "-tls1_2") as (server, port):
            reader, writer = await asyncio.open_connection(
                LOCALHOST, port, ssl=context, server_hostname=NAME
            )
            await server.say(b"before\n")
            assert await reader.readline() == b"before\n"
            await server.say(b"r\n")
            writer.write(b"meanwhile\n")
            await server.until(b"meanwhile\n")
            await server.say(b"after\n")
            assert await reader.readline() == b"after\n"
            # The negotiation may still be in progress: then there is no close_notify.
            writer.transport.abort()

    loop.run_until_complete(main())


def test_a_server_that_wants_a_certificate(loop: asyncio.AbstractEventLoop, files: Files) -> None:
    async def main() -> None:
        certificate("client.example")
        wanted = ("-Verify", "1", "-verify_return_error", "-CAfile", files.authority, "-rev")
        async with server_for(files, *wanted) as (_, port):
            reader, writer = await asyncio.open_connection(
                LOCALHOST,
                port,
                ssl=client_context(known_as="client.example"),
                server_hostname=NAME,
            )
            writer.write(b"hello\n")
            assert await reader.readline() == b"olleh\n"
            writer.close()
            await writer.wait_closed()

    loop.run_until_complete(main())


def test_secrets_are_logged_where_the_context_says(
    loop: asyncio.AbstractEventLoop, files: Files, tmp_path: Path
) -> None:
    async def main() -> None:
        context = server_context()
        context.keylog_filename = str(tmp_path / "keys.log")
        async with client_of(context, files) as client:
            await client.say(b"hello\n")
            await client.until(b"HELLO\n")
            await client.end()
        assert "SERVER_TRAFFIC_SECRET_0" in (tmp_path / "keys.log").read_text()

    loop.run_until_complete(main())
