"""`Loop`: the native core, with the parts that run once per connection, server or loop."""

from __future__ import annotations

import asyncio

from yamanote._connecting import Connecting
from yamanote._dns import Dns
from yamanote._fork import Forking
from yamanote._fs_threads import Files
from yamanote._lifecycle import Lifecycle
from yamanote._limiting import Limiting
from yamanote._metering import Metering
from yamanote._reports import Reports
from yamanote._sendfile import Sendfile
from yamanote._server import Serving
from yamanote._signals import Signals
from yamanote._sock import SocketCalls
from yamanote._subprocess import Children
from yamanote._tls import Tls
from yamanote._unix import UnixSockets
from yamanote._yamanote import Core


class Loop(  # pyright: ignore[reportIncompatibleMethodOverride] - typeshed has another name for `n`.
    Lifecycle,
    Forking,
    Signals,
    Reports,
    Tls,
    Connecting,
    UnixSockets,
    SocketCalls,
    Sendfile,
    Serving,
    Limiting,
    Children,
    Dns,
    Files,
    Metering,
    Core,
    asyncio.BaseEventLoop,
):
    """An asyncio event loop on tokio's reactor.

    Code that runs per callback or per packet is native (`Core`). What runs once per connection,
    server or loop comes from the interpreter's `asyncio.BaseEventLoop` where possible: argument
    checks, happy eyeballs, `Server`, executors, async generators, the exception handler.
    """


# Each call of a native method compares the loop's bases with the method's own class, and `Core` is
# the seventeenth of them.
Loop._take_hot_methods()
