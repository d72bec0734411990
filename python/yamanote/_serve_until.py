"""`serve_until()`: from a signal to the end of a drain."""

from __future__ import annotations

import asyncio
import contextlib

from yamanote._serving import Server, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


async def serve_until(
    signals: int | Iterable[int],
    servers: asyncio.AbstractServer | Iterable[asyncio.AbstractServer],
    timeout: float | None,  # noqa: ASYNC109 - the drain's.
    *,
    quiet: float | None = 1.0,
) -> int:
    """Serve until a signal comes, then drain.

        await yamanote.serve_until(signal.SIGTERM, server, 30.0)

    Handlers that the loop or the program had for the signals are put back when the first comes. A
    second one does what it did before: SIGTERM ends the process, if nothing else was set.

    Args:
        signals: a signal, or several, any of which ends serving.
        servers: a server of this loop, or several, which are drained at the same time. They start
            to accept if they have not yet; one that is closed does not.
        timeout: as for `Server.drain()`, from the signal on.
        quiet: as for `Server.drain()`.

    Returns:
        How many connections the deadline cut off.

    Raises:
        TypeError: a server is not of the running yamanote loop, or a number has the wrong type.
        ValueError: a signal has no such number, or as for `Server.drain()`.
        RuntimeError: this is not the main thread, or a signal cannot be caught.
    """
    for name, value in (("timeout", timeout), ("quiet", quiet)):
        seconds(name, value)
    numbers = [signals] if isinstance(signals, int) else list(signals)
    loop: Any = asyncio.get_running_loop()
    drained: list[Server] = []
    for server in [servers] if isinstance(servers, asyncio.AbstractServer) else servers:
        if not isinstance(server, Server) or server.get_loop() is not loop:
            raise TypeError(f"a server of the running yamanote loop is required, not {server!r}")
        drained.append(server)
    came = asyncio.Event()
    with contextlib.ExitStack() as stack:
        for number in numbers:
            stack.enter_context(loop._signal_lent(number, came.set))
        for server in drained:
            if server.sockets:  # It is not closed.
                await server.start_serving()
        await came.wait()
    cut = await asyncio.gather(*(server.drain(timeout, quiet=quiet) for server in drained))
    return sum(cut)
