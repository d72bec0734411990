"""A failure to close a descriptor is reported, as on asyncio, and the loop goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.hostile.waiting import until
from tests.tls.certificates import NAME, client_context, server_context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = [
    # asyncio's transports try again when they are collected.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

LOCALHOST = ("127.0.0.1", 0)


class Recorder(asyncio.Protocol):
    """Records its end, which must come once."""

    def __init__(self) -> None:
        """Start as open."""
        self.made: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.ends: list[Exception | None] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Stores the transport."""
        self.made.set_result(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Records the end."""
        self.ends.append(exc)

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Does nothing."""


class Unclosable(socket.socket):
    """A socket whose `close()` closes it, then raises."""

    error: type[BaseException] = OSError

    def close(self) -> None:
        """Closes it, and raises."""
        super().close()
        raise self.error("close() fails")


class UnclosableFile:
    """A file object that does the same."""

    def __init__(self, fd: int) -> None:
        """Owns `fd`."""
        self.fd = fd

    def fileno(self) -> int:
        """Returns the descriptor."""
        return self.fd

    def close(self) -> None:
        """Closes it, and raises."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
        raise OSError("close() fails")


async def ended(protocol: Recorder) -> None:
    """Waits for `connection_lost` and the report."""
    await until(lambda: protocol.ends)
    await asyncio.sleep(0)
    assert len(protocol.ends) == 1


def close_behind(transport: asyncio.BaseTransport, key: str = "socket") -> None:
    """Closes the descriptor without the transport's knowledge."""
    os.close(transport.get_extra_info(key).fileno())


async def tcp(end: str) -> None:
    """A client connection."""
    loop = asyncio.get_running_loop()
    with socket.create_server(LOCALHOST) as listener:
        transport, protocol = await loop.create_connection(Recorder, *listener.getsockname())
        close_behind(transport)
        getattr(transport, end)()
        await ended(protocol)


async def accepted(end: str) -> None:
    """A connection that a server accepted, and that the server counts as closed."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[Recorder] = loop.create_future()

    class Telling(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            made.set_result(self)

    server = await loop.create_server(Telling, *LOCALHOST)
    with socket.create_connection(server.sockets[0].getsockname()):
        protocol = await made
        transport = await protocol.made
        close_behind(transport)
        getattr(transport, end)()
        await ended(protocol)
    server.close()


async def tls(end: str) -> None:
    """An accepted connection over TLS."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[Recorder] = loop.create_future()

    class Telling(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            made.set_result(self)

    server = await loop.create_server(Telling, *LOCALHOST, ssl=server_context())
    _, writer = await asyncio.open_connection(
        *server.sockets[0].getsockname(), ssl=client_context(), server_hostname=NAME
    )
    protocol = await made
    transport = await protocol.made
    close_behind(transport)
    transport.abort()
    await ended(protocol)
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    server.close()


async def udp(end: str) -> None:
    """A datagram endpoint."""
    loop = asyncio.get_running_loop()
    make: Callable[..., Any] = loop.create_datagram_endpoint
    transport, protocol = await make(Recorder, local_addr=LOCALHOST)
    close_behind(transport)
    getattr(transport, end)()
    await ended(protocol)


async def read_pipe(end: str) -> None:
    """The reading end of a pipe."""
    loop = asyncio.get_running_loop()
    theirs, ours = os.pipe()
    transport, protocol = await loop.connect_read_pipe(Recorder, os.fdopen(theirs, "rb", 0))
    close_behind(transport, "pipe")
    transport.close()
    await ended(protocol)
    os.close(ours)


async def write_pipe(end: str) -> None:
    """The writing end of a pipe."""
    loop = asyncio.get_running_loop()
    theirs, ours = os.pipe()
    make: Callable[..., Any] = loop.connect_write_pipe
    transport, protocol = await make(Recorder, os.fdopen(ours, "wb", 0))
    close_behind(transport, "pipe")
    getattr(transport, end)()
    await ended(protocol)
    os.close(theirs)


BEHIND = {it.__name__: it for it in (tcp, accepted, tls, udp, read_pipe, write_pipe)}


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("kind", list(BEHIND))
def test_a_descriptor_that_was_closed_behind_the_transport_is_reported(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]], kind: str, end: str
) -> None:
    source: Callable[[str], Awaitable[None]] = BEHIND[kind]
    loop.run_until_complete(source(end))
    (context,) = reported
    reported.clear()
    assert "_call_connection_lost" in context["message"]
    assert isinstance(context["exception"], OSError)


def sockets(error: type[BaseException]) -> tuple[Unclosable, socket.socket]:
    """A pair of connected sockets; ours cannot be closed."""
    plain, peer = socket.socketpair()
    ours = Unclosable(fileno=plain.detach())
    ours.error = error
    peer.setblocking(False)
    return ours, peer


@pytest.mark.parametrize("end", ["close", "abort", "peer"])
@pytest.mark.parametrize("error", [OSError, RuntimeError, GeneratorExit])
def test_a_socket_whose_close_raises_is_reported(
    loop: asyncio.AbstractEventLoop,
    reported: list[dict[str, Any]],
    error: type[BaseException],
    end: str,
) -> None:
    async def main() -> None:
        for connect in (loop.create_connection, loop.connect_accepted_socket):
            ours, peer = sockets(error)
            with peer:
                make: Callable[..., Any] = connect
                transport, protocol = await make(Recorder, sock=ours)
                if end == "peer":
                    peer.close()
                else:
                    getattr(transport, end)()
                await ended(protocol)
        make = loop.create_datagram_endpoint
        ours = Unclosable(socket.AF_INET, socket.SOCK_DGRAM)
        ours.error = error
        ours.bind(LOCALHOST)
        transport, protocol = await make(Recorder, sock=ours)
        transport.abort()
        await ended(protocol)

    loop.run_until_complete(main())
    assert [type(context["exception"]) for context in reported] == [error] * 3
    assert all("_call_connection_lost" in context["message"] for context in reported)
    reported.clear()


def test_a_socket_whose_close_exits_ends_the_run_and_is_closed(
    loop: asyncio.AbstractEventLoop,
) -> None:
    ours, peer = sockets(KeyboardInterrupt)
    transport, protocol = loop.run_until_complete(make_one(loop, ours))
    transport.close()
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    with peer:
        assert peer.recv(1) == b""
    assert protocol.ends == [None]


async def make_one(
    loop: asyncio.AbstractEventLoop, sock: socket.socket
) -> tuple[asyncio.Transport, Recorder]:
    """Creates a transport over `sock`."""
    return await loop.create_connection(Recorder, sock=sock)


def test_files_whose_close_raises_are_reported(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    async def main() -> None:
        theirs, ours = os.pipe()
        make: Callable[..., Any] = loop.connect_read_pipe
        transport, reading = await make(Recorder, UnclosableFile(theirs))
        make = loop.connect_write_pipe
        transport, writing = await make(Recorder, UnclosableFile(ours))
        transport.close()
        await ended(writing)
        await ended(reading)

    loop.run_until_complete(main())
    assert [str(context["exception"]) for context in reported] == ["close() fails"] * 2
    reported.clear()


def test_a_listener_that_cannot_be_closed_raises_where_the_server_is_closed(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        server = await loop.create_server(asyncio.Protocol, *LOCALHOST)
        os.close(server.sockets[0].fileno())
        with pytest.raises(OSError, match="Bad file descriptor"):
            server.close()

    loop.run_until_complete(main())


def test_a_server_hears_of_the_end_of_a_connection_that_cannot_be_closed(
    loop: asyncio.AbstractEventLoop, loop_name: str, reported: list[dict[str, Any]]
) -> None:
    if loop_name == "asyncio":
        pytest.skip("asyncio's server is not notified, and waits forever")

    async def main() -> None:
        made: asyncio.Future[Recorder] = loop.create_future()

        class Telling(Recorder):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                made.set_result(self)

        server = await loop.create_server(Telling, *LOCALHOST)
        with socket.create_connection(server.sockets[0].getsockname()):
            transport = await (await made).made
            server.close()
            close_behind(transport)
            transport.abort()
            await server.wait_closed()

    loop.run_until_complete(main())
    loop.run_until_complete(asyncio.sleep(0))
    assert [type(context["exception"]) for context in reported] == [OSError]
    reported.clear()
