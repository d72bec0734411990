"""A pytest plugin for the suites: selects the loop that asyncio creates, and records outcomes.

The environment variables are `LOOP`, as `module:factory`, and `OUTCOMES`, the file to append to.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

_OUTCOMES = os.environ["OUTCOMES"]


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
    binding.bind(binding.load_factory(os.environ["LOOP"]))


_bind()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Appends at once, so that the outcomes of a process that crashes are kept."""
    if report.when == "call" or report.outcome != "passed":
        with open(_OUTCOMES, "a", encoding="utf-8") as file:
            file.write(json.dumps([report.nodeid, report.outcome]) + "\n")


def pytest_sessionfinish() -> None:
    """Records a regular end, as opposed to a crash."""
    with open(_OUTCOMES, "a", encoding="utf-8") as file:
        file.write(json.dumps([None, "finished"]) + "\n")
