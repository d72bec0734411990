"""Data passed to `write()` is sent when the callback returns, or before the callback can notice."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.datagrams.endpoints import bound
from tests.tcp.peers import tcp_pair, turns
from tests.tcp.recorders import Recorder
from tests.tls import peers as tls_peers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.programs import Program

PAIRS = {"tcp": tcp_pair, "unix": socket.socketpair}

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=list(PAIRS))
def pair(request: pytest.FixtureRequest) -> Pair:
    """Our socket and the peer's non-blocking one, which shows what has arrived."""
    ours, peer = PAIRS[request.param]()
    peer.setblocking(False)
    return ours, peer


async def writes_in_bursts(transport: asyncio.WriteTransport, peer: socket.socket) -> None:
    """Writes head and body separately, as servers do: the transport may learn to combine them."""
    for _ in range(3):
        transport.write(b"head")
        transport.write(b"body")
        await asyncio.sleep(0)
        assert peer.recv(100) == b"headbody"


@pytest.mark.parametrize("bursts", [False, True], ids=["at first", "after bursts"])
def test_what_was_written_and_drained_is_with_the_kernel(
    loop: asyncio.AbstractEventLoop, pair: Pair, bursts: bool
) -> None:
    async def main() -> None:
        ours, peer = pair
        with peer:
            _, writer = await asyncio.open_connection(sock=ours)
            if bursts:
                await writes_in_bursts(writer.transport, peer)
            for part in (b"one", b"two"):
                writer.write(part)
                # Returns in this very step, because the rest of it may block.
                await writer.drain()
                assert peer.recv(100) == part
            writer.write(b"three")
            writer.write(b"four")
            await writer.drain()
            assert peer.recv(100) == b"threefour"
            writer.close()
            await writer.wait_closed()

    loop.run_until_complete(main())


LOOKS: dict[str, Callable[[asyncio.Transport], object]] = {
    "is_closing": lambda transport: transport.is_closing(),
    "get_write_buffer_size": lambda transport: transport.get_write_buffer_size(),
    "get_extra_info": lambda transport: transport.get_extra_info("socket"),
    "write_eof": lambda transport: transport.write_eof(),
    "close": lambda transport: transport.close(),
    "abort": lambda transport: transport.abort(),
    "set_write_buffer_limits": lambda transport: transport.set_write_buffer_limits(100),
}


@pytest.mark.parametrize("look", list(LOOKS))
def test_a_look_at_the_transport_finds_everything_sent(
    loop: asyncio.AbstractEventLoop, pair: Pair, look: str
) -> None:
    async def main() -> None:
        ours, peer = pair
        with peer:
            transport, protocol = await asyncio.get_running_loop().create_connection(
                Recorder, sock=ours
            )
            await writes_in_bursts(transport, peer)
            transport.write(b"head")
            transport.write(b"body")
            LOOKS[look](transport)
            assert peer.recv(8, socket.MSG_PEEK) == b"headbody"
            transport.close()
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_another_callback_of_the_same_pass_finds_everything_sent(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    async def main() -> None:
        ours, peer = pair
        with peer:
            transport, protocol = await asyncio.get_running_loop().create_connection(
                Recorder, sock=ours
            )
            await writes_in_bursts(transport, peer)

            async def writes() -> None:
                transport.write(b"head")
                transport.write(b"body")

            async def blocks() -> bytes:
                return peer.recv(100)

            _, found = await asyncio.gather(writes(), blocks())
            assert found == b"headbody"
            transport.close()
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_a_protocol_method_finds_sent_what_one_before_it_wrote(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    """Two reads for one event are two callbacks."""
    found: list[bytes] = []

    async def main() -> None:
        ours, peer = pair
        with peer:
            transport, protocol = await asyncio.get_running_loop().create_connection(
                Recorder, sock=ours
            )
            await writes_in_bursts(transport, peer)

            def answers(_: object) -> None:
                found.append(peer.recv(100))

            def writes(_: object) -> None:
                transport.write(b"head")
                transport.write(b"body")

            protocol.on["data_received"] = writes
            protocol.on["eof_received"] = answers
            peer.send(b"question")
            peer.shutdown(socket.SHUT_WR)
            await protocol.until_lost()

    loop.run_until_complete(main())
    assert found == [b"headbody"]


def test_the_socket_may_be_shut_down_after_a_write(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    async def main() -> None:
        ours, peer = pair
        with peer:
            transport, protocol = await asyncio.get_running_loop().create_connection(
                Recorder, sock=ours
            )
            await writes_in_bursts(transport, peer)
            transport.write(b"head")
            transport.write(b"body")
            transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
            assert peer.recv(100) == b"headbody"
            assert peer.recv(100) == b""
            transport.close()
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_a_duplicate_of_the_socket_sends_behind_what_was_written(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    async def main() -> None:
        ours, peer = pair
        with peer:
            transport, protocol = await asyncio.get_running_loop().create_connection(
                Recorder, sock=ours
            )
            await writes_in_bursts(transport, peer)
            transport.write(b"1")
            transport.write(b"2")
            with transport.get_extra_info("socket").dup() as duplicate:
                duplicate.sendall(b"3")
            transport.write(b"4")
            await asyncio.sleep(0)
            assert peer.recv(100) == b"1234"
            transport.close()
            await protocol.until_lost()

    loop.run_until_complete(main())


@pytest.mark.slow
def test_a_child_with_the_descriptor_writes_behind_what_was_written(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    async def main() -> None:
        ours, peer = pair
        with peer:
            transport, protocol = await asyncio.get_running_loop().create_connection(
                Recorder, sock=ours
            )
            await writes_in_bursts(transport, peer)
            fd = ours.fileno()
            transport.write(b"1")
            transport.write(b"2")
            code = f"import os; os.write({fd}, b'3')"
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-S", "-c", code, pass_fds=[fd]
            )
            assert await child.wait() == 0
            assert peer.recv(100) == b"123"
            transport.close()
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_a_write_that_fails_does_not_take_those_before_it(
    loop: asyncio.AbstractEventLoop, pair: Pair, reported: list[dict[str, Any]]
) -> None:
    async def main() -> None:
        ours, peer = pair
        with peer:
            transport, protocol = await asyncio.get_running_loop().create_connection(
                Recorder, sock=ours
            )
            await writes_in_bursts(transport, peer)
            transport.write(b"head")
            transport.write(b"body")
            # Sockets accept only contiguous bytes.
            transport.write(memoryview(b"abcdef")[::2])
            assert peer.recv(100) == b"headbody"
            await protocol.until_lost()
            assert isinstance(protocol.lost_with, BufferError)
            reported.clear()

    loop.run_until_complete(main())


ENDINGS = {
    "_exit": ("os._exit(0)", 0),
    "execv": ("os.execv('/bin/true', ['true'])", 0),
    "SIGKILL": ("os.kill(os.getpid(), 9)", -signal.SIGKILL),
    "SIGTERM": ("os.kill(os.getpid(), 15)", -signal.SIGTERM),
}


@pytest.mark.slow
@pytest.mark.parametrize("ending", list(ENDINGS))
def test_a_process_may_end_after_it_has_written(
    program: Program, tmp_path: Path, ending: str
) -> None:
    """Written and drained in one step, which ends the process."""
    code, status = ENDINGS[ending]
    source = f"""
    import os

    async def main():
        _, writer = await asyncio.open_unix_connection(os.environ["PEER"])
        for _ in range(3):
            writer.write(b"head")
            writer.write(b"body")
            await asyncio.sleep(0)
        writer.write(b"last ")
        writer.write(b"words")
        await writer.drain()
        {code}

    run(main())
    """
    path = str(tmp_path / "peer")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        child = program.run(source, env={"PEER": path})
        assert child.returncode == status, child.stderr
        peer, _ = listener.accept()
    with peer:
        got = b""
        while data := peer.recv(100):
            got += data
    assert got == b"headbody" * 3 + b"last words"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
def test_a_fork_finds_everything_sent(program: Program) -> None:
    """The parent may then block on a child that waits for the data."""
    child = program.run(
        """
        import os, socket

        async def main():
            ours, peer = socket.socketpair()
            peer.settimeout(10)
            _, writer = await asyncio.open_connection(sock=ours)
            for _ in range(3):
                writer.write(b"head")
                writer.write(b"body")
                await asyncio.sleep(0)
            peer.recv(100)
            writer.write(b"head")
            writer.write(b"body")
            pid = os.fork()
            if not pid:
                os._exit(peer.recv(100) != b"headbody")
            assert os.waitpid(pid, 0)[1] == 0
            peer.setblocking(False)
            await asyncio.sleep(0)
            try:
                print(peer.recv(100))
            except BlockingIOError:
                print("sent once")
            writer.close()
            peer.close()

        run(main())
        """,
        "-W",
        "ignore::DeprecationWarning",
    )
    assert (child.returncode, child.stdout) == (0, "sent once\n"), child.stderr


def test_tls_sends_what_was_written_and_drained(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await tls_peers.connect(Recorder)
        for _ in range(3):
            transport.write(b"head")
            transport.write(b"body")
            await asyncio.sleep(0)
        assert await tls_peers.in_thread(peer.read, 24) == b"headbody" * 3
        transport.write(b"last ")
        transport.write(b"words")
        assert not transport.is_closing()
        # Blocks the loop, which has nothing left to do for this.
        assert peer.read(10) == b"last words"
        transport.abort()
        await protocol.until_lost()
        peer.sock.close()

    loop.run_until_complete(main())


def test_a_datagram_leaves_when_its_callback_returns(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with bound() as peer:
            peer.setblocking(False)
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=peer.getsockname()
            )

            async def sends() -> None:
                for number in range(3):
                    transport.sendto(b"%d" % number)

            async def blocks() -> list[bytes]:
                return [peer.recv(100) for _ in range(3)]

            _, found = await asyncio.gather(sends(), blocks())
            assert found == [b"0", b"1", b"2"]
            transport.close()
            await turns(3)

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO counts segments on Linux")
def test_head_and_body_of_an_answer_leave_together(
    loop: asyncio.AbstractEventLoop, loop_name: str
) -> None:
    """From the second reply on: the first one shows that there are two parts."""
    if loop_name == "asyncio":
        pytest.skip("asyncio makes a system call for each")

    async def main() -> None:
        ours, peer = tcp_pair()
        transport, protocol = await asyncio.get_running_loop().create_connection(
            Recorder, sock=ours
        )
        with peer:
            sent = 0
            for _ in range(2):
                sent = segments(ours)
                transport.write(b"head")
                transport.write(b"body")
                await asyncio.sleep(0)
                assert peer.recv(100) == b"headbody"
            assert segments(ours) == sent + 1
            # A transport whose callbacks write once does not wait for a second write.
            for _ in range(20):
                transport.write(b"frame")
                await asyncio.sleep(0)
            transport.write(b"!")
            peer.setblocking(False)
            assert peer.recv(200) == b"frame" * 20 + b"!"
            transport.close()
            await protocol.until_lost()

    loop.run_until_complete(main())


def segments(sock: socket.socket) -> int:
    """Returns the number of data segments that the socket has sent (`tcpi_data_segs_out`)."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
    (count,) = struct.unpack_from("I", info, 156)
    assert isinstance(count, int)
    return count
