"""The servers, one of each per run, and their addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.databases.servers import Postgres, Redis

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(scope="session")
def redis_server() -> Generator[Redis, None, None]:
    """A running Redis. A test that kills it restarts it."""
    server = Redis()
    with server.running():
        yield server


@pytest.fixture(scope="session")
def postgres() -> Generator[Postgres, None, None]:
    """A running PostgreSQL. A test that kills it restarts it."""
    server = Postgres()
    with server.running():
        yield server


@pytest.fixture(params=["tcp", "unix", "tls"])
def redis_url(request: pytest.FixtureRequest, redis_server: Redis) -> str:
    """The server's URL, for each kind of connection."""
    return redis_server.urls()[request.param]


@pytest.fixture(params=["tcp", "unix", "tls"])
def postgres_url(request: pytest.FixtureRequest, postgres: Postgres) -> str:
    """The server's URL, for each kind of connection."""
    return postgres.urls()[request.param]
