"""Handles that are looked at, changed and called by others than the loop that made them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEDULE: dict[str, Callable[..., asyncio.Handle]] = {
    "call_soon": lambda loop, *call: loop.call_soon(*call),
    "call_soon_threadsafe": lambda loop, *call: loop.call_soon_threadsafe(*call),
    "call_later": lambda loop, *call: loop.call_later(0, *call),
    "call_at": lambda loop, *call: loop.call_at(0, *call),
}
COUNTS = (0, 1, 3, 4, 5, 6, 40)


def ignores(*_: object) -> None:
    """A callback."""


def attributes_of(handle: object) -> Any:
    """The handle, whose private attributes type checkers do not know."""
    return handle


def run_once(loop: asyncio.AbstractEventLoop) -> None:
    """Runs what is ready, and timers that are due."""
    loop.call_later(0, loop.stop)
    loop.run_forever()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("how", SCHEDULE)
def test_a_callback_that_raises_is_reported_however_many_arguments_it_has(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]], how: str, count: int
) -> None:
    error = ValueError("an ordinary exception")

    def fails(*_: object) -> None:
        raise error

    handle = SCHEDULE[how](loop, fails, *range(count))
    run_once(loop)
    (context,) = reported
    reported.clear()
    assert context["exception"] is error
    assert context["handle"] is handle
    assert f"fails({', '.join(map(str, range(count)))})" in context["message"]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("how", SCHEDULE)
def test_a_handle_shows_all_its_arguments(
    loop: asyncio.AbstractEventLoop, how: str, count: int
) -> None:
    handle = attributes_of(SCHEDULE[how](loop, ignores, *range(count)))
    assert handle._args == tuple(range(count))
    assert f"ignores({', '.join(map(str, range(count)))})" in repr(handle)
    run_once(loop)
    assert handle._args == tuple(range(count))
    handle.cancel()
    assert handle._args is None
    assert handle._callback is None
    assert "cancelled" in repr(handle)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("how", SCHEDULE)
def test_a_handle_cancelled_in_debug_mode_still_shows_its_arguments(
    loop: asyncio.AbstractEventLoop, how: str, count: int
) -> None:
    loop.set_debug(True)
    handle = SCHEDULE[how](loop, ignores, *range(count))
    handle.cancel()
    assert "cancelled" in repr(handle)
    assert f"ignores({', '.join(map(str, range(count)))})" in repr(handle)
    run_once(loop)


@pytest.mark.parametrize("count", COUNTS)
def test_timers_are_compared_by_when_what_and_with_what(
    loop: asyncio.AbstractEventLoop, count: int
) -> None:
    first = loop.call_at(5, ignores, *range(count))
    same = loop.call_at(5, ignores, *range(count))
    other = loop.call_at(5, ignores, *range(count), None)
    later = loop.call_at(6, ignores, *range(count))
    theirs = asyncio.TimerHandle(5, ignores, tuple(range(count)), loop)
    assert first == same
    assert theirs == first
    assert first == theirs
    assert first != other
    assert first != later
    assert first <= same
    assert first >= theirs
    assert first < later
    assert theirs < later
    assert sorted([later, theirs]) == [theirs, later]
    assert hash(first) == hash(theirs)
    assert first != 5
