"""Faulty protocols, factories and buffers end their own connection, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.hostile.steps import Own, Transport

if TYPE_CHECKING:
    from collections.abc import Awaitable

pytestmark = [
    # asyncio leaves what a failed constructor has created to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def nothing() -> Transport:
    """A factory without `return`."""


def test_a_factory_that_makes_nothing_is_refused(
    loop: asyncio.AbstractEventLoop, loop_name: str, reported: list[dict[str, Any]]
) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        theirs, end = os.pipe()
        with peer, os.fdopen(theirs, "rb", 0) as reading, os.fdopen(end, "wb", 0) as writing:
            calls: list[Awaitable[object]] = [
                loop.create_connection(nothing, sock=ours),
                loop.create_datagram_endpoint(nothing, local_addr=("127.0.0.1", 0)),
                loop.connect_read_pipe(nothing, reading),
                loop.connect_write_pipe(nothing, writing),
            ]
            if loop_name != "asyncio":  # asyncio waits forever.
                calls.append(loop.subprocess_exec(nothing, "/bin/true"))
            for call in calls:
                with pytest.raises(AttributeError, match="NoneType"):
                    await call
                gc.collect()  # asyncio has created a transport, and does not close it.

    loop.run_until_complete(main())
    # The child without a protocol has exited, and there was no protocol to call.
    assert {type(context["exception"]) for context in reported} <= {AttributeError}
    reported.clear()


def test_a_server_whose_factory_makes_nothing_serves_on(loop: asyncio.AbstractEventLoop) -> None:
    protocols: list[asyncio.BaseProtocol | None] = [None, asyncio.Protocol()]

    async def main() -> None:
        factory: Any = lambda: protocols.pop(0)  # noqa: E731
        server = await loop.create_server(factory, "127.0.0.1", 0)
        for _ in range(len(protocols)):
            with socket.socket() as peer:
                peer.setblocking(False)
                await loop.sock_connect(peer, server.sockets[0].getsockname())
                gc.collect()  # asyncio leaves the refused transport to the collector.
                peer.shutdown(socket.SHUT_WR)
                for _ in range(10):
                    await asyncio.sleep(0)
                    gc.collect()
                with contextlib.suppress(ConnectionResetError):
                    assert await loop.sock_recv(peer, 1) == b""
        server.close()

    loop.run_until_complete(main())
    assert protocols == []


@pytest.mark.parametrize(
    ("buffer", "message", "error"),
    [
        (None, "get_buffer() call failed", TypeError),
        (b"", "get_buffer() call failed", RuntimeError),
        (bytearray(), "get_buffer() call failed", RuntimeError),
        (5, "get_buffer() call failed", TypeError),
        (b"read-only", "Fatal read error", TypeError),
        ("text", "Fatal read error", TypeError),
        ([0] * 9, "Fatal read error", TypeError),
        (memoryview(b"read-only"), "Fatal read error", TypeError),
        (memoryview(bytearray(9))[::2], "Fatal read error", (TypeError, BufferError)),
    ],
    ids=repr,
)
def test_a_buffer_that_is_none_ends_the_connection(
    loop: asyncio.AbstractEventLoop,
    reported: list[dict[str, Any]],
    buffer: object,
    message: str,
    error: type[BaseException] | tuple[type[BaseException], ...],
) -> None:
    class Wrong(asyncio.BufferedProtocol):
        def get_buffer(self, sizehint: int) -> Transport:
            return buffer

    async def main() -> None:
        ours, peer = socket.socketpair()
        with peer:
            await loop.create_connection(Wrong, sock=ours)
            peer.setblocking(False)
            peer.send(b"x")
            with contextlib.suppress(ConnectionResetError):
                assert await loop.sock_recv(peer, 1) == b""

    loop.run_until_complete(main())
    (context,) = reported
    reported.clear()
    assert message in context["message"]
    assert isinstance(context["exception"], error)
    assert context["transport"].is_closing()
    assert isinstance(context["protocol"], Wrong)


def test_a_transport_whose_protocol_was_taken_away_ends(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        with peer:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            missing: Any = None
            transport.set_protocol(missing)
            peer.setblocking(False)
            peer.send(b"x")
            with contextlib.suppress(ConnectionResetError):
                assert await loop.sock_recv(peer, 1) == b""

    loop.run_until_complete(main())
    messages = [context["message"] for context in reported]
    assert "data_received() call failed" in messages[0]
    assert {type(context["exception"]) for context in reported} == {AttributeError}
    reported.clear()


@pytest.mark.parametrize("error", [Own, GeneratorExit, asyncio.CancelledError, ValueError])
def test_what_a_watching_callback_raises_is_reported_each_time(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]], error: type[BaseException]
) -> None:
    ours, peer = socket.socketpair()

    def fail() -> None:
        if len(reported) == 1:
            loop.remove_reader(ours)
            loop.call_soon(loop.stop)
        raise error("the callback's")

    with ours, peer:
        ours.setblocking(False)
        peer.send(b"x")
        loop.add_reader(ours, fail)
        loop.run_forever()
    assert [type(context["exception"]) for context in reported] == [error, error]
    reported.clear()


def test_a_future_of_another_make_that_fails_is_reported(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    class Odd(asyncio.Future[Any]):
        def cancelled(self) -> bool:
            raise Own("no answer")

    made: list[asyncio.Transport] = []

    class Told(asyncio.Protocol):
        def connection_made(self, transport: Transport) -> None:
            made.append(transport)
            loop.call_soon(loop.call_soon, loop.stop)

    ours, peer = socket.socketpair()
    with peer:
        ours.setblocking(False)
        make: Any = loop
        make._make_socket_transport(ours, Told(), Odd(loop=loop))
        loop.run_forever()
        made[0].abort()
        loop.run_until_complete(asyncio.sleep(0))
    assert [type(context["exception"]) for context in reported] == [Own]
    reported.clear()
