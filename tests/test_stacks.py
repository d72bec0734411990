"""The stack of a thread that runs, as another thread reads it."""

from __future__ import annotations

import sys
import threading
import weakref
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from yamanote import _stacks
from yamanote._stacks import running_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from traceback import StackSummary

HAS_GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()

READERS: dict[str, Callable[[int, int], StackSummary | None]] = {"running_stack": running_stack}
if sys.version_info >= (3, 14):
    # What free-threaded builds use works, and is tested, with a GIL, too.
    READERS["memory"] = lambda _, native_id: _stacks._agreed(native_id)


@pytest.fixture(params=list(READERS))
def read(request: pytest.FixtureRequest) -> Callable[[int, int], StackSummary | None]:
    return READERS[request.param]


@contextmanager
def thread(body: Callable[[], object]) -> Generator[tuple[int, int], None, None]:
    """Run `body` in a thread; give the thread's two numbers."""
    numbers: list[tuple[int, int]] = []
    started = threading.Event()

    def run() -> None:
        numbers.append((threading.get_ident(), threading.get_native_id()))
        started.set()
        body()

    running = threading.Thread(target=run)
    running.start()
    started.wait()
    try:
        yield numbers[0]
    finally:
        running.join()


def names(stack: StackSummary | None) -> list[str]:
    assert stack is not None
    return [frame.name for frame in stack]


def test_a_waiting_thread_is_seen_where_it_waits(
    read: Callable[[int, int], StackSummary | None],
) -> None:
    reached, go = threading.Lock(), threading.Lock()
    reached.acquire()
    go.acquire()

    def waits() -> None:
        reached.release()
        go.acquire()  # It waits here.

    with thread(waits) as numbers:
        try:
            reached.acquire()
            # The lock's release is the last but one thing that the thread does.
            while True:
                stack = read(*numbers)
                if stack and "It waits here" in (stack[-1].line or ""):
                    break
        finally:
            go.release()
    assert names(stack)[-2:] == ["run", "waits"]
    assert stack[-1].filename == __file__
    assert "# It waits here." in "".join(stack.format())


def test_deep_stacks_are_whole(read: Callable[[int, int], StackSummary | None]) -> None:
    reached, go = threading.Event(), threading.Event()

    def falls(depth: int) -> None:
        if depth:
            falls(depth - 1)
        else:
            reached.set()
            go.wait()

    with thread(lambda: falls(500)) as numbers:
        try:
            reached.wait()
            stack = read(*numbers)
        finally:
            go.set()
    assert names(stack).count("falls") == 501


def test_a_thread_that_has_ended_has_no_stack(
    read: Callable[[int, int], StackSummary | None],
) -> None:
    with thread(lambda: None) as numbers:
        pass
    assert read(*numbers) is None


def test_the_own_stack_ends_in_the_caller() -> None:
    stack = running_stack(threading.get_ident(), threading.get_native_id())
    assert names(stack)[-1] == "test_the_own_stack_ends_in_the_caller"


def test_a_busy_thread_is_never_seen_where_it_is_not(
    read: Callable[[int, int], StackSummary | None],
) -> None:
    stop = threading.Event()

    def leaf(number: int) -> int:
        return number + 1

    def middle(number: int) -> int:
        for _ in range(3):
            number = leaf(number)
        return number

    def busy() -> None:
        number = 0
        while not stop.is_set():
            number = middle(number) + sorted([number, 1])[0]

    lines = {
        function.__name__: range(
            function.__code__.co_firstlineno, function.__code__.co_firstlineno + 5
        )
        for function in (leaf, middle, busy)
    }
    with thread(busy) as numbers:
        try:
            for _ in range(2_000):
                stack = read(*numbers)
                assert stack is not None
                # Python 3.14 leaves the outermost frames out.
                own = [frame for frame in stack if frame.filename == __file__]
                path = [frame.name for frame in own]
                assert path in (
                    ["run", "busy", "middle", "leaf"][: len(path)],
                    ["run", "busy", "is_set"],
                )
                for frame in own[1:]:
                    assert frame.lineno in lines[frame.name]
                others = [frame for frame in stack if frame.filename != __file__]
                assert all(frame.filename == threading.__file__ for frame in others)
                assert {frame.name for frame in others} <= {
                    "_bootstrap", "_bootstrap_inner", "run", "is_set",
                }  # fmt: skip
        finally:
            stop.set()


def test_reading_keeps_nothing_of_the_thread_alive() -> None:
    class Local:
        pass

    reached, read, dropped, go = (threading.Event() for _ in range(4))
    references: list[weakref.ref[Local]] = []

    def holds() -> None:
        local = Local()
        references.append(weakref.ref(local))
        reached.set()
        read.wait()

    def body() -> None:
        holds()
        dropped.set()
        go.wait()

    with thread(body) as numbers:
        reached.wait()
        stack = running_stack(*numbers)
        read.set()
        dropped.wait()
        try:
            assert references[0]() is None
            assert stack is not None
        finally:
            go.set()


@pytest.mark.skipif(sys.version_info < (3, 14), reason="memory can be read from 3.14 on")
def test_a_function_that_is_being_entered_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread may lose its processor there, so all readings may agree that it has no line."""

    class Unwinder:
        def get_stack_trace(self) -> list[SimpleNamespace]:
            frames = [
                SimpleNamespace(filename="own.py", lineno=line, funcname=name)
                for line, name in [(-1, "entered"), (7, "caller"), (-1, "without_lines")]
            ]
            return [SimpleNamespace(thread_id=1, frame_info=frames)]

    monkeypatch.setattr(_stacks, "_unwinder", Unwinder)
    stack = READERS["memory"](1, 1)
    assert stack is not None
    assert [(frame.name, frame.lineno) for frame in stack] == [
        ("without_lines", None),
        ("caller", 7),
    ]


@pytest.mark.skipif(HAS_GIL, reason="with a GIL, it is Python that reads stacks")
def test_there_is_no_stack_without_means_to_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses() -> object:
        raise PermissionError

    go = threading.Event()
    with thread(go.wait) as numbers:
        try:
            assert running_stack(*numbers) is not None
            monkeypatch.setattr(_stacks, "_unwinder", refuses)
            assert running_stack(*numbers) is None
        finally:
            go.set()
