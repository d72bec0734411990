"""`watch()` under uvicorn and Starlette: the handler that blocks is named while it does."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import yamanote
from tests.frameworks.http import PATIENCE_S, Client
from tests.frameworks.test_uvicorn import PARSERS, in_thread, serving
from tests.processes import LINUX

if TYPE_CHECKING:
    from starlette.requests import Request

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LINUX, reason="the kind of a stall is known on Linux only"),
]


@PARSERS
def test_a_handler_that_blocks_is_named_while_it_does(http: str) -> None:
    lock = threading.Lock()
    lock.acquire()
    told: list[yamanote.Stall] = []
    ended = threading.Event()

    def load_report(calls: int) -> str:
        if calls:
            return load_report(calls - 1)
        lock.acquire()
        return "report"

    async def report(_: Request) -> PlainTextResponse:
        return PlainTextResponse(load_report(5))

    def on_stall(stall: yamanote.Stall) -> None:
        if stall.ended:
            ended.set()
        elif stall.kind == "blocking" and not told:
            told.append(stall)
            # The request is answered because it is told.
            lock.release()

    def client(port: int) -> None:
        with Client(port) as connection:
            assert connection.get("/report").body == b"report"
        assert ended.wait(PATIENCE_S)

    async def main() -> None:
        async with serving(Starlette(routes=[Route("/report", report)]), http) as port:
            with yamanote.watch(threshold=0.1, repeat=0.1, on_stall=on_stall):
                await in_thread(client, port)

    yamanote.run(main())
    stall = told[0]
    assert stall.task is not None
    assert stall.task.coroutine
    if getattr(sys, "_is_gil_enabled", lambda: True)() or sys.version_info >= (3, 14):
        assert stall.stack is not None
        names = [frame.name for frame in stall.stack]
        assert names[-7:] == ["report", *["load_report"] * 6]
        assert stall.stack[-1].filename == __file__
