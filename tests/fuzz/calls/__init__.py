"""Every call that a program may make, by surface."""

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

#: By the name of a surface, which `--only` and `--without` take.
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
