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

DIFFERENCES = (
    Difference(
        _SOCK,
        f"{PENDING}|a value|None",
        f"{PENDING}|a value|None",
        "Of several calls that wait on one socket asyncio serves the last; we serve all. "
        "docs/compatibility.md",
    ),
    Difference(
        r"\.sendto\(",
        "AttributeError",
        "None",
        "asyncio trips over its own None after connection_lost. docs/compatibility.md",
    ),
    Difference(
        r"\.(writing|reading|client|peer|child)\.",
        "AttributeError",
        "None|True|False|a value",
        "asyncio's transports trip over their own None after connection_lost.",
    ),
    Difference(
        r"\.writelines\(",
        "TypeError|RuntimeError|None",
        "TypeError|RuntimeError|None",
        "After write_eof() asyncio's versions look at the data first, at the end, or at neither.",
    ),
    Difference(
        r"\.(when\(\)|_when$)",
        "True|False",
        "a value",
        "A bool for a deadline: asyncio keeps the object, we keep the number.",
    ),
    Difference(
        r"loop\.sock_\w+\(.*(trap\(|Opened\()",
        ".*",
        ".*",
        "asyncio asks what is no socket for its number first, we for the method that is called.",
    ),
    Difference(
        r"loop\.(sock_)?sendfile\(.*(10\*\*400|2\*\*6[34])",
        "OverflowError",
        "a value",
        "A count that no file has: asyncio overflows on it, we send what there is.",
    ),
    Difference(
        r"\.throw\(StopIteration",
        "StopIteration",
        "RuntimeError",
        "Newer interpreters let it out of a coroutine that has not begun; we keep to PEP 479.",
    ),
    Difference(
        r"\.(close|abort)\(\)",
        "RuntimeError",
        "None",
        "Once the loop is closed, asyncio's transports cannot say that they close.",
    ),
    Difference(
        r"\.child\.",
        "None|a value|ProcessLookupError",
        "None|a value|ProcessLookupError",
        "A child that was told to end does so when it gets the processor.",
    ),
    Difference(
        r"loop\.create_server\(.*sock=",
        "a value",
        "FileExistsError",
        "One socket for two servers: asyncio's second takes it from the first, ours is refused. "
        "docs/compatibility.md",
    ),
    Difference(
        r"loop\.start_tls\(",
        "TypeError|ssl.SSLError|ValueError|RuntimeError|AttributeError",
        "TypeError|ssl.SSLError|ValueError|RuntimeError|AttributeError",
        "Of several things that are wrong with the arguments, the loops see another one first.",
    ),
    Difference(
        r"loop\.(create_|getaddrinfo|getnameinfo|sock_connect)|wait\(loop\.get",
        "RuntimeError",
        ".*",
        "Look-ups of names do not need the default executor, which may have been shut down. "
        "docs/compatibility.md",
    ),
    Difference(
        r"\._scheduled$",
        "True|False",
        "True|False",
        "White box: a handle of asyncio's says whether it is in the heap, which ours are not in.",
    ),
    Difference(
        r"loop\.get_debug\(\)",
        "a value|None",
        "True|False",
        "asyncio returns the object that set_debug() was given; ours whether it is true.",
    ),
    Difference(
        r"loop\.sock_sendall\(.*trap\('__len__'",
        "ZeroDivisionError",
        "None",
        "asyncio asks the bytes for their length after they were sent; the buffer has told ours. "
        "docs/compatibility.md",
    ),
    Difference(
        r"\.get_extra_info\('socket'\)\.",
        ".*",
        ".*",
        "The socket is made when it is asked for: first asked for after the end, there is none. "
        "docs/compatibility.md",
    ),
    Difference(
        r"call_(at|later)\(.*10\*\*400",
        "a value",
        "OverflowError",
        "asyncio takes a deadline that no float can hold, and its loop ends when it subtracts.",
    ),
)


def is_allowed(step: str, theirs: str, ours: str) -> bool:
    """Returns whether an entry of the table allows the difference."""
    return any(difference.allows(step, theirs, ours) for difference in DIFFERENCES)
