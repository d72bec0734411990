"""Every step of every source fails once: it is reported, the source ends, and the loop goes on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.hostile.steps import Faults, Faulty, Own, Transport
from tests.hostile.waiting import until
from tests.tls.certificates import NAME, client_context, server_context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = [
    # asyncio leaves what a failed constructor has created to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PATIENCE_S = 30.0
#: More than the kernel buffers, for a pipe or with `SMALL_BUFFER`.
MUCH = bytes(200_000)
SMALL_BUFFER = 4096
#: Steps that every source has.
MANY = 5
#: Passes of the loop after which a failed connection has ended.
PASSES = 100


class Plain(Faulty, asyncio.Protocol):
    """A protocol whose calls are steps. Echoes what it receives, and closes at the end."""

    def __init__(self, faults: Faults) -> None:
        """Store `faults`."""
        self.faults = faults

    def connection_made(self, transport: Transport) -> None:
        """Stores the transport."""
        self.faults.step()
        transport.set_write_buffer_limits(high=1000)
        self._transport = transport
        ours = transport.get_extra_info("socket")
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
        transport.write(b"hello")

    def data_received(self, data: bytes) -> None:
        """Echoes."""
        self.faults.step()
        self._transport.write(MUCH)

    def eof_received(self) -> bool | None:
        """Lets the transport close."""
        self.faults.step()
        return None

    def pause_writing(self) -> None:
        """A step."""
        self.faults.step()

    def resume_writing(self) -> None:
        """A step."""
        self.faults.step()

    def connection_lost(self, exc: Exception | None) -> None:
        """Records the end."""
        self.faults.step()


class Buffered(Faulty, asyncio.BufferedProtocol):
    """The same, with its own buffer."""

    def __init__(self, faults: Faults) -> None:
        """Store `faults`."""
        self.faults = faults

    connection_made = Plain.connection_made
    pause_writing = Plain.pause_writing
    resume_writing = Plain.resume_writing
    connection_lost = Plain.connection_lost

    def eof_received(self) -> bool | None:
        """Lets the transport close."""
        self.faults.step()
        return None

    def get_buffer(self, sizehint: int) -> bytearray:
        """Returns a small buffer."""
        self.faults.step()
        return bytearray(10)

    def buffer_updated(self, nbytes: int) -> None:
        """Echoes."""
        self.faults.step()
        self._transport.write(MUCH)


class Reading(Faulty, asyncio.Protocol):
    """A protocol for the reading end of a pipe."""

    def __init__(self, faults: Faults) -> None:
        """Store `faults`."""
        self.faults = faults

    def connection_made(self, transport: Transport) -> None:
        """Stores the transport."""
        self.faults.step()

    def data_received(self, data: bytes) -> None:
        """A step."""
        self.faults.step()

    eof_received = Plain.eof_received
    connection_lost = Plain.connection_lost


class Datagrams(Faulty, asyncio.DatagramProtocol):
    """Echoes each datagram, and notifies after a datagram or an error."""

    def __init__(self, faults: Faults) -> None:
        """Store `faults`."""
        self.faults = faults

    def connection_made(self, transport: Transport) -> None:
        """Stores the transport."""
        self.faults.step()
        transport.set_write_buffer_limits(high=0)
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Transport) -> None:
        """Echoes."""
        self.faults.step()
        self._transport.sendto(data, addr)

    def error_received(self, exc: Exception) -> None:
        """A step."""
        self.faults.step()

    pause_writing = Plain.pause_writing
    resume_writing = Plain.resume_writing
    connection_lost = Plain.connection_lost


class FaultySocket(Faulty, socket.socket):
    """A socket on which each attribute lookup is a step; `close()` closes it, then may raise."""

    def close(self) -> None:
        """Closes it, and may raise."""
        super().close()
        self.faults.step()


class File(Faulty):
    """A file object with only a descriptor."""

    def __init__(self, fd: int, faults: Faults) -> None:
        """Owns `fd`."""
        self.faults = faults
        self._fd = fd

    def fileno(self) -> int:
        """Returns the descriptor."""
        self.faults.step()
        return self._fd

    def is_closed(self) -> bool:
        """Returns whether it was closed; not a step."""
        return self._fd < 0

    def close(self) -> None:
        """Closes it, and may raise."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        self.faults.step()


async def sees_the_end(peer: socket.socket) -> None:
    """Sends something and EOF as the peer, then reads to the end."""
    loop = asyncio.get_running_loop()
    peer.setblocking(False)
    with contextlib.suppress(OSError):  # Reset, or no longer connected.
        await loop.sock_sendall(peer, b"x")
        peer.shutdown(socket.SHUT_WR)
        while await loop.sock_recv(peer, 1 << 20):
            pass


async def client(faults: Faults, protocol: Callable[[Faults], asyncio.BaseProtocol]) -> None:
    """A client connection."""
    ours, peer = socket.socketpair()
    with peer:
        with contextlib.suppress(faults.error):
            await asyncio.get_running_loop().create_connection(lambda: protocol(faults), sock=ours)
            await sees_the_end(peer)
            return
        faults.is_on = False
        ours.close()
        gc.collect()  # asyncio has created a transport, and does not close it.


async def tcp_server(faults: Faults, protocol: Callable[[Faults], asyncio.BaseProtocol]) -> None:
    """An accepted connection."""
    loop = asyncio.get_running_loop()

    def factory() -> asyncio.BaseProtocol:
        faults.step()
        return protocol(faults)

    server = await loop.create_server(factory, "127.0.0.1", 0)
    with socket.socket() as peer:
        peer.setblocking(False)
        await loop.sock_connect(peer, server.sockets[0].getsockname())
        await sees_the_end(peer)
    server.close()


async def tls_server(faults: Faults, protocol: Callable[[Faults], asyncio.BaseProtocol]) -> None:
    """An accepted connection over TLS."""
    loop = asyncio.get_running_loop()

    def factory() -> asyncio.BaseProtocol:
        faults.step()
        return protocol(faults)

    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=server_context())
    address = server.sockets[0].getsockname()
    try:
        reader, writer = await asyncio.open_connection(
            *address, ssl=client_context(), server_hostname=NAME
        )
    except OSError:
        server.close()
        return
    with contextlib.suppress(OSError, EOFError):
        writer.write(b"x")
        assert await reader.readexactly(5) == b"hello"
        await reader.readexactly(len(MUCH) // 2)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    server.close()


async def read_pipe(faults: Faults, protocol: Callable[[Faults], asyncio.BaseProtocol]) -> None:
    """The reading end of a pipe."""
    loop = asyncio.get_running_loop()
    theirs, ours = os.pipe()
    file = File(theirs, faults)
    try:
        await loop.connect_read_pipe(lambda: protocol(faults), file)
    except faults.error:
        faults.is_on = False
        file.close()
        os.close(ours)
        return
    os.write(ours, b"x")
    os.close(ours)
    await until(file.is_closed)


async def write_pipe(faults: Faults, protocol: Callable[[Faults], asyncio.BaseProtocol]) -> None:
    """The writing end of a pipe."""
    loop = asyncio.get_running_loop()
    theirs, ours = os.pipe()
    file = File(ours, faults)
    try:
        transport, _ = await loop.connect_write_pipe(lambda: protocol(faults), file)
    except faults.error:
        faults.is_on = False
        file.close()
        os.close(theirs)
        return
    transport.write(MUCH)
    os.read(theirs, 1 << 20)
    await asyncio.sleep(0)
    os.close(theirs)
    await until(file.is_closed)


async def datagrams(faults: Faults, protocol: Callable[[Faults], asyncio.BaseProtocol]) -> None:
    """A datagram endpoint that gets errors."""
    loop = asyncio.get_running_loop()
    ours, peer = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with peer:
        for sock in (ours, peer):
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
        ours.connect(peer.getsockname())
        peer.connect(ours.getsockname())
        address = ours.getsockname()
        try:
            transport, _ = await loop.create_datagram_endpoint(lambda: protocol(faults), sock=ours)
        except faults.error:
            faults.is_on = False
            ours.close()
            return
        await loop.sock_sendall(peer, b"x")
        answered = asyncio.ensure_future(loop.sock_recv(peer, 10))
        await until(lambda: answered.done() or faults.has_raised)
        answered.cancel()
    # The peer is gone, which the kernel reports.
    transport.sendto(b"y", None)
    for _ in range(5):
        await asyncio.sleep(0)
    transport.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        while True:  # Until the address is free.
            with contextlib.suppress(OSError):
                again.bind(address)
                return
            await asyncio.sleep(0)


async def socket_client(faults: Faults, _: object) -> None:
    """A failing socket, with a protocol that does not fail."""
    plain, peer = socket.socketpair()
    ours = FaultySocket.__new__(FaultySocket)
    ours.faults = faults
    faults.is_on = False
    ours.__init__(fileno=plain.detach())  # type: ignore[misc]
    faults.is_on = True
    loop = asyncio.get_running_loop()
    with peer:
        with contextlib.suppress(faults.error):
            await loop.create_connection(asyncio.Protocol, sock=ours)
            await sees_the_end(peer)
            faults.is_on = False
            return
        faults.is_on = False
        ours.close()
        gc.collect()  # asyncio has created a transport, and does not close it.


class Children(Faulty, asyncio.SubprocessProtocol):
    """The protocol of a child that prints a word."""

    def __init__(self, faults: Faults) -> None:
        """Store `faults`."""
        self.faults = faults

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Stores the transport."""
        self.faults.step()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """A step."""
        self.faults.step()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """A step."""
        self.faults.step()

    def process_exited(self) -> None:
        """A step."""
        self.faults.step()

    connection_lost = Plain.connection_lost


async def child(faults: Faults, protocol: Callable[[Faults], asyncio.BaseProtocol]) -> None:
    """Runs a child until it exits."""
    loop = asyncio.get_running_loop()
    make: Any = protocol
    try:
        transport, _ = await loop.subprocess_exec(
            lambda: make(faults), "/bin/echo", "x", stdin=None, stderr=None
        )
    except faults.error:
        return
    pipe: Any = transport.get_pipe_transport(1)
    await until(lambda: transport.get_returncode() is not None and pipe.is_closing())
    transport.close()


Scenario = tuple[
    "Callable[[Faults, Callable[[Faults], asyncio.BaseProtocol]], Awaitable[None]]",
    "Callable[[Faults], asyncio.BaseProtocol]",
]
SCENARIOS: dict[str, Scenario] = {
    "client": (client, Plain),
    "buffered client": (client, Buffered),
    "tcp server": (tcp_server, Plain),
    "tls server": (tls_server, Plain),
    "buffered tls server": (tls_server, Buffered),
    "read pipe": (read_pipe, Reading),
    "write pipe": (write_pipe, Reading),
    "datagrams": (datagrams, Datagrams),
    "socket": (socket_client, Plain),
    "child": (child, Children),
}


NOT_ON_ASYNCIO = {
    "socket": "asyncio cannot use a socket that once did not tell its number (3.14)",
    "child": "asyncio waits for ever for a child whose protocol has no connection_made()",
    "tcp server": "asyncio leaves a connection without connection_made() to the collector",
    "tls server": "asyncio leaves a connection without a protocol to the collector",
    "buffered tls server": "asyncio leaves a connection without a protocol to the collector",
    "read pipe": "asyncio's pipe does not end without eof_received()",
}


def descriptors() -> int:
    """Returns the number of open descriptors."""
    return len(os.listdir("/dev/fd"))


def settled(loop: asyncio.AbstractEventLoop, expected: int) -> int:
    """Returns the number of open descriptors after all endings have been processed."""
    for _ in range(PASSES):
        if descriptors() == expected:
            break
        loop.run_until_complete(asyncio.sleep(0))
    if descriptors() != expected:
        gc.collect()
        loop.run_until_complete(asyncio.sleep(0))
    return descriptors()


@pytest.mark.slow
@pytest.mark.parametrize("error", [AttributeError, OSError, Own], ids=lambda it: it.__name__)
@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_a_step_that_fails_ends_nothing_but_its_source(
    loop: asyncio.AbstractEventLoop,
    reported: list[dict[str, Any]],
    loop_name: str,
    scenario: str,
    error: type[BaseException],
) -> None:
    if loop_name == "asyncio" and scenario in NOT_ON_ASYNCIO:
        pytest.skip(NOT_ON_ASYNCIO[scenario])
    run, protocol = SCENARIOS[scenario]
    loop.run_until_complete(run(Faults(-1, error), protocol))
    before = settled(loop, 0)
    at = 0
    while True:
        faults = Faults(at, error)
        loop.run_until_complete(asyncio.wait_for(run(faults, protocol), PATIENCE_S))
        faults.is_on = False
        assert settled(loop, before) == before, f"step {at}: {reported}"
        if not faults.has_raised:
            break
        reported.clear()
        at += 1
    assert at > MANY
    assert reported == []
