"""The server under test: one loop in a separate process.

Prints its port, or its path, serves, and ends when stdin is closed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import ssl
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import loops

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

#: Read size of the `BufferedProtocol` and the stream handler: asyncio's default stream limit.
READ_BYTES = 64 * 1024

#: Size of the file for `sendfile`.
FILE_BYTES = 1024 * 1024

HOST = "127.0.0.1"

#: Backlog for a thousand simultaneous connections.
BACKLOG = 1024


@dataclass(frozen=True)
class Keys:
    """The PEM files of a TLS server."""

    key: str
    chain: str

    def context(self) -> ssl.SSLContext:
        """Return a server context with Python's default settings."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        return context


class EchoProtocol(asyncio.Protocol):
    """Writes back what it receives."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.transport = cast("asyncio.Transport", transport)  # Not a base class on all loops.

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)


class BufferedEchoProtocol(asyncio.BufferedProtocol):
    """Receives into its own buffer, and writes back a copy."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        """Create the buffer."""
        self.view = memoryview(bytearray(READ_BYTES))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.transport = cast("asyncio.Transport", transport)  # Not a base class on all loops.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the whole buffer."""
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        """Send back a copy: the buffer may be refilled before a slow peer has read the data."""
        self.transport.write(bytes(self.view[:nbytes]))


HTTP_BODY = b"Hello, world!"
HTTP_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(
    HTTP_BODY
)


class HttpProtocol(EchoProtocol):
    """The smallest responder, which writes head and body apart, as frameworks do.

    Takes a request to arrive at once, as small ones do, and without a body.
    """

    def data_received(self, data: bytes) -> None:
        """Answer each request."""
        for _ in range(data.count(b"\r\n\r\n")):
            self.transport.write(HTTP_HEAD)
            self.transport.write(HTTP_BODY)
        if b"\r\nConnection: close\r\n" in data:
            self.transport.close()


class DatagramEchoProtocol(asyncio.DatagramProtocol):
    """Sends back each datagram."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Send it back."""
        self.transport.sendto(data, addr)


async def echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what is received, as in asyncio's documentation."""
    while data := await reader.read(READ_BYTES):
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve_protocol(tls: Keys | None) -> None:
    """Echo with a `Protocol`."""
    loop = asyncio.get_running_loop()
    context = tls.context() if tls else None
    await announce(await loop.create_server(EchoProtocol, HOST, 0, backlog=BACKLOG, ssl=context))


async def serve_http(tls: Keys | None) -> None:
    """Answer HTTP requests."""
    loop = asyncio.get_running_loop()
    context = tls.context() if tls else None
    await announce(await loop.create_server(HttpProtocol, HOST, 0, backlog=BACKLOG, ssl=context))


async def serve_buffered(tls: Keys | None) -> None:
    """Echo with a `BufferedProtocol`."""
    loop = asyncio.get_running_loop()
    context = tls.context() if tls else None
    await announce(
        await loop.create_server(BufferedEchoProtocol, HOST, 0, backlog=BACKLOG, ssl=context)
    )


async def serve_streams(tls: Keys | None) -> None:
    """Echo with streams."""
    context = tls.context() if tls else None
    await announce(await asyncio.start_server(echo_stream, HOST, 0, backlog=BACKLOG, ssl=context))


async def serve_unix(_tls: Keys | None) -> None:
    """Echo with a `Protocol` over a Unix socket."""
    loop = asyncio.get_running_loop()
    path = os.path.join(tempfile.gettempdir(), f"yamanote-bench-{os.getpid()}")
    await loop.create_unix_server(EchoProtocol, path, backlog=BACKLOG)
    print(path, flush=True)
    await asyncio.Event().wait()


async def serve_sock(_tls: Keys | None) -> None:
    """Echo with `sock_recv` and `sock_sendall`, a task for each connection."""
    loop = asyncio.get_running_loop()
    listener = listening()
    serving: set[asyncio.Task[None]] = set()
    while True:
        connection, _ = await loop.sock_accept(listener)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = loop.create_task(echo_sock(loop, connection))
        serving.add(task)
        task.add_done_callback(serving.discard)


async def echo_sock(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    """Send back what is received, on a plain socket."""
    with connection:
        while data := await loop.sock_recv(connection, READ_BYTES):
            await loop.sock_sendall(connection, data)


async def serve_sendfile(_tls: Keys | None) -> None:
    """Respond to each request with a file, like a server of static files."""
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryFile() as file:
        file.write(os.urandom(FILE_BYTES))
        file.flush()

        async def answer(transport: asyncio.Transport) -> None:
            transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % FILE_BYTES)
            await loop.sendfile(transport, file)

        class FileProtocol(EchoProtocol):
            """Takes any received data as a request."""

            def data_received(self, data: bytes) -> None:
                self.task = loop.create_task(answer(self.transport))

        await announce(await loop.create_server(FileProtocol, HOST, 0, backlog=BACKLOG))


async def serve_datagrams(_tls: Keys | None) -> None:
    """Echo with a `DatagramProtocol`."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(DatagramEchoProtocol, (HOST, 0))
    print(transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.Event().wait()


async def announce(server: asyncio.AbstractServer) -> None:
    """Print the port of a server that is accepting, and serve forever."""
    sockets = cast("asyncio.Server", server).sockets
    print(sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


def listening() -> socket.socket:
    """Listen, and print the port; early connections wait in the backlog for the framework.

    The socket is created with an explicit protocol, as by a framework that opens it by host and
    port: asyncio sets `TCP_NODELAY` on accepted sockets only then.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setblocking(False)
    listener.bind((HOST, 0))
    listener.listen(BACKLOG)
    print(listener.getsockname()[1], flush=True)
    return listener


async def serve_asgi(tls: Keys | None) -> None:
    """Serve the Starlette application with uvicorn."""
    import uvicorn

    from app import app

    config = uvicorn.Config(
        app,
        http="httptools",
        log_level="warning",
        access_log=False,
        ssl_keyfile=tls.key if tls else None,
        ssl_certfile=tls.chain if tls else None,
    )
    await uvicorn.Server(config).serve(sockets=[listening()])


async def serve_aiohttp(tls: Keys | None) -> None:
    """Serve the aiohttp application."""
    from aiohttp import web

    from aiohttp_app import application

    runner = web.AppRunner(application(), access_log=None)
    await runner.setup()
    context = tls.context() if tls else None
    await web.SockSite(runner, listening(), ssl_context=context).start()
    await asyncio.Event().wait()


MODES: dict[str, Callable[[Keys | None], Coroutine[object, object, None]]] = {
    "protocol": serve_protocol,
    "http": serve_http,
    "buffered": serve_buffered,
    "streams": serve_streams,
    "unix": serve_unix,
    "sock": serve_sock,
    "sendfile": serve_sendfile,
    "udp": serve_datagrams,
    "tls": serve_protocol,
    "asgi": serve_asgi,
    "aiohttp": serve_aiohttp,
}


def end_with_stdin() -> None:
    """Wait on an idle thread until the parent closes stdin or dies, then exit.

    The exit is not measured and must not depend on the loop under test, so there is no clean-up.
    """
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Serve one mode on one loop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", required=True, choices=loops.available())
    parser.add_argument("--mode", required=True, choices=MODES)
    parser.add_argument("--key", help="PEM file of a private key: serve over TLS")
    parser.add_argument("--chain", help="PEM file of its certificates")
    options = parser.parse_args()
    tls = Keys(options.key, options.chain) if options.key else None
    threading.Thread(target=end_with_stdin, daemon=True).start()
    loop = loops.new(options.loop)
    asyncio.set_event_loop(loop)
    loop.run_until_complete(MODES[options.mode](tls))


if __name__ == "__main__":
    main()
