"""Objects of the loop's thread used on other threads: each call raises or is safe.

asyncio gives no guarantee here, so most tests run on yamanote only. They are meant for
free-threaded builds; on others, the interpreter switches threads often.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import operator
import socket
import sys
import sysconfig
import threading
import weakref
from typing import TYPE_CHECKING

import pytest

import yamanote

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from tests.loops import LoopFactory

THREADS = 3

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _threads_switch_often() -> Iterator[None]:
    """With a GIL, switches threads every few bytecodes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def ours() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop of yamanote's: these tests may break asyncio's."""
    loop = yamanote.new_event_loop()
    reported: list[object] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    yield loop
    loop.close()
    gc.collect()
    assert reported == []


@contextlib.contextmanager
def hammering(
    blow: Callable[[], object], *, threads: int = THREADS
) -> Generator[list[Exception], None, None]:
    """Calls `blow` repeatedly on several threads until the block ends; yields its exceptions."""
    raised: list[Exception] = []
    over = threading.Event()
    together = threading.Barrier(threads + 1)

    def hammer() -> None:
        together.wait()
        while not over.is_set():
            try:
                blow()
            except Exception as error:
                raised.append(error)
                del error  # Its traceback refers to the object under test.

    workers = [threading.Thread(target=hammer) for _ in range(threads)]
    for worker in workers:
        worker.start()
    together.wait()
    try:
        yield raised
    finally:
        over.set()
        for worker in workers:
            worker.join()


def refused(raised: list[Exception]) -> None:
    """Asserts that only `RuntimeError`s were raised."""
    others = [error for error in raised if not isinstance(error, RuntimeError)]
    raised.clear()
    assert others == []


def refusal(call: Callable[[], object]) -> str:
    """Returns the message of a `RuntimeError`; `pytest.raises` is too slow for these loops."""
    try:
        call()
    except RuntimeError as error:
        return str(error)
    return "was not refused"


class Counting(asyncio.Protocol):
    """Counts received bytes."""

    def __init__(self) -> None:
        """Start at zero."""
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = 0
        self.more = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Add to the count."""
        self.received += len(data)
        self.more.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Record that the connection is lost; it must happen once."""
        assert not self.lost.done()
        self.lost.set_result(None)

    async def has_more(self) -> None:
        """Waits for the next data."""
        self.more.clear()
        await self.more.wait()


async def connected() -> tuple[asyncio.Transport, Counting, asyncio.Transport, Counting]:
    """Connects two ends on the running loop."""
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    one, counts_one = await loop.create_connection(Counting, sock=near)
    other, counts_other = await loop.create_connection(Counting, sock=far)
    return one, counts_one, other, counts_other


def test_the_gil_stays_off() -> None:
    """Importing the extension must not enable the GIL."""
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("this interpreter has a GIL")
    assert not vars(sys)["_is_gil_enabled"]()


def test_a_running_loop_is_neither_run_nor_closed_by_others(
    ours: asyncio.AbstractEventLoop,
) -> None:
    """In CPython 3.13.0, asyncio's loop takes itself for stopped after it refused a second run."""

    def misuse() -> None:
        assert refusal(ours.run_forever) == "This event loop is already running"
        assert refusal(ours.close) == "Cannot close a running event loop"
        assert ours.is_running()
        assert not ours.is_closed()
        assert ours.time() > 0
        assert repr(ours)

    async def main() -> int:
        total = 0
        with hammering(misuse) as raised:
            for number in range(50):
                total += await asyncio.sleep(0, number)
                await ours.run_in_executor(None, int)
        assert raised == []
        return total

    assert ours.run_until_complete(main()) == sum(range(50))
    ours.run_until_complete(ours.shutdown_default_executor())


def test_a_fork_that_did_not_happen_changes_nothing(ours: asyncio.AbstractEventLoop) -> None:
    """The hook for forked children, called by another thread, does not take the loop away."""

    async def main() -> None:
        worker = threading.Thread(target=operator.methodcaller("_forked"), args=(ours,))
        worker.start()
        worker.join()
        assert ours.is_running()
        await asyncio.sleep(0)

    ours.run_until_complete(main())


def test_scheduling_from_the_wrong_thread_does_no_harm(ours: asyncio.AbstractEventLoop) -> None:
    """What the loop's thread schedules still runs, in order."""
    seen: list[int] = []

    def misuse() -> None:
        ours.call_soon(int)
        ours.call_later(0.001, int)
        ours.call_later(3600, int).cancel()

    async def main() -> None:
        with hammering(misuse) as raised:
            for number in range(200):
                ours.call_soon(seen.append, number)
                ours.call_later(3600, int).cancel()
                await asyncio.sleep(0)
        refused(raised)
        await asyncio.sleep(0)

    ours.run_until_complete(main())
    assert seen == list(range(200))


def test_a_loop_that_stops_and_runs_takes_what_every_thread_schedules(
    ours: asyncio.AbstractEventLoop,
) -> None:
    """While it is stopped, any thread may call into it; a call that is not refused runs once."""
    asked: list[str] = []
    seen: list[str] = []

    def schedule() -> None:
        ours.call_soon(seen.append, "soon")
        asked.append("soon")
        ours.call_later(0, seen.append, "later")
        asked.append("later")
        ours.call_later(3600, int).cancel()

    with hammering(schedule) as raised:
        for _ in range(100):
            schedule()
            ours.run_until_complete(asyncio.sleep(0))
    refused(raised)
    # This runs after everything scheduled before.
    ours.call_later(0, ours.stop)
    ours.run_forever()
    assert sorted(seen) == sorted(asked)


def test_timers_are_cancelled_by_every_thread_at_once(ours: asyncio.AbstractEventLoop) -> None:
    """While cancelled timers are swept, and while others fire."""
    fired: list[int] = []
    handles: list[asyncio.TimerHandle] = []

    def cancel() -> None:
        for handle in handles[-300:]:
            handle.cancel()
            assert handle.cancelled()
            assert handle.when() > 0
            assert repr(handle)

    async def main() -> None:
        with hammering(cancel) as raised:
            for number in range(300):
                handles.extend(ours.call_later(3600, fired.append, -1) for _ in range(30))
                done = ours.create_future()
                ours.call_later(0, fired.append, number)
                ours.call_later(0, done.set_result, None)
                await done
        assert raised == []

    ours.run_until_complete(main())
    assert fired == list(range(300))


def test_transports_used_by_every_thread_at_once_go_on(ours: asyncio.AbstractEventLoop) -> None:
    """All methods but closing ones; data written by the loop's thread must still arrive."""

    async def main() -> None:
        one, counts_one, other, counts = await connected()

        def misuse() -> None:
            for call in (
                lambda: one.write(b"x"),
                lambda: one.writelines([b"x", b"y"]),
                lambda: one.set_write_buffer_limits(high=1000),
                one.get_write_buffer_size,
                one.is_closing,
                other.pause_reading,
                other.resume_reading,
                other.is_reading,
                other.get_protocol,
                lambda: other.get_extra_info("socket"),
                lambda: repr(one),
            ):
                with contextlib.suppress(RuntimeError):
                    call()

        with hammering(misuse) as raised:
            for _ in range(200):
                before = counts.received
                one.write(b"z" * 100)
                other.resume_reading()
                while counts.received < before + 100:
                    await asyncio.sleep(0)
                    other.resume_reading()
        assert raised == []
        one.close()
        other.resume_reading()
        other.close()
        # The last bytes from the threads may still be in a write buffer.
        await asyncio.gather(counts_one.lost, counts.lost)

    ours.run_until_complete(main())


@pytest.mark.parametrize("how", ["close", "abort", "write_eof"])
def test_a_transport_that_every_thread_closes_is_lost_once(
    ours: asyncio.AbstractEventLoop, how: str
) -> None:
    async def main() -> None:
        for _ in range(40):
            one, counts_one, other, counts_other = await connected()

            def misuse(one: asyncio.Transport = one, other: asyncio.Transport = other) -> None:
                one.write(b"x")
                getattr(one, how)()
                getattr(other, how)()

            with hammering(misuse) as raised:
                # A thread may have ended the writing side by now.
                with contextlib.suppress(RuntimeError):
                    one.write(b"y")
                for _ in range(5):
                    await asyncio.sleep(0)
            refused(raised)
            one.close()
            other.close()
            await asyncio.gather(counts_one.lost, counts_other.lost)

    ours.run_until_complete(main())


def test_collections_in_every_thread_free_what_is_dead_and_nothing_else(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Handles, timers, transports and tasks in cycles, while other threads run the collector."""
    watched: list[weakref.ref[Counting]] = []

    async def main() -> None:
        with hammering(gc.collect, threads=2) as raised:
            for number in range(50):
                one, counts_one, other, counts_other = await connected()
                watched.extend(map(weakref.ref, (counts_one, counts_other)))
                cycle: list[object] = [one, other, counts_one]
                cycle.append(loop.call_later(3600, cycle.append, cycle))
                cycle.append(loop.call_soon(cycle.append, number))
                one.write(b"x" * 10_000)
                while counts_other.received < 10_000:
                    await counts_other.has_more()
                one.close()
                await asyncio.gather(counts_one.lost, counts_other.lost)
                cycle[3].cancel()  # type: ignore[attr-defined]
                assert cycle[-1] == number
        assert raised == []

    loop.run_until_complete(main())
    gc.collect()
    assert [ref for ref in watched if ref() is not None] == []


def test_the_last_references_are_dropped_in_other_threads(loop_factory: LoopFactory) -> None:
    """References to handles, transports and, at the end, the loop."""

    def drop(things: list[object]) -> None:
        thread = threading.Thread(target=things.clear)
        thread.start()
        thread.join()

    async def main(loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(20):
            one, counts_one, other, counts_other = await connected()
            one.close()
            await asyncio.gather(counts_one.lost, counts_other.lost)
            timer = loop.call_later(3600, int)
            timer.cancel()
            things: list[object] = [timer, one, counts_one, other, counts_other]
            del timer, one, counts_one, other, counts_other
            drop(things)

    for _ in range(5):
        loop = loop_factory()
        loop.run_until_complete(main(loop))
        loop.close()
        alive = weakref.ref(loop)
        things: list[object] = [loop]
        del loop
        drop(things)
        gc.collect()
        assert alive() is None
