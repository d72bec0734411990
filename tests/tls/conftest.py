"""Which of these tests an interpreter's own TLS allows to compare."""

from __future__ import annotations

import sys

# Python 3.10 has an older `asyncio.sslproto`, which our loop runs as it is: it times no shutdown,
# resets where later ones close, and so on. What all share is in `test_handshake` and in CPython's
# own tests.
collect_ignore = (
    [
        "test_closing.py",
        "test_direct.py",
        "test_hostile.py",
        "test_openssl.py",
        "test_records.py",
        "test_variants.py",
    ]
    if sys.version_info < (3, 11)
    else []
)
