"""A coroutine that is never awaited does not run; Python warns about it.

In debug mode, the warning also tells where the coroutine was created.
"""

import asyncio

import yamanote


async def save(document: str) -> None:
    """Simulates an operation that must not be forgotten."""
    await asyncio.sleep(0)
    print("saved", document)


async def main() -> None:
    """Calls it once without `await` and once with it."""
    save("the first")  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    await save("the second")


if __name__ == "__main__":
    yamanote.run(main(), debug=True)
