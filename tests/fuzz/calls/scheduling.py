"""The loop itself: scheduling, time, and exception handlers."""

from __future__ import annotations

from tests.fuzz.calls.call import calls, maker

CALLS = (
    maker("loop.call_soon({callback}{rest}[, context={context}])", "handle", weight=12),
    maker("loop.call_soon_threadsafe({callback}{rest}[, context={context}])", "handle", weight=6),
    maker("loop.call_later({delay}, {callback}{rest}[, context={context}])", "timer", weight=10),
    maker("loop.call_at({when}, {callback}{rest}[, context={context}])", "timer", weight=10),
    *calls(
        "loop.call_soon()",
        "loop.call_later({delay})",
        "loop.call_at({when})",
        "loop.call_soon({callback}, {any}={any})",
        "loop.call_soon({callback}, strange={any})",
        "loop.call_later(delay={delay}, callback={callback})",
        "loop.call_at(when={when}, callback={callback})",
        "loop.time()",
        "loop.is_running()",
        "loop.is_closed()",
        "loop.get_debug()",
        "loop.set_debug({bool})",
        "loop.stop()",
        "repr(loop)",
        "within(20).run_forever()",
        "within(20).run_until_complete({awaitable})",
        "loop.get_exception_handler()",
        "loop.default_exception_handler({report})",
        "loop.get_task_factory()",
        "setattr(loop, 'slow_callback_duration', {number})",
        "loop.slow_callback_duration",
        "module.new_event_loop().close()",
        weight=2,
    ),
    *calls(
        "loop.set_exception_handler({handler})",
        "loop.call_exception_handler({report})",
        "loop.set_task_factory({taskfactory})",
    ),
    *calls("loop.close()", weight=1),
    *calls(
        "module.run({coroutine})",
        "asyncio.Runner(loop_factory=module.new_event_loop).run({coroutine})",
        "in_thread({threaded})",
        weight=2,
        waits=True,
    ),
    *calls("in_thread(on({block}))", "beside(on({block}))", wild=True, weight=6),
    *calls("forked(on({block}))", wild=True, weight=1),
)
