"""What is wrong with a run, next to the same run on asyncio."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from tests.fuzz.differences import is_allowed
from tests.fuzz.run import ABSENT, PENDING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuzz.program import Program
    from tests.fuzz.run import Record

#: How a step ends that did not run as often as on the other loop.
NEVER = "not run"

#: How a step ends that has come more or less far. A planted exit leaves whichever run is on then.
HOW_FAR = {NEVER, "a value", "None", "True", "False", "KeyboardInterrupt", "SystemExit"}

#: How one ends that was caught by something outside the loop: when, is the kernel's to say.
WHEN = {
    PENDING,
    "asyncio.exceptions.IncompleteReadError",
    "BrokenPipeError",
    "ConnectionAbortedError",
    "ConnectionResetError",
}

#: As many reports of one kind as are counted.
FEW = 3


@dataclass(frozen=True)
class Failure:
    """One thing that is wrong."""

    #: `mismatch`, `reports`, `callbacks`, `events`, `forbidden`, `dead`, `leak`, `crash`, `hang`.
    kind: str
    #: What stays the same while a program shrinks: the same mistake has the same signature.
    signature: str
    detail: str


def failures(program: Program, theirs: Record | None, ours: Record) -> list[Failure]:
    """What our run did that it must not.

    Args:
        program: what ran.
        theirs: asyncio's run; without it only that is said which would be wrong on any loop.
        ours: our run.
    """
    found = list(_plain(theirs, ours))
    if program.closes_descriptors():
        # Whose number was closed, and by whom once more, is anyone's guess.
        found = [failure for failure in found if failure.kind != "leak"]
    # Where asyncio's own loop is broken by what the program did, there is nothing to compare with.
    if theirs is not None and not theirs.dead and not program.wild:
        found += _compared(program, theirs, ours)
    return found


def _plain(theirs: Record | None, ours: Record) -> Iterator[Failure]:
    """What is wrong on any loop, unless asyncio does it, too."""
    if ours.forbidden and not (theirs and theirs.forbidden):
        first = ours.forbidden[0]
        yield Failure("forbidden", first.split(" ", 1)[1], first)
    if ours.dead and not (theirs and theirs.dead):
        first = ours.dead[0]
        yield Failure("dead", first.split(":")[0], first)
    if len(ours.leaked) > (len(theirs.leaked) if theirs else 0):
        yield Failure("leak", "descriptors", f"left open: {', '.join(ours.leaked)}")


def _compared(program: Program, theirs: Record, ours: Record) -> Iterator[Failure]:
    """Where a run differs from asyncio's.

    How bytes and connections of the kernel fall into callbacks and passes is no promise, and what a
    program does in a callback may hang on it. So a step is compared only where both runs had been
    told the same when it ended, and counts only where nothing comes through the kernel.
    """
    expressions = program.expressions()
    is_quiet = program.is_quiet()
    for name in expressions:
        step = f"{name} = {expressions[name]}"
        turns = zip_longest(
            theirs.outcomes.get(name, ()),
            ours.outcomes.get(name, ()),
            theirs.told.get(name, ()),
            ours.told.get(name, ()),
            fillvalue=NEVER,
        )
        for right, wrong, before, now in turns:
            if right == wrong or ABSENT in (right, wrong):
                continue
            if not is_quiet and (before != now or not _is_telling(right, wrong)):
                return  # What follows may follow from it.
            if not is_allowed(step, right, wrong):
                # Whether a block ran is said once, below, and not for each of its steps.
                if NEVER not in (right, wrong):
                    signature = f"{_shape(expressions[name])}: {right} / {wrong}"
                    yield Failure(
                        "mismatch", signature, f"{step}\n    asyncio: {right}\n    ours: {wrong}"
                    )
                return  # What follows may follow from it.
    if not is_quiet:
        return
    for kind, right_counts, wrong_counts in (
        ("callbacks", theirs.ran, ours.ran),
        ("reports", _few(theirs.reports), _few(ours.reports)),
        ("events", theirs.events, ours.events),
    ):
        if right_counts != wrong_counts:
            more = _difference(right_counts, wrong_counts)
            names = ", ".join(sorted({name.rpartition(" ")[2] for name in more.split("; ")}))
            yield Failure(kind, names if kind != "callbacks" else kind, more)
            return


def _is_telling(right: str, wrong: str) -> bool:
    """Whether two ends differ in an exception, and not in how far they had come."""
    ends = {right, wrong}
    return not (ends & WHEN or ends <= HOW_FAR)


def _few(counts: Counter[str]) -> Counter[str]:
    """Counts, of which high ones are alike: how often a watched descriptor calls is no promise."""
    return Counter({name: min(count, FEW) for name, count in counts.items()})


def _difference(theirs: Counter[str], ours: Counter[str]) -> str:
    """The names that were counted differently."""
    return "; ".join(
        f"asyncio {theirs[name]}, ours {ours[name]}: {name}"
        for name in sorted({*theirs, *ours})
        if theirs[name] != ours[name]
    )


def _shape(expression: str) -> str:
    """A step without its arguments."""
    head = expression.split("(")[0]
    if head in ("wait", "within", "in_thread", "asyncio.ensure_future", "functools.partial"):
        head = "(".join(expression.split("(")[:2])
    return ".".join(part for part in head.split(".") if not part[1:].isdigit())
