"""Every step of every source fails once: it is told of, the source ends, and the loop goes on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import socket
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from tests.hostile.waiting import until
from tests.tls.certificates import NAME, client_context, server_context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = [
    # asyncio leaves what a failed constructor has made to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PATIENCE_S = 30.0
#: Of any kind.
Transport: TypeAlias = Any
#: More than the kernel takes, of a pipe or with `SMALL_BUFFER`.
MUCH = bytes(200_000)
SMALL_BUFFER = 4096
#: Steps that any source has.
MANY = 5
#: Passes of the loop in which a connection that has failed is over.
PASSES = 100


class Own(BaseException):
    """No `Exception`, and nothing that Python or asyncio knows."""


class Faults:
    """Counts the steps, and fails at one of them."""

    def __init__(self, at: int, error: type[BaseException]) -> None:
        """Has step number `at` raise `error`."""
        self.left = at
        self.error = error
        self.has_raised = False
        self.is_on = True

    def step(self) -> None:
        """One step further."""
        if not self.is_on or self.has_raised:
            return
        if self.left == 0:
            self.has_raised = True
            raise self.error("this step fails")
        self.left -= 1


class Faulty:
    """Looking an attribute up is a step, where it is not our own."""

    faults: Faults

    def __getattribute__(self, name: str) -> Transport:
        """A step, then the attribute."""
        if not name.startswith("_") and name not in ("faults", "close"):
            object.__getattribute__(self, "faults").step()
        return object.__getattribute__(self, name)


class Plain(Faulty, asyncio.Protocol):
    """Calls are steps, too. Answers what it receives, and closes at the end."""

    def __init__(self, faults: Faults) -> None:
        """Fails as `faults` says."""
        self.faults = faults

    def connection_made(self, transport: Transport) -> None:
        """Notes the transport."""
        self.faults.step()
        transport.set_write_buffer_limits(high=1000)
        self._transport = transport
        ours = transport.get_extra_info("socket")
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
        transport.write(b"hello")

    def data_received(self, data: bytes) -> None:
        """Answers."""
        self.faults.step()
        self._transport.write(MUCH)

    def eof_received(self) -> bool | None:
        """Lets it end."""
        self.faults.step()
        return None

    def pause_writing(self) -> None:
        """A step."""
        self.faults.step()

    def resume_writing(self) -> None:
        """A step."""
        self.faults.step()

    def connection_lost(self, exc: Exception | None) -> None:
        """Notes the end."""
        self.faults.step()


class Buffered(Faulty, asyncio.BufferedProtocol):
    """The same with a buffer of its own."""

    def __init__(self, faults: Faults) -> None:
        """Fails as `faults` says."""
        self.faults = faults

    connection_made = Plain.connection_made
    eof_received = Plain.eof_received
    pause_writing = Plain.pause_writing
    resume_writing = Plain.resume_writing
    connection_lost = Plain.connection_lost

    def get_buffer(self, sizehint: int) -> bytearray:
        """A small one."""
        self.faults.step()
        return bytearray(10)

    def buffer_updated(self, nbytes: int) -> None:
        """Answers."""
        self.faults.step()
        self._transport.write(MUCH)


class Reading(Faulty, asyncio.Protocol):
    """For the end of a pipe that reads."""

    def __init__(self, faults: Faults) -> None:
        """Fails as `faults` says."""
        self.faults = faults

    def connection_made(self, transport: Transport) -> None:
        """Notes the transport."""
        self.faults.step()

    def data_received(self, data: bytes) -> None:
        """Answers."""
        self.faults.step()

    eof_received = Plain.eof_received
    connection_lost = Plain.connection_lost


class Datagrams(Faulty, asyncio.DatagramProtocol):
    """Answers each datagram, and tells when it has had one or heard of an error."""

    def __init__(self, faults: Faults) -> None:
        """Fails as `faults` says."""
        self.faults = faults

    def connection_made(self, transport: Transport) -> None:
        """Notes the transport."""
        self.faults.step()
        transport.set_write_buffer_limits(high=0)
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Transport) -> None:
        """Answers."""
        self.faults.step()
        self._transport.sendto(data, addr)

    def error_received(self, exc: Exception) -> None:
        """A step."""
        self.faults.step()

    pause_writing = Plain.pause_writing
    resume_writing = Plain.resume_writing
    connection_lost = Plain.connection_lost


class FaultySocket(Faulty, socket.socket):
    """Whatever is asked of it is a step, and closing fails when it is done."""

    def close(self) -> None:
        """Closes it, and fails."""
        super().close()
        self.faults.step()


class File(Faulty):
    """A file that is no more than its descriptor."""

    def __init__(self, fd: int, faults: Faults) -> None:
        """Owns `fd`."""
        self.faults = faults
        self._fd = fd

    def fileno(self) -> int:
        """The descriptor."""
        self.faults.step()
        return self._fd

    def close(self) -> None:
        """Closes it, and fails."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        self.faults.step()


async def sees_the_end(peer: socket.socket) -> None:
    """The peer says something and that it is done, then reads all there is."""
    loop = asyncio.get_running_loop()
    peer.setblocking(False)
    with contextlib.suppress(OSError):  # Reset, or no longer connected.
        await loop.sock_sendall(peer, b"x")
        peer.shutdown(socket.SHUT_WR)
        while await loop.sock_recv(peer, 1 << 20):
            pass


async def client(faults: Faults, protocol: Callable[[Faults], asyncio.BaseProtocol]) -> None:
    """A connection over a socket of ours."""
    ours, peer = socket.socketpair()
    with peer:
        with contextlib.suppress(faults.error):
            await asyncio.get_running_loop().create_connection(lambda: protocol(faults), sock=ours)
            await sees_the_end(peer)
            return
        faults.is_on = False
        ours.close()
        gc.collect()  # asyncio has made a transport, and leaves it.


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
    """An accepted connection, encrypted."""
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
    await until(lambda: file._fd < 0)


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
    await until(lambda: file._fd < 0)


async def datagrams(faults: Faults, protocol: Callable[[Faults], asyncio.BaseProtocol]) -> None:
    """A datagram endpoint that hears of errors."""
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
    # Nobody is there any more, which the kernel tells of.
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
    """A socket that fails, under a protocol that does not."""
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
        gc.collect()  # asyncio has made a transport, and leaves it.


class Children(Faulty, asyncio.SubprocessProtocol):
    """Of a child that says a word."""

    def __init__(self, faults: Faults) -> None:
        """Fails as `faults` says."""
        self.faults = faults

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Notes the transport."""
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
    """A child, to its end."""
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
    """How many are open."""
    return len(os.listdir("/dev/fd"))


def settled(loop: asyncio.AbstractEventLoop, expected: int) -> int:
    """How many descriptors are open when what ends has ended."""
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
    for at in itertools.count():
        faults = Faults(at, error)
        loop.run_until_complete(asyncio.wait_for(run(faults, protocol), PATIENCE_S))
        faults.is_on = False
        assert settled(loop, before) == before, f"step {at}: {reported}"
        if not faults.has_raised:
            break
        reported.clear()
    assert at > MANY
    assert reported == []


def nothing() -> Transport:
    """A factory that forgets to return."""


def test_a_factory_that_makes_nothing_is_refused(
    loop: asyncio.AbstractEventLoop, loop_name: str, reported: list[dict[str, Any]]
) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        theirs, end = os.pipe()
        with peer, os.fdopen(theirs, "rb", 0) as reading, os.fdopen(end, "wb", 0) as writing:
            calls: list[Awaitable[object]] = [
                loop.create_connection(nothing, sock=ours),
                loop.create_datagram_endpoint(nothing, local_addr=("127.0.0.1", 0)),
                loop.connect_read_pipe(nothing, reading),
                loop.connect_write_pipe(nothing, writing),
            ]
            if loop_name != "asyncio":  # Which waits for ever.
                calls.append(loop.subprocess_exec(nothing, "/bin/true"))
            for call in calls:
                with pytest.raises(AttributeError, match="NoneType"):
                    await call
                gc.collect()  # asyncio has made a transport, and leaves it.

    loop.run_until_complete(main())
    # That the child without a protocol has ended could be told to nobody.
    assert {type(context["exception"]) for context in reported} <= {AttributeError}
    reported.clear()


def test_a_server_whose_factory_makes_nothing_serves_on(loop: asyncio.AbstractEventLoop) -> None:
    protocols: list[asyncio.BaseProtocol | None] = [None, asyncio.Protocol()]

    async def main() -> None:
        factory: Any = lambda: protocols.pop(0)  # noqa: E731
        server = await loop.create_server(factory, "127.0.0.1", 0)
        for _ in range(len(protocols)):
            with socket.socket() as peer:
                peer.setblocking(False)
                await loop.sock_connect(peer, server.sockets[0].getsockname())
                gc.collect()  # asyncio leaves the refused one to it.
                peer.shutdown(socket.SHUT_WR)
                for _ in range(10):
                    await asyncio.sleep(0)
                    gc.collect()
                with contextlib.suppress(ConnectionResetError):
                    assert await loop.sock_recv(peer, 1) == b""
        server.close()

    loop.run_until_complete(main())
    assert protocols == []


@pytest.mark.parametrize(
    ("buffer", "message", "error"),
    [
        (None, "get_buffer() call failed", TypeError),
        (b"", "get_buffer() call failed", RuntimeError),
        (bytearray(), "get_buffer() call failed", RuntimeError),
        (5, "get_buffer() call failed", TypeError),
        (b"read-only", "Fatal read error", TypeError),
        ("text", "Fatal read error", TypeError),
        ([0] * 9, "Fatal read error", TypeError),
        (memoryview(b"read-only"), "Fatal read error", TypeError),
        (memoryview(bytearray(9))[::2], "Fatal read error", (TypeError, BufferError)),
    ],
    ids=repr,
)
def test_a_buffer_that_is_none_ends_the_connection(
    loop: asyncio.AbstractEventLoop,
    reported: list[dict[str, Any]],
    buffer: object,
    message: str,
    error: type[BaseException] | tuple[type[BaseException], ...],
) -> None:
    class Wrong(asyncio.BufferedProtocol):
        def get_buffer(self, sizehint: int) -> Transport:
            return buffer

    async def main() -> None:
        ours, peer = socket.socketpair()
        with peer:
            await loop.create_connection(Wrong, sock=ours)
            peer.setblocking(False)
            peer.send(b"x")
            with contextlib.suppress(ConnectionResetError):
                assert await loop.sock_recv(peer, 1) == b""

    loop.run_until_complete(main())
    (context,) = reported
    reported.clear()
    assert message in context["message"]
    assert isinstance(context["exception"], error)
    assert context["transport"].is_closing()
    assert isinstance(context["protocol"], Wrong)


def test_a_transport_whose_protocol_was_taken_away_ends(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        with peer:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            nobody: Any = None
            transport.set_protocol(nobody)
            peer.setblocking(False)
            peer.send(b"x")
            with contextlib.suppress(ConnectionResetError):
                assert await loop.sock_recv(peer, 1) == b""

    loop.run_until_complete(main())
    messages = [context["message"] for context in reported]
    assert "data_received() call failed" in messages[0]
    assert {type(context["exception"]) for context in reported} == {AttributeError}
    reported.clear()


@pytest.mark.parametrize("error", [Own, GeneratorExit, asyncio.CancelledError, ValueError])
def test_what_a_watching_callback_raises_is_reported_each_time(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]], error: type[BaseException]
) -> None:
    ours, peer = socket.socketpair()

    def fail() -> None:
        if len(reported) == 1:
            loop.remove_reader(ours)
            loop.call_soon(loop.stop)
        raise error("the callback's")

    with ours, peer:
        ours.setblocking(False)
        peer.send(b"x")
        loop.add_reader(ours, fail)
        loop.run_forever()
    assert [type(context["exception"]) for context in reported] == [error, error]
    reported.clear()


def test_a_future_of_another_make_that_fails_is_reported(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    class Odd(asyncio.Future[Any]):
        def cancelled(self) -> bool:
            raise Own("no answer")

    made: list[asyncio.Transport] = []

    class Told(asyncio.Protocol):
        def connection_made(self, transport: Transport) -> None:
            made.append(transport)
            loop.call_soon(loop.call_soon, loop.stop)

    ours, peer = socket.socketpair()
    with peer:
        ours.setblocking(False)
        make: Any = loop
        make._make_socket_transport(ours, Told(), Odd(loop=loop))
        loop.run_forever()
        made[0].abort()
        loop.run_until_complete(asyncio.sleep(0))
    assert [type(context["exception"]) for context in reported] == [Own]
    reported.clear()
