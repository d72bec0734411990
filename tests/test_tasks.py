"""Tasks and futures as the loop creates them, with their contexts."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import gc
import inspect
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from tests.loops import LOOPS
from tests.turns import run_one_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from tests.loops import LoopFactory

    AnyTask = asyncio.Task[Any]
    AnyCoroutine = Coroutine[Any, Any, Any] | Generator[Any, Any, Any]

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")


async def answer() -> int:
    """A minimal coroutine that waits."""
    await asyncio.sleep(0)
    return 42


# --- create_task and create_future ------------------------------------------------------------


def test_a_task_is_asyncios_own(loop: asyncio.AbstractEventLoop) -> None:
    task = loop.create_task(answer())
    assert type(task) is asyncio.Task
    assert task.get_loop() is loop
    assert loop.run_until_complete(task) == 42


def test_a_future_is_asyncios_own(loop: asyncio.AbstractEventLoop) -> None:
    future = loop.create_future()
    assert type(future) is asyncio.Future
    assert future.get_loop() is loop
    assert not future.done()


def test_a_task_starts_in_the_next_turn_behind_what_was_queued(
    loop: asyncio.AbstractEventLoop,
) -> None:
    ran: list[str] = []

    async def main() -> None:
        ran.append("task")

    loop.call_soon(ran.append, "before")
    task = loop.create_task(main())
    loop.call_soon(ran.append, "after")
    assert ran == []
    run_one_turn(loop)
    assert ran == ["before", "task", "after"]
    assert task.done()


def test_tasks_are_named(loop: asyncio.AbstractEventLoop) -> None:
    given = loop.create_task(answer(), name="given")
    made_up = [loop.create_task(answer()), loop.create_task(answer(), name=None)]
    assert given.get_name() == "given"
    numbers = [int(task.get_name().removeprefix("Task-")) for task in made_up]
    assert numbers[0] < numbers[1]
    loop.run_until_complete(asyncio.gather(given, *made_up))


def test_a_name_need_not_be_text(loop: asyncio.AbstractEventLoop) -> None:
    task = loop.create_task(answer(), name=7)  # type: ignore[arg-type]
    assert task.get_name() == "7"
    loop.run_until_complete(task)


def test_a_task_runs_in_the_context_it_is_given(loop: asyncio.AbstractEventLoop) -> None:
    context = contextvars.Context()

    async def main() -> None:
        variable.set("set by the task")
        await asyncio.sleep(0)
        variable.set(f"{variable.get()}, twice")

    task = loop.create_task(main(), context=context)
    loop.run_until_complete(task)
    assert context.run(variable.get) == "set by the task, twice"
    assert variable.get() == "default"


def test_no_context_means_a_copy_for_the_task(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> str:
        seen = variable.get()
        variable.set("of the task alone")
        await asyncio.sleep(0)
        return seen

    token = variable.set("current")
    tasks = [loop.create_task(main()), loop.create_task(main(), context=None)]
    variable.reset(token)
    assert loop.run_until_complete(asyncio.gather(*tasks)) == ["current", "current"]
    assert variable.get() == "default"


@pytest.mark.skipif(sys.version_info < (3, 14), reason="create_task(eager_start=) is new in 3.14")
def test_an_eager_task_starts_within_create_task(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []

    async def quick() -> str:
        ran.append("quick")
        return "done at once"

    async def main() -> None:
        create_task: Callable[..., AnyTask] = loop.create_task
        task = create_task(quick(), eager_start=True)
        assert task.done()
        assert task.result() == "done at once"
        later = create_task(quick(), eager_start=False)
        assert not later.done()
        waiting = create_task(answer(), eager_start=True)
        assert not waiting.done()
        assert await waiting == 42
        await later

    loop.run_until_complete(main())
    assert ran == ["quick", "quick"]


@pytest.mark.parametrize("running", [False, True])
def test_a_task_takes_name_and_context_together(
    loop: asyncio.AbstractEventLoop, running: bool
) -> None:
    context = contextvars.Context()
    context.run(variable.set, "given")

    async def seen() -> str:
        return variable.get()

    made: list[AnyTask] = []

    def make() -> None:
        create_task: Callable[..., AnyTask] = loop.create_task
        made.append(create_task(seen(), context=context, name="both"))
        made.append(create_task(seen(), name="both", context=context))
        made.append(create_task(seen(), context=context))
        # Equal texts that are other objects than the names in any source.
        made.append(create_task(seen(), **{"".join(["na", "me"]): "both"}))
        made.append(create_task(coro=seen(), name="both"))

    if running:
        loop.call_soon(make)
        run_one_turn(loop)
    else:
        make()
    results = loop.run_until_complete(asyncio.gather(*made))
    assert results == ["given", "given", "given", "default", "default"]
    assert [task.get_name() for task in made if task is not made[2]] == ["both"] * 4


@pytest.mark.parametrize("keywords", [{"unknown": 1}, {"name": "x", "unknown": 1}, {"loop": None}])
def test_wrong_keywords_of_a_task_are_a_type_error(
    loop: asyncio.AbstractEventLoop, keywords: dict[str, Any]
) -> None:
    coroutine = answer()
    create_task: Callable[..., AnyTask] = loop.create_task

    def attempt() -> None:
        with pytest.raises(TypeError) as raised:
            create_task(coroutine, **keywords)
        texts.append(str(raised.value))

    texts: list[str] = []
    reference = asyncio.BaseEventLoop.create_task
    attempt()
    loop.call_soon(attempt)
    run_one_turn(loop)
    with pytest.raises(TypeError) as raised:
        reference(loop, coroutine, **keywords)  # type: ignore[arg-type]
    assert texts == [str(raised.value)] * 2
    coroutine.close()


def test_a_future_and_a_task_belong_to_the_loop_asked_not_to_the_running_one(
    loop: asyncio.AbstractEventLoop, loop_factory: LoopFactory
) -> None:
    other = loop_factory()

    async def main() -> None:
        future, task = other.create_future(), other.create_task(answer())
        made.extend([future, task, other.create_task(answer(), name="named")])
        # A loop that runs another one within a callback announces it in this way.
        asyncio._set_running_loop(other)
        try:
            made.extend([other.create_future(), other.create_task(answer())])
            own.extend([loop.create_future(), loop.create_task(answer())])
        finally:
            asyncio._set_running_loop(loop)
        own.extend([loop.create_future(), loop.create_task(answer(), name=None)])

    made: list[asyncio.Future[Any]] = []
    own: list[asyncio.Future[Any]] = []
    loop.run_until_complete(main())
    assert [future.get_loop() for future in made] == [other] * 5
    assert [future.get_loop() for future in own] == [loop] * 4
    for each, futures in ((other, made), (loop, own)):
        each.run_until_complete(
            asyncio.gather(*(future for future in futures if isinstance(future, asyncio.Task)))
        )
    other.close()


def test_a_closed_loop_makes_no_task_even_for_the_running_one(
    loop: asyncio.AbstractEventLoop, loop_factory: LoopFactory
) -> None:
    closed = loop_factory()
    closed.close()

    async def main() -> None:
        coroutine = answer()
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            closed.create_task(coroutine)
        coroutine.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("thing", [None, 1, "text", answer])
def test_only_a_coroutine_becomes_a_task(loop: asyncio.AbstractEventLoop, thing: object) -> None:
    with pytest.raises(TypeError, match="a coroutine was expected, got"):
        loop.create_task(thing)  # type: ignore[arg-type]


def test_wrong_arguments_are_a_type_error(loop: asyncio.AbstractEventLoop) -> None:
    coroutine = answer()
    create_task: Any = loop.create_task
    with pytest.raises(TypeError):
        create_task()
    with pytest.raises(TypeError):
        create_task(coroutine, "a name by position")
    with pytest.raises(TypeError):
        create_task(coroutine, no_such_argument=1)
    coroutine.close()


def test_debug_mode_remembers_who_made_the_task(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_debug(True)
    frame = inspect.currentframe()
    assert frame is not None
    task = loop.create_task(answer(), name="traced")
    assert f"created at {__file__}:{frame.f_lineno - 1}" in repr(task)
    loop.run_until_complete(task)


# --- task factories ---------------------------------------------------------------------------


def test_a_factory_that_refers_to_its_loop_is_collected_with_it(loop_factory: LoopFactory) -> None:
    loop = loop_factory()

    class Factory:
        event_loop = loop

        def __call__(self, loop: asyncio.AbstractEventLoop, coroutine: AnyCoroutine) -> AnyTask:
            raise NotImplementedError

    loop.set_task_factory(Factory())
    loop.close()
    gone = weakref.ref(Factory), weakref.ref(loop)
    del loop, Factory
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_a_factory_set_where_asyncio_keeps_it_is_used(loop: asyncio.AbstractEventLoop) -> None:
    made: list[AnyTask] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: AnyCoroutine) -> AnyTask:
        made.append(asyncio.Task(coroutine, loop=loop))  # type: ignore[arg-type]
        return made[-1]

    loop._task_factory = factory  # type: ignore[attr-defined]
    assert loop.get_task_factory() is factory
    task = loop.create_task(answer())
    assert made == [task]
    loop.run_until_complete(task)


def test_a_subclass_may_hold_the_factory_itself(loop_name: str) -> None:
    made: list[AnyTask] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: AnyCoroutine) -> AnyTask:
        made.append(asyncio.Task(coroutine, loop=loop))  # type: ignore[arg-type]
        return made[-1]

    with contextlib.closing(LOOPS[loop_name]()) as stock:
        base: Any = type(stock)
    owning: Any = type(
        "Owning",
        (base,),
        {"_task_factory": property(lambda _: factory, lambda _, value: None)},
    )
    with contextlib.closing(owning()) as loop:
        task = loop.create_task(answer())
        assert made == [task]
        loop.run_until_complete(task)


def test_a_factory_of_two_arguments_makes_the_tasks(loop: asyncio.AbstractEventLoop) -> None:
    made: list[AnyTask] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: AnyCoroutine) -> AnyTask:
        task: AnyTask = asyncio.Task(coroutine, loop=loop)  # type: ignore[arg-type]
        made.append(task)
        return task

    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    task = loop.create_task(answer())
    assert made == [task]
    assert loop.run_until_complete(task) == 42
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None
    loop.run_until_complete(answer())
    assert len(made) == 1


@pytest.mark.skipif(sys.version_info >= (3, 13, 3), reason="the name goes to the factory now")
def test_a_name_reaches_the_task_of_a_factory_of_two_arguments(
    loop: asyncio.AbstractEventLoop,
) -> None:
    def factory(loop: asyncio.AbstractEventLoop, coroutine: AnyCoroutine) -> AnyTask:
        return asyncio.Task(coroutine, loop=loop)  # type: ignore[arg-type]

    loop.set_task_factory(factory)
    task = loop.create_task(answer(), name="given")
    assert task.get_name() == "given"
    loop.run_until_complete(task)


@pytest.mark.skipif(sys.version_info < (3, 13, 3), reason="keywords are forwarded from 3.13.3")
def test_a_factory_receives_what_the_caller_gave_and_nothing_else(
    loop: asyncio.AbstractEventLoop,
) -> None:
    received: list[dict[str, object]] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: AnyCoroutine, **kwargs: Any) -> AnyTask:
        received.append(dict(kwargs))
        kwargs.pop("custom", None)
        return asyncio.Task(coroutine, loop=loop, **kwargs)  # type: ignore[arg-type]

    context = contextvars.Context()
    calls: list[dict[str, Any]] = [
        {},
        {"name": "given"},
        {"name": None},
        {"context": context},
        {"name": "given", "context": context, "custom": 1},
    ]
    loop.set_task_factory(factory)
    tasks = [loop.create_task(answer(), **call) for call in calls]
    assert received == calls
    loop.set_task_factory(None)
    loop.run_until_complete(asyncio.gather(*tasks))


def test_a_context_reaches_the_factory(loop: asyncio.AbstractEventLoop) -> None:
    received: list[object] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: AnyCoroutine, **kwargs: Any) -> AnyTask:
        received.append(kwargs["context"])
        return asyncio.Task(coroutine, loop=loop, **kwargs)  # type: ignore[arg-type]

    context = contextvars.Context()
    loop.set_task_factory(factory)
    task = loop.create_task(answer(), context=context)
    assert received == [context]
    loop.run_until_complete(task)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager_task_factory is new in 3.12")
def test_the_eager_task_factory_finishes_what_does_not_wait(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def quick() -> str:
        return "done at once"

    async def main() -> tuple[bool, bool, int]:
        quick_task = asyncio.ensure_future(quick())
        slow_task = asyncio.ensure_future(answer())
        return quick_task.done(), slow_task.done(), await slow_task

    loop.set_task_factory(asyncio.eager_task_factory)
    assert loop.run_until_complete(main()) == (True, False, 42)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="create_eager_task_factory is new in 3.12")
def test_a_made_to_measure_eager_factory_makes_its_own_tasks(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class MyTask(asyncio.Task[Any]):
        """A subclass of `Task`."""

    async def main() -> type[object]:
        task = loop.create_task(answer(), name="mine")
        assert task.get_name() == "mine"
        await task
        return type(task)

    loop.set_task_factory(asyncio.create_eager_task_factory(MyTask))
    assert loop.run_until_complete(main()) is MyTask


def test_a_factory_must_be_callable(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(TypeError, match="task factory must be a callable or None"):
        loop.set_task_factory(1)  # type: ignore[arg-type]
    assert loop.get_task_factory() is None


# --- who is running ---------------------------------------------------------------------------


def test_all_tasks_and_current_task_see_our_tasks(loop: asyncio.AbstractEventLoop) -> None:
    async def other() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        waiting = loop.create_task(other())
        current = asyncio.current_task()
        assert current is not None
        assert current.get_loop() is loop
        assert asyncio.all_tasks() == {current, waiting}
        waiting.cancel()
        await asyncio.wait([waiting])
        assert asyncio.all_tasks() == {current}

    loop.run_until_complete(main())
    assert asyncio.all_tasks(loop) == set()


def test_there_is_no_current_task_in_a_callback(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[object] = []
    loop.call_soon(lambda: seen.append(asyncio.current_task()))
    run_one_turn(loop)
    assert seen == [None]


def test_tasks_made_before_the_loop_runs_are_known(loop: asyncio.AbstractEventLoop) -> None:
    task = loop.create_task(answer())
    assert asyncio.all_tasks(loop) == {task}
    loop.run_until_complete(task)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="call graphs are new in 3.14")
def test_a_call_graph_shows_who_waits_for_whom(loop: asyncio.AbstractEventLoop) -> None:
    capture_call_graph: Callable[[], Any] = vars(asyncio)["capture_call_graph"]
    graphs: list[Any] = []

    async def inner() -> None:
        await asyncio.sleep(0)
        graphs.append(capture_call_graph())

    async def outer() -> None:
        await asyncio.wait_for(asyncio.create_task(inner(), name="inner task"), 60)

    loop.run_until_complete(loop.create_task(outer(), name="outer task"))
    (graph,) = graphs
    assert graph.future.get_name() == "inner task"
    names = [entry.frame.f_code.co_name for entry in graph.call_stack]
    assert "inner" in names
    (waiting,) = graph.awaited_by
    assert waiting.future.get_name() == "outer task"
    assert "outer" in [entry.frame.f_code.co_name for entry in waiting.call_stack]


# --- order and contexts -----------------------------------------------------------------------


def test_tasks_take_turns_at_each_sleep_of_zero(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []

    async def count(name: str) -> None:
        for number in range(3):
            ran.append(f"{name}{number}")
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(count("a"), count("b"), count("c"))

    loop.run_until_complete(main())
    assert ran == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


def test_done_callbacks_run_in_order_a_turn_later_in_their_contexts(
    loop: asyncio.AbstractEventLoop,
) -> None:
    seen: list[tuple[str, str]] = []
    future = loop.create_future()
    context = contextvars.Context()
    context.run(variable.set, "given")
    future.add_done_callback(lambda _: seen.append(("first", variable.get())))
    future.add_done_callback(lambda _: seen.append(("second", variable.get())), context=context)
    future.set_result(None)
    assert seen == []
    run_one_turn(loop)
    assert seen == [("first", "default"), ("second", "given")]


def test_a_done_callback_that_raises_is_reported(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, object]]
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    future = loop.create_future()
    future.add_done_callback(fail)
    future.set_result(None)
    run_one_turn(loop)
    assert [type(context["exception"]) for context in reported] == [ZeroDivisionError]
    reported.clear()


def test_variables_set_in_one_task_stay_in_it(loop: asyncio.AbstractEventLoop) -> None:
    async def child(value: str) -> tuple[str, str]:
        inherited = variable.get()
        variable.set(value)
        await asyncio.sleep(0)
        return inherited, variable.get()

    async def main() -> list[tuple[str, str]]:
        variable.set("of the parent")
        results = await asyncio.gather(child("one"), child("two"))
        assert variable.get() == "of the parent"
        return list(results)

    assert loop.run_until_complete(main()) == [
        ("of the parent", "one"),
        ("of the parent", "two"),
    ]


def test_a_long_chain_of_awaiting_tasks_unwinds(loop: asyncio.AbstractEventLoop) -> None:
    async def link(number: int) -> int:
        if number == 0:
            await asyncio.sleep(0)
            return 0
        return 1 + await asyncio.ensure_future(link(number - 1))

    assert loop.run_until_complete(link(500)) == 500


# --- cancellation -----------------------------------------------------------------------------


def test_a_task_cancelled_before_it_started_never_runs(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []

    async def main() -> None:
        ran.append("ran")

    task = loop.create_task(main())
    assert task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert ran == []
    assert task.cancelled()


def test_a_cancelled_task_may_clean_up(loop: asyncio.AbstractEventLoop) -> None:
    events: list[str] = []

    async def worker() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            events.append("cleaned up")

    async def main() -> None:
        task = asyncio.ensure_future(worker())
        await asyncio.sleep(0)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await task
        events.append("seen")

    loop.run_until_complete(main())
    assert events == ["cleaned up", "seen"]


def test_cancelling_a_sleep_takes_its_timer_away(loop: asyncio.AbstractEventLoop) -> None:
    watched: list[weakref.ref[asyncio.TimerHandle]] = []
    call_later = loop.call_later

    def watching(*args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        handle = call_later(*args, **kwargs)
        watched.append(weakref.ref(handle))
        return handle

    loop.call_later = watching  # type: ignore[assignment, method-assign]

    async def main() -> None:
        task = asyncio.ensure_future(asyncio.sleep(3600))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    loop.run_until_complete(main())
    run_one_turn(loop)
    gc.collect()
    # It may still be in the heap, but must not be armed.
    assert len(watched) == 1
    handle = watched[0]()
    assert handle is None or handle.cancelled()


# --- unretrieved exceptions -------------------------------------------------------------------


def test_an_exception_that_is_never_retrieved_is_reported(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, object]]
) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        task = asyncio.ensure_future(fail())
        await asyncio.wait([task])

    loop.set_debug(False)
    loop.run_until_complete(main())
    gc.collect()
    (context,) = reported
    assert set(context) == {"message", "exception", "future"}
    assert context["message"] == "Task exception was never retrieved"
    assert isinstance(context["exception"], ZeroDivisionError)
    reported.clear()
    future = loop.create_future()
    future.set_exception(LookupError())
    del future
    gc.collect()
    (context,) = reported
    assert context["message"] == "Future exception was never retrieved"
    reported.clear()


def test_a_finished_task_is_let_go_of(loop: asyncio.AbstractEventLoop) -> None:
    task = loop.create_task(answer())
    watched = weakref.ref(task)
    loop.run_until_complete(task)
    run_one_turn(loop)
    del task
    gc.collect()
    assert watched() is None


# --- from other threads -----------------------------------------------------------------------


def test_a_thread_submits_a_coroutine_and_waits_for_it(loop: asyncio.AbstractEventLoop) -> None:
    outcomes: list[object] = []

    async def fail() -> None:
        raise ZeroDivisionError

    def work() -> None:
        submit = asyncio.run_coroutine_threadsafe
        outcomes.append(submit(answer(), loop).result())
        outcomes.append(type(submit(fail(), loop).exception()))
        sleeping = submit(asyncio.sleep(3600), loop)
        outcomes.append(sleeping.cancel())
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=work)
    thread.start()
    loop.run_forever()
    thread.join()
    assert outcomes == [42, ZeroDivisionError, True]
    # The cancellation was queued before the stop, so the task is cancelled.
    for task in asyncio.all_tasks(loop):
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)


def test_a_concurrent_future_is_awaited(loop: asyncio.AbstractEventLoop) -> None:
    source: concurrent.futures.Future[str] = concurrent.futures.Future()

    async def main() -> str:
        thread = threading.Thread(target=source.set_result, args=("from a thread",))
        waiting = asyncio.wrap_future(source)
        thread.start()
        result = await waiting
        thread.join()
        return result

    assert loop.run_until_complete(main()) == "from a thread"


def test_many_threads_complete_futures_of_one_loop(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> list[int]:
        futures: list[asyncio.Future[int]] = [loop.create_future() for _ in range(400)]

        def complete(start: int) -> None:
            for number in range(start, 400, 4):
                loop.call_soon_threadsafe(futures[number].set_result, number)

        threads = [threading.Thread(target=complete, args=(start,)) for start in range(4)]
        for thread in threads:
            thread.start()
        results = await asyncio.gather(*futures)
        for thread in threads:
            thread.join()
        return results

    assert loop.run_until_complete(main()) == list(range(400))
