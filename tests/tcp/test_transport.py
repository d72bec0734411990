"""Properties of a TCP transport, and the information that it provides."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import re
import socket
import sys
import warnings
import weakref
from asyncio.trsock import TransportSocket
from typing import TYPE_CHECKING

import pytest

from tests.tcp.peers import connect, read_exactly, reset, turns
from tests.tcp.recorders import PATIENCE_S, AnyRecorder, BufferedRecorder, Recorder
from tests.tcp.servers import LOCALHOST, port_of, served_connection

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_transport_is_asyncios_kind(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            assert isinstance(transport, asyncio.Transport)
            assert isinstance(transport, asyncio.ReadTransport)
            assert isinstance(transport, asyncio.WriteTransport)
            assert not isinstance(transport, asyncio.DatagramTransport)
            weakref.ref(transport)
            transport.close()
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_a_method_of_a_transport_can_be_replaced(loop: asyncio.AbstractEventLoop) -> None:
    """The tests of uvicorn and aiohttp do this to discard what is written."""

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            kept: list[bytes] = []
            transport.write = kept.append  # type: ignore[assignment, method-assign]
            transport.write(b"lost")
            del transport.write
            transport.write(b"sent")
            assert await read_exactly(peer, 4) == b"sent"
            assert kept == [b"lost"]
            transport.close()
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_attributes_of_a_transport_are_freed_with_it(loop: asyncio.AbstractEventLoop) -> None:
    """Also in a cycle, and on every kind of transport."""

    class Note:
        """Refers to the object that it is an attribute of."""

        def __init__(self, transport: object) -> None:
            self.transport = transport

    async def main() -> list[weakref.ref[Note]]:
        stream, protocol, peer = await connect(Recorder)
        read_end, write_end = os.pipe()
        with peer, os.fdopen(read_end, "rb", 0) as reader, os.fdopen(write_end, "wb", 0) as writer:
            transports: list[asyncio.BaseTransport] = [
                stream,
                (await loop.connect_read_pipe(asyncio.Protocol, reader))[0],
                (await loop.connect_write_pipe(asyncio.BaseProtocol, writer))[0],
                (
                    await loop.create_datagram_endpoint(
                        asyncio.DatagramProtocol, local_addr=(LOCALHOST, 0)
                    )
                )[0],
            ]
            notes: list[weakref.ref[Note]] = []
            for transport in transports:
                note = Note(transport)
                vars(transport)["note"] = note
                assert getattr(transport, "note") is note  # noqa: B009 - no type has it
                notes.append(weakref.ref(note))
                transport.close()
            await protocol.until_lost()
            await turns(3)
        return notes

    notes = loop.run_until_complete(main())
    gc.collect()
    assert [note() for note in notes] == [None] * 4


def test_extra_info_outlives_the_connection(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            sock = transport.get_extra_info("socket")
            assert type(sock) is TransportSocket
            assert (sock.family, sock.type) == (socket.AF_INET, socket.SOCK_STREAM)
            assert transport.get_extra_info("peername") == peer.getsockname()
            assert transport.get_extra_info("sockname") == peer.getpeername()
            assert transport.get_extra_info("no such thing") is None
            assert transport.get_extra_info("no such thing", 42) == 42
            assert transport.get_extra_info("sslcontext") is None
            names = peer.getsockname(), peer.getpeername()
            transport.close()
            await protocol.until_lost()
            await turns(2)
        assert transport.get_extra_info("socket") is sock
        assert sock.fileno() == -1
        found = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        assert found == names

    loop.run_until_complete(main())


def test_accepted_connections_know_both_names(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server, protocol, peer = await served_connection(loop)
        with peer:
            transport = protocol.transport
            assert transport.get_extra_info("peername") == peer.getsockname()
            assert transport.get_extra_info("sockname") == (LOCALHOST, port_of(server))
            assert type(transport.get_extra_info("socket")) is TransportSocket
        await protocol.until_lost()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_small_writes_are_not_held_back_by_nagle(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server, accepted, peer = await served_connection(loop)
        transport, connected, other = await connect(Recorder)
        for each in (accepted.transport, transport):
            sock = each.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        peer.close()
        other.close()
        await accepted.until_lost()
        await connected.until_lost()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_is_closing_from_the_first_close_on(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            assert not transport.is_closing()
            transport.close()
            assert transport.is_closing()
            assert not protocol.lost
            transport.close()
            await protocol.until_lost()
            await turns(2)
            assert transport.is_closing()
            transport.close()
            transport.abort()
            await turns(2)
            assert protocol.calls.count("connection_lost") == 1

    loop.run_until_complete(main())


def test_the_transport_lets_go_of_its_protocol(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> tuple[asyncio.Transport, weakref.ref[Recorder]]:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            transport.close()
            await protocol.until_lost()
            await turns(2)
        return transport, weakref.ref(protocol)

    transport, protocol = loop.run_until_complete(main())
    gc.collect()
    assert transport.is_closing()
    assert protocol() is None


def test_the_repr_tells_open_from_closed(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            fd = transport.get_extra_info("socket").fileno()
            assert re.search(rf"^<\w+ fd={fd}\b.*>$", repr(transport))
            transport.close()
            assert re.search(rf"^<\w+ closing fd={fd}\b.*>$", repr(transport))
            await protocol.until_lost()
            await turns(2)
            assert re.search(r"^<\w+ closed\b.*>$", repr(transport))

    loop.run_until_complete(main())


def test_protocols_can_be_switched_between_two_messages(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, first, peer = await connect(Recorder)
        with peer:
            peer.sendall(b"one")
            await first.until_received(3)
            buffered = BufferedRecorder()
            transport.set_protocol(buffered)
            assert transport.get_protocol() is buffered
            peer.sendall(b"two")
            await buffered.until_received(3)
            last = Recorder()
            transport.set_protocol(last)
            peer.sendall(b"three")
            await last.until_received(5)
            transport.close()
            await last.until_lost()
        assert first.calls == ["connection_made", "data_received"]
        assert buffered.calls == ["buffer_updated"]
        assert last.calls == ["data_received", "connection_lost"]
        received = [bytes(each.received) for each in (first, buffered, last)]
        assert received == [b"one", b"two", b"three"]

    loop.run_until_complete(main())


@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
def test_a_protocol_can_be_replaced_while_it_is_called(
    loop: asyncio.AbstractEventLoop, kind: Callable[[], AnyRecorder]
) -> None:
    """After the call, the new protocol receives everything, to the last byte."""

    async def main() -> None:
        transport, first, peer = await connect(Recorder)
        heir = kind()
        first.on["data_received"] = lambda _: transport.set_protocol(heir)
        message = bytes(range(256)) * 8192  # 2 MiB: many reads.
        with peer:
            sending = loop.run_in_executor(None, peer.sendall, message)
            await heir.until(lambda: len(first.received) + len(heir.received) == len(message))
            await sending
            assert first.calls == ["connection_made", "data_received"]
            assert bytes(first.received + heir.received) == message
            peer.shutdown(socket.SHUT_WR)
            await heir.until_lost()
            assert heir.calls[-2:] == ["eof_received", "connection_lost"]

    loop.run_until_complete(main())


def test_a_buffered_protocol_can_be_replaced_while_it_is_called(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        transport, first, peer = await connect(lambda: BufferedRecorder(buffer=bytearray(1000)))
        heir = Recorder()
        first.on["buffer_updated"] = lambda _: transport.set_protocol(heir)
        with peer:
            peer.sendall(b"x" * 3500)
            await heir.until_received(2500)
            assert len(first.received) == 1000
            transport.close()
            await heir.until_lost()
            assert not first.lost

    loop.run_until_complete(main())


def test_a_protocol_set_in_connection_made_gets_the_data(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        heir = Recorder()
        first = Recorder({"connection_made": lambda made: made.transport.set_protocol(heir)})
        _, protocol, peer = await connect(lambda: first)
        # create_connection returns the object that the factory returned.
        assert protocol is first
        with peer:
            peer.sendall(b"hello")
            await heir.until_received(5)
        await heir.until_lost()
        assert first.calls == ["connection_made"]
        assert heir.calls == ["data_received", "eof_received", "connection_lost"]

    loop.run_until_complete(main())


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def test_protocols_run_in_the_context_of_the_connector(loop: asyncio.AbstractEventLoop) -> None:
    seen: dict[str, str] = {}
    methods = ("connection_made", "data_received", "eof_received", "connection_lost")

    def noting(name: str) -> Callable[[object], None]:
        def note(_: object) -> None:
            seen[name] = variable.get()

        return note

    async def main() -> None:
        variable.set("connector")
        on = {name: noting(name) for name in methods}
        _, protocol, peer = await connect(lambda: Recorder(on))
        variable.set("later")
        peer.sendall(b"data")
        peer.close()
        await protocol.until_lost()

    loop.run_until_complete(main())
    # connection_lost runs in a copy of the context that requested it: here the read that got EOF.
    assert seen == dict.fromkeys(methods, "connector")


def test_what_a_callback_sets_stays_in_its_context(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        _, protocol, peer = await connect(
            lambda: Recorder({"data_received": lambda _: variable.set("protocol")})
        )
        with peer:
            peer.sendall(b"data")
            await protocol.until_received(4)
            assert variable.get() == "unset"
        await protocol.until_lost()

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="one context for all: see test_contexts.py")
def test_connection_lost_runs_in_the_context_of_close(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    async def main() -> None:
        transport, protocol, peer = await connect(
            lambda: Recorder({"connection_lost": lambda _: seen.append(variable.get())})
        )
        with peer:
            variable.set("closer")
            transport.close()
            variable.set("later")
            await protocol.until_lost()

    loop.run_until_complete(main())
    assert seen == ["closer"]


def test_an_unclosed_transport_warns_and_closes_its_socket(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Neither the loop nor the kernel keeps an unreferenced, paused transport alive."""

    async def main() -> socket.socket:
        transport, protocol, peer = await connect(asyncio.Protocol)
        transport.pause_reading()
        await turns(2)
        del transport, protocol
        return peer

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        peer = loop.run_until_complete(main())
        gc.collect()
    messages = [str(item.message) for item in caught if item.category is ResourceWarning]
    assert sum(message.startswith("unclosed transport <") for message in messages) == 1
    with peer:
        assert peer.recv(1) == b""


def test_transports_left_when_the_loop_closes_warn(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> socket.socket:
        _, _, peer = await connect(asyncio.Protocol)
        await turns(2)
        return peer

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        peer = loop.run_until_complete(main())
        loop.close()
        gc.collect()
    messages = [str(item.message) for item in caught if item.category is ResourceWarning]
    assert any(message.startswith("unclosed transport <") for message in messages)
    with peer:
        assert peer.recv(1) == b""


def test_attaching_a_transports_descriptor_elsewhere_is_refused(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            fd = transport.get_extra_info("socket").fileno()
            for refused in (loop.add_reader, loop.add_writer):
                with pytest.raises(RuntimeError, match=rf"File descriptor {fd} is used by transp"):
                    refused(fd, print)
            for method in (loop.remove_reader, loop.remove_writer):
                with pytest.raises(RuntimeError, match=rf"File descriptor {fd} is used by transp"):
                    method(fd)
            transport.close()
            await protocol.until_lost()
            await turns(2)

    loop.run_until_complete(main())


def test_a_descriptor_used_again_belongs_to_the_new_connection(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """The kernel reuses the lowest free number: state of the old connection must not remain."""

    async def main() -> None:
        numbers: set[int] = set()
        for round_ in range(20):
            transport, protocol, peer = await connect(Recorder)
            numbers.add(transport.get_extra_info("socket").fileno())
            peer.sendall(b"%d" % round_)
            await protocol.until_received(len(b"%d" % round_))
            assert protocol.received == b"%d" % round_
            transport.write(b"answer")
            assert await read_exactly(peer, 6) == b"answer"
            if round_ % 3 == 0:
                transport.abort()
            elif round_ % 3 == 1:
                transport.close()
            else:
                reset(peer)
            await protocol.until_lost()
            await turns(1)
            peer.close()
        assert len(numbers) < 20

    loop.run_until_complete(main())


def test_no_task_runs_while_a_protocol_is_called(loop: asyncio.AbstractEventLoop) -> None:
    tasks: list[asyncio.Task[object] | None] = []

    async def main() -> None:
        _, protocol, peer = await connect(
            lambda: Recorder({"data_received": lambda _: tasks.append(asyncio.current_task())})
        )
        with peer:
            peer.sendall(b"data")
            await asyncio.wait_for(protocol.until_received(4), PATIENCE_S)
        await protocol.until_lost()

    loop.run_until_complete(main())
    assert tasks == [None]
