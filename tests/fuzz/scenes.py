"""Connected objects that a program starts from, each created in one step.

Both ends are on the same loop, so that every event has its cause in the program.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

from tests.fuzz.protocols import Child, Plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fuzz.run import Run

HOST = "127.0.0.1"

#: Timeout in seconds of sockets that block.
BLOCKING_S = 0.01

#: Seconds after which a forked child counts as hung and is killed by its alarm.
CHILD_S = 5


class AbsentError(Exception):
    """A missing result is used: its step did not run, or failed."""


def factory(protocol: object) -> Any:  # noqa: ANN401 - hostile protocols are no protocols.
    """Returns a protocol factory."""
    return lambda: protocol


class Scene:
    """The parts of a connection."""

    def __init__(self, **parts: object) -> None:
        """Store the parts as attributes."""
        self.__dict__.update(parts)

    def __getattr__(self, name: str) -> object:
        """Handles a part that this scene lacks.

        Raises:
            AbsentError: always.
        """
        raise AbsentError(name)


class Scenes:
    """Creates scenes, which are closed at the end of the run."""

    def __init__(self, run: Run, files: Path) -> None:
        """Store the run.

        Args:
            run: the run whose loop makes connections.
            files: the directory with certificates.
        """
        self._run = run
        self._files = files

    def server_context(self) -> ssl.SSLContext:
        """A server's context."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._files / "chain.pem", self._files / "key.pem")
        return context

    def client_context(self) -> ssl.SSLContext:
        """A client's context, which trusts the server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self._files / "authority.pem")
        return context

    def path(self, name: str) -> str:
        """Returns an unused path in the worker's directory."""
        return os.path.abspath(self._run.next_name(name))

    def file(self, size: int = 100) -> Any:  # noqa: ANN401 - `IO` is no class to narrow by.
        """Returns a file of that many bytes, open for reading."""
        path = self.path("file")
        with open(path, "wb") as made:
            made.write(bytes(size))
        return self._keep(open(path, "rb"))

    def _keep(self, resource: Any) -> Any:  # noqa: ANN401 - whatever can be closed.
        self._run.resources.append(resource)
        return resource

    def sockets(self) -> Scene:
        """Returns two connected, non-blocking stream sockets."""
        left, right = socket.socketpair()
        for end in (left, right):
            self._keep(end).setblocking(False)
        return Scene(left=left, right=right)

    def tcp_sockets(self) -> Scene:
        """Returns two connected TCP sockets."""
        listener = self.listener()
        left = self._keep(socket.socket())
        left.connect(listener.getsockname())
        listener.settimeout(1)
        right = self._keep(listener.accept()[0])
        listener.setblocking(False)
        for end in (left, right):
            end.setblocking(False)
        return Scene(left=left, right=right, listener=listener)

    def listener(self) -> socket.socket:
        """Returns a listening TCP socket."""
        made: socket.socket = self._keep(socket.socket())
        made.setblocking(False)
        made.bind((HOST, 0))
        made.listen()
        return made

    def fresh(self, kind: str = "tcp", *, blocking: bool = False) -> socket.socket:
        """Returns an unconnected socket: `tcp`, `udp`, `unix` or `bound` (UDP with a port)."""
        family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
        udp = kind in ("udp", "bound")
        made: socket.socket = self._keep(
            socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
        )
        made.setblocking(False)
        if blocking:
            made.settimeout(BLOCKING_S)
        if kind == "bound":
            made.bind((HOST, 0))
        return made

    def closed(self) -> socket.socket:
        """Returns a closed socket."""
        made = self.fresh()
        made.close()
        return made

    def detached(self) -> socket.socket:
        """Returns a socket without its descriptor."""
        made = self.fresh()
        os.close(made.detach())
        return made

    def wrapped(self) -> ssl.SSLSocket:
        """Returns an `ssl.SSLSocket`, which the loop must not use."""
        made: ssl.SSLSocket = self._keep(
            self.client_context().wrap_socket(
                self.fresh(), server_hostname="localhost", do_handshake_on_connect=False
            )
        )
        return made

    def pipe(self) -> Scene:
        """Returns a pipe, as two file objects without transports."""
        reading, writing = os.pipe()
        return Scene(
            read=self._keep(open(reading, "rb", 0)),
            write=self._keep(open(writing, "wb", 0)),
        )

    async def tcp(self, client: object, server: object, **options: Any) -> Scene:
        """Connects two protocols over TCP."""
        made: Any = await self._run.loop.create_server(factory(server), HOST, 0, **options)
        return await self._meet(made, client, server)

    async def unix(self, client: object, server: object) -> Scene:
        """Connects two protocols over a Unix socket."""
        path = self.path("unix")
        made: Any = await self._run.loop.create_unix_server(factory(server), path)
        self._keep(made)
        transport, _ = await self._run.loop.create_unix_connection(factory(client), path)
        return await self._both(made, transport, client, server, path)

    async def tls(self, client: object, server: object, **options: Any) -> Scene:
        """Connects two protocols over TLS."""
        made: Any = await self._run.loop.create_server(
            factory(server),
            HOST,
            0,
            ssl=self.server_context(),
            **options,
        )
        return await self._meet(
            made, client, server, ssl=self.client_context(), server_hostname="localhost"
        )

    async def _meet(
        self,
        made: Any,  # noqa: ANN401 - any loop's server.
        client: object,
        server: object,
        **options: Any,
    ) -> Scene:
        self._keep(made)
        address = made.sockets[0].getsockname()
        transport, _ = await self._run.loop.create_connection(factory(client), *address, **options)
        return await self._both(made, transport, client, server, address[1])

    async def _both(
        self,
        made: object,
        transport: object,
        client: object,
        server: object,
        address: object,
    ) -> Scene:
        for _ in range(100):
            if getattr(server, "transport", None) is not None:
                break
            await asyncio.sleep(0)
        peer = getattr(server, "transport", None)
        parts = {"peer": peer} if peer is not None else {}
        return Scene(
            server=made,
            client=transport,
            client_protocol=client,
            peer_protocol=server,
            port=address,
            **parts,
        )

    async def streams(self, limit: Any = 2**16) -> Scene:  # noqa: ANN401 - a hostile limit.
        """Connects asyncio's streams over TCP."""
        peers: asyncio.Queue[tuple[Any, Any]] = asyncio.Queue()
        made = await asyncio.start_server(
            lambda reader, writer: peers.put_nowait((reader, writer)), HOST, 0, limit=limit
        )
        self._keep(made)
        reader, writer = await asyncio.open_connection(*made.sockets[0].getsockname(), limit=limit)
        peer_reader, peer_writer = await peers.get()
        self._run.transports += [writer.transport, peer_writer.transport]
        return Scene(
            server=made,
            reader=reader,
            writer=writer,
            peer_reader=peer_reader,
            peer_writer=peer_writer,
            client=writer.transport,
            peer=peer_writer.transport,
        )

    async def pipes(self, reader: object, writer: object) -> Scene:
        """Returns a pipe with a transport at each end."""
        pipe: Any = self.pipe()
        loop = self._run.loop
        reading, _ = await loop.connect_read_pipe(factory(reader), pipe.read)
        self._run.transports.append(reading)
        writing, _ = await loop.connect_write_pipe(factory(writer), pipe.write)
        self._run.transports.append(writing)
        return Scene(reading=reading, writing=writing)

    async def datagrams(self, client: object, server: object) -> Scene:
        """Returns two datagram endpoints, one of which is connected to the other."""
        loop = self._run.loop
        peer: Any
        peer, _ = await loop.create_datagram_endpoint(factory(server), (HOST, 0))
        self._run.transports.append(peer)
        address = peer.get_extra_info("sockname")
        transport, _ = await loop.create_datagram_endpoint(factory(client), remote_addr=address)
        self._run.transports.append(transport)
        return Scene(client=transport, peer=peer, address=address)

    async def child(self, command: str, protocol: object = None) -> Scene:
        """Starts a child that runs `command` in a shell."""
        if protocol is None:
            protocol = Child(self._run)
        transport: Any
        transport, _ = await self._run.loop.subprocess_shell(factory(protocol), command)
        self._run.transports.append(transport)
        # Commands that end by themselves have ended; `cat` runs until it is ended.
        if not command.startswith("cat"):
            await transport._wait()
        return Scene(child=transport)

    def other_loop(self) -> asyncio.AbstractEventLoop:
        """Returns another loop of the same kind."""
        made: asyncio.AbstractEventLoop = self._keep(self._run.make_loop())
        return made

    def closed_loop(self) -> asyncio.AbstractEventLoop:
        """Returns another loop of the same kind, closed."""
        made = self.other_loop()
        made.close()
        return made

    def in_thread(self, action: Callable[[], object]) -> None:
        """Runs a block on another thread, and waits for it."""
        thread = threading.Thread(target=action, daemon=True)
        thread.start()
        thread.join(CHILD_S)

    def beside(self, action: Callable[[], object]) -> None:
        """Runs a block on another thread while this one continues."""
        thread = threading.Thread(target=action, daemon=True)
        thread.start()
        self._run.threads.append(thread)

    def forked(self, action: Callable[[], object]) -> str:
        """Runs a block in a forked child.

        Raises:
            SystemError: a signal ended the child.
        """
        child = os.fork()
        if not child:
            try:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(CHILD_S)
                action()
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            message = f"a forked child ended by {signal.Signals(os.WTERMSIG(status)).name}"
            raise SystemError(message)
        return "forked"

    def signalled(self, number: int) -> None:
        """Sends this process a signal that has a handler."""
        if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None):
            signal.raise_signal(number)

    def drained(self, sock: socket.socket) -> None:
        """Reads what a socket has."""
        with contextlib.suppress(OSError):
            sock.recv(2**16)

    def plain(self) -> Plain:
        """Returns a protocol that does nothing."""
        return Plain(self._run)
