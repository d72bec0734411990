"""Name look-ups."""

from __future__ import annotations

from tests.fuzz.calls.call import calls

CALLS = (
    *calls(
        "wait(loop.getaddrinfo({host}, {freeport}[, family={number}][, type={number}]"
        "[, proto={number}][, flags={number}]))",
        "wait(loop.getaddrinfo({host}))",
        "wait(loop.getnameinfo({address}, 3))",
        "wait(loop.getnameinfo({address}, {number}))",
        "loop.getaddrinfo({host}, {freeport}, {any}={any})",
        waits=True,
    ),
)
