"""Runs tests several times in one process, and looks for what grows with every round.

usage: python -m tests.soak.leaks [TESTS...]

Counts the objects that the collector knows by type, allocated blocks, descriptors, and in a debug
build of CPython references (`sys.gettotalrefcount`). Fails if in each of the last three rounds
there are more objects of a type of ours, of asyncio, `socket` or `ssl`, or more descriptors. Blocks
and references are only told: pytest keeps some of each run.
"""

from __future__ import annotations

import gc
import itertools
import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.soak.resources import Resources

if TYPE_CHECKING:
    from collections.abc import Callable

#: The first rounds fill caches.
WARM_UP = 2
ROUNDS = 3
WATCHED = ("yamanote", "_asyncio", "asyncio", "_socket", "socket", "_ssl", "ssl", "_contextvars")
DEFAULT = ["tests/tcp", "tests/interop", "tests/sock", "tests/datagrams", "tests/test_timers.py"]


@dataclass(frozen=True)
class Count:
    """What there is after a round."""

    objects: Counter[str]
    blocks: int
    descriptors: int
    #: 0 where CPython does not count.
    references: int

    @classmethod
    def now(cls) -> Count:
        """Collects garbage, and counts."""
        for _ in range(3):
            gc.collect()
        names = Counter(filter(is_watched, map(name_of, gc.get_objects())))
        total: Callable[[], int] = getattr(sys, "gettotalrefcount", int)
        return cls(names, sys.getallocatedblocks(), len(Resources.now().descriptors), total())


def name_of(one: object) -> str:
    """Returns the full name of an object's type."""
    kind: type[object] = type(one)
    return f"{kind.__module__}.{kind.__qualname__}"


def is_watched(name: str) -> bool:
    """Whether it is the name of a type that a loop makes objects of."""
    return name.split(".")[0] in WATCHED


def growing(counts: list[Count]) -> dict[str, list[int]]:
    """Returns the types, and `descriptors`, of which there are more after every round."""
    found: dict[str, list[int]] = {}
    names = {name for count in counts for name in count.objects}
    for name in sorted(names):
        numbers = [count.objects[name] for count in counts]
        if grows(numbers):
            found[name] = numbers
    descriptors = [count.descriptors for count in counts]
    if grows(descriptors):
        found["descriptors"] = descriptors
    return found


def grows(numbers: list[int]) -> bool:
    """Whether each number is larger than the one before."""
    return all(before < after for before, after in itertools.pairwise(numbers))


def main(tests: list[str]) -> int:
    """Plays the rounds and tells what they left. Returns the exit code."""
    options = ["-q", "-p", "no:cacheprovider", "-k", "not asyncio]", *(tests or DEFAULT)]
    counts: list[Count] = []
    for number in range(WARM_UP + ROUNDS):
        if code := pytest.main(options):
            print(f"round {number}: the tests failed", file=sys.stderr)
            return int(code)
        counts.append(Count.now())
    late = counts[WARM_UP - 1 :]
    for before, after in itertools.pairwise(late):
        print(
            f"blocks {after.blocks - before.blocks:+}, references"
            f" {after.references - before.references:+},"
            f" watched objects {after.objects.total() - before.objects.total():+}"
        )
    found = growing(late)
    for name, numbers in found.items():
        print(f"grows: {name}: {numbers}")
    print(f"{len(found)} kinds of objects grow in each of {ROUNDS} rounds")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
