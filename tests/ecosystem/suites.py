"""The suites, and the tests that are run in each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.ecosystem import order

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Suite:
    """A project whose source distribution ships its tests.

    Its version is the one in requirements.txt. Only the tests are taken from the source
    distribution; they test the package as users install it.

    Attributes:
        name: the name of the distribution.
        tests: pytest's arguments, relative to the root of the source distribution.
        plugins: pytest plugins that the tests need, by module.
        options: further options for pytest.
        freezes: whether garbage collections leave out what exists before the first test, with
            `--seeds`: where each test collects all. Then `gc.get_referrers()` leaves it out, too.
        code: directories of the source distribution that would hide the installed package.
        about_asyncio: tests that need asyncio's own loop, and why no other can pass. They do not
            count; if one passes nevertheless, the command fails.
        about_order: tests that rely on asyncio's order of tasks that are ready at the same time,
            and how. With `--seeds` they may fail.
        quick: run by `--quick` instead of `tests`; empty to leave the suite out.
    """

    name: str
    tests: tuple[str, ...] = ("tests",)
    plugins: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    freezes: bool = False
    code: tuple[str, ...] = ()
    about_asyncio: Mapping[str, str] = field(default_factory=dict[str, str])
    about_order: Mapping[str, str] = field(default_factory=dict[str, str])
    quick: tuple[str, ...] | None = None


ASYNCIO_AUTO = (
    *("-o", "asyncio_mode=auto"),
    *("-o", "asyncio_default_fixture_loop_scope=function"),
)

SUITES = (
    Suite(
        "aiohttp",
        plugins=("pytest_mock", "pytest_codspeed.plugin"),
        options=("-m", "not dev_mode and not autobahn and not internal", "-k", "not benchmark"),
        freezes=True,
        about_order=order.AIOHTTP,
        code=("aiohttp",),
        quick=(
            "tests/test_client_functional.py",
            "tests/test_client_ws_functional.py",
            "tests/test_connector.py",
            "tests/test_loop.py",
            "tests/test_proxy_functional.py",
            "tests/test_resolver.py",
            "tests/test_run_app.py",
            "tests/test_web_runner.py",
            "tests/test_web_sendfile_functional.py",
            "tests/test_web_server.py",
            "tests/test_web_websocket_functional.py",
        ),
    ),
    Suite(
        "anyio",
        plugins=("anyio.pytest_plugin", "pytest_mock"),
        options=("-k", "not trio and not network"),
        about_order=order.ANYIO,
        quick=(
            "tests/streams",
            "tests/test_eventloop.py",
            "tests/test_from_thread.py",
            "tests/test_signals.py",
            "tests/test_sockets.py",
            "tests/test_subprocesses.py",
            "tests/test_taskgroups.py",
        ),
    ),
    Suite(
        "uvicorn",
        plugins=("anyio.pytest_plugin", "pytest_mock"),
        options=("--ignore", "tests/benchmarks"),
        code=("uvicorn",),
        about_asyncio={
            "tests/test_auto_detection.py::test_loop_auto": "expects asyncio's own loop class",
        },
    ),
    Suite(
        "hypercorn",
        tests=("tests/asyncio", "tests/e2e", "tests/protocol", "tests/middleware"),
        plugins=("pytest_asyncio.plugin",),
        options=("-k", "not trio"),
    ),
    Suite(
        "httpcore",
        tests=("tests/_async", "tests/test_cancellations.py"),
        plugins=("anyio.pytest_plugin", "pytest_httpbin.plugin"),
        options=("-k", "not trio", "-o", "markers=trio"),
        code=("httpcore",),
    ),
    Suite(
        "httpx",
        plugins=("anyio.pytest_plugin",),
        options=("-k", "not trio", "-m", "not network"),
        code=("httpx",),
    ),
    Suite(
        "starlette",
        plugins=("anyio.pytest_plugin",),
        options=("-k", "not trio", "--ignore", "tests/middleware/test_opentelemetry.py"),
        code=("starlette",),
    ),
    Suite("tornado", tests=("--pyargs", "tornado.test"), code=("tornado",)),
    Suite("asyncssh", code=("asyncssh",), quick=()),
    Suite("asgiref", plugins=("pytest_asyncio.plugin",), code=("asgiref",)),
    Suite("aiofiles", plugins=("pytest_asyncio.plugin",), options=ASYNCIO_AUTO),
    Suite("janus", plugins=("pytest_asyncio.plugin",), options=ASYNCIO_AUTO, code=("janus",)),
)
