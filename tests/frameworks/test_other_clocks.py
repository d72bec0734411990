"""Do the lines of docs/testing.md take the clocks of freezegun and time_machine along?"""

from __future__ import annotations

import asyncio
import datetime
import time
from pathlib import Path

import freezegun
import time_machine

import yamanote.testing

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def days_of(loop: asyncio.AbstractEventLoop) -> list[float]:
    """Sleep for a day, three times; return how far the wall clock had gone on, in days."""

    async def main() -> list[float]:
        seen: list[float] = []
        for _ in range(3):
            await asyncio.sleep(86_400)
            now = datetime.datetime.now(datetime.UTC)
            assert now.timestamp() == time.time()
            seen.append((now - BEGIN) / datetime.timedelta(days=1))
        return seen

    return loop.run_until_complete(main())


def test_freezegun_goes_with_the_loop() -> None:
    loop = yamanote.testing.new_event_loop()
    try:
        with freezegun.freeze_time("2026-01-01", real_asyncio=True) as frozen:

            def tick(seconds: float) -> None:
                frozen.tick(seconds)  # pyright: ignore[reportUnknownMemberType]

            loop.clock.on_jump(tick)
            assert days_of(loop) == [1, 2, 3]
    finally:
        loop.close()
    for part in (
        'with freeze_time("2026-01-01") as frozen: ',
        "loop.clock.on_jump(lambda seconds: frozen.tick(seconds))",
        "`real_asyncio=True`",
    ):
        assert part in PAGE


def test_time_machine_goes_with_the_loop() -> None:
    loop = yamanote.testing.new_event_loop()
    try:
        with time_machine.travel("2026-01-01", tick=False) as traveller:
            loop.clock.on_jump(traveller.shift)
            assert days_of(loop) == [1, 2, 3]
    finally:
        loop.close()
    for part in (
        'with travel("2026-01-01", tick=False) as traveller: ',
        "loop.clock.on_jump(traveller.shift)",
    ):
        assert part in PAGE
