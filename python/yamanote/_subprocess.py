"""Children: started by `subprocess`, and waited for on the reactor."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
from asyncio import base_subprocess
from asyncio.log import logger
from typing import IO, TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from yamanote._parts import Base

    _Arguments: TypeAlias = str | bytes | Sequence[str | bytes]
    _File: TypeAlias = int | IO[Any] | None
else:
    Base = object


class Children(Base):
    """`subprocess_exec` and `subprocess_shell`, on any thread, without a watcher or a signal.

    The kernel gives a descriptor for each child, which can be read once the child has ended.
    """

    # By the descriptor that tells of the end; a transport lives as long as its child.
    _children: dict[int, SubprocessTransport] | None = None
    _children_of_parent: list[SubprocessTransport] | None = None

    async def _make_subprocess_transport(
        self,
        protocol: asyncio.SubprocessProtocol,
        args: _Arguments,
        shell: bool,
        stdin: _File,
        stdout: _File,
        stderr: _File,
        bufsize: int,
        extra: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> SubprocessTransport:
        # The child may be given a descriptor that this callback has written to.
        self._send_written()
        waiter = self.create_future()
        child = SubprocessTransport(
            self, protocol, args, shell, stdin, stdout, stderr, bufsize, waiter, extra, **kwargs
        )
        self._watch_child(child)
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            child.close()
            await child.exited()
            raise
        return child

    def _watch_child(self, child: SubprocessTransport) -> None:
        pid = child.get_pid()
        assert pid is not None
        try:
            descriptor = _exit_descriptor(pid)
        except ProcessLookupError:
            # Somebody has reaped it already, or the kernel has, because SIGCHLD is ignored.
            self._reap_child(child)
        except (AttributeError, OSError):
            # Too old a kernel, forbidden, or no descriptor is left.
            self._start_waiting(child)
        else:
            if self._children is None:
                self._children = {}
            self._children[descriptor] = child
            try:
                self._add_reader(descriptor, self._child_ended, descriptor)
            except OSError:
                self._forget_child(descriptor)
                self._start_waiting(child)

    def _child_ended(self, descriptor: int) -> None:
        self._reap_child(self._forget_child(descriptor))

    def _reap_child(self, child: SubprocessTransport) -> None:
        self.call_soon(child.report_exit, child.reap())

    def _forget_child(self, descriptor: int) -> SubprocessTransport:
        assert self._children is not None
        self._remove_reader(descriptor)
        os.close(descriptor)
        return self._children.pop(descriptor)

    def _start_waiting(self, child: SubprocessTransport) -> None:
        name = f"yamanote-waitpid-{child.get_pid()}"
        threading.Thread(None, self._wait_for_child, name, (child,), daemon=True).start()

    def _wait_for_child(self, child: SubprocessTransport) -> None:
        """Block a thread of its own until the child ends. The loop reaps it, while there is one."""
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, child.get_pid() or 0, os.WEXITED | os.WNOWAIT)
        try:
            self.call_soon_threadsafe(self._reap_child, child)
        except RuntimeError:
            child.reap()
            logger.warning("Loop %r that handles pid %r is closed", self, child.get_pid())

    def _close_children(self) -> None:
        """Nobody will be told of their ends any more; they live on."""
        for descriptor in list(self._children or ()):
            self._forget_child(descriptor)

    def _leave_children(self) -> None:
        """In a forked child: they are its parent's.

        A pidfd is inherited. A kqueue is not: its number is nobody's here, or soon a stranger's.
        """
        if sys.platform == "darwin" and self._children:
            for descriptor in self._children:
                self._remove_reader(descriptor)
            # Kept: a transport that is let go of would end its child.
            self._children_of_parent = list(self._children.values())
            self._children = None


def _exit_descriptor(pid: int) -> int:
    """A descriptor that can be read once the child has ended.

    Raises:
        ProcessLookupError: it is reaped already; on macOS, also when it has only ended.
        OSError: there is none to be had.
    """
    if sys.platform == "darwin":
        queue = select.kqueue()
        try:
            end = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
            queue.control([end], 0)
            # A number of its own, to be closed like a pidfd.
            return os.dup(queue.fileno())
        finally:
            queue.close()
    return os.pidfd_open(pid)


class SubprocessTransport(base_subprocess.BaseSubprocessTransport):
    """asyncio's own transport for a child: how it is started, and how its end is learned."""

    _reaped = False
    _exit_waiter: asyncio.Future[None] | None = None

    def _start(
        self,
        args: _Arguments,
        shell: bool,
        stdin: _File,
        stdout: _File,
        stderr: _File,
        bufsize: int,
        **kwargs: Any,
    ) -> None:
        # Returns when the kernel has executed the program, or refused to: `subprocess` uses vfork
        # where the arguments allow it, so the size of this process does not matter.
        self._proc = subprocess.Popen(
            args,
            shell=shell,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            universal_newlines=False,
            bufsize=bufsize,
            **kwargs,
        )

    def reap(self) -> int:
        """Wait for the end of the child; its exit code, or the negative number of a signal."""
        pid = self.get_pid()
        assert pid is not None
        try:
            _, status = os.waitpid(pid, 0)
        except ChildProcessError:
            self._reaped = True
            process = self._proc
            if process is not None and process.returncode is not None:
                return process.returncode  # `close()` was faster.
            logger.warning(
                "child process pid %d exit status already read:  will report returncode 255", pid
            )
            return 255
        self._reaped = True
        return os.waitstatus_to_exitcode(status)

    async def exited(self) -> None:
        """Wait for the end of the child alone: a child of its own may hold the pipes for long."""
        if self._returncode is None:
            self._exit_waiter = self._loop.create_future()
            await self._exit_waiter

    def report_exit(self, returncode: int) -> None:
        """Tell the protocol, and who waits."""
        try:
            self._process_exited(returncode)
        finally:
            # Also where the protocol has no `process_exited`.
            if self._exit_waiter is not None and not self._exit_waiter.done():
                self._exit_waiter.set_result(None)

    async def _connect_pipes(self, waiter: asyncio.Future[None] | None) -> None:
        process = self._proc
        assert process is not None
        files = process.stdin, process.stdout, process.stderr
        await super()._connect_pipes(waiter)
        if self._closed:
            # Meanwhile, or because it failed: asyncio leaves open what it had connected, and
            # before 3.14 what it had not.
            for number, file in enumerate(files):
                pipe: Any = self._pipes.get(number)
                if pipe is not None:
                    pipe.pipe.close()
                elif file is not None:
                    file.close()

    def send_signal(self, signal: int) -> None:
        """Send a signal, unless the child has ended: its number may be another's by now."""
        self._check_proc()
        if not self._reaped:
            super().send_signal(signal)
