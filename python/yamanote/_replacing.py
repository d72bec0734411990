"""Replaces the event loops of asyncio and uvloop in a process that `python -m yamanote` started."""

from __future__ import annotations

import contextlib
import os
import sys

from yamanote._loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from yamanote._totals import Totals

#: The environment variable with the options of the command, for the process and its children.
OPTIONS = "YAMANOTE_COMMAND"

_options = os.environ.get(OPTIONS, "").split(",")
_totals_of_loops: Totals | None = None


class SelectorEventLoop(Loop):
    """yamanote's loop under asyncio's name, with what the options of the command add."""

    def __init__(self, selector: object = None) -> None:
        """Create a loop. It has no selector, so it ignores one."""
        super().__init__()
        if _totals_of_loops is not None:
            _totals_of_loops.add(self)
        if "keep-tasks" in _options:
            from yamanote._keeping import TaskKeeper

            TaskKeeper(self)

    def close(self) -> None:
        """Close the loop as `Loop.close()` does."""
        super().close()
        if _totals_of_loops is not None:
            _totals_of_loops.closed(self)


def replace_loops_of(module: ModuleType) -> None:
    """Make asyncio, or uvloop, create yamanote's loops from now on."""
    if module.__name__ == "asyncio":
        _count_loops()
        _replace_asyncio()
    else:
        _replace_uvloop(vars(module))
    if "verbose" in _options:
        # The program may have closed it.
        with contextlib.suppress(ValueError, OSError):
            print(f"yamanote: replaced the event loop of {module.__name__}", file=sys.stderr)


def _count_loops() -> None:
    global _totals_of_loops
    # In the process that the command became: its children print no table.
    if _totals_of_loops is None and f"metrics={os.getpid()}" in _options:
        from yamanote._totals import Totals

        _totals_of_loops = Totals()


def _replace_asyncio() -> None:
    import asyncio
    from asyncio import unix_events

    import yamanote._runner as runner

    # The policy that a program gets without asking for one creates loops of this class.
    for name in ("_DefaultEventLoopPolicy", "_UnixDefaultEventLoopPolicy"):
        policy = getattr(unix_events, name, None)
        if policy is not None:
            policy._loop_factory = SelectorEventLoop
    for owner in (asyncio, unix_events):
        names = vars(owner)
        for name in names.keys() & {"SelectorEventLoop", "EventLoop"}:
            names[name] = SelectorEventLoop
    # `yamanote.run()` and `yamanote.new_event_loop()`.
    runner.__dict__["Loop"] = SelectorEventLoop


def _replace_uvloop(names: dict[str, Any]) -> None:
    names["Loop"] = names["new_event_loop"] = SelectorEventLoop
    # `uvloop.run()` has the function that creates a loop as a default value.
    defaults = getattr(names.get("run"), "__kwdefaults__", None)
    if defaults and "loop_factory" in defaults:
        defaults["loop_factory"] = SelectorEventLoop
