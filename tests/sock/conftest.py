"""Pairs of sockets of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sock.pairs import KINDS, unix_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sock.pairs import Pair


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two connected stream sockets."""
    with unix_stream() as sockets:
        yield sockets


@pytest.fixture(params=list(KINDS))
def any_pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two connected sockets, of each kind."""
    with KINDS[request.param]() as sockets:
        yield sockets
