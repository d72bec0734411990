"""How the tests here run, and wait."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from tests.databases.servers import Server

#: Seconds for one test: less than the hang guard allows, which cannot tell what was waited for.
PATIENCE_S = 45.0


def run(loop: asyncio.AbstractEventLoop, main: Coroutine[None, None, None]) -> None:
    """Runs a test's `main`; whatever it waits for in vain fails it."""

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
    """Asks, one question after the other, until the answer is yes.

    Only a database knows how far it is, and it tells nobody of its own accord.

    Args:
        answer: the question.
        meanwhile: what leads there; should one of these fail, that is raised.
    """
    while not await answer():
        for task in meanwhile:
            if task.done():
                task.result()


def forgive_lost_connections(reported: list[dict[str, Any]]) -> None:
    """Drops reports of futures that a client left to themselves when it lost a connection.

    The clients do, on any loop; what was asked of them they answer all the same.
    """
    gc.collect()
    reported[:] = [
        context
        for context in reported
        if context["message"] != "Future exception was never retrieved"
        or not isinstance(context["exception"], OSError)
    ]


async def start_again(server: Server) -> None:
    """Launches a killed server, and waits for it without holding the loop up."""
    server.launch()
    await asyncio.to_thread(server.wait_until_ready)
