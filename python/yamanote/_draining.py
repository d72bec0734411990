"""`Server.drain()`: how a server lets its connections finish."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import select
import struct
import termios
import weakref
from asyncio import sslproto

from yamanote._yamanote import SocketTransport, SSLTransport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: A connection that is to be quiet for some time is looked at so often in that time, but with a
#: pause of at least 10 ms.
_LOOKS = 4
_SHORTEST_PAUSE_S = 0.01

#: Aborted connections end in the next pass; a protocol may hold it up.
_LAST_PASSES_S = 1.0

#: Bytes that were received and not read, and those that the peer has not acknowledged. Closing
#: would reset the connection, or could before they arrive.
_BYTES_WAITING = (termios.FIONREAD, termios.TIOCOUTQ)


class Draining:
    """What the drains of one server share.

    A connection counts as quiet from the look after which nothing was seen to move, whichever drain
    looked.
    """

    def __init__(self, server: asyncio.Server) -> None:
        """Begin to drain a server."""
        server_: Any = server
        self._server = server_
        self._loop: Any = server_._loop
        self._looked_at = self._loop.time()
        self._resting_since: weakref.WeakKeyDictionary[SocketTransport, float]
        self._resting_since = weakref.WeakKeyDictionary()
        self._drains = 0
        self._stopping: asyncio.Task[None] | None = None

    async def drain(self, seconds: float | None, quiet: float | None) -> int:
        """Do what `Server.drain()` says, with checked arguments."""
        self._drains += 1
        try:
            return await self._drain(seconds, quiet)
        finally:
            self._drains -= 1
            forever: asyncio.Future[None] | None = self._server._serving_forever_fut
            if forever is not None and not self._drains:
                forever.cancel()

    async def _drain(self, seconds: float | None, quiet: float | None) -> int:
        end = None if seconds is None else self._loop.time() + seconds
        stopping: asyncio.Task[None] = self._stopping or self._loop.create_task(self._stop())
        self._stopping = stopping
        # Cancelled half-way, it would lose connections that were just accepted.
        await asyncio.shield(stopping)
        while not self._is_over():
            now = self._loop.time()
            if end is not None and now >= end:
                return await self._cut()
            pauses: list[float] = [] if end is None else [end - now]
            if quiet is not None:
                self._close_quiet(now, quiet)
                # A look takes at most a tenth of the time.
                spent = self._loop.time() - now
                pauses.append(max(quiet / _LOOKS, _SHORTEST_PAUSE_S, 10 * spent))
            await self._end(min(pauses, default=None))
        return 0

    async def _stop(self) -> None:
        """Accept what the kernel has queued, then close the listeners."""
        server = self._server
        if server._sockets is None:
            return
        # Closing would cancel `serve_forever()`, which then closes all connections.
        forever, server._serving_forever_fut = server._serving_forever_fut, None
        try:
            if server._serving:
                await self._accept_queued()
            for sock in server._sockets or ():
                self._loop._stop_serving(sock)
            if server._sockets is not None:
                server._sockets = []
                # A TLS connection joins the server in a task, and finds it open for so long.
                await _passes()
        finally:
            server.close()
            if forever is not None and self._drains:
                server._serving_forever_fut = forever
            elif forever is not None:
                forever.cancel()  # The last drain was cancelled meanwhile.

    async def _accept_queued(self) -> None:
        """Let the listeners accept until none has a client waiting, or no client is accepted.

        At most as many as a queue holds: a crowd must not keep the server open.
        """
        server = self._server
        poller = select.poll()
        for sock in server._sockets:
            if (number := sock.fileno()) >= 0:
                poller.register(number, select.POLLIN)
        first = before = self._loop.metrics().accepts
        while ready := poller.poll(0):
            for number, _ in ready:
                self._loop._resume_listening(number)
            await _passes()
            accepted = self._loop.metrics().accepts
            # Another process took them; or there are no descriptors, or no room for more clients.
            if accepted == before or accepted - first > server._backlog or not server._sockets:
                return
            before = accepted

    def _is_over(self) -> bool:
        """Return whether the server is closed and its last connection has ended."""
        return self._server._waiters is None

    def _clients(self) -> list[SocketTransport]:
        return list(self._server._clients)

    def _close_quiet(self, now: float, quiet: float) -> None:
        """Close connections on which nothing has moved for `quiet` seconds, and nothing is due."""
        for transport in self._clients():
            is_quiet = False
            if transport._has_rested():
                since = self._resting_since.setdefault(transport, self._looked_at)
                is_quiet = now - since >= quiet
            else:
                self._resting_since.pop(transport, None)
            if not quiet:
                is_quiet = transport._settled()
            if is_quiet:
                top, unsent = _layers(transport)
                if not (unsent or top.is_closing() or _has_unread(transport, top)):
                    top.close()
        self._looked_at = now

    async def _end(self, seconds: float | None) -> None:
        """Wait until it is over, at most for `seconds`."""
        waiters: list[asyncio.Future[None]] = self._server._waiters
        waiter: asyncio.Future[None] = self._loop.create_future()
        waiters.append(waiter)
        timer = None if seconds is None else self._loop.call_later(seconds, _wake, waiter)
        try:
            await waiter
        finally:
            if timer is not None:
                timer.cancel()
            if waiter in waiters:
                waiters.remove(waiter)

    async def _cut(self) -> int:
        """End what is left; return how many connections were not done."""
        count = 0
        for transport in self._clients():
            top, unsent = _layers(transport)
            if unsent:
                count += 1
                transport.abort()
            elif not top.is_closing():
                count += not transport._settled() or _has_unread(transport, top)
                top.close()
        await _passes()
        # A TLS connection has sent its close_notify, and waits for the peer's.
        for transport in self._clients():
            transport.abort()
        if not self._is_over():
            await self._end(_LAST_PASSES_S)
        return count


def _layers(transport: SocketTransport) -> tuple[asyncio.Transport, int]:
    """Return what the application writes to, above all TLS, and the number of unsent bytes."""
    top: Any = transport
    unsent = transport.get_write_buffer_size()
    while isinstance(protocol := top.get_protocol(), (SSLTransport, sslproto.SSLProtocol)):
        above: Any = protocol
        top = above if isinstance(above, SSLTransport) else above._app_transport
        if top is None:  # asyncio's, before the end of its handshake.
            return transport, unsent
        unsent += top.get_write_buffer_size()
    return top, unsent


def _has_unread(transport: SocketTransport, top: Any) -> bool:  # noqa: ANN401 - ours or asyncio's.
    """Return whether the application has not read all that came, or the peer not all that went."""
    if top is not transport and top.get_read_buffer_size():
        return True
    return any(_waiting(transport._sock_fd, request) for request in _BYTES_WAITING)


def _waiting(number: int, request: int) -> int:
    """Return a number of bytes in the kernel; 0 where it does not tell."""
    with contextlib.suppress(OSError):
        size: int
        (size,) = struct.unpack("i", fcntl.ioctl(number, request, bytes(4)))
        return size
    return 0


async def _passes() -> None:
    """Let pass what was scheduled, and what that schedules in turn."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
