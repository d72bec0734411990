"""The other end of a TLS connection: blocking, and with control over every byte of ciphertext."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Any, TypeVar

from tests.tcp.peers import turns
from tests.tcp.recorders import PATIENCE_S
from tests.tcp.servers import LOCALHOST
from tests.tls.certificates import NAME, client_context, server_context

if TYPE_CHECKING:
    from collections.abc import Callable

P = TypeVar("P", bound=asyncio.BaseProtocol)
T = TypeVar("T")


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Runs a blocking call on a thread while the loop runs."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


async def everything_ends() -> None:
    """Waits for the other tasks, and for callbacks that they schedule.

    `Server.wait_closed()` waits for connections only from Python 3.12 on, and not for handshakes.
    """
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)
    await turns(10)


class Peer:
    """A server's or client's end. All methods block: call them with `in_thread`.

    Args:
        sock: connected.
        context: for a server, with a certificate; for a client, one that trusts it.
        server_side: whether it is the server.
    """

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext | None = None, *, server_side: bool
    ) -> None:
        """Creates the session, without a handshake."""
        self.sock = sock
        sock.settimeout(PATIENCE_S)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        if context is None:
            context = server_context() if server_side else client_context()
        self.session = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=server_side,
            server_hostname=None if server_side else NAME,
        )

    def shake_hands(self) -> Peer:
        """Completes the handshake."""
        self._until_done(self.session.do_handshake)
        return self

    def encrypted(self, data: bytes) -> bytes:
        """Returns the ciphertext of `data`, in records of up to 16 KiB; sends nothing."""
        self.session.write(data)
        return self.outgoing.read()

    def send(self, data: bytes) -> None:
        """Sends `data`."""
        self.sock.sendall(self.encrypted(data))

    def read(self, count: int) -> bytes:
        """Reads exactly `count` bytes."""
        got = b""

        def read() -> bytes:
            return self.session.read(count - len(got))

        while len(got) < count:
            data = self._until_done(read)
            if not data:
                raise EOFError(got)
            got += data
        return got

    def read_to_goodbye(self) -> bytes:
        """Reads until the other side's close_notify."""
        got = bytearray()
        with contextlib.suppress(ssl.SSLZeroReturnError):
            while data := self._until_done(lambda: self.session.read(1 << 16)):
                got += data
        return bytes(got)

    def read_to_goodbye_or_end(self) -> int:
        """Reads until the other side's close_notify, EOF or error; returns the number of bytes."""
        count = 0
        with contextlib.suppress(ssl.SSLZeroReturnError, EOFError):
            while data := self._until_done(lambda: self.session.read(1 << 16)):
                count += len(data)
        return count

    def goodbye(self) -> bytes:
        """Returns the ciphertext of our close_notify; sends nothing."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.session.unwrap()
        return self.outgoing.read()

    def _until_done(self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._send_outgoing()
                data = self.sock.recv(1 << 16)
                if not data:
                    raise EOFError from None
                self.incoming.write(data)
            else:
                self._send_outgoing()
                return result

    def _send_outgoing(self) -> None:
        if data := self.outgoing.read():
            self.sock.sendall(data)


async def connect(
    factory: Callable[[], P],
    context: ssl.SSLContext | None = None,
    peer_context: ssl.SSLContext | None = None,
    **options: float,
) -> tuple[asyncio.Transport, P, Peer]:
    """Opens a connection of the running loop and returns it with the server's end."""
    loop = asyncio.get_running_loop()
    with socket.create_server((LOCALHOST, 0)) as listener:
        listener.settimeout(PATIENCE_S)

        def accept() -> Peer:
            sock, _ = listener.accept()
            return Peer(sock, peer_context, server_side=True).shake_hands()

        accepting = loop.run_in_executor(None, accept)
        host, port = listener.getsockname()
        open_connection: Any = loop.create_connection
        transport, protocol = await open_connection(
            factory,
            host,
            port,
            ssl=context or client_context(),
            server_hostname=NAME,
            **options,
        )
        peer = await accepting
    assert isinstance(transport, asyncio.Transport)
    return transport, protocol, peer
