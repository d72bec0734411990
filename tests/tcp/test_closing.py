"""How a connection ends: which methods are called, how often, and in which order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest

from tests.asyncio_bugs import AsyncioBug
from tests.tcp.peers import MORE_THAN_FITS, connect, read_to_end, read_until_gone, reset, turns
from tests.tcp.recorders import AnyRecorder, BufferedRecorder, Recorder
from tests.tcp.servers import LOCALHOST, port_of
from tests.tcp.test_reading import KINDS, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

ENDS_TWICE_IN_RESUME_WRITING = AsyncioBug(
    issue="gh-156512",
    effect="a transport that is closed in resume_writing() may end twice",
    first=(3, 11, 0),
    fixed=(3, 14, 10),
)

ENDS = pytest.mark.parametrize("end", ["close", "abort"])


@KINDS
@ENDS
@pytest.mark.parametrize("method", ["connection_made", "data_received", "eof_received"])
def test_a_connection_can_end_in_any_method(
    loop: asyncio.AbstractEventLoop, kind: Kind, method: str, end: str
) -> None:
    """Only `connection_lost` is called afterwards, although more data is waiting."""
    if kind is BufferedRecorder and method == "data_received":
        method = "buffer_updated"

    async def main() -> None:
        on: dict[str, Callable[[Any], object]] = {
            method: lambda recorder: getattr(recorder.transport, end)()
        }
        _, protocol, peer = await connect(lambda: kind(on))
        size = 0 if method == "connection_made" else 1024 * 1024
        sending = loop.run_in_executor(None, send_and_close, peer, bytes(size))
        await protocol.until_lost()
        calls = list(protocol.calls)
        await turns(5)
        assert protocol.calls == calls
        order = ["connection_made", "data_received", "eof_received"]
        if kind is BufferedRecorder:
            order[1] = "buffer_updated"
        assert calls == [*order[: order.index(method) + 1], "connection_lost"]
        assert protocol.lost_with is None
        await sending

    loop.run_until_complete(main())


def send_and_close(peer: socket.socket, data: bytes) -> None:
    """Sends as much as the other side accepts."""
    with peer, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        peer.sendall(data)


@ENDS
@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_a_connection_can_end_while_writing(
    loop: asyncio.AbstractEventLoop, loop_name: str, method: str, end: str
) -> None:
    if method == "resume_writing":
        ENDS_TWICE_IN_RESUME_WRITING.skip_asyncio(loop_name)

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        protocol.on[method] = lambda _: getattr(transport, end)()
        with peer:
            transport.write(bytes(MORE_THAN_FITS))
            transport.write(b"tail")
            data = await read_to_end(peer)
            await protocol.until_lost()
        assert protocol.calls.count("connection_lost") == 1
        assert protocol.calls[-1] == "connection_lost"
        assert protocol.lost_with is None
        if end == "close":
            assert len(data) == MORE_THAN_FITS + 4
        else:
            assert len(data) < MORE_THAN_FITS + 4

    loop.run_until_complete(main())


def test_closing_in_connection_lost_changes_nothing(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        def end(recorder: Recorder) -> None:
            recorder.transport.close()
            recorder.transport.abort()
            recorder.transport.pause_reading()
            recorder.transport.resume_reading()
            recorder.transport.write(b"anyone?")

        transport, protocol, peer = await connect(lambda: Recorder({"connection_lost": end}))
        peer.close()
        await protocol.until_lost()
        await turns(5)
        assert transport.is_closing()
        assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]

    loop.run_until_complete(main())


@ENDS
def test_connection_lost_comes_in_a_later_turn(loop: asyncio.AbstractEventLoop, end: str) -> None:
    """Callbacks that were scheduled before the end run before `connection_lost`."""

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            loop.call_soon(protocol.calls.append, "before")
            getattr(transport, end)()
            loop.call_soon(protocol.calls.append, "after")
            assert protocol.calls == ["connection_made"]
            await protocol.until_lost()
            await turns(1)
        assert protocol.calls == ["connection_made", "before", "connection_lost", "after"]

    loop.run_until_complete(main())


@KINDS
def test_no_data_comes_after_close(loop: asyncio.AbstractEventLoop, kind: Kind) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(kind)
        with peer:
            peer.sendall(b"too late")
            transport.close()
            await protocol.until_lost()
            await turns(5)
        assert protocol.calls == ["connection_made", "connection_lost"]

    loop.run_until_complete(main())


def test_no_data_comes_while_the_last_bytes_are_sent(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        with peer:
            transport.write(bytes(MORE_THAN_FITS))
            transport.close()
            peer.sendall(b"too late")
            await turns(3)
            await read_until_gone(peer)
            await protocol.until_lost()
        assert "data_received" not in protocol.calls

    loop.run_until_complete(main())


@KINDS
def test_a_reset_reaches_connection_lost_once(loop: asyncio.AbstractEventLoop, kind: Kind) -> None:
    async def main() -> None:
        _, protocol, peer = await connect(kind)
        reset(peer)
        await protocol.until_lost()
        await turns(5)
        assert protocol.calls == ["connection_made", "connection_lost"]
        assert isinstance(protocol.lost_with, ConnectionResetError)

    loop.run_until_complete(main())


def test_a_reset_with_data_before_it_is_still_a_reset(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        _, protocol, peer = await connect(Recorder)
        peer.sendall(b"hello")
        await protocol.until_received(5)
        reset(peer)
        await protocol.until_lost()
        assert protocol.calls == ["connection_made", "data_received", "connection_lost"]
        assert isinstance(protocol.lost_with, ConnectionResetError)

    loop.run_until_complete(main())


def test_a_reset_while_paused_shows_on_resume(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        transport.pause_reading()
        reset(peer)
        await turns(5)
        assert protocol.calls == ["connection_made"]
        transport.resume_reading()
        await protocol.until_lost()
        assert isinstance(protocol.lost_with, ConnectionResetError)

    loop.run_until_complete(main())


def test_closing_before_the_reset_is_seen_is_an_orderly_end(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        reset(peer)
        transport.close()
        await protocol.until_lost()
        assert protocol.lost_with is None
        assert protocol.calls == ["connection_made", "connection_lost"]

    loop.run_until_complete(main())


def test_aborting_sends_what_the_socket_options_say(loop: asyncio.AbstractEventLoop) -> None:
    """With SO_LINGER set to zero, an abort is a reset; servers drop clients this way."""

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            ours: socket.socket = transport.get_extra_info("socket")
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
            await protocol.until_lost()
            await turns(1)
            with pytest.raises(ConnectionResetError):
                peer.recv(1)

    loop.run_until_complete(main())


def fail(_: object) -> None:
    """Raises an exception, as a faulty protocol method."""
    raise ZeroDivisionError


def check_report(
    context: dict[str, Any],
    message: str,
    protocol: AnyRecorder,
    error: type[BaseException] = ZeroDivisionError,
) -> None:
    """Asserts that `context` reports `error` in a method of `protocol`, with asyncio's keys."""
    assert context["message"] == message
    assert isinstance(context["exception"], error)
    assert context["transport"] is protocol.transport
    assert context["protocol"] is protocol
    assert set(context) == {"message", "exception", "transport", "protocol"}


@KINDS
def test_a_raising_receiver_is_reported_and_loses_the_connection(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]], kind: Kind
) -> None:
    method = "data_received" if kind is Recorder else "buffer_updated"

    async def main() -> None:
        _, protocol, peer = await connect(lambda: kind({method: fail}))
        with peer:
            peer.sendall(b"hello")
            await protocol.until_lost()
            assert await read_to_end(peer) == b""
        (context,) = reported
        check_report(context, f"Fatal error: protocol.{method}() call failed.", protocol)
        assert protocol.lost_with is context["exception"]
        assert protocol.calls == ["connection_made", method, "connection_lost"]
        reported.clear()

    loop.run_until_complete(main())


@pytest.mark.parametrize("end", ["close", "abort", "raise"])
def test_what_was_written_before_the_end_is_sent(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]], end: str
) -> None:
    """As much as the kernel accepts at once; data written afterwards is discarded."""

    def answer(recorder: Recorder) -> None:
        recorder.transport.write(b"last words")
        if end == "raise":
            raise ZeroDivisionError
        getattr(recorder.transport, end)()
        recorder.transport.write(b" and more")

    async def main() -> None:
        _, protocol, peer = await connect(lambda: Recorder({"data_received": answer}))
        with peer:
            peer.sendall(b"hello")
            await protocol.until_lost()
            assert await read_to_end(peer) == b"last words"
        assert len(reported) == (1 if end == "raise" else 0)
        reported.clear()

    loop.run_until_complete(main())


def test_a_raising_receiver_throws_away_what_waits(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(
            lambda: Recorder({"data_received": fail}), kernel_buffer=4096
        )
        with peer:
            transport.write(bytes(MORE_THAN_FITS))
            peer.sendall(b"hello")
            await protocol.until_lost()
            assert transport.get_write_buffer_size() == 0
            with_error = len(reported)
            peer.settimeout(0.0)
        assert with_error == 1
        reported.clear()

    loop.run_until_complete(main())


def test_a_raising_get_buffer_is_reported_and_loses_the_connection(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    async def main() -> None:
        _, protocol, peer = await connect(lambda: BufferedRecorder({"get_buffer": fail}))
        with peer:
            peer.sendall(b"hello")
            await protocol.until_lost()
        (context,) = reported
        check_report(context, "Fatal error: protocol.get_buffer() call failed.", protocol)
        assert protocol.calls == ["connection_made", "connection_lost"]
        reported.clear()

    loop.run_until_complete(main())


@KINDS
def test_a_raising_eof_received_is_reported_and_loses_the_connection(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]], kind: Kind
) -> None:
    async def main() -> None:
        _, protocol, peer = await connect(lambda: kind({"eof_received": fail}))
        peer.close()
        await protocol.until_lost()
        (context,) = reported
        check_report(context, "Fatal error: protocol.eof_received() call failed.", protocol)
        assert protocol.lost_with is context["exception"]
        reported.clear()

    loop.run_until_complete(main())


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_raising_flow_control_is_only_reported(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]], method: str
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        protocol.on[method] = fail
        with peer:
            transport.write(bytes(MORE_THAN_FITS))
            transport.write_eof()
            assert len(await read_to_end(peer)) == MORE_THAN_FITS
            (context,) = reported
            check_report(context, f"protocol.{method}() failed", protocol)
            assert not protocol.lost
            assert protocol.calls == ["connection_made", "pause_writing", "resume_writing"]
            reported.clear()
        await protocol.until_lost()

    loop.run_until_complete(main())


@pytest.mark.parametrize("method", ["connection_made", "connection_lost"])
def test_a_raising_callback_is_reported_as_any_other(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]], method: str
) -> None:
    """Both are scheduled with call_soon and reported like callbacks; the connection goes on."""

    async def main() -> None:
        transport, protocol, peer = await connect(lambda: Recorder({method: fail}))
        with peer:
            peer.sendall(b"hello")
            await protocol.until_received(5)
            assert not transport.is_closing()
        await protocol.until_lost()
        await turns(2)
        (context,) = reported
        assert isinstance(context["exception"], ZeroDivisionError)
        assert context["message"].startswith("Exception in callback ")
        assert method in context["message"]
        assert isinstance(context["handle"], asyncio.Handle)
        assert set(context) == {"message", "exception", "handle"}
        reported.clear()
        assert transport.get_extra_info("socket").fileno() == -1
        del context

    loop.run_until_complete(main())


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("method", ["data_received", "buffer_updated", "eof_received"])
def test_exits_leave_the_loop(
    loop: asyncio.AbstractEventLoop, method: str, error: type[BaseException]
) -> None:
    def leave(_: object) -> None:
        raise error

    async def main() -> tuple[AnyRecorder, socket.socket]:
        kind = BufferedRecorder if method == "buffer_updated" else Recorder
        _, protocol, peer = await connect(lambda: kind({method: leave}))
        return protocol, peer

    protocol, peer = loop.run_until_complete(main())
    with peer:
        peer.sendall(b"hello")
        peer.shutdown(socket.SHUT_WR)
        with pytest.raises(error):
            loop.run_forever()
        assert not loop.is_running()
        protocol.on.clear()
        protocol.transport.abort()
        loop.run_until_complete(protocol.until_lost())


def test_a_server_survives_every_raising_protocol(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    methods = ["connection_made", "data_received", "eof_received", "connection_lost"]
    made: asyncio.Queue[Recorder] = asyncio.Queue()
    plans = iter([*methods, ""])

    def factory() -> Recorder:
        protocol = Recorder({next(plans): fail})
        made.put_nowait(protocol)
        return protocol

    async def main() -> None:
        async with await loop.create_server(factory, LOCALHOST, 0) as server:
            for count in range(1, len(methods) + 2):
                with socket.create_connection((LOCALHOST, port_of(server))) as peer:
                    protocol = await made.get()
                    peer.sendall(b"hello")
                    await protocol.until_received(5)
                    peer.shutdown(socket.SHUT_WR)
                    await protocol.until_lost()
                await turns(2)
                assert len(reported) == min(count, len(methods))
                assert server.is_serving()
        assert all(isinstance(context["exception"], ZeroDivisionError) for context in reported)
        reported.clear()

    loop.run_until_complete(main())


def test_closing_the_loop_in_a_protocol_method_is_refused(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    async def main() -> None:
        _, protocol, peer = await connect(
            lambda: Recorder({"data_received": lambda _: loop.close()})
        )
        with peer:
            peer.sendall(b"hello")
            await protocol.until_lost()
        assert isinstance(protocol.lost_with, RuntimeError)
        assert str(protocol.lost_with) == "Cannot close a running event loop"
        reported.clear()

    loop.run_until_complete(main())


def test_stopping_the_loop_in_a_protocol_method(loop: asyncio.AbstractEventLoop) -> None:
    async def start() -> tuple[Recorder, socket.socket]:
        _, protocol, peer = await connect(
            lambda: Recorder({"data_received": lambda _: loop.stop()})
        )
        return protocol, peer

    protocol, peer = loop.run_until_complete(start())
    with peer:
        for number in range(1, 5):
            peer.sendall(b"x")
            loop.run_forever()
            assert len(protocol.received) == number
            assert not loop.is_running()
    protocol.on.clear()
    loop.run_until_complete(protocol.until_lost())


def test_a_loop_that_was_stopped_for_a_while_has_lost_nothing(
    loop: asyncio.AbstractEventLoop,
) -> None:
    transport, protocol, peer = loop.run_until_complete(connect(Recorder))
    transport.write(b"before")
    peer.sendall(b"while it stood still")
    peer.shutdown(socket.SHUT_WR)
    loop.run_until_complete(protocol.until_lost())
    assert protocol.received == b"while it stood still"
    assert peer.recv(100) == b"before"
    peer.close()
