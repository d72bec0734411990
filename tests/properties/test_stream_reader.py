"""Random programs on a stream's reader: the same results and attributes on both loops.

The reader has been used before, so that on our loop its methods are native. A program is a list of
steps; the actions of one step run without a turn of the loop between them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.loops import LOOPS
from tests.tcp.adopted import adopted, arrive, unread
from tests.tcp.peers import turns

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.loops import LoopFactory

#: Small, so that programs exceed it and pause the transport.
LIMIT = 12

Action = tuple[str, Any]

datas = st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r\n", b"defgh"]), max_size=8).map(b"".join)

actions: st.SearchStrategy[Action] = st.one_of(
    st.tuples(st.just("feed"), datas),
    st.tuples(st.just("read"), st.integers(-1, 20)),
    st.tuples(st.just("readexactly"), st.integers(-1, 40)),
    st.tuples(st.just("readuntil"), st.sampled_from([b"\n", b"\r\n", b"gh", b"", b"h\r\na"])),
    st.tuples(st.just("readline"), st.none()),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.just("close"), st.integers(0, 5)),
    st.tuples(st.just("eof"), st.none()),
    st.tuples(st.just("fail"), st.none()),
    st.tuples(st.just("look"), st.none()),
)

programs = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), datas.filter(bool)).map(lambda action: [action]),
        st.lists(actions, min_size=1, max_size=4),
    ),
    max_size=12,
)


@dataclass
class Run:
    """A program's run on one loop."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    peer: Any
    tasks: list[asyncio.Task[bytes]] = field(default_factory=list["asyncio.Task[bytes]"])
    trace: list[Any] = field(default_factory=list[Any])

    async def step(self, step: list[Action]) -> None:
        """Runs the actions, then the loop until nothing happens any more."""
        for kind, value in step:
            if kind == "arrive":
                if not vars(self.reader)["_eof"]:  # Or the transport fails, and reports that.
                    await arrive(self.writer, self.peer, value)
            else:
                getattr(self, kind)(value)
        await self.settle()
        self.look(None)

    async def settle(self) -> None:
        """Lets tasks run, and a resumed transport read what came while it was paused."""
        for _ in range(4):
            await turns(4)
            while self.writer.transport.is_reading() and unread(self.writer):  # type: ignore[attr-defined]
                await turns(1)

    def feed(self, data: bytes) -> None:
        """Feeds the reader, as a program of its own does."""
        try:
            self.reader.feed_data(data)
        except AssertionError as error:
            self.trace.append(repr(error))

    def _start(self, coroutine: Coroutine[Any, Any, bytes]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(coroutine))

    def read(self, count: int) -> None:
        """Starts a `read`."""
        self._start(self.reader.read(count))

    def readexactly(self, count: int) -> None:
        """Starts a `readexactly`."""
        self._start(self.reader.readexactly(count))

    def readuntil(self, separator: bytes) -> None:
        """Starts a `readuntil`."""
        self._start(self.reader.readuntil(separator))

    def readline(self, _: None) -> None:
        """Starts a `readline`."""
        self._start(self.reader.readline())

    def cancel(self, index: int) -> None:
        """Cancels one of the last reads."""
        if index < len(self.tasks):
            self.tasks[-1 - index].cancel()

    def close(self, count: int) -> None:
        """A coroutine that is closed where it waits."""
        coroutine = self.reader.read(count + 1)
        try:
            coroutine.send(None)
        except (StopIteration, RuntimeError, ValueError) as error:
            self.trace.append(repr(error))
        coroutine.close()

    def eof(self, _: None) -> None:
        """The end, once everything that was sent has arrived."""
        if not unread(self.writer):  # Or the transport fails when it is resumed.
            self.reader.feed_eof()

    def fail(self, _: None) -> None:
        """Sets an exception."""
        self.reader.set_exception(ValueError("told to fail"))

    def look(self, _: None) -> None:
        """Records what Python code can see."""
        seen: Any = self.reader
        self.trace.append(
            (
                bytes(seen._buffer),
                type(seen._buffer),
                seen._eof,
                seen._paused,
                seen._waiter is None,
                repr(seen.exception()),
                seen.at_eof(),
                self.writer.transport.is_reading(),  # type: ignore[attr-defined]
            )
        )

    async def finish(self) -> None:
        """Ends and records every read."""
        for task in self.tasks:
            if not task.done():
                self.trace.append("pending")
                task.cancel()
        await turns(4)
        self.trace.extend(map(outcome, self.tasks))
        self.look(None)


def outcome(task: asyncio.Task[bytes]) -> Any:  # noqa: ANN401 - anything that can be compared
    """How a read ended."""
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    if error is None:
        return task.result()
    more = getattr(error, "partial", None), getattr(error, "consumed", None)
    return type(error), error.args, more, type(error.__context__)


def run(program: list[list[Action]], factory: LoopFactory) -> list[Any]:
    """Runs a program on a new loop and returns its trace."""

    async def main() -> list[Any]:
        async with adopted(LIMIT) as ((reader, writer), peer):
            it = Run(reader, writer, peer)
            for step in program:
                await it.step(step)
            await it.finish()
            return it.trace

    loop = factory()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs)
@example([[("read", 20)], [("arrive", b"bc")], [("read", 1)], [("arrive", b"defgh")]])
@example([[("readline", None)], [("arrive", b"a\nbc")], [("readline", None), ("eof", None)]])
@example([[("readexactly", 40)], [("arrive", b"defgh" * 8)], [("arrive", b"\n")]])
@example([[("arrive", b"defgh" * 8)], [("readline", None)], [("readline", None)]])
@example([[("arrive", b"defgh" * 8)], [("readuntil", b"gh")], [("readuntil", b"\r\n")]])
@example([[("read", 5)], [("read", 5)], [("feed", b"a"), ("cancel", 1), ("feed", b"bc")]])
@example([[("readline", None)], [("feed", b"a"), ("eof", None), ("fail", None)]])
def test_programs_have_the_same_results(program: list[list[Action]]) -> None:
    traces = {name: run(program, factory) for name, factory in LOOPS.items()}
    assert traces["yamanote"] == traces["asyncio"]
