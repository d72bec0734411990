"""Unix sockets: servers, connections, addresses and closing."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import inspect
import os
import resource
import socket
import struct
import sys
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from tests.processes import LINUX
from tests.tcp.peers import MORE_THAN_FITS, read_exactly, read_to_end, turns
from tests.tcp.recorders import PATIENCE_S, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLEANS_UP = pytest.mark.skipif(
    sys.version_info < (3, 13), reason="servers leave their files before Python 3.13"
)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A relative path to listen on: an address is limited to 107 bytes."""
    monkeypatch.chdir(tmp_path)
    return "socket"


def is_socket(path: str) -> bool:
    """Returns whether `path` is a socket file."""
    return Path(path).is_socket()


class Echo(asyncio.Protocol):
    """Sends back what it receives."""

    transport: asyncio.Transport
    living: ClassVar[set[Echo]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Stores the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.living.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Removes itself from the open connections."""
        self.living.remove(self)

    def data_received(self, data: bytes) -> None:
        """Sends the data back."""
        self.transport.write(data)


async def ended(server: asyncio.AbstractServer) -> None:
    """Closes a server and waits for its connections, as `wait_closed()` does from 3.12 on."""
    server.close()
    await server.wait_closed()
    while Echo.living:  # noqa: ASYNC110 - protocols come and go.
        await asyncio.sleep(0)


async def pair(
    kind: Callable[[], Recorder] = Recorder, *, kernel_buffer: int | None = None
) -> tuple[asyncio.Transport, Recorder, socket.socket]:
    """A transport over one end of a socket pair, and the other end, a blocking socket."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE_S)
    if kernel_buffer is not None:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, kernel_buffer)
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_unix_connection(kind, sock=ours)
    return transport, protocol, theirs


def test_streams_echo(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_unix_server(serve, path)
        reader, writer = await asyncio.open_unix_connection(path)
        for number in range(100):
            writer.write(b"line %d\n" % number)
            assert await reader.readline() == b"line %d\n" % number
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        await ended(server)

    loop.run_until_complete(main())


@pytest.mark.parametrize("kind", [str, os.fsencode, Path], ids=["str", "bytes", "PathLike"])
def test_a_path_may_have_any_type(
    loop: asyncio.AbstractEventLoop, path: str, kind: Callable[[str], Any]
) -> None:
    async def main() -> None:
        server = await loop.create_unix_server(Echo, kind(path))
        transport, protocol = await loop.create_unix_connection(Recorder, kind(path))
        transport.write(b"hello")
        await protocol.until_received(5)
        transport.close()
        await protocol.until_lost()
        await ended(server)

    loop.run_until_complete(main())


def test_addresses_are_those_of_the_socket_module(
    loop: asyncio.AbstractEventLoop, path: str
) -> None:
    accepted: list[Recorder] = []

    def accept() -> Recorder:
        accepted.append(Recorder())
        return accepted[-1]

    async def main() -> None:
        server = await loop.create_unix_server(accept, path)
        [listener] = server.sockets
        assert listener.getsockname() == path
        client = socket.socket(socket.AF_UNIX)
        client.bind("client")
        client.setblocking(False)
        await loop.sock_connect(client, path)
        named, _ = await loop.create_unix_connection(Recorder, sock=client)
        unnamed, _ = await loop.create_unix_connection(Recorder, path)
        for transport, own in ((named, "client"), (unnamed, "")):
            assert transport.get_extra_info("sockname") == own
            assert transport.get_extra_info("peername") == path
        while len(accepted) < 2 or not accepted[1].calls:
            await turns(1)
        for recorder, peer in zip(accepted, ("client", ""), strict=True):
            assert recorder.transport.get_extra_info("peername") == peer
            assert recorder.transport.get_extra_info("sockname") == path
            recorder.transport.close()
            await recorder.until_lost()
        named.close()
        unnamed.close()
        await ended(server)
        await turns(3)

    loop.run_until_complete(main())


@pytest.mark.skipif(not LINUX, reason="abstract names are Linux's")
def test_abstract_addresses(loop: asyncio.AbstractEventLoop) -> None:
    """They have no file."""
    name = f"\0yamanote-test-{os.getpid()}"
    accepted: list[Recorder] = []

    def accept() -> Recorder:
        accepted.append(Recorder())
        return accepted[-1]

    async def main() -> None:
        server = await loop.create_unix_server(accept, name)
        transport, protocol = await loop.create_unix_connection(Recorder, name)
        assert transport.get_extra_info("peername") == name.encode()
        while not accepted or not accepted[0].calls:
            await turns(1)
        assert accepted[0].transport.get_extra_info("sockname") == name.encode()
        transport.close()
        await protocol.until_lost()
        await accepted[0].until_lost()
        await ended(server)

    loop.run_until_complete(main())


@pytest.mark.skipif(not LINUX, reason="other file systems and addresses have other limits")
def test_a_name_that_is_no_text_goes_around(loop: asyncio.AbstractEventLoop, path: str) -> None:
    """Also for the longest possible address."""
    name = b"\xff" * 107
    accepted: list[Recorder] = []

    def accept() -> Recorder:
        accepted.append(Recorder())
        return accepted[-1]

    async def main() -> None:
        address: Any = name
        server = await loop.create_unix_server(accept, address)
        transport, protocol = await loop.create_unix_connection(Recorder, address)
        while not accepted or not accepted[0].calls:
            await turns(1)
        own = accepted[0].transport.get_extra_info("sockname")
        assert os.fsencode(own) == name
        transport.close()
        await protocol.until_lost()
        await accepted[0].until_lost()
        await ended(server)

    loop.run_until_complete(main())


@pytest.mark.skipif(not LINUX, reason="uses SO_PEERCRED")
def test_the_socket_tells_who_the_peer_is(loop: asyncio.AbstractEventLoop, path: str) -> None:
    seen: list[tuple[int, int, int]] = []

    class Credentials(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            sock = transport.get_extra_info("socket")
            assert sock.family == socket.AF_UNIX
            assert sock.type == socket.SOCK_STREAM
            size = struct.calcsize("3i")
            data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
            seen.append(struct.unpack("3i", data))
            transport.close()

    async def main() -> None:
        server = await loop.create_unix_server(Credentials, path)
        _, protocol = await loop.create_unix_connection(Recorder, path)
        await protocol.until_lost()
        await ended(server)

    loop.run_until_complete(main())
    assert seen == [(os.getpid(), os.getuid(), os.getgid())]


def test_a_stale_socket_file_is_replaced(loop: asyncio.AbstractEventLoop, path: str) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    assert is_socket(path)

    async def main() -> None:
        server = await loop.create_unix_server(Echo, path)
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        transport.close()
        await protocol.until_lost()
        await ended(server)

    loop.run_until_complete(main())


def test_a_file_in_the_way_is_an_error_that_names_it(
    loop: asyncio.AbstractEventLoop, path: str
) -> None:
    file = Path(path)
    file.write_text("precious")

    async def main() -> None:
        with pytest.raises(OSError, match=r"Address 'socket' is already in use") as caught:
            await loop.create_unix_server(Echo, path)
        assert caught.value.errno == errno.EADDRINUSE

    loop.run_until_complete(main())
    assert file.read_text() == "precious"


def test_a_missing_server_is_asyncios_error(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_connection(Recorder, path)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path)
            with pytest.raises(ConnectionRefusedError):
                await loop.create_unix_connection(Recorder, path)

    loop.run_until_complete(main())


def test_a_wrong_path_is_asyncios_error(loop: asyncio.AbstractEventLoop, path: str) -> None:
    wrong: Any
    expected = {
        "x" * 108: (OSError, "AF_UNIX path too long"),
        b"x" * 200: (OSError, "AF_UNIX path too long"),
        "a\0b": (OSError, os.strerror(errno.ENOENT)),
        "": (OSError, os.strerror(errno.EINVAL if LINUX else errno.ENOENT)),
        1.5: (TypeError, "expected str, bytes or os.PathLike object, not float"),
    }
    if LINUX:
        expected[b"\0not a name that is used"] = (OSError, os.strerror(errno.ECONNREFUSED))
    for wrong, (kind, text) in expected.items():
        with pytest.raises(kind, match=text):
            loop.run_until_complete(loop.create_unix_connection(Recorder, wrong))
    Path(path).write_text("no socket")
    with pytest.raises(ConnectionRefusedError if LINUX else OSError):
        loop.run_until_complete(loop.create_unix_connection(Recorder, path))


def test_a_path_may_have_any_character(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        for name in (path + "\N{TRAM}", path + "\udcff", "x" * 107):
            server = await loop.create_unix_server(Echo, name)
            transport, protocol = await loop.create_unix_connection(Recorder, name)
            assert transport.get_extra_info("peername") == name
            assert transport.get_extra_info("sockname") == ""
            transport.write(b"hello")
            await protocol.until_received(5)
            transport.close()
            await protocol.until_lost()
            await ended(server)

    loop.run_until_complete(main())


def test_a_connection_is_audited(loop: asyncio.AbstractEventLoop, path: str) -> None:
    seen: list[object] = []
    listening = True

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if listening and event == "socket.connect":
            seen.append(arguments[1])

    sys.addaudithook(hook)
    with pytest.raises(FileNotFoundError):
        loop.run_until_complete(loop.create_unix_connection(Recorder, path))
    listening = False
    assert seen == [path]


def test_a_changed_sock_connect_is_called(
    loop: asyncio.AbstractEventLoop, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sock_connect(sock: socket.socket, address: object) -> None:
        sock.close()
        raise ZeroDivisionError(address)

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    with pytest.raises(ZeroDivisionError, match=path):
        loop.run_until_complete(loop.create_unix_connection(Recorder, path))


def test_wrong_arguments_are_asyncios_errors(loop: asyncio.AbstractEventLoop, path: str) -> None:
    tcp = socket.socket()

    async def main() -> None:
        server, connect = loop.create_unix_server, loop.create_unix_connection
        invalid: Any = True
        both = "path and sock can not be specified at the same time"
        for method in (server, connect):
            with pytest.raises(ValueError, match=both):
                await method(Echo, path, sock=tcp)
            with pytest.raises(ValueError, match="A UNIX Domain Stream Socket was expected, got"):
                await method(Echo, sock=tcp)
            with pytest.raises(ValueError, match="ssl_handshake_timeout is only meaningful"):
                await method(Echo, path, ssl_handshake_timeout=1)
        with pytest.raises(ValueError, match="path was not specified, and no sock specified"):
            await server(Echo)
        with pytest.raises(ValueError, match="no path and sock were specified"):
            await connect(Echo)
        with pytest.raises(TypeError, match="ssl argument must be an SSLContext or None"):
            await server(Echo, path, ssl=invalid)
        with pytest.raises(ValueError, match="server_hostname is only meaningful with ssl"):
            await connect(Echo, path, server_hostname="")

    with tcp:
        loop.run_until_complete(main())


@CLEANS_UP
def test_a_closed_server_removes_its_file(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        server = await loop.create_unix_server(Echo, path)
        assert is_socket(path)
        server.close()
        assert not is_socket(path)
        await server.wait_closed()

    loop.run_until_complete(main())


@CLEANS_UP
def test_a_file_that_is_no_longer_the_servers_stays(
    loop: asyncio.AbstractEventLoop, path: str
) -> None:
    async def main() -> None:
        first = await loop.create_unix_server(Echo, path)
        second = await loop.create_unix_server(Echo, path)
        first.close()
        assert is_socket(path)
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        transport.close()
        await protocol.until_lost()
        os.unlink(path)
        second.close()

    loop.run_until_complete(main())


@CLEANS_UP
def test_removing_the_file_blocks_in_no_code_but_asyncios(
    loop: asyncio.AbstractEventLoop, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tools that forbid blocking calls on a loop's thread allow these only in asyncio's code."""

    def refusing(function: Callable[[str], object]) -> Callable[[str], object]:
        def refuse(path: str) -> object:
            frame = inspect.currentframe()
            assert frame is not None
            assert frame.f_back is not None
            assert frame.f_back.f_code.co_filename.endswith("asyncio/unix_events.py")
            return function(path)

        return refuse

    async def main() -> None:
        server = await loop.create_unix_server(Echo, path)
        with monkeypatch.context() as patch:
            for name in ("stat", "unlink", "remove"):
                patch.setattr(os, name, refusing(getattr(os, name)))
            server.close()
        assert not is_socket(path)
        await server.wait_closed()

    loop.run_until_complete(main())


@CLEANS_UP
def test_a_server_may_leave_its_file(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        keywords: dict[str, Any] = {"cleanup_socket": False}
        server = await loop.create_unix_server(Echo, path, **keywords)
        await ended(server)

    loop.run_until_complete(main())
    assert is_socket(path)


def test_a_server_may_start_later(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        server = await loop.create_unix_server(Echo, path, start_serving=False)
        with pytest.raises(ConnectionRefusedError):
            await loop.create_unix_connection(Recorder, path)
        await server.start_serving()
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        transport.close()
        await protocol.until_lost()
        await ended(server)

    loop.run_until_complete(main())


def test_an_accepted_socket_becomes_a_transport(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            peer = socket.socket(socket.AF_UNIX)
            peer.connect(path)
            accepted, _ = listener.accept()
        transport, protocol = await loop.connect_accepted_socket(Recorder, accepted)
        assert transport.get_extra_info("sockname") == path
        with peer:
            peer.sendall(b"hello")
            await protocol.until_received(5)
            transport.write(b"bye")
            transport.close()
            assert await read_to_end(peer) == b"bye"
        await protocol.until_lost()

    loop.run_until_complete(main())


def test_megabytes_go_both_ways(loop: asyncio.AbstractEventLoop) -> None:
    """More than the kernel buffers, so the socket must be watched for writability from then on."""
    data = os.urandom(MORE_THAN_FITS)

    async def main() -> None:
        transport, protocol, peer = await pair(kernel_buffer=4096)
        with peer:
            sending = loop.run_in_executor(None, peer.sendall, data)
            transport.write(data)
            assert protocol.calls[-1] == "pause_writing"
            assert await read_exactly(peer, len(data)) == data
            await protocol.until_received(len(data))
            await sending
            assert protocol.received == data
            assert transport.get_write_buffer_size() == 0
            # Data that is sent after the first full buffer arrives, too.
            peer.sendall(b"more")
            await protocol.until_received(len(data) + 4)
            transport.write(data)
            assert await read_exactly(peer, len(data)) == data
        await protocol.until_lost()
        told = [call for call in protocol.calls if call.endswith("_writing")]
        assert told == ["pause_writing", "resume_writing"] * (len(told) // 2)

    loop.run_until_complete(main())


def test_a_paused_reader_is_not_woken_by_its_writes(loop: asyncio.AbstractEventLoop) -> None:
    """Watching for writability must not consume the read readiness: the data arrives on resume."""

    async def main() -> None:
        transport, protocol, peer = await pair(kernel_buffer=4096)
        with peer:
            transport.pause_reading()
            peer.sendall(b"waits")
            data = bytes(MORE_THAN_FITS)
            transport.write(data)
            assert await read_exactly(peer, len(data)) == data
            await turns(5)
            assert protocol.received == b""
            transport.resume_reading()
            await protocol.until_received(5)
        await protocol.until_lost()

    loop.run_until_complete(main())


def test_half_closed_connections_go_on(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await pair(lambda: Recorder({"eof_received": lambda _: True}))
        with peer:
            peer.shutdown(socket.SHUT_WR)
            await protocol.until_called("eof_received", 1)
            data = bytes(MORE_THAN_FITS)
            transport.write(data)
            assert await read_exactly(peer, len(data)) == data
            transport.write_eof()
            assert await read_to_end(peer) == b""
            assert not transport.is_closing()
            transport.close()
        await protocol.until_lost()
        assert protocol.lost_with is None

    loop.run_until_complete(main())


def test_we_may_close_our_half_first(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await pair()
        with peer:
            transport.write(b"last")
            transport.write_eof()
            assert await read_to_end(peer) == b"last"
            peer.sendall(b"answer")
            await protocol.until_received(6)
        await protocol.until_lost()
        assert protocol.calls == [
            "connection_made",
            "data_received",
            "eof_received",
            "connection_lost",
        ]

    loop.run_until_complete(main())


def test_a_peer_that_goes_while_bytes_wait(loop: asyncio.AbstractEventLoop) -> None:
    """With unread bytes, the kernel resets the connection on close."""

    async def main() -> None:
        transport, protocol, peer = await pair(kernel_buffer=4096)
        transport.write(bytes(MORE_THAN_FITS))
        await turns(3)
        peer.close()
        await protocol.until_lost()
        assert isinstance(protocol.lost_with, (ConnectionResetError, BrokenPipeError))
        assert transport.is_closing()

    loop.run_until_complete(main())


@pytest.mark.slow
def test_a_thousand_connections(
    loop: asyncio.AbstractEventLoop, path: str, many_descriptors: None
) -> None:
    async def main() -> None:
        server = await loop.create_unix_server(Echo, path, backlog=1000)
        connections = [await loop.create_unix_connection(Recorder, path) for _ in range(1000)]
        for number, (transport, _) in enumerate(connections):
            transport.write(b"%3d" % number * 100)
        for number, (transport, protocol) in enumerate(connections):
            expected = b"%3d" % number * 100
            await protocol.until_received(len(expected))
            assert protocol.received == expected
            transport.close()
        for _, protocol in connections:
            await protocol.until_lost()
        await ended(server)

    loop.run_until_complete(main())


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Raises the limit of descriptors for a thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(not LINUX, reason="elsewhere a full queue refuses connections")
def test_a_full_queue_is_waited_for(
    loop: asyncio.AbstractEventLoop, loop_name: str, path: str
) -> None:
    if loop_name == "asyncio":
        pytest.skip("asyncio makes transports over sockets that are not connected")

    async def one() -> None:
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        transport.write(b"hello")
        await protocol.until_received(5)
        transport.close()
        await protocol.until_lost()

    async def main() -> None:
        server = await loop.create_unix_server(Echo, path, backlog=5)
        await asyncio.gather(*(one() for _ in range(100)))
        await ended(server)

    loop.run_until_complete(main())


@pytest.mark.skipif(not LINUX, reason="elsewhere a full queue refuses connections")
def test_waiting_for_a_full_queue_can_be_cancelled(
    loop: asyncio.AbstractEventLoop, loop_name: str, path: str
) -> None:
    if loop_name == "asyncio":
        pytest.skip("asyncio makes transports over sockets that are not connected")

    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(0)
            with socket.socket(socket.AF_UNIX) as first:
                first.connect(path)
                connecting = loop.create_unix_connection(Recorder, path)
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(connecting, 0.05)

    loop.run_until_complete(main())


@pytest.mark.skipif(not LINUX, reason="looks into /proc")
def test_ended_connections_leave_nothing_behind(loop: asyncio.AbstractEventLoop, path: str) -> None:
    seen: list[weakref.ref[Any]] = []

    async def one() -> None:
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        transport.write(b"hello")
        await protocol.until_received(5)
        transport.close()
        await protocol.until_lost()
        seen.extend((weakref.ref(transport), weakref.ref(protocol)))

    async def main() -> None:
        server = await loop.create_unix_server(Echo, path)
        await one()
        await turns(5)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(100):
            await one()
        await ended(server)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(gone(before), PATIENCE_S)
        assert len(os.listdir("/proc/self/fd")) < before

    async def gone(before: int) -> None:
        while len(os.listdir("/proc/self/fd")) >= before:
            await turns(1)

    loop.run_until_complete(main())
    gc.collect()
    assert [reference for reference in seen if reference() is not None] == []
