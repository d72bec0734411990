"""Shows that a test depends on asyncio's order: two steps that only need to change places."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.ecosystem.execution import Run, Runner
    from tests.ecosystem.suites import Suite

#: The first choices of a test, each of which is changed in turn.
MOST = 25


def find(runner: Runner, suite: Suite, tests: set[str]) -> dict[str, str]:
    """Returns for each test with which swap it fails, if one is enough.

    All else is asyncio's own order: so the test depends on the order of just these two steps, both
    of which were ready. It must fail twice, and alone.
    """
    found: dict[str, str] = {}
    for number in range(MOST):
        if not tests:
            break
        run = runner.run(suite, "yamanote", tests, {"SWAP": number})
        for name in _failed(run):
            # Alone: what other tests leave behind when they fail may be reported in this one.
            alone = runner.run(suite, "yamanote", {name}, {"SWAP": number})
            if name in _failed(alone):
                later, earlier = alone.swaps[name]
                found[name] = f"`{later}` goes before `{earlier}` at choice {number}"
        # A test that made no such choice makes none of a higher number, either.
        tests = run.swaps.keys() - found.keys()
    return found


def _failed(run: Run) -> set[str]:
    """Returns the tests that failed after a swap."""
    return {name for name in run.swaps if run.outcomes.get(name) == "failed"}
