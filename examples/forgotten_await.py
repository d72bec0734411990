"""A coroutine that nobody awaits does nothing, and Python says so.

Debug mode also says where it was made.
"""

import asyncio

import yamanote


async def save(document: str) -> None:
    """Stands for something that should really happen."""
    await asyncio.sleep(0)
    print("saved", document)


async def main() -> None:
    """Forgets once, and once does not."""
    save("the first")  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    await save("the second")


if __name__ == "__main__":
    yamanote.run(main(), debug=True)
