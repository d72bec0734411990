"""The public names as type checkers see them. This file is only checked, never run."""

from __future__ import annotations

import asyncio
import sys
from typing import assert_type

import yamanote


async def main() -> int:
    return 42


assert_type(yamanote.__version__, str)
assert_type(yamanote.run(main()), int)
assert_type(yamanote.run(main(), debug=True, loop_factory=asyncio.new_event_loop), int)
yamanote.run(main(), debug="yes")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
yamanote.run(42)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType, reportUnknownMemberType]
_ = yamanote.nothing  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]

assert_type(yamanote.new_event_loop(), yamanote.Loop)
assert_type(yamanote.EventLoopPolicy().new_event_loop(), yamanote.Loop)

with asyncio.Runner(loop_factory=yamanote.new_event_loop) as runner:
    assert_type(runner.run(main()), int)
with asyncio.Runner(loop_factory=yamanote.Loop) as runner:
    assert_type(runner.run(main()), int)

if sys.version_info >= (3, 12):
    assert_type(asyncio.run(main(), loop_factory=yamanote.new_event_loop), int)


def takes_any_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Stands for any program written for asyncio."""


class MyLoop(yamanote.Loop):
    """A loop with its own clock."""

    def time(self) -> float:
        return 0.0


loop = MyLoop()
takes_any_loop(loop)

assert_type(loop.time(), float)
assert_type(loop.is_running(), bool)
assert_type(loop.call_soon(print, "a", "b"), asyncio.Handle)
assert_type(loop.call_soon_threadsafe(print), asyncio.Handle)
assert_type(loop.call_later(0.5, print, "a"), asyncio.TimerHandle)
assert_type(loop.call_at(0.5, print, "a"), asyncio.TimerHandle)
assert_type(loop.create_task(main()), "asyncio.Task[int]")
assert_type(loop.run_until_complete(main()), int)
loop.call_later("soon", print)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def takes_a_server(server: asyncio.Server) -> None:
    """What asyncio's functions return, on a loop of ours."""
    assert isinstance(server, yamanote.Server)
    assert_type(server, yamanote.Server)
