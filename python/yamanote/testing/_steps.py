"""The steps of tasks: which task a handle continues, what it is called, and where it is."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import sysconfig
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeGuard
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from types import FrameType

#: What asyncio calls a task that the program gives no name; "None" if the program has a task
#: factory, in Python 3.13.
DEFAULT_NAME: Final = re.compile(r"Task-\d+|None")

#: A chain of coroutines that is longer is cut: it may be endless.
MOST_FRAMES: Final = 1000

#: Folders of what is not the program.
LIBRARIES: Final = tuple(
    os.path.join(folder, "")
    for folder in (
        os.path.dirname(os.path.dirname(__file__)),
        sysconfig.get_path("purelib"),
        sysconfig.get_path("platlib"),
        sysconfig.get_path("stdlib"),
    )
)


#: asyncio's class, and the one that is written in Python.
_tasks: Any = asyncio.tasks
_TASKS: Final = (asyncio.Task, _tasks._PyTask)


class Place(NamedTuple):
    """A line of the program."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        """Return it as it is printed."""
        return f"{self.file}:{self.line} in {self.function}"


def is_task(found: object) -> TypeGuard[asyncio.Task[Any]]:
    """Return whether an object is a task, of asyncio's class or of one of its own."""
    return isinstance(found, _TASKS)


def task_of(entry: object) -> asyncio.Task[Any] | None:
    """Return the task that an entry of the ready queue continues; `None` if it is none."""
    callback = getattr(entry, "_callback", None)
    owner: Any = getattr(callback, "__self__", None)
    if not is_task(owner):
        return None
    # The objects of asyncio's native task, and the methods of the one that is written in Python.
    name = getattr(callback, "__name__", None) or type(callback).__name__
    is_step = name in {"TaskStepMethWrapper", "task_wakeup", "__step", "__wakeup"}
    return owner if is_step else None


def is_step_without_future(entry: object) -> bool:
    """Return whether a step that `task_of` knows is a first one, or comes after `sleep(0)`."""
    callback = getattr(entry, "_callback", None)
    name = getattr(callback, "__name__", None) or type(callback).__name__
    return name in {"TaskStepMethWrapper", "__step"}


class Names:
    """What tasks are called: the same in each run of a program, unlike asyncio's numbers.

    A task is not kept alive by its name: a program may look for what is gone.
    """

    def __init__(self, *, given: bool) -> None:
        """Begin with no names. With `given`, a name that the program has given a task counts."""
        self._given = given
        # Keeps no task alive: asyncio tells of what a lost one raised when it is gone.
        self._names: WeakKeyDictionary[asyncio.Task[Any], str] = WeakKeyDictionary()
        self._counts: dict[str, int] = {}

    def of(self, task: asyncio.Task[Any]) -> str:
        """Return the task's name, or its coroutine's; equal ones are numbered."""
        name = self._names.get(task)
        if name is None:
            name = task.get_name()
            if not self._given or DEFAULT_NAME.fullmatch(name):
                coroutine: Any = task.get_coro()
                name = getattr(coroutine, "__qualname__", None) or type(coroutine).__name__
                name = name.rpartition("<locals>.")[2]
            count = self._counts[name] = self._counts.get(name, 0) + 1
            if count > 1:
                name = f"{name} #{count}"
            self._names[task] = name
        return name


def place_of(task: asyncio.Task[Any]) -> Place | None:
    """Return the innermost line of the program at which a task is; `None` if it is done."""
    found = outermost = None
    awaitable: Any = task.get_coro()
    for _ in range(MOST_FRAMES):
        frame: FrameType | None = None
        following = None
        for prefix in ("cr", "gi", "ag"):
            frame = getattr(awaitable, f"{prefix}_frame", None)
            if frame is not None:
                following = getattr(awaitable, f"{prefix}_await", None) or getattr(
                    awaitable, f"{prefix}_yieldfrom", None
                )
                break
        if frame is None:
            break
        code = frame.f_code
        place = Place(code.co_filename, frame.f_lineno, code.co_name)
        outermost = outermost or place
        if not place.file.startswith(LIBRARIES) and place.file not in _FROZEN:
            found = place
        if following is None:
            break
        awaitable = following
    return found or outermost


#: What the interpreter calls a file of its own.
_FROZEN: Final = frozenset(f"<frozen {name}>" for name in sys.stdlib_module_names)
