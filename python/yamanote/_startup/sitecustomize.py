"""Imported by an interpreter that `python -m yamanote` has started, and by its children.

The command puts this folder on `PYTHONPATH`. The program then starts as it does without yamanote;
asyncio's event loop is replaced when the program first imports asyncio.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import PathFinder
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any


class _Replaced:
    """Finds asyncio and uvloop as the interpreter does, and replaces their loops once imported."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in ("asyncio", "uvloop"):
            return None
        spec: Any = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenReplaced(spec.loader)
        return spec  # type: ignore[no-any-return]


class _ThenReplaced:
    """A loader that behaves as the given one, and then replaces the module's loops."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        from yamanote._replacing import replace_loops_of

        replace_loops_of(module)


def _start() -> None:
    folder = Path(__file__).parent
    sys.path[:] = [entry for entry in sys.path if Path(entry) != folder]
    sys.meta_path.insert(0, _Replaced)
    # The environment may have such a module of its own.
    mine = sys.modules.pop(__name__)
    try:
        importlib.import_module(__name__)
    except ImportError as error:
        if error.name != __name__:
            raise
        sys.modules[__name__] = mine


if __name__ == "sitecustomize":
    _start()
