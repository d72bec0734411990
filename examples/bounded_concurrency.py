"""Many jobs, a few at a time: `gather` keeps the order, a `Semaphore` keeps the bound."""

import asyncio

import yamanote


class Service:
    """Something that dislikes more than a few callers at once."""

    def __init__(self, most_at_once: int) -> None:
        """Allows `most_at_once` callers; the others wait their turn."""
        self._places = asyncio.Semaphore(most_at_once)
        self._callers = 0
        self.most_seen = 0

    async def square(self, number: int) -> int:
        """Takes a moment, and answers."""
        async with self._places:
            self._callers += 1
            self.most_seen = max(self.most_seen, self._callers)
            await asyncio.sleep(0.01 / (number + 1))
            self._callers -= 1
            return number * number


async def main() -> None:
    """Asks twelve times, never more than three at once."""
    service = Service(most_at_once=3)
    # The answers come in the order of the questions, whichever was ready first.
    print(await asyncio.gather(*(service.square(number) for number in range(12))))
    print("at most", service.most_seen, "at once")


if __name__ == "__main__":
    yamanote.run(main())
