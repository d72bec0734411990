"""`Limits` while the program is busy, changes its mind, or does not read: no client pays."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

import yamanote
from tests.tcp.recorders import PATIENCE_S
from tests.tcp.test_limits import SHORT, Recorder, connected, serving, until_closed, yamanote_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

MORE_THAN_FITS = 16 << 20


def run(main: Coroutine[Any, Any, None], limits: yamanote.Limits | None = None) -> None:
    """Run a test, and do not wait for ever."""
    yamanote.run(asyncio.wait_for(main, PATIENCE_S), limits=limits)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until it holds."""
    while not holds():  # noqa: ASYNC110 - no event tells.
        await asyncio.sleep(0.001)


class Flow(Recorder):
    """Records which flow it was told to keep, and echoes nothing."""

    def __init__(self, made: list[Recorder]) -> None:
        """Begin with nothing."""
        super().__init__(made)
        self.told: list[str] = []

    def data_received(self, data: bytes) -> None:
        """Take it."""

    def pause_writing(self) -> None:
        """Record."""
        self.told.append("pause")

    def resume_writing(self) -> None:
        """Record."""
        self.told.append("resume")


class Unready(Recorder):
    """Does not read at first."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pause."""
        super().connection_made(transport)
        self.transport.pause_reading()


@pytest.mark.parametrize("of_server", [False, True])
@pytest.mark.parametrize("rate", [1000, None])
def test_another_rate_holds_at_once(of_server: bool, rate: float | None) -> None:
    async def main() -> None:
        made: list[Recorder] = []
        async with serving(lambda: Recorder(made)) as (server, address):
            limited = server if of_server else yamanote_loop()
            limited.set_limits(accept_rate=0.001)
            clients = [await connected(address) for _ in range(5)]
            await until(lambda: yamanote_loop().metrics().accept_pauses > 0)
            assert len(made) == 1
            limited.set_limits(accept_rate=rate)
            await until(lambda: len(made) == len(clients))
            for client in clients:
                client.close()

    run(main())


def test_limits_hold_again_after_all_connections_were_paused() -> None:
    async def main() -> None:
        loop: Any = yamanote_loop()
        shed = loop._shed
        looks: list[float] = []

        def look() -> float:
            looks.append(shed())
            return looks[-1]

        loop._shed = look
        made: list[Recorder] = []
        async with serving(lambda: Unready(made)) as (_, address):
            silent = await connected(address)
            await until(lambda: bool(looks) and hasattr(made[0], "transport"))
            await until(lambda: looks[-1] == 0)  # It finds nothing to look at, and is the last.
            made[0].transport.resume_reading()
            assert await until_closed(silent) == b""
            silent.close()
        del loop._shed

    run(main(), yamanote.Limits(first_byte=0.05))


@pytest.mark.parametrize("limit", ["first_byte", "idle"])
def test_what_a_busy_loop_has_not_read_counts(limit: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Recorder] = []
        async with serving(lambda: Recorder(made)) as (_, address):
            client = await connected(address)
            await until(lambda: bool(made) and hasattr(made[0], "transport"))
            time.sleep(SHORT)  # The look is due before the bytes come.  # noqa: ASYNC251
            client.send(b"x")
            assert await loop.sock_recv(client, 1) == b"x"
            client.close()

    run(main(), yamanote.Limits(**{limit: SHORT}))  # type: ignore[arg-type]


def test_the_time_in_which_the_program_does_not_read_is_not_idle() -> None:
    async def main() -> None:
        loop: Any = yamanote_loop()
        made: list[Recorder] = []
        async with serving(lambda: Unready(made)) as (_, address):
            client = await connected(address)
            await until(lambda: bool(made) and hasattr(made[0], "transport"))
            await asyncio.sleep(2 * SHORT)
            made[0].transport.resume_reading()
            loop._shed()
            assert not made[0].transport.is_closing()
            assert await until_closed(client) == b""
            client.close()

    run(main(), yamanote.Limits(idle=SHORT))


def test_a_bound_below_what_waits_already_is_kept_and_ends() -> None:
    async def main() -> None:
        made: list[Any] = []
        async with serving(lambda: Flow(made)) as (_, address):
            clients = [await connected(address) for _ in range(2)]
            await until(lambda: len(made) == 2 and hasattr(made[1], "transport"))
            slow, other = made
            slow.transport.write(bytes(MORE_THAN_FITS))
            yamanote_loop().set_limits(buffered=MORE_THAN_FITS)
            other.transport.write(bytes(1 << 20))  # Which the kernel takes.
            await until(lambda: other.told == ["pause"])
            slow.transport.abort()
            await until(lambda: other.told == ["pause", "resume"])
            for client in clients:
                client.close()

    run(main())


def test_an_interrupt_while_clients_go_on_does_not_keep_others_waiting() -> None:
    loop: Any = yamanote.new_event_loop(limits=yamanote.Limits(buffered=1 << 20))
    press = loop._press

    def interrupted(has_risen: bool) -> bool:
        loop._press = press
        raise KeyboardInterrupt

    async def main() -> None:
        made: list[Any] = []
        async with serving(lambda: Flow(made)) as (_, address):
            clients = [await connected(address) for _ in range(2)]
            await until(lambda: len(made) == 2 and hasattr(made[1], "transport"))
            slow, other = made
            slow.transport.write(bytes(MORE_THAN_FITS))
            other.transport.write(bytes(1 << 20))
            await until(lambda: other.told == ["pause"])
            loop._press = interrupted
            slow.transport.abort()
            await until(lambda: other.told == ["pause", "resume"])
            for client in clients:
                client.close()

    task = loop.create_task(asyncio.wait_for(main(), PATIENCE_S))
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    loop.run_until_complete(task)
    loop.close()


def test_a_client_that_stalls_a_file_is_closed(tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Recorder] = []
        path = tmp_path / "file"
        with path.open("w+b") as file:
            file.truncate(MORE_THAN_FITS)
            async with serving(lambda: Recorder(made)) as (_, address):
                client = await connected(address, SO_RCVBUF=4096)
                await until(lambda: bool(made) and hasattr(made[0], "transport"))
                with pytest.raises(ConnectionError):
                    await loop.sendfile(made[0].transport, file)
                assert await made[0].lost is None
                assert yamanote_loop().metrics().write_stalls == 1
                client.close()

    run(main(), yamanote.Limits(write_stall=SHORT))


def test_a_file_that_takes_longer_than_the_limits_arrives(tmp_path: Path) -> None:
    limit, piece = 1.0, 1 << 16

    async def main() -> None:
        loop: Any = yamanote_loop()
        made: list[Recorder] = []
        path = tmp_path / "file"
        with path.open("w+b") as file:
            file.truncate(MORE_THAN_FITS)
            async with serving(lambda: Recorder(made)) as (_, address):
                # Little waits in the kernel, so something moves with each piece, up to the end.
                client = await connected(address, SO_RCVBUF=piece)
                await loop.sock_sendall(client, b"x")
                assert await loop.sock_recv(client, 1) == b"x"
                served = made[0].transport.get_extra_info("socket")
                served.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, piece)
                sending = asyncio.ensure_future(loop.sendfile(made[0].transport, file))
                received, begin = 0, loop.time()
                while received < MORE_THAN_FITS:
                    received += len(await loop.sock_recv(client, piece))
                    # As slowly as the limit would end it, if nothing moved.
                    due = begin + 1.5 * limit * received / MORE_THAN_FITS
                    await asyncio.sleep(max(due - loop.time(), 0))
                assert await sending == MORE_THAN_FITS
                loop._shed()
                assert loop.time() - begin > limit
                await loop.sock_sendall(client, b"y")
                assert await loop.sock_recv(client, 1) == b"y"
                client.close()

    run(main(), yamanote.Limits(write_stall=limit, idle=limit))
