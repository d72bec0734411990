"""A queue between a producer and its workers; a full queue makes the producer wait."""

import asyncio

import yamanote


async def work(queue: "asyncio.Queue[int]", results: list[int]) -> None:
    """Takes jobs until it is cancelled."""
    while True:
        number = await queue.get()
        try:
            await asyncio.sleep(0.001)
            results.append(number * number)
        finally:
            # In `finally`, so that a failed job counts as done; otherwise `join` never returns.
            queue.task_done()


async def main() -> None:
    """Passes twenty jobs to three workers through a queue of size five."""
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=5)
    results: list[int] = []
    workers = [asyncio.create_task(work(queue, results)) for _ in range(3)]

    for number in range(20):
        await queue.put(number)
    await queue.join()

    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    print(len(results), "jobs done, their sum is", sum(results))


if __name__ == "__main__":
    yamanote.run(main())
