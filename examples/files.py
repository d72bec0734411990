"""Reads and writes files without blocking the loop, with the awaitable `open()` of yamanote.fs."""

import asyncio
import tempfile
from pathlib import Path

import yamanote
from yamanote import fs


async def count_words(path: Path) -> int:
    """Returns the number of words in a file; other tasks run during the disk access."""
    words = 0
    async with fs.open(path, encoding="utf-8") as file:
        async for line in file:
            words += len(line.split())
    return words


async def main() -> None:
    """Writes three files, then reads them concurrently."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{number}.txt") for number in range(1, 4)]
        texts = ["one two\n" * number for number in range(1, 4)]
        await asyncio.gather(*map(fs.write_text, paths, texts))
        print(await asyncio.gather(*map(count_words, paths)))
        print((await fs.stat(paths[0])).st_size, "bytes")
        try:
            await fs.read_text(Path(folder, "4.txt"))
        except FileNotFoundError as error:
            print(error.strerror)


if __name__ == "__main__":
    yamanote.run(main())
