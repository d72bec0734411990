"""Loops with one bug each, which the fuzzer must find, to test the fuzzer itself."""

from __future__ import annotations

import asyncio
import os
from typing import Any


class WrongError(asyncio.SelectorEventLoop):
    """Refuses what asyncio refuses, but with another exception."""

    def call_later(  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride] - passes all on.
        self,
        delay: Any,  # noqa: ANN401 - hostile values, too.
        *arguments: Any,
        **more: Any,
    ) -> asyncio.TimerHandle:
        """Raises the wrong exception."""
        if not isinstance(delay, (int, float)):
            raise ValueError(delay)
        return super().call_later(delay, *arguments, **more)


class Crashing(asyncio.SelectorEventLoop):
    """Crashes its process."""

    def get_task_factory(self) -> Any:  # noqa: ANN401 - never returns.
        """Aborts."""
        os.abort()


class Hanging(asyncio.SelectorEventLoop):
    """Hangs."""

    def get_task_factory(self) -> Any:  # noqa: ANN401 - never returns.
        """Loops forever."""
        while True:
            pass


class Forgetful(asyncio.SelectorEventLoop):
    """Does not wake up for other threads."""

    def _write_to_self(self) -> None:
        """Does nothing."""


class Leaking(asyncio.SelectorEventLoop):
    """Leaks descriptors."""

    def get_task_factory(self) -> Any:  # noqa: ANN401 - as asyncio's.
        """Opens one."""
        os.pipe()
        return super().get_task_factory()
