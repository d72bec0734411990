"""The C interface: an extension written in C uses it, and cannot crash the loop by misuse."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import shutil
import subprocess
import sysconfig
import threading
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import yamanote
from yamanote import _yamanote

Extension: TypeAlias = Any  # The type of a module that is created at run time.

ROOT = Path(__file__).parent.parent.parent

OK, CLOSED, WRONG_THREAD, FOREIGN, INVALID, DONE, VERSION = 0, -2, -3, -4, -6, -7, -8


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Extension:
    """The extension in `capsule.c`, compiled with warnings as errors."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    target = tmp_path_factory.mktemp("capsule") / "yamanote_capsule.so"
    includes = [sysconfig.get_path("include"), yamanote.get_include()]
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread"]
    source = str(Path(__file__).with_name("capsule.c"))
    flags = [f"-isystem{includes[0]}", f"-I{includes[1]}"]
    if sysconfig.get_config_var("Py_DEBUG"):
        # Debian links both builds' headers to the same files, and gcc follows the links.
        flags.append("-DPy_DEBUG")
    subprocess.run([compiler, *options, *flags, source, "-o", str(target)], check=True, timeout=60)
    spec = importlib.util.spec_from_file_location("yamanote_capsule", target)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_pollable_in_c_is_awaited(c: Extension) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        before = c.drops()
        assert await c.twice(loop, 0) == 2
        assert await c.twice(loop, 1) == 2
        assert await asyncio.gather(*(c.twice(loop, n % 2) for n in range(100))) == [2] * 100
        assert c.drops() == before + 102
        assert abs(c.clock(loop) / 1e9 - loop.time()) < 5

    yamanote.run(main())


def test_cancelling_from_c_reaches_the_task(c: Extension) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        before = c.drops()
        future = c.never(loop)
        task = asyncio.ensure_future(future)
        await asyncio.sleep(0)
        assert c.cancel(loop, future) == OK
        assert c.drops() == before + 1
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert c.cancel(loop, future) == DONE

        future = c.never(loop)
        assert c.cancel(loop, future) == OK
        with pytest.raises(asyncio.CancelledError):
            await future

    yamanote.run(main())


def test_an_answer_that_means_nothing_is_an_error(c: Extension) -> None:
    async def main() -> None:
        before = c.drops()
        with pytest.raises(SystemError, match="without setting an exception"):
            await c.badly(asyncio.get_running_loop())
        assert c.drops() == before + 1

    yamanote.run(main())


def test_a_thread_without_python_submits_calls_in_order(c: Extension) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        numbers: list[int] = []
        ended = asyncio.Event()

        def note(number: int) -> None:
            numbers.append(number)
            if number == 4999:
                ended.set()

        calls = c.submit(loop, note, 5000)
        await ended.wait()
        assert numbers == list(range(5000))
        assert c.after(calls) == (OK, OK, OK)
        await asyncio.sleep(0)

    yamanote.run(main())


def test_a_closed_loop_calls_off_and_refuses(c: Extension) -> None:
    loop = yamanote.new_event_loop()
    called: list[int] = []
    calls = c.submit(loop, called.append, 10)
    loop.close()
    assert c.after(calls) == (CLOSED, CLOSED, CLOSED)
    assert called == []
    assert c.never(loop) == CLOSED
    assert c.submit(loop, called.append, 1) == CLOSED


def test_misuse_is_an_error_code(c: Extension) -> None:
    loop = yamanote.new_event_loop()
    expected = [INVALID, FOREIGN, FOREIGN, INVALID, INVALID, INVALID, INVALID, INVALID, FOREIGN]
    assert c.misuse(loop) == [*expected, WRONG_THREAD]
    loop.close()
    other = asyncio.new_event_loop()
    assert c.never(other) == FOREIGN
    other.close()


def test_what_could_not_be_spawned_stays_the_callers(c: Extension) -> None:
    """Python's allocations fail one after the other; C frees what it still owns."""
    memory: Any = pytest.importorskip("_testcapi", reason="an interpreter without its own tests")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        api = loop.__yamanote_c_api__  # type: ignore[attr-defined]
        assert api
        refused = 0
        for number in range(1, 40):
            dropped, living = c.drops(), c.live(loop)
            memory.set_nomemory(number, number + 1)
            try:
                spawned = c.never(loop)
            except MemoryError:
                refused += 1
                spawned = None
            finally:
                memory.remove_mem_hooks()
            if isinstance(spawned, int):
                spawned = None  # It could not even be called.
            if spawned is None:
                assert c.drops() == dropped, number
            else:
                assert c.cancel(loop, spawned) == OK
                assert c.drops() == dropped + 1, number
            assert c.live(loop) == living, number
            with contextlib.suppress(asyncio.CancelledError):
                if spawned is not None:
                    await spawned
        assert refused > 0

    yamanote.run(main())


def test_another_thread_cannot_spawn_on_a_running_loop(c: Extension) -> None:
    codes: list[object] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=lambda: codes.append(c.never(loop)))
        thread.start()
        await asyncio.to_thread(thread.join)

    yamanote.run(main())
    assert codes == [WRONG_THREAD]


def test_another_version_is_refused(c: Extension) -> None:
    class Loop(yamanote.Loop):
        __yamanote_c_api__ = c.other_version()

    loop = Loop()
    assert c.import_api(loop) == VERSION
    loop.close()
    assert c.import_api(object()) == FOREIGN
    assert c.import_api(type("Odd", (), {"__yamanote_c_api__": 5})()) == FOREIGN


def test_the_header_and_the_table_are_of_one_version() -> None:
    header = (Path(yamanote.get_include()) / "yamanote.h").read_text()
    table = (ROOT / "client" / "src" / "abi.rs").read_text()
    for name in ("MAJOR", "MINOR"):
        number = header.split(f"#define YAMANOTE_{name} ")[1].split()[0]
        assert f"pub const {name}: u16 = {number};" in table
    assert _yamanote.Core.__yamanote_c_api__
