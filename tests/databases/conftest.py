"""The servers, one of each for the whole run, and the addresses that they are reached at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.databases.servers import Postgres, Redis

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(scope="session")
def redis_server() -> Generator[Redis, None, None]:
    """A Redis that runs. A test that kills it launches it again."""
    server = Redis()
    with server.running():
        yield server


@pytest.fixture(scope="session")
def postgres() -> Generator[Postgres, None, None]:
    """A PostgreSQL that runs. A test that kills it launches it again."""
    server = Postgres()
    with server.running():
        yield server


@pytest.fixture(params=["tcp", "unix", "tls"])
def redis_url(request: pytest.FixtureRequest, redis_server: Redis) -> str:
    """Each way to reach the server."""
    return redis_server.urls()[request.param]


@pytest.fixture(params=["tcp", "unix", "tls"])
def postgres_url(request: pytest.FixtureRequest, postgres: Postgres) -> str:
    """Each way to reach the server."""
    return postgres.urls()[request.param]
