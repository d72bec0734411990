"""`ScheduleError`: what is raised where a program fails in some order of its tasks."""

from __future__ import annotations

import linecache
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from yamanote.testing._choices import Choice, read, written
from yamanote.testing._schedule import Cancel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yamanote.testing._schedule import Schedule, Step

#: So many steps are printed at most, the last ones.
MOST_STEPS: Final = 60


@dataclass(frozen=True)
class Found:
    """Which run of an exploration it was.

    Attributes:
        seed: its seed; `None` for asyncio's own order.
        cancel: where it cancelled a task.
    """

    seed: int | None
    cancel: Cancel | None

    def write(self, choices: Sequence[Choice], fingerprint: str) -> str:
        """Return the text of a schedule."""
        seed = "" if self.seed is None else str(self.seed)
        cancel = ""
        if self.cancel is not None:
            cancel = f"{self.cancel.number}{'g' if self.cancel.waking else 'w'}"
        return f"{seed}.{cancel}.{written(choices)}.{fingerprint}"

    @classmethod
    def read(cls, text: str) -> tuple[Found, list[Choice], str]:
        """Return what a text of `write()` says.

        Raises:
            ValueError: it is no such text.
            TypeError: it is no text at all.
        """
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - A program may.
            raise TypeError(f"a schedule is a text, not {text!r}")
        try:
            seed, cancel, choices, fingerprint = text.split(".")
            if cancel and cancel[-1] not in "gw":
                raise ValueError
            found = cls(
                int(seed) if seed else None,
                Cancel(int(cancel[:-1]), cancel[-1] == "g") if cancel else None,
            )
            return found, read(choices), fingerprint
        except ValueError:
            raise ValueError(f"not a schedule: {text!r}") from None


def replayed(schedule: str) -> str:
    """Return how a program repeats a run: the call that has the schedule."""
    return f"yamanote.testing.replay(main, schedule={schedule!r})"


class ScheduleError(AssertionError):
    """A program fails in some order of its tasks. The cause is what the program raised.

    Attributes:
        seed: which of `explore()`'s; `None` for asyncio's own order.
        schedule: for `replay()`, or in a test for `pytest --yamanote-schedule`.
        fingerprint: a short text that another order of steps would not have.
        steps: which task ran when, from one `await` to the next.
    """

    seed: int | None
    schedule: str
    fingerprint: str
    steps: list[Step]

    def __init__(
        self,
        found: Found,
        choices: Sequence[Choice],
        schedule: Schedule,
        failure: BaseException,
        *,
        came_again: bool,
        how: Callable[[str], str] = replayed,
    ) -> None:
        """Describe a run.

        Args:
            found: which run it was.
            choices: that lead to the failure.
            schedule: of the run with these choices.
            failure: why it failed.
            came_again: whether it failed again in the same order.
            how: returns, for a schedule, what a person does to repeat it.
        """
        self.seed = found.seed
        self.fingerprint = schedule.fingerprint
        self.schedule = found.write(choices, self.fingerprint)
        self.steps = schedule.steps
        unusual = sum(1 for choice in choices if choice.index)
        where = "in asyncio's own order" if found.seed is None else f"with seed {found.seed}"
        lines = [f"fails {where}: {traceback.format_exception_only(failure)[-1].strip()}"]
        if found.cancel is not None:
            moment = "as it was about to go on" if found.cancel.waking else "while it waited"
            lines.append(f"a task was cancelled at await number {found.cancel.number}, {moment}")
        if came_again:
            lines.append(f"to repeat it: {how(self.schedule)}")
            lines.append(
                f"{unusual} of {len(choices)} choices differ from asyncio's order; the steps:"
            )
            lines += _table(self.steps)
        else:
            lines.append("it did not fail again in the same order: something else differs, too")
        super().__init__("\n".join(lines))


def _table(steps: Sequence[Step]) -> list[str]:
    """Return a line for each step."""
    lines: list[str] = []
    if len(steps) > MOST_STEPS:
        lines.append(f"  ... {len(steps) - MOST_STEPS} before these")
    first = max(0, len(steps) - MOST_STEPS)
    width = max((len(step.task) for step in steps[first:]), default=0)
    for number, step in enumerate(steps[first:], first + 1):
        line = f"  {number:3} {step.task:{width}}  {'begins' if step.first else 'goes on'}"
        if step.place is not None:
            source = linecache.getline(step.place.file, step.place.line).strip()
            line += f" at {step.place}" + (f": {source}" if source else "")
        lines.append(line)
    return lines
