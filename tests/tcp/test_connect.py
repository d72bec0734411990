"""`create_connection`: the remote and local addresses, and errors if there is no server."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import socket
import sys
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from tests.tcp.peers import connect, read_to_end, tcp_pair, turns
from tests.tcp.recorders import PATIENCE_S, Recorder
from tests.tcp.servers import LOCALHOST, Greeter, needs_ipv6, outcome, port_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]


@pytest.fixture
def refusing() -> Iterator[tuple[str, int]]:
    """An address that refuses connections; it is bound, so that no other process can use it."""
    with socket.socket() as sock:
        sock.bind((LOCALHOST, 0))
        yield sock.getsockname()


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """An address that does not respond: a listener with a full queue drops packets."""
    if sys.platform != "linux":
        pytest.skip("a full queue refuses instead of dropping on this platform")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((LOCALHOST, 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()


def open_fds() -> set[str]:
    """Returns the descriptors of this process, without the one used to list them."""
    return set(os.listdir("/dev/fd"))


def info_of(family: socket.AddressFamily, *address: object) -> AddressInfo:
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)


def resolve_to(
    monkeypatch: pytest.MonkeyPatch, loop: asyncio.AbstractEventLoop, *infos: AddressInfo
) -> None:
    """Makes the loop's resolver return `infos` for every name."""

    async def getaddrinfo(*_args: object, **_options: object) -> list[AddressInfo]:
        return list(infos)

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)


def test_the_pair_is_connected_when_it_is_returned(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            assert protocol.calls == ["connection_made"]
            assert protocol.transport is transport
            assert transport.get_protocol() is protocol
            transport.close()
            await protocol.until_lost()

    loop.run_until_complete(main())


@needs_ipv6
def test_ipv6_addresses_have_four_parts(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with await loop.create_server(Greeter, "::1", 0) as server:
            port = port_of(server)
            transport, protocol = await loop.create_connection(Recorder, "::1", port)
            assert transport.get_extra_info("peername") == ("::1", port, 0, 0)
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_names_are_resolved(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with await loop.create_server(Greeter, LOCALHOST, 0) as server:
            _, protocol = await loop.create_connection(
                Recorder,
                "localhost",
                port_of(server),
                family=socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_ADDRCONFIG,
            )
            await protocol.until_lost()
            assert protocol.received == b"hello"

    loop.run_until_complete(main())


def test_a_connected_socket_is_adopted(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        ours, peer = tcp_pair()
        with peer:
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            assert not ours.getblocking()
            assert transport.get_extra_info("socket").fileno() == ours.fileno()
            peer.sendall(b"hello")
            await protocol.until_received(5)
            transport.write(b"goodbye")
            transport.close()
            await protocol.until_lost()
            assert peer.recv(100) == b"goodbye"
            assert ours.fileno() == -1

    loop.run_until_complete(main())


def test_nothing_is_lost_when_the_server_speaks_first(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.create_server((LOCALHOST, 0)) as listener:
            ours = socket.create_connection(listener.getsockname(), PATIENCE_S)
            peer, _ = listener.accept()
            peer.sendall(b"early")
            peer.close()
            _, protocol = await loop.create_connection(Recorder, sock=ours)
            await protocol.until_lost()
        assert protocol.received == b"early"
        assert protocol.calls == [
            "connection_made",
            "data_received",
            "eof_received",
            "connection_lost",
        ]

    loop.run_until_complete(main())


def test_the_local_address_is_bound(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with await loop.create_server(Greeter, LOCALHOST, 0) as server:
            with socket.socket() as probe:
                probe.bind(("127.0.0.2", 0))
                local = probe.getsockname()
            transport, protocol = await loop.create_connection(
                Recorder, LOCALHOST, port_of(server), local_addr=local
            )
            assert transport.get_extra_info("sockname") == local
            await protocol.until_lost()
            transport, protocol = await loop.create_connection(
                Recorder, LOCALHOST, port_of(server), local_addr=("localhost", 0)
            )
            assert transport.get_extra_info("sockname")[0] == LOCALHOST
            await protocol.until_lost()

    if sys.platform != "linux":
        pytest.skip("only Linux has all of 127.0.0.0/8 on its loopback")
    loop.run_until_complete(main())


def test_a_local_address_in_use_is_named(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.create_server((LOCALHOST, 0)) as taken:
            local = taken.getsockname()
            with pytest.raises(OSError, match="already in use") as caught:
                await loop.create_connection(Recorder, *local, local_addr=local)
        assert caught.value.errno == errno.EADDRINUSE
        assert f"error while attempting to bind on address {local!r}" in str(caught.value)

    loop.run_until_complete(main())


def test_a_refused_connection_names_the_address(
    loop: asyncio.AbstractEventLoop, refusing: tuple[str, int]
) -> None:
    async def main() -> None:
        before = open_fds()
        with pytest.raises(ConnectionRefusedError) as caught:
            await loop.create_connection(Recorder, *refusing)
        assert caught.value.errno == errno.ECONNREFUSED
        assert f"Connect call failed {refusing!r}" in str(caught.value)
        assert open_fds() == before

    loop.run_until_complete(main())


def test_the_last_address_may_be_the_one_that_answers(
    loop: asyncio.AbstractEventLoop, refusing: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with await loop.create_server(Greeter, LOCALHOST, 0) as server:
            good = info_of(socket.AF_INET, LOCALHOST, port_of(server))
            resolve_to(monkeypatch, loop, info_of(socket.AF_INET, *refusing), good)
            _, protocol = await loop.create_connection(Recorder, "two.example", 80)
            await protocol.until_lost()
            assert protocol.received == b"hello"

    loop.run_until_complete(main())


def test_several_refusals_are_told_together(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with socket.socket() as one, socket.socket() as two:
            one.bind((LOCALHOST, 0))
            two.bind((LOCALHOST, 0))
            addresses = [one.getsockname(), two.getsockname()]
            resolve_to(
                monkeypatch, loop, *(info_of(socket.AF_INET, *address) for address in addresses)
            )
            with pytest.raises(OSError, match=r"^Multiple exceptions: ") as caught:
                await loop.create_connection(Recorder, "two.example", 80)
        text = str(caught.value)
        first, second = (text.find(f"Connect call failed {address!r}") for address in addresses)
        assert 0 < first < second

    loop.run_until_complete(main())


def test_equal_refusals_are_told_once(
    loop: asyncio.AbstractEventLoop, refusing: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        info = info_of(socket.AF_INET, *refusing)
        resolve_to(monkeypatch, loop, info, info)
        with pytest.raises(ConnectionRefusedError, match="Connect call failed"):
            await loop.create_connection(Recorder, "twice.example", 80)

    loop.run_until_complete(main())


def test_no_address_at_all_is_an_error(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        resolve_to(monkeypatch, loop)
        with pytest.raises(OSError, match=r"getaddrinfo\(\) returned empty list"):
            await loop.create_connection(Recorder, "nowhere.example", 80)

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="all_errors came with 3.12")
def test_all_errors_come_in_a_group(
    loop: asyncio.AbstractEventLoop, refusing: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        info = info_of(socket.AF_INET, *refusing)
        resolve_to(monkeypatch, loop, info, info)
        options: dict[str, Any] = {"all_errors": True}
        with pytest.raises(BaseException, match="create_connection failed") as caught:
            await loop.create_connection(Recorder, "twice.example", 80, **options)
        group: Any = caught.value
        assert type(group).__name__ == "ExceptionGroup"
        assert [type(error) for error in group.exceptions] == [ConnectionRefusedError] * 2

    loop.run_until_complete(main())


@needs_ipv6
def test_families_alternate_when_asked(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with contextlib.ExitStack() as stack:
            infos: list[AddressInfo] = []
            for family, host in (
                (socket.AF_INET6, "::1"),
                (socket.AF_INET6, "::1"),
                (socket.AF_INET, LOCALHOST),
            ):
                sock = stack.enter_context(socket.socket(family))
                sock.bind((host, 0))
                infos.append(info_of(family, *sock.getsockname()))
            resolve_to(monkeypatch, loop, *infos)
            for interleave, order in ((0, (0, 1, 2)), (1, (0, 2, 1)), (2, (0, 1, 2))):
                with pytest.raises(OSError, match=r"^Multiple exceptions") as caught:
                    await loop.create_connection(
                        Recorder, "three.example", 80, interleave=interleave
                    )
                text = str(caught.value)
                places = [text.index(f"Connect call failed {infos[n][4]!r}") for n in order]
                assert places == sorted(places)

    loop.run_until_complete(main())


def test_happy_eyeballs_do_not_wait_for_a_silent_address(
    loop: asyncio.AbstractEventLoop, silent: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with await loop.create_server(Greeter, LOCALHOST, 0) as server:
            good = info_of(socket.AF_INET, LOCALHOST, port_of(server))
            resolve_to(monkeypatch, loop, info_of(socket.AF_INET, *silent), good)
            before = open_fds()
            transport, protocol = await asyncio.wait_for(
                loop.create_connection(Recorder, "two.example", 80, happy_eyeballs_delay=0.01),
                PATIENCE_S,
            )
            assert transport.get_extra_info("peername") == good[4]
            await protocol.until_lost()
            await turns(3)
            assert open_fds() == before

    loop.run_until_complete(main())


def test_happy_eyeballs_tell_every_refusal(
    loop: asyncio.AbstractEventLoop, refusing: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        resolve_to(monkeypatch, loop, info_of(socket.AF_INET, *refusing))
        with pytest.raises(ConnectionRefusedError, match="Connect call failed"):
            await loop.create_connection(Recorder, "one.example", 80, happy_eyeballs_delay=0.01)

    loop.run_until_complete(main())


def test_a_cancelled_attempt_leaves_no_descriptor(
    loop: asyncio.AbstractEventLoop, silent: tuple[str, int]
) -> None:
    async def main() -> None:
        before = open_fds()
        for count in range(4):
            attempt = loop.create_task(loop.create_connection(Recorder, *silent))
            await turns(1 + count)
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
        assert open_fds() == before

    loop.run_until_complete(main())


def test_cancelling_right_after_connecting_closes_the_transport(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """`connection_made` was called, so `connection_lost` must be called, too."""

    async def main() -> None:
        ours, peer = tcp_pair()
        with peer:
            protocol = Recorder()
            attempt = loop.create_task(loop.create_connection(lambda: protocol, sock=ours))
            protocol.on["connection_made"] = lambda _: attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
            await protocol.until_lost()
            assert protocol.calls == ["connection_made", "connection_lost"]
            assert await read_to_end(peer) == b""

    loop.run_until_complete(main())


def test_the_socket_of_an_ended_connection_is_closed(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with await loop.create_server(Greeter, LOCALHOST, 0) as server:
            transport, protocol = await loop.create_connection(Recorder, LOCALHOST, port_of(server))
            await protocol.until_lost()
            sock = transport.get_extra_info("socket")
            assert sock.fileno() == -1
            assert transport.get_extra_info("socket") is sock

    loop.run_until_complete(main())


def test_the_socket_is_a_connected_one(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with await loop.create_server(Greeter, LOCALHOST, 0) as server:
            transport, protocol = await loop.create_connection(Recorder, LOCALHOST, port_of(server))
            sock = transport.get_extra_info("socket")
            assert (sock.family, sock.type, sock.proto) == (
                socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
            )
            assert not os.get_inheritable(sock.fileno())
            assert not os.get_blocking(sock.fileno())
            assert sock.getpeername() == transport.get_extra_info("peername")
            assert sock.getsockname() == transport.get_extra_info("sockname")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_the_peer_of_the_unspecified_address_is_known(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with await loop.create_server(Greeter, LOCALHOST, 0) as server:
            port = port_of(server)
            transport, protocol = await loop.create_connection(Recorder, "0.0.0.0", port)
            assert transport.get_extra_info("peername") == (LOCALHOST, port)
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_a_replaced_socket_class_is_used(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tools that forbid connections in tests replace it."""

    class Forbidden(socket.socket):
        def __init__(self, *_args: object, **_options: object) -> None:
            raise ZeroDivisionError

    monkeypatch.setattr(socket, "socket", Forbidden)
    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(loop.create_connection(Recorder, LOCALHOST, 1))


def test_a_replaced_sock_connect_is_called(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, refusing: tuple[str, int]
) -> None:
    seen: list[object] = []

    async def sock_connect(sock: socket.socket, address: object) -> None:
        seen.append(address)
        sock.close()
        raise ZeroDivisionError

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(loop.create_connection(Recorder, *refusing))
    assert seen == [refusing]


def test_a_connection_is_audited(
    loop: asyncio.AbstractEventLoop, refusing: tuple[str, int]
) -> None:
    seen: list[object] = []
    listening = True

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if listening and event == "socket.connect":
            seen.append(arguments[1])

    sys.addaudithook(hook)
    with pytest.raises(ConnectionRefusedError):
        loop.run_until_complete(loop.create_connection(Recorder, *refusing))
    listening = False
    assert seen == [refusing]


def test_a_failed_connection_is_no_garbage(
    loop: asyncio.AbstractEventLoop, refusing: tuple[str, int]
) -> None:
    """A cycle of an error and its traceback would keep everything in its frames alive."""

    class Factory:
        def __call__(self) -> asyncio.Protocol:
            raise NotImplementedError

    async def attempt() -> weakref.ref[Factory]:
        factory = Factory()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(factory, *refusing)
        return weakref.ref(factory)

    gc.collect()
    gc.disable()
    try:
        assert loop.run_until_complete(attempt())() is None
    finally:
        gc.enable()


def test_a_raising_factory_reaches_the_caller(loop: asyncio.AbstractEventLoop) -> None:
    def factory() -> Recorder:
        raise ZeroDivisionError("no protocol today")

    async def main() -> None:
        ours, peer = tcp_pair()
        with ours, peer, pytest.raises(ZeroDivisionError, match="no protocol today"):
            await loop.create_connection(factory, sock=ours)

    loop.run_until_complete(main())


BAD_CONNECTIONS: dict[str, dict[str, Any]] = {
    "neither address nor socket": {},
    "host and socket": {"host": LOCALHOST, "port": 1, "sock": "stream"},
    "datagram socket": {"sock": "datagram"},
    "server name without ssl": {"host": LOCALHOST, "port": 1, "server_hostname": "name"},
    "handshake timeout without ssl": {"host": LOCALHOST, "port": 1, "ssl_handshake_timeout": 1},
    "ssl without a name": {"sock": "stream", "ssl": True},
    "no address of that family": {"host": LOCALHOST, "port": 1, "family": socket.AF_INET6},
}


@pytest.mark.parametrize("arguments", BAD_CONNECTIONS.values(), ids=BAD_CONNECTIONS)
def test_wrong_arguments_are_refused_as_asyncio_does(
    loop: asyncio.AbstractEventLoop, arguments: dict[str, Any]
) -> None:
    kinds = {"stream": socket.SOCK_STREAM, "datagram": socket.SOCK_DGRAM}
    with contextlib.ExitStack() as stack:
        given = dict(arguments)
        if "sock" in given:
            given["sock"] = stack.enter_context(socket.socket(type=kinds[given["sock"]]))
        reference = asyncio.new_event_loop()
        stack.callback(reference.close)
        expected = reference.run_until_complete(
            outcome(lambda: reference.create_connection(Recorder, **given))
        )
        found = loop.run_until_complete(outcome(lambda: loop.create_connection(Recorder, **given)))
        assert found == expected


def test_a_shutdown_timeout_needs_ssl(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        options: dict[str, Any] = {"ssl_shutdown_timeout": 1}
        with pytest.raises(ValueError, match="ssl_shutdown_timeout is only meaningful with ssl"):
            await loop.create_connection(Recorder, LOCALHOST, 1, **options)
        with pytest.raises(ValueError, match="ssl_shutdown_timeout is only meaningful with ssl"):
            await loop.create_server(Recorder, LOCALHOST, 0, **options)

    loop.run_until_complete(main())


def test_connections_hundred_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with await loop.create_server(Greeter, LOCALHOST, 0) as server:
            port = port_of(server)

            async def one() -> bytes:
                _, protocol = await loop.create_connection(Recorder, LOCALHOST, port)
                await protocol.until_lost()
                return bytes(protocol.received)

            assert await asyncio.gather(*(one() for _ in range(100))) == [b"hello"] * 100

    loop.run_until_complete(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_refused_literal_is_named_as_getaddrinfo_returns_it(
    loop: asyncio.AbstractEventLoop, host: str
) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as bound:
        bound.bind((host, 0))
        address = bound.getsockname()
        with pytest.raises(ConnectionRefusedError) as caught:
            loop.run_until_complete(loop.create_connection(asyncio.Protocol, host, address[1]))
    assert str(caught.value).endswith(f"Connect call failed {address}")
