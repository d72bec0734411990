"""Tests that rely on asyncio's order of tasks that are ready at the same time, and how."""

from __future__ import annotations

from typing import Final

#: A new task, which takes its first step before the task that made it goes on after `sleep(0)`.
BEGINS: Final = "a new task must begin before its maker goes on after sleep(0)"

AIOHTTP: Final[dict[str, str]] = {}

ANYIO: Final[dict[str, str]] = {}
