"""Creating endpoints of every family, and the information that they provide."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import os
import socket
import sys
from asyncio.trsock import TransportSocket
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.datagrams.endpoints import Recorder, bound, endpoint, name_of
from tests.turns import run_one_turn

if TYPE_CHECKING:
    from pathlib import Path

# The message changed in the course of 3.12.
KIND_WANTED = next(
    kind
    for kind in ("datagram socket", "UDP Socket")
    if f"A {kind} was expected" in inspect.getsource(asyncio.base_events)
)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only on Linux")


def test_datagrams_go_there_and_back(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint() as server, endpoint(remote_addr=name_of(server)) as client:
            client.transport.sendto(b"question")
            await server.until_received(1)
            data, sender = server.received[0]
            assert (data, sender) == (b"question", name_of(client))
            server.transport.sendto(b"answer", sender)
            await client.until_received(1)
            assert client.received == [(b"answer", name_of(server))]

    loop.run_until_complete(main())


def test_ipv6_addresses_have_four_parts(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint(local_addr=("::1", 0)) as server:
            with bound(socket.AF_INET6, ("::1", 0)) as peer:
                peer.sendto(b"question", name_of(server))
                await server.until_received(1)
                assert server.received == [(b"question", peer.getsockname())]
                assert len(server.received[0][1]) == 4
                for address in (
                    peer.getsockname(),
                    peer.getsockname()[:2],
                    (*peer.getsockname()[:2], 0),
                    ("0:0:0:0:0:0:0:1", peer.getsockname()[1], 0, 0),
                    server.received[0][1],
                ):
                    server.transport.sendto(repr(address).encode(), address)
                    await asyncio.sleep(0)
                    assert peer.recv(100) == repr(address).encode()

    loop.run_until_complete(main())


def test_unix_paths(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        here, there = str(tmp_path / "server"), str(tmp_path / "cliént")
        family = socket.AF_UNIX
        # A stale file blocks the path.
        bound(family, here).close()
        async with (
            endpoint(local_addr=here, family=family) as server,
            endpoint(local_addr=there, remote_addr=here, family=family) as client,
        ):
            client.transport.sendto(b"question")
            await server.until_received(1)
            assert server.received == [(b"question", there)]
            server.transport.sendto(b"answer", there)
            await client.until_received(1)
            assert client.received == [(b"answer", here)]
            assert server.transport.get_extra_info("peername") is None
            assert client.transport.get_extra_info("peername") == here

    loop.run_until_complete(main())


def test_a_unix_sender_without_a_name_is_none(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    async def main() -> None:
        here = str(tmp_path / "server")
        async with endpoint(local_addr=here, family=socket.AF_UNIX) as server:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
                peer.sendto(b"hello", here)
                await server.until_received(1)
            assert server.received == [(b"hello", None)]

    loop.run_until_complete(main())


@LINUX
def test_abstract_unix_addresses_are_bytes(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        here = f"\0yamanote-{os.getpid()}-{id(loop)}"
        async with endpoint(local_addr=here, family=socket.AF_UNIX) as server:
            with bound(socket.AF_UNIX, here + "-peer") as peer:
                peer.sendto(b"question", here)
                await server.until_received(1)
                sender = (here + "-peer").encode()
                assert server.received == [(b"question", sender)]
                server.transport.sendto(b"answer", sender)
                assert peer.recv(100) == b"answer"
            async with endpoint(remote_addr=here, family=socket.AF_UNIX) as client:
                client.transport.sendto(b"again")
                await server.until_received(2)
                assert server.received[1] == (b"again", None)

    loop.run_until_complete(main())


@LINUX
def test_large_unix_datagrams_come_whole(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        here, large = str(tmp_path / "server"), bytes(range(256)) * 600
        async with (
            endpoint(local_addr=here, family=socket.AF_UNIX) as server,
            endpoint(remote_addr=here, family=socket.AF_UNIX) as client,
        ):
            client.transport.sendto(large)
            client.transport.sendto(bytearray(large))
            await server.until_received(2)
            assert server.data == [large, large]

    loop.run_until_complete(main())


@LINUX
def test_other_families_by_socket(loop: asyncio.AbstractEventLoop) -> None:
    """A netlink socket, whose addresses only Python's socket can convert; the kernel replies."""

    async def main() -> None:
        kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE)
        kernel.bind((0, 0))
        async with endpoint(sock=kernel) as client:
            # An nlmsghdr with a type that requests nothing but an acknowledgement.
            size, no_operation, request_and_ack = 16, 1, 5
            message = (
                size.to_bytes(4, sys.byteorder)
                + no_operation.to_bytes(2, sys.byteorder)
                + request_and_ack.to_bytes(2, sys.byteorder)
                + bytes(8)
            )
            client.transport.sendto(message, (0, 0))
            await client.until_received(1)
            assert client.received[0][1] == (0, 0)

    loop.run_until_complete(main())


def test_a_socket_of_the_callers(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with bound() as peer:
            own = bound()
            own.connect(peer.getsockname())
            async with endpoint(sock=own) as client:
                assert own.gettimeout() == 0
                info = client.transport.get_extra_info
                assert isinstance(info("socket"), TransportSocket)
                assert info("socket").fileno() == own.fileno()
                assert info("sockname") == own.getsockname()
                assert info("peername") == peer.getsockname()
                assert info("nothing") is None
                assert info("nothing", 7) == 7
                client.transport.sendto(b"connected")
                assert peer.recvfrom(100) == (b"connected", own.getsockname())
            assert own.fileno() == -1

    loop.run_until_complete(main())


def test_options_of_the_socket(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint(
            local_addr=("127.0.0.1", 0), reuse_port=True, allow_broadcast=True
        ) as first:
            sock = first.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) != 0
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST) != 0
            async with endpoint(local_addr=name_of(first), reuse_port=True) as second:
                assert name_of(second) == name_of(first)

    loop.run_until_complete(main())


def test_broadcasting_is_not_connected(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with bound() as peer:
            address = peer.getsockname()
            async with endpoint(remote_addr=address, allow_broadcast=True) as client:
                assert client.transport.get_extra_info("peername") is None
                client.transport.sendto(b"without")
                client.transport.sendto(b"with", address)
                await asyncio.sleep(0)
                assert [peer.recv(100), peer.recv(100)] == [b"without", b"with"]
                with pytest.raises(ValueError, match=r"^Invalid address: must be None or "):
                    client.transport.sendto(b"elsewhere", ("127.0.0.1", 1))

    loop.run_until_complete(main())


def test_refused_arguments(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def refused(**options: Any) -> tuple[type[BaseException], str]:
        try:
            await loop.create_datagram_endpoint(Recorder, **options)
        except Exception as error:
            return type(error), str(error)
        raise AssertionError("nothing was refused")

    async def main() -> None:
        stream = socket.socket()
        plain = socket.socket(type=socket.SOCK_DGRAM)
        with stream, plain:
            assert await refused(sock=stream) == (
                ValueError,
                f"A {KIND_WANTED} was expected, got {stream!r}",
            )
            assert await refused(sock=plain, local_addr=("127.0.0.1", 0), reuse_port=True) == (
                ValueError,
                "socket modifier keyword arguments can not be used when sock is specified. "
                "(local_addr=('127.0.0.1', 0), reuse_port=True)",
            )
        assert await refused() == (ValueError, "unexpected address family")
        assert await refused(local_addr="127.0.0.1") == (TypeError, "2-tuple is expected")
        assert await refused(local_addr=("127.0.0.1", 0, 0)) == (TypeError, "2-tuple is expected")
        assert await refused(local_addr=b"x", family=socket.AF_UNIX) == (
            TypeError,
            "string is expected",
        )
        assert await refused(local_addr=("127.0.0.1", 0), remote_addr=("::1", 1)) == (
            ValueError,
            "can not get address information",
        )
        missing = str(tmp_path / "missing")
        kind, _ = await refused(remote_addr=missing, family=socket.AF_UNIX)
        assert kind is FileNotFoundError
        with bound() as taken:
            kind, text = await refused(local_addr=taken.getsockname())
        assert kind is OSError
        assert "in use" in text

    loop.run_until_complete(main())


def test_a_failing_factory_fails_the_call(loop: asyncio.AbstractEventLoop) -> None:
    def factory() -> Recorder:
        raise LookupError("no protocol")

    # asyncio leaves the socket to the collector, which warns; this socket is the caller's.
    with bound() as own, pytest.raises(LookupError, match="no protocol"):
        loop.run_until_complete(loop.create_datagram_endpoint(factory, sock=own))


def test_connection_made_comes_in_a_later_turn_in_the_makers_context(
    loop: asyncio.AbstractEventLoop,
) -> None:
    variable = contextvars.ContextVar("variable", default="nobody")
    seen: list[str] = []

    def look(*_: object) -> None:
        seen.append(variable.get())

    protocol = Recorder(connection_made=look, datagram_received=look, connection_lost=look)

    async def main() -> None:
        variable.set("maker")
        with bound() as peer:
            making = loop.create_datagram_endpoint(lambda: protocol, local_addr=("127.0.0.1", 0))
            await making
            variable.set("later")
            for number in range(2):
                peer.sendto(b"x", name_of(protocol))
                await protocol.until_received(number + 1)
            variable.set("closer")
            protocol.transport.close()
            await protocol.until_called("connection_lost")

    own = bound()
    waiter = loop.create_future()
    made = Recorder()
    transport = cast("Any", loop)._make_datagram_transport(own, made, None, waiter)
    assert made.calls == []
    run_one_turn(loop)
    assert made.calls == ["connection_made"]
    assert waiter.done()
    transport.close()
    run_one_turn(loop)
    assert made.calls == ["connection_made", "connection_lost"]
    loop.run_until_complete(main())
    assert seen == ["maker", "maker", "maker", "closer"]


def test_what_a_transport_is(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint() as server:
            transport = server.transport
            kinds = type(transport).__mro__
            assert asyncio.Transport in kinds
            # asyncio's own class is one since Python 3.12.
            assert asyncio.DatagramTransport in kinds or sys.version_info < (3, 12)
            assert transport.get_protocol() is server
            assert transport._loop is loop
            assert transport._address is None
            assert transport._conn_lost == 0
            assert transport._sock.fileno() == transport.get_extra_info("socket").fileno()
            name = type(transport).__name__
            number = transport._sock.fileno()
            status = "write=<idle, bufsize=0>"
            assert repr(transport) == f"<{name} fd={number} read=polling {status}>"
            transport.pause_reading()
            assert repr(transport) == f"<{name} fd={number} read=idle {status}>"
            transport.resume_reading()
            transport.close()
            assert repr(transport) == f"<{name} closing fd={number} read=idle {status}>"
            await server.until_called("connection_lost")
            assert repr(transport) == f"<{name} closed fd={number}>"
            assert transport._sock is None
            with pytest.raises(NotImplementedError):
                transport.write(b"x")

    loop.run_until_complete(main())


def test_another_protocol_may_take_over(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint() as first:
            second = Recorder()
            first.transport.set_protocol(second)
            assert first.transport.get_protocol() is second
            with bound() as peer:
                peer.sendto(b"x", name_of(first))
                await second.until_received(1)
            assert first.received == []
            first.transport.set_protocol(first)

    loop.run_until_complete(main())


def test_making_one_is_logged_in_debug_mode(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.set_debug(True)
    caplog.set_level(logging.DEBUG, "asyncio")

    async def main() -> None:
        async with endpoint():
            pass

    loop.run_until_complete(main())
    assert "Datagram endpoint local_addr=('127.0.0.1', 0) remote_addr=None created" in caplog.text
