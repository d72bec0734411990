"""Child processes: `subprocess` starts them, and the reactor waits for their exit."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
import warnings
from asyncio import base_subprocess
from asyncio.log import logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from typing import IO, Any, TypeAlias

    from yamanote._parts import Base

    _Arguments: TypeAlias = str | bytes | Sequence[str | bytes]
    _File: TypeAlias = int | IO[Any] | None
else:
    Base = object


#: Made once: a child must be reaped without memory, too.
_WHATEVER_CLOSE_SAYS = contextlib.suppress(OSError)


class Children(Base):
    """`subprocess_exec` and `subprocess_shell`, on any thread, without child watcher or SIGCHLD.

    The kernel provides a descriptor for each child that becomes readable when the child exits.
    """

    # Keyed by exit descriptor. The reference keeps a transport alive as long as its child.
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
        # The child may inherit a descriptor that this callback has written to.
        self._send_written()
        waiter = self.create_future()
        child = SubprocessTransport(
            self, protocol, args, shell, stdin, stdout, stderr, bufsize, waiter, extra, **kwargs
        )
        try:
            self._watch_child(child)
        except BaseException:
            child.abandon()
            raise
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            child.close()
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
            # Already reaped: by other code, or by the kernel because SIGCHLD is ignored.
            self._reap_child(child)
        except (AttributeError, OSError):
            # The kernel is too old, the call is forbidden, or no descriptor is left.
            self._start_waiting(child)
        else:
            try:
                if self._children is None:
                    self._children = {}
                self._children[descriptor] = child
                self._add_reader(descriptor, self._child_ended, descriptor)
            except BaseException as error:
                self._forget_child(descriptor)
                if not isinstance(error, OSError):
                    raise
                self._start_waiting(child)

    def _child_ended(self, descriptor: int) -> None:
        assert self._children is not None
        child = self._children[descriptor]
        self._forget_child(descriptor)
        self._reap_child(child)

    def _reap_child(self, child: SubprocessTransport) -> None:
        self.call_soon(child.report_exit, child.reap())

    def _forget_child(self, descriptor: int) -> None:
        try:
            self._remove_reader(descriptor)
        finally:
            if self._children is not None:
                self._children.pop(descriptor, None)
            # The number is free after any error but EBADF, and the child must be reaped anyhow.
            with _WHATEVER_CLOSE_SAYS:
                os.close(descriptor)

    def _start_waiting(self, child: SubprocessTransport) -> None:
        name = f"yamanote-waitpid-{child.get_pid()}"
        threading.Thread(None, self._wait_for_child, name, (child,), daemon=True).start()

    def _wait_for_child(self, child: SubprocessTransport) -> None:
        """Wait for the child on this thread; the loop then reaps it, unless it is closed."""
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, child.get_pid() or 0, os.WEXITED | os.WNOWAIT)
        try:
            self.call_soon_threadsafe(self._reap_child, child)
        except RuntimeError:
            child.reap()
            logger.warning("Loop %r that handles pid %r is closed", self, child.get_pid())

    def _close_children(self) -> None:
        """Stop watching the children; they keep running, and their exits go unreported."""
        for descriptor in list(self._children or ()):
            self._forget_child(descriptor)

    def _leave_children(self) -> None:
        """In a forked child: leave the children to the parent.

        A pidfd is inherited. A kqueue is not: its number is free here, and may soon be reused.
        """
        if sys.platform == "darwin" and self._children:
            for descriptor in self._children:
                self._remove_reader(descriptor)
            # Keep the references: a transport kills its child when it is finalized.
            self._children_of_parent = list(self._children.values())
            self._children = None


def _exit_descriptor(pid: int) -> int:
    """Return a descriptor that becomes readable when the child exits.

    Raises:
        ProcessLookupError: the child is already reaped; on macOS, also if it has exited.
        OSError: no descriptor can be created.
    """
    if sys.platform == "darwin":
        queue = select.kqueue()
        try:
            end = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
            queue.control([end], 0)
            # A duplicate that is closed with `os.close()`, like a pidfd.
            return os.dup(queue.fileno())
        finally:
            queue.close()
    return os.pidfd_open(pid)


class SubprocessTransport(base_subprocess.BaseSubprocessTransport):
    """asyncio's transport for a child process, with starting and reaping replaced."""

    _reaped = False
    _exit_waiter: asyncio.Future[None] | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """As asyncio's, but a child that is of no use to the caller does not go on."""
        try:
            super().__init__(*arguments, **options)
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Kill and reap the child: there was no memory to watch it."""
        process = self._proc if "_pipes" in vars(self) else None
        if process is not None:
            self.close()
            # One that may not be killed is left to `subprocess`, which reaps it some time.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
                self._reaped = True

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
        # Blocks until the program is executed or exec() has failed. `subprocess` uses vfork where
        # the arguments allow it, so the time does not depend on the size of this process.
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

    def __del__(self, _warn: Any = warnings.warn) -> None:  # noqa: ANN401 - as asyncio's.
        """Close it, unless it could not even be made."""
        if "_pipes" in vars(self):
            super().__del__(_warn)  # type: ignore[call-arg] # Typeshed hides it.

    def reap(self) -> int:
        """Wait for the child; return its exit code, or the negative number of a fatal signal."""
        pid = self.get_pid()
        assert pid is not None
        try:
            _, status = os.waitpid(pid, 0)
        except ChildProcessError:
            self._reaped = True
            process = self._proc
            if process is not None and process.returncode is not None:
                return process.returncode  # `close()` has already reaped the child.
            logger.warning(
                "child process pid %d exit status already read:  will report returncode 255", pid
            )
            return 255
        self._reaped = True
        return os.waitstatus_to_exitcode(status)

    async def exited(self) -> None:
        """Wait for the exit of the child, not for its pipes: a grandchild may keep those open."""
        if self._returncode is None:
            self._exit_waiter = self._loop.create_future()
            await self._exit_waiter

    def report_exit(self, returncode: int) -> None:
        """Report the exit to the protocol, and complete `exited()`."""
        try:
            self._process_exited(returncode)
        finally:
            # Also if the protocol has no `process_exited`.
            if self._exit_waiter is not None and not self._exit_waiter.done():
                self._exit_waiter.set_result(None)

    async def _connect_pipes(self, waiter: asyncio.Future[None] | None) -> None:
        process = self._proc
        assert process is not None
        files = process.stdin, process.stdout, process.stderr
        await super()._connect_pipes(waiter)
        if self._closed:
            # Closed meanwhile, or on a failure: asyncio leaves connected pipes open, and before
            # 3.14 also unconnected ones.
            for number, file in enumerate(files):
                pipe: Any = self._pipes.get(number)
                if pipe is not None:
                    pipe.pipe.close()
                elif file is not None:
                    file.close()

    def send_signal(self, signal: int) -> None:
        """Send a signal, unless the child is reaped: its pid may have been reused."""
        self._check_proc()
        if not self._reaped:
            super().send_signal(signal)
