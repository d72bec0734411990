"""Replaces the event loops of asyncio and uvloop in a process that `python -m yamanote` started."""

from __future__ import annotations

import os
import sys

from yamanote._loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

#: The environment variable with the options of the command, for the process and its children.
OPTIONS = "YAMANOTE_COMMAND"


def replace_loops_of(module: ModuleType) -> None:
    """Make asyncio, or uvloop, create yamanote's loops from now on."""
    options = os.environ.get(OPTIONS, "").split(",")
    loop_class = Loop
    # In the process that the command became: its children print no table.
    if f"metrics={os.getpid()}" in options:
        from yamanote._totals import CountedLoop, print_at_exit

        loop_class = CountedLoop
        if module.__name__ == "asyncio":
            print_at_exit()
    if "keep-tasks" in options:
        loop_class = _keeping_tasks(loop_class)
    if module.__name__ == "asyncio":
        _replace_asyncio(loop_class)
    else:
        _replace_uvloop(vars(module), loop_class)
    if "verbose" in options:
        print(f"yamanote: replaced the event loop of {module.__name__}", file=sys.stderr)


def _keeping_tasks(loop_class: type[Loop]) -> type[Loop]:
    from yamanote._keeping import TaskKeeper

    class KeepingLoop(loop_class):  # type: ignore[misc, valid-type]
        """A loop that holds its pending tasks."""

        def __init__(self) -> None:
            super().__init__()
            TaskKeeper(self)

    return KeepingLoop


def _replace_asyncio(loop_class: type[Loop]) -> None:
    import asyncio
    from asyncio import unix_events

    class SelectorEventLoop(loop_class):  # type: ignore[misc, valid-type]
        """yamanote's loop under asyncio's name. It has no selector, so it ignores one."""

        def __init__(self, selector: object = None) -> None:
            super().__init__()

    # The policy that a program gets without asking for one creates loops of this class.
    for name in ("_DefaultEventLoopPolicy", "_UnixDefaultEventLoopPolicy"):
        policy = getattr(unix_events, name, None)
        if policy is not None:
            policy._loop_factory = loop_class
    for owner in (asyncio, unix_events):
        names = vars(owner)
        names["SelectorEventLoop"] = SelectorEventLoop
        if "EventLoop" in names:
            names["EventLoop"] = loop_class


def _replace_uvloop(names: dict[str, Any], loop_class: type[Loop]) -> None:
    names["Loop"] = names["new_event_loop"] = loop_class
    # `uvloop.run()` has the function that creates a loop as a default value.
    defaults = getattr(names.get("run"), "__kwdefaults__", None)
    if defaults and "loop_factory" in defaults:
        defaults["loop_factory"] = loop_class
