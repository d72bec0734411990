"""`Server`: asyncio's own, and what it lacks."""

from __future__ import annotations

import asyncio


class Server(asyncio.Server):
    """What `asyncio.start_server()`, `loop.create_server()` and those for Unix sockets return.

    asyncio's own class, with more methods. Type checkers know only asyncio's, so tell them:
    `assert isinstance(server, yamanote.Server)`.
    """


def adopted(server: asyncio.Server) -> asyncio.Server:
    """Make a server of exactly asyncio's class one of ours; any other stays what it is."""
    if type(server) is asyncio.Server:
        server.__class__ = Server  # An instance of either has the same layout.
    return server
