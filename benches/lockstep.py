"""A server whose clients live in its loop's own thread, so that its messages come in step.

Counts of instructions must repeat. With a client in another process, chance decides how many
messages a turn finds. Here one callback sends a message on every connection and runs again when
there is an echo: each turn of the server finds them all. What the clients do is not counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import ssl
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import server
from echoes import LIMIT

if TYPE_CHECKING:
    from callgrind import Callgrind
    from echoes import Serve
    from micro import Timed

#: Enough that the two turns of a round and the clients' callback hardly count.
CONNECTIONS = 20

#: Bytes; a message of 64 KiB fits into the sockets at once.
SOCKET_BUFFER = 200 * 1024

#: Seconds to connect.
PATIENCE_S = 60


@dataclass(frozen=True)
class Messages:
    """A workload: which messages the clients send, and how they are served."""

    serve: Serve
    message: bytes
    tls: bool = False
    family: socket.AddressFamily = socket.AF_INET
    kind: socket.SocketKind = socket.SOCK_STREAM
    answer_bytes: int = 0
    """The length of an answer; 0 means that of the message."""

    def prepare(self, loop: asyncio.AbstractEventLoop, operations: int) -> Timed:
        """Connect the clients; the rest exchanges that many messages over all connections."""
        lockstep = Lockstep(loop, self)
        return lambda: lockstep.run(operations // CONNECTIONS)

    def listen(self, folder: str) -> socket.socket:
        """Return a socket for the server, which puts a Unix socket's file into that folder."""
        listener = self.socket()
        address = os.path.join(folder, "socket")
        listener.bind(address if self.family == socket.AF_UNIX else (server.HOST, 0))
        if self.kind == socket.SOCK_STREAM:
            listener.listen(CONNECTIONS)
        listener.setblocking(False)
        return listener

    def socket(self) -> socket.socket:
        """Return a socket with room for a message."""
        # asyncio sets TCP_NODELAY on accepted sockets only if the listener's protocol is explicit.
        tcp = self.family == socket.AF_INET and self.kind == socket.SOCK_STREAM
        made = socket.socket(self.family, self.kind, socket.IPPROTO_TCP if tcp else 0)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
        return made


class Lockstep:
    """A server and its clients, which stay open until the process ends."""

    #: Stops counting, or goes on, in the process that is counted.
    counting: ClassVar[Callgrind | None] = None

    #: The server's key and certificates, for TLS.
    keys: ClassVar[server.Keys | None] = None

    def __init__(self, loop: asyncio.AbstractEventLoop, messages: Messages) -> None:
        """Open all connections, and exchange a message over each."""
        self._loop = loop
        self._messages = messages
        self._clients: dict[int, socket.socket] = {}
        self._ready = select.epoll()
        self._rounds = self._missing = 0
        self._error: Exception | None = None
        loop.run_until_complete(self._open())
        loop.add_reader(self._ready.fileno(), self._received)
        self.run(1)

    def run(self, rounds: int) -> None:
        """Have each client send its message and wait for the echo, that many times.

        Raises:
            OSError: a connection is broken, or a message did not fit into a socket.
        """
        self._rounds = rounds
        self._send()
        self._loop.run_forever()
        if self._error:
            raise self._error

    async def _open(self) -> None:
        tls = None
        if self._messages.tls:
            assert self.keys, "TLS needs a key"
            tls = self.keys.context()
        with tempfile.TemporaryDirectory(prefix="yamanote-") as folder:
            listener = self._messages.listen(folder)
            self._serving = await self._messages.serve(self._loop, listener, tls)
            for _ in range(CONNECTIONS):
                client = await self._connect(listener.getsockname())
                self._clients[client.fileno()] = client
                self._ready.register(client, select.EPOLLIN)

    async def _connect(self, address: object) -> socket.socket:
        client = self._messages.socket()
        if self._messages.kind == socket.SOCK_DGRAM:
            bind_next(client)
        client.settimeout(PATIENCE_S)
        client.connect(address)  # type: ignore[arg-type] # What getsockname returned.
        client.setblocking(False)
        if not self._messages.tls:
            return client
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        encrypted = context.wrap_socket(client, do_handshake_on_connect=False)
        while True:
            try:
                encrypted.do_handshake()
            except ssl.SSLWantReadError:
                await self._readable(encrypted)
            else:
                return encrypted

    async def _readable(self, client: socket.socket) -> None:
        readable = asyncio.Event()
        self._loop.add_reader(client.fileno(), readable.set)
        await readable.wait()
        self._loop.remove_reader(client.fileno())

    def _received(self) -> None:
        if self.counting:
            self.counting.toggle()
        try:
            for descriptor, _ in self._ready.poll(0):
                self._missing -= receive(self._clients[descriptor])
            if self._missing == 0:
                self._rounds -= 1
                if self._rounds:
                    self._send()
                else:
                    self._loop.stop()
        except OSError as error:
            self._error = error
            self._loop.stop()
        if self.counting:
            self.counting.toggle()

    def _send(self) -> None:
        for client in self._clients.values():
            client.sendall(self._messages.message)
        answer_bytes = self._messages.answer_bytes or len(self._messages.message)
        self._missing = answer_bytes * CONNECTIONS


#: UDP ports that Linux does not hand out by itself.
PORTS = iter(range(20_000, 32_768))


def bind_next(client: socket.socket) -> None:
    """Bind to the next free port: a server's tables of addresses fill the same way every time."""
    for port in PORTS:
        with contextlib.suppress(OSError):
            client.bind((server.HOST, port))
            return


def receive(client: socket.socket) -> int:
    """Take what has come, and return the number of bytes: 0 for a TLS record without data.

    Raises:
        ConnectionError: the server has closed the connection.
    """
    received = 0
    with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
        while data := client.recv(LIMIT):
            received += len(data)
        raise ConnectionError("the server has closed a connection")
    return received
