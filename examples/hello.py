"""The smallest program: `yamanote.run` in place of `asyncio.run`."""

import asyncio

import yamanote


async def main() -> None:
    """Prints a greeting and the class of the running loop."""
    print("Hello")
    await asyncio.sleep(0.01)
    print("from", type(asyncio.get_running_loop()).__module__.partition(".")[0])


if __name__ == "__main__":
    yamanote.run(main())
