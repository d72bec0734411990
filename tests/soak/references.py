"""Repeats each test in one process, and looks for references that every repetition leaves.

usage: python -m tests.soak.references [OPTIONS AND TESTS FOR PYTEST...]

As CPython's own `-R` does: a few runs fill caches, then three are counted, after a collection each.
Needs a debug build of CPython (`sys.gettotalrefcount`), for which extensions must be built, too.
"""

from __future__ import annotations

import gc
import re
import sys
import tempfile
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from _pytest.runner import runtestprotocol

from tests.soak.leaks import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The first runs fill caches.
WARM_UP = 3
RUNS = 3


class Repeating:
    """Plugin of pytest: runs each test several times, and keeps what grows."""

    def __init__(self) -> None:
        """Begin with no test."""
        #: The number of tests that were repeated.
        self.repeated = 0
        #: References that each counted run has left, by the test.
        self.growing: dict[str, list[int]] = {}

    @pytest.fixture
    def tmp_path(self) -> Iterator[Path]:
        """A folder of which nothing is kept: pytest's own remembers each one."""
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: Any, nextitem: pytest.Item | None) -> bool:  # noqa: ANN401 - Its attributes are pytest's own.
        """Runs the test in pytest's place."""
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        gc.collect()
        gc.freeze()
        left: list[int] = []
        # What is there already need not be looked at after each run: it is fifty times as much. But
        # a cycle with something frozen in it is not collected, so perhaps once more, without.
        for absent in ("unfreeze", "freeze"):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(gc, absent, lambda: None)
                left = _left(item, nextitem)
            gc.unfreeze()
            if not left or min(left) <= 0:
                break
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        self.repeated += bool(left)
        if left and min(left) > 0:
            self.growing[item.nodeid] = left
        return True


def _left(item: Any, nextitem: pytest.Item | None) -> list[int]:  # noqa: ANN401
    """Returns what each counted run of a test has left; nothing if it is skipped, or fails."""
    # Numbers in a list would themselves be references.
    totals = array("q", [0] * (WARM_UP + RUNS))
    for number in range(len(totals)):
        item._initrequest()
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        is_over = any(report.outcome != "passed" for report in reports)
        if is_over or not number:
            for report in reports:
                item.ihook.pytest_runtest_logreport(report=report)
        del reports
        if is_over:
            return []
        _forget(item)
        for _ in range(3):
            gc.collect()
        totals[number] = sys.gettotalrefcount()
    return [totals[at] - totals[at - 1] for at in range(WARM_UP, len(totals))]


def _forget(item: Any) -> None:  # noqa: ANN401
    """Drops what pytest, `re` and the test's own parameters keep of a run."""
    item._report_sections.clear()
    re.purge()
    parameters: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    for parameter in parameters.values():
        is_group = isinstance(parameter, tuple)
        for one in cast("tuple[object, ...]", parameter) if is_group else (parameter,):
            if isinstance(one, BaseException):
                one.__traceback__ = one.__context__ = None


def main(options: list[str]) -> int:
    """Repeats tests and tells what they left. Returns the exit code."""
    if not hasattr(sys, "gettotalrefcount"):
        print("skipped: this CPython does not count references (a debug build does)")
        return 0
    repeating = Repeating()
    # Hooks of audits stay as long as the process.
    fixed = ["-q", "-p", "no:cacheprovider", "-k", "not asyncio] and not audit"]
    code = pytest.main([*fixed, *(options or DEFAULT)], plugins=[repeating])
    for test, left in repeating.growing.items():
        print(f"grows: {test}: {left}")
    print(f"references of {len(repeating.growing)} of {repeating.repeated} tests grow in each run")
    return int(code) or int(bool(repeating.growing))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
