"""The calls of the C library that loops make, and the errors with which a system may answer them.

Not here is what no kernel does, such as `EBADF` for an open descriptor. `EAGAIN` and a short read
are followed by an event, as a kernel reports the bytes that came or left a moment later. A short
write is not: a kernel without memory for the rest has room all the time.
"""

from __future__ import annotations

import errno

#: Not an error: the call moves one byte, or one datagram.
FEWER = -1

_TABLES_FULL = (errno.EMFILE, errno.ENFILE)
_NO_MEMORY = (errno.ENOBUFS, errno.ENOMEM)
_MISSING = (errno.EPERM, errno.ENOSYS)
_RECEIVING = (
    errno.EAGAIN,
    errno.EINTR,
    errno.ECONNRESET,
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.ENOMEM,
    errno.EIO,
)
_SENDING = (
    errno.EAGAIN,
    errno.EINTR,
    errno.EPIPE,
    errno.ECONNRESET,
    errno.EHOSTUNREACH,
    errno.EPERM,
    errno.EIO,
    *_NO_MEMORY,
)
_ACCEPTING = (
    errno.EINTR,
    errno.ECONNABORTED,
    errno.EPERM,
    errno.EPROTO,
    errno.ENETDOWN,
    *_TABLES_FULL,
    *_NO_MEMORY,
)
_EVENTS = (*_TABLES_FULL, errno.ENOMEM, errno.ENODEV, *_MISSING)

#: The errors of each call.
ERRORS: dict[str, tuple[int, ...]] = {
    "recv": (*_RECEIVING, FEWER),
    "recvmsg": _RECEIVING,
    "recvfrom": (*_RECEIVING[1:], errno.ECONNREFUSED),
    "recvmmsg": (*_RECEIVING, errno.ECONNREFUSED, *_MISSING, FEWER),
    "send": (*_SENDING, FEWER),
    "sendmsg": (*_SENDING, FEWER),
    "sendto": _SENDING[1:],
    "sendmmsg": (*_SENDING, errno.ENOSYS, FEWER),
    "read": (errno.EINTR, errno.EIO, errno.ECONNRESET, FEWER),
    "readv": (errno.EINTR, errno.EIO, errno.ECONNRESET, FEWER),
    "write": (errno.EINTR, errno.EIO, errno.EPIPE, errno.ENOSPC, FEWER),
    "writev": (errno.EINTR, errno.EIO, errno.EPIPE, *_NO_MEMORY, FEWER),
    "sendfile": (errno.EINTR, errno.EINVAL, errno.EIO, errno.ENOSYS, errno.EPIPE, FEWER),
    "sendfile64": (errno.EINTR, errno.EINVAL, errno.EIO, errno.ENOSYS, errno.EPIPE, FEWER),
    "accept": _ACCEPTING,
    "accept4": (*_ACCEPTING, errno.ENOSYS),
    "connect": (
        errno.ECONNREFUSED,
        errno.ETIMEDOUT,
        errno.ENETUNREACH,
        errno.EADDRNOTAVAIL,
        errno.EACCES,
        errno.EPERM,
        errno.ENOMEM,
    ),
    "socket": (errno.EACCES, errno.EAFNOSUPPORT, *_TABLES_FULL, *_NO_MEMORY),
    "socketpair": (*_TABLES_FULL, *_NO_MEMORY),
    "bind": (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES),
    "listen": (errno.EADDRINUSE, errno.EACCES),
    "shutdown": (errno.ENOTCONN, errno.ENOBUFS),
    "getsockname": (errno.ENOBUFS,),
    "getpeername": (errno.ENOBUFS, errno.ENOTCONN),
    "getsockopt": (errno.ENOPROTOOPT, errno.ENOBUFS),
    "setsockopt": (errno.ENOPROTOOPT, errno.EINVAL, errno.EPERM, errno.ENOBUFS),
    "close": (errno.EINTR, errno.EIO),
    "dup": (errno.EMFILE,),
    "pipe2": _TABLES_FULL,
    "poll": (errno.EINTR, errno.ENOMEM),
    "epoll_create1": (*_TABLES_FULL, errno.ENOMEM),
    "epoll_ctl": (errno.ENOMEM, errno.ENOSPC, errno.EPERM),
    "epoll_wait": (errno.EINTR,),
    "epoll_pwait": (errno.EINTR,),
    "epoll_pwait2": (errno.EINTR, *_MISSING),
    "eventfd": _EVENTS,
    "timerfd_create": _EVENTS,
    "timerfd_settime": _MISSING,
    "pidfd_open": _EVENTS,
    "fork": (errno.EAGAIN, errno.ENOMEM),
    "waitpid": (errno.EINTR, errno.ECHILD),
    "wait4": (errno.EINTR, errno.ECHILD),
    "waitid": (errno.EINTR, errno.ECHILD),
    "fcntl": (errno.EINTR, errno.EMFILE, errno.ENOMEM),
    "fcntl64": (errno.EINTR, errno.EMFILE, errno.ENOMEM),
    "ioctl": (errno.EINTR, errno.ENOMEM),
    "open": (errno.EINTR, errno.EACCES, errno.EIO, *_TABLES_FULL),
    "pthread_create": (errno.EAGAIN, errno.EPERM),
    # EAI_AGAIN, EAI_FAIL, EAI_MEMORY, without their signs.
    "getaddrinfo": (3, 4, 10),
}

#: Errors that last: all calls fail from one on, until the trouble is over.
LASTING = frozenset({FEWER, *_TABLES_FULL, *_NO_MEMORY, *_MISSING, errno.ENODEV, errno.EACCES})


def name(call: str, error: int) -> str:
    """Returns the error's name."""
    if error == FEWER:
        return "FEWER"
    return str(-error) if call == "getaddrinfo" else errno.errorcode[error]


def number(call: str, error: str) -> int:
    """Returns the error with this name."""
    if error == "FEWER":
        return FEWER
    return -int(error) if call == "getaddrinfo" else int(getattr(errno, error))
