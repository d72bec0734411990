"""redis-py's asyncio client against a real Redis."""

# pyright: standard
# redis-py has types for a part of its interface.

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from typing import TYPE_CHECKING, Any

import pytest
import redis.exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff, NoBackoff

from tests.databases.waiting import PATIENCE_S, forgive_lost_connections, run, start_again, until
from tests.frameworks.test_uvicorn import allow_descriptors
from tests.tls.certificates import NAME

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.databases.servers import Redis as RedisServer

pytestmark = pytest.mark.slow

QUERIES = 1000


@contextlib.asynccontextmanager
async def connected(url: str, *, retries: int = 0) -> AsyncGenerator[Any, None]:
    """A client of an empty database, which raises every failure after `retries`.

    It is `Any`, because results are typed as the union of blocking and asyncio ones.
    """
    client: Any = Redis.from_url(
        url,
        retry=Retry(NoBackoff(), retries),
        max_connections=QUERIES + 10,
        # The default timeout is 5 s per connection, but here all are made at once.
        socket_timeout=None,
        socket_connect_timeout=None,
    )
    try:
        await client.flushall()
        yield client
    finally:
        await client.aclose()


async def is_blocked(client: Redis, count: int) -> bool:
    """Returns whether the server has exactly `count` blocked clients."""
    clients = await client.info("clients")
    return bool(clients["blocked_clients"] == count)


def test_a_pipeline_answers_in_order(loop: asyncio.AbstractEventLoop, redis_url: str) -> None:
    async def main() -> None:
        async with connected(redis_url) as client:
            # More than a socket's buffers hold, in both directions.
            value = random.Random(0).randbytes(8192)
            for transaction in (True, False):
                await client.flushall()
                async with client.pipeline(transaction=transaction) as pipeline:
                    for number in range(QUERIES):
                        pipeline.set(f"key {number}", value + b"%d" % number)
                        pipeline.get(f"key {number}")
                    answers = await pipeline.execute()
                assert answers[::2] == [True] * QUERIES
                assert answers[1::2] == [value + b"%d" % number for number in range(QUERIES)]

    run(loop, main())


def test_a_transaction_fails_when_what_it_watches_changes(
    loop: asyncio.AbstractEventLoop, redis_url: str
) -> None:
    async def main() -> None:
        async with connected(redis_url) as client, client.pipeline() as pipeline:
            await pipeline.watch("watched")
            await client.set("watched", "meanwhile")
            pipeline.multi()
            pipeline.set("watched", "too late")
            with pytest.raises(redis.exceptions.WatchError):
                await pipeline.execute()
            assert await client.get("watched") == b"meanwhile"

    run(loop, main())


def test_every_subscriber_hears_everything_in_order(
    loop: asyncio.AbstractEventLoop, redis_url: str
) -> None:
    expected = [b"%d" % number for number in range(QUERIES)]

    async def main() -> None:
        async with connected(redis_url) as client:
            ready = asyncio.Semaphore(0)

            async def subscriber(*, pattern: bool) -> list[bytes]:
                heard: list[bytes] = []
                async with client.pubsub() as pubsub:
                    await (pubsub.psubscribe("new*") if pattern else pubsub.subscribe("news"))
                    async for message in pubsub.listen():
                        if message["type"] in ("subscribe", "psubscribe"):
                            ready.release()
                            continue
                        heard.append(message["data"])
                        if len(heard) == len(expected):
                            break
                    await (pubsub.punsubscribe() if pattern else pubsub.unsubscribe())
                return heard

            subscribers = [
                asyncio.create_task(subscriber(pattern=number % 2 == 0)) for number in range(20)
            ]
            for _ in subscribers:
                await ready.acquire()
            for message in expected:
                assert await client.publish("news", message) == len(subscribers)
            assert await asyncio.gather(*subscribers) == [expected] * len(subscribers)

    run(loop, main())


def test_a_thousand_queries_share_fifty_connections(
    loop: asyncio.AbstractEventLoop, redis_url: str
) -> None:
    async def main() -> None:
        async with connected(redis_url) as client:
            options: Any = {**client.connection_pool.connection_kwargs, "max_connections": 50}
            kind = client.connection_pool.connection_class
            pool = BlockingConnectionPool(timeout=PATIENCE_S, connection_class=kind, **options)
            shared: Any = Redis(connection_pool=pool)
            try:
                counts = await asyncio.gather(*(shared.incr("count") for _ in range(QUERIES)))
            finally:
                await pool.disconnect()
            assert sorted(counts) == list(range(1, QUERIES + 1))

    run(loop, main())


def test_a_thousand_connections_wait_at_once(
    loop: asyncio.AbstractEventLoop, redis_url: str
) -> None:
    allow_descriptors(QUERIES + 100)
    # redis-py reads the system's certificates for each connection, which takes 40 ms.
    connections = 100 if redis_url.startswith("rediss") else QUERIES

    async def main() -> None:
        async with connected(redis_url) as client:
            waiting = [asyncio.create_task(client.blpop("queue")) for _ in range(connections)]
            await until(lambda: is_blocked(client, connections), waiting)
            await client.rpush("queue", *range(connections))
            answers = await asyncio.gather(*waiting)
            assert sorted(int(value) for _, value in answers) == list(range(connections))

    run(loop, main())


def test_what_a_cancelled_query_waited_for_stays(
    loop: asyncio.AbstractEventLoop, redis_url: str
) -> None:
    async def main() -> None:
        async with connected(redis_url) as client:
            waiting = [asyncio.create_task(client.blpop("queue")) for _ in range(20)]
            await until(lambda: is_blocked(client, len(waiting)), waiting)
            for task in waiting:
                task.cancel()
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 20
            await until(lambda: is_blocked(client, 0))
            await client.rpush("queue", "value")
            assert await client.lrange("queue", 0, -1) == [b"value"]

    run(loop, main())


def test_cancelled_queries_leave_no_answer_to_others(
    loop: asyncio.AbstractEventLoop, redis_url: str
) -> None:
    dice = random.Random(0)

    async def main() -> None:
        async with connected(redis_url) as client:
            tasks: list[asyncio.Task[Any]] = []
            cancelled: set[int] = set()
            for number in range(200):
                tasks.append(asyncio.create_task(client.echo(str(number))))
                # Some before they start, some while they connect, some in the middle.
                if dice.random() < 0.3:
                    await asyncio.sleep(0)
                if dice.random() < 0.5:
                    victim = dice.randrange(max(0, number - 30), number + 1)
                    if tasks[victim].cancel():
                        cancelled.add(victim)
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            for number, outcome in enumerate(outcomes):
                if number in cancelled:
                    assert isinstance(outcome, asyncio.CancelledError)
                else:
                    assert outcome == b"%d" % number
            again = await asyncio.gather(*(client.echo(str(number)) for number in range(30)))
            assert again == [b"%d" % number for number in range(30)]

    run(loop, main())


def test_a_killed_server_fails_what_runs_and_keeps_what_it_confirmed(
    loop: asyncio.AbstractEventLoop,
    redis_server: RedisServer,
    redis_url: str,
    reported: list[dict[str, Any]],
) -> None:
    numbers = itertools.count()
    confirmed: set[int] = set()
    unsure: set[int] = set()

    async def main() -> None:
        # redis-py notices that an idle connection is lost when it uses it.
        async with connected(redis_url, retries=1) as client:
            enough = asyncio.Event()

            async def write() -> None:
                while True:
                    batch = list(itertools.islice(numbers, 5))
                    unsure.update(batch)
                    async with client.pipeline(transaction=False) as pipeline:
                        for number in batch:
                            pipeline.sadd("numbers", number)
                        await pipeline.execute()
                    unsure.difference_update(batch)
                    confirmed.update(batch)
                    if len(confirmed) >= QUERIES:
                        enough.set()

            pubsub = client.pubsub()
            await pubsub.subscribe("silence")
            assert await pubsub.get_message(timeout=PATIENCE_S) is not None
            running = [
                *(asyncio.create_task(write()) for _ in range(20)),
                *(asyncio.create_task(client.blpop("nothing")) for _ in range(20)),
                asyncio.create_task(pubsub.get_message(timeout=None)),
            ]
            await until(lambda: is_blocked(client, 20), running)
            await enough.wait()
            redis_server.kill()
            outcomes = await asyncio.gather(*running, return_exceptions=True)
            assert [
                outcome
                for outcome in outcomes
                if not isinstance(outcome, redis.exceptions.ConnectionError)
            ] == []
            await pubsub.aclose()
            # The server is down: connecting fails at once.
            with pytest.raises(redis.exceptions.ConnectionError):
                await client.ping()

            await start_again(redis_server)
            stored = {int(number) for number in await client.smembers("numbers")}
            assert confirmed <= stored <= confirmed | unsure
            answers = await asyncio.gather(*(client.echo(str(number)) for number in range(30)))
            assert answers == [b"%d" % number for number in range(30)]

    try:
        run(loop, main())
    finally:
        if not redis_server.pids():
            redis_server.launch()
            redis_server.wait_until_ready()
    forgive_lost_connections(reported)


def test_a_client_that_tries_again_outlives_its_server(
    loop: asyncio.AbstractEventLoop,
    redis_server: RedisServer,
    redis_url: str,
    reported: list[dict[str, Any]],
) -> None:
    async def main() -> None:
        async with connected(redis_url) as client:
            await client.set("before", "kept")
            persistent: Any = Redis.from_url(
                redis_url, retry=Retry(ConstantBackoff(0.02), -1), single_connection_client=True
            )
            async with persistent:
                await persistent.ping()
                redis_server.kill()
                asked = asyncio.create_task(persistent.get("before"))
                await start_again(redis_server)
                assert await asked == b"kept"

    run(loop, main())
    forgive_lost_connections(reported)


def test_a_server_with_an_untrusted_certificate_is_refused(
    loop: asyncio.AbstractEventLoop, redis_server: RedisServer
) -> None:
    url = redis_server.urls()["tls"]

    async def main() -> None:
        for wrong in (url.replace(NAME, "127.0.0.1"), url.partition("?")[0]):
            with pytest.raises(redis.exceptions.ConnectionError, match="certificate verify failed"):
                async with connected(wrong):
                    pass

    run(loop, main())
