"""A pytest plugin for the suites: selects the loop that asyncio creates, and records outcomes.

The environment variables are `LOOP`, as `module:factory`; `OUTCOMES`, the file to append to;
`SEED`, for yamanote's loop in the order of that seed; `SWAP`, for asyncio's order but for the
choice of that number, from 0; `ONLY`, a file with the names of the tests to run; and `FREEZE`.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from typing import Any

    import pytest

_OUTCOMES = os.environ["OUTCOMES"]

#: The order of each loop that the present test has made, if there is a seed or a swap.
_schedules: list[Any] = []


def _bind() -> None:
    """Makes asyncio's names for a loop refer to the one in the environment.

    Imported by path, because the suites have their own packages named `tests`.
    """
    path = Path(__file__).resolve().parents[2] / "conformance" / "binding.py"
    spec = importlib.util.spec_from_file_location("loop_binding", path)
    assert spec is not None
    assert spec.loader is not None
    binding = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(binding)
    arranged = "SEED" in os.environ or "SWAP" in os.environ
    binding.bind(_arranged_loop if arranged else binding.load_factory(os.environ["LOOP"]))


class OneSwap:
    """A chooser that keeps asyncio's order but once, where the second goes before the first."""

    def __init__(self, number: int) -> None:
        """Swap at the choice of this number, from 0."""
        self.swapped: list[str] = []
        self._left = number

    def choose(self, names: Sequence[str]) -> int:
        """Returns the index of one of the candidates."""
        self._left -= 1
        if self._left != -1:
            return 0
        self.swapped = [names[1], names[0]]
        return 1


def _arranged_loop() -> asyncio.AbstractEventLoop:
    """Returns a loop in the order of the seed, on the real clock: README.md says why."""
    schedules = importlib.import_module("yamanote.testing._schedule")
    choices = importlib.import_module("yamanote.testing._choices")
    chooser = (
        choices.Priorities(int(os.environ["SEED"]))
        if "SEED" in os.environ
        else OneSwap(int(os.environ["SWAP"]))
    )
    schedule = schedules.Schedule(chooser, most_steps=math.inf)
    loops = importlib.import_module("yamanote.testing._loop")
    loop: asyncio.AbstractEventLoop = loops.ArrangedLoop(schedule=schedule)
    _schedules.append((schedule, chooser))
    return loop


_bind()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out all tests but those of the environment."""
    if "ONLY" not in os.environ:
        return
    only = set(json.loads(Path(os.environ["ONLY"]).read_text(encoding="utf-8")))
    left_out = [item for item in items if item.nodeid not in only]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item.nodeid in only]


def pytest_collection_finish() -> None:
    """Has garbage collections leave out what is there now, if the environment asks for it."""
    if "FREEZE" in os.environ:
        gc.collect()
        gc.freeze()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Appends at once, so that the outcomes of a process that crashes are kept."""
    if report.when == "call" or report.outcome != "passed":
        _append(report.nodeid, report.outcome)
    if report.when == "teardown":
        _append(report.nodeid, sum(len(schedule.choices) for schedule, _ in _schedules))
        swapped = [chooser.swapped for _, chooser in _schedules if isinstance(chooser, OneSwap)]
        if any(swapped):
            _append(report.nodeid, next(filter(None, swapped)))
        _schedules.clear()


def pytest_sessionfinish() -> None:
    """Records a regular end, as opposed to a crash."""
    _append(None, "finished")


def _append(name: str | None, outcome: str | int | list[str]) -> None:
    with open(_OUTCOMES, "a", encoding="utf-8") as file:
        file.write(json.dumps([name, outcome]) + "\n")
