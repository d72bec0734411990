"""What a test leaves behind, and where each was made."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from yamanote._loop import Loop
from yamanote._origins import remember, remembered
from yamanote._tasks import coroutine_name
from yamanote.testing._loop import VirtualLoop
from yamanote.testing._steps import LIBRARIES, is_task

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What is closed needs some passes of the loop until it is gone.
MOST_PASSES: Final = 20


class Remembering(Loop):
    """A part of loops: remembers where transports were made."""

    def __init__(self, **options: Any) -> None:
        """Remember a line for each task and handle, too."""
        super().__init__(**options)
        self._made_at: WeakKeyDictionary[object, str] = WeakKeyDictionary()
        remember(self, 1)

    def _make_socket_transport(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - A transport, as those that follow.
        return self._remember(super()._make_socket_transport(*args, **kwargs))

    def _make_connection_transport(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return self._remember(super()._make_connection_transport(*args, **kwargs))

    def _make_read_pipe_transport(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return self._remember(super()._make_read_pipe_transport(*args, **kwargs))

    def _make_write_pipe_transport(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return self._remember(super()._make_write_pipe_transport(*args, **kwargs))

    def _make_datagram_transport(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return self._remember(super()._make_datagram_transport(*args, **kwargs))

    def _remember(self, transport: object) -> object:
        self._made_at[transport] = _caller()
        return transport


class RememberingLoop(Remembering):
    """A loop on the real clock."""


class RememberingVirtualLoop(Remembering, VirtualLoop):
    """A loop on a virtual clock."""


class Leaks:
    """Compares what a loop has with what it had."""

    def __init__(self, loop: Loop) -> None:
        """Take what there is now for granted."""
        self._loop = loop
        self._before = {id(it) for it in self._all()}
        # An identity must not come again.
        self._kept = list(self._all())

    async def find(self) -> list[str]:
        """Return a line for each thing that is left now, once what is closed is gone."""
        for _ in range(MOST_PASSES):
            if not any(self._new()):
                break
            await asyncio.sleep(0)
        return [self._line(it) for it in self._new()]

    def _new(self) -> Iterator[Any]:
        return (it for it in self._all() if id(it) not in self._before)

    def _all(self) -> Iterator[Any]:
        loop: Any = self._loop
        current = asyncio.current_task()
        yield from (task for task in asyncio.all_tasks(loop) if task is not current)
        yield from loop._transports()
        yield from loop._pending_timers()
        yield from loop._asyncgens

    def _line(self, left: Any) -> str:  # noqa: ANN401 - One of `_all`.
        if is_task(left):
            return f"task {left.get_name()} ({coroutine_name(left)}), {_origin(left)}"
        if isinstance(left, asyncio.TimerHandle):
            return f"timer {left!r}, {_origin(left)}"
        if isinstance(left, asyncio.BaseTransport):
            made_at: Any = getattr(self._loop, "_made_at", {})
            where = made_at.get(left)
            return f"transport {left!r}, " + (f"made at {where}" if where else "made by a server")
        frame = left.ag_frame
        line = frame.f_lineno if frame is not None else left.ag_code.co_firstlineno
        return f"asynchronous generator {left.__qualname__}, at {left.ag_code.co_filename}:{line}"


def _origin(made: Any) -> str:  # noqa: ANN401 - A task or a handle.
    for file, line, *_ in reversed(remembered(made)):
        if not file.startswith(LIBRARIES):
            return f"made at {file}:{line}"
    return "made by a library"


def _caller() -> str:
    """Return the line of the program that is running."""
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None and frame.f_code.co_filename.startswith(LIBRARIES):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
