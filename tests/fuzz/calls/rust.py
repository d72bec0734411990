"""Rust futures of an extension, which every loop can await."""

from __future__ import annotations

import importlib.util

from tests.fuzz.calls.call import Call, calls, maker

_ALL = (
    maker("rust.ready({any})", "rustfuture"),
    maker("rust.yielding({any}, 3)", "rustfuture"),
    maker("rust.never()", "rustfuture"),
    *calls(
        "wait(rust.spawned(7, 3))",
        "wait(rust.sleep(0.001))",
        "wait({rustfuture})",
        "wait(rust.failing(2))",
        "wait(rust.call({callback}, 2))",
        "wait(rust.await_python({awaitable}))",
        "wait(rust.yielding({any}, {number}))",
        waits=True,
    ),
    *calls(
        "loop.create_task({rustfuture})",
        "asyncio.ensure_future({rustfuture}, loop=loop)",
        "{rustfuture}.close()",
        "{rustfuture}.send({any})",
        "{rustfuture}.throw({exception})",
        "next({rustfuture})",
        "{rustfuture}.__await__()",
        "repr({rustfuture})",
    ),
)

#: Empty if the extension is not built; `make dev` builds it.
CALLS: tuple[Call, ...] = _ALL if importlib.util.find_spec("yamanote_testing") else ()
