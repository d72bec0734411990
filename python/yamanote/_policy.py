"""`EventLoopPolicy` and `install()`: for programs that select their loop by asyncio's policy."""

from __future__ import annotations

import asyncio
from asyncio import unix_events
from typing import TYPE_CHECKING

from yamanote._loop import Loop

# Only the private name exists on every Python from 3.11 on without a deprecation warning.
if TYPE_CHECKING or hasattr(unix_events, "_UnixDefaultEventLoopPolicy"):

    class EventLoopPolicy(
        unix_events._UnixDefaultEventLoopPolicy  # pyright: ignore[reportPrivateUsage]
    ):
        """asyncio's default policy, child watchers included, with yamanote's event loop."""

        def new_event_loop(self) -> Loop:
            """Return a new event loop."""
            return Loop()

    def install() -> None:
        """Make asyncio create yamanote's loop by default, in the whole process.

        `yamanote.run()` needs no process-wide change. Python deprecates policies in 3.14 and
        removes them in 3.16.
        """
        asyncio.set_event_loop_policy(EventLoopPolicy())  # pyright: ignore[reportDeprecated]

else:
    _GONE = (
        "asyncio has no event loop policies since Python 3.16; use yamanote.run(main()) or "
        "asyncio.Runner(loop_factory=yamanote.new_event_loop)"
    )

    class EventLoopPolicy:
        """A placeholder whose error names the replacement."""

        def __init__(self) -> None:
            """Raise an error that names the replacement.

            Raises:
                RuntimeError: always; this Python has no policies.
            """
            raise RuntimeError(_GONE)

    def install() -> None:
        """Raise an error that names the replacement.

        Raises:
            RuntimeError: always; this Python has no policies.
        """
        raise RuntimeError(_GONE)
