"""CPython's tests that do not count, each with its reason.

`WHITE_BOX` tests are still run, and one that passes is an error, so that the list stays true.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass


@dataclass(frozen=True)
class WhiteBox:
    """Tests that use internals of asyncio's own loops, so that no other loop can pass them.

    Attributes:
        reason: the internals that they use.
        tests: patterns for `module.Class.test`.
    """

    reason: str
    tests: tuple[str, ...]

    def matches(self, name: str) -> bool:
        """Returns whether `name` is one of these."""
        return any(fnmatch.fnmatch(name, pattern) for pattern in self.tests)


WHITE_BOX = (
    WhiteBox(
        "creates a transport over a mock without a descriptor",
        ("test_sslproto.SslProtoHandshakeTests.test_connection_lost_when_busy",),
    ),
    WhiteBox(
        "appends to the private write backlog of asyncio's TLS transport",
        ("test_ssl.TestSSL.test_remote_shutdown_receives_trailing_data*",),
    ),
    WhiteBox(
        "counts the calls of the selector loop's _run_once()",
        ("test_events.*.test_timeout_rounding",),
    ),
    WhiteBox(
        "calls the private _sock_sendfile_native_impl() and reads the loop's _selector",
        tuple(
            f"test_unix_events.SelectorEventLoopUnixSockSendfileTests.test_sock_sendfile_{name}"
            for name in (
                "blocking_error",
                "cancel1",
                "cancel2",
                "exception",
                "os_error_first_call",
                "os_error_next_call",
            )
        ),
    ),
    WhiteBox(
        "removes os.sendfile from asyncio.unix_events",
        (
            "test_unix_events.SelectorEventLoopUnixSockSendfileTests"
            ".test_sock_sendfile_not_available",
        ),
    ),
    WhiteBox(
        "expects the use of asyncio's child watcher, which our loop does not need",
        ("test_subprocess.GenericWatcherTests.test_create_subprocess_fails_with_inactive_watcher",),
    ),
    WhiteBox(
        "inspects the child watcher of asyncio's own loop (3.14)",
        (
            "test_subprocess.*.test_watcher_implementation",
            "test_subprocess.*.test_pid_not_reaped_before_exit_published",
        ),
    ),
    WhiteBox(
        "mocks asyncio.unix_events.signal, or calls the private methods behind it",
        tuple(
            f"test_unix_events.SelectorEventLoopSignalTests.{name}"
            for name in (
                "test_add_signal_handler_install_error",
                "test_add_signal_handler_install_error2",
                "test_add_signal_handler_install_error3",
                "test_add_signal_handler_setup_error",
                "test_check_signal",
                "test_close",
                "test_close_on_finalizing",
                "test_handle_signal_cancelled_handler",
                "test_handle_signal_no_handler",
                "test_remove_signal_handler",
                "test_remove_signal_handler_2",
                "test_remove_signal_handler_error",
                "test_remove_signal_handler_error2",
            )
        ),
    ),
)


def white_box(name: str) -> str | None:
    """Returns why this test cannot pass, or `None`."""
    return next((entry.reason for entry in WHITE_BOX if entry.matches(name)), None)
