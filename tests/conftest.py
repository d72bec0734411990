"""Fixtures for every test: a loop of each kind, its reports, and a guard against hangs."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.loops import LOOPS
from tests.programs import Program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.loops import LoopFactory

_guard_fd = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--hang-after`."""
    parser.addoption(
        "--hang-after",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="end the run, with every thread's stack, when a test takes longer (0: never)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Registers the markers and keeps the real standard error for the hang guard."""
    config.addinivalue_line("markers", "slow: takes more than a quarter of a second")
    config.addinivalue_line(
        "markers", "hang_after(seconds): a longer allowance than --hang-after for this test"
    )
    if sys.flags.dev_mode:
        # `python -X dev` also puts loops into debug mode, which reports more and keeps more alive.
        # Tests that are about it turn it on themselves; others compare reports, or look for leaks.
        asyncio.coroutines._is_debug_mode = lambda: False  # type: ignore[attr-defined]
    # A shell starts background jobs with Ctrl-C ignored, and children inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Child processes, and their children, report where they crashed.
    os.environ.setdefault("PYTHONFAULTHANDLER", "1")
    # Output is captured at the descriptor while a test runs; the guard's dump must bypass that.
    config.stash[_guard_fd] = os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Restores what `pytest_configure` changed."""
    faulthandler.cancel_dump_traceback_later()
    # Nothing was changed if another plugin's configuration failed first.
    if (descriptor := config.stash.get(_guard_fd, None)) is not None:
        os.close(descriptor)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Arms the hang guard: it dumps all stacks and ends the whole run with exit code 1.

    The guard is a C thread, so it works even if the loop under test holds the GIL. The timeout
    covers set-up, call and tear-down together.
    """
    allowance = float(str(item.config.getoption("--hang-after")))
    if allowance <= 0:
        return
    marker = item.get_closest_marker("hang_after")
    if marker is not None:
        allowance = max(allowance, float(marker.args[0]))
    faulthandler.dump_traceback_later(allowance, exit=True, file=item.config.stash[_guard_fd])


def pytest_runtest_logfinish() -> None:
    """Disarms the hang guard."""
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(params=list(LOOPS))
def loop_name(request: pytest.FixtureRequest) -> str:
    """The module whose loop is under test: `asyncio` or `yamanote`."""
    name: str = request.param
    return name


@pytest.fixture
def loop_factory(loop_name: str) -> LoopFactory:
    """Creates loops of the kind under test. The test closes them."""
    return LOOPS[loop_name]


@pytest.fixture
def reported() -> list[dict[str, Any]]:
    """The contexts passed to `loop`'s exception handler.

    A test that provokes a report asserts on it and clears the list: any remaining report fails the
    test.
    """
    return []


@pytest.fixture
def loop(
    loop_factory: LoopFactory, reported: list[dict[str, Any]]
) -> Iterator[asyncio.AbstractEventLoop]:
    """A stopped loop of each kind; the test fails on any unexpected report."""
    # Only objects made by the test are collected below: with everything that pytest has imported,
    # each collection took thirty times as long.
    gc.freeze()
    instance = loop_factory()
    instance.set_exception_handler(lambda _, context: reported.append(context))
    yield instance
    instance.close()
    # Futures and tasks report unretrieved exceptions from their finalizers.
    gc.collect()
    gc.unfreeze()
    assert reported == []


@pytest.fixture
def program(loop_name: str) -> Program:
    """Runs source code on the loop under test, in a child process."""
    return Program(loop_name)
