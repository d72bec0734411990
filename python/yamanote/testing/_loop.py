"""The loop on a virtual clock."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
from time import CLOCK_MONOTONIC, clock_gettime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar
from weakref import WeakSet

from yamanote._loop import Loop
from yamanote._tasks import tree
from yamanote.testing._clock import Clock
from yamanote.testing._deadlock import Deadlock

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator
    from concurrent.futures import Executor, ThreadPoolExecutor

    from typing_extensions import TypeVarTuple, Unpack

    from yamanote._subprocess import SubprocessTransport
    from yamanote.testing._schedule import Schedule

    _T = TypeVar("_T")
    _Ts = TypeVarTuple("_Ts")

RealIo: TypeAlias = Literal["wait", "ignore"] | float
"""How a loop treats descriptors that are open: "wait" waits for them before the clock jumps,
"ignore" jumps at once, and a number waits so many seconds at most."""

#: Seconds that "wait" is at most: another process or host answers within this time, even if it is
#: busy, or not before the program has given up.
LONGEST_WAIT_S: Final = 1.0
#: The same where each connection has both its ends on this loop: bytes are there at once.
WAIT_FOR_OWN_S: Final = 0.01
#: Seconds of real waits without a jump, in all, after which waits count as time: what never ceases
#: to call the loop must not keep a deadline away for ever.
LONGEST_STANDSTILL_S: Final = 30.0
#: Seconds between two looks at what works for the loop, in case it ends without a word.
LOOK_AGAIN_S: Final = 0.1
#: The same for threads of executors that have no job of the loop.
LOOK_AT_POOLS_S: Final = 0.001


class ArrangedLoop(Loop):
    """A yamanote loop whose passes are arranged; its time is real."""

    def __init__(self, *, schedule: Schedule | None) -> None:
        """Run tasks in the order of `schedule`; without one, in asyncio's own."""
        super().__init__()
        self._schedule = schedule
        if schedule is not None:
            self._arrange_passes()

    def _arrange(self, entries: list[object], origins: list[int | None]) -> list[int]:
        """Return in which order to run the entries of a pass; see `Schedule.arrange`."""
        assert self._schedule is not None
        return self._schedule.arrange(entries, origins)


class VirtualLoop(ArrangedLoop):
    """A yamanote loop whose time is virtual; see `new_event_loop()`."""

    clock: Clock
    """What `time()` tells."""

    def __init__(
        self,
        *,
        start: float,
        real_io: RealIo,
        schedule: Schedule | None,
        until: float | None = None,
    ) -> None:
        """Start the clock at `start`; end the run where it would jump over `until`."""
        self.clock = Clock(self, start)
        super().__init__(schedule=schedule)
        self._until = until
        #: How long the run may take, and again what is cancelled then.
        self._limit = math.inf if until is None else until - start
        self._longest_wait = longest_wait(real_io)
        self._adapts_wait = real_io == "wait"
        #: When the present wait began, on the real clock.
        self._waits_since: float | None = None
        #: Seconds of real waits that something has ended, since the last jump.
        self._waited = 0.0
        self._jobs = 0
        self._executors: WeakSet[Executor] = WeakSet()
        self._starting: set[SubprocessTransport] = set()
        self._use_virtual_time()

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self.clock.time()

    def _advance(self, deadline: float | None, progressed: bool) -> float | None:
        """Decide, when nothing is left to run, whether to wait or to let time jump.

        Args:
            deadline: of the next timer; `None` if there is none.
            progressed: whether anything has run since the last call.

        Returns:
            How many real seconds to wait for an event: 0 for a look without a wait, `None` for no
            limit.

        Raises:
            Deadlock: there is nothing to wait for.
            TimeoutError: time would go on for longer than the loop may run.
        """
        __tracebackhide__ = True  # Of pytest: what it raises is about the program.
        if self._schedule is not None and self._schedule.settle():
            return 0.0
        if progressed:
            # What ran may have led to more, which the kernel then tells.
            self._end_wait(deadline)
            return 0.0
        busy = self._seconds_to_look_again()
        target = math.inf if deadline is None else deadline
        if target == math.inf:
            if busy is None and not self._may_hear():
                busy = self._seconds_beside_threads()
            if self._until is None:
                return busy
        now = monotonic()
        if self._waits_since is None:
            self._waits_since = now
        # The time to the deadline, really, is never wrong: so it is without a virtual clock.
        patience = math.inf if busy is not None else self._patience()
        end = target if self._until is None else min(target, self._until)
        left = self._waits_since + min(patience, end - self.clock.time()) - now
        if left > 0:
            return min(left, busy or left)
        # What was idle at last may have called before.
        if self._has_calls():
            return 0.0
        self._waits_since, self._waited = None, 0.0
        if end < target:
            self._until = end + self._limit
            raise TimeoutError("\n".join(["the program does not end:", *tree(self)]))
        self.clock._jump(target)  # pyright: ignore[reportPrivateUsage]
        return 0.0

    def _end_wait(self, deadline: float | None) -> None:
        """Something has ended a real wait before its deadline, if there was a wait."""
        since, self._waits_since = self._waits_since, None
        if since is None:
            return
        waited = monotonic() - since
        self._waited += waited
        if self._waited > LONGEST_STANDSTILL_S and deadline is not None:
            to = min(deadline, self.clock.time() + waited)
            self.clock._jump(to)  # pyright: ignore[reportPrivateUsage]

    def _seconds_beside_threads(self) -> float:
        """Return after how many seconds to look again if only a thread can wake the loop.

        Raises:
            Deadlock: there is none either.
        """
        __tracebackhide__ = True
        # In this order: a thread may call the loop, and end then.
        if self._has_unknown_threads():
            return LOOK_AGAIN_S
        if self._has_calls():
            return LOOK_AT_POOLS_S
        raise Deadlock(self)

    def run_forever(self) -> None:
        """As asyncio's."""
        self._waits_since = None  # Time between two runs is no wait.
        super().run_forever()

    def _patience(self) -> float:
        """Return the seconds that an event may still take which comes before the next deadline."""
        listeners, watched, _ = self._count_sources()
        transports = self._transports()
        if not (listeners or watched or transports):
            return 0.0
        if self._adapts_wait and not watched and _are_connected(transports):
            return WAIT_FOR_OWN_S
        return self._longest_wait

    def _seconds_to_look_again(self) -> float | None:
        """Return after how many seconds to look again at what works for the loop.

        `None` means that nothing does. What works wakes the loop; but it may also end without that.
        """
        if (
            self._jobs
            or self.clock.is_held
            or self._children
            or self._starting
            or self._count_sources()[2]
        ):
            return LOOK_AGAIN_S
        # A thread that has given its result away needs a moment until it counts as idle.
        return LOOK_AT_POOLS_S if any(map(_has_work, self._pools())) else None

    def _may_hear(self) -> bool:
        """Return whether the world may wake the loop: through a descriptor, or by a signal."""
        return bool(
            any(self._count_sources())
            or self._transports()
            or self._signal_handlers
            or _is_signal_handled()
        )

    def _has_unknown_threads(self) -> bool:
        """Return whether there is a thread that may call the loop for all that is known."""
        known: set[int | None] = {threading.get_ident()}
        for pool in self._pools():
            private: Any = pool
            known |= {thread.ident for thread in private._threads}
        found: set[int | None] = set()
        for thread in threading.enumerate():
            (known if thread.name == "yamanote-dns" else found).add(thread.ident)
        # Those of C code and of `_thread` have only frames.
        frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
        return not found | frames.keys() <= known

    def _pools(self) -> list[ThreadPoolExecutor]:
        """Return the pools of threads that have worked for this loop."""
        pools: list[Any] = [*self._executors, self._default_executor, self._file_threads]
        return [pool for pool in pools if hasattr(pool, "_idle_semaphore")]

    @contextlib.contextmanager
    def _working(self) -> Generator[None]:
        """Count a job of the loop that others do."""
        self._jobs += 1
        try:
            yield
        finally:
            self._jobs -= 1

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[_Ts]], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        """As asyncio's; time does not jump while the call runs."""
        future = super().run_in_executor(executor, func, *args)
        if executor is not None:
            self._executors.add(executor)
        self._jobs += 1
        future.add_done_callback(self._end_job)
        return future

    def _end_job(self, _: object) -> None:
        self._jobs -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncio's own signature.
        """As asyncio's; time does not jump meanwhile."""
        with self._working():
            if timeout is None or sys.version_info < (3, 12):
                await super().shutdown_default_executor()
            else:
                await super().shutdown_default_executor(timeout)

    async def getaddrinfo(self, *args: Any, **kwargs: Any) -> list[Any]:
        """As asyncio's; time does not jump during the look-up."""
        with self._working():
            return await super().getaddrinfo(*args, **kwargs)

    async def getnameinfo(self, *args: Any, **kwargs: Any) -> tuple[str, str]:
        """As asyncio's; time does not jump during the look-up."""
        with self._working():
            return await super().getnameinfo(*args, **kwargs)

    async def _ensure_resolved(self, *args: Any, **kwargs: Any) -> list[Any]:
        with self._working():
            return await super()._ensure_resolved(*args, **kwargs)

    def _start_waiting(self, child: SubprocessTransport) -> None:
        self._starting.add(child)
        super()._start_waiting(child)

    def _reap_child(self, child: SubprocessTransport) -> None:
        self._starting.discard(child)
        super()._reap_child(child)


def longest_wait(real_io: RealIo) -> float:
    """Return how many seconds to wait for a descriptor at most.

    Raises:
        ValueError: `real_io` is not one of the possible values.
    """
    if real_io == "wait":
        return LONGEST_WAIT_S
    if real_io == "ignore":
        return 0.0
    if isinstance(real_io, str):
        raise ValueError(f"real_io must be 'wait', 'ignore' or seconds, not {real_io!r}")
    if not real_io >= 0:
        raise ValueError("real_io must not be negative")
    return real_io


def monotonic() -> float:
    """Return the seconds of the real clock.

    Libraries that set other clocks replace `time.monotonic`.
    """
    return clock_gettime(CLOCK_MONOTONIC)


def _are_connected(transports: list[Any]) -> bool:
    """Return whether each of these connections has both its ends among them."""
    ends: set[tuple[object, object]] = set()
    for transport in transports:
        mine = transport.get_extra_info("sockname")
        peer = transport.get_extra_info("peername")
        if not mine or not peer:
            return False
        ends.add((mine, peer))
    return all((peer, mine) in ends for mine, peer in ends)


def _has_work(pool: ThreadPoolExecutor) -> bool:
    """Return whether a thread of the pool works, or has work to do."""
    private: Any = pool
    idle: int = private._idle_semaphore._value
    return idle < len(private._threads) or not private._work_queue.empty()


def _is_signal_handled() -> bool:
    """Return whether a signal calls a function of the program, which may call the loop.

    Ctrl-C is left out, which asyncio handles, and the alarm, by which test runners end what hangs.
    """
    left_out = {signal.SIGINT, signal.SIGALRM}
    return any(callable(signal.getsignal(it)) for it in signal.valid_signals() - left_out)
