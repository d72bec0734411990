"""Signals: Ctrl-C in an idle loop, and `add_signal_handler`."""

from __future__ import annotations

import _socket
import contextlib
import errno
import inspect
import os
import signal
import threading
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType
    from typing import Any

    from typing_extensions import TypeVarTuple, Unpack

    from yamanote._parts import Base
    from yamanote._yamanote import Handle

    _Ts = TypeVarTuple("_Ts")
else:
    Base = object


class Signals(Base):
    """Signals wake the loop while it runs on the main thread.

    The kernel may deliver a signal while the thread waits in the reactor. Python's C handler writes
    a byte to the wakeup fd, which ends the wait; the next turn runs the Python-level handlers
    first.

    The process has one wakeup fd, and the program may have set its own. The loop replaces it only
    while it waits, when no Python code can see the difference, and, as asyncio does, from
    `add_signal_handler()` on. Bytes that the program's fd has missed are forwarded to it.
    """

    _signal_handlers: dict[int, Handle] | None = None
    _signal_pair: tuple[_socket.socket, _socket.socket] | None = None
    _signal_pair_is_inherited = False
    _wakeup_fd_before: int | None = None

    def __init__(self) -> None:
        """Create the socket pair now: a process without free descriptors must be able to run."""
        super().__init__()
        self._make_signal_pair()

    def __del__(self, _warn: Any = warnings.warn) -> None:  # noqa: ANN401 - as asyncio's.
        """As asyncio's, but only of a loop that could be made."""
        if self._signal_pair is not None:
            super().__del__(_warn)  # type: ignore[call-arg] # Typeshed hides it.

    def _make_signal_pair(self) -> None:
        # `socket.socketpair()` loses a descriptor if there is no memory half-way.
        self._signal_pair = receiver, sender = _socket.socketpair()
        receiver.setblocking(False)
        sender.setblocking(False)
        self._add_reader(receiver.fileno(), self._read_signals)

    def add_signal_handler(
        self, sig: int, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts
    ) -> None:
        """Call `callback(*args)` in the loop whenever the signal arrives; effective on return.

        Raises:
            TypeError: `callback` is a coroutine or coroutine function, or `sig` is not an integer.
            ValueError: `sig` is not a valid signal number.
            RuntimeError: the signal cannot be caught, or this is not the main thread.
        """
        if inspect.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        _check_signal(sig)
        self._check_closed()
        try:
            self._attach_wakeup_fd()
        except (ValueError, OSError) as error:
            raise RuntimeError(str(error)) from error
        if self._signal_handlers is None:
            self._signal_handlers = {}
        self._signal_handlers[sig] = self._make_handle(callback, *args)
        try:
            signal.signal(sig, _leave_it_to_the_loop)
            signal.siginterrupt(sig, False)
        except OSError as error:
            del self._signal_handlers[sig]
            self._detach_wakeup_fd_if_idle()
            if error.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from error
            raise

    def remove_signal_handler(self, sig: int) -> bool:
        """Restore the signal's default handler; return whether the loop had a handler for it.

        Raises:
            TypeError: `sig` is not an integer.
            ValueError: `sig` is not a valid signal number.
            RuntimeError: the signal cannot be caught.
        """
        _check_signal(sig)
        if not self._signal_handlers or sig not in self._signal_handlers:
            return False
        del self._signal_handlers[sig]
        default = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        try:
            signal.signal(sig, default)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from error
            raise
        self._detach_wakeup_fd_if_idle()
        return True

    @contextlib.contextmanager
    def _signal_lent(
        self, sig: int, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts
    ) -> Generator[None, None, None]:
        """Call `callback(*args)` when the signal arrives, and afterwards what was called before.

        Raises:
            As `add_signal_handler()`.
        """
        displaced = (self._signal_handlers or {}).get(sig)
        handler = signal.getsignal(sig)
        self.add_signal_handler(sig, callback, *args)
        ours = (self._signal_handlers or {}).get(sig)
        try:
            yield
        finally:
            handlers = self._signal_handlers or {}
            # The program may have set another one in the meantime, which stays.
            if ours is not None and handlers.get(sig) is ours:
                if displaced is not None:
                    handlers[sig] = displaced
                else:
                    del handlers[sig]
                    # In C, a handler that Python does not know may have been set.
                    signal.signal(sig, signal.SIG_DFL if handler is None else handler)
                    self._detach_wakeup_fd_if_idle()

    @contextlib.contextmanager
    def _signals_attached(self) -> Generator[None, None, None]:
        """Let signals wake the loop while it runs, if this is the main thread."""
        before = self._attach_signals()
        if before is None:
            yield
            return
        try:
            yield
        finally:
            self._hear_signals(before)
            try:
                self._read_signals()
            except OSError as error:
                # Reported, as if a callback had read: the result of the run must not be lost.
                message = "The signals of a run could not be read"
                self.call_exception_handler({"message": message, "exception": error})

    def _attach_signals(self) -> int | None:
        """Let signals wake the loop, if this is the main thread.

        Returns:
            The descriptor used before (to be restored with `_hear_signals()`), or `None` on
            another thread.
        """
        if threading.current_thread() is not threading.main_thread():
            return None
        return self._hear_signals(self._own_wakeup_fd())

    def _forget_signals(self) -> None:
        """In a forked child: stop its signals from waking the parent, which shares the pair."""
        self._signal_pair_is_inherited = True
        before, self._wakeup_fd_before = self._wakeup_fd_before, None
        if self._signal_pair is None:
            return
        current = signal.set_wakeup_fd(-1)
        if current == self._signal_pair[1].fileno():
            # Another thread forked while the loop was waiting or had signal handlers.
            displaced = self._displaced_wakeup_fd() if before is None else before
            current = -1 if displaced is None else displaced
        _put_back(current)

    def _own_wakeup_fd(self) -> int:
        """Return the end of the pair that signals are written to; -1 once the loop is closed."""
        if self._signal_pair is not None and self._signal_pair_is_inherited:
            self._close_signal_pair()
            self._make_signal_pair()
            self._signal_pair_is_inherited = False
        return -1 if self._signal_pair is None else self._signal_pair[1].fileno()

    def _attach_wakeup_fd(self) -> None:
        """Install the loop's wakeup fd until the last signal handler is removed."""
        own = self._own_wakeup_fd()
        before = signal.set_wakeup_fd(own, warn_on_full_buffer=False)
        if before != own:
            self._wakeup_fd_before = before

    def _detach_wakeup_fd_if_idle(self) -> None:
        """Restore the fd set before the first handler, unless the program has set another."""
        before = self._wakeup_fd_before
        if self._signal_handlers or before is None or self._signal_pair is None:
            return
        self._wakeup_fd_before = None
        current = signal.set_wakeup_fd(-1)
        _put_back(before if current == self._signal_pair[1].fileno() else current)

    def _read_signals(self) -> None:
        if self._signal_pair is None:
            return
        try:
            numbers = self._signal_pair[0].recv(4096)
        except (BlockingIOError, InterruptedError):
            return
        self._pass_on(numbers)
        for number in numbers:
            handle = (self._signal_handlers or {}).get(number)
            if handle is None:
                continue  # A handler set with `signal.signal()`; it has already run.
            if handle.cancelled():
                self.remove_signal_handler(number)
            else:
                self._add_callback(handle)

    def _pass_on(self, numbers: bytes) -> None:
        """Forward signal numbers to the program's wakeup fd, which the loop's has replaced."""
        displaced = self._displaced_wakeup_fd()
        if self._signal_pair is None:
            return
        if displaced is None or displaced == self._signal_pair[1].fileno():
            displaced = self._wakeup_fd_before
        if displaced is not None and displaced >= 0:
            # Ignored: the fd is full or closed; Python's C handler would have failed as well.
            with contextlib.suppress(OSError):
                os.write(displaced, numbers)

    def _close_signals(self) -> None:
        for number in list(self._signal_handlers or ()):
            self.remove_signal_handler(number)
        self._detach_wakeup_fd_if_idle()
        self._close_signal_pair()

    def _close_signal_pair(self) -> None:
        if self._signal_pair is not None:
            receiver, sender = self._signal_pair
            self._signal_pair = None
            # The collector may have closed it first, if it ends the loop as well.
            if (number := receiver.fileno()) >= 0:
                self._remove_reader(number)
            for end in (receiver, sender):
                # Ignored: the program may have closed all descriptors, these included.
                with contextlib.suppress(OSError):
                    end.close()


def _check_signal(sig: object) -> None:
    if not isinstance(sig, int):
        raise TypeError(f"sig must be an int, not {sig!r}")
    if sig not in signal.valid_signals():
        raise ValueError(f"invalid signal number {sig}")


def _put_back(fd: int) -> None:
    """Make `fd` the wakeup fd again, unless its owner has closed it in the meantime."""
    if fd >= 0:
        with contextlib.suppress(ValueError, OSError):
            signal.set_wakeup_fd(fd)


def _leave_it_to_the_loop(_signum: int, _frame: FrameType | None) -> None:
    """Do nothing: Python's C handler writes to the wakeup fd only if a Python handler is set."""
