"""Running and waiting in these tests."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from tests.databases.servers import Server

#: Seconds for one test: less than the hang guard's, which cannot show what a test waited for.
PATIENCE_S = 45.0


def run(loop: asyncio.AbstractEventLoop, main: Coroutine[None, None, None]) -> None:
    """Runs a test's `main`; fails it after a timeout."""

    async def patiently() -> None:
        try:
            await asyncio.wait_for(main, PATIENCE_S)
        finally:
            await loop.shutdown_asyncgens()
            await loop.shutdown_default_executor()

    loop.run_until_complete(patiently())


async def until(
    answer: Callable[[], Awaitable[bool]], meanwhile: Iterable[asyncio.Task[Any]] = ()
) -> None:
    """Calls `answer` until it returns true.

    The state is in the database, which sends no notification.

    Args:
        answer: the condition.
        meanwhile: tasks that lead to it; an exception in one of them is raised.
    """
    while not await answer():
        for task in meanwhile:
            if task.done():
                task.result()


def forgive_lost_connections(reported: list[dict[str, Any]]) -> None:
    """Drops reports of unretrieved exceptions in futures that a client abandons with a connection.

    The clients do this on any loop; their own calls still raise.
    """
    gc.collect()
    reported[:] = [
        context
        for context in reported
        if context["message"] != "Future exception was never retrieved"
        or not isinstance(context["exception"], OSError)
    ]


async def start_again(server: Server) -> None:
    """Restarts a killed server, and waits for it without blocking the loop."""
    server.launch()
    await asyncio.to_thread(server.wait_until_ready)
