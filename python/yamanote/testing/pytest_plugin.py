"""The pytest plugin: `@pytest.mark.yamanote(...)`, `--yamanote`, `yamanote_loop`.

pytest imports it; nothing changes for a test that does not ask for it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from yamanote.testing._checks import checked
from yamanote.testing._explore import LONGEST_RUN_S, Program, repeat, search
from yamanote.testing._failure import Found, ScheduleError
from yamanote.testing._leaks import RememberingVirtualLoop
from yamanote.testing._loop import VirtualLoop
from yamanote.testing._options import Options
from yamanote.testing._steps import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Mapping

    from yamanote._loop import Loop
    from yamanote.testing._clock import Clock

MARKER = (
    "yamanote(virtual_time=None, seed=None, seeds=None, strategy='pct', cancel_points=False,"
    " real_io='wait', leaks='ignore', watch=None, timeout=None): run the test on yamanote's loop;"
    " see yamanote.testing"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the command line."""
    group = parser.getgroup("yamanote")
    group.addoption(
        "--yamanote", action="store_true", help="run every asynchronous test on yamanote's loop"
    )
    group.addoption(
        "--yamanote-seed",
        type=int,
        metavar="SEED",
        help="run the tests that yamanote runs in the order of tasks that the seed leads to, on"
        " virtual time",
    )
    group.addoption(
        "--yamanote-schedule",
        metavar="SCHEDULE",
        help="run a test that has seeds in one order of tasks only: in that with which it failed",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the marker, and pytest-asyncio of the loops."""
    config.addinivalue_line("markers", MARKER)
    schedule: str | None = config.getoption("yamanote_schedule")
    if schedule is not None:
        if config.getoption("yamanote_seed") is not None:
            raise pytest.UsageError("give a seed or a schedule, not both")
        try:
            Found.read(schedule)
        except ValueError as error:
            raise pytest.UsageError(f"--yamanote-schedule: {error}") from error
    if config.getoption("yamanote") and config.pluginmanager.hasplugin("asyncio"):
        config.pluginmanager.register(_AsyncioLoops(), "yamanote-asyncio")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse wrong arguments before any test runs; wrap the tests of other plugins."""
    for item in items:
        options = _options_of(item)
        if options is None or not isinstance(item, pytest.Function):
            continue
        if _is_left_to_asyncio(item, options):
            # Hypothesis has a function of its own around a test, which is none to await.
            if inspect.iscoroutinefunction(item.obj):
                item.obj = _wrapped(item.obj, options)
        elif _is_taken_from_anyio(item):
            item.obj = _synchronous(item, options)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that asks for a loop of ours."""
    __tracebackhide__ = True
    options = _options_of(pyfuncitem)
    if options is None or _is_left_to_others(pyfuncitem, options):
        return None
    function = _without_asyncio(pyfuncitem.obj)
    if not inspect.iscoroutinefunction(function):
        return None
    names = pyfuncitem._fixtureinfo.argnames  # pyright: ignore[reportPrivateUsage]
    call = functools.partial(function, **{name: pyfuncitem.funcargs[name] for name in names})
    _run(pyfuncitem, call, options, pyfuncitem.funcargs)
    return True


def _run(
    item: pytest.Item,
    call: Callable[[], Coroutine[Any, Any, object]],
    options: Options,
    fixtures: Mapping[str, Any],
) -> None:
    __tracebackhide__ = True

    def main() -> Coroutine[Any, Any, object]:
        return checked(call, options)

    def how(schedule: str) -> str:
        return f"pytest --yamanote-schedule={schedule} {shlex.quote(item.nodeid)}"

    given: str | None = item.config.getoption("yamanote_schedule")
    loop: Loop | None = fixtures.get("yamanote_loop")
    factory = options.new_event_loop if loop is None else lambda: loop
    try:
        if options.seeds is not None:
            timeout = LONGEST_RUN_S if options.timeout is None else options.timeout
            program = Program(main, 0.0, options.real_io, timeout, RememberingVirtualLoop, how)
            if given is None:
                search(program, options.seeds, options.strategy, options.cancel_points)
            else:
                repeat(program, given)
            return
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())
    except Exception as error:
        if options.seed is not None:
            error.add_note(f"the order of tasks is that of --yamanote-seed={options.seed}")
        elif options.seeds is not None and given is not None:
            error.add_note(f"the order of tasks is that of --yamanote-schedule={given}")
        elif isinstance(error, ScheduleError) and error.seed is not None:
            error.add_note(f"or, with all its choices: pytest --yamanote-seed={error.seed}")
        _begin_with_program(error.__cause__)
        _begin_with_program(error)
        raise


def _begin_with_program(error: BaseException | None) -> None:
    """Leave out what runs the program: a person wants to see the test."""
    if error is None:
        return
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(LIBRARIES):
        frames = frames.tb_next
    error.__traceback__ = frames


@pytest.fixture
def yamanote_loop(request: pytest.FixtureRequest) -> Generator[Loop]:
    """A loop of yamanote's, by the test's marker; without one, on virtual time.

    An asynchronous test runs on it.
    """
    item = request.node
    options = _options_of(item) or Options(virtual_time=True)
    if options.seeds is not None:
        raise pytest.UsageError("with seeds, there is a loop for each run: get_running_loop()")
    if _is_left_to_others(item, options):
        raise pytest.UsageError("another plugin makes the loop of this test: get_running_loop()")
    loop = options.new_event_loop()
    yield loop
    if not loop.is_closed():
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.get_loop()  # Then it also ends what is left on it.


@pytest.fixture
def yamanote_clock(yamanote_loop: Loop) -> Clock:
    """The virtual clock of `yamanote_loop`."""
    if not isinstance(yamanote_loop, VirtualLoop):
        raise pytest.UsageError("the test has a real clock: yamanote(virtual_time=True)")
    return yamanote_loop.clock


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Have anyio's tests run on yamanote's loop, if the command line asks for it."""
    result = yield
    if fixturedef.argname != "anyio_backend" or not request.config.getoption("yamanote"):
        return result
    given: Any = result
    backend: tuple[str, dict[str, Any]] = (given, {}) if isinstance(given, str) else given
    name, options = backend
    if name != "asyncio" or "loop_factory" in options:
        return result
    backend = (name, {**options, "loop_factory": Options().new_event_loop})
    assert fixturedef.cached_result is not None
    fixturedef.cached_result = (backend, fixturedef.cached_result[1], None)
    return backend


class _AsyncioLoops:
    """Gives pytest-asyncio the loops of its tests."""

    def pytest_asyncio_loop_factories(
        self, config: pytest.Config, item: pytest.Item
    ) -> dict[str, Callable[[], Loop]]:
        """Return the factory of the test's loop."""
        options = _options_of(item) or Options()
        return {"yamanote": options.new_event_loop}


def _options_of(item: pytest.Item) -> Options | None:
    """Return what a test asks for; `None` if it does not concern us."""
    marker = item.get_closest_marker("yamanote")
    seed: int | None = item.config.getoption("yamanote_seed")
    if marker is None and not item.config.getoption("yamanote"):
        return None
    if marker is None:
        return Options(seed=seed)
    if marker.args:
        raise pytest.UsageError("the marker yamanote takes keyword arguments only")
    try:
        options = Options.of(marker.kwargs)
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(f"{item.nodeid}: {error}") from error
    if seed is None or options.virtual_time is False:
        return options
    return replace(options, seed=seed, seeds=None, cancel_points=False)


def _is_left_to_others(item: pytest.Item, options: Options) -> bool:
    """Return whether another plugin runs the test, on our loop or not."""
    if _is_left_to_asyncio(item, options):
        return True
    backend: Any = getattr(item, "funcargs", {}).get("anyio_backend")
    # anyio has fixtures on the loop of its own runner.
    return backend is not None and item.get_closest_marker("yamanote") is None


def _is_left_to_asyncio(item: pytest.Item, options: Options) -> bool:
    """Return whether pytest-asyncio runs the test, on our loop: so its fixtures have it, too."""
    return (
        bool(item.config.getoption("yamanote"))
        and options.seeds is None
        and any(base.__module__.startswith("pytest_asyncio") for base in type(item).__mro__)
    )


def _without_asyncio(function: Any) -> Any:  # noqa: ANN401 - Any callable.
    """Return what pytest-asyncio has put a function around that is no coroutine function.

    Decorators of the test itself stay.
    """
    plain = getattr(function, "__func__", function)
    module: str = getattr(plain, "__globals__", {}).get("__name__", "")
    if not module.startswith("pytest_asyncio"):
        return function
    wrapped = plain.__wrapped__
    owner: object = getattr(function, "__self__", None)
    return wrapped if owner is None or inspect.ismethod(wrapped) else wrapped.__get__(owner)


def _is_taken_from_anyio(item: pytest.Function) -> bool:
    """Return whether a test with our marker is one of anyio's, and not for another backend."""
    if item.get_closest_marker("yamanote") is None or item.get_closest_marker("anyio") is None:
        return False
    callspec: Any = getattr(item, "callspec", None)
    backend = "asyncio" if callspec is None else callspec.params.get("anyio_backend", "asyncio")
    name = backend if isinstance(backend, str) else backend[0]
    return name == "asyncio" and inspect.iscoroutinefunction(item.obj)


def _synchronous(item: pytest.Function, options: Options) -> Callable[..., None]:
    """Return a function that runs the test: anyio takes those that are coroutine functions."""
    function: Callable[..., Coroutine[Any, Any, object]] = item.obj

    @functools.wraps(function)
    def test(**fixtures: Any) -> None:
        __tracebackhide__ = True
        _run(item, functools.partial(function, **fixtures), options, fixtures)

    return test


def _wrapped(
    function: Callable[..., Coroutine[Any, Any, object]], options: Options
) -> Callable[..., Coroutine[Any, Any, None]]:
    @functools.wraps(function)
    async def test(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        await checked(functools.partial(function, *args, **kwargs), options)

    return test
