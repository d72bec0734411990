"""Signals: Ctrl-C in an idle loop, and `add_signal_handler`."""

from __future__ import annotations

import contextlib
import errno
import inspect
import signal
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType

    from typing_extensions import TypeVarTuple, Unpack

    from yamanote._parts import Base
    from yamanote._yamanote import Handle

    _Ts = TypeVarTuple("_Ts")
else:
    Base = object


class Signals(Base):
    """While the loop runs on the main thread, a signal wakes it.

    The kernel may deliver a signal while the thread waits in the reactor. Python's C handler writes
    a byte into the wakeup fd; the turn that this starts runs the Python-level handlers first.
    """

    _signal_handlers: dict[int, Handle] | None = None
    _signal_pair: tuple[socket.socket, socket.socket] | None = None
    _signal_pair_is_inherited = False
    _wakeup_fd_before: int | None = None

    def __init__(self) -> None:
        """Make the pair with the loop: one that is out of descriptors must still be able to run."""
        super().__init__()
        self._make_signal_pair()

    def _make_signal_pair(self) -> None:
        self._signal_pair = receiver, sender = socket.socketpair()
        receiver.setblocking(False)
        sender.setblocking(False)
        self._add_reader(receiver.fileno(), self._read_signals)

    def add_signal_handler(
        self, sig: int, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts
    ) -> None:
        """Call `callback(*args)` in the loop whenever the signal arrives; in force on return.

        Raises:
            TypeError: `callback` is a coroutine function, or `sig` no integer.
            ValueError: there is no such signal.
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
        """Give the signal its default handler back; whether there was one of ours.

        Raises:
            TypeError: `sig` is no integer.
            ValueError: there is no such signal.
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
    def _signals_attached(self) -> Generator[None, None, None]:
        """Have signals wake the loop while it runs, where they are this thread's."""
        if not self._attach_signals():
            yield
            return
        try:
            yield
        finally:
            if not self._signal_handlers:
                self._detach_wakeup_fd()

    def _attach_signals(self) -> bool:
        """Have signals wake the loop, unless another thread is the one that they come to."""
        if threading.current_thread() is not threading.main_thread():
            return False
        self._attach_wakeup_fd()
        return True

    def _forget_signals(self) -> None:
        """In a forked child: its signals must not wake the parent, who has the same pair."""
        self._signal_pair_is_inherited = True
        if self._wakeup_fd_before is None or self._signal_pair is None:
            return
        self._wakeup_fd_before = None
        current = signal.set_wakeup_fd(-1)
        if current not in (-1, self._signal_pair[1].fileno()):
            signal.set_wakeup_fd(current)

    def _attach_wakeup_fd(self) -> None:
        if self._signal_pair is None:
            return  # The loop is closed.
        if self._signal_pair_is_inherited:
            self._close_signal_pair()
            self._make_signal_pair()
            self._signal_pair_is_inherited = False
        before = signal.set_wakeup_fd(self._signal_pair[1].fileno(), warn_on_full_buffer=False)
        if self._wakeup_fd_before is None:
            self._wakeup_fd_before = before

    def _detach_wakeup_fd(self) -> None:
        """Put back what was there before."""
        if self._wakeup_fd_before is not None:
            before, self._wakeup_fd_before = self._wakeup_fd_before, None
            try:
                signal.set_wakeup_fd(before)
            except (ValueError, OSError):
                # Its owner has closed it in the meantime.
                signal.set_wakeup_fd(-1)

    def _detach_wakeup_fd_if_idle(self) -> None:
        if not self._signal_handlers and not self.is_running():
            self._detach_wakeup_fd()

    def _read_signals(self) -> None:
        if self._signal_pair is None:
            return
        try:
            numbers = self._signal_pair[0].recv(4096)
        except (BlockingIOError, InterruptedError):
            return
        for number in numbers:
            handle = (self._signal_handlers or {}).get(number)
            if handle is None:
                continue  # A handler of `signal.signal`, which has run by now.
            if handle.cancelled():
                self.remove_signal_handler(number)
            else:
                self._add_callback(handle)

    def _close_signals(self) -> None:
        for number in list(self._signal_handlers or ()):
            self.remove_signal_handler(number)
        self._detach_wakeup_fd_if_idle()
        self._close_signal_pair()

    def _close_signal_pair(self) -> None:
        if self._signal_pair is not None:
            receiver, sender = self._signal_pair
            self._signal_pair = None
            self._remove_reader(receiver.fileno())
            for end in (receiver, sender):
                # Ignored: a program that closes all descriptors has closed these, too.
                with contextlib.suppress(OSError):
                    end.close()


def _check_signal(sig: object) -> None:
    if not isinstance(sig, int):
        raise TypeError(f"sig must be an int, not {sig!r}")
    if sig not in signal.valid_signals():
        raise ValueError(f"invalid signal number {sig}")


def _leave_it_to_the_loop(_signum: int, _frame: FrameType | None) -> None:
    """A Python-level handler must be there for the C-level one to write to the wakeup fd."""
