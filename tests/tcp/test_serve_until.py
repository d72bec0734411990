"""`serve_until()`: from a signal to the end of a drain."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

import yamanote
from tests.tcp.recorders import PATIENCE_S
from tests.tcp.servers import port_of

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers lines until the client leaves."""
    while line := await reader.readline():
        writer.write(line.upper())
    writer.close()


async def start() -> asyncio.Server:
    return await asyncio.start_server(answer, "127.0.0.1", 0)


@pytest.mark.parametrize("sent", SIGNALS)
def test_it_serves_until_one_of_the_signals_comes(sent: int) -> None:
    async def main() -> None:
        servers = [
            await start(),
            await asyncio.start_server(answer, "127.0.0.1", 0, start_serving=False),
        ]
        until = asyncio.create_task(yamanote.serve_until(SIGNALS, servers, PATIENCE_S, quiet=0))
        await asyncio.sleep(0)
        clients = [await asyncio.open_connection("127.0.0.1", port_of(it)) for it in servers]
        for reader, writer in clients:
            writer.write(b"hello\n")
            assert await reader.readline() == b"HELLO\n"
        assert not until.done()
        os.kill(os.getpid(), sent)
        assert await until == 0
        for reader, writer in clients:
            assert await reader.read() == b""
            writer.close()
        assert not any(it.is_serving() for it in servers)

    yamanote.run(asyncio.wait_for(main(), PATIENCE_S))


def test_a_server_that_is_closed_is_drained_with_the_others() -> None:
    async def main() -> None:
        closed, server = await start(), await start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(closed))
        writer.write(b"hello\n")
        assert await reader.readline() == b"HELLO\n"
        closed.close()
        servers = [closed, server]
        until = asyncio.create_task(yamanote.serve_until(SIGNALS, servers, PATIENCE_S, quiet=0))
        await asyncio.sleep(0)
        os.kill(os.getpid(), SIGNALS[0])
        assert await until == 0
        assert await reader.read() == b""
        writer.close()

    yamanote.run(asyncio.wait_for(main(), PATIENCE_S))


def test_it_returns_how_many_were_cut_off() -> None:
    async def main() -> None:
        server = await start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        until = asyncio.create_task(yamanote.serve_until(signal.SIGUSR1, server, 0.05))
        writer.write(b"unfinished")
        while not vars(server)["_clients"].copy():  # noqa: ASYNC110 - no event tells.
            await asyncio.sleep(0)
        (transport,) = vars(server)["_clients"].copy()
        while transport._settled():  # noqa: ASYNC110 - no event tells.
            await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert await until == 1
        assert await reader.read() == b""
        writer.close()

    yamanote.run(asyncio.wait_for(main(), PATIENCE_S))


@pytest.mark.parametrize("ends", ["signal", "cancel"])
def test_former_handlers_are_put_back(ends: str) -> None:
    said: list[str] = []

    def of_the_program(*_: object) -> None:
        said.append("program")

    before = signal.signal(signal.SIGUSR1, of_the_program)
    try:

        async def main() -> None:
            loop: Any = asyncio.get_running_loop()
            heard = asyncio.Event()

            def of_the_loop() -> None:
                said.append("loop")
                heard.set()

            loop.add_signal_handler(signal.SIGTERM, of_the_loop)
            server = await start()
            until = asyncio.create_task(yamanote.serve_until(reversed(SIGNALS), server, None))
            await asyncio.sleep(0)
            if ends == "signal":
                os.kill(os.getpid(), signal.SIGUSR1)
                assert await until == 0
            else:
                until.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await until
                server.close()
            assert not said
            assert signal.getsignal(signal.SIGUSR1) is of_the_program
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGTERM)
            await heard.wait()
            assert said == ["program", "loop"]
            assert loop.remove_signal_handler(signal.SIGTERM)

        yamanote.run(asyncio.wait_for(main(), PATIENCE_S))
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_handler_that_the_program_sets_meanwhile_stays() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        until = asyncio.create_task(yamanote.serve_until(SIGNALS, await start(), None))
        await asyncio.sleep(0)
        heard = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, heard.set)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await until == 0
        os.kill(os.getpid(), signal.SIGUSR1)
        await heard.wait()
        assert loop.remove_signal_handler(signal.SIGUSR1)

    yamanote.run(asyncio.wait_for(main(), PATIENCE_S))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_what_it_cannot_use_is_refused_and_changes_nothing() -> None:
    async def main() -> None:
        server = await start()
        cases: tuple[tuple[Any, type[Exception]], ...] = (
            ((signal.SIGTERM, server, "soon"), TypeError),
            ((signal.SIGTERM, server, -1), ValueError),
            ((signal.SIGTERM, object(), 1), TypeError),
            ((signal.SIGTERM, [object()], 1), TypeError),
            (("SIGTERM", server, 1), TypeError),
            ((12345, server, 1), ValueError),
            ((signal.SIGKILL, server, 1), RuntimeError),
            (((signal.SIGUSR1, signal.SIGKILL), server, 1), RuntimeError),
        )
        for arguments, error in cases:
            until: Any = yamanote.serve_until(*arguments)
            with pytest.raises(error):
                await until
            assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
            assert server.is_serving()

        def in_a_thread() -> None:
            async def main() -> None:
                with pytest.raises(TypeError):
                    await yamanote.serve_until(signal.SIGTERM, server, 1)
                async with await start() as mine:
                    with pytest.raises(RuntimeError):
                        await yamanote.serve_until(signal.SIGTERM, mine, 1)

            yamanote.run(main())

        await asyncio.to_thread(in_a_thread)
        server.close()
        await server.wait_closed()

    yamanote.run(asyncio.wait_for(main(), PATIENCE_S))
