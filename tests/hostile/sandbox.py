"""A kernel sandbox (seccomp), for the top of a child's source."""

from __future__ import annotations

import platform
import sys

#: By machine: numbers of system calls that sandboxes deny and that asyncio does not need.
NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "timerfd_create": 283,
        "accept4": 288,
        "eventfd2": 290,
        "recvmmsg": 299,
        "sendmmsg": 307,
        "pidfd_open": 434,
        "epoll_pwait2": 441,
    },
    "aarch64": {
        "eventfd2": 19,
        "timerfd_create": 85,
        "accept4": 242,
        "recvmmsg": 243,
        "sendmmsg": 269,
        "pidfd_open": 434,
        "epoll_pwait2": 441,
    },
}

AVAILABLE = sys.platform == "linux" and platform.machine() in NUMBERS

#: `deny(error)` then makes all of them fail, except those named after it, in the process and its
#: children.
CONTROL = f"""
import ctypes, errno, platform, struct

def deny(error, *allowed):
    calls = {NUMBERS!r}[platform.machine()]
    numbers = [number for name, number in calls.items() if name not in allowed]
    instruction = struct.Struct("HBBI").pack
    steps = [instruction(0x20, 0, 0, 0)]  # Load the number of the call.
    for left, number in enumerate(reversed(numbers)):
        steps.insert(1, instruction(0x15, left + 1, 0, number))  # If it is this one: to the end.
    steps.append(instruction(0x06, 0, 0, 0x7FFF0000))  # Allow.
    steps.append(instruction(0x06, 0, 0, 0x00050000 | error))  # Fail.
    program = ctypes.create_string_buffer(b"".join(steps))
    header = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    header = ctypes.create_string_buffer(header)
    assert libc.prctl(38, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS"
    if libc.prctl(22, 2, ctypes.addressof(header), 0, 0) != 0:
        print("no seccomp:", errno.errorcode[ctypes.get_errno()])
        raise SystemExit(0)
"""
