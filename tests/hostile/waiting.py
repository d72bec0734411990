"""Waiting for conditions without an event."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


async def until(condition: Callable[[], object]) -> None:
    """Runs the loop until a condition holds."""
    for _ in itertools.count():
        if condition():
            return
        await asyncio.sleep(0)
