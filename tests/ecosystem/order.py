"""Tests that rely on asyncio's order of tasks that are ready at the same time, and how.

`--seeds` has shown for each, unless a comment says otherwise, that in asyncio's order it fails as
soon as two steps change places, both of which were ready.
"""

from __future__ import annotations

from typing import Final

_IN_TURN: Final = "tasks must begin in the order in which they were made"
_COUNTS: Final = (
    "the test waits with a counted number of sleep(0) for a task that another task makes, which"
    " must begin before the test goes on"
)

AIOHTTP: Final = {
    "tests/test_connector.py::test_close_cancels_resolve_host[pyloop]": _COUNTS,
    "tests/test_connector.py::test_error_on_connection[pyloop]": _IN_TURN,
    "tests/test_connector.py::test_error_on_connection_with_cancelled_waiter[pyloop]": _IN_TURN,
    "tests/test_connector.py::test_tcp_connector_dns_throttle_requests[pyloop]": _COUNTS,
    "tests/test_connector.py::"
    "test_tcp_connector_dns_throttle_requests_cancelled_when_close[pyloop]": _COUNTS,
    "tests/test_connector.py::"
    "test_tcp_connector_dns_throttle_requests_exception_spread[pyloop]": _COUNTS,
    "tests/test_connector.py::test_tcp_connector_dns_tracing_throttle_requests[pyloop]": _COUNTS,
    "tests/test_websocket_writer.py::test_send_compress_multiple_cancelled[zlib]": _IN_TURN,
}

_TICKETS: Final = (
    "the server's last step of the handshake, which sends tickets, must come before the client has"
    " sent, been cancelled and closed the stream"
)

ANYIO: Final = {
    "tests/streams/test_tls.py::TestTLSStream::"
    "test_cancelled_send_breaks_stream[asyncio]": _TICKETS,
    "tests/streams/test_tls.py::TestTLSStream::"
    "test_cancelled_send_breaks_stream[asyncio+eager]": _TICKETS,
    # Two tasks sleep for 0.1 s. Where the second begins first, its sleep may end some microseconds
    # earlier, or may not: so no single swap has shown it. On asyncio, 0.102 s for the first does.
    "tests/test_taskgroups.py::test_nested_task_group_filtering[asyncio]": _IN_TURN,
}
