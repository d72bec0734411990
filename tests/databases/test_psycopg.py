"""psycopg's AsyncConnection, which watches libpq's sockets, against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from typing import TYPE_CHECKING, Any

import pytest

try:
    import psycopg
except ImportError as error:  # Without libpq, which comes with psycopg or the server.
    pytest.skip(str(error), allow_module_level=True)

from tests.databases.waiting import run, start_again, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import LiteralString

    from tests.databases.servers import Postgres

    Connection = psycopg.AsyncConnection[tuple[Any, ...]]
    Pool = asyncio.Queue[Connection]

pytestmark = pytest.mark.slow

QUERIES = 1000
CONNECTIONS = 20


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncGenerator[Connection, None]:
    """A connection that commits each statement, closed at the end."""
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def pool_of(url: str) -> AsyncGenerator[Pool, None]:
    """A pool of such connections."""
    async with contextlib.AsyncExitStack() as stack:
        pool: Pool = asyncio.Queue()
        for connection in await asyncio.gather(
            *(stack.enter_async_context(connected(url)) for _ in range(CONNECTIONS))
        ):
            pool.put_nowait(connection)
        yield pool


async def ask(pool: Pool, query: LiteralString, *arguments: object) -> object:
    """Returns the first value of a query on a connection of the pool."""
    connection = await pool.get()
    try:
        return await value_of(connection, query, *arguments)
    finally:
        pool.put_nowait(connection)


async def value_of(connection: Connection, query: LiteralString, *arguments: object) -> object:
    """Returns the first value of a query."""
    cursor = await connection.execute(query, arguments)
    row = await cursor.fetchone()
    assert row is not None
    return row[0]


async def is_asleep(observer: Connection, count: int) -> bool:
    """Returns whether the server runs exactly `count` sleeping queries."""
    sleeping = await value_of(
        observer,
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'PgSleep'",
    )
    return sleeping == count


async def assert_sound(pool: Pool) -> None:
    """Asserts that each query gets its own result."""
    answers = await asyncio.gather(
        *(ask(pool, "SELECT %s::int", number) for number in range(5 * CONNECTIONS))
    )
    assert answers == list(range(5 * CONNECTIONS))


def test_values_go_there_and_back(loop: asyncio.AbstractEventLoop, postgres_url: str) -> None:
    megabytes = random.Random(0).randbytes(5 << 20)
    rows = [(number, megabytes[number : 2 * number]) for number in range(QUERIES)]

    async def main() -> None:
        async with connected(postgres_url) as connection:
            assert await value_of(connection, "SELECT %b::bytea", megabytes) == megabytes
            await connection.execute("CREATE TEMP TABLE row (id int, value bytea)")
            async with connection.cursor() as cursor:
                async with cursor.copy("COPY row FROM STDIN") as copy:
                    for row in rows:
                        await copy.write_row(row)
                async with cursor.copy("COPY row TO STDOUT") as copy:
                    copy.set_types(["int4", "bytea"])
                    assert [row async for row in copy.rows()] == rows

    run(loop, main())


def test_a_pipeline_answers_in_order(loop: asyncio.AbstractEventLoop, postgres_url: str) -> None:
    # More than a socket's buffers hold, in both directions.
    value = random.Random(0).randbytes(8192)

    async def main() -> None:
        async with connected(postgres_url) as connection:
            async with connection.pipeline():
                cursors = [
                    await connection.execute("SELECT %s::int, %b::bytea", (number, value))
                    for number in range(QUERIES)
                ]
            answers = [await cursor.fetchall() for cursor in cursors]
        assert answers == [[(number, value)] for number in range(QUERIES)]

    run(loop, main())


def test_every_listener_is_notified_in_order(
    loop: asyncio.AbstractEventLoop, postgres_url: str
) -> None:
    expected = [str(number) for number in range(QUERIES)]

    async def main() -> None:
        ready = asyncio.Semaphore(0)

        async def listener() -> list[str]:
            async with connected(postgres_url) as connection:
                await connection.execute("LISTEN news")
                ready.release()
                return [
                    notification.payload
                    async for notification in connection.notifies(stop_after=QUERIES)
                ]

        listeners = [asyncio.create_task(listener()) for _ in range(10)]
        for _ in listeners:
            await ready.acquire()
        async with connected(postgres_url) as speaker, speaker.cursor() as cursor:
            news = [(text,) for text in expected]
            await cursor.executemany("SELECT pg_notify('news', %s)", news)
        assert await asyncio.gather(*listeners) == [expected] * len(listeners)

    run(loop, main())


def test_a_thousand_queries_share_a_pool(
    loop: asyncio.AbstractEventLoop, postgres_url: str
) -> None:
    async def main() -> None:
        async with pool_of(postgres_url) as pool:
            answers = await asyncio.gather(
                *(ask(pool, "SELECT repeat(%s, 100)", str(number)) for number in range(QUERIES))
            )
        assert answers == [str(number) * 100 for number in range(QUERIES)]

    run(loop, main())


def test_a_cancelled_query_ends_on_the_server(
    loop: asyncio.AbstractEventLoop, postgres_url: str
) -> None:
    async def main() -> None:
        async with connected(postgres_url) as observer, pool_of(postgres_url) as pool:
            queries = [
                asyncio.create_task(ask(pool, "SELECT pg_sleep(600)")) for _ in range(CONNECTIONS)
            ]
            await until(lambda: is_asleep(observer, CONNECTIONS), queries)
            for query in queries:
                query.cancel()
            outcomes = await asyncio.gather(*queries, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}
            await until(lambda: is_asleep(observer, 0))
            await assert_sound(pool)

    run(loop, main())


def test_a_killed_server_fails_what_runs_and_keeps_what_it_confirmed(
    loop: asyncio.AbstractEventLoop, postgres: Postgres, postgres_url: str
) -> None:
    numbers = itertools.count()
    confirmed: set[int] = set()
    unsure: set[int] = set()

    async def main() -> None:
        async with (
            pool_of(postgres_url) as writers,
            pool_of(postgres_url) as sleepers,
            connected(postgres_url) as listener,
            connected(postgres_url) as observer,
        ):
            enough = asyncio.Event()
            await observer.execute("DROP TABLE IF EXISTS number")
            await observer.execute("CREATE TABLE number (number int)")
            await listener.execute("LISTEN silence")

            async def write(connection: Connection) -> None:
                while True:
                    batch = list(itertools.islice(numbers, 5))
                    unsure.update(batch)
                    async with connection.pipeline():
                        for number in batch:
                            await connection.execute("INSERT INTO number VALUES (%s)", (number,))
                    unsure.difference_update(batch)
                    confirmed.update(batch)
                    if len(confirmed) >= QUERIES:
                        enough.set()

            async def listen() -> None:
                async for _ in listener.notifies():
                    pass

            running = [
                *(asyncio.create_task(write(writers.get_nowait())) for _ in range(CONNECTIONS)),
                *(
                    asyncio.create_task(ask(sleepers, "SELECT pg_sleep(600)"))
                    for _ in range(CONNECTIONS)
                ),
                asyncio.create_task(listen()),
            ]
            await until(lambda: is_asleep(observer, CONNECTIONS), running)
            await enough.wait()
            postgres.kill()
            outcomes = await asyncio.gather(*running, return_exceptions=True)
            assert [
                outcome for outcome in outcomes if not isinstance(outcome, psycopg.OperationalError)
            ] == []
            # The server is down: connecting fails at once.
            with pytest.raises(psycopg.OperationalError):
                await observer.execute("SELECT 1")
            with pytest.raises(psycopg.OperationalError, match=r"refused|No such file|closed"):
                await psycopg.AsyncConnection.connect(postgres_url)

            await start_again(postgres)
            async with connected(postgres_url) as connection, pool_of(postgres_url) as pool:
                cursor = await connection.execute("SELECT number FROM number")
                stored = {number for (number,) in await cursor.fetchall()}
                assert confirmed <= stored <= confirmed | unsure
                await assert_sound(pool)

    try:
        run(loop, main())
    finally:
        if not postgres.pids():
            postgres.launch()
            postgres.wait_until_ready()


def test_a_query_waits_no_longer_than_its_time_out(
    loop: asyncio.AbstractEventLoop, postgres_url: str
) -> None:
    async def main() -> None:
        async with connected(postgres_url) as observer, pool_of(postgres_url) as pool:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ask(pool, "SELECT pg_sleep(600)"), 0.05)
            await until(lambda: is_asleep(observer, 0))
            await assert_sound(pool)

    run(loop, main())
