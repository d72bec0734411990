"""Which of several tasks goes first: by priorities, at random, or as before."""

from __future__ import annotations

import random
from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Strategy: TypeAlias = Literal["pct", "uniform"]
"""By which rule a seed leads to an order: "pct" gives each task a priority, which changes rarely;
"uniform" chooses each time anew."""

#: How likely a task loses its priority at a choice; a seed has one of these. Programs differ in how
#: many steps they take, and so in what finds most.
CHANGES: Final = (0.0, 1 / 64, 1 / 16, 1 / 4)

#: The characters of a number in a schedule's text.
DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: Of more candidates, one of the first so many is chosen.
MOST: Final = len(DIGITS) - 1


@dataclass(frozen=True)
class Choice:
    """One decision.

    Attributes:
        count: of how many candidates.
        index: of the one that was chosen; 0 is the one that asyncio would take.
        check: a digit that the names of the candidates lead to.
    """

    count: int
    index: int
    check: str


def written(choices: Sequence[Choice]) -> str:
    """Return choices as text."""
    return "".join(f"{DIGITS[it.count]}{DIGITS[it.index]}{it.check}" for it in choices)


def read(text: str) -> list[Choice]:
    """Return the choices of a text.

    Raises:
        ValueError: it is not the text of choices.
    """
    if len(text) % 3 or not set(text) <= set(DIGITS):
        raise ValueError(f"not a schedule: {text!r}")
    parts = [text[start : start + 3] for start in range(0, len(text), 3)]
    return [Choice(DIGITS.index(it[0]), DIGITS.index(it[1]), it[2]) for it in parts]


class Chooser(Protocol):
    """Makes the decisions of a schedule."""

    def choose(self, names: Sequence[str]) -> int:
        """Return the index of one of these candidates, which asyncio would run in this order."""
        ...


class Priorities:
    """Runs the task of the highest priority, and changes priorities only now and then.

    Most mistakes in concurrent programs need few things to happen in a certain order (their
    "depth"). Random priorities find such an order far more often than random single choices
    (Burckhardt et al., "A randomized scheduler with probabilistic guarantees of finding bugs").
    """

    def __init__(self, seed: int) -> None:
        """Draw all that is random from `seed`."""
        self._random = random.Random(index(seed))
        self._change = self._random.choice(CHANGES)
        self._priorities: dict[str, float] = {}
        self._lowest = 0.0

    def choose(self, names: Sequence[str]) -> int:
        """Return the index of the candidate with the highest priority."""
        first = self._first(names)
        if self._random.random() < self._change:
            self._lowest -= 1
            self._priorities[names[first]] = self._lowest
            first = self._first(names)
        return first

    def _first(self, names: Sequence[str]) -> int:
        for name in names:
            if name not in self._priorities:
                self._priorities[name] = self._random.random()
        return max(range(len(names)), key=lambda it: self._priorities[names[it]])


class Uniform:
    """Takes any candidate, each time anew."""

    def __init__(self, seed: int) -> None:
        """Draw all that is random from `seed`."""
        self._random = random.Random(index(seed))

    def choose(self, names: Sequence[str]) -> int:
        """Return the index of any candidate."""
        return self._random.randrange(len(names))


class Given:
    """Repeats choices. After them, and where one does not fit, it keeps asyncio's order."""

    def __init__(self, indices: Sequence[int]) -> None:
        """Repeat the choices of these indices."""
        self._indices = iter(indices)

    def choose(self, names: Sequence[str]) -> int:
        """Return the next index."""
        place = next(self._indices, 0)
        return place if place < len(names) else 0


def chooser_of(strategy: Strategy) -> Callable[[int], Chooser]:
    """Return the class of choosers that a strategy names.

    Raises:
        ValueError: it is unknown.
    """
    if strategy == "pct":
        return Priorities
    if strategy == "uniform":
        return Uniform
    raise ValueError(f"strategy must be 'pct' or 'uniform', not {strategy!r}")
