"""How TLS connections end."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from tests.asyncio_bugs import AsyncioBug
from tests.tcp.peers import reset
from tests.tcp.recorders import BufferedRecorder, Recorder
from tests.tls.peers import connect, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tcp.recorders import AnyRecorder

ENDS_WITH_THE_GOODBYES = AsyncioBug(
    issue="sslproto",
    effect="the timeout ends with the close_notifys, and unsent data keeps the connection open",
    first=(3, 11, 0),
    fixed=(3, 14, 10),
)
# A view, because asyncio slices its argument, and slicing a `bytearray` copies.
BUFFERED = functools.partial(BufferedRecorder, buffer=memoryview(bytearray(65_536)))
CALLS_A_HANDLE_LET_GO_OF = AsyncioBug(
    issue="seen on 3.13.0",
    effect="asyncio calls the cancelled writer of a closed connection forever",
    first=(3, 12, 0),
    fixed=(3, 14, 0),
)
RECORDERS = pytest.mark.parametrize("recorder", [Recorder, BUFFERED], ids=["bytes", "buffer"])


@RECORDERS
def test_closing_says_goodbye_and_waits_for_the_peers(
    loop: asyncio.AbstractEventLoop, recorder: Callable[[], AnyRecorder]
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(recorder)
        transport.write(b"last words")
        transport.close()
        assert transport.is_closing()
        assert await in_thread(peer.read_to_goodbye) == b"last words"
        assert not protocol.lost
        await in_thread(peer.sock.sendall, peer.goodbye())
        await protocol.until_lost()
        assert protocol.lost_with is None
        peer.sock.close()

    loop.run_until_complete(main())


def test_a_peer_that_does_not_say_goodbye_runs_into_the_timeout(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, ssl_shutdown_timeout=0.05)
        transport.close()
        await protocol.until_lost()
        assert isinstance(protocol.lost_with, TimeoutError)
        assert str(protocol.lost_with) == "SSL shutdown timed out"
        peer.sock.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("ending", ["end of stream", "goodbye", "silence"])
@pytest.mark.parametrize("closes", ["first", "afterwards", "never"])
def test_a_peer_that_does_not_read_runs_into_the_timeout(
    loop: asyncio.AbstractEventLoop, loop_name: str, ending: str, closes: str
) -> None:
    """The peer does not read the transport's last data, so it is never sent completely."""
    if ending == "silence" and closes != "first":
        pytest.skip("nothing ends such a connection")
    if ending != "silence":
        ENDS_WITH_THE_GOODBYES.skip_asyncio(loop_name)

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, ssl_shutdown_timeout=0.05)
        for _ in range(16):
            if "pause_writing" in protocol.calls:
                break
            transport.write(bytes(4 * 1024 * 1024))
            await asyncio.sleep(0)
        assert "pause_writing" in protocol.calls
        if closes == "first":
            transport.close()
            await asyncio.sleep(0)
        if ending == "goodbye":
            await in_thread(peer.sock.sendall, peer.goodbye())
        elif ending == "end of stream":
            peer.sock.shutdown(socket.SHUT_WR)
        if closes == "afterwards":
            await protocol.until_called("eof_received", 1)
            transport.close()
        await protocol.until_lost()
        assert isinstance(protocol.lost_with, TimeoutError)
        assert str(protocol.lost_with) == "SSL shutdown timed out"
        peer.sock.close()

    loop.run_until_complete(main())


def test_the_timeout_ends_with_the_connection(
    loop: asyncio.AbstractEventLoop, loop_name: str
) -> None:
    """The peer reads at last: there is no timer left that could end the connection again."""
    CALLS_A_HANDLE_LET_GO_OF.skip_asyncio(loop_name)

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, ssl_shutdown_timeout=30)
        while "pause_writing" not in protocol.calls:
            transport.write(bytes(4 * 1024 * 1024))
            await asyncio.sleep(0)
        peer.sock.shutdown(socket.SHUT_WR)
        await protocol.until_called("eof_received", 1)
        assert not protocol.lost
        assert await in_thread(peer.read_to_goodbye_or_end)
        await protocol.until_lost()
        assert protocol.lost_with is None
        peer.sock.close()

    loop.run_until_complete(main())


@RECORDERS
def test_the_peers_goodbye_comes_after_its_data(
    loop: asyncio.AbstractEventLoop, recorder: Callable[[], AnyRecorder]
) -> None:
    async def main() -> None:
        _, protocol, peer = await connect(recorder)
        await in_thread(peer.sock.sendall, peer.encrypted(b"x" * 40_000) + peer.goodbye())
        assert await in_thread(peer.read_to_goodbye) == b""
        await protocol.until_lost()
        assert protocol.received == b"x" * 40_000
        assert protocol.lost_with is None
        assert protocol.calls[-2:] == ["eof_received", "connection_lost"]
        peer.sock.close()

    loop.run_until_complete(main())


@RECORDERS
def test_a_truncated_stream_ends_as_one_that_was_not(
    loop: asyncio.AbstractEventLoop, recorder: Callable[[], AnyRecorder]
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(recorder)
        await in_thread(peer.send, b"all there is")
        await protocol.until_received(12)
        peer.sock.close()
        await protocol.until_lost()
        assert protocol.lost_with is None
        assert protocol.calls[-2:] == ["eof_received", "connection_lost"]
        assert transport.is_closing()

    loop.run_until_complete(main())


def test_a_truncated_record_is_not_delivered(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        _, protocol, peer = await connect(Recorder)
        whole, half = peer.encrypted(b"whole"), peer.encrypted(b"half")
        await in_thread(peer.sock.sendall, whole + half[:-1])
        peer.sock.close()
        await protocol.until_lost()
        assert protocol.received == b"whole"

    loop.run_until_complete(main())


def test_a_reset_is_what_the_connection_is_lost_with(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        _, protocol, peer = await connect(Recorder)
        reset(peer.sock)
        await protocol.until_lost()
        assert isinstance(protocol.lost_with, ConnectionResetError)
        assert "eof_received" not in protocol.calls

    loop.run_until_complete(main())


def test_a_reset_while_the_goodbye_is_awaited(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        transport.close()
        await in_thread(peer.read_to_goodbye)
        reset(peer.sock)
        await protocol.until_lost()
        assert isinstance(protocol.lost_with, ConnectionResetError)

    loop.run_until_complete(main())


def test_aborting_says_nothing(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        transport.abort()
        assert transport.is_closing()
        await protocol.until_lost()
        assert protocol.lost_with is None
        with pytest.raises((EOFError, ConnectionResetError)):
            await in_thread(peer.read, 1)
        peer.sock.close()

    loop.run_until_complete(main())


def test_closing_after_aborting_changes_nothing(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        transport.abort()
        transport.close()
        await protocol.until_lost()
        assert protocol.lost_with is None
        peer.sock.close()

    loop.run_until_complete(main())


def test_writing_after_closing_is_silent_and_at_last_mentioned(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        transport.close()
        with caplog.at_level(logging.WARNING):
            for _ in range(6):
                transport.write(b"too late")
        assert [record.message for record in caplog.records] == ["SSL connection is closed"]
        assert await in_thread(peer.read_to_goodbye) == b""
        peer.sock.close()
        await protocol.until_lost()

    loop.run_until_complete(main())


def test_staying_open_after_the_end_is_not_possible(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        _, protocol, peer = await connect(lambda: Recorder({"eof_received": lambda _: True}))
        await in_thread(peer.sock.sendall, peer.goodbye())
        await protocol.until_lost()
        peer.sock.close()
        assert [record.message for record in caplog.records] == [
            "returning true from eof_received() has no effect when using ssl"
        ]

    loop.run_until_complete(main())


def test_half_closing_is_not_possible(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        assert not transport.can_write_eof()
        with pytest.raises(NotImplementedError):
            transport.write_eof()
        transport.abort()
        await protocol.until_lost()
        peer.sock.close()

    loop.run_until_complete(main())


def test_what_data_received_raises_ends_the_connection(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        transport, protocol, peer = await connect(lambda: Recorder({"data_received": fail}))
        await in_thread(peer.send, b"hello")
        await protocol.until_lost()
        assert isinstance(protocol.lost_with, ZeroDivisionError)
        (context,) = reported
        assert context["message"] == "Fatal error on SSL protocol"
        assert context["exception"] is protocol.lost_with
        assert {"transport", "protocol"} <= context.keys()
        reported.clear()
        assert transport.is_closing()
        peer.sock.close()

    loop.run_until_complete(main())


def test_extra_info_outlives_the_connection(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        cipher = transport.get_extra_info("cipher")
        transport.abort()
        await protocol.until_lost()
        assert transport.get_extra_info("cipher") == cipher
        assert isinstance(transport.get_extra_info("ssl_object"), ssl.SSLObject)
        assert transport.get_extra_info("socket", "gone") == "gone"
        peer.sock.close()

    loop.run_until_complete(main())


def test_a_transport_that_is_dropped_open_says_so(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        transport.pause_reading()
        below = transport.get_extra_info("socket")
        peer.sock.close()
        del transport, protocol, below

    def drop() -> None:
        loop.run_until_complete(main())
        loop.close()
        gc.collect()

    with pytest.warns(ResourceWarning, match="unclosed"):
        drop()
