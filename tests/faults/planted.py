"""asyncio's loop with one mistake, so that each judgement is seen to fail. See `test_faults.py`."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_kept: list[Any] = []


class _Forgetful(asyncio.SelectorEventLoop):
    """Does the mistake when the socket of a connection cannot be made."""

    mistake: Callable[[_Forgetful], None]

    async def create_connection(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as asyncio's.
        try:
            return await super().create_connection(*arguments, **options)
        except OSError:
            type(self).mistake(self)
            raise


def _leaks_a_descriptor(loop: _Forgetful) -> None:
    _kept.append(os.dup(0))


def _leaks_itself(loop: _Forgetful) -> None:
    _kept.append(loop)


def _crashes(loop: _Forgetful) -> None:
    ctypes.string_at(0)


def _spins(loop: _Forgetful) -> None:
    def again() -> None:
        loop.call_soon(again)

    again()


def _hangs(loop: _Forgetful) -> None:
    while True:
        time.sleep(1)


def _raises_oddly(loop: _Forgetful) -> None:
    raise SystemError("returned NULL")


def _harms_others(loop: _Forgetful) -> None:
    for transport in list(getattr(loop, "_transports", {}).values()):
        if transport.get_extra_info("socket").family == socket.AF_UNIX:
            transport.abort()


#: By the word with which the verdict begins.
MISTAKES: dict[str, Callable[[_Forgetful], None]] = {
    "leaked": _leaks_a_descriptor,
    "leaked the loop": _leaks_itself,
    "crash": _crashes,
    "spin": _spins,
    "hang": _hangs,
    "odd error": _raises_oddly,
    "bystander": _harms_others,
}


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Returns a loop with the mistake that the environment names."""
    mistake = MISTAKES[os.environ["PLANTED"]]
    made: asyncio.AbstractEventLoop = type(
        "Planted", (_Forgetful,), {"mistake": staticmethod(mistake)}
    )()
    return made
