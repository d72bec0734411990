"""TLS is not built yet, and says so. This file goes when it is."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

import yamanote
from tests.tcp.peers import connect
from tests.tcp.recorders import Recorder
from tests.tcp.servers import LOCALHOST

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Ours only: asyncio does speak TLS."""
    instance = yamanote.new_event_loop()
    yield instance
    instance.close()


@pytest.mark.parametrize("context", [True, ssl.create_default_context()], ids=["bool", "context"])
def test_connecting_with_tls_is_refused(
    loop: asyncio.AbstractEventLoop, context: bool | ssl.SSLContext
) -> None:
    with pytest.raises(NotImplementedError, match=r"TLS|ssl"):
        loop.run_until_complete(loop.create_connection(Recorder, LOCALHOST, 1, ssl=context))


def test_serving_with_tls_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(NotImplementedError, match=r"TLS|ssl"):
        loop.run_until_complete(loop.create_server(Recorder, LOCALHOST, 0, ssl=context))


def test_start_tls_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer, pytest.raises(NotImplementedError, match=r"TLS|ssl"):
            await loop.start_tls(transport, protocol, ssl.create_default_context())
        transport.close()
        await protocol.until_lost()

    loop.run_until_complete(main())
