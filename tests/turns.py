"""Single turns of a loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


def run_one_turn(loop: asyncio.AbstractEventLoop) -> None:
    """Polls I/O and timers once, and runs what is ready. Never waits."""
    loop.stop()
    loop.run_forever()
