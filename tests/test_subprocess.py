"""Child processes: every argument, every kind of exit, many at once. All of them are real."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest

import yamanote
from tests.forks import in_child
from tests.processes import LINUX, children
from tests.turns import run_one_turn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.loops import LoopFactory
    from tests.programs import Program

MIB = 1 << 20
needs_proc = pytest.mark.skipif(not LINUX, reason="looks into /proc")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change its user")


def python(source: str) -> tuple[str, ...]:
    """Returns the command for a child that runs a few lines of Python."""
    return sys.executable, "-S", "-c", textwrap.dedent(source)


async def output_of(*command: str, **arguments: Any) -> str:
    """Returns the output of a child, which must exit with 0."""
    child = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **arguments
    )
    output, _ = await child.communicate()
    assert child.returncode == 0, output
    return output.decode()


def wait_for_the_end(pid: int) -> None:
    """Blocks the loop until the child has exited, without reaping it."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def reap(pid: int) -> None:
    """Reaps the child, as other code of the program might."""
    os.waitpid(pid, 0)


def transport_of(child: asyncio.subprocess.Process) -> Any:  # noqa: ANN401
    return getattr(child, "_transport")  # noqa: B009 - neither type checker knows it.


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - there is no event to wait for.
        await asyncio.sleep(0.001)


class Recorder(asyncio.SubprocessProtocol):
    """Records the calls that it gets, in order."""

    def __init__(self) -> None:
        """Start without calls."""
        self.told: list[str | tuple[int | str, Exception | None]] = []
        self.data = {1: b"", 2: b""}
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Record the call."""
        self.told.append("made")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Store the data."""
        self.data[fd] += data

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Record the descriptor and the exception."""
        self.told.append((fd, exc))

    def process_exited(self) -> None:
        """Record the call."""
        self.told.append("exited")

    def connection_lost(self, exc: Exception | None) -> None:
        """Record the call, and notify the waiter."""
        self.told.append(("lost", exc))
        self.lost.set_result(None)


# --- ways to exit ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_the_exit_code_is_the_childs(loop: asyncio.AbstractEventLoop, code: int) -> None:
    async def main() -> int:
        child = await asyncio.create_subprocess_shell(f"exit {code}")
        result = await child.wait()
        assert child.returncode == result
        return result

    assert loop.run_until_complete(main()) == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
def test_a_child_that_a_signal_ends_has_its_negative_number(
    loop: asyncio.AbstractEventLoop, number: signal.Signals
) -> None:
    async def main() -> int:
        child = await asyncio.create_subprocess_exec("sleep", "60")
        child.send_signal(number)
        return await child.wait()

    assert loop.run_until_complete(main()) == -number


def test_terminate_and_kill_end_a_child(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> list[int]:
        children = [await asyncio.create_subprocess_exec("sleep", "60") for _ in range(2)]
        children[0].terminate()
        children[1].kill()
        return [await child.wait() for child in children]

    assert loop.run_until_complete(main()) == [-signal.SIGTERM, -signal.SIGKILL]


def test_a_child_that_has_ended_cannot_be_signalled(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        child = await asyncio.create_subprocess_exec("true")
        await child.wait()
        await asyncio.sleep(0)
        for signal_it in (child.kill, child.terminate, lambda: child.send_signal(signal.SIGHUP)):
            with pytest.raises(ProcessLookupError):
                signal_it()

    loop.run_until_complete(main())


def test_a_child_that_ends_before_the_loop_looks_is_not_lost(
    loop: asyncio.AbstractEventLoop, loop_name: str
) -> None:
    if loop_name == "asyncio" and sys.version_info < (3, 12):
        pytest.skip("a thread waits for each child, and may be faster")

    async def main() -> int:
        child = await asyncio.create_subprocess_exec("sleep", "60")
        child.terminate()
        wait_for_the_end(child.pid)
        return await child.wait()

    assert loop.run_until_complete(main()) == -signal.SIGTERM


def test_an_error_of_close_keeps_no_child_from_being_reaped(
    loop: asyncio.AbstractEventLoop, loop_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a signal interrupts `close()`, after which the descriptor is closed all the same."""
    if loop_name == "asyncio":
        pytest.skip("asyncio's watcher waits for ever")
    close = os.close
    interrupted: list[int] = []

    def interrupt(descriptor: int) -> None:
        close(descriptor)
        if descriptor in (loop_of_ours._children_before or {}):
            interrupted.append(descriptor)
            raise InterruptedError

    loop_of_ours: Any = loop

    async def main() -> None:
        child = await asyncio.create_subprocess_exec(*python("input()"), stdin=subprocess.PIPE)
        loop_of_ours._children_before = dict(loop_of_ours._children or {})
        monkeypatch.setattr(os, "close", interrupt)
        await asyncio.wait_for(child.communicate(b"\n"), 30)
        assert child.returncode == 0

    loop.run_until_complete(main())
    assert len(interrupted) == len(loop_of_ours._children_before)


def test_every_wait_returns_the_exit_code_also_afterwards(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> list[int]:
        child = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE)
        assert child.stdin is not None
        waits = [asyncio.ensure_future(child.wait()) for _ in range(3)]
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(child.wait(), 0.001)
        child.stdin.close()
        return [*await asyncio.gather(*waits), await child.wait()]

    assert loop.run_until_complete(main()) == [0, 0, 0, 0]


def test_a_child_that_other_code_reaps_ends_with_255_and_a_warning(
    loop: asyncio.AbstractEventLoop, loop_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    if loop_name == "asyncio" and sys.version_info < (3, 12):
        pytest.skip("a thread waits for each child, and may be faster")

    async def main() -> int:
        child = await asyncio.create_subprocess_exec("sleep", "60")
        child.kill()
        reap(child.pid)
        return await child.wait()

    assert loop.run_until_complete(main()) == 255
    assert "exit status already read" in caplog.text


# --- calls of the protocol ------------------------------------------------------------------------


def test_the_protocol_hears_of_pipes_exit_and_end_in_order(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> Recorder:
        command = python("import sys; print('out'); print('err', file=sys.stderr)")
        transport, protocol = await loop.subprocess_exec(Recorder, *command)
        assert protocol.told == [] or protocol.told[0] == "made"
        assert transport.get_pid() == transport.get_extra_info("subprocess").pid
        assert transport.get_pipe_transport(3) is None
        await protocol.lost
        assert transport.get_returncode() == 0
        transport.close()
        return protocol

    protocol = loop.run_until_complete(main())
    assert protocol.data == {1: b"out\n", 2: b"err\n"}
    assert protocol.told[0] == "made"
    assert protocol.told[-1] == ("lost", None)
    assert protocol.told.count("exited") == 1
    assert {told[0] for told in protocol.told if isinstance(told, tuple)} == {0, 1, 2, "lost"}


def test_exit_is_told_while_another_process_holds_the_pipe(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        transport, protocol = await loop.subprocess_shell(Recorder, "sleep 60 & echo $!; exit 4")
        await until(lambda: "exited" in protocol.told and protocol.data[1].endswith(b"\n"))
        assert transport.get_returncode() == 4
        assert not protocol.lost.done()
        os.kill(int(protocol.data[1]), signal.SIGKILL)
        await protocol.lost
        transport.close()

    loop.run_until_complete(main())


def test_pipe_transports_are_those_of_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol = await loop.subprocess_exec(Recorder, "cat")
        stdin = transport.get_pipe_transport(0)
        assert isinstance(stdin, asyncio.WriteTransport)
        assert isinstance(transport.get_pipe_transport(1), asyncio.ReadTransport)
        assert not transport.is_closing()
        stdin.write(b"through")
        stdin.write_eof()
        await protocol.lost
        assert protocol.data[1] == b"through"
        transport.close()
        assert transport.is_closing()

    loop.run_until_complete(main())


# --- arguments ------------------------------------------------------------------------------------


def test_a_missing_program_is_named_in_the_error(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError) as caught:
            await asyncio.create_subprocess_exec("/no/such/program")
        assert caught.value.filename == "/no/such/program"

    loop.run_until_complete(main())


def test_a_missing_directory_is_named_in_the_error(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError) as caught:
            await asyncio.create_subprocess_exec("true", cwd="/no/such/directory")
        assert caught.value.filename == "/no/such/directory"

    loop.run_until_complete(main())


def test_a_file_that_may_not_be_executed_is_refused(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("")

    async def main() -> None:
        with pytest.raises(PermissionError):
            await asyncio.create_subprocess_exec(str(file))

    loop.run_until_complete(main())


def test_directory_environment_and_executable_are_the_given_ones(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    async def main() -> str:
        command = "another-name", "-c", "echo $PWD $A", "zero"
        return await output_of(*command, executable="/bin/sh", cwd=tmp_path, env={"A": "1"})

    assert loop.run_until_complete(main()) == f"{tmp_path.resolve()} 1\n"


def test_a_shell_runs_a_command_line(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> bytes:
        child = await asyncio.create_subprocess_shell(
            "echo $A | tr a b", stdout=subprocess.PIPE, env={**os.environ, "A": "aha"}
        )
        return (await child.communicate())[0]

    assert loop.run_until_complete(main()) == b"bhb\n"


def test_session_and_process_group_are_the_given_ones(loop: asyncio.AbstractEventLoop) -> None:
    source = "import os; print(os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid())"

    async def main() -> list[str]:
        return [
            await output_of(*python(source), start_new_session=True),
            await output_of(*python(source), process_group=0),
        ]

    assert loop.run_until_complete(main()) == ["True True\n", "False True\n"]


def test_umask_and_preexec_fn_hold_in_the_child_only(loop: asyncio.AbstractEventLoop) -> None:
    source = "import os; print(oct(os.umask(0)), os.getpriority(os.PRIO_PROCESS, 0))"

    async def main() -> str:
        return await output_of(*python(source), umask=0o123, preexec_fn=lambda: os.nice(3))

    nice = os.getpriority(os.PRIO_PROCESS, 0)
    assert loop.run_until_complete(main()) == f"0o123 {min(nice + 3, 19)}\n"
    assert os.getpriority(os.PRIO_PROCESS, 0) == nice


def test_an_error_in_preexec_fn_is_raised(loop: asyncio.AbstractEventLoop) -> None:
    def fail() -> None:
        raise ValueError

    async def main() -> None:
        with pytest.raises(subprocess.SubprocessError, match="preexec_fn"):
            await asyncio.create_subprocess_exec("true", preexec_fn=fail)

    loop.run_until_complete(main())


@needs_root
def test_user_and_groups_are_the_given_ones(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> str:
        return await output_of("id", "-u", user=12345, group=23456, extra_groups=[])

    assert loop.run_until_complete(main()) == "12345\n"

    async def groups() -> str:
        return await output_of("id", "-G", user=12345, group=23456, extra_groups=[34567])

    assert loop.run_until_complete(groups()) == "23456 34567\n"


@needs_proc
def test_a_child_inherits_only_the_descriptors_it_is_passed(
    loop: asyncio.AbstractEventLoop,
) -> None:
    source = "import os; print(sorted(int(fd) for fd in os.listdir('/proc/self/fd')))"
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)

    async def main() -> list[list[int]]:
        return [
            eval(await output_of(*python(source))),
            eval(await output_of(*python(source), pass_fds=[reader])),
            eval(await output_of(*python(source), close_fds=False)),
        ]

    nothing, passed, inheritable = loop.run_until_complete(main())
    os.close(reader)
    os.close(writer)
    # One descriptor is used for the listing itself.
    assert len(nothing) == 4
    assert reader in passed
    assert len(passed) == 5
    assert writer in inheritable


def test_stdio_are_pipes_and_may_be_files_or_each_other(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    source = """
    import os, stat, sys
    print(*(stat.S_ISFIFO(os.fstat(fd).st_mode) for fd in range(3)))
    print("error", file=sys.stderr)
    """

    async def main() -> None:
        pipe = subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            *python(source), stdin=pipe, stdout=pipe, stderr=pipe
        )
        assert await child.communicate(b"") == (b"True True True\n", b"error\n")
        with (tmp_path / "out").open("wb") as file:
            child = await asyncio.create_subprocess_exec(
                *python(source), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.DEVNULL
            )
            assert await child.wait() == 0
        assert (tmp_path / "out").read_text() == "False False False\n"

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"universal_newlines": True}, "universal_newlines must be False"),
        ({"shell": True}, "shell must be False"),
        ({"bufsize": 1}, "bufsize must be 0"),
        ({"text": True}, "text must be False"),
        ({"encoding": "utf-8"}, "encoding must be None"),
        ({"errors": "strict"}, "errors must be None"),
    ],
)
def test_text_mode_is_refused(
    loop: asyncio.AbstractEventLoop, arguments: dict[str, Any], message: str
) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match=message):
            await asyncio.create_subprocess_exec("true", **arguments)

    loop.run_until_complete(main())


# --- bytes ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.hang_after(120)
def test_communicate_carries_a_hundred_mebibytes_both_ways(
    loop: asyncio.AbstractEventLoop,
) -> None:
    block = os.urandom(MIB)

    async def main() -> None:
        child = await asyncio.create_subprocess_exec(
            "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        output, _ = await child.communicate(block * 100)
        assert len(output) == 100 * MIB
        for start in range(0, len(output), MIB):
            assert output[start : start + MIB] == block

    loop.run_until_complete(main())


def test_writing_to_a_child_that_reads_nothing_waits(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        child = await asyncio.create_subprocess_exec("sleep", "60", stdin=subprocess.PIPE)
        assert child.stdin is not None
        child.stdin.write(bytes(MIB))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(child.stdin.drain(), 0.02)
        child.kill()
        await child.wait()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await child.stdin.drain()

    loop.run_until_complete(main())


def test_communicate_ignores_a_child_that_closes_its_input(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> bytes:
        child = await asyncio.create_subprocess_exec(
            "echo", "done", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return (await child.communicate(bytes(4 * MIB)))[0]

    assert loop.run_until_complete(main()) == b"done\n"


# --- many, and from any thread --------------------------------------------------------------------


def descriptors() -> set[str]:
    return {fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")}


@needs_proc
@pytest.mark.slow
@pytest.mark.hang_after(120)
def test_two_hundred_children_at_once_leave_nothing_behind(
    loop: asyncio.AbstractEventLoop, loop_name: str
) -> None:
    async def one(number: int) -> None:
        child = await asyncio.create_subprocess_exec(
            "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(number)
        if len(started) == 200:
            threads.append(set(threading.enumerate()))
        await until(lambda: len(started) == 200)
        output, _ = await child.communicate(b"%d" % number)
        assert (output, child.returncode) == (b"%d" % number, 0)

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(200)))

    started: list[int] = []
    # Before 3.12, asyncio has a thread per child, and one of an earlier test may still exist.
    threads = [set(threading.enumerate())]
    before = descriptors(), children()
    loop.run_until_complete(main())
    run_one_turn(loop)
    assert (descriptors(), children()) == before
    if loop_name == "yamanote":
        assert threads[1] - threads[0] == set()


def test_a_loop_in_any_thread_runs_children(loop_factory: LoopFactory) -> None:
    """Several loops at once, none in the main thread: no child watcher or SIGCHLD is needed."""

    async def main(number: int) -> None:
        for _ in range(5):
            child = await asyncio.create_subprocess_shell(
                f"cat; exit {number}", stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert (await child.communicate(b"data"))[0] == b"data"
            assert child.returncode == number

    def run(number: int) -> None:
        loop = loop_factory()
        loop.run_until_complete(main(number))
        loop.close()
        finished.append(number)

    finished: list[int] = []
    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(finished) == [0, 1, 2, 3]


def test_no_signal_handler_is_installed(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        child = await asyncio.create_subprocess_exec("true")
        assert signal.getsignal(signal.SIGCHLD) is before
        await child.wait()

    before = signal.getsignal(signal.SIGCHLD)
    loop.run_until_complete(main())


def test_a_handler_of_sigchld_hears_of_the_children(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        heard = asyncio.Event()
        loop.add_signal_handler(signal.SIGCHLD, heard.set)
        child = await asyncio.create_subprocess_exec("true")
        await asyncio.gather(child.wait(), heard.wait())
        loop.remove_signal_handler(signal.SIGCHLD)

    loop.run_until_complete(main())


# --- without a descriptor for the child -----------------------------------------------------------


@pytest.mark.skipif(not LINUX, reason="takes the pidfd away")
@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOSYS, None])
def test_a_thread_waits_where_the_kernel_gives_no_descriptor(
    monkeypatch: pytest.MonkeyPatch, reason: int | None
) -> None:
    def refuse(pid: int, flags: int = 0) -> int:
        assert reason is not None
        raise OSError(reason, os.strerror(reason))

    async def main() -> int:
        child = await asyncio.create_subprocess_shell("exit 5")
        return await child.wait()

    if reason is None:
        monkeypatch.delattr(os, "pidfd_open")
    else:
        monkeypatch.setattr(os, "pidfd_open", refuse)
    assert yamanote.run(main()) == 5


def test_a_child_that_the_kernel_reaps_itself_is_not_waited_for(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture, loop_name: str
) -> None:
    if loop_name == "asyncio":
        pytest.skip("raises ProcessLookupError if the child exits first")

    async def main() -> int:
        child = await asyncio.create_subprocess_shell("exit 3")
        return await child.wait()

    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert loop.run_until_complete(main()) == 255
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert "exit status already read" in caplog.text


# --- endings before the child's exit --------------------------------------------------------------


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8])
def test_cancelling_the_start_leaves_no_child_and_no_descriptor(
    loop: asyncio.AbstractEventLoop, steps: int
) -> None:
    async def start() -> None:
        pipe = subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            "sleep", "60", stdin=pipe, stdout=pipe, stderr=pipe
        )
        child.kill()
        await child.communicate()

    async def main() -> None:
        task = asyncio.ensure_future(start())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await until(lambda: children() == before[1])
        for _ in range(5):
            await asyncio.sleep(0)

    before = descriptors(), children()
    loop.run_until_complete(main())
    gc.collect()
    assert (descriptors(), children()) == before


@needs_proc
def test_cancelling_the_start_does_not_wait_for_a_grandchild(tmp_path: Path) -> None:
    """The grandchild also holds the pipe. Before 3.14, asyncio waits until it is closed there."""
    file = tmp_path / "grandchild"

    async def main() -> int:
        loop = asyncio.get_running_loop()
        connect, cancelled = loop.connect_read_pipe, asyncio.Event()

        async def connect_later(*arguments: Any) -> Any:  # noqa: ANN401
            await cancelled.wait()
            return await connect(*arguments)

        setattr(loop, "connect_read_pipe", connect_later)  # noqa: B010 - a method is replaced.
        command = f"sleep 60 & echo $! > {file}.new; mv {file}.new {file}; wait"
        start = asyncio.create_subprocess_shell(command, stdout=subprocess.PIPE)
        task = asyncio.ensure_future(start)
        await until(file.exists)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        cancelled.set()
        return int(file.read_text())

    before = descriptors()
    grandchild = yamanote.run(main())
    assert descriptors() == before
    os.kill(grandchild, signal.SIGKILL)


def test_close_kills_a_running_child(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> int | None:
        transport, protocol = await loop.subprocess_exec(Recorder, "sleep", "60")
        transport.close()
        transport.close()
        await protocol.lost
        return transport.get_returncode()

    assert loop.run_until_complete(main()) == -signal.SIGKILL


def test_close_after_the_exit_reports_the_real_exit_code(loop_name: str) -> None:
    if loop_name == "asyncio":
        pytest.skip("reports 255: close() and the watcher both reap the child")

    async def main() -> int | None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(Recorder, "sleep", "60")
        transport.terminate()
        wait_for_the_end(transport.get_pid() or 0)
        transport.close()
        await protocol.lost
        return transport.get_returncode()

    assert yamanote.run(main()) == -signal.SIGTERM


def test_a_forgotten_transport_warns_and_kills(program: Program) -> None:
    """The loop is closed, so nothing refers to the transport any more."""
    if program.module == "asyncio" and sys.version_info < (3, 12):
        pytest.skip("the thread that waits for the child keeps the transport alive")
    source = """
    import gc, os, signal, warnings
    warnings.simplefilter("always")

    async def main():
        transport, _ = await loop.subprocess_exec(
            asyncio.SubprocessProtocol, "sleep", "60", stdin=None, stdout=None, stderr=None
        )
        return transport.get_pid()

    loop = new_event_loop()
    pid = loop.run_until_complete(main())
    loop.close()
    del loop
    gc.collect()
    try:
        print(os.waitpid(pid, 0)[1] == signal.SIGKILL)
    except ChildProcessError:
        print(True)  # Popen's finalizer has already reaped it.
    """
    done = program.run(source)
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
    assert "unclosed transport" in done.stderr


@needs_proc
def test_closing_the_loop_while_children_live_frees_its_descriptors(
    loop_factory: LoopFactory, loop_name: str
) -> None:
    if loop_name == "asyncio":
        pytest.skip("keeps the pidfd open")

    async def main() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec("sleep", "60")

    before = descriptors()
    loop = loop_factory()
    child = loop.run_until_complete(main())
    loop.close()
    assert descriptors() == before
    child.kill()
    transport = transport_of(child)
    assert transport.get_extra_info("subprocess").wait() == -signal.SIGKILL
    transport.close()


def test_a_forked_child_does_not_end_its_parents_children(loop_name: str) -> None:
    if loop_name == "asyncio":
        pytest.skip("the child shares the parent's epoll set")

    async def main() -> int:
        child = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE)

        def work() -> str:
            transport_of(child).close()
            gc.collect()
            return "closed"

        assert in_child(work) == "'closed'"
        assert child.stdin is not None
        assert child.returncode is None
        child.stdin.close()
        return await child.wait()

    assert yamanote.run(main()) == 0


@needs_proc
@pytest.mark.parametrize("refused", ["task", "watch"])
def test_a_child_that_cannot_be_watched_is_ended(
    refused: str, loop_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if loop_name == "asyncio":
        pytest.skip("the child goes on, and nothing reaps it")

    def refuse(_: object, what: Any, *_arguments: object, **_options: object) -> None:  # noqa: ANN401
        if asyncio.iscoroutine(what):
            what.close()  # No task will run it.
        raise MemoryError

    async def main() -> None:
        loop = asyncio.get_running_loop()
        name = {"task": "create_task", "watch": "_add_reader"}[refused]
        gc.collect()  # What an earlier test has left.
        before = children(), descriptors()
        monkeypatch.setattr(type(loop), name, refuse)
        with pytest.raises(MemoryError):
            await asyncio.create_subprocess_exec("sleep", "1000")
        monkeypatch.undo()
        await asyncio.sleep(0)
        gc.collect()
        assert (children(), descriptors()) == before

    yamanote.run(main())


@needs_proc
def test_an_interrupted_start_ends_the_child(loop_name: str) -> None:
    if loop_name == "asyncio":
        pytest.skip("the child goes on, with no transport to end it")

    async def main() -> None:
        gc.collect()  # What an earlier test has left.
        before = children(), descriptors()
        starting = asyncio.create_subprocess_exec("sleep", "1000")
        starting.send(None)
        with pytest.raises(KeyboardInterrupt):
            starting.throw(KeyboardInterrupt())
        while (children(), descriptors()) != before:  # noqa: ASYNC110 - the exit calls nothing here.
            await asyncio.sleep(0)

    yamanote.run(main())
