"""The servers, one of each per run, and their addresses."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.databases.servers import NotInstalled, Postgres, Redis, Server

if TYPE_CHECKING:
    from collections.abc import Generator

_Server = TypeVar("_Server", bound=Server)


def running(server: _Server) -> Generator[_Server, None, None]:
    """Runs the server.

    If it is not installed, tests are skipped on systems that cannot install it, and fail on others.
    """
    try:
        with server.running():
            yield server
    except NotInstalled as error:
        if sys.platform == "linux" and shutil.which("apt-get") and os.geteuid() == 0:
            pytest.fail(f"{error}: run tests/databases/install (`make test` does)")
        if os.environ.get("CI"):
            pytest.fail(f"{error}, and tests/databases/install cannot do it here")
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def redis_server() -> Generator[Redis, None, None]:
    """A running Redis. A test that kills it restarts it."""
    yield from running(Redis())


@pytest.fixture(scope="session")
def postgres() -> Generator[Postgres, None, None]:
    """A running PostgreSQL. A test that kills it restarts it."""
    yield from running(Postgres())


@pytest.fixture(params=["tcp", "unix", "tls"])
def redis_url(request: pytest.FixtureRequest, redis_server: Redis) -> str:
    """The server's URL, for each kind of connection."""
    return redis_server.urls()[request.param]


@pytest.fixture(params=["tcp", "unix", "tls"])
def postgres_url(request: pytest.FixtureRequest, postgres: Postgres) -> str:
    """The server's URL, for each kind of connection."""
    return postgres.urls()[request.param]
