"""`call_later`, `call_at`, and the loop's clock."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import math
import operator
import random
import sys
import threading
import time
import weakref
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest

import yamanote
from tests.clocks import FAKE_CLOCK_LOOPS
from tests.soak.resources import Resources
from tests.turns import run_one_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.clocks import FakeClockLoop


def noop(*_: object) -> None:
    """Does nothing."""


@pytest.fixture
def clocked(loop_name: str) -> Iterator[FakeClockLoop]:
    """A loop whose `time()` returns its attribute `now`."""
    instance = FAKE_CLOCK_LOOPS[loop_name]()
    yield instance
    instance.close()


# --- the clock --------------------------------------------------------------------------------


def test_time_is_the_monotonic_clock(loop: asyncio.AbstractEventLoop) -> None:
    for _ in range(100):
        before = time.monotonic()
        ours = loop.time()
        after = time.monotonic()
        assert isinstance(ours, float)
        assert before <= ours <= after


def test_time_moves_within_a_turn(loop: asyncio.AbstractEventLoop) -> None:
    def spin() -> None:
        start = loop.time()
        while loop.time() == start:
            pass
        moved.append(loop.time() > start)

    moved: list[bool] = []
    loop.call_soon(spin)
    run_one_turn(loop)
    assert moved == [True]


# --- firing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("delay_s", [0, 0.0005, 0.001, 0.0035, 0.02])
def test_a_timer_is_never_early(loop: asyncio.AbstractEventLoop, delay_s: float) -> None:
    late: list[float] = []

    def fire(deadline: float) -> None:
        # asyncio allows itself the clock's resolution, and so does yamanote.
        late.append(loop.time() + time.get_clock_info("monotonic").resolution - deadline)
        if len(late) < 10:
            again()
        else:
            loop.stop()

    def again() -> None:
        deadline = loop.time() + delay_s
        loop.call_at(deadline, fire, deadline)

    again()
    loop.run_forever()
    assert all(lateness >= 0 for lateness in late), late


def test_timers_fire_in_the_order_of_their_deadlines(clocked: FakeClockLoop) -> None:
    random_ = random.Random(20)
    delays = [number / 64 for number in range(-500, 500)]
    random_.shuffle(delays)
    ran: list[float] = []
    for delay in delays:
        clocked.call_later(delay, ran.append, delay)
    run_one_turn(clocked)
    # Timers in the past are also ordered among themselves.
    assert ran == sorted(delay for delay in delays if delay <= 0)
    clocked.now += 500
    run_one_turn(clocked)
    assert ran == sorted(delays)


def test_timers_with_one_deadline_fire_in_the_order_they_were_made(
    clocked: FakeClockLoop, loop_name: str
) -> None:
    """Asyncio leaves this order undefined, and its heap mixes four timers; yamanote keeps it."""
    count = 3 if loop_name == "asyncio" else 500
    ran: list[int] = []
    for number in range(count):
        clocked.call_at(1001, ran.append, number)
    clocked.now = 1001
    run_one_turn(clocked)
    assert ran == list(range(count))


def test_equal_deadlines_keep_their_order_around_cancelled_ones(
    clocked: FakeClockLoop, loop_name: str
) -> None:
    if loop_name == "asyncio":
        pytest.skip("asyncio leaves the order of equal deadlines undefined")
    ran: list[int] = []
    handles = [clocked.call_at(1001, ran.append, number) for number in range(500)]
    for number in range(500):
        if number % 7:
            handles[number].cancel()
    clocked.now = 1001
    run_one_turn(clocked)
    assert ran == list(range(0, 500, 7))


def test_a_timer_due_runs_behind_what_was_already_queued(clocked: FakeClockLoop) -> None:
    ran: list[str] = []
    clocked.call_later(0, ran.append, "timer")
    clocked.call_soon(ran.append, "soon")
    run_one_turn(clocked)
    assert ran == ["soon", "timer"]


def test_a_delay_of_zero_waits_for_a_coming_turn(clocked: FakeClockLoop) -> None:
    ran: list[str] = []

    def first() -> None:
        ran.append("first")
        clocked.call_later(0, ran.append, "second")
        clocked.call_later(-10, ran.append, "sooner")

    clocked.call_later(0, first)
    run_one_turn(clocked)
    assert ran == ["first"]
    run_one_turn(clocked)
    assert ran == ["first", "sooner", "second"]


def test_a_timer_can_cancel_another_that_is_due_in_the_same_turn(clocked: FakeClockLoop) -> None:
    ran: list[str] = []
    handles: list[asyncio.TimerHandle] = []
    clocked.call_at(1001, lambda: handles[0].cancel())
    handles.append(clocked.call_at(1002, ran.append, "cancelled"))
    clocked.call_at(1003, ran.append, "behind it")
    clocked.now = 1010
    run_one_turn(clocked)
    assert ran == ["behind it"]


def test_a_callback_can_cancel_a_timer_that_is_due_in_its_turn(clocked: FakeClockLoop) -> None:
    ran: list[str] = []
    handle = clocked.call_at(1000, ran.append, "cancelled")
    clocked.call_soon(handle.cancel)
    run_one_turn(clocked)
    run_one_turn(clocked)
    assert ran == []


def test_an_earlier_timer_made_while_a_later_one_waits_fires_first(
    loop: asyncio.AbstractEventLoop,
) -> None:
    ran: list[str] = []

    def earlier() -> None:
        ran.append("earlier")
        loop.stop()

    # An hour apart, so that a stalled machine does not make both due.
    loop.call_later(3600, ran.append, "later")
    loop.call_later(0.005, loop.call_later, 0.005, earlier)
    loop.run_forever()
    assert ran == ["earlier"]


def test_an_idle_loop_rearms_when_the_earliest_timer_is_cancelled(
    loop: asyncio.AbstractEventLoop,
) -> None:
    ran: list[str] = []
    first = loop.call_later(0.01, ran.append, "cancelled")
    loop.call_later(0.02, ran.append, "second")
    loop.call_later(0.03, loop.stop)
    loop.call_later(0.001, first.cancel)
    loop.run_forever()
    assert ran == ["second"]


def test_a_thread_can_schedule_a_timer_on_a_waiting_loop(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        fired = asyncio.Event()

        def schedule() -> None:
            loop.call_soon_threadsafe(loop.call_later, 0.001, fired.set)

        await loop.run_in_executor(None, schedule)
        await fired.wait()

    loop.call_later(3600, noop)
    loop.run_until_complete(main())


def test_a_timer_survives_a_stop(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []
    fired = loop.call_later(0.02, ran.append, "fired")
    run_one_turn(loop)
    # It may be due already, because the machine may have stalled.
    assert not ran or loop.time() >= fired.when()
    loop.call_later(0.03, loop.stop)
    loop.run_forever()
    assert ran == ["fired"]


def test_timers_made_by_timers_go_on_and_on(loop: asyncio.AbstractEventLoop) -> None:
    left = 300

    def again() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_later(0.0001 if left % 2 else 0, again)
        else:
            loop.stop()

    loop.call_later(0, again)
    loop.run_forever()
    assert left == 0


def test_many_timers_all_fire_once(loop: asyncio.AbstractEventLoop) -> None:
    random_ = random.Random(4)
    ran: list[int] = []
    for number in range(5000):
        loop.call_later(random_.uniform(-0.01, 0.02), ran.append, number)
    loop.call_later(0.021, loop.stop)
    loop.run_forever()
    assert sorted(ran) == list(range(5000))


@pytest.mark.parametrize("delay_s", [1e6, 1e9, 1e15, 1e300, math.inf, sys.maxsize])
def test_a_huge_delay_is_only_a_long_wait(loop: asyncio.AbstractEventLoop, delay_s: float) -> None:
    ran: list[str] = []
    handle = loop.call_later(delay_s, ran.append, "never")
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert ran == []
    assert handle.when() >= delay_s
    handle.cancel()


@pytest.mark.parametrize("delay_s", [1e9, math.inf])
def test_an_idle_loop_with_only_a_huge_delay_can_be_woken(
    loop: asyncio.AbstractEventLoop, delay_s: float
) -> None:
    """The wait is armed with the huge delay itself, because there is no earlier timer."""

    async def main() -> str:
        handle = loop.call_later(delay_s, noop)
        answer = await loop.run_in_executor(None, lambda: "woken")
        handle.cancel()
        return answer

    assert loop.run_until_complete(main()) == "woken"


@pytest.mark.parametrize("when", [-math.inf, -1e300, -1.0, 0, False])
def test_a_deadline_long_past_is_due_at_once(loop: asyncio.AbstractEventLoop, when: float) -> None:
    ran: list[str] = []
    loop.call_at(when, ran.append, "fired")
    run_one_turn(loop)
    assert ran == ["fired"]


# --- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(7))
def test_arguments_are_passed_on(loop: asyncio.AbstractEventLoop, count: int) -> None:
    calls: list[tuple[object, ...]] = []
    arguments = tuple(object() for _ in range(count))
    loop.call_later(0, lambda *received: calls.append(received), *arguments)
    loop.call_at(0, lambda *received: calls.append(received), *arguments)
    run_one_turn(loop)
    assert calls == [arguments, arguments]


def test_arguments_may_be_given_by_name(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []
    loop.call_later(delay=0, callback=lambda: ran.append("later"))
    run_one_turn(loop)
    loop.call_at(when=0, callback=lambda: ran.append("at"))
    run_one_turn(loop)
    assert ran == ["later", "at"]


@pytest.mark.parametrize("delay", ["1", [], object()])
def test_a_delay_that_is_no_number_is_a_type_error(
    loop: asyncio.AbstractEventLoop, delay: object
) -> None:
    with pytest.raises(TypeError):
        loop.call_later(delay, noop)  # type: ignore[arg-type]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio checks this itself from 3.12 on")
def test_none_is_neither_a_delay_nor_a_deadline(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(TypeError, match="delay must not be None"):
        loop.call_later(None, noop)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="when cannot be None"):
        loop.call_at(None, noop)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["call_later", "call_at"])
def test_wrong_arguments_are_a_type_error(loop: asyncio.AbstractEventLoop, method: str) -> None:
    schedule: Callable[..., object] = getattr(loop, method)
    with pytest.raises(TypeError):
        schedule()
    with pytest.raises(TypeError):
        schedule(1)
    with pytest.raises(TypeError):
        schedule(1, noop, keyword=1)


@pytest.mark.parametrize("method", ["call_later", "call_at"])
def test_a_callback_that_cannot_be_called_is_refused_in_debug_mode(
    loop: asyncio.AbstractEventLoop, method: str
) -> None:
    loop.set_debug(True)
    with pytest.raises(TypeError) as caught:
        getattr(loop, method)(0, "not callable")
    assert str(caught.value) == "a callable object was expected by call_at(), got 'not callable'"


def test_an_integer_and_anything_like_a_float_is_a_delay(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class Delay(float):
        """Like a duration type of a library."""

    ran: list[str] = []
    loop.call_later(0, ran.append, "int")
    loop.call_later(True, ran.append, "bool").cancel()
    loop.call_later(Delay(0), ran.append, "float subclass")
    loop.call_later(Fraction(-1, 2), ran.append, "fraction")  # type: ignore[arg-type]
    loop.call_at(Fraction(1, 2), ran.append, "at a fraction")  # type: ignore[arg-type]
    run_one_turn(loop)
    assert sorted(ran) == ["at a fraction", "float subclass", "fraction", "int"]


def test_a_deadline_that_is_not_a_number_does_no_harm(loop: asyncio.AbstractEventLoop) -> None:
    """Asyncio fires it in any turn that does not wait; refusing it would be as good."""
    ran: list[str] = []
    try:
        loop.call_later(math.nan, ran.append, "never due, or always")
    except ValueError:
        pass
    else:
        run_one_turn(loop)
    loop.call_later(0.001, loop.stop)
    loop.call_later(0.0005, ran.append, "due")
    loop.run_forever()
    assert ran[-1] == "due"


# --- contexts and exceptions ------------------------------------------------------------------

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")


def test_a_timer_runs_in_the_context_it_was_made_in_or_given(
    loop: asyncio.AbstractEventLoop,
) -> None:
    seen: list[str] = []
    given = contextvars.Context()
    given.run(variable.set, "given")

    def make() -> None:
        variable.set("captured")
        loop.call_at(1, lambda: seen.append(variable.get()))
        loop.call_at(2, lambda: seen.append(variable.get()), context=given)
        loop.call_at(3, lambda: seen.append(variable.get()), context=None)
        variable.set("changed afterwards")

    contextvars.Context().run(make)
    run_one_turn(loop)
    assert seen == ["captured", "given", "captured"]


def test_an_exception_in_a_timer_is_reported_with_its_handle(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, object]]
) -> None:
    ran: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError

    loop.set_debug(False)
    handle = loop.call_at(1, fail)
    loop.call_at(2, ran.append, "behind it")
    run_one_turn(loop)
    assert ran == ["behind it"]
    (context,) = reported
    assert set(context) == {"message", "exception", "handle"}
    assert context["handle"] is handle
    assert isinstance(context["exception"], ZeroDivisionError)
    reported.clear()


# --- handles ----------------------------------------------------------------------------------


def test_a_timer_handle_is_asyncios(loop: asyncio.AbstractEventLoop) -> None:
    before = loop.time()
    for handle in (
        loop.call_later(0, noop),
        loop.call_later(60, noop),
        loop.call_at(before + 60, noop),
    ):
        assert isinstance(handle, asyncio.TimerHandle)
        assert not handle.cancelled()
        handle.cancel()
        assert handle.cancelled()


def test_when_is_the_deadline(loop: asyncio.AbstractEventLoop) -> None:
    before = loop.time()
    handle = loop.call_later(60, noop)
    after = loop.time()
    assert before + 60 <= handle.when() <= after + 60
    assert loop.call_at(123.456, noop).when() == 123.456
    assert loop.call_at(7, noop).when() == 7
    handle.cancel()
    assert before + 60 <= handle.when()


@pytest.mark.parametrize("when", [10**9, 0, -3, 2**53 - 1, 1e9, 2.5, float(2**60)])
def test_when_is_what_was_given(loop: asyncio.AbstractEventLoop, when: float) -> None:
    """An integer stays an integer: aiohttp rounds its timeouts up to whole seconds."""
    handle = loop.call_at(when, noop)
    assert handle.when() == when
    assert type(handle.when()) is type(when)
    handle.cancel()
    assert type(handle.when()) is type(when)


def test_timer_handles_are_ordered_by_their_deadlines(loop: asyncio.AbstractEventLoop) -> None:
    early, late = loop.call_at(10, noop), loop.call_at(20, noop)
    assert early < late
    assert early <= late
    assert late > early
    assert late >= early
    assert not late < early
    assert not early >= late
    assert early != late
    # Same deadline, callback and arguments: they are equal, and neither is less than the other.
    twin = loop.call_at(10, noop)
    assert early == twin
    assert early <= twin
    assert early >= twin
    assert hash(early) == hash(twin) == hash(10.0)
    assert early != loop.call_at(10, noop, "another argument")
    twin.cancel()
    assert early != twin


@pytest.mark.parametrize("compare", [operator.lt, operator.le, operator.gt, operator.ge])
def test_timer_handles_have_no_order_with_anything_else(
    loop: asyncio.AbstractEventLoop, compare: Callable[[object, object], bool]
) -> None:
    handle = loop.call_at(10, noop)
    with pytest.raises(TypeError):
        compare(handle, 10)
    with pytest.raises(TypeError):
        compare(handle, loop.call_soon(noop))
    assert handle != 10


@pytest.mark.parametrize("debug", [False, True])
def test_repr_is_the_one_asyncio_prints(loop: asyncio.AbstractEventLoop, debug: bool) -> None:
    loop.set_debug(debug)
    # Both are created on one line, which is part of their `repr` in debug mode.
    ours, theirs = loop.call_at(5.5, noop, 1), asyncio.TimerHandle(5.5, noop, (1,), loop)
    assert repr(ours) == repr(theirs)
    assert repr(ours).startswith("<TimerHandle when=5.5 noop(")
    ours.cancel()
    # It is not in the loop's queue, and must not count there.
    asyncio.Handle.cancel(theirs)
    assert repr(ours) == repr(theirs)
    assert repr(ours).startswith("<TimerHandle cancelled when=5.5")


class Token:
    """A callable that supports weak references."""

    def __call__(self, *_: object) -> None:
        """Does nothing."""


@pytest.mark.parametrize("count", [0, 1, 6])
def test_cancel_lets_go_of_callback_and_arguments_at_once(
    loop: asyncio.AbstractEventLoop, count: int
) -> None:
    loop.set_debug(False)
    callback, arguments = Token(), [Token() for _ in range(count)]
    watched = [weakref.ref(token) for token in (callback, *arguments)]
    handle = loop.call_later(3600, callback, *arguments)
    del callback, arguments
    assert all(reference() is not None for reference in watched)
    handle.cancel()
    assert all(reference() is None for reference in watched)


def test_cancel_may_be_repeated_and_come_late(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []
    handle = loop.call_at(1, ran.append, "fired")
    run_one_turn(loop)
    handle.cancel()
    handle.cancel()
    other = loop.call_later(3600, noop)
    other.cancel()
    other.cancel()
    run_one_turn(loop)
    assert ran == ["fired"]
    assert handle.cancelled()
    assert other.cancelled()


def test_cancelled_timers_are_swept_before_their_deadline(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Asyncio's rule: more than 100 scheduled, and more than half of them cancelled."""
    handles = [loop.call_later(3600 + number, noop) for number in range(1000)]
    watched = [weakref.ref(handle) for handle in handles]
    kept = handles[::10]
    while handles:
        if len(handles) % 10 != 1:
            handles[-1].cancel()
        del handles[-1]
    run_one_turn(loop)
    assert sum(reference() is not None for reference in watched) == len(kept)
    assert [handle.cancelled() for handle in kept] == [False] * len(kept)


def test_the_right_timers_survive_a_sweep(clocked: FakeClockLoop) -> None:
    random_ = random.Random(7)
    deadlines = [1000 + number / 8 for number in range(2000)]
    random_.shuffle(deadlines)
    ran: list[float] = []
    handles = {deadline: clocked.call_at(deadline, ran.append, deadline) for deadline in deadlines}
    cancelled = set(random_.sample(deadlines, 1500))
    for deadline in cancelled:
        handles[deadline].cancel()
    for clocked.now in (1000, 1010, 1100, 1300):
        run_one_turn(clocked)
        assert ran == sorted(
            deadline
            for deadline in deadlines
            if deadline not in cancelled and deadline <= clocked.now
        )


def test_what_a_cancelled_timer_held_may_use_the_loop_when_it_goes(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """A sweep drops contexts, and with them what their variables hold."""

    class Arming:
        def __del__(self) -> None:
            loop.call_later(3600, noop).cancel()
            armed.append(loop.call_later(3600, noop))

    armed: list[asyncio.TimerHandle] = []
    variable: contextvars.ContextVar[Arming] = contextvars.ContextVar("variable")
    for _ in range(500):
        context = contextvars.Context()
        context.run(variable.set, Arming())
        loop.call_later(3600, noop, context=context).cancel()
        del context
    run_one_turn(loop)
    run_one_turn(loop)
    assert len(armed) > 300
    assert not any(timer.cancelled() for timer in armed)


def test_what_replaced_a_flag_of_a_timer_may_use_the_loop_when_it_goes(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class Arming:
        def __del__(self) -> None:
            armed.append(loop.call_later(3600, noop))

    armed: list[asyncio.TimerHandle] = []
    for timer in (loop.call_later(0, noop), loop.call_later(0, noop)):
        timer._scheduled = Arming()  # type: ignore[attr-defined]
        del timer
    run_one_turn(loop)
    assert len(armed) == 2


def test_timers_cancelled_by_another_thread_are_swept(loop: asyncio.AbstractEventLoop) -> None:
    handles = [loop.call_later(3600, noop) for _ in range(1000)]
    watched = [weakref.ref(handle) for handle in handles]

    def cancel_all() -> None:
        while handles:
            handles.pop().cancel()
        loop.call_soon_threadsafe(loop.stop)

    def start() -> None:
        # From here on, the loop is this thread's.
        threads.append(threading.Thread(target=cancel_all))
        threads[0].start()

    threads: list[threading.Thread] = []
    loop.call_soon(start)
    loop.run_forever()
    threads[0].join()
    run_one_turn(loop)
    assert sum(reference() is not None for reference in watched) <= 100


@pytest.mark.slow
def test_cancelled_timers_of_one_callback_take_no_memory() -> None:
    """Asyncio keeps them all until its next turn."""

    def arm_and_cancel() -> None:
        gc.collect()
        before, resident_bytes = sys.getallocatedblocks(), Resources.now().resident_bytes
        for number in range(1_000_000):
            loop.call_later(60 + number, noop).cancel()
        blocks.append(sys.getallocatedblocks() - before)
        grown_bytes.append(Resources.now().resident_bytes - resident_bytes)

    blocks: list[int] = []
    grown_bytes: list[int] = []
    loop = yamanote.new_event_loop()
    for _ in range(1000):
        loop.call_later(60, noop).cancel()
    loop.call_soon(arm_and_cancel)
    run_one_turn(loop)
    loop.close()
    assert blocks[0] < 2000
    assert grown_bytes[0] < 4 << 20


# --- a fake clock -----------------------------------------------------------------------------


def test_a_subclass_that_overrides_time_moves_the_timers(clocked: FakeClockLoop) -> None:
    ran: list[str] = []
    clocked.call_later(60, ran.append, "after a minute")
    clocked.call_later(3600, ran.append, "after an hour")
    assert clocked.time() == 1000
    run_one_turn(clocked)
    assert ran == []
    clocked.now += 59.9
    run_one_turn(clocked)
    assert ran == []
    clocked.now += 0.2
    run_one_turn(clocked)
    assert ran == ["after a minute"]
    clocked.now += 3600
    run_one_turn(clocked)
    assert ran == ["after a minute", "after an hour"]


def test_a_fake_clock_moved_by_a_callback_fires_timers_in_the_next_turn(
    clocked: FakeClockLoop,
) -> None:
    ran: list[str] = []

    def advance(seconds: float) -> None:
        clocked.now += seconds

    clocked.call_later(3600, ran.append, "after an hour")
    clocked.call_soon(advance, 3600)
    run_one_turn(clocked)
    assert ran == []
    run_one_turn(clocked)
    assert ran == ["after an hour"]


def test_a_fake_clock_that_jumps_while_the_loop_runs_ends_a_long_sleep(
    clocked: FakeClockLoop,
) -> None:
    async def main() -> float:
        sleeping = asyncio.ensure_future(asyncio.sleep(3600, "slept an hour"))
        await asyncio.sleep(0)
        clocked.now += 3600
        assert await sleeping == "slept an hour"
        return float(clocked.time())

    started = time.monotonic()
    assert clocked.run_until_complete(main()) == 4600
    assert time.monotonic() - started < 60


def test_when_goes_by_the_fake_clock(clocked: FakeClockLoop) -> None:
    assert clocked.call_later(5, noop).when() == 1005
    assert clocked.call_at(1007, noop).when() == 1007


def test_a_clock_may_go_backwards(clocked: FakeClockLoop) -> None:
    ran: list[str] = []
    clocked.call_at(1000, ran.append, "due")
    clocked.now = 900
    run_one_turn(clocked)
    assert ran == []
    clocked.now = 1000
    run_one_turn(clocked)
    assert ran == ["due"]


def test_a_clock_patched_onto_an_instance_counts_too(loop: asyncio.AbstractEventLoop) -> None:
    """As test suites do with `mock.patch.object(loop, "time", ...)`."""
    now = 5000.0
    loop.time = lambda: now  # type: ignore[method-assign]
    ran: list[str] = []
    handle = loop.call_later(10, ran.append, "due")
    assert handle.when() == 5010
    run_one_turn(loop)
    assert ran == []
    now = 5010.0
    run_one_turn(loop)
    assert ran == ["due"]


def test_an_error_in_a_fake_clock_leaves_the_loop(loop_name: str) -> None:
    class Broken(Exception):
        """Raised by the clock."""

    base: Any = FAKE_CLOCK_LOOPS[loop_name]

    class BrokenClock(base):  # type: ignore[misc]
        """Stands still, or raises."""

        now: float
        broken = False

        def time(self) -> float:
            if self.broken:
                raise Broken
            return self.now

    loop = BrokenClock()
    try:
        loop.call_later(1, noop)
        loop.broken = True
        with pytest.raises(Broken):
            loop.run_forever()
        loop.broken = False
        assert not loop.is_running()
        run_one_turn(loop)
    finally:
        loop.close()


@pytest.mark.parametrize("now", [1e10, 1e20])
def test_a_clock_too_coarse_for_its_resolution_does_not_stop_the_timers(
    loop: asyncio.AbstractEventLoop, loop_name: str, now: float
) -> None:
    """Adding a nanosecond to such a number does not change it."""
    if loop_name == "asyncio" and sys.version_info < (3, 15):
        pytest.skip("asyncio before 3.15 adds its clock's resolution, and waits forever")
    loop.time = lambda: now  # type: ignore[method-assign]
    ran: list[str] = []
    loop.call_at(now, ran.append, "now")
    loop.call_later(1e-12, ran.append, "soon")
    loop.call_later(1e10, ran.append, "later")
    run_one_turn(loop)
    assert ran == ["now", "soon"]
