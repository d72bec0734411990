"""The common part of protocols, sockets and files whose steps fail, one at a time."""

from __future__ import annotations

from typing import Any, TypeAlias

#: Any object.
Transport: TypeAlias = Any


class Own(BaseException):
    """A `BaseException` that neither Python nor asyncio knows."""


class Faults:
    """Counts the steps, and fails at one of them."""

    def __init__(self, at: int, error: type[BaseException]) -> None:
        """Make step number `at` raise `error`."""
        self.left = at
        self.error = error
        self.has_raised = False
        self.is_on = True

    def step(self) -> None:
        """Count a step, or raise."""
        if not self.is_on or self.has_raised:
            return
        if self.left == 0:
            self.has_raised = True
            raise self.error("this step fails")
        self.left -= 1


class Faulty:
    """Each lookup of an attribute counts as a step, except for private ones of this class."""

    faults: Faults

    def __getattribute__(self, name: str) -> Transport:
        """Count a step, then return the attribute."""
        if not name.startswith("_") and name not in ("faults", "close", "is_closed"):
            object.__getattribute__(self, "faults").step()
        return object.__getattribute__(self, name)
