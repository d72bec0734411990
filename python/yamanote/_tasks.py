"""`tasks()` and `dump()`: what every pending task waits for, as a list and as a tree."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
import traceback
from dataclasses import dataclass
from typing import Any, Final

from yamanote._origins import origin_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import TextIO

#: A chain of coroutines that is longer is cut: it may be endless.
_MOST_FRAMES: Final = 1000
_HAS_GIL: Final = getattr(sys, "_is_gil_enabled", lambda: True)()
#: So many tasks are looked at for those that wait for a certain one: some milliseconds.
_MOST_TASKS: Final = 10_000


@dataclass(frozen=True)
class TaskInfo:
    """A pending task.

    Attributes:
        task: the task itself.
        name: its name.
        coroutine: the qualified name of what it runs.
        stack: where it is, innermost last; empty if it has not begun.
        waits_for: what its innermost coroutine awaits, as text: a task's or a future's; "" if it is
            ready to run.
        awaited_by: the pending tasks that wait for it, directly or through `gather()`.
        age: seconds since it was created; `None` unless its loop keeps tasks.
        origin: where it was created, as "file:line"; `None` unless its loop remembers `origins`, or
            it was created in debug mode.
    """

    task: asyncio.Task[Any]
    name: str
    coroutine: str
    stack: traceback.StackSummary
    waits_for: str
    awaited_by: tuple[asyncio.Task[Any], ...]
    age: float | None
    origin: str | None


def tasks(loop: asyncio.AbstractEventLoop | None = None) -> list[TaskInfo]:
    """Return every pending task of a loop, in the order of their names.

    Callable from any thread; while the loop runs on another one, the tasks move on meanwhile.

    Args:
        loop: the running loop if `None`.

    Raises:
        RuntimeError: `loop` is `None`, and no loop runs in this thread.
    """
    pending = asyncio.all_tasks(loop)
    awaited_by: dict[asyncio.Task[Any], list[asyncio.Task[Any]]] = {}
    for task in pending:
        for awaited in _awaited_by(task):
            awaited_by.setdefault(awaited, []).append(task)
    found = [
        TaskInfo(
            task,
            task.get_name(),
            coroutine_name(task),
            _stack_of(task),
            _waits_for(task),
            tuple(awaited_by.get(task, ())),
            _age_of(task, task.get_loop()),
            origin_of(task),
        )
        for task in pending
    ]
    return sorted(found, key=lambda info: info.name)


def info_of(
    task: asyncio.Task[Any],
    loop: asyncio.AbstractEventLoop,
    stack: traceback.StackSummary | None,
) -> TaskInfo:
    """Return what is known about the task that runs on `loop`, and where its thread is."""
    running = traceback.StackSummary.from_list(stack or [])
    if not _HAS_GIL:
        return _info_without_lock(task, loop, running)
    return TaskInfo(
        task,
        task.get_name(),
        coroutine_name(task),
        running,
        "",
        tuple(_awaiting(task)),
        _age_of(task, loop),
        origin_of(task),
    )


def _info_without_lock(
    task: asyncio.Task[Any],
    loop: asyncio.AbstractEventLoop,
    stack: traceback.StackSummary,
) -> TaskInfo:
    """As `info_of`, where a task is locked while it runs: who asks it anything waits for that.

    The collector sees what a task refers to without its lock.
    """
    referents = gc.get_referents(task)
    name = next((it for it in referents if type(it) is str), "")
    coroutine = next((it for it in referents if asyncio.iscoroutine(it)), None)
    awaited_by: list[asyncio.Task[Any]] = []
    seen = {id(task)}
    futures: list[Any] = [task]
    while futures:
        referents = gc.get_referents(futures.pop())
        sets: list[set[Any]] = [it for it in referents if isinstance(it, set)]
        for found in (referents, *sets):
            for future in found:
                if not asyncio.isfuture(future) or id(future) in seen:
                    continue
                seen.add(id(future))
                if isinstance(future, asyncio.Task):
                    awaited_by.append(future)
                else:
                    futures.append(future)
    qualified = getattr(coroutine, "__qualname__", None) or repr(coroutine)
    age = _age_of(task, loop)
    return TaskInfo(task, name, qualified, stack, "", tuple(awaited_by), age, None)


def dump(loop: asyncio.AbstractEventLoop | None = None, *, file: TextIO | None = None) -> None:
    """Print every pending task of a loop as a tree: below each task those that it waits for.

    Args:
        loop: the running loop if `None`.
        file: the standard error if `None`.

    Raises:
        RuntimeError: `loop` is `None`, and no loop runs in this thread.
    """
    print("\n".join(tree(loop)), file=file or sys.stderr)


def tree(loop: asyncio.AbstractEventLoop | None) -> Iterator[str]:
    """Yield the lines that `dump()` prints."""
    found = tasks(loop)
    below: dict[asyncio.Task[Any], list[TaskInfo]] = {}
    for info in found:
        for task in info.awaited_by:
            below.setdefault(task, []).append(info)
    shown: set[asyncio.Task[Any]] = set()
    yield f"{len(found)} pending task{'' if len(found) == 1 else 's'}"
    # First those that no task waits for; the others that are left wait for each other.
    for info in sorted(found, key=lambda info: bool(info.awaited_by)):
        if info.task not in shown:
            yield from _branch(info, below, shown, "  ")


def _branch(
    info: TaskInfo,
    below: dict[asyncio.Task[Any], list[TaskInfo]],
    shown: set[asyncio.Task[Any]],
    indent: str,
) -> Iterator[str]:
    if info.task in shown:
        yield f"{indent}{info.name} (see above)"
        return
    shown.add(info.task)
    age = "" if info.age is None else f", {info.age:.1f} s old"
    origin = "" if info.origin is None else f", created at {info.origin}"
    yield f"{indent}{info.name}: {info.coroutine}{age}{origin}"
    for frame in info.stack:
        yield f'{indent}    File "{frame.filename}", line {frame.lineno}, in {frame.name}'
    if not info.waits_for:
        is_running = asyncio.current_task(info.task.get_loop()) is info.task
        yield f"{indent}    {'runs' if is_running else 'is ready to run'}"
    elif info.task not in below:
        yield f"{indent}    waits for {info.waits_for}"
    for other in below.get(info.task, ()):
        yield from _branch(other, below, shown, indent + "  ")


def _stack_of(task: asyncio.Task[Any]) -> traceback.StackSummary:
    """Return the suspended frames of the coroutines that await each other."""
    frames: list[FrameType] = []
    awaitable: Any = task.get_coro()
    while awaitable is not None and len(frames) < _MOST_FRAMES:
        for prefix in ("cr", "gi", "ag"):
            frame = getattr(awaitable, f"{prefix}_frame", None)
            if frame is not None:
                frames.append(frame)
            following = getattr(awaitable, f"{prefix}_await", None) or getattr(
                awaitable, f"{prefix}_yieldfrom", None
            )
            if frame is not None or following is not None:
                awaitable = following
                break
        else:
            awaitable = None
    return traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames)


def _waits_for(task: asyncio.Task[Any]) -> str:
    waiter = getattr(task, "_fut_waiter", None)
    return "" if waiter is None else repr(waiter)


def _awaited_by(task: asyncio.Task[Any]) -> Iterator[asyncio.Task[Any]]:
    """Yield the tasks that `task` waits for, directly or through `gather()`."""
    waiter: Any = getattr(task, "_fut_waiter", None)
    if waiter is None:
        return
    for future in (waiter, *(getattr(waiter, "_children", None) or ())):
        if isinstance(future, asyncio.Task) and not future.done():
            yield future


def _awaiting(task: asyncio.Task[Any]) -> Iterator[asyncio.Task[Any]]:
    """Yield the tasks that wait for `task`, directly, through `gather()` or in a task group."""
    if not hasattr(task, "_asyncio_awaited_by"):  # Before Python 3.14.
        # All tasks are looked at: if there are many, the program would notice.
        known: Any = getattr(asyncio.tasks, "_scheduled_tasks", None)
        if known is None:  # Before Python 3.12.
            known = getattr(asyncio.tasks, "_all_tasks", ())
        if len(known) <= _MOST_TASKS:
            others = asyncio.all_tasks(task.get_loop())
            yield from (other for other in others if task in _awaited_by(other))
        return
    seen: set[Any] = {task}
    futures: list[Any] = [task]
    while futures:
        for future in getattr(futures.pop(), "_asyncio_awaited_by", None) or ():
            if future in seen:
                continue
            seen.add(future)
            if isinstance(future, asyncio.Task):
                yield future
            else:
                futures.append(future)


def _age_of(task: asyncio.Task[Any], loop: asyncio.AbstractEventLoop) -> float | None:
    keeper: Any = getattr(loop, "_task_keeper", None)
    created_at = None if keeper is None else keeper.created_at(task)
    return None if created_at is None else time.monotonic() - created_at


def coroutine_name(task: asyncio.Task[Any]) -> str:
    """Return the qualified name of what the task runs."""
    coroutine: Any = task.get_coro()
    return getattr(coroutine, "__qualname__", None) or repr(coroutine)
