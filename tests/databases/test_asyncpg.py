"""asyncpg against a real PostgreSQL."""

# pyright: standard
# asyncpg has no types.

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import ssl
from typing import TYPE_CHECKING, Any

import asyncpg  # type: ignore[import-untyped]
import pytest

from tests.databases.waiting import forgive_lost_connections, run, start_again, until
from tests.tls.certificates import NAME

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.databases.servers import Postgres

pytestmark = [pytest.mark.slow]

QUERIES = 1000
CONNECTIONS = 20

#: Exceptions of a query whose server is gone. The last one is asyncpg's, if the connection is lost
#: between two steps of a transaction.
GONE = (OSError, asyncpg.PostgresConnectionError, asyncpg.InternalClientError)


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncGenerator[Any, None]:
    """A connection that is closed at the end."""
    connection: Any = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def pool_of(url: str, size: int = CONNECTIONS) -> asyncpg.Pool:
    """Returns a pool of up to `size` connections; to be entered."""
    return asyncpg.create_pool(url, min_size=0, max_size=size)


async def is_asleep(observer: asyncpg.Connection, count: int) -> bool:
    """Returns whether the server runs exactly `count` sleeping queries."""
    sleeping: object = await observer.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'PgSleep'"
    )
    return sleeping == count


def test_values_go_there_and_back(loop: asyncio.AbstractEventLoop, postgres_url: str) -> None:
    megabytes = random.Random(0).randbytes(5 << 20)

    async def main() -> None:
        async with connected(postgres_url) as connection:
            assert await connection.fetchval("SELECT $1::bytea", megabytes) == megabytes
            await connection.execute("CREATE TEMP TABLE row (id int, value bytea)")
            rows = [(number, megabytes[number : 2 * number]) for number in range(QUERIES)]
            # One round trip for all of them.
            await connection.executemany("INSERT INTO row VALUES ($1, $2)", rows)
            await connection.copy_records_to_table("row", records=rows)
            async with connection.transaction():
                cursor = connection.cursor("SELECT * FROM row ORDER BY id", prefetch=7)
                received = [tuple(record) async for record in cursor]
            assert received == [row for row in rows for _ in range(2)]

    run(loop, main())


def test_every_listener_is_notified_in_order(
    loop: asyncio.AbstractEventLoop, postgres_url: str
) -> None:
    expected = [str(number) for number in range(QUERIES)]

    async def main() -> None:
        ready = asyncio.Semaphore(0)

        async def listener() -> list[str]:
            heard: list[str] = []
            complete = asyncio.Event()

            def hear(*arguments: Any) -> None:
                heard.append(arguments[-1])
                if len(heard) == len(expected):
                    complete.set()

            async with connected(postgres_url) as connection:
                await connection.add_listener("news", hear)
                ready.release()
                await complete.wait()
                await connection.remove_listener("news", hear)
            return heard

        listeners = [asyncio.create_task(listener()) for _ in range(10)]
        for _ in listeners:
            await ready.acquire()
        async with connected(postgres_url) as speaker:
            news = [(text,) for text in expected]
            await speaker.executemany("SELECT pg_notify('news', $1)", news)
        assert await asyncio.gather(*listeners) == [expected] * len(listeners)

    run(loop, main())


def test_a_thousand_queries_share_a_pool(
    loop: asyncio.AbstractEventLoop, postgres_url: str
) -> None:
    async def main() -> None:
        async with pool_of(postgres_url) as pool:
            answers = await asyncio.gather(
                *(
                    pool.fetch("SELECT $1::int FROM generate_series(1, $2)", number, number % 100)
                    for number in range(QUERIES)
                )
            )
        for number, rows in enumerate(answers):
            assert [row[0] for row in rows] == [number] * (number % 100)

    run(loop, main())


def test_a_cancelled_query_ends_on_the_server(
    loop: asyncio.AbstractEventLoop, postgres_url: str
) -> None:
    async def main() -> None:
        async with connected(postgres_url) as observer, pool_of(postgres_url) as pool:
            queries = [
                asyncio.create_task(pool.fetchval("SELECT pg_sleep(600)"))
                for _ in range(CONNECTIONS)
            ]
            await until(lambda: is_asleep(observer, CONNECTIONS), queries)
            for query in queries:
                query.cancel()
            outcomes = await asyncio.gather(*queries, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}
            await until(lambda: is_asleep(observer, 0))
            # The connections are still usable.
            assert await asyncio.gather(
                *(pool.fetchval("SELECT $1::int", number) for number in range(100))
            ) == list(range(100))

    run(loop, main())


def test_a_query_that_takes_too_long_ends_on_the_server(
    loop: asyncio.AbstractEventLoop, postgres_url: str
) -> None:
    async def main() -> None:
        url = postgres_url
        async with connected(url) as observer, connected(url) as connection:
            with pytest.raises(asyncio.TimeoutError):
                await connection.fetchval("SELECT pg_sleep(600)", timeout=0.05)
            assert await connection.fetchval("SELECT 1") == 1
            await until(lambda: is_asleep(observer, 0))

    run(loop, main())


def test_cancelled_queries_leave_no_answer_to_others(
    loop: asyncio.AbstractEventLoop,
    postgres_url: str,
    reported: list[dict[str, Any]],
) -> None:
    dice = random.Random(0)

    async def main() -> None:
        async with pool_of(postgres_url) as pool:
            tasks: list[asyncio.Task[Any]] = []
            cancelled: set[int] = set()
            for number in range(200):
                tasks.append(asyncio.create_task(pool.fetchval("SELECT $1::int", number)))
                await asyncio.sleep(0)
                if dice.random() < 0.3:
                    victim = dice.randrange(max(0, number - 30), number + 1)
                    if tasks[victim].cancel():
                        cancelled.add(victim)
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            for number, outcome in enumerate(outcomes):
                if number in cancelled:
                    assert isinstance(outcome, asyncio.CancelledError)
                else:
                    assert outcome == number
            assert await asyncio.gather(
                *(pool.fetchval("SELECT $1::int", number) for number in range(100))
            ) == list(range(100))

    run(loop, main())
    forgive_lost_connections(reported)


def test_a_killed_server_fails_what_runs_and_keeps_what_it_confirmed(
    loop: asyncio.AbstractEventLoop,
    loop_name: str,
    postgres: Postgres,
    postgres_url: str,
    reported: list[dict[str, Any]],
) -> None:
    numbers = itertools.count()
    confirmed: set[int] = set()
    unsure: set[int] = set()

    async def main() -> None:
        async with pool_of(postgres_url, 2 * CONNECTIONS) as pool:
            enough = asyncio.Event()
            await pool.execute("DROP TABLE IF EXISTS number")
            await pool.execute("CREATE TABLE number (number int)")

            async def write() -> None:
                while True:
                    batch = list(itertools.islice(numbers, 5))
                    unsure.update(batch)
                    await pool.executemany(
                        "INSERT INTO number VALUES ($1)", [(number,) for number in batch]
                    )
                    unsure.difference_update(batch)
                    confirmed.update(batch)
                    if len(confirmed) >= QUERIES:
                        enough.set()

            lost = asyncio.Event()
            idle: Any = await asyncpg.connect(postgres_url)
            idle.add_termination_listener(lambda _: lost.set())
            running = [
                *(asyncio.create_task(write()) for _ in range(CONNECTIONS)),
                *(
                    asyncio.create_task(pool.fetchval("SELECT pg_sleep(600)"))
                    for _ in range(CONNECTIONS)
                ),
            ]
            await until(lambda: is_asleep(idle, CONNECTIONS), running)
            await enough.wait()
            postgres.kill()
            outcomes = await asyncio.gather(*running, return_exceptions=True)
            # Raised by asyncio: writelines() on a transport whose connection is lost.
            gone = (*GONE, TypeError) if loop_name == "asyncio" else GONE
            assert [outcome for outcome in outcomes if not isinstance(outcome, gone)] == []
            await lost.wait()
            assert idle.is_closed()
            # The server is down: connecting fails at once.
            with pytest.raises(OSError):  # noqa: PT011 - the kind of socket decides which
                await asyncpg.connect(postgres_url)

            await start_again(postgres)
            stored = {record[0] for record in await pool.fetch("SELECT number FROM number")}
            assert confirmed <= stored <= confirmed | unsure
            assert await asyncio.gather(
                *(pool.fetchval("SELECT $1::int", number) for number in range(100))
            ) == list(range(100))

    try:
        run(loop, main())
    finally:
        if not postgres.pids():
            postgres.launch()
            postgres.wait_until_ready()
    forgive_lost_connections(reported)


def test_a_connection_that_the_server_ends_is_told_why(
    loop: asyncio.AbstractEventLoop, postgres_url: str
) -> None:
    async def main() -> None:
        url = postgres_url
        async with connected(url) as observer, connected(url) as connection:
            query = asyncio.create_task(connection.fetchval("SELECT pg_sleep(600)"))
            await until(lambda: is_asleep(observer, 1))
            await observer.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
            with pytest.raises(asyncpg.ConnectionDoesNotExistError, match="administrator"):
                await query

    run(loop, main())


def test_verify_full_takes_the_right_name_only(
    loop: asyncio.AbstractEventLoop, postgres: Postgres
) -> None:
    url = postgres.urls()["tls"]

    async def main() -> None:
        async with connected(url) as connection:
            query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            assert await connection.fetchval(query) is True
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncpg.connect(url.replace(NAME, "127.0.0.1"))

    run(loop, main())
