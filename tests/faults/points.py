"""Where a fault strikes: a text that repeats it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar


@dataclass(frozen=True)
class Point:
    """One fault, in one scenario. Its text has the form `SCENARIO KIND WHAT AT`."""

    #: Kinds, in the order in which they are tried.
    KINDS: ClassVar = ("call", "memory", "reserve", "cancel", "end")

    scenario: str
    #: `call`: a call of the C library fails. `memory`: an allocation of Python's fails.
    #: `reserve`: what Rust's code reserves (`try_reserve` and its kind) is refused.
    #: `cancel`: a task is cancelled where it waits. `end`: something ends at a callback.
    kind: str
    #: `call`: `NAME=ERROR`. `memory`, `reserve`: `warm` or `cold`. `cancel`: after how many
    #: passes of the loop. `end`: `close`, `abort`, `stop`, `interrupt` or `fork`.
    what: str
    #: The number of the call, allocation, reservation, wait or callback, from 1.
    at: int
    #: Whether all that follow fail, too.
    lasts: bool = False

    def __str__(self) -> str:
        """Returns the text that `parse()` takes."""
        return f"{self.scenario} {self.kind} {self.what} {self.at}{'-' * self.lasts}"

    @classmethod
    def parse(cls, text: str) -> Point:
        """Returns the point with this text."""
        scenario, kind, what, at = text.split()
        return cls(scenario, kind, what, int(at.rstrip("-")), at.endswith("-"))

    def later(self, at: int) -> Point:
        """Returns the point at another number."""
        return replace(self, at=at)
