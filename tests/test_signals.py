"""Signals: Ctrl-C, plain handlers, and the loop's own handlers. All signals are real."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.processes import wait_until_idle
from tests.turns import run_one_turn

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Generator, Iterator

    from tests.programs import Program


def finish(child: subprocess.Popen[str]) -> tuple[str, str, int]:
    """Returns standard output, standard error and exit code of a child that is about to exit."""
    output, errors = child.communicate(timeout=40)
    return output, errors, child.returncode


# --- Ctrl-C -----------------------------------------------------------------------------------


def test_ctrl_c_ends_an_idle_run_forever(program: Program) -> None:
    source = """
    loop = new_event_loop()
    loop.call_soon(print, "ready")
    try:
        loop.run_forever()
    except KeyboardInterrupt:
        print("interrupted", loop.is_running())
    print(loop.run_until_complete(asyncio.sleep(0, "usable")))
    loop.close()
    """
    with program.start(source, "-u") as child:
        wait_until_idle(child.pid)
        child.send_signal(signal.SIGINT)
        assert finish(child) == ("interrupted False\nusable\n", "", 0)


def test_ctrl_c_ends_a_run_forever_that_only_waits_for_a_far_timer(program: Program) -> None:
    source = """
    loop = new_event_loop()
    loop.call_later(3600, print, "never")
    loop.call_soon(print, "ready")
    try:
        loop.run_forever()
    except KeyboardInterrupt:
        print("interrupted")
    loop.close()
    """
    with program.start(source, "-u") as child:
        wait_until_idle(child.pid)
        child.send_signal(signal.SIGINT)
        assert finish(child) == ("interrupted\n", "", 0)


def test_ctrl_c_ends_a_busy_loop(program: Program) -> None:
    if program.module == "asyncio":
        # Seen once, on 3.14t; its run_forever() is Python code between whose instructions it comes.
        pytest.skip("an interrupt may leave asyncio's own loop marked as running")
    source = """
    loop = new_event_loop()

    def again():
        loop.call_soon(again)

    loop.call_soon(again)
    loop.call_soon(print, "ready")
    try:
        loop.run_forever()
    except KeyboardInterrupt:
        print("interrupted")
    loop.close()
    """
    with program.start(source, "-u") as child:
        child.send_signal(signal.SIGINT)
        assert finish(child) == ("interrupted\n", "", 0)


def test_ctrl_c_ends_run_and_cancels_the_main_task(program: Program) -> None:
    source = """
    async def main():
        print("ready")
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            print("cancelled")
            raise

    try:
        run(main())
    except KeyboardInterrupt:
        print("interrupted")
    """
    with program.start(source, "-u") as child:
        wait_until_idle(child.pid)
        child.send_signal(signal.SIGINT)
        assert finish(child) == ("cancelled\ninterrupted\n", "", 0)


def test_ctrl_c_ends_a_plain_sleep_with_a_traceback(program: Program) -> None:
    """The essential case: only `run(asyncio.sleep(3600))`."""
    with program.start("print('ready'); run(asyncio.sleep(3600))", "-u") as child:
        wait_until_idle(child.pid)
        child.send_signal(signal.SIGINT)
        output, errors, code = finish(child)
    assert output == ""
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert code == -signal.SIGINT


def test_a_second_ctrl_c_interrupts_a_task_that_swallowed_the_first(program: Program) -> None:
    source = """
    async def main():
        print("ready")
        # The second time, run() cancels the remaining tasks and waits for them.
        for _ in range(2):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                print("swallowed")

    try:
        run(main())
    except KeyboardInterrupt:
        print("interrupted")
    """
    with program.start(source, "-u") as child:
        wait_until_idle(child.pid)
        child.send_signal(signal.SIGINT)
        assert child.stdout is not None
        assert child.stdout.readline() == "swallowed\n"
        wait_until_idle(child.pid)
        child.send_signal(signal.SIGINT)
        assert finish(child) == ("swallowed\ninterrupted\n", "", 0)


# --- handlers of the signal module ------------------------------------------------------------


def test_a_plain_handler_runs_while_the_loop_is_idle(program: Program) -> None:
    source = """
    import signal

    loop = new_event_loop()
    signal.signal(signal.SIGUSR1, lambda *_: print("handled", loop.is_running()))
    loop.add_signal_handler(signal.SIGTERM, loop.stop)
    loop.call_soon(print, "ready")
    loop.run_forever()
    loop.close()
    """
    with program.start(source, "-u") as child:
        assert child.stdout is not None
        for _ in range(3):
            wait_until_idle(child.pid)
            child.send_signal(signal.SIGUSR1)
            # The loop stays idle: only the handler can have printed this.
            assert child.stdout.readline() == "handled True\n"
        child.send_signal(signal.SIGTERM)
        assert finish(child) == ("", "", 0)


def test_a_plain_handler_runs_on_a_loop_that_never_heard_of_signals(program: Program) -> None:
    source = """
    import signal

    loop = new_event_loop()

    def handler(*_):
        print("handled")
        loop.call_soon_threadsafe(loop.stop)

    signal.signal(signal.SIGUSR1, handler)
    loop.call_soon(print, "ready")
    loop.run_forever()
    loop.close()
    """
    with program.start(source, "-u") as child:
        wait_until_idle(child.pid)
        child.send_signal(signal.SIGUSR1)
        assert finish(child) == ("handled\n", "", 0)


def test_an_exception_of_a_plain_handler_leaves_run_forever(program: Program) -> None:
    source = """
    import signal

    class Alarm(Exception):
        pass

    def handler(*_):
        raise Alarm

    loop = new_event_loop()
    signal.signal(signal.SIGALRM, handler)
    loop.call_soon(print, "ready")
    try:
        loop.run_forever()
    except Alarm:
        print("out of the loop", loop.is_running())
    print(loop.run_until_complete(asyncio.sleep(0, "usable")))
    loop.close()
    """
    with program.start(source, "-u") as child:
        wait_until_idle(child.pid)
        child.send_signal(signal.SIGALRM)
        assert finish(child) == ("out of the loop False\nusable\n", "", 0)


def test_a_timer_signal_keeps_arriving_and_disturbs_nothing(program: Program) -> None:
    source = """
    import signal

    ticks = []
    signal.signal(signal.SIGALRM, lambda *_: ticks.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)

    async def main():
        start = asyncio.get_running_loop().time()
        for _ in range(20):
            before = asyncio.get_running_loop().time()
            await asyncio.sleep(0.005)
            assert asyncio.get_running_loop().time() - before >= 0.005
        signal.setitimer(signal.ITIMER_REAL, 0)

    run(main())
    print(len(ticks) > 10)
    """
    child = program.run(source)
    assert (child.stdout, child.stderr) == ("True\n", "")


# --- the loop's handlers ----------------------------------------------------------------------


def test_a_handler_is_called_with_its_arguments_in_its_context(program: Program) -> None:
    source = """
    import contextvars, signal

    variable = contextvars.ContextVar("variable", default="default")
    loop = new_event_loop()

    def handler(*received):
        print(received, variable.get())
        loop.stop()

    token = variable.set("of the caller")
    assert loop.add_signal_handler(signal.SIGUSR1, handler, 1, "two") is None
    variable.reset(token)
    loop.call_soon(print, "ready")
    loop.run_forever()
    loop.close()
    """
    with program.start(source, "-u") as child:
        wait_until_idle(child.pid)
        child.send_signal(signal.SIGUSR1)
        assert finish(child) == ("(1, 'two') of the caller\n", "", 0)


def test_sigint_can_be_the_loops(program: Program) -> None:
    source = """
    import signal

    loop = new_event_loop()
    loop.add_signal_handler(signal.SIGINT, loop.stop)
    loop.call_soon(print, "ready")
    loop.run_forever()
    print("stopped, not interrupted")
    loop.close()
    """
    with program.start(source, "-u") as child:
        wait_until_idle(child.pid)
        child.send_signal(signal.SIGINT)
        assert finish(child) == ("stopped, not interrupted\n", "", 0)


def test_no_signal_is_lost_from_a_sender_that_waits_for_its_answer(program: Program) -> None:
    source = """
    import signal

    loop = new_event_loop()
    loop.add_signal_handler(signal.SIGUSR1, print, "seen")
    loop.add_signal_handler(signal.SIGTERM, loop.stop)
    loop.call_soon(print, "ready")
    loop.run_forever()
    loop.close()
    """
    with program.start(source, "-u") as child:
        assert child.stdout is not None
        for _ in range(200):
            child.send_signal(signal.SIGUSR1)
            assert child.stdout.readline() == "seen\n"
        child.send_signal(signal.SIGTERM)
        assert finish(child) == ("", "", 0)


def test_a_graceful_shutdown_by_sigterm(program: Program) -> None:
    source = """
    import signal

    async def main():
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
        print("ready")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.001)
            print("cleaned up")

    try:
        run(main())
    except asyncio.CancelledError:
        print("cancelled")
    """
    with program.start(source, "-u") as child:
        wait_until_idle(child.pid)
        child.send_signal(signal.SIGTERM)
        assert finish(child) == ("cleaned up\ncancelled\n", "", 0)


def test_threads_and_children_do_not_take_the_loops_signals(program: Program) -> None:
    """The kernel may deliver the signal to any thread; the handler runs on the loop's thread."""
    source = """
    import signal, threading

    loop = new_event_loop()
    stay = threading.Event()
    threading.Thread(target=stay.wait, daemon=True).start()

    def handler():
        print(threading.current_thread() is threading.main_thread())
        loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, handler)
    loop.call_soon(print, "ready")
    loop.run_forever()
    loop.close()
    """
    with program.start(source, "-u") as child:
        wait_until_idle(child.pid)
        child.send_signal(signal.SIGUSR1)
        assert finish(child) == ("True\n", "", 0)


# --- in this process --------------------------------------------------------------------------

CATCHABLE = (
    signal.SIGCHLD,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def ignore(*_: object) -> None:
    """Ignores a signal."""


@pytest.fixture
def harmless() -> Iterator[None]:
    """Ignores the signals of these tests, so that a missing handler only fails a test."""
    before = {number: signal.signal(number, ignore) for number in CATCHABLE}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run_until(loop: asyncio.AbstractEventLoop, condition: Callable[[], bool]) -> None:
    """Runs `loop` until `condition` holds, which is evaluated after each turn."""

    def look() -> None:
        if condition():
            loop.stop()
        else:
            loop.call_later(0.0005, look)

    loop.call_soon(look)
    loop.run_forever()


@pytest.mark.usefixtures("harmless")
def test_a_handler_is_in_force_when_add_returns(loop: asyncio.AbstractEventLoop) -> None:
    """A signal that arrives before the loop runs is kept."""
    ran: list[str] = []

    def add_another() -> None:
        loop.add_signal_handler(signal.SIGUSR2, ran.append, "USR2")
        os.kill(os.getpid(), signal.SIGUSR2)

    loop.add_signal_handler(signal.SIGUSR1, ran.append, "USR1")
    os.kill(os.getpid(), signal.SIGUSR1)
    assert ran == []
    run_until(loop, lambda: bool(ran))
    assert ran == ["USR1"]
    loop.call_soon(add_another)
    run_until(loop, lambda: len(ran) == 2)
    assert ran == ["USR1", "USR2"]


@pytest.mark.usefixtures("harmless")
def test_the_last_handler_added_is_the_one(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []
    loop.add_signal_handler(signal.SIGUSR1, ran.append, "first")
    loop.add_signal_handler(signal.SIGUSR1, ran.append, "second")
    loop.call_soon(signal.raise_signal, signal.SIGUSR1)
    run_until(loop, lambda: bool(ran))
    assert ran == ["second"]
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert loop.remove_signal_handler(signal.SIGUSR1) is False


@pytest.mark.usefixtures("harmless")
def test_each_signal_reaches_its_own_handler(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[int] = []
    for number in CATCHABLE:
        loop.add_signal_handler(number, ran.append, number)
    for _ in range(20):
        ran.clear()
        for number in CATCHABLE:
            signal.raise_signal(number)
        run_until(loop, lambda: set(ran) == set(CATCHABLE))


@pytest.mark.usefixtures("harmless")
def test_a_handler_that_raises_is_reported_and_stays(
    loop: asyncio.AbstractEventLoop, reported: list[dict[str, object]]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    loop.add_signal_handler(signal.SIGUSR1, fail)
    for _ in range(2):
        signal.raise_signal(signal.SIGUSR1)
        run_until(loop, lambda: bool(reported))
        assert [type(context["exception"]) for context in reported] == [ZeroDivisionError]
        reported.clear()


@pytest.mark.usefixtures("harmless")
def test_a_removed_handler_can_be_added_again(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[int] = []
    for number in range(5):
        loop.add_signal_handler(signal.SIGUSR1, ran.append, number)
        signal.raise_signal(signal.SIGUSR1)
        run_until(loop, lambda expected=number: expected in ran)  # type: ignore[misc]
        assert loop.remove_signal_handler(signal.SIGUSR1)
    assert ran == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("harmless")
def test_removing_a_handler_brings_the_default_back(loop: asyncio.AbstractEventLoop) -> None:
    for number, default in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGUSR1, signal.SIG_DFL),
    ):
        loop.add_signal_handler(number, print)
        assert signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler)
        assert loop.remove_signal_handler(number) is True
        assert signal.getsignal(number) is default


@pytest.mark.usefixtures("harmless")
def test_closing_a_loop_removes_its_handlers(loop: asyncio.AbstractEventLoop) -> None:
    loop.add_signal_handler(signal.SIGINT, print)
    loop.add_signal_handler(signal.SIGUSR1, print)
    run_one_turn(loop)
    loop.close()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert current_wakeup_fd() == -1


@pytest.mark.usefixtures("harmless")
def test_a_burst_that_fills_the_wake_up_pipe_still_reaches_the_handler(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    complaints: list[object] = []

    def complain(args: sys.UnraisableHookArgs) -> None:
        complaints.append(args.exc_type)

    # CPython warns about each byte that did not fit, and about nothing else.
    monkeypatch.setattr(sys, "unraisablehook", complain)
    loop.add_signal_handler(signal.SIGUSR1, ran.append, "ran")
    for _ in range(1000):
        signal.raise_signal(signal.SIGUSR1)
    run_until(loop, lambda: bool(ran))
    assert set(complaints) <= {BlockingIOError}


# --- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_signal_that_cannot_be_caught_is_refused(
    loop: asyncio.AbstractEventLoop, number: signal.Signals
) -> None:
    with pytest.raises(RuntimeError, match=r"^sig .* cannot be caught$"):
        loop.add_signal_handler(number, print)
    assert not loop.remove_signal_handler(number)


@pytest.mark.parametrize("number", [-1, 0, 65, 1000, 2**40])
def test_a_number_that_is_no_signal_is_a_value_error(
    loop: asyncio.AbstractEventLoop, number: int
) -> None:
    with pytest.raises(ValueError, match=f"^invalid signal number {number}$"):
        loop.add_signal_handler(number, print)
    with pytest.raises(ValueError, match=f"^invalid signal number {number}$"):
        loop.remove_signal_handler(number)


@pytest.mark.parametrize("number", ["SIGINT", None, 2.0])
def test_a_signal_must_be_a_number(loop: asyncio.AbstractEventLoop, number: object) -> None:
    with pytest.raises(TypeError, match=f"^sig must be an int, not {number!r}$"):
        loop.add_signal_handler(number, print)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=f"^sig must be an int, not {number!r}$"):
        loop.remove_signal_handler(number)  # type: ignore[arg-type]


def test_a_coroutine_is_no_handler(loop: asyncio.AbstractEventLoop) -> None:
    async def coroutine_function() -> None:
        """Is never run."""

    coroutine = coroutine_function()
    for thing in (coroutine_function, coroutine):
        with pytest.raises(TypeError, match=r"coroutines cannot be used with add_signal_handler"):
            loop.add_signal_handler(signal.SIGUSR1, thing)  # type: ignore[arg-type]
    coroutine.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_removing_what_was_never_added_is_false(loop: asyncio.AbstractEventLoop) -> None:
    assert loop.remove_signal_handler(signal.SIGUSR1) is False


def test_only_the_main_thread_can_add_handlers(loop: asyncio.AbstractEventLoop) -> None:
    errors: list[Exception] = []

    def elsewhere() -> None:
        try:
            loop.add_signal_handler(signal.SIGUSR1, print)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert "main thread" in str(errors[0])
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


# --- the wakeup fd ------------------------------------------------------------------------------


@contextlib.contextmanager
def wakeup_fd_of_ones_own() -> Generator[int, None, None]:
    """A wakeup fd set by the program before any loop ran."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        before = signal.set_wakeup_fd(ours.fileno())
        try:
            yield ours.fileno()
        finally:
            signal.set_wakeup_fd(before)


def current_wakeup_fd() -> int:
    """Returns the current wakeup fd."""
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    return descriptor


def test_the_wake_up_descriptor_is_put_back_after_a_run(loop: asyncio.AbstractEventLoop) -> None:
    def leave() -> None:
        raise KeyboardInterrupt

    with wakeup_fd_of_ones_own() as descriptor:
        run_one_turn(loop)
        assert current_wakeup_fd() == descriptor
        loop.call_soon(leave)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert current_wakeup_fd() == descriptor
        loop.close()
        assert current_wakeup_fd() == descriptor


def test_a_loop_in_another_thread_leaves_the_wake_up_descriptor_alone(
    loop: asyncio.AbstractEventLoop,
) -> None:
    with wakeup_fd_of_ones_own() as descriptor:
        seen: list[int] = []
        running, go_on = threading.Event(), threading.Event()

        async def main() -> None:
            running.set()
            await asyncio.to_thread(go_on.wait)

        thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
        thread.start()
        running.wait()
        seen.append(current_wakeup_fd())
        go_on.set()
        thread.join()
        seen.append(current_wakeup_fd())
    assert seen == [descriptor, descriptor]


def test_signals_are_left_as_they_were_found() -> None:
    """Checks this file itself: the tests that run in this process must clean up."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert current_wakeup_fd() == -1
