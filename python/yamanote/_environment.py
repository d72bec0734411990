"""What environment variables switch on, once, when the package is imported."""

from __future__ import annotations

import os
import warnings
from importlib import import_module

#: Each variable, and the module whose `switch_on()` gets its value.
VARIABLES: dict[str, str] = {
    "YAMANOTE_DUMP_SIGNAL": "_dumping",
    "YAMANOTE_LIMITS": "_limiting",
    "YAMANOTE_ORIGINS": "_origins",
    "YAMANOTE_TRACE": "_tracing",
    "YAMANOTE_WATCH": "_watching",
}


def apply() -> None:
    """Switch on what the environment asks for. A value that cannot be used is warned of."""
    for name, module in VARIABLES.items():
        value = os.environ.get(name)
        if not value:
            continue
        try:
            import_module(f"yamanote.{module}").switch_on(value)
        except ValueError as error:
            warnings.warn(f"{name} is ignored: {error}", RuntimeWarning, stacklevel=3)
