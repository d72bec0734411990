"""One run of a suite: a pytest process, and what it tells."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tests.ecosystem.environment import Environment
    from tests.ecosystem.suites import Suite

LOOPS = {"asyncio": "asyncio:new_event_loop", "yamanote": "yamanote:new_event_loop"}

#: Variables that change what the suites do, or compile all of their files in each run.
LEFT_OUT = {"CI", "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True)
class Run:
    """The results of one run of pytest.

    Attributes:
        outcomes: `passed`, `failed` or `skipped` by test.
        end: why the process ended early, or empty.
        output: its complete output.
        seconds: its duration.
        choices: with a seed, how often each test left an order open.
        swaps: with a swap, which step went before which, by test.
    """

    outcomes: Mapping[str, str]
    end: str
    output: str
    seconds: float
    choices: Mapping[str, int] = field(default_factory=dict[str, int])
    swaps: Mapping[str, list[str]] = field(default_factory=dict[str, list[str]])

    def passed(self) -> set[str]:
        """The tests that passed."""
        return {name for name, outcome in self.outcomes.items() if outcome == "passed"}


@dataclass(frozen=True)
class Runner:
    """Runs suites in an environment.

    Attributes:
        timeout_s: the longest that a run may take.
    """

    environment: Environment
    timeout_s: float

    def run(
        self,
        suite: Suite,
        loop: str,
        only: Collection[str] | None = None,
        order: Mapping[str, int] | None = None,
    ) -> Run:
        """Runs a suite, or some of its tests, on a loop.

        Args:
            suite: which.
            loop: the name of the loop.
            only: the tests, if not all of them.
            order: `SEED` or `SWAP`, as the plugin has it.
        """
        with tempfile.TemporaryDirectory(prefix="ecosystem-") as room:
            outcomes = Path(room, "outcomes")
            outcomes.touch()
            log = Path(room, "log")
            # A loop with another name would be treated as the default loop of users.
            variables = {
                **{name: value for name, value in os.environ.items() if name not in LEFT_OUT},
                "LOOP": LOOPS[loop],
                "OUTCOMES": str(outcomes),
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "PYTHONPATH": str(self.environment.path),
                "TMPDIR": room,
            }
            for name, number in (order or {}).items():
                variables[name] = str(number)
            if order and suite.freezes:
                variables["FREEZE"] = "1"
            if only is not None:
                if "--pyargs" not in suite.tests:
                    suite = replace(suite, tests=tuple(sorted({it.split("::")[0] for it in only})))
                selected = Path(room, "only")
                selected.write_text(json.dumps(sorted(only)), encoding="utf-8")
                variables["ONLY"] = str(selected)
            started = time.monotonic()
            end = self._execute(suite, variables, log)
            text = log.read_text(encoding="utf-8", errors="replace")
            title = f"{suite.name} on {loop} {order or ''}"
            return _read(outcomes, end, f"{title}\n{text}", time.monotonic() - started)

    def _execute(self, suite: Suite, variables: Mapping[str, str], log: Path) -> str:
        """Runs pytest; returns why it ended early, or nothing."""
        source = self.environment.source(suite)
        with log.open("wb") as output:
            process = subprocess.Popen(
                self._command(suite),
                cwd=source,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                code = process.wait(self.timeout_s)
                return "" if code >= 0 else f"ended by signal {-code}"
            except subprocess.TimeoutExpired:
                return f"not finished after {self.timeout_s:.0f} s"
            finally:
                # Processes that the tests left running are killed, too.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _command(self, suite: Suite) -> list[str | Path]:
        command: list[str | Path] = [self.environment.python]
        command += ["-X", "faulthandler", "-m", "pytest", "-q", "-ra", "--tb=short"]
        # Overrides the project's own settings: many processes, coverage, reports.
        command += ["-o", "addopts=", "-p", "no:cacheprovider", "-p", "pytest_timeout"]
        command += ["--rootdir", self.environment.source(suite)]
        command += ["--config-file", self.environment.configuration(suite)]
        command += ["--timeout", "60", "-o", "faulthandler_timeout=90"]
        for plugin in ("loop_of_choice", *suite.plugins):
            command += ["-p", plugin]
        return [*command, *suite.options, *suite.tests]


def _read(outcomes: Path, end: str, output: str, seconds: float) -> Run:
    """Returns what the plugin has recorded."""
    results: dict[str, str] = {}
    choices: dict[str, int] = {}
    swaps: dict[str, list[str]] = {}
    finished = False
    for line in outcomes.read_text(encoding="utf-8").splitlines():
        name, outcome = json.loads(line)
        if name is None:
            finished = True
        elif isinstance(outcome, int):
            choices[name] = choices.get(name, 0) + outcome
        elif isinstance(outcome, list):
            swaps[name] = outcome
        elif results.get(name) != "failed":
            results[name] = outcome
    if not finished and not end:
        end = "ended early"
    return Run(results, end, output, seconds, choices, swaps)
