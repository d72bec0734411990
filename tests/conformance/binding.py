"""Makes asyncio's tests use a chosen loop.

The tests create loops in four ways: by the event loop policy (used by `asyncio.new_event_loop`,
`asyncio.run`, `Runner` and `IsolatedAsyncioTestCase`), by `asyncio.SelectorEventLoop(...)`, by
`asyncio.EventLoop()`, and by a `loop_factory` given by name. One stand-in replaces all four. It
also counts the loops: a test that creates none does not test one.
"""

from __future__ import annotations

import asyncio
import asyncio.unix_events
import importlib
import unittest
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    LoopFactory = Callable[[], asyncio.AbstractEventLoop]

#: The modules of `test.test_asyncio` whose tests create a loop by public names. The others test
#: internals of asyncio's own loops (`test_base_events`, `test_selector_events`,
#: `test_proactor_events`), Windows, or parts without a loop (`test_protocols`, `test_transports`,
#: `test_tools`).
MODULES = (
    "test_buffered_proto",
    "test_context",
    "test_eager_task_factory",
    "test_events",
    "test_free_threading",
    "test_futures",
    "test_futures2",
    "test_graph",
    "test_locks",
    "test_pep492",
    "test_queues",
    "test_runners",
    "test_sendfile",
    "test_server",
    "test_server_context",
    "test_sock_lowlevel",
    "test_ssl",
    "test_sslproto",
    "test_staggered",
    "test_streams",
    "test_subprocess",
    "test_taskgroups",
    "test_tasks",
    "test_threads",
    "test_timeouts",
    "test_unix_events",
    "test_waitfor",
)

#: Classes that bind the same mixins to another selector; one binding is enough for our loop.
SAME_TESTS_AGAIN = {"EPollEventLoopTests", "KqueueEventLoopTests", "PollEventLoopTests"}

#: All mixins of tests that asyncio runs on each of its own loops, bound once, and the tests of
#: `Server`: 135 tests on Python 3.14, three of which look for a selector or count its calls.
CORE = (
    "test_buffered_proto.BufferedProtocolSelectorTests.*",
    "test_events.SelectEventLoopTests.*",
    "test_sendfile.SelectEventLoopTests.*",
    "test_server.SelectorStartServerTests.test_start_server_1",
    "test_server.TestServer2.*",
    "test_sock_lowlevel.SelectEventLoopTests.*",
    "test_sslproto.SelectorStartTLSTests.*",
)

#: asyncio's own functions, stored before they are replaced.
ASYNCIO_LOOP: type[asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop


class StandIn(type):
    """A class whose calls create the chosen loop, and whose instances are those loops."""

    factory: LoopFactory
    made: weakref.WeakSet[asyncio.AbstractEventLoop]
    count: int

    def __call__(cls, *_selector: object) -> asyncio.AbstractEventLoop:
        """Creates a loop; arguments such as a selector are ignored."""
        loop = cls.factory()
        cls.made.add(loop)
        cls.count += 1
        return loop

    def __instancecheck__(cls, instance: object) -> bool:
        """Returns `True` for loops created here."""
        return instance in cls.made


def bind(factory: LoopFactory) -> StandIn:
    """Makes asyncio's names for a loop class refer to `factory`, for the rest of the process."""
    stand_in = StandIn(
        "StandIn", (), {"factory": staticmethod(factory), "made": weakref.WeakSet(), "count": 0}
    )
    for name in ("SelectorEventLoop", "EventLoop"):
        if hasattr(asyncio, name):
            setattr(asyncio, name, stand_in)
    policy = vars(asyncio.unix_events)["_UnixDefaultEventLoopPolicy"]  # pyright: ignore[reportPrivateUsage]
    policy._loop_factory = stand_in
    return stand_in


def load_factory(spec: str) -> LoopFactory:
    """Resolves `module:attribute` to a loop factory; asyncio's own is the loop class itself."""
    module, _, name = spec.partition(":")
    if module == "asyncio":
        return ASYNCIO_LOOP
    factory: LoopFactory = getattr(importlib.import_module(module), name)
    return factory


def load_modules() -> list[ModuleType]:
    """Returns the test modules that this interpreter has."""
    package = importlib.import_module("test.test_asyncio")
    found: list[ModuleType] = []
    for name in MODULES:
        try:
            found.append(importlib.import_module(f"{package.__name__}.{name}"))
        except ModuleNotFoundError as error:
            if error.name != f"{package.__name__}.{name}":
                raise
    return found


def cases() -> Iterator[tuple[str, unittest.TestCase]]:
    """Returns all tests by their names `module.Class.test`, in the order of the modules above."""
    for module in load_modules():
        short = module.__name__.rpartition(".")[2]
        for name, item in vars(module).items():
            if not isinstance(item, type) or not issubclass(item, unittest.TestCase):
                continue
            if item.__module__ != module.__name__ or name in SAME_TESTS_AGAIN:
                continue
            for method in unittest.defaultTestLoader.getTestCaseNames(item):
                yield f"{short}.{name}.{method}", item(method)
