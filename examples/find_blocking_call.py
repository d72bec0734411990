"""Finding code that blocks the loop, with debug mode.

A long call without `await` blocks all other tasks: no request is answered meanwhile.
"""

import asyncio
import logging
import time

import yamanote


def read_slow_disk() -> str:
    """Simulates a blocking function of a library that does not support asyncio."""
    time.sleep(0.2)
    return "contents"


async def culprit() -> str:
    """Calls it directly. Debug mode logs this task and its current line."""
    return read_slow_disk()


async def innocent() -> str:
    """Calls it on a thread, so that the loop keeps running."""
    return await asyncio.to_thread(read_slow_disk)


async def main() -> None:
    """Calls both."""
    print(await asyncio.create_task(culprit(), name="culprit"))
    print(await asyncio.create_task(innocent(), name="innocent"))


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s %(message)s")
    # Equivalent to `python -X dev` or PYTHONASYNCIODEBUG=1. The threshold for slow calls is
    # `loop.slow_callback_duration`, 0.1 seconds by default.
    yamanote.run(main(), debug=True)
