"""`EventLoopPolicy` and `install()`, on versions whose asyncio has policies."""

from __future__ import annotations

import asyncio
import sys
import warnings
from typing import TYPE_CHECKING

import pytest

import yamanote
from tests.programs import run_python

if TYPE_CHECKING:
    from collections.abc import Iterator

# asyncio's functions are deprecated from 3.14 on; their warnings do not matter here.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*asyncio.*_event_loop_policy.*:DeprecationWarning"),
    pytest.mark.skipif(sys.version_info >= (3, 16), reason="asyncio's policies end with 3.15"),
]


@pytest.fixture
def _policy_put_back() -> Iterator[None]:
    """Restores the previous policy."""
    yield
    asyncio.set_event_loop_policy(None)  # pyright: ignore[reportDeprecated]


async def running() -> asyncio.AbstractEventLoop:
    """Returns the running loop."""
    return asyncio.get_running_loop()


@pytest.mark.usefixtures("_policy_put_back")
def test_install_makes_ours_the_loop_of_asyncio() -> None:
    yamanote.install()
    assert isinstance(asyncio.run(running()), yamanote.Loop)
    loop = asyncio.new_event_loop()
    assert type(loop) is yamanote.Loop
    loop.close()


@pytest.mark.usefixtures("_policy_put_back")
def test_the_policy_is_accepted_by_asyncio() -> None:
    asyncio.set_event_loop_policy(yamanote.EventLoopPolicy())  # pyright: ignore[reportDeprecated]
    assert isinstance(asyncio.run(running()), yamanote.Loop)


@pytest.mark.usefixtures("_policy_put_back")
def test_the_policy_remembers_the_loop_that_was_set() -> None:
    policy = yamanote.EventLoopPolicy()
    loop = policy.new_event_loop()
    policy.set_event_loop(loop)
    assert policy.get_event_loop() is loop
    policy.set_event_loop(None)
    loop.close()


def test_making_a_policy_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yamanote.EventLoopPolicy()


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="child watchers are deprecated from 3.12")
def test_child_watchers_are_asyncios() -> None:
    if sys.version_info < (3, 12):
        watcher = yamanote.EventLoopPolicy().get_child_watcher()
        assert type(watcher) is type(asyncio.DefaultEventLoopPolicy().get_child_watcher())


GONE = """
import asyncio
from asyncio import unix_events

del unix_events._UnixDefaultEventLoopPolicy
from yamanote import *

for use in (EventLoopPolicy, install):
    try:
        use()
    except RuntimeError as error:
        print(error)
assert run(asyncio.sleep(0, "works")) == "works"
"""


def test_without_policies_the_names_say_what_to_use_instead() -> None:
    child = run_python("-W", "error", "-c", GONE)
    assert child.returncode == 0, child.stderr
    first, second = child.stdout.splitlines()
    assert first == second
    assert "yamanote.run(main())" in first
    assert "loop_factory=yamanote.new_event_loop" in first
