"""What protocols, sockets and files have in common whose steps fail, one at a time."""

from __future__ import annotations

from typing import Any, TypeAlias

#: Of any kind.
Transport: TypeAlias = Any


class Own(BaseException):
    """No `Exception`, and nothing that Python or asyncio knows."""


class Faults:
    """Counts the steps, and fails at one of them."""

    def __init__(self, at: int, error: type[BaseException]) -> None:
        """Has step number `at` raise `error`."""
        self.left = at
        self.error = error
        self.has_raised = False
        self.is_on = True

    def step(self) -> None:
        """One step further."""
        if not self.is_on or self.has_raised:
            return
        if self.left == 0:
            self.has_raised = True
            raise self.error("this step fails")
        self.left -= 1


class Faulty:
    """Looking an attribute up is a step, where it is not our own."""

    faults: Faults

    def __getattribute__(self, name: str) -> Transport:
        """A step, then the attribute."""
        if not name.startswith("_") and name not in ("faults", "close", "is_closed"):
            object.__getattribute__(self, "faults").step()
        return object.__getattribute__(self, name)
