"""Forked children: a loop used there must not affect its parent."""

from __future__ import annotations

import asyncio
import os

from yamanote._every_loop import created, every_loop
from yamanote._yamanote import _finish_detached_writes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yamanote._parts import Base
else:
    Base = object


class Forking(Base):
    """A child inherits its parent's descriptors, which refer to the same open files.

    When a child first uses a loop, the native core creates a new reactor and leaves the parent's
    alone. This part handles the child's signals, and the threads that it did not inherit.
    """

    def __init__(self) -> None:
        """Register the loop for the fork handlers."""
        super().__init__()
        created(self)

    def _after_fork(self) -> None:
        """Detach the loop from the parent, before any other code runs in the child."""
        self._forked()
        self._forget_signals()
        self._leave_children()
        self._file_threads = None
        # The parent removes the files of its Unix servers.
        self._unix_server_sockets.clear()
        executor = self._default_executor
        if getattr(executor, "_thread_name_prefix", None) == "asyncio":
            # asyncio's default, whose threads do not exist here; another is created on demand.
            self._default_executor = None

    def _run_on_in_child(self) -> None:
        """Called in a child that was forked by a callback, and in which the loop continues."""
        self._attach_signals()

    @staticmethod
    def _before_fork() -> None:
        """Send what the running callback has written so far, as asyncio would have by now."""
        _finish_detached_writes()
        loop = asyncio._get_running_loop()
        if isinstance(loop, Forking):
            loop._send_written()

    @staticmethod
    def _in_child() -> None:
        for loop in every_loop():
            loop._after_fork()


os.register_at_fork(
    before=Forking._before_fork,  # pyright: ignore[reportPrivateUsage]
    after_in_child=Forking._in_child,  # pyright: ignore[reportPrivateUsage]
)
