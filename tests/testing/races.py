"""Textbook races of asyncio programs, each with a twin that is right.

Each race passes in asyncio's own order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    Main = Callable[[], Coroutine[Any, Any, None]]

#: By name: the race, and its twin.
RACES: dict[str, tuple[Main, Main]] = {}


def race(write: Callable[[bool], Coroutine[Any, Any, None]]) -> None:
    """Add a program that is right if its argument says so."""

    async def wrong() -> None:
        await write(False)

    async def right() -> None:
        await write(True)

    RACES[write.__name__] = (wrong, right)


async def passes(count: int) -> None:
    """Let other tasks run, so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def together(*these: Awaitable[object]) -> None:
    """Run them as tasks, in this order."""
    await asyncio.gather(*these)


@race
async def lost_update(is_right: bool) -> None:
    balance = 0
    lock = asyncio.Lock()

    async def add() -> None:
        nonlocal balance
        seen = balance
        await passes(1)
        balance = seen + 1

    async def deposit(delay: int) -> None:
        await passes(delay)
        if is_right:
            async with lock:
                await add()
        else:
            await add()

    await together(deposit(0), deposit(1))
    assert balance == 2


@race
async def check_then_act(is_right: bool) -> None:
    loads = 0
    cache: dict[str, asyncio.Task[str]] = {}
    values: dict[str, str] = {}

    async def load() -> str:
        nonlocal loads
        loads += 1
        await passes(2)
        return "value"

    async def read(delay: int) -> str:
        await passes(delay)
        if is_right:
            if "key" not in cache:
                cache["key"] = asyncio.create_task(load())
            return await cache["key"]
        if "key" not in values:
            values["key"] = await load()
        return values["key"]

    await together(read(0), read(2))
    assert loads == 1


@race
async def double_close(is_right: bool) -> None:
    is_closed = False
    closes = 0

    async def close(delay: int) -> None:
        nonlocal is_closed, closes
        await passes(delay)
        if is_closed:
            return
        is_closed = is_right
        await passes(1)  # Flushes.
        is_closed = True
        closes += 1

    await together(close(0), close(1))
    assert closes == 1


@race
async def cancel_during_acquire(is_right: bool) -> None:
    lock = asyncio.Lock()

    async def worker() -> None:
        if is_right:
            async with lock:
                await passes(1)
        else:
            await lock.acquire()
            await passes(1)  # A cancellation here leaves the lock locked.
            lock.release()

    async def canceller(task: asyncio.Task[None]) -> None:
        await passes(1)
        task.cancel()

    task = asyncio.create_task(worker())
    await together(asyncio.wait([task]), canceller(task))
    async with lock:
        pass


@race
async def queue_shutdown(is_right: bool) -> None:
    queue: asyncio.Queue[int | None] = asyncio.Queue()
    taken: list[int] = []

    async def producer(first: int, delay: int) -> None:
        await passes(delay)
        for number in range(first, first + 2):
            queue.put_nowait(number)
            await passes(1)

    async def last_producer() -> None:
        await producer(2, 1)
        if not is_right:
            queue.put_nowait(None)

    async def consumer() -> None:
        while (number := await queue.get()) is not None:
            taken.append(number)

    consuming = asyncio.create_task(consumer())
    await together(producer(0, 2), last_producer())
    if is_right:
        queue.put_nowait(None)
    await consuming
    assert sorted(taken) == [0, 1, 2, 3]


@race
async def event_set_before_wait(is_right: bool) -> None:
    event = asyncio.Event()

    async def waiter() -> None:
        await passes(1)
        await event.wait()

    async def setter() -> None:
        await passes(1)
        event.set()
        if not is_right:
            event.clear()  # Only those that wait now are woken.

    await together(waiter(), setter())


@race
async def semaphore_over_released(is_right: bool) -> None:
    semaphore = asyncio.Semaphore(1)
    inside = most = 0

    async def use() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        try:
            await passes(2)
        finally:
            inside -= 1

    async def careful(delay: int) -> None:
        await passes(delay)
        async with semaphore:
            await use()

    async def impatient() -> None:
        try:
            await semaphore.acquire()
            await use()
        finally:
            semaphore.release()  # Also if it was cancelled while it waited.

    async def cancelled() -> None:
        task = asyncio.create_task(careful(0) if is_right else impatient())
        await passes(2)
        task.cancel()
        await asyncio.wait([task])

    await together(cancelled(), careful(1), careful(1), careful(1))
    assert most == 1


@race
async def dead_connection(is_right: bool) -> None:
    alive = [True]
    pool = deque([alive, [True]])

    async def acquire() -> list[bool]:
        while True:
            connection = pool.popleft()
            if not connection[0]:
                continue
            await passes(1)  # Asks the other end.
            if not is_right or connection[0]:
                return connection

    async def use() -> None:
        connection = await acquire()
        assert connection[0], "the connection is dead"

    async def reaper() -> None:
        await passes(1)
        alive[0] = False

    await together(use(), reaper())


@race
async def condition_without_loop(is_right: bool) -> None:
    condition = asyncio.Condition()
    items: list[int] = []

    async def consumer(delay: int) -> None:
        await passes(delay)
        async with condition:
            if is_right:
                while not items:
                    await condition.wait()
            elif not items:
                await condition.wait()
            items.pop()

    async def producer() -> None:
        for number in range(2):
            await passes(3)
            async with condition:
                items.append(number)
                condition.notify()

    await together(consumer(0), producer(), consumer(4))


@race
async def changed_while_iterating(is_right: bool) -> None:
    clients = {"a": 1, "b": 2}

    async def broadcast() -> None:
        for _ in list(clients) if is_right else clients:
            await passes(1)

    async def join() -> None:
        await passes(2)
        clients["c"] = 3

    await together(broadcast(), join())


@race
async def only_one_is_done(is_right: bool) -> None:
    results: list[int] = []

    async def answer(number: int, delay: int) -> int:
        await passes(delay)
        return number

    tasks = {asyncio.create_task(answer(1, 1)), asyncio.create_task(answer(2, 3))}
    pending: set[asyncio.Task[int]] = tasks
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if is_right:
            results += [task.result() for task in done]
        else:
            results.append(done.pop().result())
    assert sorted(results) == [1, 2]


@race
async def stale_answer(is_right: bool) -> None:
    shown = (0, "")

    async def search(version: int, text: str) -> None:
        nonlocal shown
        await asyncio.sleep(1)
        if not is_right or version > shown[0]:
            shown = (version, text)

    await together(search(1, "a"), search(2, "ab"))
    assert shown == (2, "ab")


@race
async def barrier_used_again(is_right: bool) -> None:
    arrivals = [0, 0]
    event = asyncio.Event()
    barrier = asyncio.Barrier(2)

    async def meet(number: int) -> None:
        arrivals[number] += 1
        if is_right:
            await barrier.wait()
        elif arrivals[number] == 2:
            event.set()
            await asyncio.sleep(1)
            event.clear()  # One that comes again before this does not wait.
        else:
            await event.wait()

    async def member(seconds: int) -> None:
        for number in range(2):
            await asyncio.sleep(seconds)
            await meet(number)
            assert arrivals[number] == 2

    await together(member(1), member(2))


@race
async def lock_order(is_right: bool) -> None:
    one, two = asyncio.Lock(), asyncio.Lock()

    async def transfer(delay: int, first: asyncio.Lock, second: asyncio.Lock) -> None:
        await passes(delay)
        async with first:
            await passes(1)
            async with second:
                pass

    await together(transfer(0, one, two), transfer(1, *((one, two) if is_right else (two, one))))


@race
async def publish_before_subscribe(is_right: bool) -> None:
    last: list[str] = []
    subscribers: list[asyncio.Queue[str]] = []

    async def publisher() -> None:
        await passes(1)
        last.append("news")
        for subscriber in subscribers:
            subscriber.put_nowait("news")

    async def subscriber() -> None:
        await passes(1)
        queue: asyncio.Queue[str] = asyncio.Queue()
        if is_right:
            for news in last:
                queue.put_nowait(news)
        subscribers.append(queue)
        await queue.get()

    await together(subscriber(), publisher())


@race
async def last_one_out(is_right: bool) -> None:
    users = 2
    closes = 0

    async def leave(delay: int) -> None:
        nonlocal users, closes
        await passes(delay)
        users -= 1
        is_last = users == 0
        await passes(1)  # Says goodbye.
        if is_last if is_right else users == 0:
            closes += 1

    await together(leave(0), leave(1))
    assert closes == 1


@race
async def answer_at_the_timeout(is_right: bool) -> None:
    loop = asyncio.get_running_loop()
    charges = 0

    def charge() -> None:
        nonlocal charges
        charges += 1

    def give_up() -> None:
        if charges == 0:
            if is_right:
                charging.cancel()
            charge()  # Tries again: the first try may yet come through.

    when = loop.time() + 1
    charging = loop.call_at(when, charge)
    loop.call_at(when, give_up)
    await asyncio.sleep(2)
    assert charges == 1


@race
async def used_before_made(is_right: bool) -> None:
    parts: dict[str, str] = {}
    is_made = asyncio.Event()

    async def make() -> None:
        await passes(1)
        parts["pool"] = "made"
        is_made.set()

    async def use() -> None:
        if is_right:
            await is_made.wait()
        else:
            await passes(1)
        assert parts["pool"]

    await together(make(), use())


@race
async def shared_generator(is_right: bool) -> None:
    lock = asyncio.Lock()

    async def pages() -> AsyncIterator[int]:
        for number in range(4):
            await passes(1)
            yield number

    shared = pages()

    async def read(delay: int) -> None:
        await passes(delay)
        if is_right:
            async with lock:
                await anext(shared)
        else:
            await anext(shared)

    await together(read(0), read(1))


@race
async def cancelled_after_its_end(is_right: bool) -> None:
    async def worker() -> None:
        await passes(1)

    async def stopper() -> None:
        task = asyncio.create_task(worker())
        await passes(2)
        was_cancelled = False
        if not is_right:
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                was_cancelled = True
            assert not was_cancelled, "the work was cut short"
            return
        await task

    await together(stopper())
