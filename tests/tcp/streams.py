"""A standard reader and writer with a peer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from tests.tcp.recorders import PATIENCE_S
from tests.tcp.servers import LOCALHOST

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

#: asyncio's default `limit`.
LIMIT = 64 * 1024


@contextlib.asynccontextmanager
async def streams(limit: int = LIMIT) -> AsyncGenerator[tuple[Streams, socket.socket], None]:
    """A reader and a writer, with the peer's socket. The writer is closed at the end."""
    with socket.create_server((LOCALHOST, 0)) as listener:
        reader, writer = await asyncio.open_connection(*listener.getsockname(), limit=limit)
        peer, _ = listener.accept()
    peer.settimeout(PATIENCE_S)
    with peer:
        try:
            yield (reader, writer), peer
        finally:
            writer.close()
            with contextlib.suppress(BufferError, ConnectionError):
                await writer.wait_closed()


async def peek(reader: asyncio.StreamReader) -> bytes:
    """Returns what is buffered, in a private attribute that libraries use."""
    return bytes(vars(reader)["_buffer"])
