"""TLS connections come and go, and leave no trace in the process.

Both ends are in this process, and a handshake takes about two milliseconds: the default count runs
for about a minute. `YAMANOTE_SOAK_TLS=20000` sets a larger one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.processes import LINUX
from tests.soak.test_connections import BATCH, PATIENCE_S, Ledger, Scene, check
from tests.tls.certificates import NAME, client_context, server_context

if TYPE_CHECKING:
    from tests.loops import LoopFactory

COUNT = int(os.environ.get("YAMANOTE_SOAK_TLS", "2000"))

pytestmark = [
    pytest.mark.skipif(not LINUX, reason="looks into /proc"),
    pytest.mark.slow,
    pytest.mark.hang_after(120 + COUNT / 20),
]

HOST = "127.0.0.1"


class Server(asyncio.Protocol):
    """Replies, and ends the connection in one of several ways."""

    def __init__(self, ledger: Ledger) -> None:
        """Start without a transport."""
        self._ledger = ledger

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Stores the transport: a cycle, which `connection_lost` breaks."""
        assert isinstance(transport, asyncio.Transport)
        self._number = self._ledger.made
        self._ledger.note_made(self, transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Does something different for each of five connections."""
        match self._number % 5:
            case 0:
                self._transport.abort()
            case 1:
                raise ZeroDivisionError
            case 2:
                self._transport.write(data * 1000)
                self._transport.close()
            case _:
                self._transport.write(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Counts the end."""
        self._ledger.note_lost()


async def connections(count: int) -> Ledger:
    """Makes `count` connections with a handshake, and a tenth more without."""
    ledger = Ledger()
    loop = asyncio.get_running_loop()
    trusting, doubting = client_context(), client_context(trusting=False)
    server = await loop.create_server(
        lambda: Server(ledger), HOST, 0, backlog=2 * BATCH, ssl=server_context()
    )
    port = server.sockets[0].getsockname()[1]

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection(
            HOST, port, ssl=trusting, server_hostname=NAME
        )
        ledger.alive.update((reader, writer, writer.transport))
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            writer.write(b"hello")
            await reader.readexactly(5)
        if number % 3 == 0:
            writer.transport.abort()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def doubter() -> None:
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(HOST, port, ssl=doubting, server_hostname=NAME)

    async with server:
        for first in range(0, count, BATCH):
            await asyncio.gather(*(client(number) for number in range(BATCH)))
            await ledger.until(made=first + BATCH, lost=first + BATCH)
            await asyncio.gather(*(doubter() for _ in range(BATCH // 10)))
            # The server's `connection_lost` is called a few passes later.
            if handshakes := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait_for(asyncio.wait(handshakes), PATIENCE_S)
    return ledger


def test_tls_connections_leave_nothing_behind(loop_factory: LoopFactory) -> None:
    with contextlib.closing(loop_factory()) as loop:
        loop.set_exception_handler(lambda _, context: None)
        check(loop, Scene(connections, COUNT // 4, COUNT // 2))
