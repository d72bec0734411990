"""The package is imported again, and in subinterpreters."""

from __future__ import annotations

import sys

import pytest

from tests.programs import Program

#: What a second import must not disturb: handles, cached memory, loops from before and after.
AGAIN = """
import gc, importlib, os, signal, sys, unittest.mock
import yamanote
from yamanote import _yamanote

def purge():
    for name in [n for n in sys.modules if n.split(".")[0] == "yamanote"]:
        del sys.modules[name]

def whole():
    purge()
    return importlib.import_module("yamanote")

def native():
    del sys.modules["yamanote._yamanote"]
    importlib.import_module("yamanote._yamanote")
    return importlib.import_module("yamanote")

def patched():
    with unittest.mock.patch.dict("sys.modules"):
        purge()
        return importlib.import_module("yamanote")

def reloaded():
    importlib.reload(sys.modules["yamanote._yamanote"])
    return importlib.reload(sys.modules["yamanote"])

def names(module):
    return {name: value for name, value in vars(module).items() if not name.startswith("__")}

def check(loop, label):
    ran = []
    read, write = os.pipe()
    kinds = [loop.call_soon(ran.append, 1), loop.call_soon_threadsafe(ran.append, 2)]
    timers = [loop.call_later(0.001 * i, ran.append, 3) for i in range(5)]
    loop.call_later(3600, ran.append, 4).cancel()
    assert [type(handle).__name__ for handle in timers] == ["TimerHandle"] * 5, label
    assert all(timer.when() > 0 and not timer.cancelled() for timer in timers), label
    loop.add_reader(read, lambda: (os.read(read, 1), ran.append(5), loop.remove_reader(read)))
    loop.add_signal_handler(signal.SIGUSR1, ran.append, 6)
    loop.call_soon(os.write, write, b"x")
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    async def served():
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()
        server.close()
        while len(ran) < 9:
            await asyncio.sleep(0.001)
    loop.run_until_complete(served())
    loop.remove_signal_handler(signal.SIGUSR1)
    assert sorted(ran) == [1, 2, 3, 3, 3, 3, 3, 5, 6], (label, ran)
    os.close(read)
    os.close(write)

before = names(_yamanote)
kept = yamanote.new_event_loop()
check(kept, "first")
waiting = [kept.call_later(0.001, int) for _ in range(100)]
waiting += [kept.call_soon_threadsafe(int), kept.call_soon(int)]
loops = [kept]
for again in (whole, native, patched, reloaded):
    module = again()
    assert names(sys.modules["yamanote._yamanote"]) == before, again
    loops.append(module.new_event_loop())
    for number, loop in enumerate(loops):
        check(loop, (again.__name__, number))
    assert asyncio.Runner(loop_factory=module.new_event_loop).run(asyncio.sleep(0, 5)) == 5
for handle in waiting:
    handle.cancel()
del waiting, handle
gc.collect()
for loop in loops:
    loop.close()
print("end")
"""


def test_a_second_import_of_the_package_displaces_nothing() -> None:
    done = Program("yamanote").run(AGAIN, "-X", "faulthandler")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "end\n"


#: `run(config, source)` returns what `source` prints in a new interpreter with that config.
INTERPRETERS = """
import sys
try:
    import _interpreters
    def make(config): return _interpreters.create(config)
    def run(number, source):
        failure = _interpreters.run_string(number, source)
        assert failure is None, failure
    destroy = _interpreters.destroy
except ImportError:
    import _xxsubinterpreters
    def make(config): return _xxsubinterpreters.create(isolated=config == "isolated")
    run = _xxsubinterpreters.run_string
    destroy = _xxsubinterpreters.destroy
def use_main():
    import yamanote
    loop = yamanote.new_event_loop()
    ran = []
    timers = [loop.call_later(0, ran.append, number) for number in range(3)]
    loop.call_soon_threadsafe(ran.append, 9)
    loop.run_until_complete(asyncio.sleep(0.001))
    assert sorted(ran) == [0, 1, 2, 9], ran
    loop.close()
def try_to_import(number):
    run(number, '''
for attempt in range(2):
    try:
        import yamanote
    except ImportError as error:
        assert "interpreter" in str(error), error
    else:
        raise AssertionError("it was imported")
''')
"""


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="free-threaded interpreters do not offer legacy sub-interpreters",
)
@pytest.mark.parametrize("config", ["legacy", "isolated"])
@pytest.mark.parametrize("first", ["main", "sub"])
def test_a_sub_interpreter_gets_an_import_error_and_the_main_one_never_notices(
    config: str, first: str
) -> None:
    # The child does not import the loop before the program does.
    program = (
        INTERPRETERS
        + f"""
if {first!r} == "main": use_main()
number, other = make({config!r}), make({config!r})
try_to_import(number)
use_main()
try_to_import(other)
destroy(number)
use_main()
destroy(other)
use_main()
print("end")
"""
    )
    done = Program("asyncio").run(program, "-X", "faulthandler")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "end\n"
