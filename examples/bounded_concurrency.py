"""Bounded concurrency: `gather` keeps the order of results, a `Semaphore` limits the callers."""

import asyncio

import yamanote


class Service:
    """A service that supports only a few callers at once."""

    def __init__(self, most_at_once: int) -> None:
        """Allows `most_at_once` callers; further ones wait."""
        self._places = asyncio.Semaphore(most_at_once)
        self._callers = 0
        self.most_seen = 0

    async def square(self, number: int) -> int:
        """Returns the square of a number after a short delay."""
        async with self._places:
            self._callers += 1
            self.most_seen = max(self.most_seen, self._callers)
            await asyncio.sleep(0.01 / (number + 1))
            self._callers -= 1
            return number * number


async def main() -> None:
    """Makes twelve calls, at most three at once."""
    service = Service(most_at_once=3)
    # The results are in the order of the calls, not of their completion.
    print(await asyncio.gather(*(service.square(number) for number in range(12))))
    print("at most", service.most_seen, "at once")


if __name__ == "__main__":
    yamanote.run(main())
