"""All calls that a program may make, by surface."""

from __future__ import annotations

from tests.fuzz.calls import (
    children,
    datagrams,
    extras,
    files,
    handles,
    looks,
    pipes,
    rust,
    scheduling,
    servers,
    sockets,
    streams,
    tasks,
    transports,
    watchers,
)

#: Keyed by the name of the surface, as used by `--only` and `--without`.
SURFACES = {
    surface.__name__.rpartition(".")[2]: surface.CALLS
    for surface in (
        children,
        datagrams,
        extras,
        files,
        handles,
        looks,
        pipes,
        rust,
        scheduling,
        servers,
        sockets,
        streams,
        tasks,
        transports,
        watchers,
    )
}
