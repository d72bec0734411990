"""`yamanote.fs`: non-blocking file access on both loops, with the errors of the blocking calls."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

import pytest

from tests.programs import Program
from yamanote import fs

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_written_and_read(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    path = tmp_path / "text"

    async def main() -> None:
        async with fs.open(path, "w", encoding="utf-8") as file:
            assert await file.write("one\nzwei\n") == 9
            await file.writelines(["trois\n", "четыре"])
            await file.flush()
            assert path.read_text(encoding="utf-8").endswith("четыре")
            assert not file.closed
        assert file.closed
        async with fs.open(path, encoding="utf-8") as file:
            assert os.fspath(file.name) == os.fspath(path)
            assert await file.readline() == "one\n"
            assert [line async for line in file] == ["zwei\n", "trois\n", "четыре"]
            assert await file.read() == ""
            assert await file.seek(0) == 0
            assert await file.readlines() == ["one\n", "zwei\n", "trois\n", "четыре"]

    loop.run_until_complete(main())


def test_a_binary_file_is_written_and_read(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    path = tmp_path / "bytes"

    async def main() -> None:
        file = await fs.open(path, "wb+")
        assert await file.write(bytes(range(100))) == 100
        assert await file.tell() == 100
        assert await file.seek(-10, os.SEEK_END) == 90
        assert await file.truncate() == 90
        await file.seek(80)
        buffer = bytearray(4)
        assert await file.readinto(buffer) == 4
        assert buffer == bytes(range(80, 84))
        assert await file.read(2) == bytes([84, 85])
        assert await file.read() == bytes(range(86, 90))
        assert os.fstat(file.fileno()).st_size == 90
        await file.aclose()
        await file.aclose()
        with pytest.raises(ValueError, match="closed file"):
            await file.read()
        async with await fs.open(path, "rb") as again:
            assert len(await again.read()) == 90

    loop.run_until_complete(main())


def test_errors_are_those_of_the_blocking_calls(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"

    async def main() -> None:
        for call in (
            lambda: fs.read_text(missing),
            lambda: fs.stat(missing),
            lambda: fs.remove(missing),
        ):
            with pytest.raises(FileNotFoundError) as caught:
                await call()
            assert caught.value.filename == str(missing)
        with pytest.raises(FileNotFoundError) as caught:
            async with fs.open(missing):
                pass
        assert os.fspath(caught.value.filename) == str(missing)
        with pytest.raises(ValueError, match="invalid mode"):
            await fs.open(missing, "q")  # type: ignore[call-overload] # pyright: ignore[reportArgumentType, reportCallIssue]
        with pytest.raises(IsADirectoryError):
            await fs.open(tmp_path)

    loop.run_until_complete(main())


def test_paths_are_looked_at_and_changed(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        folder = tmp_path / "folder"
        await fs.mkdir(folder)
        await fs.makedirs(folder / "a" / "b")
        await fs.makedirs(folder / "a" / "b", exist_ok=True)
        assert await fs.write_text(folder / "text", "höflich", "utf-8") == 7
        assert await fs.read_text(folder / "text", "utf-8") == "höflich"
        assert await fs.write_bytes(folder / "bytes", memoryview(b"12345")) == 5
        assert await fs.read_bytes(folder / "bytes") == b"12345"
        assert (await fs.stat(folder / "bytes")).st_size == 5
        assert await fs.is_file(folder / "bytes")
        assert await fs.is_dir(folder)
        assert sorted(await fs.listdir(folder)) == ["a", "bytes", "text"]
        await fs.rename(folder / "text", folder / "renamed")
        await fs.replace(folder / "renamed", folder / "bytes")
        assert not await fs.exists(folder / "renamed")
        await fs.remove(folder / "bytes")
        await fs.rmdir(folder / "a" / "b")
        assert await fs.listdir(folder / "a") == []

    loop.run_until_complete(main())


def test_the_loop_turns_while_a_call_blocks(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    """Opening a named pipe blocks until it has a writer."""
    path = tmp_path / "pipe"
    os.mkfifo(path)

    async def main() -> None:
        reading = asyncio.ensure_future(fs.read_bytes(path))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not reading.done()
        await fs.write_bytes(path, b"through")
        assert await reading == b"through"

    loop.run_until_complete(main())


def test_a_file_whose_open_is_cancelled_is_closed(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)

    async def main() -> None:
        opening = asyncio.ensure_future(fs.open(path, "rb").__aenter__())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        # The pending open() ends now; as the reading end is then closed, writing fails.
        async with fs.open(path, "wb", buffering=0) as writer:

            async def fill() -> None:
                while True:
                    await writer.write(b"nobody")

            with pytest.raises(BrokenPipeError):
                await fill()

    loop.run_until_complete(main())


def test_calls_have_threads_of_their_own_on_yamanote(
    loop: asyncio.AbstractEventLoop, loop_name: str, tmp_path: Path
) -> None:
    names: list[str] = []

    def opener(path: str, flags: int) -> int:
        names.append(threading.current_thread().name)
        return os.open(path, flags)

    async def main() -> None:
        await fs.write_bytes(tmp_path / "file", b"")
        async with fs.open(tmp_path / "file", opener=opener):
            pass

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    assert names[0].startswith("yamanote-fs" if loop_name == "yamanote" else "asyncio")


def test_a_forked_child_has_file_threads_of_its_own(tmp_path: Path) -> None:
    source = f"""
        import os
        from yamanote import fs

        path = {str(tmp_path / "file")!r}
        loop = new_event_loop()
        loop.run_until_complete(fs.write_text(path, "parent"))
        if (child := os.fork()) == 0:
            loop.run_until_complete(fs.write_text(path, "child"))
            os._exit(0)
        os.waitpid(child, 0)
        print(loop.run_until_complete(fs.read_text(path)))
        loop.close()
        """
    # Forking a process with threads is deprecated, but programs do it.
    done = Program("yamanote").run(source, "-W", "ignore")
    assert done.stdout == "child\n", done.stderr
