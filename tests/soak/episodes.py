"""Episodes without descriptors, and which errors they explain."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]


class Episode:
    """The process may open no more descriptors for a while."""

    def __init__(self) -> None:
        """Start outside of one."""
        self.count = 0
        self.is_on = False

    async def play(self, seconds: float) -> None:
        """Lowers the limit to the first number that is free, for so long."""
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        self.count += 1
        self.is_on = True
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
        try:
            await asyncio.sleep(seconds)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            self.is_on = False

    def begin(self) -> int:
        """Returns what `explains` takes, at the beginning of what may fail."""
        return self.count - self.is_on

    def explains(self, error: BaseException, since: int) -> bool:
        """Whether the error says that there was no descriptor, and an episode came in between."""
        return self.count > since and is_refusal(error)

    def handler(self, report: Handler) -> Handler:
        """Returns an exception handler that passes on to `report` what no episode explains."""

        def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            error = context.get("exception")
            if not (self.count and error is not None and is_refusal(error)):
                report(loop, context)

        return handle


#: What asyncio's `create_server` says when it gets no socket, whatever the reason.
NO_SOCKET = "could not bind on any address"


def is_refusal(error: BaseException | None) -> bool:
    """Whether the error, or one behind it, is EMFILE; of a group, whether all are."""
    if isinstance(error, ExceptionGroup):
        group = cast("ExceptionGroup[Exception]", error)
        return all(map(is_refusal, group.exceptions))
    while error is not None:
        if isinstance(error, OSError) and (error.errno == errno.EMFILE or NO_SOCKET in str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


EPISODE = Episode()
