"""Something blocks the loop, and debug mode says who.

Any call that takes long without `await` stops everything else: no request is answered meanwhile.
"""

import asyncio
import logging
import time

import yamanote


def read_slow_disk() -> str:
    """Stands for a library that knows nothing of asyncio."""
    time.sleep(0.2)
    return "contents"


async def culprit() -> str:
    """Calls it directly. Debug mode logs this task, and the line it is at."""
    return read_slow_disk()


async def innocent() -> str:
    """Calls it in a thread; the loop goes on."""
    return await asyncio.to_thread(read_slow_disk)


async def main() -> None:
    """Calls both."""
    print(await asyncio.create_task(culprit(), name="culprit"))
    print(await asyncio.create_task(innocent(), name="innocent"))


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s %(message)s")
    # The same as `python -X dev` or PYTHONASYNCIODEBUG=1. Slow means over 0.1 seconds, unless
    # `loop.slow_callback_duration` says otherwise.
    yamanote.run(main(), debug=True)
