"""Clients of databases in the soak's own loop, with real servers beside it."""

# pyright: standard
# asyncpg has no types, and redis-py has some for a part of its interface.

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import random
from typing import TYPE_CHECKING, Any

import asyncpg  # type: ignore[import-untyped]
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.databases import servers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

    from tests.soak.workloads import Workload

    #: The URLs of a server, by kind of connection.
    Urls = dict[str, str]

QUERIES = 50
#: A query that says when it has begun: a server forgets a cancellation that comes before.
ENDLESS = "DO $$ BEGIN RAISE NOTICE 'begun'; PERFORM pg_sleep(600); END $$"
TABLE = "CREATE TEMP TABLE value (bytes bytea) ON COMMIT DROP"


async def use_redis(urls: Urls) -> None:
    """A pipeline, a transaction, and a query that is cancelled."""
    values = [os.urandom(size) for size in (1, 1000, 100_000)]
    # Time-outs of its own, and attempts, would hide what was lost.
    endless: dict[str, Any] = {"socket_timeout": None, "socket_connect_timeout": None}
    client: Any = Redis.from_url(any_of(urls), retry=Retry(NoBackoff(), 0), **endless)
    async with client:
        async with client.pipeline(transaction=False) as pipeline:
            pipeline.delete("values").rpush("values", *values).lrange("values", 0, -1)
            assert (await pipeline.execute())[1:] == [len(values), values]
        async with client.pipeline() as pipeline:
            pipeline.set("count", 1).incr("count")
            assert await pipeline.execute() == [True, 2]
        await cancel(client.blpop("nothing"), once_blocked(client))
        assert await client.llen("values") == len(values)


async def use_asyncpg(urls: Urls) -> None:
    """Many rows in one round trip, a transaction, and a query that is cancelled."""
    values = [(os.urandom(size),) for size in (1, 1000, 100_000, *range(QUERIES))]
    # One: when several are opened at once and one is refused, asyncpg reports others as lost.
    connection: Any = await asyncpg.connect(any_of(urls))
    try:
        async with connection.transaction():
            await connection.execute(TABLE)
            await connection.executemany("INSERT INTO value VALUES ($1)", values)
            assert [tuple(row) for row in await connection.fetch("TABLE value")] == values
        begun = asyncio.Event()
        connection.add_log_listener(lambda *_: begun.set())
        await cancel(connection.execute(ENDLESS), begun.wait())
        with taken_for_refused(asyncpg.InterfaceError):
            assert await connection.fetchval("SELECT to_regclass('value')") is None
    finally:
        await connection.close()


async def use_psycopg(urls: Urls) -> None:
    """A pipeline, a transaction, and a query that is cancelled."""
    import psycopg  # It needs libpq, which comes with the server.

    values = [(os.urandom(size),) for size in (1, 1000, 100_000)]
    with taken_for_refused(psycopg.OperationalError):
        opened = await psycopg.AsyncConnection.connect(any_of(urls), autocommit=True)
    async with opened as connection:
        async with connection.pipeline():
            asked = [
                await connection.execute("SELECT %s::int", (number,)) for number in range(QUERIES)
            ]
        answers = [await cursor.fetchone() for cursor in asked]
        assert answers == [(number,) for number in range(QUERIES)]
        async with connection.transaction(), connection.cursor() as cursor:
            await cursor.execute(TABLE)
            await cursor.executemany("INSERT INTO value VALUES (%b)", values)
            await cursor.execute("TABLE value")
            assert await cursor.fetchall() == values
        begun = asyncio.Event()
        connection.add_notice_handler(lambda _: begun.set())
        await cancel(connection.execute(ENDLESS), begun.wait())
        with taken_for_refused(psycopg.OperationalError):
            cursor = await connection.execute("SELECT to_regclass('value')")
            assert await cursor.fetchone() == (None,)


def any_of(urls: Urls) -> str:
    """Returns one, for a round."""
    return random.choice([*urls.values()])


async def once_blocked(client: Redis) -> None:
    """Waits until the server has a client that waits for a value."""
    while not (await client.info("clients"))["blocked_clients"]:
        pass


async def cancel(query: Coroutine[Any, Any, object], begun: Awaitable[object]) -> None:
    """Begins a query that would not end, and cancels it."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(query)
        await begun
        running.cancel()
    assert running.cancelled()


@contextlib.contextmanager
def taken_for_refused(kind: type[Exception]) -> Generator[None, None, None]:
    """Raises errors that may be for want of a descriptor, but do not say so, as those that do.

    libpq may not say why it could not connect. PostgreSQL takes a cancellation on a connection of
    its own, and a client that cannot open it closes the one with the query. Without an episode,
    the error counts all the same.
    """
    try:
        yield
    except kind as error:
        raise OSError(errno.EMFILE, "there may have been no descriptor") from error


#: What each client does with a server of this kind.
CLIENTS: dict[type[servers.Server], dict[str, Callable[[Urls], Awaitable[None]]]] = {
    servers.Redis: {"redis": use_redis},
    servers.Postgres: {"asyncpg": use_asyncpg, "psycopg": use_psycopg},
}


@contextlib.contextmanager
def workloads() -> Generator[dict[str, Workload], None, None]:
    """Runs the servers and yields a workload for each client; says which are not installed."""
    chosen: dict[str, Workload] = {}
    with contextlib.ExitStack() as stack:
        for kind, clients in CLIENTS.items():
            server = kind()
            try:
                stack.enter_context(server.running())
            except servers.NotInstalled as error:
                print(f"without {' and '.join(clients)}: {error}", flush=True)
                continue
            chosen |= {name: functools.partial(use, server.urls()) for name, use in clients.items()}
        yield chosen
