"""Generates a program from a seed, the same one on every machine."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.fuzz.calls import SURFACES
from tests.fuzz.pools import POOLS
from tests.fuzz.program import MAIN, Program, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.fuzz.calls.call import Call

_OPTIONAL = re.compile(r"\[((?:, )?[^\[\]']*\{[^\[\]]*)\]")
_GAP = re.compile(r"\{(\w+)\}")

#: The probability that an optional part is included.
OPTIONAL = 0.3

#: The probability that a program's results are not compared.
WILD = 0.3

#: The probability that a gap gets a hostile value. One of these is chosen per program, so that some
#: programs get far and others fail at once.
HOSTILITY = (0.03, 0.1, 0.25, 0.5)

#: The maximum nesting of blocks in callbacks of blocks.
DEEPEST = 3

#: Surfaces whose calls take milliseconds are chosen less often than the others.
EXPENSIVE = {"children": 0.1, "files": 0.4, "looks": 0.4}

FAILURES = (
    "fail(ZeroDivisionError('planted'))",
    "fail(OSError(5, 'planted'))",
    "fail(asyncio.CancelledError())",
    "fail(KeyboardInterrupt())",
    "fail(SystemExit(3))",
)
SMOOTH_FAILURES = 3  # The first ones do not end the run.


@dataclass(frozen=True)
class Choice:
    """The calls that programs are generated from."""

    surfaces: dict[str, tuple[Call, ...]]
    #: By the kind of a result: the calls that create it, from other surfaces if necessary.
    makers: dict[str, tuple[Call, ...]]

    @classmethod
    def of(cls, only: Iterable[str] = (), without: Iterable[str] = ()) -> Choice:
        """Returns the selected calls.

        Args:
            only: names of surfaces; if empty, all of them.
            without: names of surfaces, or parts of patterns of calls, to be omitted.
        """
        only, without = set(only), set(without)
        surfaces = {
            name: tuple(call for call in calls if not any(part in call.pattern for part in without))
            for name, calls in SURFACES.items()
            if name not in without and (not only or name in only)
        }
        makers = {**_makers(SURFACES), **_makers(surfaces)}
        return cls({name: calls for name, calls in surfaces.items() if calls}, makers)


def _makers(surfaces: dict[str, tuple[Call, ...]]) -> dict[str, tuple[Call, ...]]:
    makers: dict[str, tuple[Call, ...]] = {}
    for calls in surfaces.values():
        for call in calls:
            for _, kind in call.makes:
                makers[kind] = (*makers.get(kind, ()), call)
    return makers


@dataclass
class _Generator:
    choice: Choice
    random: random.Random
    wild: bool
    hostility: float = 0.0
    steps: list[tuple[str, Step]] = field(default_factory=list[tuple[str, Step]])
    #: By kind: the results of the main block.
    results: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    calls: list[Call] = field(default_factory=list["Call"])
    numbers: int = 0
    blocks: int = 0

    def generate(self) -> Program:
        self.hostility = self.random.choice(HOSTILITY)
        names = sorted(self.choice.surfaces)
        # A few surfaces per program, so that their interactions occur more often.
        weights = [EXPENSIVE.get(name, 1.0) for name in names]
        chosen = self.random.choices(names, weights, k=self.random.randint(1, 3))
        for name in sorted({*chosen, "extras"}):
            self.calls += [
                call
                for call in self.choice.surfaces.get(name, ())
                if call.weight and (self.wild or not call.wild)
            ]
        for _ in range(self.random.randint(10, 60)):
            self._add(MAIN, self._pick_call(), 0)
        return Program(tuple(self.steps), self.wild).reachable()

    def _pick_call(self) -> Call:
        return self.random.choices(self.calls, [call.weight for call in self.calls])[0]

    def _add(self, block: str, call: Call, depth: int) -> None:
        expression = self._fill(self._cut(call.pattern), depth)
        self.numbers += 1
        name = f"r{self.numbers}"
        self.steps.append((block, Step(name, expression, call.waits)))
        if block == MAIN:  # Other blocks may never run.
            for suffix, kind in call.makes:
                self.results.setdefault(kind, []).append(name + suffix)

    def _cut(self, pattern: str) -> str:
        """Removes optional parts, most of the time."""

        def decide(match: re.Match[str]) -> str:
            return match[1] if self.random.random() < OPTIONAL else ""

        return _OPTIONAL.sub(decide, pattern)

    def _fill(self, pattern: str, depth: int) -> str:
        """Fills the gaps."""
        filler: Callable[[re.Match[str]], str] = lambda match: self._value(match[1], depth)  # noqa: E731
        return _GAP.sub(filler, pattern)

    def _value(self, kind: str, depth: int) -> str:
        if kind == "block":
            return f'"{self._block(depth + 1)}"'
        pool = POOLS.get(kind)
        if pool is None:
            return self._result(kind)
        values = pool.good
        chance = self.random.random()
        if self.wild and pool.wild and chance < self.hostility / 2:
            values = pool.wild
        elif pool.hostile and chance < self.hostility:
            values = pool.hostile
        return self._fill(self.random.choice(values), depth)

    def _result(self, kind: str) -> str:
        """Returns an earlier result of that kind, most likely a recent one."""
        known = self.results.get(kind)
        if not known or self.random.random() < 0.05:
            # Created before the step that uses it, which is not yet added: in the main block.
            self._add(MAIN, self.random.choice(self.choice.makers[kind]), 0)
            known = self.results[kind]
        place = min(int(self.random.expovariate(0.5)), len(known) - 1)
        return known[-1 - place]

    def _block(self, depth: int) -> str:
        self.blocks += 1
        name = f"b{self.blocks}"
        if depth > DEEPEST:
            return name
        for _ in range(self.random.choice((0, 1, 1, 1, 2, 3))):
            self._add(name, self._pick_call(), depth)
        if self.random.random() < 0.2:
            smooth = FAILURES[:SMOOTH_FAILURES]
            failures = FAILURES if self.random.random() < 0.2 else smooth
            self.numbers += 1
            self.steps.append((name, Step(f"r{self.numbers}", self.random.choice(failures))))
        return name


def generate(seed: int, choice: Choice) -> Program:
    """Returns the program of a seed."""
    source = random.Random(f"yamanote {seed}")
    return _Generator(choice, source, source.random() < WILD).generate()
