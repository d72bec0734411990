"""A failed connection leaves no reference cycles.

Otherwise memory and descriptors of a server with many bad peers would depend on the collector. Each
test runs with the collector disabled, and then checks what the collector finds.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
import socket
import ssl
import sys
import sysconfig
from typing import TYPE_CHECKING, Any

import pytest

from tests.tcp.servers import LOCALHOST
from tests.tls.certificates import NAME, client_context, server_context

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
    from pathlib import Path

    Way = Callable[["Scene"], Coroutine[Any, Any, None]]

SOON_S = 0.02


class Scene:
    """What the tests share: created before, and so not counted.

    Attributes:
        loop: the running loop.
        server_side: the context of a server.
        client_side: the context of a client that trusts it.
        doubting: the context of a client that does not.
        path: a path without a file.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, folder: Path) -> None:
        """Creates the contexts."""
        self.loop = loop
        self.path = str(folder / "nothing")
        self.server_side = server_context()
        self.client_side = client_context()
        self.doubting = client_context(trusting=False)

    @contextlib.asynccontextmanager
    async def server(
        self, factory: Callable[[], asyncio.BaseProtocol] = asyncio.Protocol, **options: Any
    ) -> AsyncGenerator[tuple[str, int]]:
        """Runs a TLS server and yields its address."""
        server = await self.loop.create_server(
            factory, LOCALHOST, 0, ssl=self.server_side, **options
        )
        try:
            yield server.sockets[0].getsockname()
        finally:
            server.close()

    async def connect(self, address: tuple[str, int], **options: Any) -> None:
        """Opens a TLS connection, which fails."""
        options = {"ssl": self.client_side, "server_hostname": NAME, **options}
        with contextlib.suppress(OSError):
            await self.loop.create_connection(asyncio.Protocol, *address, **options)
            raise AssertionError("the connection was made")

    async def upgrade(self, address: tuple[str, int], **options: Any) -> None:
        """Opens a connection and starts TLS, which fails."""
        options = {"sslcontext": self.client_side, "server_hostname": NAME, **options}
        transport, protocol = await self.loop.create_connection(asyncio.Protocol, *address)
        with contextlib.suppress(OSError):
            await self.loop.start_tls(transport, protocol, **options)
            raise AssertionError("the connection was made")


@contextlib.contextmanager
def silence() -> Generator[tuple[str, int]]:
    """Yields the address of a listener that sends nothing."""
    with socket.create_server((LOCALHOST, 0)) as listener:
        yield listener.getsockname()


def fail() -> asyncio.Protocol:
    raise ZeroDivisionError


async def a_certificate_is_refused(scene: Scene) -> None:
    async with scene.server() as address:
        await scene.connect(address, ssl=scene.doubting)


async def a_server_says_nothing(scene: Scene) -> None:
    with silence() as address:
        await scene.connect(address, ssl_handshake_timeout=SOON_S)


async def a_server_talks_nonsense(scene: Scene) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"nonsense" * 10)
        writer.close()

    server = await asyncio.start_server(answer, LOCALHOST, 0)
    await scene.connect(server.sockets[0].getsockname())
    server.close()


async def a_server_hangs_up(scene: Scene) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), LOCALHOST, 0)
    await scene.connect(server.sockets[0].getsockname())
    server.close()


async def a_client_is_cancelled(scene: Scene) -> None:
    with silence() as address:
        connecting = asyncio.ensure_future(scene.connect(address))
        await asyncio.sleep(SOON_S)
        connecting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await connecting


async def a_client_says_nothing(scene: Scene) -> None:
    async with scene.server(ssl_handshake_timeout=SOON_S) as address:
        reader, writer = await asyncio.open_connection(*address)
        await reader.read()
        writer.close()


async def a_client_talks_nonsense(scene: Scene) -> None:
    async with scene.server() as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"nonsense" * 100)
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()


async def a_servers_factory_raises(scene: Scene) -> None:
    async with scene.server(fail) as address:
        await scene.connect(address)


async def a_clients_factory_raises(scene: Scene) -> None:
    async with scene.server() as address:
        with contextlib.suppress(ZeroDivisionError):
            await scene.loop.create_connection(fail, *address, ssl=scene.client_side)


async def a_certificate_is_refused_after_start_tls(scene: Scene) -> None:
    async with scene.server() as address:
        await scene.upgrade(address, sslcontext=scene.doubting)


async def a_server_says_nothing_after_start_tls(scene: Scene) -> None:
    with silence() as address:
        await scene.upgrade(address, ssl_handshake_timeout=SOON_S)


async def start_tls_is_cancelled(scene: Scene) -> None:
    with silence() as address:
        upgrading = asyncio.ensure_future(scene.upgrade(address))
        await asyncio.sleep(SOON_S)
        upgrading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await upgrading


async def a_client_talks_nonsense_after_start_tls(scene: Scene) -> None:
    ours, peer = socket.socketpair()
    peer.sendall(b"nonsense" * 100)
    transport, protocol = await scene.loop.create_connection(asyncio.Protocol, sock=ours)
    with contextlib.suppress(ssl.SSLError):
        await scene.loop.start_tls(transport, protocol, scene.server_side, server_side=True)
    peer.close()


async def nothing_listens(scene: Scene) -> None:
    with silence() as address:
        pass
    await scene.connect(address, ssl=None, server_hostname=None)


async def nothing_listens_for_a_socket(scene: Scene) -> None:
    with silence() as address:
        pass
    with socket.socket() as sock:
        sock.setblocking(False)
        with contextlib.suppress(ConnectionRefusedError):
            await scene.loop.sock_connect(sock, address)


async def nothing_listens_on_a_path(scene: Scene) -> None:
    with contextlib.suppress(FileNotFoundError):
        await scene.loop.create_unix_connection(asyncio.Protocol, scene.path)


async def a_service_is_not_found(scene: Scene) -> None:
    with contextlib.suppress(socket.gaierror):
        await scene.loop.getaddrinfo(LOCALHOST, "no such service")


async def a_program_is_not_found(scene: Scene) -> None:
    with contextlib.suppress(FileNotFoundError):
        await asyncio.create_subprocess_exec(scene.path)


#: Whether asyncio breaks the cycle of the frame that waits for a transport and its exception.
FORGETS_WHO_WAITS = sys.version_info >= (3, 14, 10)
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
#: Ways in which the waiting frame is in asyncio's `create_connection()`, which our loop uses, too.
IN_ASYNCIO = (
    a_certificate_is_refused,
    a_server_says_nothing,
    a_server_talks_nonsense,
    a_server_hangs_up,
    a_client_is_cancelled,
    a_servers_factory_raises,
    a_clients_factory_raises,
)
#: Ways in which the waiting frame is in a method that our loop replaces.
IN_OURS = (
    a_client_says_nothing,
    a_client_talks_nonsense,
    a_certificate_is_refused_after_start_tls,
    a_server_says_nothing_after_start_tls,
    start_tls_is_cancelled,
    a_client_talks_nonsense_after_start_tls,
)
OTHERS = (
    nothing_listens,
    nothing_listens_for_a_socket,
    nothing_listens_on_a_path,
    a_service_is_not_found,
    a_program_is_not_found,
)


async def everything_ends() -> None:
    """Waits until protocols know that connections are lost, and servers' handshakes have ended."""
    for _ in range(10):
        await asyncio.sleep(0)
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("way", [*IN_ASYNCIO, *IN_OURS, *OTHERS], ids=lambda way: str(way.__name__))
def test_the_collector_finds_nothing_when(
    loop: asyncio.AbstractEventLoop,
    loop_name: str,
    reported: list[dict[str, Any]],
    tmp_path: Path,
    way: Way,
) -> None:
    if not FORGETS_WHO_WAITS and (way in IN_ASYNCIO or (way in IN_OURS and loop_name == "asyncio")):
        pytest.skip("gh-159049: before 3.14.10 asyncio's own code leaves a cycle here")
    if way is a_service_is_not_found and FREE_THREADED and not FORGETS_WHO_WAITS:
        pytest.skip("gh-159049: before 3.14.10 a future without a GIL refers to its error's frames")
    if way is a_servers_factory_raises and loop_name == "asyncio":
        pytest.skip("asyncio leaves the accepted socket to its finalizer, which warns")
    scene = Scene(loop, tmp_path)

    async def main() -> None:
        await way(scene)
        await everything_ends()

    # Run once before: objects that it leaves in caches do not count.
    loop.run_until_complete(main())
    gc.collect()
    gc.disable()
    try:
        loop.run_until_complete(main())
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
    finally:
        gc.set_debug(0)
        gc.enable()
        found = collections.Counter(type(each).__name__ for each in gc.garbage)
        gc.garbage.clear()
    reported.clear()
    assert not found
