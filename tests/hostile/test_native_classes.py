"""Native classes: creating, copying and subclassing them, and inspecting unfinished instances."""

from __future__ import annotations

from tests.programs import Program

PREAMBLE = """
import copy, gc, pickle, socket, ssl, sys, threading, warnings, weakref, os
from yamanote import _yamanote
warnings.simplefilter("ignore")
sys.unraisablehook = lambda _: None

async def instances():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    made = [loop.call_soon(print), loop.call_later(9, print), loop.call_soon_threadsafe(int)]
    for handle in made:
        handle.cancel()
    left, right = socket.socketpair()
    made.append((await loop.create_connection(asyncio.Protocol, sock=left))[0])
    made.append((await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, ("127.0.0.1", 0)))[0])
    read, write = os.pipe()
    made.append((await loop.connect_read_pipe(asyncio.Protocol, open(read, "rb", 0)))[0])
    made.append((await loop.connect_write_pipe(asyncio.BaseProtocol, open(write, "wb", 0)))[0])
    right.setblocking(False)
    made.append(loop.sock_recv(right, 1))
    return made, right
"""

MAKING = (
    PREAMBLE
    + """
async def main():
    made, right = await instances()
    classes = {type(it) for it in made} | {
        value for value in vars(_yamanote).values() if isinstance(value, type)}
    # Python makes these.
    classes -= {_yamanote.Core, _yamanote.Resolver, _yamanote.Watcher}
    assert len(classes) >= 7, classes
    for cls in classes:
        bases = [base for base in cls.__mro__[1:]]
        attempts = [cls, lambda: cls.__new__(cls), lambda: type("Derived", (cls,), {}),
            lambda: cls(1, 2, 3), lambda: cls.__new__(cls, 1)]
        attempts += [lambda base=base: base.__new__(cls) for base in bases]
        for number, attempt in enumerate(attempts):
            try:
                it = attempt()
            except TypeError:
                continue
            raise AssertionError((cls, number))
    for it in made:
        attempts = [lambda: copy.copy(it), lambda: copy.deepcopy(it), lambda: pickle.dumps(it)]
        for other in [*classes, asyncio.Handle, asyncio.TimerHandle, asyncio.Transport, object]:
            if other is not type(it):
                attempts.append(lambda other=other: setattr(it, "__class__", other))
        for number, attempt in enumerate(attempts):
            try:
                attempt()
            except TypeError:
                continue
            raise AssertionError((it, number))
        assert weakref.ref(it)() is it
        assert sys.getsizeof(it) > 16
        gc.get_referents(it)
        gc.get_referrers(it)
    for it in made:
        for name in ("close", "cancel"):
            getattr(it, name, int)()
    right.close()
    for _ in range(3):
        await asyncio.sleep(0)
run(main())
print("survived")
"""
)

CALLING = (
    PREAMBLE
    + """
ODD = [None, -1, 2**70, 1.5, "x", b"x", (), [], {}, object(), print, float("nan")]
def attempt(call, *arguments):
    try:
        result = call(*arguments)
        if asyncio.iscoroutine(result):
            result.close()
    except Exception as error:
        made = type(error).__name__
        assert made not in ("PanicException", "SystemError"), (call, arguments, error)
        assert "panicked" not in str(error), (call, arguments, error)

async def main():
    made, right = await instances()
    # Every method and attribute of each class and of its bases, on right and on wrong objects.
    descriptors = set()
    for it in made:
        for cls in type(it).__mro__:
            for name, value in vars(cls).items():
                if cls is not object and name not in (
                    "__new__", "__subclasshook__", "__init_subclass__", "__class_getitem__"
                ):
                    if hasattr(value, "__get__") or callable(value):
                        descriptors.add((name, value))
    for name, descriptor in descriptors:
        kind = type(descriptor).__name__
        for it in [*made, None, 5, object(), _yamanote.Core]:
            if kind in ("method_descriptor", "wrapper_descriptor", "function"):
                attempt(descriptor, it)
                for odd in ODD:
                    attempt(descriptor, it, odd)
                attempt(descriptor, it, 1, 2)
                attempt(descriptor, it, *range(9))
            elif hasattr(descriptor, "__set__"):
                attempt(descriptor.__get__, it)
                for odd in ODD:
                    attempt(descriptor.__set__, it, odd)
                    attempt(descriptor.__get__, it)
                attempt(descriptor.__delete__, it)
                attempt(descriptor.__get__, it)
                attempt(repr, it)
    for it in made:
        attempt(getattr(it, "abort", int))
        attempt(getattr(it, "close", int))
        attempt(repr, it)
    gc.collect()
    right.close()
    for _ in range(3):
        await asyncio.sleep(0)
run(main())
gc.collect()
print("survived")
"""
)

HALF_MADE = (
    PREAMBLE
    + """
ODD = [None, -1, 2**70, 1.5, "x", b"x", (), print]
WAITING = {"run_forever", "run_until_complete", "close"}
def attempt(call, *arguments):
    try:
        result = call(*arguments)
        if asyncio.iscoroutine(result):
            result.close()
        return result
    except Exception as error:
        made = type(error).__name__
        assert made not in ("PanicException", "SystemError"), (call, arguments, error)
        assert "panicked" not in str(error), (call, arguments, error)

import yamanote
for make in (_yamanote.Core, lambda: yamanote.Loop.__new__(yamanote.Loop)):
    loop = attempt(make)
    if loop is None:
        continue
    kept = []
    for name in sorted(set(dir(loop))):
        if name.startswith("__") and name != "__del__" or name in WAITING:
            continue
        method = attempt(getattr, loop, name)
        if not callable(method):
            continue
        kept.append(attempt(method))
        for odd in ODD:
            kept.append(attempt(method, odd))
        attempt(method, 1, 2)
        attempt(method, print, 2, 3)
    attempt(repr, loop)
    for name in ("close", "_close", "close", "run_forever", "_run", "close"):
        attempt(getattr(loop, name, int))
    kept.clear()
    del method, loop
    gc.collect()
# The others keep working.
async def main():
    return await asyncio.sleep(0.001, 5)
assert run(main()) == 5
print("survived")
"""
)


def survives(program: str) -> None:
    """Asserts that the program runs to its end."""
    done = Program("yamanote").run(program, "-X", "faulthandler", "-W", "ignore")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("survived\n"), done.stderr


def test_no_instance_of_a_native_class_is_made_but_by_a_loop() -> None:
    survives(MAKING)


def test_every_method_and_attribute_refuses_what_it_was_not_made_for() -> None:
    survives(CALLING)


def test_a_loop_that_was_never_initialised_refuses_to_work() -> None:
    survives(HALF_MADE)
