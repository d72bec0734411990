"""Forked children: what a loop does there does not reach its parent."""

from __future__ import annotations

import asyncio
import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yamanote._parts import Base
else:
    Base = object


class Forking(Base):
    """A child has copies of its parent's descriptors, but what they lead to is one and the same.

    The native core makes its reactor anew when a child first uses a loop, and leaves the parent's
    alone. What is here concerns the child's signals, and threads that it does not have.
    """

    def __init__(self) -> None:
        """Note the loop: each fork must reach it."""
        super().__init__()
        _LOOPS.add(self)

    def _after_fork(self) -> None:
        """In the child, before all else there: nothing may reach the parent by accident."""
        self._forked()
        self._forget_signals()
        self._leave_children()
        self._file_threads = None
        # The files of Unix servers are the parent's to remove.
        self._unix_server_sockets.clear()
        executor = self._default_executor
        if getattr(executor, "_thread_name_prefix", None) == "asyncio":
            # asyncio's own, made on demand, and so will be another: this one's threads are gone.
            self._default_executor = None

    def _run_on_in_child(self) -> None:
        """A callback has forked, and in the child the loop runs on."""
        self._attach_signals()

    @staticmethod
    def _before_fork() -> None:
        """What a callback wrote before it forks is with the kernel, as on asyncio."""
        loop = asyncio._get_running_loop()
        if isinstance(loop, Forking):
            loop._send_written()

    @staticmethod
    def _in_child() -> None:
        for loop in list(_LOOPS):
            loop._after_fork()


_LOOPS: weakref.WeakSet[Forking] = weakref.WeakSet()
os.register_at_fork(
    before=Forking._before_fork,  # pyright: ignore[reportPrivateUsage]
    after_in_child=Forking._in_child,  # pyright: ignore[reportPrivateUsage]
)
