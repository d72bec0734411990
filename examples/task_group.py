"""A task group: if one task fails, the others are cancelled."""

import asyncio

import yamanote


async def step(name: str, seconds: float) -> str:
    """Takes `seconds`, unless it is cancelled because another task has failed."""
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        print(name, "is cancelled")
        raise
    return f"{name} is done"


async def fail() -> None:
    """Raises an exception after a short time."""
    await asyncio.sleep(0.01)
    raise ValueError("no such thing")


async def main() -> None:
    """Runs a group that succeeds and one that fails."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(step(name, 0.01)) for name in ("one", "two")]
    # The block ends when all of its tasks are done.
    print([task.result() for task in tasks])

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(step("three", 60))
            group.create_task(fail())
    except ExceptionGroup as errors:
        print("the group failed:", *errors.exceptions)


if __name__ == "__main__":
    yamanote.run(main())
