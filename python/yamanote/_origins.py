"""`origins`: which line of the program created each task and handle, without debug mode."""

from __future__ import annotations

import asyncio
import operator
import os
import sys

from yamanote._every_loop import call_for_new

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final, SupportsIndex

    from yamanote._loop import Loop

#: Folders of what creates tasks on behalf of the program.
LIBRARIES: Final = (
    os.path.join(os.path.dirname(asyncio.__file__), ""),
    os.path.join(os.path.dirname(__file__), ""),
)


def checked(origins: SupportsIndex) -> int:
    """Return the number of lines.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is negative.
    """
    lines = operator.index(origins)
    if lines < 0:
        raise ValueError("origins must not be negative")
    return lines


def remember(loop: Loop, lines: int) -> None:
    """Remember so many lines for each task and handle that the loop creates from now on."""
    loop._remember_origins(min(lines, sys.maxsize), LIBRARIES)  # pyright: ignore[reportPrivateUsage]


def switch_on(value: str) -> None:
    """Remember origins in every loop that is created from now on: `YAMANOTE_ORIGINS`.

    Raises:
        ValueError: the value is not a number of lines.
    """
    if not value.isdecimal():
        raise ValueError(f"{value!r} is not a number of lines")
    lines = int(value)
    call_for_new(lambda loop: remember(loop, lines))


def origin_of(task: asyncio.Task[Any]) -> str | None:
    """Return the line of the program that created the task, as "file:line", if that is known.

    Where asyncio itself created it, such as a server's task for a connection, it is asyncio's line.
    """
    inside = None
    for file, line, function, _ in reversed(remembered(task)):
        if not file.startswith(LIBRARIES):
            return f"{file}:{line}"
        if function == "run_forever":
            break  # What has called the loop did not create the task.
        inside = inside or f"{file}:{line}"
    return inside


def remembered(task: asyncio.Task[Any]) -> Sequence[Any]:
    """Return the lines that created the task, outermost first: by `origins`, or by debug mode."""
    lines: Any = getattr(task, "_yamanote_origin", None)
    return lines or getattr(task, "_source_traceback", None) or ()
