"""`Stall`: what blocked a loop, as found by `watch()`, and as text."""

from __future__ import annotations

from dataclasses import dataclass

from yamanote._tasks import TaskInfo, coroutine_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    import traceback
    from collections.abc import Iterator
    from typing import Any, Final

#: What each kind of stall means, for a person.
_MEANINGS: Final = {
    "blocking": "the thread sleeps in a system call",
    "computing": "the thread uses the processor",
    "gil": "other threads have the GIL",
    "no_cpu": "the thread gets no processor",
    "gc": "garbage is collected",
    "unknown": "the cause is not known",
}


@dataclass(frozen=True)
class Stall:
    """A loop that does not go on.

    Attributes:
        kind: what most of the time went into. "blocking": the thread sleeps in a system call;
            "computing": it uses the processor; "gil": it waits for the GIL, which other threads
            have; "no_cpu": it is ready to run and gets no processor; "gc": garbage is collected;
            "unknown": none of them for half of the time, or the system does not tell.
        duration: seconds so far; if `ended`, all of them.
        stack: where the thread is, innermost last, without what is below the loop; `None` where a
            line of the program is not the cause or cannot be known.
        task: the task that runs, or `None`.
        awaited_by: the pending tasks that wait for that task, directly or through `gather()`.
        handle: the function that the loop called, with its file and line, or `None`.
        cpu: seconds that the thread used a processor; `None` where the system does not tell.
        run_delay: seconds that it was ready to run without a processor; `None` as above.
        gc: seconds in garbage collections.
        ended: whether the loop has gone on. Then the stack is where it was when last seen.
        loop: the loop, or `None` if it is gone.
        thread: `threading.get_ident()` of the loop's thread.
    """

    kind: str
    duration: float
    stack: traceback.StackSummary | None
    task: TaskInfo | None
    awaited_by: tuple[asyncio.Task[Any], ...]
    handle: str | None
    cpu: float | None
    run_delay: float | None
    gc: float
    ended: bool
    loop: asyncio.AbstractEventLoop | None
    thread: int

    def __str__(self) -> str:
        """Return what a person needs to know, in some lines."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        state = "was blocked" if self.ended else "has been blocked"
        times = [f"{self.gc:.3f} s collecting garbage"] if self.gc else []
        if self.run_delay is not None:
            times.insert(0, f"{self.run_delay:.3f} s without a processor")
        if self.cpu is not None:
            times.insert(0, f"{self.cpu:.3f} s on a processor")
        yield (
            f"The event loop {state} for {self.duration:.3f} s: {self.kind}, {_MEANINGS[self.kind]}"
            + (f" ({', '.join(times)})" if times else "")
        )
        if self.task is not None:
            created = f", created at {self.task.origin}" if self.task.origin else ""
            yield f"  in {self.task.name}: {self.task.coroutine}{created}"
            for task in self.awaited_by:
                yield f"    awaited by {task.get_name()}: {coroutine_name(task)}"
        elif self.handle is not None:
            yield f"  in {self.handle}"
        frames = list(self.stack or ())
        # The whole stack was told while it lasted.
        for frame in frames[-1:] if self.ended else frames:
            yield f'    File "{frame.filename}", line {frame.lineno}, in {frame.name}'
            if frame.line:
                yield f"      {frame.line}"
