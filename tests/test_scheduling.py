"""`call_soon` and `call_soon_threadsafe`: order, context, and the returned handle."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from tests.turns import run_one_turn

if TYPE_CHECKING:
    from collections.abc import Callable

    Schedule = Callable[..., asyncio.Handle]


def noop(*_: object) -> None:
    """Does nothing."""


@pytest.fixture(params=["call_soon", "call_soon_threadsafe"])
def schedule(request: pytest.FixtureRequest, loop: asyncio.AbstractEventLoop) -> Schedule:
    """Schedules by one of the two methods."""
    method: Schedule = getattr(loop, request.param)
    return method


# --- turns ------------------------------------------------------------------------------------


def test_a_turn_runs_exactly_what_was_queued_when_it_began(
    loop: asyncio.AbstractEventLoop, schedule: Schedule
) -> None:
    ran: list[str] = []

    def outer(name: str) -> None:
        ran.append(name)
        schedule(ran.append, f"from {name}")

    schedule(outer, "a")
    schedule(outer, "b")
    run_one_turn(loop)
    assert ran == ["a", "b"]
    run_one_turn(loop)
    assert ran == ["a", "b", "from a", "from b"]


def test_callbacks_run_in_the_order_they_were_queued(
    loop: asyncio.AbstractEventLoop, schedule: Schedule
) -> None:
    ran: list[int] = []
    for number in range(2000):
        schedule(ran.append, number)
    run_one_turn(loop)
    assert ran == list(range(2000))


def test_both_ways_of_queueing_share_one_order_on_the_loops_thread(
    loop: asyncio.AbstractEventLoop,
) -> None:
    ran: list[int] = []

    def queue_ten() -> None:
        start = len(ran)
        for number in range(start, start + 10, 2):
            loop.call_soon(ran.append, number)
            loop.call_soon_threadsafe(ran.append, number + 1)

    queue_ten()
    run_one_turn(loop)
    loop.call_soon(queue_ten)
    run_one_turn(loop)
    run_one_turn(loop)
    assert ran == list(range(20))


@pytest.mark.parametrize("count", range(11))
def test_arguments_are_passed_on(
    loop: asyncio.AbstractEventLoop, schedule: Schedule, count: int
) -> None:
    calls: list[tuple[object, ...]] = []

    def callback(*received: object) -> None:
        calls.append(received)

    arguments = tuple(object() for _ in range(count))
    schedule(callback, *arguments)
    run_one_turn(loop)
    assert calls == [arguments]


def test_any_callable_is_called(loop: asyncio.AbstractEventLoop, schedule: Schedule) -> None:
    class Shapes:
        """Callables of four kinds that are not functions."""

        def __init__(self, *received: object) -> None:
            seen.append(("class", received))

        def __call__(self, *received: object) -> None:
            seen.append(("instance", received))

        def method(self, *received: object) -> None:
            seen.append(("method", received))

        @classmethod
        def class_method(cls, *received: object) -> None:
            seen.append(("class method", received))

    seen: list[tuple[str, tuple[object, ...]]] = []
    instance = Shapes()
    seen.clear()
    for callback in (Shapes, instance, instance.method, Shapes.class_method):
        schedule(callback, 1, 2)
    schedule(seen.append, ("built-in", (1, 2)))
    run_one_turn(loop)
    assert seen == [
        ("class", (1, 2)),
        ("instance", (1, 2)),
        ("method", (1, 2)),
        ("class method", (1, 2)),
        ("built-in", (1, 2)),
    ]


def test_the_callback_may_be_given_by_name(
    loop: asyncio.AbstractEventLoop, schedule: Schedule
) -> None:
    ran: list[str] = []
    schedule(callback=lambda: ran.append("ran"))
    run_one_turn(loop)
    assert ran == ["ran"]


@pytest.mark.parametrize("debug", [False, True])
def test_wrong_arguments_are_a_type_error(
    loop: asyncio.AbstractEventLoop, schedule: Schedule, debug: bool
) -> None:
    loop.set_debug(debug)
    with pytest.raises(TypeError):
        schedule()
    with pytest.raises(TypeError):
        schedule(noop, keyword=1)
    with pytest.raises(TypeError):
        schedule(noop, 1, context=None, keyword=1)


def test_queueing_from_a_chain_of_callbacks_starves_neither_io_nor_timers_nor_threads(
    loop: asyncio.AbstractEventLoop,
) -> None:
    missing = {"reader", "timer", "thread"}
    ours, theirs = socket.socketpair()

    def arrive(what: str) -> None:
        missing.discard(what)
        if what == "reader":
            loop.remove_reader(ours)

    def chain() -> None:
        if missing:
            loop.call_soon(chain)
        else:
            loop.stop()

    with ours, theirs:
        ours.setblocking(False)
        loop.add_reader(ours, arrive, "reader")
        loop.call_later(0.001, arrive, "timer")
        loop.call_soon(chain)
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(arrive, "thread"))
        loop.call_soon(thread.start)
        loop.call_soon(theirs.send, b"x")
        loop.run_forever()
        thread.join()
    assert missing == set()


# --- from other threads -----------------------------------------------------------------------


def test_a_call_from_another_thread_wakes_an_idle_loop_each_time(
    loop: asyncio.AbstractEventLoop,
) -> None:
    rounds = 200
    ran = 0
    arrived = threading.Event()

    def arrive() -> None:
        nonlocal ran
        ran += 1
        arrived.set()

    def ping() -> None:
        for _ in range(rounds):
            loop.call_soon_threadsafe(arrive)
            arrived.wait()
            arrived.clear()
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=ping)
    thread.start()
    loop.run_forever()
    thread.join()
    assert ran == rounds


def test_calls_of_each_thread_keep_their_order(loop: asyncio.AbstractEventLoop) -> None:
    each, count = 2000, 4
    running = count
    ran: dict[int, list[int]] = {number: [] for number in range(count)}
    together = threading.Barrier(count)

    def flood(thread_number: int) -> None:
        together.wait()
        for number in range(each):
            loop.call_soon_threadsafe(ran[thread_number].append, number)
        loop.call_soon_threadsafe(finished)

    def finished() -> None:
        nonlocal running
        running -= 1
        if not running:
            loop.stop()

    threads = [threading.Thread(target=flood, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    loop.run_forever()
    for thread in threads:
        thread.join()
    assert ran == {number: list(range(each)) for number in range(count)}


def test_a_call_before_the_loop_runs_is_not_lost(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(ran.append, "ran"))
    thread.start()
    thread.join()
    assert ran == []
    run_one_turn(loop)
    assert ran == ["ran"]


def test_a_thread_learns_that_the_loop_is_closed(loop: asyncio.AbstractEventLoop) -> None:
    errors: list[str] = []

    def call() -> None:
        try:
            loop.call_soon_threadsafe(noop)
        except RuntimeError as error:
            errors.append(str(error))

    loop.close()
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert errors == ["Event loop is closed"]


# --- contexts ---------------------------------------------------------------------------------

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")


def test_a_callback_runs_in_a_copy_of_the_context_it_was_queued_in(
    loop: asyncio.AbstractEventLoop, schedule: Schedule
) -> None:
    seen: list[str] = []

    def look() -> None:
        seen.append(variable.get())
        variable.set("changed by the callback")

    def queue(value: str) -> None:
        variable.set(value)
        schedule(look)
        schedule(look)
        variable.set("changed after queueing")

    contextvars.Context().run(queue, "at the call")
    contextvars.Context().run(run_one_turn, loop)
    assert seen == ["at the call", "at the call"]
    assert variable.get() == "default"


def test_the_context_of_a_thread_comes_along(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    def queue() -> None:
        variable.set("of the thread")
        loop.call_soon_threadsafe(lambda: seen.append(variable.get()))

    thread = threading.Thread(target=queue)
    thread.start()
    thread.join()
    run_one_turn(loop)
    assert seen == ["of the thread"]


def test_a_given_context_is_used_as_it_is(
    loop: asyncio.AbstractEventLoop, schedule: Schedule
) -> None:
    context = contextvars.Context()
    context.run(variable.set, "first")
    seen: list[str] = []

    def look() -> None:
        seen.append(variable.get())
        variable.set("second")

    schedule(look, context=context)
    schedule(look, context=context)
    run_one_turn(loop)
    assert seen == ["first", "second"]
    assert context.run(variable.get) == "second"
    assert variable.get() == "default"


def test_no_context_means_a_copy_of_the_current_one(
    loop: asyncio.AbstractEventLoop, schedule: Schedule
) -> None:
    seen: list[str] = []
    token = variable.set("current")
    schedule(lambda: seen.append(variable.get()), context=None)
    variable.reset(token)
    run_one_turn(loop)
    assert seen == ["current"]


def test_the_context_is_left_when_a_callback_raises(
    loop: asyncio.AbstractEventLoop, schedule: Schedule, reported: list[dict[str, object]]
) -> None:
    context = contextvars.Context()

    def fail() -> None:
        variable.set("inside")
        raise ZeroDivisionError

    schedule(fail, context=context)
    run_one_turn(loop)
    assert variable.get() == "default"
    # It could not be entered here if it were still entered.
    assert context.run(variable.get) == "inside"
    assert len(reported) == 1
    reported.clear()


def test_a_context_that_is_already_entered_is_an_error_and_the_loop_lives(
    loop: asyncio.AbstractEventLoop,
    schedule: Schedule,
    reported: list[dict[str, object]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    context = contextvars.Context()
    ran: list[str] = []
    schedule(ran.append, "never", context=context)
    schedule(ran.append, "next")
    context.run(run_one_turn, loop)
    assert ran == ["next"]
    if sys.version_info >= (3, 12):
        # The exception handler is called in the handle's context, which cannot be entered either.
        assert reported == []
        assert "Unhandled error in exception handler" in caplog.text
    else:
        assert [type(report["exception"]) for report in reported] == [RuntimeError]
        reported.clear()


def test_a_context_that_is_none_is_an_error_and_the_loop_lives(
    loop: asyncio.AbstractEventLoop, schedule: Schedule, reported: list[dict[str, object]]
) -> None:
    """Asyncio raises when it runs the callback; raising at once would be as good."""
    try:
        schedule(noop, context="not a context")
    except TypeError:
        return
    run_one_turn(loop)
    assert len(reported) == 1
    reported.clear()


# --- handles ----------------------------------------------------------------------------------


def test_a_handle_is_an_asyncio_handle(loop: asyncio.AbstractEventLoop, schedule: Schedule) -> None:
    handle = schedule(noop)
    assert isinstance(handle, asyncio.Handle)
    assert not isinstance(handle, asyncio.TimerHandle)
    assert not handle.cancelled()
    assert handle in {handle}
    assert handle != schedule(noop)
    assert weakref.ref(handle)() is handle
    run_one_turn(loop)
    assert not handle.cancelled()


def test_a_cancelled_callback_does_not_run(
    loop: asyncio.AbstractEventLoop, schedule: Schedule
) -> None:
    ran: list[int] = []
    handles = [schedule(ran.append, number) for number in range(5)]
    for handle in handles[1::2]:
        assert handle.cancel() is None  # type: ignore[func-returns-value]
        handle.cancel()
    assert [handle.cancelled() for handle in handles] == [False, True, False, True, False]
    run_one_turn(loop)
    assert ran == [0, 2, 4]


def test_a_callback_can_cancel_another_of_its_batch(
    loop: asyncio.AbstractEventLoop, schedule: Schedule
) -> None:
    ran: list[str] = []
    handles: list[asyncio.Handle] = []
    schedule(lambda: handles[0].cancel())
    handles.append(schedule(ran.append, "cancelled"))
    schedule(ran.append, "behind it")
    run_one_turn(loop)
    assert ran == ["behind it"]


def test_a_callback_can_cancel_itself(loop: asyncio.AbstractEventLoop, schedule: Schedule) -> None:
    ran: list[object] = []
    handles: list[asyncio.Handle] = []

    def cancel_myself(argument: object) -> None:
        handles[0].cancel()
        ran.append(argument)

    handles.append(schedule(cancel_myself, "still there"))
    run_one_turn(loop)
    assert ran == ["still there"]
    assert handles[0].cancelled()


def test_a_callback_can_cancel_itself_and_raise(
    loop: asyncio.AbstractEventLoop, schedule: Schedule, reported: list[dict[str, object]]
) -> None:
    handles: list[asyncio.Handle] = []

    def cancel_and_raise() -> None:
        handles[0].cancel()
        raise ZeroDivisionError

    handles.append(schedule(cancel_and_raise))
    run_one_turn(loop)
    (report,) = reported
    assert report["handle"] is handles[0]
    assert isinstance(report["exception"], ZeroDivisionError)
    reported.clear()


def test_cancelling_what_has_run_changes_nothing_but_the_mark(
    loop: asyncio.AbstractEventLoop, schedule: Schedule
) -> None:
    ran: list[str] = []
    handle = schedule(ran.append, "ran")
    run_one_turn(loop)
    handle.cancel()
    run_one_turn(loop)
    assert ran == ["ran"]
    assert handle.cancelled()


class Token:
    """A callable that supports weak references."""

    def __call__(self, *_: object) -> None:
        """Does nothing."""


@pytest.mark.parametrize("count", [0, 1, 6])
def test_cancel_lets_go_of_callback_and_arguments_at_once(
    loop: asyncio.AbstractEventLoop, schedule: Schedule, count: int
) -> None:
    loop.set_debug(False)
    callback, arguments = Token(), [Token() for _ in range(count)]
    watched = [weakref.ref(token) for token in (callback, *arguments)]
    handle = schedule(callback, *arguments)
    del callback, arguments
    assert all(reference() is not None for reference in watched)
    handle.cancel()
    assert all(reference() is None for reference in watched)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Handle.get_context() is new in 3.12")
def test_get_context_gives_the_context_of_the_callback(
    loop: asyncio.AbstractEventLoop, schedule: Schedule
) -> None:
    context = contextvars.Context()
    given = schedule(noop, context=context)
    assert given.get_context() is context
    given.cancel()
    assert given.get_context() is context
    token = variable.set("captured")
    captured = schedule(noop)
    variable.reset(token)
    assert captured.get_context().run(variable.get) == "captured"
    assert captured.get_context() is captured.get_context()


@pytest.mark.parametrize("debug", [False, True])
def test_repr_is_the_one_asyncio_prints(loop: asyncio.AbstractEventLoop, debug: bool) -> None:
    loop.set_debug(debug)
    # Both are created on one line, which is part of their `repr` in debug mode.
    ours, theirs = loop.call_soon(noop, 1, "two"), asyncio.Handle(noop, (1, "two"), loop)
    assert repr(ours) == repr(theirs)
    assert repr(ours).startswith("<Handle noop(")
    assert ("created at" in repr(ours)) is debug
    ours.cancel()
    theirs.cancel()
    assert repr(ours) == repr(theirs)
    assert repr(ours).startswith("<Handle cancelled")


def test_repr_of_a_handle_that_has_run_still_works(
    loop: asyncio.AbstractEventLoop, schedule: Schedule
) -> None:
    handle = schedule(noop)
    run_one_turn(loop)
    assert "Handle" in repr(handle)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="3.14 gave these handles a lock")
def test_cancelling_from_another_thread_waits_for_a_callback_that_has_started(
    loop: asyncio.AbstractEventLoop,
) -> None:
    events: list[str] = []
    started, cancelling = threading.Event(), threading.Event()

    def callback() -> None:
        started.set()
        cancelling.wait()
        # Gives a `cancel()` that does not wait time to return, so that it is detected.
        time.sleep(0.05)
        events.append("callback ends")
        loop.stop()

    handle = loop.call_soon_threadsafe(callback)

    def cancel() -> None:
        started.wait()
        cancelling.set()
        handle.cancel()
        events.append("cancel returns")

    thread = threading.Thread(target=cancel)
    thread.start()
    loop.run_forever()
    thread.join()
    assert events == ["callback ends", "cancel returns"]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="3.14 gave these handles a lock")
def test_a_callback_cancelled_from_another_thread_before_its_turn_never_runs(
    loop: asyncio.AbstractEventLoop,
) -> None:
    ran: list[str] = []

    def cancel_elsewhere() -> None:
        thread = threading.Thread(target=handle.cancel)
        thread.start()
        thread.join()

    loop.call_soon(cancel_elsewhere)
    handle = loop.call_soon_threadsafe(ran.append, "never")
    run_one_turn(loop)
    assert handle.cancelled()
    assert ran == []


# --- exceptions -------------------------------------------------------------------------------


class Rude(BaseException):
    """Neither an `Exception` nor one of the two exceptions that end the run."""


@pytest.mark.parametrize("kind", [ZeroDivisionError, asyncio.CancelledError, GeneratorExit, Rude])
def test_an_exception_in_a_callback_is_reported_and_the_batch_goes_on(
    loop: asyncio.AbstractEventLoop,
    schedule: Schedule,
    reported: list[dict[str, object]],
    kind: type[BaseException],
) -> None:
    error = kind("in the callback")
    ran: list[str] = []

    def fail(_: object) -> None:
        raise error

    loop.set_debug(False)
    handle = schedule(fail, "argument")
    schedule(ran.append, "behind it")
    run_one_turn(loop)
    assert ran == ["behind it"]
    (context,) = reported
    assert set(context) == {"message", "exception", "handle"}
    assert str(context["message"]).startswith("Exception in callback ")
    assert "fail(" in str(context["message"])
    assert context["exception"] is error
    assert context["handle"] is handle
    reported.clear()


def test_the_traceback_of_a_reported_exception_leads_to_the_callback(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, object]]
) -> None:
    def inner() -> None:
        raise ZeroDivisionError

    loop.call_soon(inner)
    run_one_turn(loop)
    error = reported.pop()["exception"]
    assert isinstance(error, ZeroDivisionError)
    traceback = error.__traceback__
    assert traceback is not None
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    assert traceback.tb_frame.f_code is inner.__code__


def test_a_callback_that_cannot_be_called_is_reported(
    loop: asyncio.AbstractEventLoop, schedule: Schedule, reported: list[dict[str, object]]
) -> None:
    loop.set_debug(False)
    schedule("not callable", 1)
    run_one_turn(loop)
    (context,) = reported
    assert isinstance(context["exception"], TypeError)
    assert str(context["exception"]) == "'str' object is not callable"
    reported.clear()


def test_a_callback_that_cannot_be_called_is_refused_in_debug_mode(
    loop: asyncio.AbstractEventLoop, schedule: Schedule, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.params["schedule"]
    loop.set_debug(True)
    with pytest.raises(TypeError) as caught:
        schedule("not callable")
    assert str(caught.value) == f"a callable object was expected by {name}(), got 'not callable'"


def test_debug_mode_adds_where_the_handle_was_created(
    loop: asyncio.AbstractEventLoop, schedule: Schedule, reported: list[dict[str, Any]]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    loop.set_debug(True)
    schedule(fail)
    run_one_turn(loop)
    (context,) = reported
    assert set(context) == {"message", "exception", "handle", "source_traceback"}
    # The last entry is the line above, which scheduled the callback.
    last = context["source_traceback"][-1]
    assert last.filename == __file__
    assert last.line == "schedule(fail)"
    reported.clear()


def test_the_handler_is_called_with_the_loop_and_the_context_of_the_report(
    loop: asyncio.AbstractEventLoop,
) -> None:
    calls: list[tuple[object, ...]] = []

    def handler(*received: object) -> None:
        calls.append(received)

    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    context: dict[str, object] = {"message": "made here", "anything": 1}
    loop.call_exception_handler(context)
    assert calls == [(loop, context)]
    assert calls[0][0] is loop


@pytest.mark.skipif(sys.version_info < (3, 12), reason="new in 3.12")
def test_the_handler_runs_in_the_context_of_the_callback(
    loop: asyncio.AbstractEventLoop, schedule: Schedule
) -> None:
    seen: list[str] = []

    def fail() -> None:
        variable.set("set by the callback")
        raise ZeroDivisionError

    loop.set_exception_handler(lambda _loop, _context: seen.append(variable.get()))
    schedule(fail)
    run_one_turn(loop)
    assert seen == ["set by the callback"]
    assert variable.get() == "default"


def test_only_a_callable_or_none_can_handle_exceptions(loop: asyncio.AbstractEventLoop) -> None:
    before = loop.get_exception_handler()
    with pytest.raises(TypeError, match="A callable object or None is expected, got 'text'"):
        loop.set_exception_handler("text")  # type: ignore[arg-type]
    assert loop.get_exception_handler() is before
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None


def test_without_a_handler_the_report_is_logged(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("to the log")

    loop.set_exception_handler(None)
    handle = loop.call_soon(fail)
    shown = repr(handle)
    run_one_turn(loop)
    (record,) = caplog.records
    assert record.name == "asyncio"
    assert record.levelname == "ERROR"
    first, second = record.getMessage().splitlines()
    assert first.startswith("Exception in callback ")
    assert second == f"handle: {shown}"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "to the log"


def test_a_report_without_a_message_is_logged_too(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.default_exception_handler({"zebra": 1, "apple": 2})
    (record,) = caplog.records
    assert record.getMessage() == "Unhandled exception in event loop\napple: 2\nzebra: 1"
    assert not record.exc_info


def test_a_handler_that_raises_is_logged_and_the_loop_lives(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError

    def handler(_: object, context: dict[str, object]) -> None:
        raise LookupError("in the handler")

    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    loop.call_soon(ran.append, "behind it")
    run_one_turn(loop)
    assert ran == ["behind it"]
    (record,) = caplog.records
    assert record.getMessage().startswith("Unhandled error in exception handler")
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "in the handler"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_exit_raised_by_the_handler_leaves_the_loop(
    loop: asyncio.AbstractEventLoop, kind: type[BaseException]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    def handler(_: object, context: dict[str, object]) -> None:
        raise kind

    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    with pytest.raises(kind):
        loop.run_forever()
    assert not loop.is_running()


def test_a_handler_may_stop_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    loop.set_exception_handler(lambda loop, _: loop.stop())
    loop.call_soon(fail)
    loop.run_forever()
    assert not loop.is_running()


def test_an_exception_of_one_callback_is_not_seen_by_the_next(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, object]]
) -> None:
    seen: list[object] = []

    def fail() -> None:
        raise ZeroDivisionError

    loop.call_soon(fail)
    loop.call_soon(lambda: seen.append(sys.exc_info()))
    run_one_turn(loop)
    assert seen == [(None, None, None)]
    assert len(reported) == 1
    reported.clear()
