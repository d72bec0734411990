"""Running, stopping and closing a loop."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import yamanote
from tests.asyncio_bugs import REFUSED_RUN_ENDS_THE_RUNNING_ONE
from tests.loops import LOOPS
from tests.turns import run_one_turn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from tests.loops import LoopFactory


def test_it_is_an_abstract_event_loop(loop: asyncio.AbstractEventLoop) -> None:
    assert isinstance(loop, asyncio.AbstractEventLoop)


def test_new_event_loop_gives_our_loop() -> None:
    loop = yamanote.new_event_loop()
    try:
        assert type(loop) is yamanote.Loop
    finally:
        loop.close()


def test_a_new_loop_is_neither_running_nor_closed(loop: asyncio.AbstractEventLoop) -> None:
    assert not loop.is_running()
    assert not loop.is_closed()


# --- run_forever and stop ---------------------------------------------------------------------


def test_stop_before_run_forever_runs_one_batch(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []

    def first() -> None:
        ran.append("first")
        loop.call_soon(ran.append, "second")

    loop.call_soon(first)
    loop.stop()
    loop.run_forever()
    assert ran == ["first"]
    run_one_turn(loop)
    assert ran == ["first", "second"]


def test_stop_before_run_forever_counts_once_however_often_it_is_called(
    loop: asyncio.AbstractEventLoop,
) -> None:
    loop.stop()
    loop.stop()
    loop.run_forever()
    ran: list[str] = []

    def first() -> None:
        ran.append("first")
        loop.call_soon(second)

    def second() -> None:
        ran.append("second")
        loop.stop()

    loop.call_soon(first)
    loop.run_forever()
    assert ran == ["first", "second"]


def test_stop_finishes_the_batch_and_leaves_the_rest_for_the_next_run(
    loop: asyncio.AbstractEventLoop,
) -> None:
    ran: list[str] = []

    def stopper() -> None:
        ran.append("stopper")
        loop.stop()
        loop.call_soon(ran.append, "queued after stop")

    loop.call_soon(stopper)
    loop.call_soon(ran.append, "same batch")
    loop.run_forever()
    assert ran == ["stopper", "same batch"]
    run_one_turn(loop)
    assert ran == ["stopper", "same batch", "queued after stop"]


def test_stop_from_another_thread_needs_a_wake_up_and_gets_one(
    loop: asyncio.AbstractEventLoop,
) -> None:
    running = threading.Event()
    loop.call_soon(running.set)

    def stop_it() -> None:
        running.wait()
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=stop_it)
    thread.start()
    loop.run_forever()
    thread.join()
    assert not loop.is_running()


def test_a_stopped_loop_runs_again(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[int] = []
    for number in range(5):
        loop.call_soon(ran.append, number)
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert ran == [0, 1, 2, 3, 4]


def test_a_run_looks_at_io_before_it_stops(loop: asyncio.AbstractEventLoop) -> None:
    ours, theirs = socket.socketpair()
    ran: list[bytes] = []
    with ours, theirs:
        ours.setblocking(False)
        loop.add_reader(ours, lambda: ran.append(ours.recv(10)))
        run_one_turn(loop)
        theirs.send(b"hello")
        run_one_turn(loop)
        run_one_turn(loop)
        assert ran == [b"hello"]
        assert loop.remove_reader(ours)


def test_is_running_and_the_running_loop_are_set_only_while_it_runs(
    loop: asyncio.AbstractEventLoop,
) -> None:
    seen: list[object] = []

    def look() -> None:
        seen.extend([loop.is_running(), asyncio.get_running_loop(), loop.is_closed()])

    loop.call_soon(look)
    run_one_turn(loop)
    assert seen == [True, loop, False]
    assert not loop.is_running()
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_is_running_is_seen_from_other_threads(loop: asyncio.AbstractEventLoop) -> None:
    async def ask() -> bool:
        return await loop.run_in_executor(None, loop.is_running)

    assert loop.run_until_complete(ask())


def test_a_loop_runs_in_a_thread_that_is_not_the_main_one(
    loop: asyncio.AbstractEventLoop,
) -> None:
    results: list[str] = []

    async def main() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    def run() -> None:
        results.append(loop.run_until_complete(main()))

    thread = threading.Thread(target=run, name="elsewhere")
    thread.start()
    thread.join()
    assert results == ["elsewhere"]


def test_a_loop_may_move_to_another_thread_between_runs(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[int] = []

    def record() -> None:
        ran.append(threading.get_ident())

    loop.call_soon(record)
    run_one_turn(loop)
    loop.call_soon(record)
    thread = threading.Thread(target=run_one_turn, args=(loop,))
    thread.start()
    thread.join()
    loop.call_soon(record)
    run_one_turn(loop)
    here = threading.get_ident()
    assert ran[0] == here == ran[2]
    assert ran[1] != here


# --- run_until_complete -----------------------------------------------------------------------


def test_run_until_complete_returns_the_result_of_a_coroutine(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> str:
        await asyncio.sleep(0)
        return "done"

    assert loop.run_until_complete(main()) == "done"


def test_run_until_complete_returns_the_result_of_a_future(
    loop: asyncio.AbstractEventLoop,
) -> None:
    future = loop.create_future()
    loop.call_soon(future.set_result, 42)
    assert loop.run_until_complete(future) == 42
    assert loop.run_until_complete(future) == 42


def test_run_until_complete_takes_any_awaitable(loop: asyncio.AbstractEventLoop) -> None:
    class Awaitable:
        def __await__(self) -> Generator[Any, None, str]:
            yield from asyncio.sleep(0).__await__()
            return "awaited"

    assert loop.run_until_complete(Awaitable()) == "awaited"


def test_run_until_complete_raises_what_the_coroutine_raised(
    loop: asyncio.AbstractEventLoop,
) -> None:
    error = ZeroDivisionError("out it comes")

    async def main() -> None:
        raise error

    with pytest.raises(ZeroDivisionError) as caught:
        loop.run_until_complete(main())
    assert caught.value is error


@pytest.mark.parametrize("thing", [None, 1, "text", lambda: None])
def test_run_until_complete_refuses_what_cannot_be_awaited(
    loop: asyncio.AbstractEventLoop, thing: object
) -> None:
    with pytest.raises(TypeError):
        loop.run_until_complete(thing)  # type: ignore[arg-type]


def test_run_until_complete_refuses_another_loops_future(
    loop: asyncio.AbstractEventLoop, loop_factory: LoopFactory
) -> None:
    other = loop_factory()
    try:
        with pytest.raises(ValueError, match="different loop"):
            loop.run_until_complete(other.create_future())
    finally:
        other.close()


def test_stop_before_the_future_is_done_is_an_error(loop: asyncio.AbstractEventLoop) -> None:
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match=r"Event loop stopped before Future completed\."):
        loop.run_until_complete(future)
    # Its completion must not stop a later run: no done callback of the first run remains on it.
    ran: list[str] = []
    future.set_result(None)
    loop.call_soon(loop.call_soon, ran.append, "second turn")
    loop.call_soon(loop.call_soon, loop.stop)
    loop.run_forever()
    assert ran == ["second turn"]


def test_a_task_of_run_until_complete_that_is_left_pending_is_not_reported(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        loop.stop()
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="stopped before"):
        loop.run_until_complete(main())


def test_callbacks_of_the_last_turn_still_run(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []

    async def main() -> None:
        loop.call_soon(ran.append, "queued by the coroutine as it ends")

    loop.run_until_complete(main())
    assert ran == ["queued by the coroutine as it ends"]


# --- one loop at a time -----------------------------------------------------------------------


def errors_of(*calls: Callable[[], object]) -> list[str]:
    """Returns the `RuntimeError` messages of `calls`."""
    messages: list[str] = []
    for call in calls:
        with pytest.raises(RuntimeError) as caught:
            call()
        messages.append(str(caught.value))
    return messages


def test_a_running_loop_cannot_be_run(loop: asyncio.AbstractEventLoop, loop_name: str) -> None:
    REFUSED_RUN_ENDS_THE_RUNNING_ONE.skip_asyncio(loop_name)

    async def main() -> list[str]:
        return errors_of(
            loop.run_forever,
            lambda: loop.run_until_complete(loop.create_future()),
        )

    assert loop.run_until_complete(main()) == ["This event loop is already running"] * 2


def test_no_loop_runs_inside_another(
    loop: asyncio.AbstractEventLoop, loop_factory: LoopFactory, loop_name: str
) -> None:
    REFUSED_RUN_ENDS_THE_RUNNING_ONE.skip_asyncio(loop_name)
    inner = loop_factory()

    async def main() -> list[str]:
        return errors_of(
            inner.run_forever,
            lambda: inner.run_until_complete(inner.create_future()),
        )

    try:
        assert (
            loop.run_until_complete(main())
            == ["Cannot run the event loop while another loop is running"] * 2
        )
        # Both loops are still usable after the refusal.
        assert inner.run_until_complete(asyncio.sleep(0, "inner")) == "inner"
        assert loop.run_until_complete(asyncio.sleep(0, "outer")) == "outer"
    finally:
        inner.close()


@pytest.mark.parametrize("outside", ["asyncio", "yamanote"])
def test_loops_of_two_kinds_do_not_nest_either(outside: str) -> None:
    inside = "yamanote" if outside == "asyncio" else "asyncio"
    REFUSED_RUN_ENDS_THE_RUNNING_ONE.skip_asyncio(inside)
    outer, inner = LOOPS[outside](), LOOPS[inside]()

    async def main() -> list[str]:
        return errors_of(inner.run_forever)

    try:
        assert outer.run_until_complete(main()) == [
            "Cannot run the event loop while another loop is running"
        ]
    finally:
        outer.close()
        inner.close()


def test_two_loops_run_in_two_threads_at_once(loop_factory: LoopFactory) -> None:
    together = threading.Barrier(2)
    results: dict[int, int] = {}

    def run(number: int) -> None:
        loop = loop_factory()
        try:

            async def main() -> int:
                # Both threads are inside a running loop here; otherwise neither continues.
                together.wait()
                await asyncio.sleep(0.001)
                return number

            results[number] = loop.run_until_complete(main())
        finally:
            loop.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {0: 0, 1: 1}


# --- close ------------------------------------------------------------------------------------


def test_close_may_be_repeated(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    loop.close()
    assert loop.is_closed()
    assert not loop.is_running()


def test_close_from_a_callback_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> list[str]:
        return errors_of(loop.close)

    assert loop.run_until_complete(main()) == ["Cannot close a running event loop"]
    assert not loop.is_closed()


def test_what_was_queued_at_close_never_runs(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []
    loop.call_soon(ran.append, "soon")
    loop.call_later(0, ran.append, "later")
    loop.call_soon_threadsafe(ran.append, "threadsafe")
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_forever()
    assert ran == []


def test_scheduling_on_a_closed_loop_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    coroutine = asyncio.sleep(0)
    with socket.socket() as sock:
        messages = errors_of(
            lambda: loop.call_soon(print),
            lambda: loop.call_soon_threadsafe(print),
            lambda: loop.call_later(1, print),
            lambda: loop.call_at(1, print),
            lambda: loop.create_task(coroutine),
            lambda: loop.run_in_executor(None, print),
            lambda: loop.add_reader(sock, print),
            lambda: loop.add_writer(sock, print),
            lambda: loop.add_signal_handler(2, print),
            loop.run_forever,
            lambda: loop.run_until_complete(loop.create_future()),
        )
        assert not loop.remove_reader(sock)
        assert not loop.remove_writer(sock)
    coroutine.close()
    assert messages == ["Event loop is closed"] * len(messages)


def test_a_closed_loop_still_answers_questions(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    assert loop.time() > 0
    assert loop.get_debug() in {True, False}
    assert "closed=True" in repr(loop)
    assert loop.create_future().get_loop() is loop
    loop.stop()
    loop.set_debug(True)
    assert loop.get_debug()


def test_cancelling_what_a_closed_loop_never_ran_is_harmless(
    loop: asyncio.AbstractEventLoop,
) -> None:
    handles = [
        loop.call_soon(print),
        loop.call_later(3600, print),
        loop.call_soon_threadsafe(print),
    ]
    loop.close()
    for handle in handles:
        handle.cancel()
        assert handle.cancelled()


# --- exceptions that leave the loop -----------------------------------------------------------


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_exit_raised_by_a_callback_leaves_run_forever(
    loop: asyncio.AbstractEventLoop, kind: type[BaseException]
) -> None:
    ran: list[str] = []
    error = kind("leave")

    def leave() -> None:
        raise error

    loop.call_soon(leave)
    loop.call_soon(ran.append, "behind it in the batch")
    with pytest.raises(kind) as caught:
        loop.run_forever()
    assert caught.value is error
    assert not loop.is_running()
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
    # Nothing is lost: the rest of the batch runs in the next run.
    run_one_turn(loop)
    assert ran == ["behind it in the batch"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_exit_raised_by_a_timer_leaves_run_forever(
    loop: asyncio.AbstractEventLoop, kind: type[BaseException]
) -> None:
    def leave() -> None:
        raise kind

    loop.call_later(0, leave)
    with pytest.raises(kind):
        loop.run_forever()
    assert loop.run_until_complete(asyncio.sleep(0, "still usable")) == "still usable"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_exit_raised_by_a_task_leaves_run_until_complete(
    loop: asyncio.AbstractEventLoop, kind: type[BaseException]
) -> None:
    async def main() -> None:
        raise kind

    with pytest.raises(kind):
        loop.run_until_complete(main())
    assert loop.run_until_complete(asyncio.sleep(0, "still usable")) == "still usable"


def test_stop_then_an_exit_does_not_leave_a_stop_behind(loop: asyncio.AbstractEventLoop) -> None:
    def leave() -> None:
        raise KeyboardInterrupt

    ran: list[str] = []
    loop.call_soon(loop.stop)
    loop.call_soon(leave)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.call_soon(loop.call_soon, ran.append, "second turn")
    loop.call_soon(loop.call_soon, loop.stop)
    loop.run_forever()
    assert ran == ["second turn"]


# --- asynchronous generators ------------------------------------------------------------------


def test_asyncgen_hooks_are_installed_while_running_and_put_back(
    loop: asyncio.AbstractEventLoop, loop_name: str
) -> None:
    REFUSED_RUN_ENDS_THE_RUNNING_ONE.skip_asyncio(loop_name)

    def firstiter(_: AsyncGenerator[object, None]) -> None: ...

    def finalizer(_: AsyncGenerator[object, None]) -> None: ...

    def leave() -> None:
        raise KeyboardInterrupt

    inside: list[object] = []
    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter, finalizer)
    try:
        loop.call_soon(lambda: inside.append(sys.get_asyncgen_hooks()))
        run_one_turn(loop)
        assert tuple(sys.get_asyncgen_hooks()) == (firstiter, finalizer)
        loop.call_soon(leave)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert tuple(sys.get_asyncgen_hooks()) == (firstiter, finalizer)
        loop.call_soon(lambda: inside.extend(errors_of(loop.run_forever)))
        loop.call_soon(lambda: inside.append(sys.get_asyncgen_hooks()))
        run_one_turn(loop)
        assert tuple(sys.get_asyncgen_hooks()) == (firstiter, finalizer)
        loop.close()
        errors_of(loop.run_forever)
        assert tuple(sys.get_asyncgen_hooks()) == (firstiter, finalizer)
    finally:
        sys.set_asyncgen_hooks(*before)
    # A refused nested run must not reset the hooks of the outer run.
    assert inside[0] == inside[2]
    assert inside[0] != (firstiter, finalizer)


async def numbers(on_close: Callable[[], object]) -> AsyncGenerator[int, None]:
    """Counts forever; calls `on_close` when closed, one turn after `aclose()`."""
    try:
        number = 0
        while True:
            yield number
            number += 1
    finally:
        await asyncio.sleep(0)
        on_close()


def test_shutdown_asyncgens_closes_those_that_were_started(
    loop: asyncio.AbstractEventLoop,
) -> None:
    closed: list[str] = []
    generators = [numbers(lambda: closed.append("closed")) for _ in range(3)]

    async def main() -> None:
        for generator in generators[:2]:
            assert await generator.__anext__() == 0
        await loop.shutdown_asyncgens()

    loop.run_until_complete(main())
    assert closed == ["closed", "closed"]


def test_a_dropped_async_generator_is_closed_by_the_loop(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        closed = asyncio.Event()
        generator = numbers(closed.set)
        await generator.__anext__()
        del generator
        gc.collect()
        await closed.wait()

    loop.run_until_complete(main())


def test_an_error_while_closing_an_async_generator_is_reported(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, Any]]
) -> None:
    async def stubborn() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            raise ZeroDivisionError

    generator = stubborn()

    async def main() -> None:
        await generator.__anext__()
        await loop.shutdown_asyncgens()

    loop.run_until_complete(main())
    (context,) = reported
    assert set(context) == {"message", "exception", "asyncgen"}
    assert "an error occurred during closing of asynchronous generator" in context["message"]
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["asyncgen"] is generator
    reported.clear()


def test_an_async_generator_started_after_the_shutdown_warns(
    loop: asyncio.AbstractEventLoop,
) -> None:
    generator = numbers(lambda: None)

    async def main() -> None:
        await loop.shutdown_asyncgens()
        with pytest.warns(ResourceWarning, match="was scheduled after"):
            await generator.__anext__()
        await generator.aclose()

    loop.run_until_complete(main())


# --- the object itself ------------------------------------------------------------------------


def test_repr_shows_the_state(loop: asyncio.AbstractEventLoop) -> None:
    name = type(loop).__name__
    loop.set_debug(False)
    assert repr(loop) == f"<{name} running=False closed=False debug=False>"
    loop.set_debug(True)
    shown: list[str] = []
    loop.call_soon(lambda: shown.append(repr(loop)))
    run_one_turn(loop)
    assert shown == [f"<{name} running=True closed=False debug=True>"]
    loop.close()
    assert repr(loop) == f"<{name} running=False closed=True debug=True>"


def test_a_loop_takes_attributes_and_weak_references(loop: asyncio.AbstractEventLoop) -> None:
    loop.anything = "kept"  # type: ignore[attr-defined]
    assert loop.anything == "kept"  # type: ignore[attr-defined]
    assert weakref.ref(loop)() is loop
    assert loop in {loop}


BASES: list[type[asyncio.BaseEventLoop]] = [asyncio.SelectorEventLoop, yamanote.Loop]


@pytest.mark.parametrize("base", BASES)
def test_a_loop_can_be_subclassed(base: type[asyncio.BaseEventLoop]) -> None:
    class Counting(base):  # type: ignore[misc, valid-type]
        """Counts the calls of two overridden methods."""

        def __init__(self, start: int) -> None:
            super().__init__()
            self.soon = start
            self.reports: list[dict[str, Any]] = []

        def call_soon(self, *args: Any, **kwargs: Any) -> asyncio.Handle:
            self.soon += 1
            handle: asyncio.Handle = super().call_soon(*args, **kwargs)
            return handle

        def call_exception_handler(self, context: dict[str, Any]) -> None:
            self.reports.append(context)

    loop = Counting(start=10)
    ran: list[str] = []
    try:
        loop.call_soon(ran.append, "ran")
        loop.call_soon(lambda: ran[1])
        run_one_turn(loop)
        assert ran == ["ran"]
        assert loop.soon == 12
        assert [type(report["exception"]) for report in loop.reports] == [IndexError]
        assert isinstance(loop, base)
        assert repr(loop).startswith("<Counting running=False")
    finally:
        loop.close()


def drop(things: list[Any]) -> None:
    """Clears `things`, which must hold the last references to its items."""
    things.clear()
    gc.collect()


def test_a_loop_dropped_unclosed_warns(loop_factory: LoopFactory) -> None:
    loops = [loop_factory()]
    shown = repr(loops[0])
    with pytest.warns(ResourceWarning, match="unclosed event loop") as caught:
        drop(loops)
    assert str(caught[0].message) == f"unclosed event loop {shown}"


def test_a_closed_loop_is_freed_with_all_it_held(loop_factory: LoopFactory) -> None:
    class Callback:
        """Refers to the loop, so that only the collector can free both."""

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self.loop = loop

        def __call__(self) -> None:
            raise AssertionError("never run")

    loop = loop_factory()
    callback = Callback(loop)
    loop.call_soon(callback)
    loop.call_later(3600, callback)
    loop.call_soon_threadsafe(callback)
    watched: list[weakref.ref[object]] = [weakref.ref(loop), weakref.ref(callback)]
    loop.close()
    del loop, callback
    gc.collect()
    assert [reference() for reference in watched] == [None, None]


def test_a_loop_dropped_unclosed_is_freed_with_all_it_held(loop_factory: LoopFactory) -> None:
    class Callback:
        """Refers to the loop, so that only the collector can free both."""

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self.loop = loop

        def __call__(self, *_: object) -> None:
            raise AssertionError("never run")

    loop = loop_factory()
    callback = Callback(loop)
    loop.call_soon(callback, callback)
    loop.call_later(3600, callback, callback, callback)
    loop.set_exception_handler(callback)
    loop.set_task_factory(callback)  # type: ignore[arg-type]
    watched: list[weakref.ref[object]] = [weakref.ref(loop), weakref.ref(callback)]
    things = [loop, callback]
    del loop, callback
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        drop(things)
    # Objects resurrected by the warning: Python 3.15 clears weak references only after finalizers.
    gc.collect()
    assert [reference() for reference in watched] == [None, None]


def test_a_loop_dropped_unclosed_is_freed_with_handles_that_its_callbacks_hold(
    loop_factory: LoopFactory,
) -> None:
    class Owner:
        """Holds the handle of its own callback, as protocols hold their timeouts."""

        handles: tuple[asyncio.Handle, ...] = ()

        def schedule(self, loop: asyncio.AbstractEventLoop) -> None:
            self.handles = (loop.call_soon(self.run), loop.call_later(3600, self.run, loop))

        def run(self, *_: object) -> None:
            raise AssertionError("never run")

    loop = loop_factory()
    owners = [Owner() for _ in range(6)]
    for number, owner in enumerate(owners):
        # Held or not in turns; the last of each kind is held.
        loop.call_soon(owner.run)
        loop.call_later(3600, owner.run)
        if number % 2:
            owner.schedule(loop)
    kept = loop.call_soon(print, "still there")
    gc.collect()
    assert kept._args == ("still there",)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    things: list[object] = [loop, *owners]
    watched = [weakref.ref(thing) for thing in things]
    things.append(kept)
    del loop, owners, owner, kept  # pyright: ignore[reportPossiblyUnboundVariable]
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        drop(things)
    assert [reference() for reference in watched] == [None] * 7


def test_close_lets_go_of_queued_callbacks_at_once(loop: asyncio.AbstractEventLoop) -> None:
    class Callback:
        """A callable that supports weak references."""

        def __call__(self, *_: object) -> None: ...

    callbacks = [Callback() for _ in range(3)]
    watched = [weakref.ref(callback) for callback in callbacks]
    loop.call_soon(callbacks[0])
    loop.call_later(3600, callbacks[1])
    loop.call_soon_threadsafe(callbacks[2])
    callbacks.clear()
    loop.close()
    assert [reference() for reference in watched] == [None, None, None]


def test_a_callback_that_ran_is_let_go_of(loop: asyncio.AbstractEventLoop) -> None:
    class Callback:
        """A callable that supports weak references."""

        def __call__(self, *_: object) -> None: ...

    callback = Callback()
    watched = weakref.ref(callback)
    loop.call_soon(callback, callback)
    loop.call_later(0, callback)
    del callback
    while watched() is not None:
        run_one_turn(loop)
    assert watched() is None
