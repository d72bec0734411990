"""Giving up in time, and cleaning up when somebody else gave up."""

import asyncio

import yamanote


async def download(name: str, seconds: float) -> str:
    """Stands for work that may take too long."""
    print(name, "starts")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        # The place to undo half-done work. Raise it again: whoever cancelled is waiting for that.
        print(name, "cleans up")
        raise
    return f"{name} is here"


async def main() -> None:
    """Waits for a quick one, gives up on a slow one, cancels a third."""
    print(await asyncio.wait_for(download("quick", 0.01), timeout=10))

    try:
        await asyncio.wait_for(download("slow", 60), timeout=0.05)
    except TimeoutError:
        print("slow took too long")

    task = asyncio.create_task(download("unwanted", 60))
    await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        print("unwanted is cancelled")


if __name__ == "__main__":
    yamanote.run(main())
