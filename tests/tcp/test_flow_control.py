"""When `pause_writing()` and `resume_writing()` are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.asyncio_bugs import AsyncioBug
from tests.tcp.peers import MORE_THAN_FITS, connect, read_exactly, read_to_end, reset, turns
from tests.tcp.recorders import Recorder

if TYPE_CHECKING:
    import asyncio

WRITELINES_NEVER_PAUSES = AsyncioBug(
    issue="gh-127655",
    effect="writelines() does not call pause_writing()",
    first=(3, 12, 0),
    fixed=(3, 13, 2),
)


def test_writelines_holds_the_writer_back(loop: asyncio.AbstractEventLoop, loop_name: str) -> None:
    WRITELINES_NEVER_PAUSES.skip_asyncio(loop_name)

    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            transport.writelines([bytes(MORE_THAN_FITS // 4)] * 4)
            assert protocol.calls == ["connection_made", "pause_writing"]
            transport.close()
            assert len(await read_to_end(peer)) == MORE_THAN_FITS
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_limits_have_asyncios_defaults_and_rules(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
            transport.set_write_buffer_limits(high=1000)
            assert transport.get_write_buffer_limits() == (250, 1000)
            transport.set_write_buffer_limits(low=1000)
            assert transport.get_write_buffer_limits() == (1000, 4000)
            transport.set_write_buffer_limits(high=7, low=7)
            assert transport.get_write_buffer_limits() == (7, 7)
            transport.set_write_buffer_limits(0)
            assert transport.get_write_buffer_limits() == (0, 0)
            with pytest.raises(ValueError, match=r"^high \(1\) must be >= low \(2\) must be >= 0$"):
                transport.set_write_buffer_limits(high=1, low=2)
            with pytest.raises(ValueError, match=r"^high \(-1\) must be >= low"):
                transport.set_write_buffer_limits(high=-1)
            with pytest.raises(ValueError, match="must be >= 0"):
                transport.set_write_buffer_limits(high=1, low=-1)
            assert transport.get_write_buffer_limits() == (0, 0)
            transport.set_write_buffer_limits()
            assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
            transport.close()
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_pause_and_resume_alternate(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        with peer:
            for round_ in range(1, 6):
                transport.write(bytes(4 * 1024 * 1024))
                transport.write(b"more")
                assert protocol.calls.count("pause_writing") == round_
                reading = loop.create_task(read_exactly(peer, 4 * 1024 * 1024 + 4))
                await protocol.until_called("resume_writing", round_)
                assert transport.get_write_buffer_size() <= 16 * 1024
                await reading
            transport.close()
            await protocol.until_lost()
        assert protocol.calls == [
            "connection_made",
            *["pause_writing", "resume_writing"] * 5,
            "connection_lost",
        ]

    loop.run_until_complete(main())


def test_a_writer_that_stays_below_the_mark_is_not_paused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        with peer:
            transport.set_write_buffer_limits(high=2 * MORE_THAN_FITS)
            transport.write(bytes(MORE_THAN_FITS))
            assert transport.get_write_buffer_size() > 0
            transport.close()
            assert len(await read_to_end(peer)) == MORE_THAN_FITS
            await protocol.until_lost()
        assert protocol.calls == ["connection_made", "connection_lost"]

    loop.run_until_complete(main())


def test_a_high_water_mark_of_zero_pauses_at_the_first_byte_that_waits(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        with peer:
            transport.set_write_buffer_limits(0)
            transport.write(b"sent at once")
            await turns(2)
            assert protocol.calls == ["connection_made"]
            while not transport.get_write_buffer_size():
                transport.write(bytes(64 * 1024))
                await turns(1)
            assert protocol.calls == ["connection_made", "pause_writing"]
            transport.close()
            await read_to_end(peer)
            await protocol.until_lost()
            assert protocol.calls[2:] == ["resume_writing", "connection_lost"]

    loop.run_until_complete(main())


def test_lowering_the_mark_pauses_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        with peer:
            transport.set_write_buffer_limits(high=2 * MORE_THAN_FITS)
            transport.write(bytes(MORE_THAN_FITS))
            await turns(2)
            assert protocol.calls == ["connection_made"]
            transport.set_write_buffer_limits(high=1000)
            assert protocol.calls == ["connection_made", "pause_writing"]
            transport.set_write_buffer_limits(high=100)
            assert protocol.calls == ["connection_made", "pause_writing"]
            transport.abort()
            await protocol.until_lost()
        assert protocol.calls == ["connection_made", "pause_writing", "connection_lost"]

    loop.run_until_complete(main())


def test_what_resume_writing_writes_follows(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        protocol.on["resume_writing"] = lambda _: transport.write(b"again")
        with peer:
            transport.write(bytes(MORE_THAN_FITS))
            assert protocol.calls[-1] == "pause_writing"
            data = await read_exactly(peer, MORE_THAN_FITS + 5)
            assert data.endswith(b"\0again")
            transport.close()
            await protocol.until_lost()
        assert protocol.calls[1:] == ["pause_writing", "resume_writing", "connection_lost"]

    loop.run_until_complete(main())


def test_the_buffer_size_tells_what_waits(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        with peer:
            assert transport.get_write_buffer_size() == 0
            transport.write(bytes(MORE_THAN_FITS))
            waiting = transport.get_write_buffer_size()
            assert 0 < waiting < MORE_THAN_FITS
            transport.write(b"12345")
            assert transport.get_write_buffer_size() == waiting + 5
            transport.abort()
            assert transport.get_write_buffer_size() == 0
            await protocol.until_lost()

    loop.run_until_complete(main())


def test_the_peer_may_stop_reading_for_good(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder, kernel_buffer=4096)
        transport.write(bytes(MORE_THAN_FITS))
        await turns(3)
        reset(peer)
        await protocol.until_lost()
        assert isinstance(protocol.lost_with, (ConnectionResetError, BrokenPipeError))
        assert transport.get_write_buffer_size() == 0
        assert protocol.calls == ["connection_made", "pause_writing", "connection_lost"]

    loop.run_until_complete(main())
