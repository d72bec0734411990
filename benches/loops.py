"""The event loops by name; those that can be imported take part."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

#: In the order of the tables. Each has a `new_event_loop` in the module of its name, except for
#: aiofastnet, which replaces the transports of another loop.
NAMES = (
    "asyncio",
    "aiofastnet",
    "uvloop",
    "aiofastnet-uvloop",
    "zuvloop",
    "blazio",
    "rloop",
    "rsloop",
    "loopmini",
    "yamanote",
)

#: The baseline of the ratios.
BASELINE = "uvloop"

#: The one whose figures are judged.
OURS = "yamanote"


def available() -> list[str]:
    """Return the names of the installed loops."""
    return [
        name
        for name in NAMES
        if all(importlib.util.find_spec(part) is not None for part in name.split("-"))
    ]


def choose(names: str | None) -> list[str]:
    """Check a comma-separated list of names; `None` means all available loops.

    Raises:
        SystemExit: a loop is unknown or not installed.
    """
    here = available()
    if names is None:
        return here
    chosen = names.split(",")
    for name in chosen:
        if name not in here:
            raise SystemExit(f"{name!r} is not a loop that is installed here ({', '.join(here)})")
    return chosen


def new(name: str) -> asyncio.AbstractEventLoop:
    """Create a loop of the kind `name`."""
    first, _, base = name.partition("-")
    if first == "aiofastnet":
        patch = importlib.import_module("aiofastnet").patch_loop
        return cast("asyncio.AbstractEventLoop", patch(new(base or "asyncio")))
    module = importlib.import_module(name)
    factory = cast("Callable[[], asyncio.AbstractEventLoop]", module.new_event_loop)
    return factory()
