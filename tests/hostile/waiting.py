"""Waiting for what no future tells of."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


async def until(condition: Callable[[], object]) -> None:
    """Lets the loop go on until something is true."""
    for _ in itertools.count():
        if condition():
            return
        await asyncio.sleep(0)
