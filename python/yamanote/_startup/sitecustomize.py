"""Imported by an interpreter that `python -m yamanote` has started, and by its children.

The command puts this folder on `PYTHONPATH`. The program then starts as it does without yamanote;
asyncio's event loop is replaced when the program first imports asyncio.

Children may be of any Python from 3.6 on, and have no yamanote: then nothing is replaced.
"""
# ruff: noqa: ANN401 - what a loader gets and returns is the interpreter's affair.

import os.path
import sys
from importlib import import_module
from importlib.machinery import PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

NAMES = ("asyncio", "uvloop")


class Replaced:
    """Finds asyncio and uvloop as the interpreter does, and replaces their loops once imported."""

    @staticmethod
    def find_spec(name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        """Find the module, for a loader that then replaces its loops."""
        if name not in NAMES:
            return None
        spec: Any = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = ThenReplaced(spec.loader)
        return spec


class ThenReplaced:
    """A loader that behaves as the given one, and then replaces the module's loops."""

    def __init__(self, loader: "Any") -> None:
        """Load with `loader`."""
        self._loader = loader

    def __getattr__(self, name: str) -> "Any":
        """Have what the given loader has."""
        return getattr(self._loader, name)

    def create_module(self, spec: "Any") -> "Any":
        """Create the module as the given loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: "Any") -> None:
        """Load the module, and replace its loops."""
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        replace_loops_of(module)


def replace_loops_of(module: "ModuleType") -> None:
    """Replace the loops of a module, if this interpreter has yamanote for it."""
    try:
        replacing = import_module("yamanote._replacing")
    except (ImportError, SyntaxError) as error:
        if "verbose" in os.environ.get("YAMANOTE_COMMAND", "").split(","):
            print("yamanote: this interpreter keeps its loops:", error, file=sys.stderr)
        return
    replacing.replace_loops_of(module)


def start() -> None:
    """Wait for the imports, and import the environment's own module of this name, if any."""
    folder = os.path.dirname(__file__)
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    sys.meta_path.insert(0, Replaced)
    mine = sys.modules.pop(__name__)
    try:
        import_module(__name__)
    except ImportError as error:
        if error.name != __name__:
            raise
        sys.modules[__name__] = mine
    # A .pth file may have imported them already.
    for name in NAMES:
        if name in sys.modules:
            replace_loops_of(sys.modules[name])


if __name__ == "sitecustomize":
    start()
