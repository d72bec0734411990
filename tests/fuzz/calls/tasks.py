"""Futures and tasks."""

from __future__ import annotations

from tests.fuzz.calls.call import calls, maker

CALLS = (
    maker("loop.create_future()", "future", weight=6),
    maker("loop.create_task({coroutine}[, name={any}][, context={context}])", "task", weight=8),
    maker("asyncio.ensure_future({awaitable}, loop=loop)", "task", weight=4),
    *calls(
        "loop.create_task({coroutine}, eager_start={bool})",
        "loop.create_task()",
        "loop.create_future({any})",
        "{future}.set_result({any})",
        "{future}.set_exception({exception})",
        "{future}.cancel()",
        "{future}.cancel({any})",
        "{future}.result()",
        "{future}.exception()",
        "{future}.done()",
        "{future}.get_loop()",
        "{future}.add_done_callback({callback}[, context={context}])",
        "{future}.remove_done_callback({callback})",
        "repr({future})",
        "{task}.cancel()",
        "{task}.cancel({any})",
        "{task}.uncancel()",
        "{task}.cancelling()",
        "{task}.set_name({any})",
        "{task}.get_coro()",
        "{task}.get_stack()",
        "{task}.add_done_callback({callback}[, context={context}])",
        "repr({task})",
        "asyncio.run_coroutine_threadsafe({coroutine}, loop)",
        "wait({awaitable})",
        "wait({future})",
        "wait({task})",
        "asyncio.wait_for({awaitable}, {delay})",
        "asyncio.sleep({delay})",
        "asyncio.all_tasks(loop)",
        "asyncio.current_task(loop)",
    ),
    *calls(
        "wait(loop.run_in_executor({executor}, {job}))",
        "loop.shutdown_asyncgens()",
        "loop.shutdown_default_executor([timeout={delay}])",
        "loop.set_default_executor({any})",
        weight=1,
        waits=True,
    ),
)
