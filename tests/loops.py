"""The loops under test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import yamanote

if TYPE_CHECKING:
    from collections.abc import Callable

    LoopFactory = Callable[[], asyncio.AbstractEventLoop]

#: Keyed by the module with `new_event_loop`, so that a child process can import it.
LOOPS: dict[str, LoopFactory] = {
    "asyncio": asyncio.new_event_loop,
    "yamanote": yamanote.new_event_loop,
}
