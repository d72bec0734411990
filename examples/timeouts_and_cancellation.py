"""Timeouts, and cleaning up on cancellation."""

import asyncio

import yamanote


async def download(name: str, seconds: float) -> str:
    """Simulates work that may take too long."""
    print(name, "starts")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        # Undo unfinished work here, then raise it again: the code that cancelled expects it.
        print(name, "cleans up")
        raise
    return f"{name} is here"


async def main() -> None:
    """Awaits a fast download, times out on a slow one, and cancels a third."""
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
