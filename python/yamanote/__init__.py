"""An asyncio event loop written in Rust on tokio.

    import yamanote

    yamanote.run(main())

Importing this package does not change asyncio: a program selects the loop explicitly.

PYTEST_DONT_REWRITE: `python -m yamanote -m pytest` imports this package before pytest starts.
"""

from __future__ import annotations

# First: `python -m yamanote` replaces its loops, by importing parts of this package.
import asyncio as _asyncio  # noqa: F401 # pyright: ignore[reportUnusedImport]

from yamanote._environment import apply as _apply_environment
from yamanote._loop import Loop
from yamanote._runner import new_event_loop, run
from yamanote._yamanote import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yamanote._include import get_include
    from yamanote._limits import Limits
    from yamanote._metrics import Histogram, LoopMetrics
    from yamanote._policy import EventLoopPolicy, install
    from yamanote._serve_until import serve_until
    from yamanote._serving import Server
    from yamanote._stall import Stall
    from yamanote._tasks import TaskInfo, dump, tasks
    from yamanote._threads import run_threads
    from yamanote._tracing import Trace, trace
    from yamanote._watching import Watch, watch
else:
    # Imported only for a program that uses them. asyncio's policies are deprecated and removed in
    # Python 3.16.
    _LATER = {
        "EventLoopPolicy": "_policy",
        "Histogram": "_metrics",
        "Limits": "_limits",
        "LoopMetrics": "_metrics",
        "Server": "_serving",
        "Stall": "_stall",
        "TaskInfo": "_tasks",
        "Trace": "_tracing",
        "Watch": "_watching",
        "dump": "_tasks",
        "get_include": "_include",
        "install": "_policy",
        "run_threads": "_threads",
        "serve_until": "_serve_until",
        "tasks": "_tasks",
        "trace": "_tracing",
        "watch": "_watching",
    }

    def __getattr__(name: str) -> object:
        """Import a name on first use."""
        if name in _LATER:
            from importlib import import_module

            return getattr(import_module(f"yamanote.{_LATER[name]}"), name)
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)

    def __dir__() -> list[str]:
        """Include the names that are imported on first use."""
        return sorted({*globals(), *__all__})


__all__ = [
    "EventLoopPolicy",
    "Histogram",
    "Limits",
    "Loop",
    "LoopMetrics",
    "Server",
    "Stall",
    "TaskInfo",
    "Trace",
    "Watch",
    "__version__",
    "dump",
    "get_include",
    "install",
    "new_event_loop",
    "run",
    "run_threads",
    "serve_until",
    "tasks",
    "trace",
    "watch",
]

_apply_environment()
