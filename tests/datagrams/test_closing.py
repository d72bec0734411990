"""Closing an endpoint, which must leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
import warnings
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from tests.datagrams.endpoints import Recorder, bound, endpoint, name_of
from tests.turns import run_one_turn

if TYPE_CHECKING:
    from tests.programs import Program


def test_connection_lost_comes_once_in_a_later_turn(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        for ways in (
            ("close",),
            ("abort",),
            ("close", "close"),
            ("close", "abort"),
            ("abort", "close"),
        ):
            async with endpoint() as server:
                for way in ways:
                    getattr(server.transport, way)()
                    assert server.transport.is_closing()
                    assert server.calls == ["connection_made"]
                await server.until_called("connection_lost")
                await asyncio.sleep(0)
                assert server.calls == ["connection_made", "connection_lost"]
                assert server.lost_with is None
                server.transport.close()
                server.transport.abort()
                await asyncio.sleep(0)
                assert server.calls == ["connection_made", "connection_lost"]

    loop.run_until_complete(main())


def test_close_sends_what_was_written_in_the_same_breath(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint() as server:
            for way in ("close", "abort"):
                async with endpoint(remote_addr=name_of(server)) as client:
                    for number in range(3):
                        client.transport.sendto(b"%s %d" % (way.encode(), number))
                    getattr(client.transport, way)()
            await server.until_received(6)
            assert server.data == [
                b"%s %d" % (way, number) for way in (b"close", b"abort") for number in range(3)
            ]

    loop.run_until_complete(main())


def test_sending_after_the_end_is_silent_and_then_warns(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "asyncio")

    async def main() -> None:
        async with endpoint() as server:
            async with endpoint(remote_addr=name_of(server)) as client:
                client.transport.close()
                for _ in range(4):
                    client.transport.sendto(b"too late")
                assert caplog.records == []
                client.transport.sendto(b"too late")
                assert [record.message for record in caplog.records] == [
                    "socket.send() raised exception."
                ]
                await client.until_called("connection_lost")
                client.transport.sendto(b"too late")
                assert len(caplog.records) == 2
            await asyncio.sleep(0)
            assert server.received == []

    loop.run_until_complete(main())


def test_sending_without_an_address_of_its_own_after_the_end(
    loop: asyncio.AbstractEventLoop, loop_name: str
) -> None:
    async def main() -> None:
        async with endpoint() as server, endpoint() as client:
            client.transport.close()
            client.transport.sendto(b"closing", name_of(server))
            await client.until_called("connection_lost")
            await server.until_received(1)
            if loop_name == "asyncio":
                with pytest.raises(AttributeError):
                    client.transport.sendto(b"closed", name_of(server))
            else:
                client.transport.sendto(b"closed", name_of(server))
            await asyncio.sleep(0)
            assert server.data == [b"closing"]

    loop.run_until_complete(main())


def test_a_raising_connection_lost_is_reported_and_the_socket_closed(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    def fail(_: object) -> None:
        raise LookupError

    async def main() -> None:
        async with endpoint(Recorder(connection_lost=fail), local_addr=("127.0.0.1", 0)) as server:
            sock = server.transport.get_extra_info("socket")
        assert sock.fileno() == -1

    loop.run_until_complete(main())
    assert [type(context["exception"]) for context in reported] == [LookupError]
    reported.clear()


def test_a_raising_connection_made_is_reported_and_the_endpoint_lives(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    def fail() -> None:
        raise LookupError

    async def main() -> None:
        async with endpoint(Recorder(connection_made=fail), local_addr=("127.0.0.1", 0)) as server:
            with bound() as peer:
                peer.sendto(b"x", name_of(server))
                await server.until_received(1)

    loop.run_until_complete(main())
    assert [type(context["exception"]) for context in reported] == [LookupError]
    reported.clear()


def test_a_cancelled_call_closes_its_socket(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        own = bound()
        task = loop.create_task(loop.create_datagram_endpoint(Recorder, sock=own))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert own.fileno() == -1

    loop.run_until_complete(main())


def test_an_endpoint_that_is_never_closed_warns(loop: asyncio.AbstractEventLoop) -> None:
    server = Recorder()
    making = loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", 0))
    loop.run_until_complete(making)
    sock = server.transport.get_extra_info("socket")
    server.transport.pause_reading()
    run_one_turn(loop)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        server.made_with = None
        gc.collect()
    assert [warning.category for warning in caught] == [ResourceWarning]
    assert str(caught[0].message).startswith("unclosed transport <")
    assert sock.fileno() == -1


def test_a_loop_closed_before_its_endpoints(program: Program) -> None:
    result = program.run(
        """
        import warnings

        async def main():
            loop = asyncio.get_running_loop()
            pair = [
                (await loop.create_datagram_endpoint(
                    asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)))[0]
                for _ in range(2)
            ]
            pair[0].sendto(b"x", pair[1].get_extra_info("sockname"))
            return pair

        loop = new_event_loop()
        pair = loop.run_until_complete(main())
        loop.close()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del pair
        print(len(caught))
        """
    )
    assert (result.returncode, result.stdout) == (0, "2\n"), result.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_thousand_endpoints_leave_nothing_behind(loop: asyncio.AbstractEventLoop) -> None:
    remembered: list[weakref.ref[Any]] = []

    async def one(server: Recorder) -> None:
        client = Recorder()
        await loop.create_datagram_endpoint(lambda: client, remote_addr=name_of(server))
        client.transport.sendto(b"question")
        await client.until_received(1)
        remembered.append(weakref.ref(client))
        remembered.append(weakref.ref(client.transport))
        client.transport.close()
        await client.until_called("connection_lost")

    async def main() -> None:
        def answer(data: bytes, sender: object) -> None:
            server.transport.sendto(data, sender)

        server = Recorder(datagram_received=answer)
        async with endpoint(server, local_addr=("127.0.0.1", 0)):
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(20):
                await asyncio.gather(*(one(server) for _ in range(50)))
            assert len(os.listdir("/proc/self/fd")) == before

    loop.run_until_complete(main())
    run_one_turn(loop)
    gc.collect()
    assert len(remembered) == 2000
    assert [reference() for reference in remembered if reference() is not None] == []


def test_a_descriptor_belongs_to_its_transport_until_it_closes(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        async with endpoint() as server:
            number = server.transport.get_extra_info("socket").fileno()
            with pytest.raises(RuntimeError, match="is used by transport"):
                loop.add_reader(number, lambda: None)
        with socket.socket(type=socket.SOCK_DGRAM) as other:
            loop.add_reader(other, lambda: None)
            loop.remove_reader(other)

    loop.run_until_complete(main())
