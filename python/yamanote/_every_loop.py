"""Every loop of the process: those that there are, and each new one."""

from __future__ import annotations

import contextlib
import weakref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from yamanote._fork import Forking
    from yamanote._loop import Loop

#: The loops that were created and not collected yet, closed ones too.
_loops: weakref.WeakSet[Forking] = weakref.WeakSet()
_for_new: list[Callable[[Loop], object]] = []


def created(loop: Forking) -> None:
    """Add a loop that is being created. Its native part works, its attributes may be missing."""
    _loops.add(loop)
    for function in _for_new:
        function(loop)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def every_loop() -> list[Loop]:
    """Return the loops of the process, closed ones too, in no order."""
    while True:
        # Another thread may create a loop meanwhile.
        with contextlib.suppress(RuntimeError):
            return list(_loops)  # type: ignore[arg-type] # pyright: ignore[reportReturnType]


def call_for_new(function: Callable[[Loop], object]) -> None:
    """Call `function` with each loop that is created from now on."""
    _for_new.append(function)
