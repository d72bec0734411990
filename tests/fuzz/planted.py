"""Loops with one mistake each, which the fuzzer must find: a check that cannot fail is no check."""

from __future__ import annotations

import asyncio
import os
from typing import Any


class WrongError(asyncio.SelectorEventLoop):
    """Refuses what asyncio refuses, with another exception."""

    def call_later(  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride] - passes all on.
        self,
        delay: Any,  # noqa: ANN401 - hostile values, too.
        *arguments: Any,
        **more: Any,
    ) -> asyncio.TimerHandle:
        """Raises what it must not."""
        if not isinstance(delay, (int, float)):
            raise ValueError(delay)
        return super().call_later(delay, *arguments, **more)


class Crashing(asyncio.SelectorEventLoop):
    """Ends its process."""

    def get_task_factory(self) -> Any:  # noqa: ANN401 - never returns.
        """Aborts."""
        os.abort()


class Hanging(asyncio.SelectorEventLoop):
    """Comes back no more."""

    def get_task_factory(self) -> Any:  # noqa: ANN401 - never returns.
        """Goes round and round."""
        while True:
            pass


class Forgetful(asyncio.SelectorEventLoop):
    """Sleeps through what other threads ask for."""

    def _write_to_self(self) -> None:
        """Wakes nothing."""


class Leaking(asyncio.SelectorEventLoop):
    """Leaves descriptors open."""

    def get_task_factory(self) -> Any:  # noqa: ANN401 - as asyncio's.
        """Opens one."""
        os.pipe()
        return super().get_task_factory()
