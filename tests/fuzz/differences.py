"""Allowed differences between the loops, with reasons: each entry is a decision, not a bug."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.fuzz.run import PENDING


@dataclass(frozen=True)
class Difference:
    """Steps that may end in two ways."""

    #: A regular expression for the step.
    step: str
    #: Regular expressions for its ends on asyncio and on yamanote.
    theirs: str
    ours: str
    why: str

    def allows(self, step: str, theirs: str, ours: str) -> bool:
        """Returns whether this entry covers the step."""
        return (
            re.search(self.step, step) is not None
            and re.fullmatch(self.theirs, theirs) is not None
            and re.fullmatch(self.ours, ours) is not None
        )


#: Any call of a loop on a socket.
_SOCK = r"loop\.sock_\w+"

#: A connection from a port that a datagram endpoint has, or had.
_BOUND = r"loop\.create_connection\(.*local_addr=\w+\.address"

DIFFERENCES = (
    Difference(
        _SOCK,
        f"{PENDING}|a value|None",
        f"{PENDING}|a value|None",
        "If several calls wait for one socket, asyncio completes only the last; yamanote all. "
        "docs/compatibility.md",
    ),
    Difference(
        r"\.sendto\(",
        "AttributeError",
        "None",
        "asyncio fails on its own None after connection_lost. docs/compatibility.md",
    ),
    Difference(
        r"\.(writing|reading|client|peer|child)\.",
        "AttributeError",
        "None|True|False|a value",
        "asyncio's transports fail on their own None after connection_lost.",
    ),
    Difference(
        r"\.writelines\(",
        "TypeError|RuntimeError|None",
        "TypeError|RuntimeError|None",
        "After write_eof(), versions of asyncio check the data or the end first, or neither.",
    ),
    Difference(
        r"\.(when\(\)|_when$)",
        "True|False",
        "a value",
        "A bool as a deadline: asyncio keeps the object, yamanote the number.",
    ),
    Difference(
        r"loop\.sock_\w+\(.*(trap\(|Opened\()",
        ".*",
        ".*",
        "For a non-socket, asyncio first calls fileno(), yamanote looks up the method to call.",
    ),
    Difference(
        r"loop\.(sock_)?sendfile\(.*(10\*\*400|2\*\*6[34])",
        "OverflowError",
        "a value",
        "For a huge count asyncio raises OverflowError, yamanote sends the whole file.",
    ),
    Difference(
        r"\.throw\(StopIteration",
        "StopIteration",
        "RuntimeError",
        "Newer interpreters pass it through a coroutine that has not started; yamanote applies "
        "PEP 479.",
    ),
    Difference(
        r"\.(close|abort)\(\)",
        "RuntimeError",
        "None",
        "On a closed loop, asyncio's transports fail to schedule connection_lost.",
    ),
    Difference(
        r"\.child\.",
        "None|a value|ProcessLookupError",
        "None|a value|ProcessLookupError",
        "A child that was signalled exits when it gets CPU time.",
    ),
    Difference(
        _BOUND,
        "OSError",
        ".*",
        "The port is a datagram endpoint's: its TCP namesake may be another process's by then.",
    ),
    Difference(
        _BOUND,
        ".*",
        "OSError",
        "The same, when the port is taken in the run on yamanote.",
    ),
    Difference(
        r"loop\.create_server\(.*sock=",
        "a value",
        "FileExistsError",
        "One socket for two servers: on asyncio the second replaces the first, ours is refused. "
        "docs/compatibility.md",
    ),
    Difference(
        r"loop\.start_tls\(",
        "TypeError|ssl.SSLError|ValueError|RuntimeError|AttributeError",
        "TypeError|ssl.SSLError|ValueError|RuntimeError|AttributeError",
        "If several arguments are wrong, the loops report different ones.",
    ),
    Difference(
        r"loop\.(create_|getaddrinfo|getnameinfo|sock_connect)|wait\(loop\.get",
        "RuntimeError",
        ".*",
        "yamanote's look-ups do not need the default executor, which may be shut down. "
        "docs/compatibility.md",
    ),
    Difference(
        r"\._scheduled$",
        "True|False",
        "True|False",
        "White box: asyncio's handles tell whether they are in the heap; ours are not in one.",
    ),
    Difference(
        r"loop\.get_debug\(\)",
        "a value|None",
        "True|False",
        "asyncio returns the argument of set_debug(), yamanote its truth value.",
    ),
    Difference(
        r"loop\.sock_sendall\(.*trap\('__len__'",
        "ZeroDivisionError",
        "None",
        "asyncio calls len() after the bytes were sent; yamanote uses the buffer's size. "
        "docs/compatibility.md",
    ),
    Difference(
        r"\.get_extra_info\('socket'\)\.",
        ".*",
        ".*",
        "yamanote creates the socket object on first use; after the end it is closed and knows no "
        "family. docs/compatibility.md",
    ),
    Difference(
        r"call_(at|later)\(.*10\*\*400",
        "a value",
        "OverflowError",
        "asyncio accepts a deadline beyond the range of float, and its loop then fails.",
    ),
)


def is_allowed(step: str, theirs: str, ours: str) -> bool:
    """Returns whether an entry of the table allows the difference."""
    return any(difference.allows(step, theirs, ours) for difference in DIFFERENCES)
