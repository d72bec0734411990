"""Turns of a loop, one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


def run_one_turn(loop: asyncio.AbstractEventLoop) -> None:
    """Looks at I/O and timers once, and runs what is ready then. Never waits."""
    loop.stop()
    loop.run_forever()
