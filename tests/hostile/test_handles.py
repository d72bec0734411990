"""Handles that are inspected, modified and called by other code than their loop."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import gc
import pickle
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from tests.programs import Program

Schedule = Callable[..., asyncio.Handle]


def schedulers(loop: asyncio.AbstractEventLoop) -> dict[str, Schedule]:
    """Returns the methods that schedule a handle that is due at once."""
    return {
        "call_soon": loop.call_soon,
        "call_soon_threadsafe": loop.call_soon_threadsafe,
        "call_later": functools.partial(loop.call_later, 0),
        "call_at": functools.partial(loop.call_at, 0),
    }


HOW = ("call_soon", "call_soon_threadsafe", "call_later", "call_at")
COUNTS = (0, 1, 3, 4, 5, 6, 40)


def ignores(*_: object) -> None:
    """A callback."""


class Calls:
    """A callback that records its arguments."""

    def __init__(self) -> None:
        """Start without calls."""
        self.seen: list[tuple[object, ...]] = []

    def __call__(self, *arguments: object) -> None:
        """Record the arguments."""
        self.seen.append(arguments)


def attributes_of(handle: object) -> Any:  # noqa: ANN401 - Private names, unknown to type checkers.
    """Returns the handle, untyped, for access to its attributes."""
    return handle


def run_once(loop: asyncio.AbstractEventLoop) -> None:
    """Runs what is ready, and timers that are due."""
    loop.call_later(0, loop.stop)
    loop.run_forever()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("how", HOW)
def test_a_callback_that_raises_is_reported_however_many_arguments_it_has(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]], how: str, count: int
) -> None:
    error = ValueError("an ordinary exception")

    def fails(*_: object) -> None:
        raise error

    handle = schedulers(loop)[how](fails, *range(count))
    run_once(loop)
    (context,) = reported
    reported.clear()
    assert context["exception"] is error
    assert context["handle"] is handle
    assert "fails(" in context["message"]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("how", HOW)
def test_a_handle_shows_all_its_arguments(
    loop: asyncio.AbstractEventLoop, how: str, count: int
) -> None:
    loop.set_debug(True)  # Newer versions show arguments only in debug mode.
    handle = attributes_of(schedulers(loop)[how](ignores, *range(count)))
    assert handle._args == tuple(range(count))
    assert f"ignores({', '.join(map(str, range(count)))})" in repr(handle)
    run_once(loop)
    assert handle._args == tuple(range(count))
    handle.cancel()
    assert handle._args is None
    assert handle._callback is None
    assert "cancelled" in repr(handle)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("how", HOW)
def test_a_handle_cancelled_in_debug_mode_still_shows_its_arguments(
    loop: asyncio.AbstractEventLoop, how: str, count: int
) -> None:
    loop.set_debug(True)
    handle = schedulers(loop)[how](ignores, *range(count))
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


def test_a_callback_may_replace_what_its_own_handle_holds(
    loop: asyncio.AbstractEventLoop,
) -> None:
    seen: list[object] = []
    handle: Any

    def callback(*arguments: object) -> None:
        handle._callback = ignores
        handle._args = ()
        handle._context = contextvars.copy_context()
        seen.append(arguments)

    for count in COUNTS:
        handle = loop.call_soon(callback, *range(count))
        run_once(loop)
        assert handle._args == ()
        assert handle._callback is ignores
    assert seen == [tuple(range(count)) for count in COUNTS]


def test_what_is_set_on_a_handle_before_it_runs_is_what_runs(
    loop: asyncio.AbstractEventLoop,
) -> None:
    seen: list[object] = []
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
    context = contextvars.copy_context()
    context.run(variable.set, 5)

    def callback(*arguments: object) -> None:
        seen.append((*arguments, variable.get()))

    handle = attributes_of(loop.call_soon(ignores, 1, 2))
    handle._callback = callback
    handle._args = (3, 4)
    handle._context = context
    cancelled = attributes_of(loop.call_soon(callback))
    cancelled._cancelled = True
    run_once(loop)
    assert seen == [(3, 4, 5)]
    assert handle._callback is callback
    assert cancelled.cancelled()


def test_arguments_may_be_any_iterable_that_is_set(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    calls = Calls()
    handle = attributes_of(loop.call_soon(calls, 1))
    handle._args = [2, 3]
    run_once(loop)
    assert calls.seen == [(2, 3)]
    handle = attributes_of(loop.call_soon(calls, 1))
    handle._args = None
    run_once(loop)
    assert isinstance(reported.pop()["exception"], TypeError)


def test_asyncio_s_own_methods_work_on_the_loop_s_handles(
    loop: asyncio.AbstractEventLoop,
) -> None:
    theirs: Any = asyncio.Handle
    for how, schedule in schedulers(loop).items():
        for count in COUNTS:
            calls = Calls()
            handle = attributes_of(schedule(calls, *range(count)))
            theirs._run(handle)
            assert calls.seen == [tuple(range(count))], how
            assert theirs._repr_info(handle)
            assert theirs.__repr__(handle).startswith("<")
            assert not theirs.cancelled(handle)
            theirs.cancel(handle)
            assert theirs.cancelled(handle)
            assert handle.cancelled()
            assert handle._callback is None
            assert handle._args is None
            handle.cancel()
    run_once(loop)


def test_asyncio_s_timer_methods_work_on_the_loop_s_timers(
    loop: asyncio.AbstractEventLoop,
) -> None:
    timer = attributes_of(loop.call_later(3600, ignores, 1, 2, 3, 4, 5))
    assert asyncio.TimerHandle.when(timer) == timer._when
    assert timer._scheduled
    theirs: Any = asyncio.TimerHandle
    assert theirs._repr_info(timer)
    assert asyncio.TimerHandle.__eq__(timer, timer)
    assert hash(timer) == hash(timer._when)
    asyncio.TimerHandle.cancel(timer)
    assert timer.cancelled()
    whole = attributes_of(loop.call_at(10**6, ignores))
    assert type(whole.when()) is int
    whole._when = 7.5
    assert whole.when() == 7.5
    whole.cancel()


def test_a_handle_is_not_made_copied_or_turned_into_another(
    loop: asyncio.AbstractEventLoop, loop_name: str
) -> None:
    for schedule in schedulers(loop).values():
        handle = schedule(ignores, 1, 2, 3, 4, 5)
        of_handle: Any = type(handle)
        other: Any = schedule(ignores)
        with pytest.raises(TypeError):
            pickle.dumps(handle)
        assert sys.getsizeof(handle) > 0
        assert weakref.ref(handle)() is handle
        assert gc.get_referents(handle)
        if loop_name == "asyncio":
            continue  # Classes written in Python allow more.
        for attempt in (
            of_handle,
            lambda of=of_handle: of.__new__(of),
            lambda of=of_handle: object.__new__(of),
            lambda of=of_handle: asyncio.Handle.__new__(of),
            lambda of=of_handle: type("Derived", (of,), {}),
            lambda it=handle: copy.copy(it),
            lambda it=handle: copy.deepcopy(it),
            lambda it=handle: setattr(it, "__class__", asyncio.Handle),
            lambda it=handle: setattr(it, "__class__", asyncio.TimerHandle),
        ):
            with pytest.raises(TypeError):
                attempt()
        with pytest.raises(TypeError):
            asyncio.Handle(ignores, (), loop).__class__ = of_handle
        assert other != handle or other is handle
    run_once(loop)


#: All operations of asyncio's slot descriptors on a handle, at each point of its life.
DESCRIPTORS = """
import contextvars, gc, itertools, sys
def ignores(*_): pass
def fails(*_): raise ValueError
class Odd:
    def __bool__(self): raise ValueError
def slots(cls):
    return [value for c in cls.__mro__ for value in vars(c).values()
        if type(value).__name__ == "member_descriptor"]
VALUES = [None, 5, 5.0, (), (1, 2, 3, 4, 5, 6), [1], ignores, fails, print, [].append, Odd(), True,
    False, contextvars.copy_context()]
loop = new_event_loop()
def report(loop, context):
    try: str(context.get("handle"))
    except (AttributeError, TypeError, ValueError): pass
loop.set_exception_handler(report)
def schedule():
    for count in (0, 2, 4, 5, 9):
        for callback in (ignores, fails, [].__init__, max, ignores.__call__):
            yield loop.call_soon(callback, *range(count))
            yield loop.call_soon_threadsafe(callback, *range(count))
            yield loop.call_later(0, callback, *range(count))
            yield loop.call_at(5, callback, *range(count))
def look(handle):
    for name in ("_args", "_callback", "_cancelled", "_context", "_loop", "_repr",
            "_source_traceback", "_scheduled", "_when", "_lock"):
        try: getattr(handle, name)
        except AttributeError: pass
    for function in (repr, hash, lambda it: it == it, lambda it: it.cancelled(),
            lambda it: it.get_context(), lambda it: it._repr_info(), lambda it: it < it):
        try: function(handle)
        except (AttributeError, TypeError, ValueError): pass
def run():
    loop.call_later(0, loop.stop)
    try: loop.run_forever()
    except (AttributeError, TypeError, ValueError): pass  # From a report, as on asyncio.
def mutate(handle, descriptor, value):
    try: descriptor.__get__(handle)
    except AttributeError: pass
    try:
        if value is DELETE: descriptor.__delete__(handle)
        else: descriptor.__set__(handle, value)
    except AttributeError: pass
DELETE = object()
kept = []
for handle in schedule():
    for descriptor in slots(type(handle)):
        assert not descriptor.__name__.startswith("__"), descriptor
for position, value in enumerate([*VALUES, DELETE]):
    handles = list(schedule())
    for index, handle in enumerate(handles):
        known = slots(type(handle))
        mutate(handle, known[index % len(known)], value)
        mutate(handle, known[(index + position) % len(known)], value)
        look(handle)
        try:
            if index % 3 == 0: handle.cancel()
        except (AttributeError, TypeError): pass
        look(handle)
    run()
    for handle in handles:
        look(handle)
    gc.collect()
    kept = handles
# The same inside the callback, while the arguments are in use.
for value in [*VALUES, DELETE]:
    for count in (0, 1, 4, 5):
        for how in (loop.call_soon, loop.call_soon_threadsafe, lambda *a: loop.call_later(0, *a)):
            class Callback:
                def __call__(self, *arguments):
                    for descriptor in slots(type(handle)):
                        mutate(handle, descriptor, value)
                    look(handle)
                    gc.collect(0)
                    len(arguments), str(arguments), self.__class__
            handle = how(Callback(), *map(object, range(0))) if count == 0 else how(
                Callback(), *[[number] for number in range(count)])
            run()
            look(handle)
del handle, handles, kept
gc.collect()
loop.close()
print("survived")
"""


@pytest.mark.slow
def test_asyncio_s_slot_descriptors_break_no_handle() -> None:
    # asyncio's loop ends with an AttributeError if a slot was deleted: there is no right value.
    done = Program("yamanote").run(DESCRIPTORS, "-X", "faulthandler")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "survived\n", done.stderr


def test_asyncio_s_slot_descriptors_read_what_a_handle_holds(
    loop: asyncio.AbstractEventLoop,
) -> None:
    slots: Any = asyncio.Handle
    for schedule in schedulers(loop).values():
        handle = schedule(ignores, 1, 2, 3, 4, 5)
        assert slots._callback.__get__(handle) is ignores
        assert slots._args.__get__(handle) == (1, 2, 3, 4, 5)
        assert slots._loop.__get__(handle) is loop
        assert isinstance(slots._context.__get__(handle), contextvars.Context)
        assert slots._cancelled.__get__(handle) is False
        slots._callback.__set__(handle, print)
        assert attributes_of(handle)._callback is print
        handle.cancel()
        assert slots._cancelled.__get__(handle) is True
        assert slots._callback.__get__(handle) is None
        assert slots._args.__get__(handle) is None


def test_a_cycle_through_asyncio_s_slots_is_collected(loop: asyncio.AbstractEventLoop) -> None:
    class Marker:
        """An object that supports weak references."""

    slots: Any = asyncio.Handle
    for name in ("_repr", "_source_traceback", "_callback", "_context"):
        marker = Marker()
        watched = weakref.ref(marker)
        handle = attributes_of(loop.call_soon(ignores))
        run_once(loop)
        marker.handle = handle  # type: ignore[attr-defined]
        getattr(slots, name).__set__(handle, marker)
        del marker, handle
        gc.collect()
        assert watched() is None, name
