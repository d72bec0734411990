"""Finds failures in a run, compared with the same run on asyncio."""

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

#: The end of a step that did not run as often as on the other loop.
NEVER = "not run"

#: Ends of a step that depend on progress. An injected exit may end either of two nested runs.
HOW_FAR = {NEVER, "a value", "None", "True", "False", "KeyboardInterrupt", "SystemExit"}

#: Ends of a step that depend on an outside event, whose time is up to the kernel.
WHEN = {
    PENDING,
    "asyncio.exceptions.IncompleteReadError",
    "BrokenPipeError",
    "ConnectionAbortedError",
    "ConnectionResetError",
}

#: Reports of one kind are counted up to this number.
FEW = 3


@dataclass(frozen=True)
class Failure:
    """One failure."""

    #: `mismatch`, `reports`, `callbacks`, `events`, `forbidden`, `dead`, `leak`, `crash`, `hang`.
    kind: str
    #: The part that stays the same while a program shrinks: same bug, same signature.
    signature: str
    detail: str


def failures(program: Program, theirs: Record | None, ours: Record) -> list[Failure]:
    """Returns the failures of our run.

    Args:
        program: the program.
        theirs: asyncio's run; without it, only failures that do not need a comparison are found.
        ours: our run.
    """
    found = list(_plain(theirs, ours))
    if program.closes_descriptors():
        # After a double close of a descriptor number, results are unpredictable.
        found = [failure for failure in found if failure.kind != "leak"]
    # If the program broke asyncio's own loop, there is nothing to compare with.
    if theirs is not None and not theirs.dead and not program.wild:
        found += _compared(program, theirs, ours)
    return found


def _plain(theirs: Record | None, ours: Record) -> Iterator[Failure]:
    """Returns failures on any loop, unless asyncio has them, too."""
    if ours.forbidden and not (theirs and theirs.forbidden):
        first = ours.forbidden[0]
        yield Failure("forbidden", first.split(" ", 1)[1], first)
    if ours.dead and not (theirs and theirs.dead):
        first = ours.dead[0]
        yield Failure("dead", first.split(":")[0], first)
    if len(ours.leaked) > (len(theirs.leaked) if theirs else 0):
        yield Failure("leak", "descriptors", f"left open: {', '.join(ours.leaked)}")


def _compared(program: Program, theirs: Record, ours: Record) -> Iterator[Failure]:
    """Returns differences between a run and asyncio's.

    The distribution of kernel data over callbacks and passes is unspecified, and a program may
    depend on it. So a step is compared only if both runs had recorded the same events when it
    ended, and counts are compared only if the program uses no data from the kernel.
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
                return  # Later differences may be consequences.
            if not is_allowed(step, right, wrong):
                # Whether a block ran is reported once, below, and not for each of its steps.
                if NEVER not in (right, wrong):
                    signature = f"{_shape(expressions[name])}: {right} / {wrong}"
                    yield Failure(
                        "mismatch", signature, f"{step}\n    asyncio: {right}\n    ours: {wrong}"
                    )
                return  # Later differences may be consequences.
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
    """Returns whether two ends differ in an exception, and not only in progress."""
    ends = {right, wrong}
    return not (ends & WHEN or ends <= HOW_FAR)


def _few(counts: Counter[str]) -> Counter[str]:
    """Limits counts, because the number of calls for a watched descriptor is unspecified."""
    return Counter({name: min(count, FEW) for name, count in counts.items()})


def _difference(theirs: Counter[str], ours: Counter[str]) -> str:
    """Returns the names with different counts."""
    return "; ".join(
        f"asyncio {theirs[name]}, ours {ours[name]}: {name}"
        for name in sorted({*theirs, *ours})
        if theirs[name] != ours[name]
    )


def _shape(expression: str) -> str:
    """Returns a step without its arguments."""
    head = expression.split("(")[0]
    if head in ("wait", "within", "in_thread", "asyncio.ensure_future", "functools.partial"):
        head = "(".join(expression.split("(")[:2])
    return ".".join(part for part in head.split(".") if not part[1:].isdigit())
