"""`EventLoopPolicy` and `install()`: for programs that choose their loop by asyncio's policy."""

from __future__ import annotations

import asyncio
from asyncio import unix_events
from typing import TYPE_CHECKING

from yamanote._loop import Loop

# The private name is the only one that every Python from 3.11 has without a warning.
if TYPE_CHECKING or hasattr(unix_events, "_UnixDefaultEventLoopPolicy"):

    class EventLoopPolicy(
        unix_events._UnixDefaultEventLoopPolicy  # pyright: ignore[reportPrivateUsage]
    ):
        """asyncio's default policy, child watchers included, that makes yamanote's loops."""

        def new_event_loop(self) -> Loop:
            """Return a new event loop."""
            return Loop()

    def install() -> None:
        """Make yamanote's loop the one that asyncio creates, in the whole process.

        `yamanote.run()` does the same for one program without changing the process; Python
        deprecates policies from 3.14 and removes them in 3.16.
        """
        asyncio.set_event_loop_policy(EventLoopPolicy())  # pyright: ignore[reportDeprecated]

else:
    _GONE = (
        "asyncio has no event loop policies since Python 3.16; use yamanote.run(main()) or "
        "asyncio.Runner(loop_factory=yamanote.new_event_loop)"
    )

    class EventLoopPolicy:
        """Says what to use instead of a policy."""

        def __init__(self) -> None:
            """Refuse.

            Raises:
                RuntimeError: always; this Python has no policies.
            """
            raise RuntimeError(_GONE)

    def install() -> None:
        """Refuse.

        Raises:
            RuntimeError: always; this Python has no policies.
        """
        raise RuntimeError(_GONE)
