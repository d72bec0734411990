"""Received datagrams: complete, in order, each as if in a turn of its own."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest

from tests.datagrams.endpoints import Recorder, bound, endpoint, name_of
from tests.turns import run_one_turn


def fill(peer: socket.socket, server: Recorder, count: int) -> list[bytes]:
    """Sends `count` datagrams, which are in the kernel when this returns."""
    sent = [b"%d" % number for number in range(count)]
    for data in sent:
        peer.sendto(data, name_of(server))
    return sent


def test_many_that_wait_come_in_order(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint() as server:
            with bound() as peer:
                sent = fill(peer, server, 150)
                await server.until_received(150)
                assert server.received == [(data, peer.getsockname()) for data in sent]

    loop.run_until_complete(main())


def test_every_size_comes_whole(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        sizes = [0, 1, 4096, 4097, 65507, 0, 65507, 9000, 65506, 65507, 2]
        async with endpoint() as server:
            with bound() as peer:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                for number, size in enumerate(sizes):
                    if number % 2 == 0:
                        await server.until_received(number)
                    peer.sendto(bytes([number + 1]) * size, name_of(server))
                await server.until_received(len(sizes))
                assert server.data == [
                    bytes([number + 1]) * size for number, size in enumerate(sizes)
                ]

    loop.run_until_complete(main())


def test_each_of_many_peers_is_told_apart(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        peers = [bound() for _ in range(100)]
        async with endpoint() as server:
            for count in range(1, 4):
                for peer in peers:
                    peer.sendto(str(peer.getsockname()).encode(), name_of(server))
                await server.until_received(count * len(peers))
            for data, sender in server.received:
                assert data.decode() == str(sender)
                server.transport.sendto(data, sender)
            await asyncio.sleep(0)
            for peer in peers:
                for _ in range(3):
                    assert peer.recv(100).decode() == str(peer.getsockname())
                peer.close()

    loop.run_until_complete(main())


def test_what_a_datagram_schedules_runs_before_the_next_comes(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """A protocol may complete a future that must be replaced before the next datagram."""
    events: list[object] = []

    async def main() -> None:
        waiting = loop.create_future()

        def complete(data: bytes, _: object) -> None:
            waiting.set_result(data)

        server = Recorder(datagram_received=complete)
        async with endpoint(server, local_addr=("127.0.0.1", 0)):
            with bound() as peer:
                sent = fill(peer, server, 40)
                for _ in sent:
                    events.append(await waiting)
                    waiting = loop.create_future()
                assert events == sent

    loop.run_until_complete(main())


def test_stop_leaves_the_rest_for_the_next_run(loop: asyncio.AbstractEventLoop) -> None:
    server = Recorder(datagram_received=lambda *_: loop.stop())
    making = loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", 0))
    loop.run_until_complete(making)
    with bound() as peer:
        sent = fill(peer, server, 5)
        for count in range(1, 6):
            loop.run_forever()
            assert server.data == sent[:count]
    server.transport.close()
    run_one_turn(loop)


def test_nothing_comes_after_close(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        for way in ("close", "abort"):
            server = Recorder(
                datagram_received=lambda *_: getattr(server.transport, way)()  # noqa: B023
            )
            async with endpoint(server, local_addr=("127.0.0.1", 0)):
                with bound() as peer:
                    fill(peer, server, 10)
                    await server.until_called("connection_lost")
                    assert server.data == [b"0"]

    loop.run_until_complete(main())


def test_pausing_holds_back_what_has_come(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = Recorder(datagram_received=lambda *_: server.transport.pause_reading())
        async with endpoint(server, local_addr=("127.0.0.1", 0)):
            with bound() as peer:
                sent = fill(peer, server, 10)
                for count in range(1, 11):
                    await server.until_received(count)
                    for _ in range(5):
                        await asyncio.sleep(0)
                    assert server.data == sent[:count]
                    assert not server.transport.is_reading()
                    server.transport.resume_reading()
                    assert server.transport.is_reading()

    loop.run_until_complete(main())


def test_pausing_before_anything_came(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = Recorder(connection_made=lambda: server.transport.pause_reading())
        async with endpoint(server, local_addr=("127.0.0.1", 0)):
            with bound() as peer:
                sent = fill(peer, server, 3)
                for _ in range(5):
                    await asyncio.sleep(0)
                assert server.received == []
                server.transport.resume_reading()
                await server.until_received(3)
                assert server.data == sent

    loop.run_until_complete(main())


def test_a_raising_callback_is_reported_and_the_rest_comes(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    def fail(data: bytes, _: object) -> None:
        if data != b"2":
            raise LookupError(data)

    async def main() -> None:
        server = Recorder(datagram_received=fail)
        async with endpoint(server, local_addr=("127.0.0.1", 0)):
            with bound() as peer:
                sent = fill(peer, server, 4)
                await server.until_received(4)
                await asyncio.sleep(0)
                assert server.data == sent

    loop.run_until_complete(main())
    assert [context["exception"].args for context in reported] == [(b"0",), (b"1",), (b"3",)]
    for context in reported:
        assert context["message"].startswith("Exception in callback ")
        assert isinstance(context["handle"], asyncio.Handle)
    reported.clear()


def test_an_exit_ends_the_run_and_loses_nothing(loop: asyncio.AbstractEventLoop) -> None:
    def fail(data: bytes, _: object) -> None:
        if data == b"1":
            raise SystemExit(data)

    server = Recorder(datagram_received=fail)
    making = loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", 0))
    loop.run_until_complete(making)
    with bound() as peer:
        sent = fill(peer, server, 5)
        with pytest.raises(SystemExit) as caught:
            loop.run_until_complete(server.until_received(5))
        assert caught.value.args == (b"1",)
        loop.run_until_complete(server.until_received(5))
        assert server.data == sent
    server.transport.close()
    run_one_turn(loop)


def test_a_refused_datagram_is_an_error_and_the_endpoint_lives(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        with bound() as gone:
            address = gone.getsockname()
        async with endpoint(remote_addr=address) as client:
            client.transport.sendto(b"to nobody")
            await client.until(lambda: bool(client.errors))
            assert type(client.errors[0]) is ConnectionRefusedError
            assert client.errors[0].errno is not None
            with bound(address=address) as back:
                client.transport.sendto(b"to somebody")
                while not client.errors[1:]:  # A pending error discards a datagram.
                    client.transport.sendto(b"to somebody")
                    await asyncio.sleep(0)
                    back.settimeout(0.1)
                    try:
                        assert back.recv(100) == b"to somebody"
                    except TimeoutError:
                        continue
                    break
                back.sendto(b"answer", name_of(client))
                await client.until_received(1)
            assert client.received == [(b"answer", address)]
            assert "connection_lost" not in client.calls

    loop.run_until_complete(main())


def test_a_raising_error_received_is_reported(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    def fail(error: Exception) -> None:
        raise LookupError from error

    async def main() -> None:
        with bound() as gone:
            address = gone.getsockname()
        async with endpoint(Recorder(error_received=fail), remote_addr=address) as client:
            client.transport.sendto(b"to nobody")
            await client.until(lambda: bool(client.errors))
            await asyncio.sleep(0)
            assert not client.transport.is_closing()

    loop.run_until_complete(main())
    assert [type(context["exception"]) for context in reported] == [LookupError]
    reported.clear()


def test_a_busy_endpoint_leaves_others_their_turns(loop: asyncio.AbstractEventLoop) -> None:
    order: list[str] = []

    async def main() -> None:
        busy = Recorder(datagram_received=lambda *_: order.append("busy"))
        quiet = Recorder(datagram_received=lambda *_: order.append("quiet"))
        async with (
            endpoint(busy, local_addr=("127.0.0.1", 0)),
            endpoint(quiet, local_addr=("127.0.0.1", 0)),
        ):
            with bound() as peer:
                fill(peer, busy, 200)
                fill(peer, quiet, 1)
                await busy.until_received(200)
                assert order.index("quiet") < 100

    loop.run_until_complete(main())


def test_a_socket_that_has_broken_down_does_not_keep_the_loop_busy(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Its descriptor now refers to something else than a socket: every receive fails."""
    null = os.open(os.devnull, os.O_RDONLY)

    async def main() -> None:
        async with endpoint() as server:
            with bound() as peer:
                fill(peer, server, 1)
                await server.until_received(1)
                number = server.transport.get_extra_info("socket").fileno()
                fill(peer, server, 1)
                os.dup2(null, number)
                await asyncio.sleep(0.05)
                assert len(server.errors) < 50
                os.close(null)

    loop.run_until_complete(main())
