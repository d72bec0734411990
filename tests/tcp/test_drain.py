"""`Server.drain()`: connections finish, quiet ones are closed, and the deadline counts the rest."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import socket
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import yamanote
from tests.processes import LINUX
from tests.soak.resources import Resources
from tests.tcp.peers import MORE_THAN_FITS
from tests.tcp.recorders import PATIENCE_S
from tests.tls.certificates import client_context, server_context
from yamanote._draining import Draining

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
    Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

KINDS = ("tcp", "unix", "tls")


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a test, and does not wait for ever."""
    yamanote.run(asyncio.wait_for(main, PATIENCE_S))


@dataclass
class Place:
    """Where a server of some kind listens."""

    kind: str
    folder: Path

    async def serve(self, handler: Handler, **options: Any) -> yamanote.Server:
        """Starts a server."""
        if self.kind == "unix":
            server = await asyncio.start_unix_server(handler, self.folder / "socket", **options)
        else:
            secret = server_context() if self.kind == "tls" else None
            server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=secret, **options)
        assert isinstance(server, yamanote.Server)
        self.name: Any = server.sockets[0].getsockname()
        return server

    async def connect(self) -> Streams:
        """Opens a connection to it."""
        if self.kind == "unix":
            return await asyncio.open_unix_connection(self.name)
        if self.kind == "tls":
            return await asyncio.open_connection(
                *self.name, ssl=client_context(), server_hostname="localhost"
            )
        return await asyncio.open_connection(*self.name)

    def dial(self) -> socket.socket:
        """Connects without a loop; a server may accept it later."""
        family = socket.AF_UNIX if self.kind == "unix" else socket.AF_INET
        peer = socket.socket(family)
        peer.settimeout(PATIENCE_S)
        peer.connect(self.name)
        return peer


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place of each kind."""
    return Place(request.param, tmp_path)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers lines until the client leaves."""
    with contextlib.suppress(ConnectionError):
        while line := await reader.readline():
            writer.write(line.upper())
    writer.close()


async def is_refused(place: Place) -> bool:
    try:
        _, writer = await place.connect()
    except (ConnectionError, FileNotFoundError):
        return True
    writer.close()
    return False


def test_idle_connections_are_closed_and_new_ones_refused(place: Place) -> None:
    async def main() -> None:
        server = await place.serve(answer)
        talked, silent = await place.connect(), await place.connect()
        talked[1].write(b"hello\n")
        assert await talked[0].readline() == b"HELLO\n"
        assert await server.drain(PATIENCE_S, quiet=0) == 0
        for reader, writer in (talked, silent):
            assert await reader.read() == b""
            writer.close()
        assert await is_refused(place)
        assert not server.is_serving()
        await server.wait_closed()

    run(main())


def test_a_connection_is_closed_only_after_it_was_quiet_for_that_long(place: Place) -> None:
    """At looks of which the test chooses the time."""

    async def main() -> None:
        server = await place.serve(answer)
        reader, writer = await place.connect()
        draining: Any = Draining(server)

        async def talk() -> None:
            writer.write(b"hello\n")
            assert await reader.readline() == b"HELLO\n"

        start = asyncio.get_running_loop().time()

        def look(after: float) -> None:
            draining._close_quiet(start + after, 1.0)

        look(0.0)
        await talk()
        for step in (0.25, 0.5, 0.75, 1.0, 1.25):
            look(step)
            if step < 1:
                await talk()
        # It last moved after the look at 0.75, as that of 1.0 saw.
        look(1.5)
        look(1.75)
        await talk()
        look(2.0)
        look(2.5)
        look(2.99)
        await talk()
        for step in (3.0, 3.5, 3.99):
            look(step)
            assert not reader.at_eof()
        while not reader.at_eof():
            # The kernel may take its time to acknowledge what the client has received.
            look(4.01)
            await asyncio.sleep(0.001)
        assert await reader.read() == b""
        writer.close()
        assert await server.drain(PATIENCE_S) == 0

    run(main())


def test_an_answer_that_is_due_is_waited_for(place: Place) -> None:
    async def main() -> None:
        asked, may_answer = asyncio.Event(), asyncio.Event()

        async def think(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            asked.set()
            await may_answer.wait()
            writer.write(b"the answer\n")
            writer.close()

        server = await place.serve(think)
        reader, writer = await place.connect()
        idle_reader, idle_writer = await place.connect()
        writer.write(b"question\n")
        await asked.wait()
        drain = asyncio.create_task(server.drain(PATIENCE_S, quiet=0))
        assert await idle_reader.read() == b""  # Closed by the same drain.
        idle_writer.close()
        assert not drain.done()
        may_answer.set()
        assert await reader.read() == b"the answer\n"
        writer.close()
        assert await drain == 0

    run(main())


def test_a_response_that_the_client_has_not_taken_is_waited_for(place: Place) -> None:
    async def main() -> None:
        written = asyncio.Event()

        async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(bytes(MORE_THAN_FITS))
            written.set()
            await writer.drain()
            writer.close()

        server = await place.serve(pour)
        reader, writer = await place.connect()
        writer.write(b"question\n")
        await written.wait()
        drain = asyncio.create_task(server.drain(PATIENCE_S, quiet=0))
        assert len(await reader.read()) == MORE_THAN_FITS
        writer.close()
        assert await drain == 0

    run(main())


def test_a_request_that_comes_with_the_end_of_the_handshake_is_answered(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place("tls", tmp_path)
        quiet = 0.05
        answers = asyncio.Event()
        asked = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            asked.set()
            await answers.wait()
            writer.write(b"42\n")
            writer.close()

        server = await place.serve(answer)
        reader, writer = await place.connect()
        writer.write(b"?\n")  # This loop serves, too: it reads both together.
        await asked.wait()
        drain = asyncio.ensure_future(server.drain(PATIENCE_S, quiet=quiet))
        await asyncio.sleep(4 * quiet)
        answers.set()
        assert await reader.read() == b"42\n"
        assert await drain == 0
        writer.close()

    run(main())


def test_the_deadline_counts_what_was_not_done(place: Place) -> None:
    """Two owe an answer, three have unsent bytes, four have nothing to lose."""

    async def main() -> None:
        asked = asyncio.Semaphore(0)

        async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            line = await reader.readline()
            if line == b"pour\n":
                writer.write(bytes(MORE_THAN_FITS))
            if line == b"idle\n":
                writer.write(b"done\n")
            asked.release()
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()

        server = await place.serve(work)
        lines = [b"think\n"] * 2 + [b"pour\n"] * 3 + [b"idle\n"] * 4
        clients = [await place.connect() for _ in lines]
        for line, (_, writer) in zip(lines, clients, strict=True):
            writer.write(line)
            await asked.acquire()
        transports = [weakref.ref(it) for it in vars(server)["_clients"]]
        assert len(transports) == 9
        assert await server.drain(0.05, quiet=None) == 5
        await server.wait_closed()

        async def leave(
            line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            if line == b"idle\n":
                assert await reader.read() == b"done\n"
            else:
                with contextlib.suppress(ConnectionError):
                    assert len(await reader.read()) < MORE_THAN_FITS
            writer.close()

        for line in reversed(lines):
            await leave(line, *clients.pop())
        while any(it() is not None for it in transports):
            gc.collect()
            await asyncio.sleep(0)

    run(main())


def test_bytes_that_were_not_read_are_owed(place: Place) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: asyncio.Future[asyncio.Transport] = loop.create_future()

        class Deaf(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:  # noqa: ANN401
                transport.pause_reading()
                transport.write(b"welcome\n")
                made.set_result(transport)

        async def unused(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
            raise NotImplementedError

        server = await place.serve(unused, start_serving=False)
        vars(server)["_protocol_factory"] = Deaf
        await server.start_serving()
        reader, writer = await place.connect()
        await made
        assert await reader.readline() == b"welcome\n"
        writer.write(b"question\n")
        await writer.drain()
        assert await server.drain(0.1, quiet=0) == 1
        writer.close()

    run(main())


@pytest.mark.parametrize("count", [1, 90])
def test_clients_that_the_kernel_has_connected_are_served(place: Place, count: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await place.serve(answer)
        peers = [place.dial() for _ in range(count)]
        if place.kind != "tls":
            for peer in peers:
                peer.sendall(b"hello\n")

        def ask(peer: socket.socket) -> bytes:
            if place.kind == "tls":
                peer = client_context().wrap_socket(peer, server_hostname="localhost")
                peer.sendall(b"hello\n")
            with peer:
                return peer.recv(100)

        drain = asyncio.create_task(server.drain(PATIENCE_S, quiet=None))
        asked = [loop.run_in_executor(None, ask, peer) for peer in peers]
        assert await asyncio.gather(*asked) == [b"HELLO\n"] * count
        assert await drain == 0

    run(main())


@pytest.mark.parametrize(("timeout", "quiet"), [(PATIENCE_S, 0), (0.05, None)])
def test_a_tls_client_is_told_goodbye(tmp_path: Path, timeout: float, quiet: float | None) -> None:
    """An end without a close_notify is an error to this client, which does not send one itself."""
    place = Place("tls", tmp_path)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await place.serve(answer)
        ready = asyncio.Event()

        def talk(peer: socket.socket) -> bytes:
            with client_context().wrap_socket(
                peer, server_hostname="localhost", suppress_ragged_eofs=False
            ) as secret:
                secret.sendall(b"hello\n")
                assert secret.recv(100) == b"HELLO\n"
                loop.call_soon_threadsafe(ready.set)
                return secret.recv(100)

        talking = loop.run_in_executor(None, talk, place.dial())
        await ready.wait()
        assert await server.drain(timeout, quiet=quiet) == 0
        assert await talking == b""

    run(main())


def test_a_tls_peer_that_does_not_say_goodbye_does_not_hold_up_the_deadline(
    tmp_path: Path,
) -> None:
    place = Place("tls", tmp_path)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await place.serve(answer)
        secret = await loop.run_in_executor(
            None,
            lambda: client_context().wrap_socket(place.dial(), server_hostname="localhost"),
        )
        with secret:
            # It is closed at once, and waits for the peer's close_notify until the deadline.
            assert await server.drain(0.1, quiet=0) == 0
            await server.wait_closed()

    run(main())


def test_cancelling_leaves_the_connections_and_closes_the_listeners(place: Place) -> None:
    async def main() -> None:
        server = await place.serve(answer)
        reader, writer = await place.connect()
        drain = asyncio.create_task(server.drain(None, quiet=None))
        while server.is_serving():  # noqa: ASYNC110 - no event tells.
            await asyncio.sleep(0)
        drain.cancel()
        with pytest.raises(asyncio.CancelledError):
            await drain
        assert await is_refused(place)
        writer.write(b"hello\n")
        assert await reader.readline() == b"HELLO\n"
        closed = asyncio.create_task(server.wait_closed())
        assert await server.drain(PATIENCE_S, quiet=0) == 0
        await closed
        assert await reader.read() == b""
        writer.close()

    run(main())


def test_cancelling_at_once_closes_the_listeners(place: Place) -> None:
    async def main() -> None:
        server = await place.serve(answer)
        forever = asyncio.create_task(server.serve_forever())
        peer = place.dial()
        drain = asyncio.create_task(server.drain(None))
        await asyncio.sleep(0)
        drain.cancel()
        for task in (drain, forever):
            with pytest.raises(asyncio.CancelledError):
                await task
        assert not server.is_serving()
        assert await is_refused(place)
        peer.close()
        assert await server.drain(PATIENCE_S, quiet=0) == 0

    run(main())


def test_two_drains_share_their_work_and_each_has_its_deadline(place: Place) -> None:
    async def main() -> None:
        server = await place.serve(answer)
        reader, writer = await place.connect()
        writer.write(b"hello\n")
        assert await reader.readline() == b"HELLO\n"
        long = asyncio.create_task(server.drain(PATIENCE_S, quiet=None))
        short = asyncio.create_task(server.drain(0.05, quiet=None))
        assert (await short, await long) == (0, 0)
        assert await reader.read() == b""
        writer.close()

    run(main())


def test_a_server_that_is_closed_or_never_served_is_drained(place: Place) -> None:
    async def main() -> None:
        never = await place.serve(answer, start_serving=False)
        assert await never.drain(None) == 0
        assert never.sockets == ()
        if place.kind == "unix" and (place.folder / "socket").exists():
            (place.folder / "socket").unlink()
        server = await place.serve(answer)
        reader, writer = await place.connect()
        writer.write(b"hello\n")
        assert await reader.readline() == b"HELLO\n"
        server.close()
        assert await server.drain(PATIENCE_S, quiet=0) == 0
        assert await reader.read() == b""
        writer.close()
        assert await server.drain(None) == 0

    run(main())


def test_serve_forever_ends_with_the_drain_and_closes_nothing_before(place: Place) -> None:
    async def main() -> None:
        asked, may_answer = asyncio.Event(), asyncio.Event()

        async def think(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            asked.set()
            await may_answer.wait()
            writer.write(b"the answer\n")
            writer.close()

        server = await place.serve(think)
        forever = asyncio.create_task(server.serve_forever())
        reader, writer = await place.connect()
        writer.write(b"question\n")
        await asked.wait()
        drain = asyncio.create_task(server.drain(PATIENCE_S, quiet=0))
        while server.is_serving():  # noqa: ASYNC110 - no event tells.
            await asyncio.sleep(0)
        assert not forever.done()
        may_answer.set()
        assert await reader.read() == b"the answer\n"
        writer.close()
        assert await drain == 0
        with pytest.raises(asyncio.CancelledError):
            await forever

    run(main())


@pytest.mark.parametrize(
    ("timeout", "quiet", "error"),
    [
        ("1", 1.0, TypeError),
        (1.0, "1", TypeError),
        (1j, 1.0, TypeError),
        (-1, 1.0, ValueError),
        (1.0, -0.5, ValueError),
        (math.nan, 1.0, ValueError),
        (1.0, math.nan, ValueError),
    ],
)
def test_arguments_are_checked_before_anything_is_closed(
    timeout: Any,  # noqa: ANN401
    quiet: Any,  # noqa: ANN401
    error: type[Exception],
) -> None:
    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        assert isinstance(server, yamanote.Server)
        with pytest.raises(error):
            await server.drain(timeout, quiet=quiet)
        assert server.is_serving()
        assert await server.drain(math.inf, quiet=math.inf) == 0
        assert await server.drain(10**400, quiet=10**400) == 0

    run(main())


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_nothing_is_left_of_a_drained_server(place: Place) -> None:
    async def main(*, warm: bool = False) -> None:
        before = None if warm else Resources.now().descriptors
        server = await place.serve(answer, start_serving=True)
        clients = [await place.connect() for _ in range(5)]
        left = [weakref.ref(server), *map(weakref.ref, vars(server)["_clients"])]
        assert len(left) == 6
        assert await server.drain(PATIENCE_S, quiet=0) == 0

        async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

        while clients:
            await leave(*clients.pop())
        del server
        while any(it() is not None for it in left):
            gc.collect()
            await asyncio.sleep(0)
        if before is not None:
            assert Resources.now().descriptors == before
            return
        if place.kind == "unix" and (place.folder / "socket").exists():
            (place.folder / "socket").unlink()
        await main()

    run(main(warm=True))
