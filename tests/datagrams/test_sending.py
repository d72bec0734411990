"""What may be sent, and where; and how a sender is paused."""

from __future__ import annotations

import array
import asyncio
import errno
import random
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.datagrams.endpoints import Recorder, bound, endpoint, name_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="its queues are limited in datagrams")
SENDS_EMPTY = sys.version_info >= (3, 13)
HEADER_BYTES = 8 if SENDS_EMPTY else 0


def test_everything_like_bytes(loop: asyncio.AbstractEventLoop) -> None:
    class Bytes(bytes):
        pass

    numbers = array.array("I", range(10))
    every: list[Any] = [
        b"bytes",
        Bytes(b"subclass"),
        bytearray(b"bytearray"),
        memoryview(b"memoryview"),
        memoryview(numbers),
        memoryview(numbers)[2:4],
        bytearray(10_000),
        bytes(10_000),
        memoryview(bytes(10_000)),
    ]

    async def main() -> None:
        async with endpoint() as server, endpoint(remote_addr=name_of(server)) as client:
            for data in every:
                client.transport.sendto(data)
                server.transport.sendto(data, name_of(client))
            await server.until_received(len(every))
            await client.until_received(len(every))
            assert server.data == client.data == [bytes(data) for data in every]

    loop.run_until_complete(main())


def test_empty_datagrams(loop: asyncio.AbstractEventLoop) -> None:
    """Sent from Python 3.13 on, dropped before."""

    async def main() -> None:
        async with endpoint() as server, endpoint(remote_addr=name_of(server)) as client:
            for data in (b"", bytearray(), memoryview(b""), b"last"):
                client.transport.sendto(data)
            expected = [b"", b"", b"", b"last"] if SENDS_EMPTY else [b"last"]
            await server.until_received(len(expected))
            assert server.data == expected

    loop.run_until_complete(main())


def test_a_snapshot_is_sent(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint() as server, endpoint(remote_addr=name_of(server)) as client:
            for size in (100, 10_000):
                data = bytearray(b"a" * size)
                for letter in b"abc":
                    data[:] = bytes([letter]) * size
                    client.transport.sendto(data)
                    client.transport.sendto(memoryview(data))
                data.clear()
            await server.until_received(12)
            assert server.data == [
                letter * size
                for size in (100, 10_000)
                for letter in (b"a", b"a", b"b", b"b", b"c", b"c")
            ]

    loop.run_until_complete(main())


def test_other_types_are_refused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint() as server:
            for data, name in (("text", "str"), (1, "int"), ([1], "list"), (None, "NoneType")):
                wanted = f"^data argument must be a bytes-like object, not '{name}'$"
                with pytest.raises(TypeError, match=wanted):
                    server.transport.sendto(data, name_of(server))
            with pytest.raises(TypeError):
                server.transport.sendto()
            with pytest.raises(TypeError):
                server.transport.sendto(b"", None, None)
            server.transport.sendto(data=b"by name", addr=name_of(server))
            await server.until_received(1)
            assert server.data == [b"by name"]

    loop.run_until_complete(main())


def test_a_connected_endpoint_takes_no_other_address(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint() as server, endpoint(remote_addr=name_of(server)) as client:
            client.transport.sendto(b"1", name_of(server))
            client.transport.sendto(b"2", tuple(name_of(server)))
            client.transport.sendto(b"3", None)
            wanted = "^Invalid address: must be None or "
            with pytest.raises(ValueError, match=wanted) as caught:
                client.transport.sendto(b"4", ("127.0.0.1", 1))
            assert str(caught.value).endswith(str(name_of(server)))
            await server.until_received(3)
            assert server.data == [b"1", b"2", b"3"]

    loop.run_until_complete(main())


def test_names_of_hosts_are_looked_up(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint() as server:
            port = name_of(server)[1]
            for host in ("localhost", "127.0.0.1", "127.1", ""):
                server.transport.sendto(host.encode() + b".", (host, port))
            await server.until_received(4)
            assert server.data == [b"localhost.", b"127.0.0.1.", b"127.1.", b"."]
            with pytest.raises(socket.gaierror):
                raise await unresolved(server)

    async def unresolved(server: Recorder) -> Exception:
        server.transport.sendto(b"x", ("no such host", 1))
        await server.until(lambda: bool(server.errors))
        return server.errors[0]

    loop.run_until_complete(main())


BAD_ADDRESSES: list[Any] = [
    None,
    "127.0.0.1",
    ("127.0.0.1",),
    ("127.0.0.1", "80"),
    ("127.0.0.1", 80, 0, 0),
    (1, 80),
    ("127.0.0.1", -1),
    ("127.0.0.1", 65536),
    ["127.0.0.1", 80],
]


@pytest.mark.parametrize("address", BAD_ADDRESSES, ids=repr)
def test_a_bad_address_ends_the_endpoint(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]], address: object
) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as plain, pytest.raises(Exception) as caught:  # noqa: PT011 - each has its own.
        plain.sendto(b"x", address)  # type: ignore[call-overload]
    expected = caught.value

    async def main() -> None:
        async with endpoint() as server:
            server.transport.sendto(b"x", address)
            assert server.transport.is_closing()
            await server.until_called("connection_lost")
            assert type(server.lost_with) is type(expected)
            assert str(server.lost_with) == str(expected)
            (context,) = reported
            assert context["message"] == "Fatal write error on datagram transport"
            assert context["exception"] is server.lost_with
            assert context["transport"] is server.transport
            assert context["protocol"] is server

    loop.run_until_complete(main())
    reported.clear()


def test_what_is_too_large_is_an_error_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint() as server, endpoint(remote_addr=name_of(server)) as client:
            for transport, protocol in ((server.transport, server), (client.transport, client)):
                transport.sendto(bytes(65508), name_of(server))
                assert [error.args[0] for error in protocol.errors] == [errno.EMSGSIZE]
            client.transport.sendto(bytes(65507))
            await server.until_received(1)

    loop.run_until_complete(main())


def test_an_error_that_the_protocol_raises_is_the_senders(
    loop: asyncio.AbstractEventLoop,
) -> None:
    def fail(error: Exception) -> None:
        raise LookupError from error

    async def main() -> None:
        async with endpoint(Recorder(error_received=fail), local_addr=("127.0.0.1", 0)) as server:
            with pytest.raises(LookupError):
                server.transport.sendto(bytes(65508), name_of(server))
            assert not server.transport.is_closing()

    loop.run_until_complete(main())


def test_many_in_one_turn_arrive_in_order(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        sent = [b"%d" % number * (1 + number % 3000) for number in range(60)]
        async with endpoint() as server, endpoint() as client:
            for data in sent:
                client.transport.sendto(data, name_of(server))
                assert client.transport.get_write_buffer_size() == 0
            await server.until_received(len(sent))
            for data in sent:
                client.transport.sendto(data, name_of(server))
            await server.until_received(2 * len(sent))
            assert server.data == sent * 2
            assert "pause_writing" not in client.calls

    loop.run_until_complete(main())


def test_the_first_of_a_callback_leaves_at_once_and_the_others_together(
    loop: asyncio.AbstractEventLoop, loop_name: str
) -> None:
    """Reading the buffer size, or closing, sends them, too: see docs/compatibility.md."""
    if loop_name == "asyncio":
        pytest.skip("asyncio makes a system call for each")

    async def main() -> None:
        with bound() as peer:
            peer.setblocking(False)
            async with endpoint(remote_addr=peer.getsockname()) as client:
                for look in (client.transport.get_write_buffer_size, lambda: None):
                    for number in range(3):
                        client.transport.sendto(b"%d" % number)
                    assert peer.recv(100) == b"0"
                    with pytest.raises(BlockingIOError):
                        peer.recv(100)
                    look()
                    await asyncio.sleep(0)
                    assert [peer.recv(100), peer.recv(100)] == [b"1", b"2"]

    loop.run_until_complete(main())


def test_a_protocols_answers_go_out_in_order(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        def answer(data: bytes, sender: object) -> None:
            server.transport.sendto(data + b"-1", sender)
            server.transport.sendto(bytearray(data + b"-2"), sender)

        server = Recorder(datagram_received=answer)
        async with endpoint(server, local_addr=("127.0.0.1", 0)), endpoint() as client:
            for number in range(50):
                client.transport.sendto(b"%d" % number, name_of(server))
            await client.until_received(100)
            assert client.data == [
                b"%d-%d" % (number, part) for number in range(50) for part in (1, 2)
            ]

    loop.run_until_complete(main())


# --- A receiver that is full ------------------------------------------------------------------


def sizes(client: Recorder) -> tuple[int, int, int]:
    """Returns the bytes in the buffer, and its limits."""
    transport: Any = client.transport
    return (transport.get_write_buffer_size(), *transport.get_write_buffer_limits())


async def full(client: Recorder, send: Callable[[bytes], None]) -> int:
    """Sends until the kernel accepts no more; returns the number of datagrams."""
    data, taken = b"%06d" % 0 + bytes(994), 0
    while True:
        send(data)
        size, *_ = sizes(client)
        if size:
            assert size == len(data) + HEADER_BYTES
            return taken
        taken += 1
        data = b"%06d" % taken + bytes(994)
        assert taken < 100_000


@LINUX
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "unconnected"])
def test_a_full_receiver_pauses_the_sender(
    loop: asyncio.AbstractEventLoop, tmp_path: Path, connected: bool
) -> None:
    async def main() -> None:
        path = str(tmp_path / "peer")
        options: dict[str, Any] = {"family": socket.AF_UNIX}
        if connected:
            options["remote_addr"] = path
        with bound(socket.AF_UNIX, path) as peer:
            peer.setblocking(False)
            async with endpoint(**options) as client:

                def send(data: bytes) -> None:
                    client.transport.sendto(data, None if connected else path)

                transport: Any = client.transport
                transport.set_write_buffer_limits(high=20_000, low=5_000)
                sent = await full(client, send) + 1
                while "pause_writing" not in client.calls:
                    send(b"%06d" % sent + bytes(994))
                    sent += 1
                assert sizes(client)[0] > 20_000
                assert transport._protocol_paused
                assert repr(transport).count("polling") == 2
                # Beyond the mark, `pause_writing` is not called again.
                send(b"%06d" % sent + bytes(994))
                sent += 1
                assert client.calls == ["connection_made", "pause_writing"]
                received: list[bytes] = []
                while "resume_writing" not in client.calls:
                    received.append(peer.recv(2000))
                    await asyncio.sleep(0.002)
                while len(received) < sent:
                    try:
                        received.append(peer.recv(2000))
                    except BlockingIOError:
                        await asyncio.sleep(0.002)
                assert [int(data[:6]) for data in received] == list(range(sent))
                assert client.calls == ["connection_made", "pause_writing", "resume_writing"]
                assert not transport._protocol_paused

    loop.run_until_complete(main())


@LINUX
def test_close_waits_for_what_is_buffered_and_abort_does_not(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    async def main() -> None:
        for way in ("close", "abort"):
            path = str(tmp_path / way)
            with bound(socket.AF_UNIX, path) as peer:
                peer.setblocking(False)
                client = Recorder()
                await loop.create_datagram_endpoint(
                    lambda: client,  # noqa: B023
                    remote_addr=path,
                    family=socket.AF_UNIX,
                )
                taken = await full(client, client.transport.sendto)
                client.transport.sendto(bytearray(b"the last"))
                getattr(client.transport, way)()
                assert client.transport.is_closing()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert ("connection_lost" in client.calls) == (way == "abort")
                received: list[bytes] = []
                while way == "close" and "connection_lost" not in client.calls:
                    received.append(peer.recv(2000))
                    await asyncio.sleep(0.002)
                try:
                    while True:
                        received.append(peer.recv(2000))
                except BlockingIOError:
                    pass
                assert len(received) == taken + (2 if way == "close" else 0)
                assert client.calls.count("connection_lost") == 1
                assert client.lost_with is None

    loop.run_until_complete(main())


@LINUX
@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_calls_loses_nothing(
    loop: asyncio.AbstractEventLoop, tmp_path: Path, seed: int
) -> None:
    """A random program: datagrams stay in order, and pause and resume alternate."""
    chance = random.Random(seed)

    async def main() -> None:
        path = str(tmp_path / "server")
        server = Recorder()
        options: dict[str, Any] = {"family": socket.AF_UNIX}
        async with (
            endpoint(server, local_addr=path, **options),
            endpoint(remote_addr=path, **options) as client,
        ):
            transports: Any = (client.transport, server.transport)
            sent: list[bytes] = []
            for step in range(600):
                match chance.randrange(10):
                    case 0:
                        transports[1].pause_reading()
                    case 1:
                        transports[1].resume_reading()
                    case 2:
                        high = chance.randrange(30_000)
                        transports[0].set_write_buffer_limits(high, chance.randrange(high + 1))
                    case 3 | 4:
                        await asyncio.sleep(0)
                    case 5:
                        size, low, high = sizes(client)
                        assert size >= 0
                        assert low <= high
                    case _:
                        data = b"%d " % step + bytes(chance.choice([0, 10, 1000, 5000, 20_000]))
                        sent.append(data)
                        kind = chance.choice([bytes, bytearray, memoryview])
                        transports[0].sendto(kind(data))
            transports[1].resume_reading()
            await server.until_received(len(sent))
            assert server.data == sent
            await asyncio.sleep(0.01)
            told = [call for call in client.calls if call.endswith("_writing")]
            assert told[::2] == ["pause_writing"] * len(told[::2])
            assert told[1::2] == ["resume_writing"] * len(told[1::2])

    loop.run_until_complete(main())


def test_limits_have_asyncios_defaults_and_rules(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint() as server:
            transport: Any = server.transport
            assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
            transport.set_write_buffer_limits(low=1000)
            assert transport.get_write_buffer_limits() == (1000, 4000)
            with pytest.raises(ValueError, match=r"^high \(1\) must be >= low \(2\) must be >= 0$"):
                transport.set_write_buffer_limits(high=1, low=2)

    loop.run_until_complete(main())
