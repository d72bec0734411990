"""Where the C interface for extensions is."""

from __future__ import annotations

import os


def get_include() -> str:
    """Return the folder with `yamanote.h`, for a C compiler's `-I`.

    The header declares what `loop.__yamanote_c_api__` points to: how an extension has its futures
    polled on the loop's own thread. It needs no library to link with.
    """
    return os.path.join(os.path.dirname(__file__), "include")
