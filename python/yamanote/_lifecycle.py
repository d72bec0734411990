"""Running and closing a loop."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yamanote._parts import Base
else:
    Base = object


class Lifecycle(Base):
    """`run_forever()` and `close()`: what belongs around the native run."""

    def run_forever(self) -> None:
        """Run until `stop()` is called.

        Raises:
            RuntimeError: the loop is closed or running, or this thread runs another one.
        """
        self._check_closed()
        self._check_running()
        hooks = sys.get_asyncgen_hooks()
        try:
            self._set_coroutine_origin_tracking(self._debug)
            sys.set_asyncgen_hooks(
                firstiter=self._asyncgen_firstiter_hook,
                finalizer=self._asyncgen_finalizer_hook,
            )
            asyncio._set_running_loop(self)
            with self._signals_attached():
                self._run()
        finally:
            asyncio._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*hooks)

    def close(self) -> None:
        """Drop what is scheduled, and free the reactor and the default executor.

        Raises:
            RuntimeError: the loop is running.
        """
        if self.is_closed():
            return
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        self._close_signals()
        self._close_children()
        self._close_dns()
        self._close_files()
        super().close()
        self._close()

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute; a replaced `time` moves the scheduler, as fake clocks need it."""
        super().__setattr__(name, value)
        if name == "time":
            self._use_own_clock()

    def set_debug(self, enabled: object) -> None:
        """Switch debug mode: slow callbacks are logged, wrong threads and callbacks refused."""
        super().set_debug(bool(enabled))
